#!/usr/bin/env python3
"""Time to equal FVU: `sae train` and sparsify (Adam), each at the best learning rate of its own sweep, on the same rows.

    quality.py --sae PROGRAM --python PYTHON --rows train.npy --d-sae 4096 --k 32 --batch 1024 --tokens 512000
               [--rates 1e-3,2e-3,3e-3,5e-3] [--our-rates …] [--shares …] [--rounds 3] [--bf16] [--auxk] [--ours="--aux none"] [--dtype f16]

`train.npy` is `[rows, d]` in f32; every row is seen once, so that a batch's FVU before its update is that of rows never trained on. Final
FVU is the mean over the last sixteenth of the batches. sparsify's Trainer is tied to a language model; peers.py repeats its step, with a
constant rate after a warm-up and with the linear decay that its Trainer has, and the better one counts. `sae` runs as it ships; shorter
runs are tried, too, and its time is that of the fastest that is as good as sparsify's best. Then both are run again, in turns, for the
ratio of their times. Reading rows, importing and evaluation count for neither.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).parent


def run(command, env=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return done.stdout


def final(values):
    last = values[-max(len(values) // 16, 1):]
    return sum(last) / len(last)


def peer(o, rate, decay):
    command = [o.python, HERE / "peers.py", "--mode", "curve", "--lib", "sparsify_adam", "--d", o.d, "--F", o.d_sae, "--k", o.k,
               "--B", o.batch, "--steps", o.tokens // o.batch, "--lr", rate, "--warmup", 25, "--data", pathlib.Path(o.rows).parent]
    command += ["--autocast"] * o.bf16 + ["--decay"] * decay + ["--auxk", 1 / 32] * o.auxk
    env = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    text = run(command, env)
    curve = json.loads(text[text.index("{"):])["curve"]
    return final([fvu for _, fvu in curve]), curve[-1][0]


def ours(o, data, rate, tokens):
    import pyarrow.parquet as parquet
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        rates = ["--learning-rate", rate] if rate else []
        run([o.sae, "train", "--quiet", "--data", data, "--out", out, "--d-sae", o.d_sae, "--k", o.k, "--batch", o.batch, "--tokens", tokens,
             "--log-every", 4, "--checkpoint-every", 1_000_000, *rates, *shlex.split(o.ours)])
        table = parquet.read_table(out / "metrics.parquet").to_pydict()
        return final(table["metrics/fvu"]), table["seconds"][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sae", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--rows", required=True)
    for name in ("--d-sae", "--k", "--batch", "--tokens"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--rates", default="1e-3,2e-3,3e-3,5e-3")
    parser.add_argument("--our-rates", help="for sae, beside its default; as --rates if not given")
    parser.add_argument("--shares", default="0.4,0.6,0.8,1.0", help="lengths of our runs, as shares of the tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="sparsify in bf16 autocast")
    parser.add_argument("--auxk", action="store_true", help="sparsify with auxk_alpha 1/32 (its default is 0)")
    parser.add_argument("--ours", default="", help="further options of `sae train`")
    parser.add_argument("--dtype", default="f32", help="how `sae import` stores the rows: f16 if they came from such a dataset")
    o = parser.parse_args()
    import numpy
    shape = numpy.load(o.rows, mmap_mode="r").shape
    o.d = shape[1]
    if shape[0] < o.tokens:
        parser.error(f"{o.rows} has {shape[0]} rows")
    rates = [float(rate) for rate in o.rates.split(",")]
    our_rates = [float(rate) for rate in (o.our_rates or o.rates).split(",")]
    with tempfile.TemporaryDirectory(dir=pathlib.Path(o.rows).parent) as folder:
        data = pathlib.Path(folder) / "data"
        run([o.sae, "import", "--quiet", "--dtype", o.dtype, o.rows, "--out", data])
        print(f"d {o.d}, F {o.d_sae}, k {o.k}, B {o.batch}, {o.tokens} tokens")
        print("| side | learning rate | tokens | FVU | seconds |\n|---|---:|---:|---:|---:|", flush=True)
        found = {}
        for decay in (False, True):
            for rate in rates:
                fvu, seconds = peer(o, rate, decay)
                found[rate, decay] = fvu
                name = "sparsify, Adam" + ", bf16 autocast" * o.bf16 + ", linear decay" * decay
                print(f"| {name} | {rate:g} | {o.tokens} | {fvu:.4f} | {seconds:.1f} |", flush=True)
        best = min(found, key=found.get)
        target = found[best]
        chosen = None
        for share in [float(share) for share in o.shares.split(",")]:
            tokens = int(o.tokens * share) // o.batch * o.batch
            for rate in [None, *our_rates]:
                fvu, seconds = ours(o, data, rate, tokens)
                print(f"| sae | {rate if rate else 'default'} | {tokens} | {fvu:.4f} | {seconds:.1f} |", flush=True)
                if fvu <= target and (chosen is None or seconds < chosen[3]):
                    chosen = (fvu, rate, tokens, seconds)
        if chosen is None:
            return print(f"sae never reached FVU {target:.4f}")
        ratios = []
        for _ in range(o.rounds):
            mine, theirs = ours(o, data, *chosen[1:3])[1], peer(o, *best)[1]
            ratios.append(theirs / mine)
        print(f"\nFVU {target:.4f} (sparsify, rate {best[0]:g}{', linear decay' * best[1]}) and {chosen[0]:.4f} (sae, {chosen[2]} tokens): "
              f"sae is {statistics.median(ratios):.2f} times as fast ({', '.join(f'{r:.2f}' for r in ratios)})")


if __name__ == "__main__":
    main()
