"""A tiny GPT-OSS whose experts are stored in MXFP4, and what transformers computes on them dequantised: mxfp4.py OUT

OUT/gpt_oss-mxfp4/ is as `families.py` makes it, but the experts are NAME_blocks and NAME_scales of random bytes, which
transformers' own convert_moe_packed_tensors turns into the numbers that are computed with.
"""

import json
import pathlib
import sys

import families
import torch
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

NAME = "gpt_oss-mxfp4"
cls, settings = families.FAMILIES["gpt_oss"]
# A block has 32 numbers, so both sides of an expert are multiples of it.
settings = dict(settings, num_hidden_layers=2, num_local_experts=4, intermediate_size=32, num_experts_per_tok=2)
families.FAMILIES[NAME] = (cls, settings)
packed = {}
plain = families.randomise


def randomise(model, seed):
    plain(model, seed)
    generator = torch.Generator().manual_seed(seed + 100)
    for name, p in model.named_parameters():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, width, rows = p.shape
            blocks = torch.randint(0, 256, (experts, rows, width // 32, 16), generator=generator, dtype=torch.uint8)
            scales = torch.randint(122, 126, (experts, rows, width // 32), generator=generator, dtype=torch.uint8)
            numbers = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
            assert numbers.shape == p.shape
            p.data.copy_(numbers)
            packed[name] = {"_blocks": blocks, "_scales": scales}


families.randomise = randomise
out = pathlib.Path(sys.argv[1])
families.run(NAME, out, 41)
folder = out / NAME
stored = load_file(folder / "model.safetensors")
for name, parts in packed.items():
    del stored[name]
    stored |= {name + part: tensor for part, tensor in parts.items()}
save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
config = json.loads((folder / "config.json").read_text())
config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
(folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
print(f"{NAME}: {sorted(packed)[0]} and {len(packed) - 1} more in two parts")
