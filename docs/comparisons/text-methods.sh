#!/usr/bin/env bash
# The tables of docs/known-truth.md on real text: harvests, trains, makes a pruned run of each run, measures loss, rules of tokens and, if
# SETS names a folder of labelled prompts, probes. What is there is not made again.
#   text-methods.sh MODEL HOOK OUT TEXT...     SAE=sae, TOKENS=1000000, EVALUATED=20000, CONFIG=text-methods.toml, SETS=, ONLY=
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sae=${SAE:-sae} evaluated=${EVALUATED:-20000}
[ $# -ge 4 ] || { sed -n 2,4p "$0" >&2; exit 2; }
model=$1 hook=$2 out=$3
shift 3
[ "$model" = default ] || model=$(realpath "$model")
text=()
for path in "$@"; do text+=("$(realpath "$path")"); done
mkdir -p "$out"
cd "$out"
[ -e data/dataset.json ] || "$sae" harvest --model "$model" --text "${text[@]}" --hook "$hook" --context-length 256 \
    --tokens "${TOKENS:-1000000}" --held-out 0.1 --out data >&2
if [ -e sweep/sweep.toml ]; then
    "$sae" train --out sweep --resume >&2
else
    "$sae" train --config "${CONFIG:-$here/text-methods.toml}" --out sweep >&2
fi
runs=()
for run in sweep/*/; do
    run=$(basename "$run")
    mkdir -p pruned
    [ -e "pruned/$run/run.json" ] || "$sae" import dictionary "sweep/$run" --prune --out "pruned/$run" --quiet >&2
    runs+=("sweep/$run" "pruned/$run")
done
for run in "${runs[@]}"; do
    [ -e "$run/evaluation/core.json" ] || "$sae" evaluate "$run" --tokens "$evaluated" --quiet >&2
done
# Its table has no column for what pruning does.
SAE=$sae "$here/evidence.sh" . "${runs[@]}" >/dev/null
python3 "$here/text_methods.py"
