#!/usr/bin/env bash
# The walk-through of docs/circuits.md: transcoders, what their features are called, the graph of a text, its picture. What is there is not
# made again.
#   walk.sh MODEL OUT PROMPT "LAYER…" TEXT...        SAE=sae, TOKENS=150000, TRAINED=600000, WIDTH=4608, K=32
set -euo pipefail
sae=${SAE:-sae} tokens=${TOKENS:-150000} trained=${TRAINED:-600000} width=${WIDTH:-4608} k=${K:-32}
[ $# -ge 5 ] || { sed -n 2,4p "$0" >&2; exit 2; }
model=$1 out=$2 prompt=$3 layers=$4
shift 4
mkdir -p "$out"
hooks=()
for layer in $layers; do hooks+=(--hook "blocks.$layer.hook_mlp_in" --hook "blocks.$layer.hook_mlp_out"); done
last=$(echo "$layers" | awk '{ print $NF }')
[ -e "$out/data/blocks.$last.hook_mlp_out/dataset.json" ] ||
    "$sae" harvest --model "$model" --text "$@" "${hooks[@]}" --context-length 256 --tokens "$tokens" --out "$out/data"
runs=()
for layer in $layers; do
    run="$out/t$layer"
    runs+=("$run")
    [ -e "$run/cfg.json" ] || "$sae" train --data "$out/data/blocks.$layer.hook_mlp_in" \
        --target "$out/data/blocks.$layer.hook_mlp_out" --method batch-topk --d-sae "$width" --k "$k" --tokens "$trained" --out "$run"
    [ -e "$run/features/index.json" ] || "$sae" index "$run" --quiet
    [ -e "$run/explanations/rules.parquet" ] || "$sae" explain "$run" --quiet
done
[ -e "$out/together.json" ] || {
    "$sae" evaluate "${runs[0]}" --together "${runs[@]:1}" --tokens 10000 --json >"$out/together.partial"
    mv "$out/together.partial" "$out/together.json"
}
"$sae" trace --model "$model" --transcoders "${runs[@]}" --text "$prompt" --out "$out/graph"
"$sae" graph picture "$out/graph" --out "$out/graph.svg"
