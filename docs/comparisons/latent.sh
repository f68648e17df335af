#!/usr/bin/env bash
# The tables of docs/latent.md: bars that are found by the six models with ten seeds each, and fields that they learn on photographs.
# What is there is not made again.
#   latent.sh OUT        SAE=sae, SEEDS="0 … 9", MODELS="bsc …", PHOTOGRAPHS=target/photographs (tests/photographs/fetch.sh; none: no fields)
set -euo pipefail
sae=${SAE:-sae} photographs=${PHOTOGRAPHS:-target/photographs}
[ $# -eq 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
out=$1
mkdir -p "$out"
models=${MODELS:-bsc tsc dsc mca mmca gsc}
for model in $models; do
    for seed in ${SEEDS:-0 1 2 3 4 5 6 7 8 9}; do
        run="$out/$model-$seed"
        [ -e "$run.json" ] && continue
        [ -e "$out/bars-$model-$seed/dataset.json" ] ||
            "$sae" synth bars --model "$model" --seed "$seed" --quiet --out "$out/bars-$model-$seed" >&2
        "$sae" latent --model "$model" --data "$out/bars-$model-$seed" --latents 10 --seed "$seed" --quiet --json --out "$run" > "$run.new"
        mv "$run.new" "$run.json"
    done
done
if [ -d "$photographs" ]; then
    [ -e "$out/patches/dataset.json" ] ||
        "$sae" import --images "$photographs" --patch 10 --patches 30000 --held-out 0.1 --seed 1 --out "$out/patches" >&2
    for model in $models; do
        case $model in mca) continue ;; esac # Its W is above 0, whitened patches are not.
        run="$out/fields-$model"
        [ -e "$run/fields/fields.json" ] && continue
        "$sae" latent --model "$model" --data "$out/patches" --latents 100 --iterations 100 --rows 20000 --seed 0 --quiet --out "$run" >&2
        "$sae" fields "$run" --quiet >&2
    done
fi
python3 - "$out" $models <<'PYTHON'
import json, pathlib, sys

out, models = pathlib.Path(sys.argv[1]), sys.argv[2:]
print("| model | seeds | all bars found | bars found, mean | seconds |")
print("|---|---|---|---|---|")
for model in models:
    runs = [path.with_suffix("") for path in sorted(out.glob(f"{model}-[0-9]*.json"))]
    if runs:
        bars = [json.loads((out / f"{run.name}.json").read_text())["bars"] for run in runs]
        seconds = sorted(json.loads((run / "run.json").read_text())["wall_seconds"] for run in runs)
        print(f"| `{model}` | {len(runs)} | {sum(found['recovered'] == found['bars'] for found in bars)} "
              f"| {sum(found['recovered'] for found in bars) / len(bars):.1f} | {seconds[0]:.0f}–{seconds[-1]:.0f} |")
print("\n| model | latents | localised | oriented | localised and oriented |")
print("|---|---|---|---|---|")
for model in models:
    path = out / f"fields-{model}/fields/fields.json"
    if path.exists():
        fields = json.loads(path.read_text())
        print(f"| `{model}` | {fields['features']} | " + " | ".join(f"{100 * fields[key]:.0f} %" for key in ("localised", "oriented", "both")) + " |")
PYTHON
