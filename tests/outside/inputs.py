"""Writes activations as other tools do (numpy, safetensors, pyarrow, Hugging Face datasets), imports them, and compares the rows.

    python inputs.py SAE WORK

SAE is the program; WORK an empty folder. Every format holds the same numbers, so one comparison serves all.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Array2D, Dataset, Features, Sequence, Value
from PIL import Image
from safetensors.numpy import save_file

SEQUENCES, LENGTH, D = 30, 8, 6
sae, work = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
rng = np.random.default_rng(5)
# Every number is an f16, so that all types hold it.
cube = rng.normal(size=(SEQUENCES, LENGTH, D)).astype(np.float16)
flat = cube.reshape(-1, D)
ids = rng.integers(0, 50_000, size=(SEQUENCES, LENGTH))
documents = np.repeat(np.arange(SEQUENCES), LENGTH)
positions = np.tile(np.arange(LENGTH), SEQUENCES)
checks = 0


def imported(name, *arguments):
    out = work / f"out-{name}"
    command = [str(sae), "import", *map(str, arguments), "--out", str(out), "--quiet", "--json"]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    manifest = json.loads((out / "dataset.json").read_text())
    parts = [pq.read_table(out / part["file"]) for part in manifest["tables"]["activations"]["parts"]]
    return made, manifest, pa.concat_tables(parts)


def same(name, *arguments, tokens=True, dtype="f16", by_sequence=True):
    global checks
    made, manifest, table = imported(name, *arguments)
    found = np.stack(table["activation"].to_numpy())
    assert found.dtype == {"f16": np.float16, "f32": np.float32}[dtype], (name, found.dtype)
    assert manifest["dtype"] == dtype and made["rows"] == len(flat), (name, made)
    assert np.array_equal(found.astype(np.float64), flat.astype(np.float64)), name
    assert ("token" in table.column_names) == tokens, name
    if tokens:
        assert np.array_equal(table["token"].to_numpy(), ids.reshape(-1)), name
    if by_sequence:
        assert np.array_equal(table["document"].to_numpy(), documents), name
        assert np.array_equal(table["position"].to_numpy(), positions), name
    assert manifest.get("rows_are", "tokens") == ("tokens" if tokens else "rows"), name
    checks += 1
    print(f"{name}: {made['rows']} rows, {made['documents']} documents")


def arrays():
    for kind in ("f2", "f4", "f8"):
        stored = "f16" if kind == "f2" else "f32"
        for order in "CF":
            path = work / f"flat-{kind}-{order}.npy"
            np.save(path, np.asarray(flat.astype(kind), order=order))
            same(path.stem, path, tokens=False, dtype=stored, by_sequence=False)
        path = work / f"cube-{kind}.npy"
        np.save(path, cube.astype(kind))
        for width in ("i4", "u2", "i8"):
            np.save(work / "ids.npy", ids.astype(width))
            same(f"{path.stem}-{width}", path, "--tokens", work / "ids.npy", dtype=stored)
    half = SEQUENCES // 2
    np.save(work / "part0.npy", cube[:half])
    np.save(work / "part1.npy", cube[half:])
    same("parts", work / "part0.npy", work / "part1.npy", "--tokens", work / "ids.npy")


def tensors():
    save_file({"acts": flat.astype(np.float32), "input_ids": ids.reshape(-1), "document": documents, "position": positions,
               "other": flat.astype(np.float64)}, work / "flat.safetensors")
    same("safetensors", work / "flat.safetensors", "--column", "acts", dtype="f32")
    save_file({"blocks.1.hook_resid_post": cube, "token_ids": ids.astype(np.int32)}, work / "cube.safetensors")
    same("safetensors-cube", work / "cube.safetensors")


def tables():
    beside = {"token_id": ids.reshape(-1).astype(np.int32), "sample_id": [f"text {d}" for d in documents], "token_pos": positions}
    lists = {
        "list": pa.array(list(flat), pa.list_(pa.float16())),
        "large": pa.array(list(flat), pa.large_list(pa.float16())),
        "fixed": pa.array(list(flat), pa.list_(pa.float16(), D)),
        "double": pa.array(list(flat.astype(np.float64)), pa.list_(pa.float64())),
    }
    for name, column in lists.items():
        table = pa.table({"activation": column, **beside})
        path = work / f"{name}.parquet"
        # Small row groups: a chunk reads over their edges.
        pq.write_table(table, path, row_group_size=37, compression="snappy")
        same(f"parquet-{name}", path, dtype="f32" if name == "double" else "f16")
    shards = work / "shards"
    shards.mkdir()
    columns = {f"dim_{i}": flat[:, i].astype(np.float32) for i in range(D)}
    whole = pa.table({**columns, **beside})
    pq.write_table(whole.slice(0, 100), shards / "shard_00000.parquet", compression="snappy")
    pq.write_table(whole.slice(100), shards / "shard_00001.parquet", compression="snappy")
    same("dimensions", shards, dtype="f32")


def cached():
    hook = "blocks.2.hook_mlp_out"
    for kind in ("float16", "float32"):
        features = Features({hook: Array2D(shape=(LENGTH, D), dtype=kind), "token_ids": Sequence(Value("int32"))})
        rows = {hook: list(cube.astype(kind)), "token_ids": ids.tolist()}
        data = Dataset.from_dict(rows, features=features)
        folder = work / f"cached-{kind}"
        data.save_to_disk(folder, num_shards=3)
        same(f"cached-{kind}", folder, dtype="f16" if kind == "float16" else "f32")
        _, manifest, _ = imported(f"cached-{kind}-again", folder)
        assert manifest["hook"] == hook and manifest["context_length"] == LENGTH
        path = work / f"cached-{kind}.parquet"
        data.to_parquet(path)
        same(f"hub-{kind}", path, dtype="f16" if kind == "float16" else "f32")
    # The oldest layout: shards of their own, no tokens.
    old = work / "old"
    for i, part in enumerate(np.array_split(np.arange(SEQUENCES), 11)):
        features = Features({hook: Array2D(shape=(LENGTH, D), dtype="float32")})
        Dataset.from_dict({hook: list(cube[part].astype("float32"))}, features=features).save_to_disk(old / f"shard_{i}", num_shards=1)
    same("cached-old", old, tokens=False, dtype="f32")


def pictures():
    """The whitened patches, undone, are the pixels that Pillow reads at their places; their covariance is the identity."""
    global checks
    folder = work / "pictures"
    folder.mkdir()
    for i in range(3):
        noise = rng.normal(size=(120, 160))
        smooth = sum(np.roll(noise, (a, b), (0, 1)) for a in range(4) for b in range(4))
        grey = np.clip(128 + 18 * smooth, 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{i}.png")
    made, manifest, table = imported("pictures", "--images", folder, "--patch", 5, "--patches", 9000, "--held-out", 0.2)
    whitening = pq.read_table(work / "out-pictures" / "whitening.parquet")
    restore, whiten = (np.stack(whitening[name].to_numpy()) for name in ("restore", "whiten"))
    mean, found = whitening["mean"].to_numpy(), np.stack(table["activation"].to_numpy())
    listed = pq.read_table(work / "out-pictures" / "documents.parquet").to_pylist()
    assert np.allclose(restore @ whiten, np.eye(25), atol=1e-4)
    place = np.stack([table[name].to_numpy() for name in ("document", "x", "y")], axis=1)
    for row in range(0, len(found), 97):
        document, x, y = place[row]
        pixels = np.asarray(Image.open(listed[document]["source"]), dtype=np.float64) / 255
        assert np.allclose(restore @ found[row] + mean, pixels[y:y + 5, x:x + 5].reshape(-1), atol=1e-4)
    trained = np.isin(place[:, 0], [d["document"] for d in listed if not d["held_out"]])
    for name, rows, tolerance in (("trained on", found[trained], 0.02), ("held out", found[~trained], 0.35)):
        worst = np.abs(np.cov(rows.T) - np.eye(25)).max()
        print(f"pictures: covariance of {len(rows)} patches {name} differs from the identity by {worst:.3f}")
        assert worst < tolerance
    assert manifest["rows_are"] == "patches" and made["rows"] == 9000
    checks += 1


arrays()
tensors()
tables()
cached()
pictures()
print(f"{checks} imports of numpy {np.__version__}, pyarrow {pa.__version__}, datasets and Pillow's files: all rows as written")
