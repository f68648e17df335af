#!/usr/bin/env bash
# The table of docs/known-truth.md: makes the data, trains, scores with and without pruning. What is there is not made again.
#   known-truth.sh WORLD OUT        SAE=sae, CONFIG=known-truth.toml, ROWS=6000000
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sae=${SAE:-sae} rows=${ROWS:-6000000}
[ $# -eq 2 ] || { sed -n 2,3p "$0" >&2; exit 2; }
world=$(realpath "$1") out=$2
mkdir -p "$out"
cd "$out"
[ -e data/dataset.json ] || "$sae" synth rows "$world" --rows "$rows" --generate --out data >&2
if [ -e sweep/sweep.toml ]; then
    "$sae" train --out sweep --resume >&2
else
    "$sae" train --config "${CONFIG:-$here/known-truth.toml}" --out sweep >&2
fi
for run in sweep/*/; do
    [ -e "$run/truth/truth.json" ] || "$sae" synth score "$run" --quiet >&2
    # Codes of either sign are not pruned.
    [ -e "$run/truth/pruned/truth.json" ] || "$sae" synth score "$run" --prune --quiet >&2 || true
done
PYTHONPATH="$here" python3 - <<'PYTHON'
import json, pathlib
from seeds import group, shown

groups = {}
for path in sorted(pathlib.Path("sweep").glob("*/truth/truth.json")):
    name = group(path.parents[1].name)
    pruned = path.parent / "pruned/truth.json"
    after = json.loads(pruned.read_text()) if pruned.exists() else None
    groups.setdefault(name, []).append((json.loads(path.read_text()), after))

print("| runs | F1 | precision | recall | MCC | uniqueness | FVE | L0 | dead | F1 pruned | FVE pruned | L0 pruned |")
print("|---|---|---|---|---|---|---|---|---|---|---|---|")
ranked = sorted(groups.items(), key=lambda one: -sum(score["f1"] for score, _ in one[1]) / len(one[1]))
for name, scores in ranked:
    cells = [shown([score[key] for score, _ in scores]) for key in ["f1", "precision", "recall", "mcc", "uniqueness", "fve"]]
    cells += [shown([score["l0"] for score, _ in scores], 1), shown([score["dead"] for score, _ in scores], 0)]
    pruned = [after for _, after in scores if after]
    cells += [shown([after[key] for after in pruned], digits) if pruned else "–" for key, digits in [("f1", 3), ("fve", 3), ("l0", 1)]]
    print(f"| {name} | " + " | ".join(cells) + " |")
PYTHON
