"""SAELens reads worlds that `sae synth make` wrote, samples them and scores a dictionary of `sae train`; the figures must be those
of `sae synth`.

    pip install sae-lens==6.54.12
    python tests/outside/synth.py WORLD [RUN]

WORLD is a folder of `sae synth make`; RUN one of `sae train`, scored before by `sae synth score RUN`.
"""

import json
import sys
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.synthetic import SyntheticModel, eval_sae_on_synthetic_data
from safetensors.torch import load_file

ROWS = 100_000
failed = 0


def check(what, ours, theirs, within):
    global failed
    fits = abs(ours - theirs) <= within
    failed += not fits
    print(f"{'ok' if fits else 'WRONG':5} {what}: sae {ours:.5f}, SAELens {theirs:.5f}, within {within}")


folder = Path(sys.argv[1])
torch.manual_seed(0)
world = SyntheticModel.load_from_disk(folder)
tensors = load_file(folder / "synthetic_model.safetensors")
for name, found in [
    ("feature_vectors", world.feature_dict.feature_vectors),
    ("firing_probabilities", world.activation_generator.firing_probabilities),
]:
    check(f"{name}, largest difference", 0.0, (tensors[name] - found).abs().max().item(), 0.0)

l0, n = 0.0, 0
with torch.no_grad():
    while n < ROWS:
        _, codes = world.sample_with_features(5000)
        l0 += (codes > 0).sum().item()
        n += 5000
if len(sys.argv) > 2:
    run = Path(sys.argv[2])
    ours = json.loads((run / "truth" / "truth.json").read_text())
    check("L0 of the world", ours["true_l0"], l0 / n, 0.1)
    with torch.no_grad():
        found = eval_sae_on_synthetic_data(
            SAE.load_from_disk(run), world.feature_dict, world.activation_generator, ROWS, 5000
        )
    print(found)
    theirs = found.classification
    for what, ours_is, theirs_is, within in [
        ("MCC", ours["mcc"], found.mcc, 1e-4),
        ("uniqueness", ours["uniqueness"], found.uniqueness, 1e-9),
        ("F1", ours["f1"], theirs.f1_score, 0.01),
        ("precision", ours["precision"], theirs.precision, 0.01),
        ("recall", ours["recall"], theirs.recall, 0.01),
        ("FVE", ours["fve"], found.explained_variance, 0.005),
        ("L0", ours["l0"], found.sae_l0, 0.1),
        ("shrinkage", ours["l2_ratio"], found.shrinkage, 0.005),
    ]:
        check(what, ours_is, theirs_is, within)
else:
    print(f"L0 of the world: {l0 / n:.3f}")
sys.exit(1 if failed else 0)
