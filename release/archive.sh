#!/usr/bin/env bash
# A release of this machine's platform: programs, licences, documents and a bill of materials in one archive, with its SHA-256 next to it.
#
#     release/archive.sh [OUT]            builds both programs, then packs them into OUT [default: target/release-archives]
#     PROGRAMS=DIR release/archive.sh     packs the programs in DIR
#
# The same programs give the same bytes: files are sorted and have the time of the commit. Needs Rust and Python 3.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-target/release-archives}
host=$(rustc -vV | sed -n 's/^host: //p')
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=sae-workbench-$version-$host
exe=
case $host in *windows*) exe=.exe ;; esac

if [ -z "${PROGRAMS:-}" ]; then
    cargo build --profile dist --locked --bin sae --bin sae-app
    PROGRAMS=${CARGO_TARGET_DIR:-target}/dist
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name/docs" "$out"
for program in sae sae-app; do
    cp "$PROGRAMS/$program$exe" "$work/$name/"
    case $host in *linux*) strip --strip-debug "$work/$name/$program" ;; esac
done
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$work/$name/"
cp -R docs/. "$work/$name/docs/"
cp assets/corpus/README.md "$work/$name/docs/embedded-texts.md"
python3 release/sbom.py "$host" >"$work/$name/sbom.cdx.json"

# A program that does not start is not released.
"$work/$name/sae$exe" --version

time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
case $host in
*linux*)
    archive=$name.tar.gz
    tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=gnu -C "$work" -c "$name" | gzip -n9 >"$work/$archive"
    ;;
*)
    archive=$name.tar.gz
    tar -C "$work" -c "$name" | gzip -n9 >"$work/$archive"
    ;;
esac
(cd "$work" && python3 -c '
import hashlib, sys
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() + "  " + sys.argv[1])
' "$archive" >"$archive.sha256")
mv "$work/$archive" "$work/$archive.sha256" "$out/"
echo "$out/$archive"
cat "$out/$archive.sha256"
