#!/usr/bin/env bash
# The comparison on SmolLM2-135M: harvest with gradients, train, measure. Interrupted, the same command resumes.
#   smollm2.sh MODEL.gguf OUT TEXT...        SAE=target/release/sae, TOKENS=680000 by default
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sae=${SAE:-sae} tokens=${TOKENS:-680000} evaluated=${EVALUATED:-20000}
[ $# -ge 3 ] || { sed -n 2,3p "$0" >&2; exit 2; }
model=$1 out=$2
shift 2
text=()
for path in "$@"; do text+=("$(realpath "$path")"); done
model=$(realpath "$model")
mkdir -p "$out"
cd "$out"
[ -e data/dataset.json ] || "$sae" harvest --model "$model" --text "${text[@]}" --hook blocks.15.hook_resid_post --gradients \
    --context-length 256 --tokens "$tokens" --held-out 0.1 --out data
"$sae" compare smollm2 --config "${CONFIG:-$here/smollm2.toml}" --tokens "$evaluated"
