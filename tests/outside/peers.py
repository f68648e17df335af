"""The peers' own classes load what `sae export` wrote: peers.py SAE RUN WORK [DATA]. Needs torch, see peers.sh.

Features must be the index's own codes to 1e-5 relative, outputs agree with a plain decode of these codes to 1e-4.
"""

import importlib.metadata
import os
import pathlib
import sys

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import numpy as np
import torch
from safetensors.numpy import load_file

from exports import export, some_rows


def saelens(folder, x):
    from sae_lens import SAE

    sae = SAE.load_from_disk(str(folder), device="cpu")
    codes = sae.encode(x)
    return codes, sae.decode(codes)


def sparsify(folder, x):
    from sparsify import SparseCoder

    (folder,) = folder.glob("layers.*")
    sae = SparseCoder.load_from_disk(folder, device="cpu")
    kept = sae.encode(x)
    codes = torch.zeros(len(x), sae.num_latents).scatter_(1, kept.top_indices.long(), kept.top_acts.float())
    return codes, sae(x).sae_out


def dictionary_learning(folder, x):
    from dictionary_learning.utils import load_dictionary

    torch.load(folder / "trainer_0/ae.pt", weights_only=True)
    sae, config = load_dictionary(str(folder / "trainer_0"), device="cpu")
    codes = sae.encode(x)
    return codes, sae.decode(codes)


def main():
    program, run, work = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3]).resolve()
    data = pathlib.Path(sys.argv[4]).resolve() if len(sys.argv) > 4 else run.parent / "data"
    rows, ours = some_rows(run, data)
    weights = load_file(run / "sae_weights.safetensors")
    expected = np.zeros((len(rows), weights["W_dec"].shape[0]))
    for i, row in enumerate(ours):
        expected[i, row["features"]] = row["values"]
    output = expected @ weights["W_dec"].astype(np.float64) + weights["b_dec"]
    failed = False
    for name, package, reader in [
        ("saelens", "sae-lens", saelens), ("sparsify", "eai-sparsify", sparsify),
        ("dictionary-learning", "dictionary-learning", dictionary_learning),
    ]:
        export(program, run, work / f"peer-{name}", "--to", name)
        with torch.no_grad():
            codes, out = reader(work / f"peer-{name}", torch.tensor(rows, dtype=torch.float32))
        codes, out = codes.double().numpy(), out.double().numpy()
        differing = int((np.abs(codes - expected) > 1e-5 * (1 + np.abs(expected))).sum())
        worst = (np.abs(codes - expected) / (1 + np.abs(expected))).max()
        error = np.abs(out - output).max() / np.abs(output).max()
        # Two pairs at the k-th place may fall the other way by rounding.
        ok = differing <= 2 and error <= 1e-4
        failed |= not ok
        print(f"{'as expected' if ok else 'FAILED'}: {package} {importlib.metadata.version(package)}: codes differ by {worst:.1e} "
              f"({differing} beyond 1e-5), outputs by {error:.1e} of the largest, {len(rows)} tokens")
    sys.exit(failed)


if __name__ == "__main__":
    main()
