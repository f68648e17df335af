#!/usr/bin/env bash
# The peers' own classes (SAELens, sparsify, dictionary_learning, circuit-tracer) load what `sae export` wrote of a run and of every golden
# dictionary: peers.sh RUN [DATA]
# By hand: its packages took 5 minutes to install, torch alone has 1.2 GB, so CI has `exports.py`, which reads the same files without it.
# SAE is the program, PEERS_VENV the environment, made where it is not there yet.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=$1
sae=${SAE:-$here/../../target/debug/sae}
venv=${PEERS_VENV:-$here/.venv-peers}
if ! cmp -s "$here/peers.txt" "$venv/installed.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install -q --no-deps -r "$here/../parity/requirements.txt"
    "$venv/bin/python" -m pip install -q --no-deps -r "$here/peers.txt"
    "$venv/bin/python" "$here/../parity/torch_without_cuda.py"
    cp "$here/peers.txt" "$venv/installed.txt"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$venv/bin/python" "$here/peers.py" "$sae" "$run" "$work" "${@:2}"
"$venv/bin/python" "$here/peers_formats.py" "$sae" "$here/../../sae/tests/dictionaries" "$work"
