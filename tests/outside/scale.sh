#!/usr/bin/env bash
# Sweeps in shards under Ray and GNU parallel: see docs/scale-out.md. Reports a skip for what cannot be had here.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/skip.sh

sae=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sae")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Ray takes about 300 MB on disk.
if python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q ray; then
    RAY_USAGE_STATS_ENABLED=0 "$work/venv/bin/python" tests/outside/scale.py "$sae" ray "$work/ray"
else
    skip "shards under Ray" "no Python, or no package registry within reach"
fi
if parallel --version 2>/dev/null | grep -q '^GNU parallel'; then
    python3 tests/outside/scale.py "$sae" parallel "$work/parallel"
else
    skip "shards under GNU parallel" "GNU parallel is not installed"
fi
