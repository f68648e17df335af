"""Prints the table of a task from the runs that are named after it, one line for all seeds of a run."""

import json
import pathlib
import sys

from seeds import group, shown

groups, others = {}, {}
for run in map(pathlib.Path, sys.argv[2:]):
    record = json.loads((run / "evaluation" / f"task-{sys.argv[1]}.json").read_text())
    # ioi.sh names its own runs by relative paths.
    kind = "of other text" if run.is_absolute() else "of the task"
    for result in record["results"]:
        own = result["dictionary"] == "run"
        # Controls of one dictionary are like those of the next: all count as repeats. The supervised one is the same for all.
        name = f"{group(run.name)}, {kind}" if own else result["dictionary"]
        if own:
            groups.setdefault(name, []).append(result)
        elif result["dictionary"] == "supervised":
            others[name] = [result]
        else:
            others.setdefault(f"{name}, {kind}", []).append(result)


def value(figure):
    return figure and figure["value"]


def cells(results):
    attributes = [label["attribute"] for label in results[0]["labels"]] or ["io", "s", "order"]
    columns = {
        "L0": ([r["l0"] for r in results], 1),
        "FVE": ([r["fve"] for r in results], 3),
        "sufficiency": ([value(r["sufficiency"]) for r in results], 3),
        "necessity": ([value(r["necessity"]) for r in results], 3),
    }
    edits = [(e["attribute"], e["k"]) for e in results[0]["edits"]]
    for attribute in dict.fromkeys(a for a, _ in edits):
        for k in (0, 1, 4, 16):
            found = [value(e["agreement"]) for r in results for e in r["edits"] if (e["attribute"], e["k"]) == (attribute, k)]
            columns[f"{attribute}, k = {k}"] = (found, 2)
    for attribute in attributes:
        told = [l["told"] / l["values"] for r in results for l in r["labels"] if l["attribute"] == attribute]
        split = [l["split"] for r in results for l in r["labels"] if l["attribute"] == attribute and l["split"] is not None]
        columns[f"told {attribute}"] = (told, 2)
        columns[f"split {attribute}"] = (split, 1)
    return columns


rows = {name: cells(results) for name, results in [*groups.items(), *others.items()]}
names = list(dict.fromkeys(column for row in rows.values() for column in row))
print("| runs | " + " | ".join(names) + " |")
print("|---" + "|---:" * len(names) + "|")
for name, row in rows.items():
    def cell(column):
        values, digits = row.get(column, ([], 0))
        values = [v for v in values if v is not None]
        return shown(values, digits) if values else "–"
    print(f"| {name} | " + " | ".join(cell(column) for column in names) + " |")
