"""What bucket.py made on the local disk, read from other servers: Azurite (Azure Blob Storage, which checks signatures), http-server and Python's
own (web servers with and without ranges), moto as Google's store by its S3 protocol; and harvested to s3rver, a second S3 server. Rows, weights
and a page must be the same, through a proxy that counts, drops, throttles and cuts short.

    stores.py SAE WORK BIN        WORK is where bucket.py worked; BIN has the programs azurite-blob, http-server and s3rver
"""

import base64
import hashlib
import hmac
import os
import pathlib
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import boto3
import bucket
from bucket import SAE, WORK, Machine, Proxy, free_port, same, start_store

BIN = pathlib.Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else None
# The account that everybody's Azurite has, made up here: nothing secret.
ACCOUNT, KEY = "tester", base64.b64encode(b"a key of thirty-two bytes, or so").decode()


def wait_for(port):
    for _ in range(300):
        try:
            bucket.socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens at port {port}")


def start(*words, **environment):
    return subprocess.Popen(words, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def files(folder):
    found = (file for file in folder.rglob("*") if file.is_file())
    return [file for file in found if "checkpoints" not in file.parts and not any(part.startswith(".") for part in file.relative_to(folder).parts)]


class Azurite:
    """Filled by requests that are signed here, with none of the program's code."""

    def __init__(self):
        self.port = free_port()
        self.process = start(
            BIN / "azurite-blob", "--blobPort", str(self.port), "--location", WORK / "azurite", "--silent", "--skipApiVersionCheck",
            AZURITE_ACCOUNTS=f"{ACCOUNT}:{KEY}",
        )
        wait_for(self.port)
        self.ask("PUT", "/lake", {"restype": "container"})
        for prefix in ("data", "run"):
            for file in files(WORK / prefix):
                name = f"{prefix}/{file.relative_to(WORK / prefix)}"
                self.ask("PUT", f"/lake/{name}", {}, file.read_bytes())

    def ask(self, method, path, query, body=b""):
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        own = {"x-ms-blob-type": "BlockBlob", "x-ms-date": date, "x-ms-version": "2021-08-06"}
        kind = "application/octet-stream"
        lines = [method, "", "", str(len(body)) if body else "", "", kind, "", "", "", "", "", ""]
        lines += [f"{name}:{value}" for name, value in sorted(own.items())]
        resource = f"/{ACCOUNT}/{ACCOUNT}{path}" + "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
        text = "\n".join([*lines, resource])
        proof = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        url = f"http://127.0.0.1:{self.port}/{ACCOUNT}{path}?{urllib.parse.urlencode(query)}"
        headers = {**own, "Content-Type": kind, "Authorization": f"SharedKey {ACCOUNT}:{proof}"}
        urllib.request.urlopen(urllib.request.Request(url, data=body, method=method, headers=headers)).read()

    def signature(self):
        """A shared access signature of the service for reading and listing the container, an hour long."""
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        resource = f"/blob/{ACCOUNT}/lake"
        lines = ["rl", "", expiry, resource, "", "", "", "2021-08-06", "c", "", "", "", "", "", "", ""]
        proof = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
        return urllib.parse.urlencode({"sv": "2021-08-06", "sr": "c", "sp": "rl", "se": expiry, "sig": base64.b64encode(proof).decode()})


class Reader(Machine):
    """A machine that has these variables and no others of a store."""

    def __init__(self, name, secret, **variables):
        super().__init__(name, Proxy(("127.0.0.1", 9)), ("nobody", secret))
        self.environment = {k: v for k, v in self.environment.items() if not k.startswith("AWS_")} | variables


def weights(folder):
    return hashlib.sha256((folder / "sae_weights.safetensors").read_bytes()).hexdigest()


def read(name, base, reader, proxy, whole, parts=True):
    """A page of the run costs a small part of it; a training reads the dataset whole, while the server fails."""
    began, asked, failed = time.time(), proxy.requests, dict(proxy.failed)
    proxy.reset()
    reader.run("export", f"{base}/run", "--to", "card", "--features", "17", "--out", f"{name}.svg")
    assert (WORK / f"{name}.svg").read_bytes() == (WORK / "local.svg").read_bytes(), f"{name}: the page differs"
    page = proxy.sent
    assert not parts or page < whole / 2, f"{name}: a page took {page} of {whole} bytes"
    proxy.faults = True
    reader.run("train", "--data", f"{base}/data", "--d-sae", "512", "--k", "16", "--tokens", "100000", "--out", f"{name}-run")
    proxy.faults = False
    assert weights(WORK / f"{name}-run") == weights(WORK / "run"), f"{name}: the weights differ"
    said = reader.run("harvest", "--text", f"{base}/data", "--hook", "blocks.0.hook_resid_post", "--out", f"{base}/new", fails=True)
    assert "only read" in said, said
    reader.kept_secret()
    print(f"{name}: page and weights the same; a page took {page} of {whole} bytes; {proxy.requests} requests, {proxy.failed}, {time.time() - began:.1f} s")


def azure(whole):
    server = Azurite()
    try:
        proxy = Proxy(("127.0.0.1", server.port))
        endpoint = f"{proxy.address}/{ACCOUNT}"
        string = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"
        read("azure", "az://lake", Reader("azure", KEY, AZURE_STORAGE_CONNECTION_STRING=string), proxy, whole)
        signature = server.signature()
        string = f"BlobEndpoint={endpoint};SharedAccessSignature={signature}"
        secret = urllib.parse.parse_qs(signature)["sig"][0]
        shared = Reader("azure-shared", secret, AZURE_STORAGE_CONNECTION_STRING=string)
        shared.run("export", "az://lake/run", "--to", "card", "--features", "17", "--out", "shared.svg")
        assert (WORK / "shared.svg").read_bytes() == (WORK / "local.svg").read_bytes()
        wrong = base64.b64encode(b"a different key").decode()
        string = f"AccountName={ACCOUNT};AccountKey={wrong};BlobEndpoint={endpoint}"
        said = Reader("azure-wrong", wrong, AZURE_STORAGE_CONNECTION_STRING=string).run("index", "az://lake/run", fails=True)
        assert "403" in said and "AZURE_STORAGE_KEY" in said, said
    finally:
        server.process.terminate()


def web(whole):
    for name, words, parts in (
        ("http-server", [BIN / "http-server", WORK, "-a", "127.0.0.1", "-c-1", "-s", "-p"], True),
        ("python", [sys.executable, "-m", "http.server", "-b", "127.0.0.1", "-d", WORK], False),
    ):
        port = free_port()
        server = start(*words, str(port))
        try:
            wait_for(port)
            proxy = Proxy(("127.0.0.1", port))
            read(name, proxy.address, Reader(name, "nothing secret"), proxy, whole, parts)
        finally:
            server.terminate()


def google(whole):
    server, port, key = start_store()
    try:
        own = {"aws_access_key_id": key[0], "aws_secret_access_key": key[1]}
        store = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **own)
        for prefix in ("data", "run"):
            for file in files(WORK / prefix):
                store.put_object(Bucket="lake", Key=f"{prefix}/{file.relative_to(WORK / prefix)}", Body=file.read_bytes())
        proxy = Proxy(("127.0.0.1", port))
        host = proxy.address.removeprefix("http://")
        reader = Reader("google", key[1], STORAGE_EMULATOR_HOST=host, GS_ACCESS_KEY_ID=key[0], GS_SECRET_ACCESS_KEY=key[1])
        read("google", "gs://lake", reader, proxy, whole)
    finally:
        server.terminate()


def second():
    """s3rver: harvested to and indexed in the store."""
    port, key = free_port(), ("S3RVER", "S3RVER")
    server = start(BIN / "s3rver", "-a", "127.0.0.1", "-p", str(port), "-d", WORK / "s3rver", "-s", "--configure-bucket", "lake")
    try:
        wait_for(port)
        own = {"aws_access_key_id": key[0], "aws_secret_access_key": key[1]}
        store = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **own)
        proxy = Proxy(("127.0.0.1", port))
        machine = Machine("s3rver-machine", proxy, key)
        proxy.faults = True
        text = ["--text", str(bucket.ROOT / "assets" / "corpus"), "--hook", "blocks.2.hook_resid_post"]
        machine.run("harvest", *text, "--tokens", "100000", "--out", "s3://lake/data")
        machine.run("train", "--data", "s3://lake/data", "--d-sae", "512", "--k", "16", "--tokens", "100000", "--out", "s3://lake/run")
        proxy.faults = False
        made = same(store, "data", WORK / "data")
        remote = store.get_object(Bucket="lake", Key="run/sae_weights.safetensors")["Body"].read()
        assert hashlib.sha256(remote).hexdigest() == weights(WORK / "run"), "s3rver: the weights differ"
        print(f"s3rver: {made} files and the weights the same; {proxy.requests} requests, {proxy.failed}")
    finally:
        server.terminate()


def main():
    whole = sum(file.stat().st_size for file in (WORK / "run" / "features").glob("*.parquet"))
    azure(whole)
    web(whole)
    google(whole)
    second()
    print("other stores hold what the local disk holds")


if __name__ == "__main__":
    main()
