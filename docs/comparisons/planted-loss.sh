#!/usr/bin/env bash
# The table of a planted loss in docs/known-truth.md: makes the data, trains, scores. What is there is not made again.
#   planted-loss.sh WORLD OUT        SAE=sae, CONFIG=planted-loss.toml, ROWS=3000000, SHARE=0.25
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sae=${SAE:-sae}
[ $# -eq 2 ] || { sed -n 2,3p "$0" >&2; exit 2; }
world=$(realpath "$1") out=$2
mkdir -p "$out"
cd "$out"
[ -e data/dataset.json ] ||
    "$sae" synth rows "$world" --rows "${ROWS:-3000000}" --generate "--loss=${SHARE:-0.25}" --out data >&2
if [ -e sweep/sweep.toml ]; then
    "$sae" train --out sweep --resume >&2
else
    "$sae" train --config "${CONFIG:-$here/planted-loss.toml}" --out sweep >&2
fi
for run in sweep/*/; do
    [ -e "$run/truth/truth.json" ] || "$sae" synth score "$run" --rows 50000 --quiet >&2
done
PYTHONPATH="$here" python3 - <<'PYTHON'
import json, pathlib
from seeds import group, shown

groups = {}
for path in sorted(pathlib.Path("sweep").glob("*/truth/truth.json")):
    groups.setdefault(group(path.parents[1].name), []).append(json.loads(path.read_text()))

print("| runs | loss recovered | features of the loss | their F1 | F1 of the others | cosine of the loss's | of others | FVE | F1 | MCC |")
print("|---|---|---|---|---|---|---|---|---|---|")
for name, scores in sorted(groups.items(), key=lambda one: -sum(s["loss"]["recovered"] for s in one[1]) / len(one[1])):
    loss = [s["loss"] for s in scores]
    cells = [shown([l["recovered"] for l in loss]), shown([l["features"] for l in loss], 0)]
    cells += [shown([l[key] for l in loss]) for key in ("f1", "f1_of_others", "cosine", "cosine_of_others")]
    cells += [shown([s[key] for s in scores]) for key in ("fve", "f1", "mcc")]
    print(f"| {name} | " + " | ".join(cells) + " |")
PYTHON
