#!/usr/bin/env bash
# Fetches the labelled prompts of sae-probes (MIT; 113 sets of two classes, 334,092 prompts) into target/sae-probes, where `sae probe --sets`
# and the tests take them from. They are those of the PyPI package sae-probes 0.4.2, whose SHA-256 is checked. Nothing is fetched twice.
#     tests/probe/fetch.sh [DIR]
# Needs Python with pip, and sha256sum.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-${CARGO_TARGET_DIR:-target}/sae-probes}
sum=245700c8df310760e3d5b23d657ae5196489813f3012b55975057d8239d8be03
[ -d "$folder/cleaned_data" ] && [ "$(cat "$folder/sha256" 2>/dev/null)" = "$sum" ] && exit 0
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$(dirname "$folder")/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download -q --no-deps -d "$work" sae-probes==0.4.2
wheel=$(echo "$work"/sae_probes-*.whl)
echo "$sum  $wheel" | sha256sum -c --status ||
    { echo "$(basename "$wheel") is not the file that was expected: its SHA-256 is not $sum" >&2; exit 1; }
python3 -m zipfile -e "$wheel" "$work"
cp "$work"/sae_probes-*.dist-info/licenses/LICENSE "$work/sae_probes/data/LICENSE"
echo "$sum" > "$work/sae_probes/data/sha256"
rm -rf "$folder"
mv "$work/sae_probes/data" "$folder"
