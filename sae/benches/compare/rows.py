#!/usr/bin/env python3
"""Rows for quality.py, as OUT/train.npy [n, d] in f32.

    rows.py planted --d 256 --rows 700416 --out OUT        of a sparse dictionary that is known
    rows.py dataset DATASET --rows 737280 --out OUT        of a dataset that `sae harvest` made, in random order (needs pyarrow)

Planted: 4·d unit directions, feature i fires with a probability that falls as (i + 10)^-0.8 and is at most 0.3, 24 fire on a token on average,
with strength 1 + Exp(1); 5 % of the variance is noise, the mean has half the norm of a row's deviation, and E‖x − mean‖² = d. Of a
dataset, rows with a norm above five times the median are left out.
"""

import argparse
import pathlib

import numpy

FIRING, FALL, SHIFT, MOST, NOISE, MEAN = 24.0, 0.8, 10.0, 0.3, 0.05, 0.5
CHUNK = 4096


def planted(d, n, path):
    rng = numpy.random.default_rng(0)
    features = 4 * d
    directions = rng.standard_normal((features, d), dtype=numpy.float32)
    directions /= numpy.linalg.norm(directions, axis=1, keepdims=True)
    p = (numpy.arange(features) + SHIFT) ** -FALL
    p *= FIRING / p.sum()
    for _ in range(20):  # What is cut off goes to the others.
        p = numpy.minimum(p, MOST)
        p *= FIRING / p.sum()
    p = numpy.minimum(p, MOST).astype(numpy.float32)
    mean = rng.standard_normal(d).astype(numpy.float32)
    mean *= MEAN * numpy.sqrt(d) / numpy.linalg.norm(mean)
    # Strengths have mean 2 and mean square 5.
    variance = float((5.0 * p).sum() - (4.0 * p * p).sum())
    scale = numpy.sqrt(d * (1 - NOISE) / variance).astype(numpy.float32)
    centre = (2.0 * p) @ directions
    out = numpy.lib.format.open_memmap(path, mode="w+", dtype=numpy.float32, shape=(n, d))
    for start in range(0, n, CHUNK):
        rows = min(CHUNK, n - start)
        fires = rng.random((rows, features), dtype=numpy.float32) < p
        strength = (1.0 + rng.standard_exponential((rows, features), dtype=numpy.float32)) * fires
        x = (strength @ directions - centre) * scale + mean
        out[start : start + rows] = x + rng.standard_normal((rows, d), dtype=numpy.float32) * numpy.float32(numpy.sqrt(NOISE))
    out.flush()


def dataset(folder, n, path):
    import pyarrow.parquet

    parts, have = [], 0
    for file in sorted(folder.glob("activations-*.parquet")):
        table = pyarrow.parquet.read_table(file, columns=["activation"])
        column = table["activation"].combine_chunks()
        parts.append(numpy.asarray(column.flatten()).reshape(len(column), -1).astype(numpy.float32))
        have += len(column)
        # Some are left out.
        if have > 1.05 * n:
            break
    x = numpy.concatenate(parts)
    norms = numpy.linalg.norm(x, axis=1)
    x = x[norms < 5 * numpy.median(norms)]
    numpy.random.default_rng(0).shuffle(x)
    numpy.save(path, x[:n])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["planted", "dataset"])
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    parser.add_argument("--d", type=int)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    o = parser.parse_args()
    if (o.kind == "planted") != (o.d is not None) or (o.kind == "dataset") != (o.folder is not None):
        parser.error("planted takes --d, dataset takes a folder")
    o.out.mkdir(parents=True, exist_ok=True)
    path = o.out / "train.npy"
    planted(o.d, o.rows, path) if o.kind == "planted" else dataset(o.folder, o.rows, path)


if __name__ == "__main__":
    main()
