"""What a dictionary of whitened patches looks like: a contact sheet, and how many features are localized and oriented.

    sae import --images PHOTOGRAPHS --patch 16 --patches 100000 --out patches
    sae train --data patches --d-sae 512 --k 10 --tokens 2000000 --out dict
    python patches.py dict patches sheet.png          # numpy, safetensors, pyarrow, pillow

Localized: the energy of a decoder row, as a distribution over pixels, has a participation ratio below 0.15 of them.
Oriented: the structure tensor of its power spectrum has a coherence above 0.5.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

run, data, out = map(Path, sys.argv[1:4])
patch = json.loads((data / "dataset.json").read_text())["settings"]["images"]["patch"]
rows = load_file(run / "sae_weights.safetensors")["W_dec"].reshape(-1, patch, patch)


def localized(row):
    energy = row**2 / (row**2).sum()
    return 1 / (energy**2).sum() / row.size < 0.15


def oriented(row):
    power = np.abs(np.fft.fftshift(np.fft.fft2(row, (64, 64)))) ** 2
    v, u = np.mgrid[-32:32, -32:32]
    xx, yy, xy = ((power * f).sum() for f in (u * u, v * v, u * v))
    return np.hypot(xx - yy, 2 * xy) / (xx + yy) > 0.5


def sheet(rows, side=16, zoom=3):
    image = np.full((side * (patch + 1) + 1,) * 2, 60, np.uint8)
    for i, row in enumerate(rows[: side * side]):
        y, x = (1 + n * (patch + 1) for n in divmod(i, side))
        image[y:y + patch, x:x + patch] = 127.5 + 127.4 * row / np.abs(row).max()
    return Image.fromarray(image).resize((zoom * len(image),) * 2, Image.NEAREST)


sheet(rows).save(out)
noise = np.random.default_rng(0).normal(size=rows.shape)
for name, some in (("features", rows), ("as many rows of noise", noise)):
    both = np.array([[localized(row), oriented(row)] for row in some])
    print(f"{len(some)} {name}: localized {both[:, 0].mean():.3f}, oriented {both[:, 1].mean():.3f}, both {both.all(axis=1).mean():.3f}")
