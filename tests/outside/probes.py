"""Probes against scikit-learn: probes.py PROBES SETS

PROBES is what `sae probe … --penalty l1,l2 --out PROBES` wrote, SETS the folder of prompts that it was given. The prompts' activations are
read from PROBES; splits are drawn again with NumPy, columns chosen again, and every probe on raw dimensions with the published split is
fitted again by scikit-learn with the same C. AUC must agree to 1e-3. Which C scikit-learn's own choice is is reported, not asserted: where
several are equally good, the last digits decide.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

TOLERANCE = 1e-3


def split(y, train, test, seed):
    rng = np.random.RandomState(seed)
    classes = [np.where(y == 1)[0], np.where(y == 0)[0]]
    half = lambda n: (int(np.ceil(n / 2)), n - int(np.ceil(n / 2)))
    taken = [rng.choice(rows, size=n, replace=False) for rows, n in zip(classes, half(train))]
    rest = [np.setdiff1d(rows, gone) for rows, gone in zip(classes, taken)]
    tested = [rng.choice(rows, size=n, replace=False) for rows, n in zip(rest, half(test))]
    return rng.permutation(np.concatenate(taken)), rng.permutation(np.concatenate(tested))


def columns(x, y, k):
    size = np.abs(x).sum(0) / ((x != 0).sum(0) + 1e-6)
    scaled = x / (size + 1e-6)
    difference = np.abs(scaled[y == 1].mean(0) - scaled[y == 0].mean(0))
    return np.argsort(-difference, kind="stable")[:k]


def prompts(folder, name):
    folder = folder / "cleaned_data" if (folder / "cleaned_data").is_dir() else folder
    path = next(path for path in sorted(folder.iterdir()) if path.name.split(".")[0] == name)
    table = pd.read_json(path, lines=True) if ".jsonl" in path.name else pd.read_csv(path)
    classes = sorted(table["target"].unique())
    return (table["target"] == classes[1]).to_numpy().astype(int)


def main(probes, sets):
    question = json.loads((probes / "probe.json").read_text())
    table = pq.read_table(probes / "probes.parquet").to_pandas()
    table = table[(table.dictionary == "raw dimensions") & (table.setting == "normal") & (table.split == "published")]
    worst, count, equal_columns = 0.0, 0, 0
    for (name, seed), rows in table.groupby(["set", "seed"]):
        y = prompts(sets, name)
        [path] = (probes / "activations").glob(f"{name}-*.parquet")
        x = np.array(pq.read_table(path)["activation"].to_pylist(), dtype=np.float64)
        assert len(x) == len(y), (name, len(x), len(y))
        n = min(len(y), 5000)
        train_size = min(len(y) - 100, 1024)
        train, test = split(y[:n], train_size, n - train_size - 1, seed)
        for row in rows.itertuples():
            assert (row.train, row.test) == (len(train), len(test)), name
            chosen = columns(x[train], y[train], row.k)
            equal_columns += list(chosen) == list(row.features)
            own = np.asarray(row.features)
            if row.penalty == "l1":
                # Saga needs columns of one size to converge; the l1 penalty is then weighed column by column, which liblinear cannot
                # do, so columns stay and the tolerance is small.
                model = LogisticRegression(C=row.c, penalty="l1", solver="saga", max_iter=20000, tol=1e-6, random_state=seed)
            else:
                model = LogisticRegression(C=row.c, max_iter=20000, tol=1e-10)
            model.fit(x[train][:, own], y[train])
            auc = roc_auc_score(y[test], model.decision_function(x[test][:, own]))
            difference = abs(auc - row.test_auc)
            worst, count = max(worst, difference), count + 1
            if difference > TOLERANCE:
                print(f"{name} k {row.k} {row.penalty} C {row.c:.3g}: {row.test_auc:.5f}, scikit-learn {auc:.5f}")
    sets_probed = table["set"].nunique()
    print(f"{count} probes of {sets_probed} sets at {question['hooks'][0]}: AUC apart by {worst:.2e} at most; "
          f"the same columns in {equal_columns}")
    assert count > 0 and worst <= TOLERANCE and equal_columns == count


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
