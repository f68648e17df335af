"""Makes tiny random models of every family with Hugging Face transformers, and what they compute: families.py OUT [NAME …]

OUT/NAME/ gets config.json and model.safetensors as transformers stores them (f16; the numbers are those that were computed with, in
f32), and golden.safetensors: tokens [rows, len], logits [rows, len, V], hidden.L and gradient.L [rows, len, d] (the residual stream
behind block L and d(loss)/d(it), loss = next-token cross-entropy in nats, summed), chosen.L and weights.L [rows · len, k] of MoE
layers (weights as they are multiplied into the experts' outputs).
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

ROWS, LEN, V = 2, 24, 96

SMALL = dict(vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=40, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
MOE = dict(SMALL, num_experts_per_tok=3)
YARN = dict(rope_type="yarn", rope_theta=1e4, factor=8.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=1.0)
LATENT = dict(MOE, n_routed_experts=8, moe_intermediate_size=24, kv_lora_rank=20, qk_nope_head_dim=10, qk_rope_head_dim=8,
              v_head_dim=12, n_shared_experts=2, first_k_dense_replace=1, num_key_value_heads=4, n_group=4, topk_group=2)

TINY = dict(SMALL, hidden_size=24, head_dim=8, intermediate_size=32)

VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)

FAMILIES = {
    "gpt2": ("GPT2LMHeadModel", dict(vocab_size=V, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)),
    "gpt2-inverse-layer": ("GPT2LMHeadModel", dict(vocab_size=V, n_embd=32, n_layer=3, n_head=4, n_positions=64, n_inner=48,
                           scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False, activation_function="relu",
                           bos_token_id=1, eos_token_id=2)),
    "gpt_neox": ("GPTNeoXForCausalLM", dict(SMALL, hidden_act="gelu", rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5))),
    "gpt_neox-sequential": ("GPTNeoXForCausalLM", dict(SMALL, hidden_act="gelu_new", use_parallel_residual=False, tie_word_embeddings=True,
                            rope_parameters=dict(rope_type="default", rope_theta=1e3, partial_rotary_factor=1.0))),
    "llama": ("LlamaForCausalLM", dict(SMALL, tie_word_embeddings=True, rope_parameters=dict(rope_type="llama3", rope_theta=1e4, factor=4.0,
              low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32))),
    "llama-biases": ("LlamaForCausalLM", dict(SMALL, attention_bias=True, mlp_bias=True, head_dim=12,
                     rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=2.0))),
    "mistral": ("MistralForCausalLM", dict(SMALL, sliding_window=7)),
    "qwen2": ("Qwen2ForCausalLM", dict(SMALL, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    "qwen3": ("Qwen3ForCausalLM", dict(SMALL, head_dim=16, rope_parameters=YARN)),
    "gemma2": ("Gemma2ForCausalLM", dict(SMALL, head_dim=16, query_pre_attn_scalar=24, attn_logit_softcapping=3.0,
               final_logit_softcapping=4.0, sliding_window=6)),
    "gemma3": ("Gemma3ForCausalLM", dict(SMALL, head_dim=16, query_pre_attn_scalar=24, sliding_window=6,
               layer_types=["sliding_attention", "full_attention", "sliding_attention"],
               rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0),
                                    sliding_attention=dict(rope_type="default", rope_theta=1e4)))),
    "granite": ("GraniteForCausalLM", dict(SMALL, embedding_multiplier=6.0, attention_multiplier=0.2, residual_multiplier=0.4,
                logits_scaling=3.0, tie_word_embeddings=True)),
    "olmoe": ("OlmoeForCausalLM", dict(MOE, num_experts=8)),
    # Switch's router without its capacity: one expert a token, weighted by its probability.
    "olmoe-top1": ("OlmoeForCausalLM", dict(MOE, num_experts=8, num_experts_per_tok=1)),
    "olmoe-clipped": ("OlmoeForCausalLM", dict(MOE, num_experts=8, norm_topk_prob=True, clip_qkv=0.7, attention_bias=True)),
    "mixtral": ("MixtralForCausalLM", dict(MOE, num_local_experts=8, num_experts_per_tok=2, sliding_window=9)),
    "qwen2_moe": ("Qwen2MoeForCausalLM", dict(MOE, num_experts=6, moe_intermediate_size=24, shared_expert_intermediate_size=36,
                  decoder_sparse_step=1, mlp_only_layers=[1])),
    "qwen3_moe": ("Qwen3MoeForCausalLM", dict(MOE, num_experts=8, moe_intermediate_size=24, head_dim=12, norm_topk_prob=True,
                  decoder_sparse_step=2)),
    "deepseek_v2": ("DeepseekV2ForCausalLM", dict(LATENT, q_lora_rank=None, topk_method="greedy", routed_scaling_factor=1.5)),
    "deepseek_v2-groups": ("DeepseekV2ForCausalLM", dict(LATENT, q_lora_rank=14, topk_method="group_limited_greedy",
                           routed_scaling_factor=4.0, rope_parameters=dict(YARN, mscale=0.707, mscale_all_dim=0.707))),
    "deepseek_v3": ("DeepseekV3ForCausalLM", dict(LATENT, q_lora_rank=14, routed_scaling_factor=2.5, norm_topk_prob=True,
                    rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=0.8))),
    "deepseek_v3-plain": ("DeepseekV3ForCausalLM", dict(LATENT, q_lora_rank=None, routed_scaling_factor=1.0, norm_topk_prob=False,
                          rope_interleave=False, n_group=1, topk_group=1)),
    "gpt_oss": ("GptOssForCausalLM", dict(MOE, num_local_experts=8, head_dim=8, sliding_window=6,
                rope_parameters=dict(YARN, truncate=False))),
    "granitemoe": ("GraniteMoeForCausalLM", dict(MOE, num_local_experts=8, embedding_multiplier=6.0, attention_multiplier=0.2,
                   residual_multiplier=0.4, logits_scaling=3.0, tie_word_embeddings=True)),
    "granitemoeshared": ("GraniteMoeSharedForCausalLM", dict(MOE, num_local_experts=8, embedding_multiplier=6.0, attention_multiplier=0.2,
                         residual_multiplier=0.4, logits_scaling=3.0, shared_intermediate_size=28)),
    # A family's place here is its seed: new ones come last.
    "olmo2": ("Olmo2ForCausalLM", dict(SMALL)),
    "olmo3": ("Olmo3ForCausalLM", dict(SMALL, num_hidden_layers=4, sliding_window=6, rope_parameters=dict(
              full_attention=dict(YARN, rope_theta=5e5), sliding_attention=dict(rope_type="default", rope_theta=5e5)))),
    # Stretched by LongRoPE; contexts up to the original one.
    "phi3": ("Phi3ForCausalLM", dict(SMALL, original_max_position_embeddings=32, sliding_window=7, rope_parameters=dict(
             rope_type="longrope", rope_theta=1e4, partial_rotary_factor=0.5, short_factor=[1.1, 1.5],
             long_factor=[2.0, 4.0]))),
    "phi3-plain": ("Phi3ForCausalLM", dict(SMALL, tie_word_embeddings=True)),
    "smollm3": ("SmolLM3ForCausalLM", dict(SMALL, num_hidden_layers=5)),
    "ministral": ("MinistralForCausalLM", dict(SMALL, sliding_window=7, head_dim=12, layer_types=[
                  "sliding_attention", "full_attention", "sliding_attention"])),
    "ministral3": ("Ministral3ForCausalLM", dict(SMALL, head_dim=12, rope_parameters=dict(YARN, original_max_position_embeddings=32,
                   mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1))),
    # Models that also see pictures; the language model inside them.
    "gemma3-pictures": ("Gemma3ForConditionalGeneration", dict(text_config=dict(SMALL, head_dim=16, query_pre_attn_scalar=24,
                        sliding_window=6, num_hidden_layers=6), vision_config=VISION, mm_tokens_per_image=4)),
    "mistral3-pictures": ("Mistral3ForConditionalGeneration", dict(text_config=dict(SMALL, model_type="mistral", head_dim=12,
                          sliding_window=None), vision_config=dict(VISION, model_type="pixtral", head_dim=4))),
    "llava-pictures": ("LlavaForConditionalGeneration", dict(text_config=dict(SMALL, model_type="llama"),
                       vision_config=dict(VISION, model_type="clip_vision_model", projection_dim=8))),
    # As transformers 5 keeps experts itself: one tensor a layer, the same names in every family.
    "mixtral-fused": ("MixtralForCausalLM", dict(MOE, num_local_experts=4, num_experts_per_tok=2)),
    "olmoe-fused": ("OlmoeForCausalLM", dict(MOE, num_experts=4)),
    "qwen2_moe-fused": ("Qwen2MoeForCausalLM", dict(MOE, num_experts=4, moe_intermediate_size=24, shared_expert_intermediate_size=36)),
    # Several streams, embeddings of every block, layers that read the keys and values of earlier ones.
    "gemma3n": ("Gemma3nForCausalLM", dict(TINY, num_hidden_layers=5, intermediate_size=[40, 24, 40, 24, 24], sliding_window=6,
                vocab_size_per_layer_input=V - 8, hidden_size_per_layer_input=6, num_kv_shared_layers=2, laurel_rank=5,
                activation_sparsity_pattern=[0.8, 0.0, 0.95, 0.0, 0.3], final_logit_softcapping=4.0, layer_types=[
                    "sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"])),
    "gemma3n-second-stream": ("Gemma3nForCausalLM", dict(TINY, vocab_size_per_layer_input=V, hidden_size_per_layer_input=6,
                num_kv_shared_layers=0, laurel_rank=5, altup_active_idx=1, altup_num_inputs=3, altup_correct_scale=False)),
    "gemma4": ("Gemma4ForCausalLM", dict(TINY, num_hidden_layers=5, sliding_window=6, vocab_size_per_layer_input=V,
               hidden_size_per_layer_input=6, num_kv_shared_layers=2, use_double_wide_mlp=True, global_head_dim=16,
               final_logit_softcapping=4.0, layer_types=[
                   "sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"])),
    # Keys that are values, experts next to an MLP, no embeddings of the blocks.
    "gemma4-experts": ("Gemma4ForCausalLM", dict(TINY, sliding_window=6, hidden_size_per_layer_input=0, attention_k_eq_v=True,
                       num_global_key_value_heads=1, global_head_dim=16, enable_moe_block=True, num_experts=6, top_k_experts=2,
                       moe_intermediate_size=20, layer_types=["sliding_attention", "full_attention", "full_attention"])),
    "gemma4-pictures": ("Gemma4ForConditionalGeneration", dict(text_config=dict(TINY, sliding_window=6, vocab_size_per_layer_input=V,
                        hidden_size_per_layer_input=6, global_head_dim=12), vision_config=None, audio_config=None)),
    "gemma4-unified": ("Gemma4UnifiedForConditionalGeneration", dict(text_config=dict(TINY, sliding_window=6, global_head_dim=16,
                       attention_k_eq_v=True, num_global_key_value_heads=1), vision_config=None, audio_config=None)),
    "gemma": ("GemmaForCausalLM", dict(SMALL, head_dim=12, hidden_act="gelu")),
    "arcee": ("ArceeForCausalLM", dict(SMALL, rope_parameters=YARN)),
    "mistral4": ("Mistral4ForCausalLM", dict(LATENT, q_lora_rank=14, n_shared_experts=1, num_experts_per_tok=2, rope_parameters=dict(
                 YARN, original_max_position_embeddings=32, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1))),
    "qwen2_vl-pictures": ("Qwen2VLForConditionalGeneration", dict(text_config=dict(SMALL, rope_parameters=dict(
                          rope_type="default", rope_theta=1e4, mrope_section=[1, 1, 2])), vision_config=dict(depth=1, embed_dim=8, hidden_size=32,
                          num_heads=2, patch_size=4))),
    "qwen2_5_vl-pictures": ("Qwen2_5_VLForConditionalGeneration", dict(text_config=dict(SMALL, tie_word_embeddings=True, rope_parameters=dict(
                            rope_type="default", rope_theta=1e4, mrope_section=[1, 1, 2])), tie_word_embeddings=True, vision_config=dict(depth=1,
                            hidden_size=8, intermediate_size=8, num_heads=2, patch_size=4, out_hidden_size=32, fullatt_block_indexes=[0]))),
    "qwen3_vl-pictures": ("Qwen3VLForConditionalGeneration", dict(text_config=dict(SMALL, head_dim=12, rope_parameters=dict(
                          rope_type="default", rope_theta=1e4, mrope_section=[2, 2, 2])), vision_config=dict(depth=1, hidden_size=8,
                          intermediate_size=8, num_heads=2, patch_size=4, out_hidden_size=32, num_position_embeddings=16,
                          deepstack_visual_indexes=[0]))),
}


def randomise(model, seed):
    """Weights large enough that every part shows, each exactly an f16 number."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda t: torch.randn(t.shape, generator=generator)
    with torch.no_grad():
        stored = [(n, b) for n, b in model.named_buffers() if "correction" in n or "layer_scalar" in n]
        for name, p in list(model.named_parameters()) + stored:
            if p.ndim >= 2:
                p.copy_(normal(p) * (0.7 if "embed" in name or "wte" in name else 1.2 / p.shape[-1] ** 0.5))
            else:
                p.add_(normal(p) * (0.05 if "correction" in name else 0.3))
            # What they read is divided by the width (AltUp) or its root (Gemma 4's router).
            if "modality_router" in name or "router.scale" in name:
                p.mul_(8.0)
            p.copy_(p.half().float())


def run(name, out, seed):
    cls, settings = FAMILIES[name]
    model_class = getattr(transformers, cls)
    config = model_class.config_class(**settings)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = model_class(config).eval().float()
    randomise(model, seed)
    if getattr(config.get_text_config(), "tie_word_embeddings", False):
        model.tie_weights()
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    # Stored as half, computed with as single: the numbers are the same.
    model.save_pretrained(folder, save_original_format=not name.endswith("-fused"))
    stored = {n: t.half() for n, t in load_file(folder / "model.safetensors").items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)

    golden, kept = {}, {}
    base = getattr(model.base_model, "language_model", model.base_model)
    layers = getattr(base, "layers", None) or base.h
    for i, layer in enumerate(layers):
        def keep(_, __, output, i=i):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden.retain_grad()
            kept[i] = hidden
        layer.register_forward_hook(keep)
        for sub_name, sub in layer.named_modules():
            if sub_name.endswith("experts") and not sub_name.endswith("shared_experts"):
                def routed(_, args, kwargs, i=i):
                    rest = list(args[1:]) + list(kwargs.values())
                    ids = next(t for t in rest if torch.is_tensor(t) and not t.is_floating_point())
                    weights = next(t for t in rest if torch.is_tensor(t) and t.is_floating_point())
                    golden[f"chosen.{i}"] = ids.reshape(ROWS * LEN, -1).int().clone()
                    golden[f"weights.{i}"] = weights.reshape(ROWS * LEN, -1).detach().clone()
                sub.register_forward_pre_hook(routed, with_kwargs=True)
    tokens = torch.randint(3, V, (ROWS, LEN), generator=torch.Generator().manual_seed(seed + 1))
    logits = model(input_ids=tokens, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, V), tokens[:, 1:].reshape(-1), reduction="sum")
    loss.backward()
    golden |= {"tokens": tokens.int(), "logits": logits.detach(), "loss": loss.detach().reshape(1)}
    for i, hidden in kept.items():
        # Of several streams the active one, [streams, rows, len, d].
        one = hidden.ndim == 3 or config.get_text_config().altup_active_idx
        golden[f"hidden.{i}"], golden[f"gradient.{i}"] = [t if one is True else t[one] for t in (hidden.detach(), hidden.grad)]
    golden = {n: t.contiguous() for n, t in sorted(golden.items())}
    assert all(torch.isfinite(t).all() for t in golden.values()), name
    save_file(golden, folder / "golden.safetensors", metadata={"transformers": transformers.__version__, "torch": torch.__version__})
    size = sum(f.stat().st_size for f in folder.iterdir())
    routed = [n for n in golden if n.startswith("chosen")]
    print(f"{name}: loss {loss.item():.4f}, {size / 1e3:.0f} KB, MoE layers {len(routed)}, tensors {sorted(stored)[-3:]}")
    assert size <= 300_000, "a family's files are to stay below 300 KB"


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    for seed, name in enumerate(FAMILIES):
        if len(sys.argv) < 3 or name in sys.argv[2:]:
            run(name, out, seed)
