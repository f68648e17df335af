#!/bin/sh
# Codes that are searched for, against the truth: `docs/comparisons/recode.sh OUT` scores runs of the sweep that known-truth.sh made in OUT
# by several codings, on 20,000 rows each, and prints the table of docs/known-truth.md; the encoder's scores are those that are there. Measure elsewhere by setting SAE to a program.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sae=${SAE:-sae}
cd "${1:?usage: recode.sh OUT}"
for name in topk mutual-choice cosine-shared recipe; do
    for seed in 0 1 2; do
        for coding in refit pursuit hard posterior; do
            out=recoded/$name-seed$seed.$coding.json
            [ -e "$out" ] && continue
            mkdir -p recoded
            "$sae" synth score "sweep/$name-seed$seed" --rows 20000 --recode "$coding" --json --quiet > "$out.part"
            mv "$out.part" "$out"
        done
    done
done
PYTHONPATH="$here" python3 - <<'PYTHON'
import json, pathlib
from seeds import group, shown

groups = {}
for path in sorted(pathlib.Path("recoded").glob("*.json")):
    run, coding = path.stem.rsplit(".", 1)
    groups.setdefault((group(run), coding), []).append(json.loads(path.read_text()))
for name in {name for name, _ in groups}:
    paths = pathlib.Path("sweep").glob(f"{name}-seed*/truth/truth.json")
    groups[name, "encoder"] = [json.loads(path.read_text()) for path in paths]
codings = ["encoder", "refit", "hard", "pursuit", "posterior"]
print("| run | codes | F1 | precision | recall | FVE | L0 |")
print("|---|---|---|---|---|---|---|")
for name, coding in sorted(groups, key=lambda one: (one[0], codings.index(one[1]))):
    scores = groups[name, coding]
    cells = [shown([score[key] for score in scores]) for key in ("f1", "precision", "recall", "fve")]
    print(f"| {name} | {coding} | " + " | ".join(cells + [shown([score["l0"] for score in scores], 1)]) + " |")
PYTHON
