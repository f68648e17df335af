"""A training in an object store that one machine begins and another finishes: killed with `kill -9` once a checkpoint is in the store, resumed with an
empty cache, through a proxy that drops, throttles and cuts short. The weights must be those of an undisturbed training, bit for bit.

    resumed.py SAE WORK        WORK is where bucket.py worked; run with the Python of an environment that has moto[server]
"""

import hashlib
import json
import signal
import time

import boto3
from bucket import WORK, Machine, Proxy, local, objects, start_store

TRAIN = ["--d-sae", "512", "--k", "16", "--tokens", "300000", "--checkpoint-every", "10"]
SWEEP = """
[base]
data = "s3://lake/data"
d_sae = 256
tokens = 300000
checkpoint_every = 10
[cross]
k = [8, 16]
"""


def weights(run):
    return hashlib.sha256((WORK / run / "sae_weights.safetensors").read_bytes()).hexdigest()


def steps(store, run):
    """Steps of the checkpoints that are whole in the store."""
    return {int(name.split("/")[-2]) for name in objects(store, run) if name.endswith("/checkpoint.json")}


def killed(machine, store, run, *words):
    """Begins the command and kills it once there is a newer checkpoint of the run in the store; the step."""
    before = max(steps(store, run), default=0)
    process = machine.begin(*words)
    while max(steps(store, run), default=0) <= before:
        assert process.poll() is None, f"{words}: ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return max(steps(store, run))


def finished(store, run):
    there = objects(store, run)
    assert not any("checkpoints" in name for name in there), f"{run}: {sorted(there)}"
    record = json.loads(store.get_object(Bucket="lake", Key=f"{run}/run.json")["Body"].read())
    assert record["status"] == "finished", record["status"]
    return hashlib.sha256(store.get_object(Bucket="lake", Key=f"{run}/sae_weights.safetensors")["Body"].read()).hexdigest()


def main():
    server, port, key = start_store()
    try:
        own = {"aws_access_key_id": key[0], "aws_secret_access_key": key[1]}
        store = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **own)
        for file in (WORK / "data").iterdir():
            if file.is_file() and not file.name.startswith("."):
                store.put_object(Bucket="lake", Key=f"data/{file.name}", Body=file.read_bytes())
        proxy = Proxy(("127.0.0.1", port))
        machine = lambda name: Machine(f"resumed-{name}", proxy, key)
        local("train", "--data", "data", *TRAIN, "--out", "undisturbed")

        # Begun on a, finished on b.
        a, b = machine("a"), machine("b")
        step = killed(a, store, "one", "train", "--data", "s3://lake/data", *TRAIN, "--out", "s3://lake/one")
        said = b.run("train", "--data", "s3://lake/data", *TRAIN, "--out", "s3://lake/one", fails=True)
        assert "already holds a run" in said and "--resume" in said, said
        proxy.faults = True
        said = b.run("train", "--out", "s3://lake/one", "--resume")
        proxy.faults = False
        assert "resuming from step" in said, said
        assert finished(store, "one") == weights("undisturbed"), "the weights differ"
        said = a.run("train", "--out", "s3://lake/one", "--resume")
        print(f"killed after step {step} on one machine, finished on another: the same weights; {proxy.requests} requests, {proxy.failed}")

        # To and fro.
        first = killed(a, store, "two", "train", "--data", "s3://lake/data", *TRAIN, "--out", "s3://lake/two")
        second = killed(b, store, "two", "train", "--out", "s3://lake/two", "--resume")
        said = a.run("train", "--out", "s3://lake/two", "--resume")
        assert f"resuming from step {second}" in said, f"{second}: {said}"
        assert finished(store, "two") == weights("undisturbed"), "the weights differ"
        print(f"killed after step {first} on one machine, {second} on another, finished on the first: the same weights")

        # A shard of a sweep: the same command again, on a different machine.
        (WORK / "resumed.toml").write_text(SWEEP)
        shard = ["train", "--config", "resumed.toml", "--shard", "0/1", "--out", "s3://lake/sweep"]
        killed(a, store, "sweep", *shard)
        b.run(*shard)
        b.run("train", "--config", "resumed.toml", "--merge", "--out", "s3://lake/sweep")
        (WORK / "local.toml").write_text(SWEEP.replace("s3://lake/data", "data"))
        local("train", "--config", "local.toml", "--out", "sweep")
        runs = sorted(run.name for run in (WORK / "sweep").iterdir() if (run / "run.json").exists())
        for run in runs:
            assert finished(store, f"sweep/{run}") == weights(f"sweep/{run}"), f"{run}: the weights differ"
        print(f"a shard of a sweep of {len(runs)} runs, killed on one machine, repeated on another: the same weights")
        a.kept_secret()
        b.kept_secret()
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
