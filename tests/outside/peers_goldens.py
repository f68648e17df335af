"""Golden dictionaries that SAELens's own code makes: folders with the figures of a normalisation next to them, and Llama Scope R1 Distill.

    python peers_goldens.py sae/tests/dictionaries

Needs sae-lens 6.54.12 (`peers.txt`). Features and outputs are those of the class `SAE` between `ActivationScaler.scale` and `.unscale`, which
is what training computes; of R1, those of SAELens's loader with the scale folded in as `from_pretrained` does it.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

from sae_lens.constants import ACTIVATION_SCALER_CFG_FILENAME
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

D, F = 6, 10


def rows(generator):
    """Four rows as the other golden dictionaries have them: the last is tiny, so that thresholds and biases show."""
    x = torch.randn(4, D, generator=generator) * 2
    x[3] *= 0.01
    return x


def write(folder, x, features, output, about):
    assert (features != 0).any()
    expected = {"x": x.tolist(), "features": features.tolist(), "output": output.tolist(), **about}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(folder, f"L0 {(features != 0).sum(1).tolist()}")


def saelens(root, name, cls, config, scaler, generator):
    folder = root / "saelens_v6" / name
    folder.mkdir(parents=True, exist_ok=True)
    normalisation = "covariance_whitening" if scaler.whitening else "expected_average_only_in"
    metadata = SAEMetadata(hook_name="blocks.1.hook_resid_post", model_name="toy", prepend_bos=True)
    sae = cls(config(d_in=D, d_sae=F, dtype="float32", device="cpu", normalize_activations=normalisation, metadata=metadata))
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        if hasattr(sae, "threshold"):
            sae.threshold.copy_(torch.rand(F, generator=generator))
        x = rows(generator)
        features = sae.encode(scaler.scale(x))
        output = scaler.unscale(sae.decode(features))
    sae.save_model(str(folder))
    scaler.save(str(folder / ACTIVATION_SCALER_CFG_FILENAME))
    write(folder, x, features, output, {"peer_cfg": {"architecture": sae.cfg.architecture(), "normalize_activations": normalisation}})


def whitening(generator):
    """By SAELens's own estimate, of rows with a mean and unequal directions."""
    mixing = torch.randn(D, D, generator=generator)
    batches = iter(lambda: torch.randn(64, D, generator=generator) @ mixing + 1.5, None)
    scaler = ActivationScaler()
    scaler.estimate_whitening(D, batches, n_batches_for_norm_estimate=20)
    assert isinstance(scaler.whitening, ActivationWhitening)
    return scaler


def llama_scope_r1(root, generator):
    folder = root / "fnlp/Llama-Scope-R1-Distill/800M-Slimpajama-0-OpenR1-Math-220k/L2R"
    folder.mkdir(parents=True, exist_ok=True)
    draw = lambda *shape: torch.randn(*shape, generator=generator) * 0.5
    save_file({"encoder.weight": draw(F, D), "encoder.bias": draw(F), "decoder.weight": draw(D, F), "decoder.bias": draw(D),
               "log_jumprelu_threshold": draw(F)}, folder / "sae_weights.safetensors")
    hook, norm = "blocks.2.hook_resid_post", 7.5
    settings = {"sae_type": "sae", "d_model": D, "expansion_factor": F / D, "hook_point_in": hook, "hook_point_out": hook,
                "act_fn": "jumprelu", "norm_activation": "dataset-wise", "use_decoder_bias": True,
                "dataset_average_activation_norm": {"in": norm, "out": norm}}
    (folder / "config.json").write_text(json.dumps(settings, indent=1) + "\n")
    # The loader asks the hub for its files: here they are.
    loaders.hf_hub_download = lambda repo_id, filename, subfolder=None, **_: str(root / repo_id / (subfolder or "") / filename)
    inside = str(folder.relative_to(root / "fnlp/Llama-Scope-R1-Distill"))
    config, tensors, _ = loaders.llama_scope_r1_distill_sae_huggingface_loader(
        "fnlp/Llama-Scope-R1-Distill", inside, cfg_overrides={"d_sae": F})
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=D, d_sae=F, dtype="float32", device="cpu",
                                        apply_b_dec_to_input=config["apply_b_dec_to_input"]))
    sae.load_state_dict({name: tensor.contiguous() for name, tensor in tensors.items()})
    sae.fold_activation_norm_scaling_factor(D**0.5 / norm)
    with torch.no_grad():
        x = rows(generator)
        features = sae.encode(x)
        write(folder, x, features, sae.decode(features), {"peer_cfg": {**config, "d_sae_used_here": F}})


def main():
    root = pathlib.Path(sys.argv[1])
    generator = torch.Generator().manual_seed(17)
    no_pre_bias = dict(apply_b_dec_to_input=False)
    for name, cls, config in [
        ("whitened_standard", StandardSAE, lambda **c: StandardSAEConfig(**c)),
        ("whitened_topk", TopKSAE, lambda **c: TopKSAEConfig(k=3, **no_pre_bias, **c)),
        ("whitened_jumprelu", JumpReLUSAE, lambda **c: JumpReLUSAEConfig(**no_pre_bias, **c)),
        ("whitened_gated", GatedSAE, lambda **c: GatedSAEConfig(**no_pre_bias, **c)),
    ]:
        saelens(root, name, cls, config, whitening(generator), generator)
    for name, cls, config in [
        ("scaled_standard", StandardSAE, lambda **c: StandardSAEConfig(**no_pre_bias, **c)),
        ("scaled_topk", TopKSAE, lambda **c: TopKSAEConfig(k=3, **c)),
        ("scaled_jumprelu", JumpReLUSAE, lambda **c: JumpReLUSAEConfig(**c)),
        ("scaled_gated", GatedSAE, lambda **c: GatedSAEConfig(**c)),
    ]:
        saelens(root, name, cls, config, ActivationScaler(scaling_factor=0.3), generator)
    llama_scope_r1(root, generator)


if __name__ == "__main__":
    main()
