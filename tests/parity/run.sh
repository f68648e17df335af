#!/usr/bin/env bash
# Compares `sae logits` with Hugging Face transformers on one model: run.sh [MODEL_DIR]
# SAE is the program (target/release/sae), PARITY_VENV the Python environment, made where it is not there yet.
# Skips loudly where there is no Python or no package registry.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
model=${1:-$here/../../assets/model}
sae=${SAE:-$here/../../target/release/sae}
venv=${PARITY_VENV:-$here/.venv-parity}
python="$venv/bin/python"

[ -f "$model/config.json" ] || { echo "no model in $model" >&2; exit 1; }
[ -x "$sae" ] || { echo "no program $sae: cargo build --release, or set SAE" >&2; exit 1; }

if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    if ! python3 -m venv "$venv" || ! "$python" -m pip install -q --no-cache-dir --no-deps -r "$here/requirements.txt"; then
        echo "SKIPPED: comparison with transformers (no Python 3.11, or no package registry within reach)"
        exit 0
    fi
    "$python" "$here/torch_without_cuda.py"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi

"$python" "$here/selftest.py"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
for text in \
    "It was a bright cold day in April, and the clocks were striking thirteen. The old man at the gate, who had seen many such days, pulled his coat about him and said nothing; there was, after all, nothing left to say." \
    $'def mean(values):\n    """The mean of 12 or 345 values."""\n    total = 0.0\n    for value in values:\n        total += value\n    return total / len(values)\n' \
    "Zoë’s “naïve” café cost 3,50 € – 日本語 🙂, n'est-ce pas ?  Two  spaces, a tab	and an end. "; do
    n=$((n + 1))
    echo "== text $n"
    "$sae" logits --model "$model" --text "$text" --out "$work/$n.safetensors"
    "$python" "$here/check.py" "$model" "$work/$n.safetensors"
done
