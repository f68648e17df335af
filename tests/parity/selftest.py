"""Tests check.py without `sae`: a tiny random OLMoE in the form `sae pretrain` writes, and right and wrong files."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile

import numpy as np
import safetensors.numpy
import tokenizers
import torch
import transformers

import check

TEXT = "On 12 May 1871, Zoë wrote: “it's done — 3.5 miles!”\n\n  The end. 日本"

# The keys that `sae pretrain` writes (sae/src/model/config.rs).
CONFIG = {
    "model_type": "olmoe", "architectures": ["OlmoeForCausalLM"], "vocab_size": 300, "hidden_size": 64,
    "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
    "rope_scaling": None, "tie_word_embeddings": True, "num_experts": 8, "num_experts_per_tok": 2,
    "norm_topk_prob": False, "clip_qkv": None, "attention_bias": False, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": 1, "router_aux_loss_coef": 0.01, "torch_dtype": "float16",
}


def make_model(folder):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    d, width, experts = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_experts"]
    shapes = {"model.embed_tokens.weight": (300, d), "model.norm.weight": (d,)}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{p}_proj.weight": (d, d) for p in "qkvo"}
        shapes |= {f"{at}.self_attn.{p}_norm.weight": (d,) for p in "qk"}
        shapes |= {f"{at}.{n}_layernorm.weight": (d,) for n in ("input", "post_attention")}
        shapes[f"{at}.mlp.gate.weight"] = (experts, d)
        for e in range(experts):
            shapes |= {f"{at}.mlp.experts.{e}.{p}_proj.weight": (width, d) for p in ("gate", "up")}
            shapes[f"{at}.mlp.experts.{e}.down_proj.weight"] = (d, width)
    random = np.random.default_rng(0)
    weights = {
        name: (random.normal(0, 0.2, shape) + (1 if "norm" in name else 0)).astype(np.float16)
        for name, shape in shapes.items()
    }
    safetensors.numpy.save_file(weights, folder / "model.safetensors", {"format": "pt"})

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    split = tokenizers.pre_tokenizers
    tokenizer.pre_tokenizer = split.Sequence([split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>", "<|padding|>"], show_progress=False,
        initial_alphabet=split.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([TEXT, "the end of the text was written in the end"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|padding|>",
        "model_max_length": 256, "tokenizer_class": "PreTrainedTokenizerFast",
    }))
    return tokenizer


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        tokenizer = make_model(folder)
        tokens = np.array([0, *tokenizer.encode(TEXT).ids], np.uint32)
        model = check.load(folder)
        residual, routing = check.observe(model)
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(tokens.astype(np.int64))[None]).logits[0].numpy()
        right = {"tokens": tokens, "logits": logits}
        for layer in residual:
            right[f"blocks.{layer}.hook_resid_post"] = residual[layer].numpy()
            right[f"routing.{layer}"] = routing[layer][1].astype(np.uint32)

        def changed(name, change):
            tensors = {n: t.copy() for n, t in right.items()}
            tensors[name] = change(tensors[name])
            return tensors

        def plus(at, amount):
            def change(tensor):
                tensor[at] += amount
                return tensor

            return change

        cases = {
            "as transformers has it": (right, {}, None),
            "choices in another order": (changed("routing.1", lambda t: t[:, ::-1].copy()), {}, None),
            "logits 0.0005 off": (changed("logits", plus((3, 7), 0.0005)), {}, None),
            "a logit 0.01 off": (changed("logits", plus((3, 7), 0.01)), {}, "FAIL logits"),
            "a logit NaN": (changed("logits", plus((3, 7), np.nan)), {}, "FAIL logits"),
            "tokens' choices shifted": (changed("routing.1", lambda t: np.roll(t, 1, 0)), {}, "FAIL routing.1"),
            "experts renamed": (changed("routing.0", lambda t: (t + 1) % 8), {}, "FAIL routing.0"),
            "a layer for another": (changed("blocks.0.hook_resid_post", lambda _: right["blocks.1.hook_resid_post"]), {}, "FAIL blocks.0"),
            "another text": (right, {"text": TEXT + "!"}, "FAIL AutoTokenizer"),
            "no BOS said": (right, {"bos": "0"}, "FAIL AutoTokenizer"),
        }
        wrong = 0
        for name, (tensors, metadata, expected) in cases.items():
            file = folder / "logits.safetensors"
            safetensors.numpy.save_file(tensors, file, {"text": TEXT, "bos": "1"} | metadata)
            said, failed = io.StringIO(), False
            check.failures.clear()
            with contextlib.redirect_stdout(said):
                try:
                    check.main(folder, file)
                except SystemExit:  # with a text, which makes Python exit with 1
                    failed = True
            said = said.getvalue()
            good = failed == (expected is not None) and (expected or "all the same") in said
            wrong += not good
            print(f"{'ok  ' if good else 'FAIL'} {name}: {'fails' if failed else 'passes'}")
            if not good:
                print(said)
        sys.exit(f"{wrong} of {len(cases)} cases are wrong" if wrong else 0)


if __name__ == "__main__":
    main()
