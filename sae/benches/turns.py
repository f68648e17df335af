"""Two programs doing the same job in turns: the ratio of their times, with all of them next to the median.

    turns.py --before PROGRAM --after PROGRAM [--rounds 5] [--fresh FOLDER --copy-of FOLDER] -- ARGUMENTS

ARGUMENTS are what both are called with. With --copy-of a job that changes a folder gets a fresh copy at --fresh before every run. Who
begins alternates. Wall and processor seconds are those of the whole process; ratios are before / after, above 1 where `after` is faster.

    turns.py --before old/sae --after target/release/sae --fresh run --copy-of sae-demo/topk -- index run --data sae-demo/data -q
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time


def run(program, options):
    """Wall seconds, processor seconds, peak MiB."""
    if options.copy_of:
        shutil.rmtree(options.fresh, ignore_errors=True)
        shutil.copytree(options.copy_of, options.fresh)
    begun = time.perf_counter()
    child = subprocess.Popen([program, *options.arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    if status != 0:
        sys.exit(f"{program} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fresh", type=pathlib.Path)
    parser.add_argument("--copy-of", type=pathlib.Path)
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    if options.copy_of and not options.fresh:
        parser.error("--copy-of needs --fresh")
    pairs = []
    print(f"{'round':>5} {'before s':>9} {'cpu':>7} {'MiB':>6}   {'after s':>9} {'cpu':>7} {'MiB':>6}   {'ratio':>6} {'cpu':>6}")
    # A run of each to warm up what the system keeps of files.
    for program in (options.before, options.after):
        run(program, options)
    for n in range(options.rounds):
        order = [options.before, options.after] if n % 2 == 0 else [options.after, options.before]
        times = {program: run(program, options) for program in order}
        (a, ac, am), (b, bc, bm) = times[options.before], times[options.after]
        pairs.append((a / b, ac / bc))
        print(f"{n + 1:>5} {a:>9.2f} {ac:>7.2f} {am:>6.0f}   {b:>9.2f} {bc:>7.2f} {bm:>6.0f}   {a / b:>6.2f} {ac / bc:>6.2f}", flush=True)
    wall, cpu = (statistics.median(pair[i] for pair in pairs) for i in range(2))
    print(f"median of {options.rounds}: {wall:.2f} times as fast, {cpu:.2f} times less processor time")


if __name__ == "__main__":
    main()
