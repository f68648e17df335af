#!/usr/bin/env python3
"""Training steps of `sae` and of Python's libraries in turns, on the same rows.

    compare.py --sae PROGRAM --python PYTHON [--rounds 3] [--shapes 0,1,2] [--peers sparsify_adam:bf16,sparsify,saelens,dictlearn]
               [--dead 0.1] [--steps 4]

PYTHON is an interpreter that has sae-lens, eai-sparsify, dictionary-learning and torch (`requirements.txt` beside this file). A round is one
process of each; ratios are of neighbours in a round, and their median is printed with every peer's configuration. Rows are standard normal,
made once for each shape; both sides read the same file. Needs numpy. Prints a table in Markdown.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).parent
SHAPES = [(640, 10240, 32, 2048), (768, 24576, 32, 4096), (2048, 16384, 64, 2048)]
NAMES = {
    "sparsify_adam:bf16": "sparsify, Adam, wrapped in bf16 autocast",
    "sparsify_adam": "sparsify, Adam, f32",
    "sparsify": "sparsify as shipped (signum, f32)",
    "saelens": "SAELens TopK as shipped (f32)",
    "saelens:bf16": "SAELens TopK, bf16 autocast",
    "dictlearn": "dictionary_learning TopK as shipped (f32)",
    "dictlearn:bf16": "dictionary_learning TopK, wrapped in bf16 autocast",
}


def last_json(command, env=None):
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def ours(options, shape, rows):
    d, features, k, batch = shape
    command = [options.sae, "--quiet", "--json", "bench", "--d", d, "--d-sae", features, "--k", k, "--batch", batch,
               "--steps", 2 * options.steps, "--data", rows, "--dead", options.dead]
    times = last_json([str(part) for part in command])["times"]
    return times["tokens_per_second"], times["peak_memory"] / 2**20


def peer(options, name, shape, folder):
    d, features, k, batch = shape
    library, _, precision = name.partition(":")
    command = [options.python, HERE / "peers.py", "--lib", library, "--d", d, "--F", features, "--k", k, "--B", batch,
               "--steps", options.steps, "--skip", 2, "--max-seconds", 1, "--data", folder, "--dead", options.dead,
               "--auxk", 1 / 32 if options.dead else 0]
    command += ["--autocast"] if precision == "bf16" else []
    env = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    found = last_json([str(part) for part in command], env)
    return batch / found["step_s_median_all"], found["rss_mib"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sae", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--shapes", default="0,1,2")
    parser.add_argument("--dead", type=float, default=0.0)
    parser.add_argument("--peers", default="sparsify_adam:bf16,sparsify,saelens,dictlearn")
    options = parser.parse_args()
    import numpy

    print("| d, F, k, B | peer | peer, tokens/s | sae, tokens/s | ratio, median (of) | peer, MiB | sae, MiB |")
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    for shape in [SHAPES[int(i)] for i in options.shapes.split(",")]:
        with tempfile.TemporaryDirectory() as folder:
            rows = numpy.random.default_rng(0).standard_normal((2 * shape[3], shape[0]), dtype=numpy.float32)
            numpy.save(pathlib.Path(folder) / "train.npy", rows)
            rows.tofile(pathlib.Path(folder) / "rows.f32")
            for name in options.peers.split(","):
                found = []
                for _ in range(options.rounds):
                    mine = ours(options, shape, pathlib.Path(folder) / "rows.f32")
                    theirs = peer(options, name, shape, folder)
                    found.append((mine[0] / theirs[0], *mine, *theirs))
                middle = [statistics.median(column) for column in zip(*found)]
                ratios = ", ".join(f"{ratio[0]:.2f}" for ratio in found)
                print(f"| {', '.join(map(str, shape))} | {NAMES.get(name, name)} | {middle[3]:.0f} | {middle[1]:.0f} | "
                      f"**{middle[0]:.2f}** ({ratios}) | {middle[4]:.0f} | {middle[2]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
