"""Time per iteration of expectation truncation: ProSper (the models' original program) and `sae latent` in turns, on one thread each.

ProSper needs an old numpy: a Python 3.8 with numpy==1.19.5 scipy==1.5.4 tables==3.6.1 h5py==3.1.0 six mpi4py mpich, and its source
(github.com/ml-uol/prosper, 0865c1d), named with --source; --library is where libmpi.so is, if the system has none. This script
needs pyarrow. Each program makes bars of the same kind by itself: 5 x 5 pixels, 10 bars, 1000 rows, with the candidates
(H') and the largest number of active latents (γ) of ProSper's examples.

    prosper.py --python /path/to/python3.8 --source prosper --sae target/release/sae [--model bsc|tsc|dsc|mca|mmca|gsc] [--rounds 3] [--iterations 20]
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ORIGINAL = """
import importlib, sys, time, numpy as np
from prosper.em.annealing import LinearAnnealing
from prosper.utils.barstest import generate_bars_dict
name, n, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
np.random.seed(1)
module = importlib.import_module("prosper.em.camodels." + name + "_et")
# Candidates, active at most, temperature: the same as ours.
candidates, active, T = {"bsc": (8, 5, 5.0), "mca": (8, 5, 4.0), "tsc": (7, 5, 2.0), "dsc": (7, 5, 2.0), "mmca": (7, 5, 4.0), "gsc": (7, 4, 4.0)}[name]
truth = {"W": 10 * generate_bars_dict(10), "pi": 0.2, "sigma": 2.0}
if name == "dsc":
    m = module.DSC_ET(25, 10, candidates, active, states=np.array([0.0, 1.0, 2.0]))
    truth["pi"] = np.array([0.8, 0.15, 0.05])
elif name == "gsc":
    m = module.GSC(25, 10, candidates, active, "scalar")
    truth = {"W": truth["W"], "pi": 0.2 * np.ones(10), "mu": np.ones(10), "psi_sq": np.eye(10), "sigma_sq": 1.0}
else:
    m = getattr(module, name.upper() + "_ET")(25, 10, candidates, active)
data = m.generate_data(truth, rows)
params = m.standard_init(data)
anneal = LinearAnnealing(n)
anneal["T"] = [(0, T), (0.8, 1.0)]
anneal["Ncut_factor"] = [(0, 0.0), (2.0 / 3, 1.0)]
anneal["anneal_prior"] = False
anneal.reset()
begun = time.perf_counter()
for _ in range(n):
    params = m.step(anneal, params, data)
    anneal.next()
print((time.perf_counter() - begun) / n)
"""


def original(options):
    command = [options.python, "-c", ORIGINAL, options.model, str(options.iterations), str(options.rows)]
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if options.source:
        environment["PYTHONPATH"] = options.source
    if options.library:
        environment["LD_LIBRARY_PATH"] = options.library
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return float(done.stdout.split()[-1])


def ours(options, data, out):
    subprocess.run(
        [options.sae, "latent", "--model", options.model, "--data", data, "--latents", "10", "--iterations",
         str(options.iterations), "--out", out, "-q", "--threads", "1"],
        check=True, stdout=subprocess.DEVNULL)
    # What is written at the end is not part of an iteration: the last step's time.
    import pyarrow.parquet
    steps = pyarrow.parquet.read_table(pathlib.Path(out) / "truncation/steps.parquet")
    return steps.column("seconds")[-1].as_py() / options.iterations


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--source")
    parser.add_argument("--library")
    parser.add_argument("--sae", required=True)
    parser.add_argument("--model", choices=["bsc", "tsc", "dsc", "mca", "mmca", "gsc"], default="bsc")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=20)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/bars"
        subprocess.run([options.sae, "synth", "bars", "--model", options.model, "--rows", str(options.rows), "--out", data, "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        for n in range(options.rounds):
            a, b = original(options), ours(options, data, f"{folder}/run{n}")
            ratios.append(a / b)
            print(f"ProSper {1e3 * a:8.1f} ms, sae {1e3 * b:8.1f} ms per iteration: {a / b:.1f} times", flush=True)
    print(json.dumps({"model": options.model, "times": statistics.median(ratios)}))


if __name__ == "__main__":
    main()
