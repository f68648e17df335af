#!/usr/bin/env bash
# A table of a known task (docs/tasks.md): indirect-object identification with dictionaries that were trained on its prompts, and others that
# were not. What is there is not made again, RUN/evaluation/task-NAME.json included; an interrupted harvest or sweep is resumed.
#   ioi.sh MODEL HOOK OUT [RUN...]     RUN: dictionaries of other text at the same hook
#                                      SAE=sae, POSITION=, PROMPTS=10000, TASK=ioi, MEASURED="600 100",
#                                      SITES=--sites: empty to look at HOOK alone
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sae=${SAE:-sae} task=${TASK:-ioi} read=(${MEASURED:-600 100})
[ $# -ge 3 ] || { sed -n 2,6p "$0" >&2; exit 2; }
model=$1 hook=$2 out=$3
shift 3
[ "$model" = default ] || model=$(realpath "$model")
general=()
for run in "$@"; do general+=("$(realpath "$run")"); done
mkdir -p "$out/found"
cd "$out"

# Prompts are written by an evaluation, and that needs a dictionary at the hook: of a small harvest of these pages.
if [ ! -e prompts.jsonl ]; then
    [ -e first/data/dataset.json ] || "$sae" harvest --model "$model" --text "$here"/../*.md --hook "$hook" --context-length 128 \
        --tokens 4000 --quiet --out first/data >&2
    [ -e first/run/run.json ] || "$sae" train --data first/data --expansion 1 --k 8 --batch 256 --quiet --out first/run >&2
    "$sae" evaluate first/run --task "$task" --task-prompts "${PROMPTS:-10000}" 100 ${SITES---sites} --json --quiet --write-prompts prompts.jsonl.new >found/sites.json
    mv prompts.jsonl.new prompts.jsonl
fi
[ -e data/dataset.json ] || "$sae" harvest --model "$model" --text prompts.jsonl --hook "$hook" --context-length 64 --quiet --out data >&2
if [ -e sweep/sweep.toml ]; then
    "$sae" train --out sweep --resume --quiet >&2
else
    "$sae" train --config "${CONFIG:-$here/ioi.toml}" --out sweep --quiet >&2
fi
sites() { python3 -c 'import json, sys; print(json.load(open("found/sites.json"))[sys.argv[1]])' "$1"; }
name=$(sites task) position=${POSITION:-$(sites position)}

# Whether a run was measured on this task already, at the position that is looked at.
measured() {
    python3 - "$1/evaluation/task-$name.json" "$position" <<'PYTHON'
import json, pathlib, sys

file, position = pathlib.Path(sys.argv[1]), sys.argv[2]
sys.exit(not file.exists() or json.loads(file.read_text())["position"] != position)
PYTHON
}

# The model reads the prompts once for all dictionaries. The floor is measured with topk alone: it is made from no dictionary, or by the
# order of its rows.
runs=(sweep/*/run.json) with=() without=()
runs=("${runs[@]%/run.json}" ${general[@]+"${general[@]}"})
for run in "${runs[@]}"; do
    measured "$run" && continue
    case $(basename "$run") in topk-seed*) with+=("$run") ;; *) without+=("$run") ;; esac
done
measure() { "$sae" evaluate --task "$task" --task-prompts "${read[@]}" --position "$position" --quiet --json "$@" >/dev/null; }
[ ${#with[@]} -eq 0 ] || measure "${with[@]}"
[ ${#without[@]} -eq 0 ] || measure --no-controls "${without[@]}"
python3 "$here/ioi.py" "$name" "${runs[@]}"
