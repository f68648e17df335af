#!/usr/bin/env bash
# What the features of a comparison are about: how many are explained by a rule of tokens, and, if SETS names a folder of labelled prompts,
# how well few of them tell the classes apart. A table for docs/comparison.md. What is there is not made again.
#   evidence.sh COMPARED [RUN...]     COMPARED: a folder that `sae compare` filled; all of its runs, or those that are named
#                                     SAE=sae, INDEXED=: tokens of an index at most, SETS=, ONLY=
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sae=${SAE:-sae}
[ $# -ge 1 ] || { sed -n 2,5p "$0" >&2; exit 2; }
cd "$1"
shift
runs=("$@")
[ ${#runs[@]} -gt 0 ] || for run in */run.json; do runs+=("$(dirname "$run")"); done
for run in "${runs[@]}"; do
    # Codes of either sign have no index, and so no rules; probes read them.
    { [ -e "$run/rules.json" ] || [[ $(basename "$run") == abs-topk* ]]; } && continue
    "$sae" index "$run" --no-map ${INDEXED:+--tokens "$INDEXED"} --quiet >&2
    "$sae" explain "$run" --quiet --json >"$run/rules.json.new"
    mv "$run/rules.json.new" "$run/rules.json"
done
[ -z "${SETS:-}" ] || [ -e probes.json ] || {
    "$sae" probe "${runs[@]}" --sets "$SETS" ${ONLY:+--only "$ONLY"} --out probes --json >probes.json.new
    mv probes.json.new probes.json
}
python3 "$here/evidence.py" "${runs[@]}"
