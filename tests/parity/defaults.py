"""Writes what the configuration classes of Hugging Face transformers take where a config.json says nothing: defaults.py OUT.json

OUT is sae/lm/src/model/config/defaults.json: family → field → value, of the fields that are read there. A class whose default is None
leaves the field to other fields; such fields are not listed.
"""

import dataclasses
import json
import pathlib
import sys

from transformers import CONFIG_MAPPING

FAMILIES = """arcee deepseek_v2 deepseek_v3 gemma gemma2 gemma3_text gemma3n_text gemma4_text gemma4_unified_text gpt2 gpt_neox gpt_oss granite
granitemoe granitemoeshared llama ministral ministral3 mistral mistral4 mixtral monet olmo2 olmo3 olmoe phi3 qwen2 qwen2_5_vl_text qwen2_moe qwen2_vl_text
qwen3 qwen3_moe qwen3_vl_text smollm3""".split()

FIELDS = """activation_function altup_active_idx altup_correct_scale altup_num_inputs attention_bias attention_k_eq_v attention_multiplier attn_logit_softcapping bos_token_id clip_qkv decoder_sparse_step
embedding_multiplier enable_moe_block eos_token_id final_logit_softcapping first_k_dense_replace head_dim hidden_act hidden_activation hidden_size hidden_size_per_layer_input
intermediate_size kv_lora_rank laurel_rank layer_norm_eps layer_norm_epsilon logits_scaling max_position_embeddings max_window_layers mlp_bias
moe_intermediate_size n_embd n_group n_head n_inner n_layer n_positions n_routed_experts n_shared_experts no_rope_layer_interval
norm_topk_prob num_attention_heads num_experts num_experts_per_tok num_hidden_layers num_key_value_heads num_kv_shared_layers num_local_experts
original_max_position_embeddings q_lora_rank qk_nope_head_dim qk_rope_head_dim qkv_bias query_pre_attn_scalar residual_multiplier
rms_norm_eps routed_scaling_factor scale_attn_by_inverse_layer_idx scale_attn_weights shared_expert_intermediate_size
shared_intermediate_size sliding_window tie_word_embeddings topk_group topk_method use_double_wide_mlp use_parallel_residual
use_sliding_window v_head_dim vocab_size vocab_size_per_layer_input""".split()


# Classes that make a stretched rotary embedding, or one of another base, where none is given.
STRETCHED = ("gpt_oss", "ministral3", "mistral4", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text")


# The configuration class that comes with Monet's checkpoints, which transformers does not have.
OTHERS = {
    "monet": {
        "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "relu2", "hidden_size": 4096,
        "max_position_embeddings": 2048, "moe_decompose": "vertical", "moe_dim": 8, "moe_experts": 512, "moe_groups": 4,
        "moe_heads": 8, "moe_topk": 32, "num_attention_heads": 32, "num_hidden_layers": 32, "rms_norm_eps": 1e-06,
        "tie_word_embeddings": False, "vocab_size": 32000,
    }
}


def defaults(family):
    if family in OTHERS:
        return OTHERS[family]
    cls = CONFIG_MAPPING[family]
    fields = {f.name: f.default for f in dataclasses.fields(cls)}
    found = {name: fields[name] for name in FIELDS if fields.get(name) not in (None, dataclasses.MISSING)}
    return found | ({"rope_parameters": cls().rope_parameters} if family in STRETCHED else {})


if __name__ == "__main__":
    lines = [f"  {json.dumps(family)}: {json.dumps(defaults(family))}" for family in FAMILIES]
    pathlib.Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n")
