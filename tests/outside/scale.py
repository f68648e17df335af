"""Sweeps and harvests in shards under engines that exist: Ray, GNU parallel. Processes are killed on the way; what comes out must be what a
single process gives, bit for bit.

    scale.py SAE ENGINE WORK        ENGINE is `ray` or `parallel`
"""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

SAE, ENGINE, WORK = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], pathlib.Path(sys.argv[3])
FILES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "scale-out"
SHARDS = 4
SWEEP = """
[base]
data = "data"
d_sae = 256
batch = 256
tokens = 150_000
data_seed = 5
checkpoint_every = 40
[cross]
method = ["topk", "batch-topk"]
k = [4, 8]
seed = [0, 1]
"""


def sae(*words):
    subprocess.run([SAE, "--quiet", *words], cwd=WORK, check=True, stdout=subprocess.DEVNULL)


def text(folder):
    folder.mkdir(parents=True)
    lines = [f"Line {i}: the {'river' if i % 3 else 'letter'} of day {i * 7919 % 365} was long, and {i} people saw it. " * 6 for i in range(80)]
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))


def weights(sweep):
    files = sorted((WORK / sweep).glob("*/sae_weights.safetensors"))
    return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


class Killer(threading.Thread):
    """Kills -9 the processes that the shards' records name, a few times."""

    def __init__(self, sweep):
        super().__init__(daemon=True)
        self.sweep, self.hits, self.over = WORK / sweep, 0, threading.Event()

    def run(self):
        seen = set()
        while self.hits < 3 and not self.over.is_set():
            for record in self.sweep.glob("shards/*/work.json"):
                work = json.loads(record.read_text())
                process = (work["process"], work["starts"])
                # Once it has written a checkpoint, so that there is something to continue.
                begun = any((self.sweep / run / "checkpoints").exists() for run in work["runs"])
                if work["status"] == "working" and begun and process not in seen and self.hits < 3:
                    seen.add(process)
                    try:
                        os.kill(work["process"], signal.SIGKILL)
                        self.hits += 1
                    except ProcessLookupError:
                        pass
            time.sleep(0.02)


def sharded(out):
    train = f"{SAE} train --config sweep.toml --out {out}"
    merge = f"{SAE} train --config sweep.toml --merge --out {out} --quiet"
    if ENGINE == "ray":
        command = [sys.executable, FILES / "ray_shards.py", str(SHARDS), train, merge]
    else:
        command = ["bash", FILES / "parallel.sh", str(SHARDS), "2", train, merge]
    killer = Killer(out)
    killer.start()
    subprocess.run(command, cwd=WORK, check=True, stdout=subprocess.DEVNULL)
    killer.over.set()
    killer.join()
    return killer.hits


def main():
    text(WORK / "text")
    (WORK / "sweep.toml").write_text(SWEEP)
    sae("harvest", "--text", "text", "--hook", "blocks.1.hook_resid_post", "--out", "data")
    sae("train", "--config", "sweep.toml", "--out", "whole")
    kills = sharded("shards")
    whole, merged = weights("whole"), weights("shards")
    assert len(whole) == 8 and whole == merged, (whole, merged)
    works = [json.loads(file.read_text()) for file in sorted((WORK / "shards").glob("shards/*/work.json"))]
    assert [work["status"] for work in works] == ["done"] * SHARDS, works
    assert sum(work["starts"] for work in works) >= SHARDS + kills, works
    assert kills > 0, "no kill hit"
    print(f"{ENGINE}: {SHARDS} shards, {kills} killed, {len(whole)} runs the same bit for bit")


main()
