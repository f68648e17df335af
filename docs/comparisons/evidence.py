"""Prints the table of rules and probes from the folder that evidence.sh filled, one line for all seeds of a run."""

import json
import pathlib
import sys

from seeds import group, shown


def read(path):
    return json.loads(path.read_text()) if path.exists() else None


def rules(run):
    found = read(pathlib.Path(run) / "rules.json")
    return found and 100 * found["explained"] / found["features"]


probes = (read(pathlib.Path("probes.json")) or {"means": []})["means"]
probes = [row for row in probes if (row["setting"], row["split"], row["penalty"]) == ("normal", "different", "l1")]
ks = sorted({row["k"] for row in probes})
groups = {}
for run in sys.argv[1:]:
    groups.setdefault(group(run), []).append(run)

print("| runs | rules % | " + "".join(f"AUC, k = {k} | " for k in ks))
print("|---|---:|" + "---:|" * len(ks))
for name, runs in groups.items():
    explained = [value for value in map(rules, runs) if value is not None]
    cells = [shown(explained, 1) if explained else "–"]
    for k in ks:
        auc = [row["auc"] for row in probes if row["dictionary"] in runs and row["k"] == k]
        cells.append(shown(auc) if auc else "–")
    print(f"| {name} | " + " | ".join(cells) + " |")
# Trained controls are among the runs.
computed = [row for row in probes if row["control"] and row["dictionary"] not in sys.argv]
for control in dict.fromkeys(row["control"] for row in computed):
    auc = {row["k"]: row["auc"] for row in computed if row["control"] == control}
    print(f"| *{control}* | – | " + " | ".join(f"{auc[k]:.3f}" if k in auc else "–" for k in ks) + " |")
