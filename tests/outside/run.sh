#!/usr/bin/env bash
# Opens a sample dataset and run with pyarrow and DuckDB; skips loudly where there is no Python or no package registry.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! python3 -m venv "$work/venv" || ! "$work/venv/bin/pip" install -q pyarrow duckdb numpy safetensors datasets pillow; then
    echo "SKIPPED: other readers (no Python, or no package registry within reach)"
    exit 0
fi
cargo run -q --example make_sample -- "$work/sample"
"$work/venv/bin/python" tests/outside/readers.py "$work/sample"
cargo build -q --bin sae
mkdir "$work/inputs"
HF_HOME="$work/hf" "$work/venv/bin/python" tests/outside/inputs.py target/debug/sae "$work/inputs"
