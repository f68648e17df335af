#!/usr/bin/env bash
# What docs/attention.md shows of a model: harvest, three dictionaries, their index, the test of its heads, a feature followed back.
#   docs/circuits/attention.sh MODEL.gguf OUT TEXT.jsonl...
set -euo pipefail
model=$1 out=$2; shift 2
sae=${SAE:-sae} layer=${LAYER:-17} below=${BELOW:-8}
$sae heads induction "$model" --texts 12 --top 5
before=$((layer - 1))
$sae harvest --model "$model" --text "$@" --tokens "${TOKENS:-60000}" --out "$out/data" \
    --hook "blocks.$below.hook_resid_post" --hook "blocks.$before.hook_resid_post" --hook "blocks.$layer.attn.hook_z"
for one in "z$layer blocks.$layer.attn.hook_z" "r$before blocks.$before.hook_resid_post" "r$below blocks.$below.hook_resid_post"; do
    read -r run hook <<<"$one"
    $sae train --data "$out/data/$hook" --method batch-topk --d-sae 4608 --k 24 --tokens "${TRAINED:-400000}" --out "$out/$run"
    $sae index "$out/$run"
done
text='Mr. Knightley walked to Hartfield in the rain. At noon Mr.'
$sae prompt "$out/z$layer" --text "$text"
$sae heads sources "$out/z$layer" --text "$text" --feature "${FEATURE:-3878}"
$sae heads sources "$out/z$layer" --text "$text" --feature "${FEATURE:-3878}" --through "${THROUGH:-17.5@2}" --with "$out/r$before" "$out/r$below"
