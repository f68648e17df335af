#!/usr/bin/env python3
"""Shards as Ray tasks, then the merge.

    python ray_shards.py 8 "sae train --config sweep.toml --out sweep" "sae train --config sweep.toml --merge --out sweep"

Run it in a folder that all nodes see. A task that dies is tried again, on whatever node is free, and continues where it was.
"""

import os
import shlex
import subprocess
import sys

import ray


@ray.remote(num_cpus=1, max_retries=5, retry_exceptions=True)
def shard(i, n, command, folder):
    subprocess.run([*shlex.split(command), "--shard", f"{i}/{n}", "--threads", "1", "--quiet"], cwd=folder, check=True)


if __name__ == "__main__":
    n, command, merge = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    ray.init()  # The cluster of RAY_ADDRESS, else one of this machine's processors.
    ray.get([shard.remote(i, n, command, os.getcwd()) for i in range(n)])
    subprocess.run(shlex.split(merge), check=True)
