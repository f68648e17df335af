"""What a person waits for: text → activations → dictionary → evaluated, indexed, explained, each command timed.

    whole_job.py --sae PROGRAM [--model default] --text FILES --hook blocks.2.hook_resid_post [--tokens 200000] [--d-sae 2048] [--k 32]
                 [--train-tokens 400000] [--context-length 256] [--rounds 3]

A round does all of it in an empty folder. Medians of wall and processor seconds and of tokens (features for the explanations) per second.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def timed(command):
    begun = time.perf_counter()
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sae", required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--text", required=True)
    parser.add_argument("--hook", default="blocks.2.hook_resid_post")
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--train-tokens", type=int, default=400_000)
    parser.add_argument("--context-length", type=int, default=256)
    parser.add_argument("--d-sae", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds, rows = [], 0
    for _ in range(options.rounds):
        folder = pathlib.Path(tempfile.mkdtemp())
        data, run = folder / "data", folder / "run"
        commands = {
            "harvest": ["harvest", "--model", options.model, "--text", options.text, "--hook", options.hook, "--out", data,
                        "--tokens", options.tokens, "--context-length", options.context_length, "--json", "-q"],
            "train": ["train", "--data", data, "--out", run, "--d-sae", options.d_sae, "--k", options.k,
                      "--tokens", options.train_tokens, "-q"],
            "evaluate": ["evaluate", run, "-q", "--json"],
            "index": ["index", run, "-q", "--json"],
            "explain": ["explain", run, "-q", "--json"],
        }
        results = {name: timed([options.sae, *command]) for name, command in commands.items()}
        rows = json.loads(results["harvest"][3])["rows"]
        rounds.append(results)
        shutil.rmtree(folder)
    counts = {"harvest": (rows, "tokens"), "train": (options.train_tokens, "tokens"), "evaluate": (None, ""),
              "index": (rows, "tokens"), "explain": (options.d_sae, "features")}
    print(f"{options.model}, {options.hook}, {rows} tokens harvested, F {options.d_sae}, k {options.k}; medians of {options.rounds}")
    print("| command | seconds | processor seconds | MiB | rate |\n|---|---:|---:|---:|---:|")
    total = 0
    for name, (count, unit) in counts.items():
        wall, cpu, memory = (statistics.median(r[name][i] for r in rounds) for i in range(3))
        total += wall
        rate = f"{count / wall:.0f} {unit}/s" if count else ""
        print(f"| `sae {name}` | {wall:.1f} | {cpu:.1f} | {memory:.0f} | {rate} |")
    print(f"| all | {total:.1f} | | | |")


if __name__ == "__main__":
    main()
