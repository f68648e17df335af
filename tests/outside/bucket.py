"""Datasets and runs in an object store, against moto's S3 server: harvested to it, trained from it, indexed into it, merged from shards that two
processes uploaded, and read in part, through a proxy that counts, delays, drops, throttles and cuts short. Everything must be what the same
commands make on the local disk, bit for bit. moto checks the signature of every request.

    bucket.py SAE WORK        run with the Python of an environment that has moto[server]
"""

import hashlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time

import boto3

SAE, WORK = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
# Requests that moto answers before it begins to check signatures: a bucket, a user, a key, a policy.
UNCHECKED = 4


class Proxy(socketserver.ThreadingTCPServer):
    """Passes requests on to the store, unless it is told to fail."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, store):
        super().__init__(("127.0.0.1", 0), Request)
        self.store, self.delay, self.faults = store, 0.0, False
        self.numbers, self.lock = itertools.count(), threading.Lock()
        self.reset()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def reset(self):
        self.requests, self.sent, self.failed = 0, 0, {"dropped": 0, "throttled": 0, "cut": 0}

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self):
        """What goes wrong with the next request."""
        with self.lock:
            self.requests += 1
            number = next(self.numbers)
            kind = {3: "dropped", 6: "throttled", 9: "cut"}.get(number % 11) if self.faults else None
            if kind:
                self.failed[kind] += 1
            return kind


class Request(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            while self.one():
                pass
        except (OSError, http.client.HTTPException):
            pass

    def one(self):
        line = self.rfile.readline().decode().split()
        if len(line) != 3:
            return False
        method, target, _ = line
        headers = {}
        while (line := self.rfile.readline().strip()):
            name, value = line.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        fault = self.server.fault()
        time.sleep(self.server.delay)
        if fault == "dropped":
            return False
        if fault == "throttled":
            text = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
            self.wfile.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            return True
        upstream = http.client.HTTPConnection(*self.server.store, timeout=60)
        upstream.request(method, target, body=body, headers=headers)
        answer = upstream.getresponse()
        text = answer.read()
        upstream.close()
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        skipped = {"connection", "transfer-encoding", "content-length"}
        lines += [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in skipped]
        length = answer.getheader("content-length") if method == "HEAD" else len(text)
        lines.append(f"content-length: {length or 0}")
        self.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        if fault == "cut" and len(text) > 1:
            self.wfile.write(text[: len(text) // 2])
            return False
        self.wfile.write(text)
        self.server.sent += len(text)
        return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_store():
    port = free_port()
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(UNCHECKED)}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    at = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    nobody = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
    boto3.client("s3", **at, **nobody).create_bucket(Bucket="lake")
    iam = boto3.client("iam", **at, **nobody)
    iam.create_user(UserName="tester")
    key = iam.create_access_key(UserName="tester")["AccessKey"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy(UserName="tester", PolicyName="all", PolicyDocument=json.dumps(everything))
    return server, port, (key["AccessKeyId"], key["SecretAccessKey"])


class Machine:
    """A machine: a cache of its own, and a store that it reaches through a proxy."""

    def __init__(self, name, proxy, key):
        self.cache = WORK / name
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.environment |= {
            "AWS_ENDPOINT_URL": proxy.address,
            "AWS_ACCESS_KEY_ID": key[0],
            "AWS_SECRET_ACCESS_KEY": key[1],
            "SAE_CACHE": str(self.cache),
            "HOME": str(WORK),
        }
        self.key = key

    def run(self, *words, fails=False):
        done = subprocess.run(
            [SAE, "--threads", "2", *words], cwd=WORK, env=self.environment, capture_output=True, text=True, timeout=600
        )
        said = done.stdout + done.stderr
        assert fails == (done.returncode != 0), f"{words}: {said}"
        assert self.key[1] not in said and str(self.cache) not in said, f"{words} shows what it must not: {said}"
        return said

    def begin(self, *words):
        return subprocess.Popen(
            [SAE, "--quiet", "--threads", "1", *words], cwd=WORK, env=self.environment, stdout=subprocess.DEVNULL
        )

    def kept_secret(self):
        for file in self.cache.rglob("*"):
            if file.is_file() and not file.name.endswith(".parquet"):
                assert self.key[1].encode() not in file.read_bytes(), f"{file} holds the secret"


def local(*words):
    subprocess.run([SAE, "--quiet", "--threads", "2", *words], cwd=WORK, check=True, stdout=subprocess.DEVNULL)


def objects(store, prefix):
    found = {}
    for page in store.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=f"{prefix}/"):
        for entry in page.get("Contents", []):
            found[entry["Key"][len(prefix) + 1 :]] = entry["Key"]
    return found


def same(store, prefix, folder):
    """All files are the same; records and curves, which have times in them, are there."""
    there = objects(store, prefix)
    own = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    own = {name: file for name, file in own.items() if not name.startswith("checkpoints") and "/." not in f"/{name}"}
    assert set(there) == set(own), f"{prefix}: {sorted(set(there) ^ set(own))}"
    for name, file in own.items():
        if name.endswith((".json", ".toml", "metrics.parquet")):
            continue
        remote = store.get_object(Bucket="lake", Key=there[name])["Body"].read()
        assert hashlib.sha256(remote).digest() == hashlib.sha256(file.read_bytes()).digest(), f"{prefix}/{name} differs"
    return len(own)


def main():
    server, port, key = start_store()
    try:
        checks(port, key)
    finally:
        server.terminate()


def checks(port, key):
    own = {"aws_access_key_id": key[0], "aws_secret_access_key": key[1]}
    store = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **own)
    proxy = Proxy(("127.0.0.1", port))
    text = ["--text", str(ROOT / "assets" / "corpus"), "--hook", "blocks.2.hook_resid_post"]
    harvest = ["harvest", *text, "--tokens", "100000"]
    train = ["--d-sae", "512", "--k", "16", "--tokens", "100000"]
    local(*harvest, "--out", "data")
    local("train", "--data", "data", *train, "--out", "run")
    local("index", "run")
    for shard in range(2):
        local("harvest", *text, "--tokens", "40000", "--shard", f"{shard}/2", "--out", "shards")
    local("harvest", "--merge", "--out", "shards")

    for turn, faults in (("plain", False), ("faulty", True)):
        proxy.faults = faults
        proxy.reset()
        a, b = Machine(f"{turn}-a", proxy, key), Machine(f"{turn}-b", proxy, key)
        base = f"s3://lake/{turn}"
        a.run(*harvest, "--out", f"{base}/data")
        b.run("train", "--data", f"{base}/data", *train, "--out", f"{base}/run")
        record = json.loads(store.get_object(Bucket="lake", Key=f"{turn}/run/run.json")["Body"].read())
        assert record["data"] == f"{base}/data", record["data"]
        # A different machine finds the dataset by the run's record.
        a.run("index", f"{base}/run")
        made = same(store, f"{turn}/data", WORK / "data") + same(store, f"{turn}/run", WORK / "run")
        both = [m.begin("harvest", *text, "--tokens", "40000", "--shard", f"{i}/2", "--out", f"{base}/shards") for i, m in enumerate((a, b))]
        assert [one.wait(600) for one in both] == [0, 0]
        b.run("harvest", "--merge", "--out", f"{base}/shards")
        made += same(store, f"{turn}/shards", WORK / "shards")
        print(f"{turn}: {made} files the same; {proxy.requests} requests, {proxy.failed}")
        a.kept_secret()
        b.kept_secret()
    assert all(proxy.failed.values()), proxy.failed
    proxy.faults = False

    # A page: a machine that has nothing yet.
    whole = sum(file.stat().st_size for file in (WORK / "run" / "features").glob("*.parquet"))
    for delay in (0.0, 0.05):
        c = Machine(f"page-{delay}", proxy, key)
        proxy.delay = delay
        for what in ("first", "second"):
            proxy.reset()
            began = time.time()
            c.run("export", "s3://lake/plain/run", "--to", "card", "--features", "17", "--out", f"{what}.svg")
            seconds = time.time() - began
            print(f"{what} page, {1000 * delay:.0f} ms per request: {proxy.sent} of {whole} bytes, {proxy.requests} requests, {seconds:.2f} s")
            assert proxy.sent < whole / 3, "a page is a small part"
    proxy.delay = 0.0
    local("export", "run", "--to", "card", "--features", "17", "--out", "local.svg")
    assert (WORK / "local.svg").read_bytes() == (WORK / "first.svg").read_bytes(), "the page differs"

    refusals(store, proxy, key, harvest)
    print("all is as on the local disk")


def refusals(store, proxy, key, harvest):
    """What is in the way, what is not there, and what was not uploaded in time."""
    d = Machine("refused", proxy, key)
    said = d.run(*harvest, "--out", "s3://lake/plain/data", fails=True)
    assert "s3://lake/plain/data" in said and "already finished" in said, said
    said = d.run("index", "s3://lake/nothing", fails=True)
    assert "s3://lake/nothing" in said, said
    stranger = Machine("stranger", proxy, (key[0], "x" * 40))
    said = stranger.run("index", "s3://lake/plain/run", fails=True)
    assert "403" in said and "AWS_PROFILE" in said, said
    # The store goes away before the upload: the same command uploads, and computes nothing again.
    small = ["harvest", "--text", str(ROOT / "assets" / "corpus"), "--tokens", "3000", "--hook", "blocks.2.hook_resid_post"]
    late = Machine("late", proxy, key)
    count = proxy.requests
    gone = threading.Event()

    def refuse():
        # The listing, and then the look for an object of that name, come before the work.
        if proxy.requests - count > 2:
            gone.set()
        return "throttled" if gone.is_set() else None

    original, proxy.fault = proxy.fault, lambda: (original(), refuse())[1]
    said = late.run(*small, "--out", "s3://lake/late", fails=True)
    assert "8 attempts" in said and not objects(store, "late"), said
    proxy.fault = original
    said = late.run(*small, "--out", "s3://lake/late")
    assert "has ended before" in said and "s3://lake/late" in said, said
    assert "dataset.json" in objects(store, "late")
    shutil.rmtree(late.cache)


if __name__ == "__main__":
    main()
