"""Prints the tables of docs/known-truth.md from the folder that text-methods.sh filled."""

import json
import pathlib

from seeds import group, shown


def read(path):
    return json.loads(path.read_text()) if path.exists() else None


def figures(run, probes):
    core, rules = read(run / "evaluation/core.json"), read(run / "rules.json")
    found = {
        "FVE": (core["fve"], 4),
        "CE increase": (core["ce_reconstructed"] - core["ce_clean"], 4),
        "L0": (core["l0"], 1),
        "rules %": (100 * rules["explained"] / rules["features"], 1),
    }
    for k in (1, 5):
        # Of two of one name, `sae probe` calls the one that was given later NAME-2.
        name = run.name + ("-2" if run.parts[0] == "pruned" else "")
        auc = [row["auc"] for row in probes if (row["dictionary"], row["k"]) == (name, k)]
        if auc:
            found[f"AUC, k = {k}"] = (auc[0], 3)
    return found


probes = (read(pathlib.Path("probes.json")) or {"means": []})["means"]
probes = [row for row in probes if (row["setting"], row["split"], row["penalty"]) == ("normal", "different", "l1")]
groups = {}
for path in sorted(pathlib.Path("sweep").glob("*/run.json")):
    run = path.parent
    groups.setdefault(group(run.name), []).append((figures(run, probes), figures(pathlib.Path("pruned") / run.name, probes)))

names = list(next(iter(groups.values()))[0][0])
print("| runs | " + " | ".join(names) + " | " + " | ".join(f"{name} pruned" for name in names) + " |")
print("|---" * (1 + 2 * len(names)) + "|")
for name_of_all, seeds in sorted(groups.items(), key=lambda one: sum(seed[0]["CE increase"][0] for seed in one[1]) / len(one[1])):
    cells = [
        shown([seed[side][name][0] for seed in seeds], seeds[0][side][name][1]) for side in (0, 1) for name in names
    ]
    print(f"| {name_of_all} | " + " | ".join(cells) + " |")
for row in probes:
    if row["control"] and row["k"] in (1, 5):
        print(f"control: {row['control']}, k = {row['k']}: AUC {row['auc']:.3f}")
