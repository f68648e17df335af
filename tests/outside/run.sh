#!/usr/bin/env bash
# Opens a sample dataset and run with pyarrow and DuckDB; reports a skip where there is no Python or no package registry.
#   run.sh [WORK]        WORK is a folder of prepare.sh; without it that is done first
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/skip.sh

work=$(realpath "${1:-$(mktemp -d)}")
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || tests/outside/prepare.sh "$work"
if [ ! -e "$work/readers" ]; then
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
mkdir "$work/malice"
"$work/venv/bin/python" tests/outside/malice.py "${CARGO_TARGET_DIR:-target}/debug/sae" "$work/malice"
mkdir "$work/exports"
sae=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sae")
"$work/venv/bin/python" tests/outside/exports.py "$sae" "$work/real/topk" "$work/exports"
if command -v chromium >/dev/null; then
    mkdir "$work/browser"
    "$work/venv/bin/python" tests/outside/browser.py "$sae" "$work/real/topk" "$work/browser"
else
    skip "pages in a browser" "no chromium"
fi
if command -v strace >/dev/null && command -v Xvfb >/dev/null && command -v xdotool >/dev/null; then
    tests/outside/network.sh "$sae" "$(dirname "$sae")/sae-app"
else
    skip "what the programs ask of a network" "no strace, Xvfb or xdotool"
fi
if [ -e "$work/chats" ]; then
    [ -x "$(dirname "$sae")/examples/chats" ] || cargo build -q --example chats
    "$work/venv/bin/python" tests/outside/chats.py "$(dirname "$sae")/examples/chats" "$work"/templates/*.tar.gz
    [ -x "$(dirname "$sae")/examples/tokens" ] || cargo build -q --example tokens
    mkdir "$work/vocabularies"
    "$work/venv/bin/python" tests/outside/gguf_tokens.py "$(dirname "$sae")/examples/tokens" "$work"/templates/*.tar.gz "$work/vocabularies"
else
    skip "chat templates against Jinja for Python, tokens against llama.cpp's" "no package registry within reach, or no llama-cpp-python in it"
fi
PATH="$(dirname "$sae"):$PATH" "$work/venv/bin/python" tests/outside/snippets.py docs/python.md "$work/real"
# Spark (400 MB, and a Java) is asked by hand: lake.py SAE WORK --spark
"$work/venv/bin/python" tests/outside/lake.py "$sae" "$work/lake"
if [ -e "$work/store" ]; then
    mkdir "$work/desk"
    "$work/venv/bin/python" tests/outside/bucket.py "$sae" "$work/desk"
    "$work/venv/bin/python" tests/outside/resumed.py "$sae" "$work/desk"
else
    skip "an object store" "no package registry within reach"
fi
if [ -e "$work/store" ] && [ -e "$work/gcs" ]; then
    "$work/venv/bin/python" tests/outside/gcs.py "$sae" "$work/desk"
else
    skip "Google's store" "no package registry within reach (PyPI)"
fi
if [ -e "$work/store" ] && [ -e "$work/stores" ]; then
    PATH="$work/venv/bin:$PATH" "$work/venv/bin/python" tests/outside/stores.py "$sae" "$work/desk" "$work/npm/node_modules/.bin"
else
    skip "web servers, Azure, Google's S3 protocol, a second S3 server" "no package registry within reach (PyPI, npm)"
fi
if [ ! -e "$work/probes-by" ] || ! tests/probe/fetch.sh; then
    skip "probes and SAEBench's schemas" "no package registry within reach"
    exit 0
fi
prompts=${CARGO_TARGET_DIR:-target}/sae-probes
ten="131_temp_cat_Typical Time,132_temp_cat_Event Ordering,87_glue_cola,106_hate_hate,5_hist_fig_ismale,105_click_bait,100_news_fake,113_movie_sent,66_living-room,117_us_state_FL"
"$sae" probe "$work/real/topk" --sets "$prompts" --only "$ten" --k 1,5,20 --penalty l1,l2 --split published --out "$work/probes" --quiet
"$work/venv/bin/python" tests/outside/probes.py "$work/probes" "$prompts"
"$work/venv/bin/python" tests/outside/saebench.py "$sae" "$(echo "$work"/sae_bench-*.whl)" "$work/real/topk" "$prompts" "$work"
