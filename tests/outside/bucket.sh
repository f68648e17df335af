#!/usr/bin/env bash
# Datasets and runs in an object store, against moto's S3 server from PyPI: see docs/scale-out.md. Reports a skip without a registry.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/skip.sh

sae=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sae")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q 'moto[server]' boto3; then
    mkdir "$work/desk"
    "$work/venv/bin/python" tests/outside/bucket.py "$sae" "$work/desk"
else
    skip "an object store" "no Python, or no package registry within reach"
fi
