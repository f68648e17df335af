#!/usr/bin/env bash
# The figures of docs/sparse-coding.md on photographs: five penalties at several sparsities, with seeds. What is there is not made again.
#   sparse-coding.sh OUT        SAE=sae, PHOTOGRAPHS=target/photographs (tests/photographs/fetch.sh), SEEDS="0 1 2", L0="3 6 12 24"
set -euo pipefail
sae=${SAE:-sae} photographs=${PHOTOGRAPHS:-target/photographs}
[ $# -eq 1 ] || { sed -n 2,3p "$0" >&2; exit 2; }
out=$1
mkdir -p "$out"
[ -e "$out/patches/dataset.json" ] ||
    "$sae" import --images "$photographs" --patch 10 --patches 60000 --held-out 0.1 --seed 1 --out "$out/patches" >&2
for seed in ${SEEDS:-0 1 2}; do
    for l0 in ${L0:-3 6 12 24}; do
        for penalty in soft hard half firm log-sum; do
            run="$out/$penalty-$l0-$seed"
            [ -e "$run/run.json" ] || "$sae" sparse-code --penalty "$penalty" --data "$out/patches" --units 200 --l0 "$l0" \
                --seed "$seed" --quiet --out "$run" >&2
            [ -e "$run/fields/fields.json" ] || "$sae" fields "$run" --quiet >&2
        done
    done
done
python3 - "$out" <<'PYTHON'
import json, math, pathlib, sys

groups = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*/coding/coding.json")):
    coding = json.loads(path.read_text())
    fields = json.loads((path.parents[1] / "fields/fields.json").read_text())
    groups.setdefault((coding["wanted_l0"], coding["penalty"]), []).append((coding["held_out"], fields))

def mean(values):
    values = [v for v in values if v is not None]
    m = sum(values) / len(values)
    sd = math.sqrt(sum((v - m) ** 2 for v in values) / max(len(values) - 1, 1))
    return m, sd

print("| L0 wanted | penalty | L0 | FVE | refitted | mean code | kurtosis | localised and oriented | octaves | orientation bias |")
print("|---|---|---|---|---|---|---|---|---|---|")
order = ["soft", "log-sum", "half", "firm", "hard"]
for (l0, penalty), runs in sorted(groups.items(), key=lambda item: (item[0][0], order.index(item[0][1]))):
    s = lambda key: mean([score[key] for score, _ in runs])
    f = lambda key: mean([fields[key] for _, fields in runs])
    print(f"| {l0:g} | {penalty} | {s('l0')[0]:.2f} | {s('fve')[0]:.4f} ± {s('fve')[1]:.4f} | {s('fve_refitted')[0]:.4f} ± "
          f"{s('fve_refitted')[1]:.4f} | {s('mean_code')[0]:.2f} | {s('kurtosis')[0]:.0f} | {100 * f('both')[0]:.0f} ± {100 * f('both')[1]:.0f} % | "
          f"{f('octaves')[0]:.2f} | {f('orientation_bias')[0]:.2f} |")
PYTHON
