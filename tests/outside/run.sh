#!/usr/bin/env bash
# Opens a sample dataset and run with pyarrow and DuckDB; reports a skip where there is no Python or no package registry.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/skip.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! python3 -m venv "$work/venv" || ! "$work/venv/bin/pip" install -q pyarrow duckdb numpy safetensors datasets pillow pandas polars; then
    skip "other readers" "no Python, or no package registry within reach"
    exit 0
fi
cargo run -q --example make_sample -- "$work/sample"
"$work/venv/bin/python" tests/outside/readers.py "$work/sample"
cargo run -q --example sample -- "$work/real"
"$work/venv/bin/python" tests/outside/real.py "$work/real"
# The tests of the workspace have built it; on its own it would be resolved with other features, which compiles half of the dependencies anew.
[ -x "${CARGO_TARGET_DIR:-target}/debug/sae" ] || cargo build -q --bin sae
mkdir "$work/inputs"
HF_HOME="$work/hf" "$work/venv/bin/python" tests/outside/inputs.py "${CARGO_TARGET_DIR:-target}/debug/sae" "$work/inputs"
mkdir "$work/exports"
sae=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sae")
"$work/venv/bin/python" tests/outside/exports.py "$sae" "$work/real/topk" "$work/exports"
# Templates of published models, which llama.cpp's Python package brings along in its source distribution.
mkdir "$work/templates"
if "$work/venv/bin/pip" install -q jinja2 &&
    "$work/venv/bin/pip" download -q --no-deps --no-binary llama-cpp-python -d "$work/templates" llama-cpp-python; then
    cargo build -q --example chats
    "$work/venv/bin/python" tests/outside/chats.py "$(dirname "$sae")/examples/chats" "$work"/templates/*.tar.gz
else
    skip "chat templates against Jinja for Python" "no package registry within reach, or no llama-cpp-python in it"
fi
PATH="$(dirname "$sae"):$PATH" "$work/venv/bin/python" tests/outside/snippets.py docs/python.md "$work/real"
