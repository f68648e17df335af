//! Which architectures are read, and what their tensors are called in Hugging Face's files.
//!
//! `#` stands for the number of a block, `@` for the number of an expert. A rule names the tensor without
//! `.weight` or `.bias`, which both sides share, unless both sides end in one of them.

use super::Gguf;
use crate::Result;
use crate::model::config::refused::kind_of_architecture;

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mixtral,
    Qwen2,
    Qwen2Moe,
    Qwen3,
    Qwen3Moe,
    Gemma2,
    Gemma3,
    Gpt2,
    GptNeoX,
    Olmo2,
    Olmoe,
    Phi3,
    SmolLm3,
    DeepseekV2,
    GptOss,
    Granite,
    GraniteMoe,
}

/// Every family: what `general.architecture` and Hugging Face's `model_type` call it.
const FAMILIES: [(&str, &str, Family); 18] = [
    ("llama", "llama", Family::Llama),
    ("llama", "mixtral", Family::Mixtral),
    ("qwen2", "qwen2", Family::Qwen2),
    ("qwen2moe", "qwen2_moe", Family::Qwen2Moe),
    ("qwen3", "qwen3", Family::Qwen3),
    ("qwen3moe", "qwen3_moe", Family::Qwen3Moe),
    ("gemma2", "gemma2", Family::Gemma2),
    ("gemma3", "gemma3_text", Family::Gemma3),
    ("gpt2", "gpt2", Family::Gpt2),
    ("gptneox", "gpt_neox", Family::GptNeoX),
    ("olmo2", "olmo2", Family::Olmo2),
    ("olmoe", "olmoe", Family::Olmoe),
    ("phi3", "phi3", Family::Phi3),
    ("smollm3", "smollm3", Family::SmolLm3),
    ("deepseek2", "deepseek_v2", Family::DeepseekV2),
    ("gpt-oss", "gpt_oss", Family::GptOss),
    ("granite", "granite", Family::Granite),
    ("granitemoe", "granitemoe", Family::GraniteMoe),
];

impl Family {
    /// The family of a file. Mixtral's files say `llama` and have experts.
    ///
    /// # Errors
    /// A file that does not name its architecture, or one that is not read, and which are.
    pub fn of(gguf: &Gguf) -> Result<Self> {
        let architecture = gguf.architecture()?;
        let experts = gguf.size("llama.expert_count")?.unwrap_or(0);
        if architecture == "llama" && experts > 0 {
            return Ok(Self::Mixtral);
        }
        let found = FAMILIES.iter().find(|(name, ..)| *name == architecture);
        found.map(|(.., family)| *family).ok_or_else(|| {
            let mut known: Vec<&str> = FAMILIES.iter().map(|(name, ..)| *name).collect();
            known.dedup();
            let why = kind_of_architecture(architecture).unwrap_or("is not read");
            gguf.problem(format!("architecture is `{architecture}`, which {why}"))
                .with_remedy(format!("take a model of one of these: {}", known.join(", ")))
        })
    }

    /// Hugging Face's `model_type`.
    pub fn model_type(self) -> &'static str {
        FAMILIES.iter().find(|(.., family)| *family == self).map_or("", |(_, name, _)| name)
    }

    /// The rules for its tensors.
    pub fn rules(self) -> Vec<Rule> {
        match self {
            Self::Llama | Self::SmolLm3 | Self::Granite => [TOP, NORMS, PERMUTED, DENSE].concat(),
            Self::Mixtral => [TOP, NORMS, PERMUTED, MIXTRAL].concat(),
            Self::Qwen2 => [TOP, NORMS, ATTENTION, DENSE].concat(),
            Self::Qwen3 => [TOP, NORMS, ATTENTION, HEAD_NORMS, DENSE].concat(),
            Self::Qwen2Moe => [TOP, NORMS, ATTENTION, DENSE, EXPERTS, SHARED_EXPERT].concat(),
            Self::Qwen3Moe | Self::Olmoe => [TOP, NORMS, ATTENTION, HEAD_NORMS, DENSE, EXPERTS].concat(),
            Self::Gemma2 | Self::Gemma3 => [GEMMA, ATTENTION, DENSE].concat(),
            Self::Gpt2 => GPT2.to_vec(),
            Self::GptNeoX => GPT_NEOX.to_vec(),
            Self::Phi3 => [TOP, NORMS, PHI3].concat(),
            Self::Olmo2 => [TOP, ATTENTION, HEAD_NORMS, OLMO2_NORMS, DENSE].concat(),
            Self::DeepseekV2 => [TOP, NORMS, LATENT_ATTENTION, DENSE, EXPERTS, SHARED_EXPERTS].concat(),
            Self::GptOss => [TOP, ATTENTION, GPT_OSS].concat(),
            Self::GraniteMoe => [TOP, NORMS, PERMUTED, GRANITE_MOE].concat(),
        }
    }
}

/// What to do with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorChange {
    AsItIs,
    MinusOne,
    /// Rows of query heads, rotation pairs interleaved.
    Queries,
    /// The same of key heads.
    Keys,
    /// Query, key and value rows of all heads, one after another.
    HeadByHead,
    Transposed,
    /// A vector that is `[1, n]` in Hugging Face's files.
    OneRow,
    /// All experts in one tensor, cut into one a name.
    PerExpert,
    /// `[E, …]`, the matrices transposed.
    EachTransposed,
    /// Gate of all experts; put together with the tensor named here, expert by expert, gate rows first.
    WithUp(&'static str),
    /// The same, in turn, matrices transposed.
    WithUpInTurn(&'static str),
    /// Keys of all heads, turned; put together head by head with the values of the tensor named here, unless
    /// the file also has the tensor of both.
    KeysAndValues {
        values: &'static str,
        together: &'static str,
    },
    /// Used by a different rule.
    UsedElsewhere,
    /// Not part of the model: can be computed from the configuration.
    Left,
}

/// ggml's name, Hugging Face's name, and what to do.
pub(super) type Rule = (&'static str, &'static str, TensorChange);

use TensorChange::{
    AsItIs, EachTransposed, HeadByHead, Keys, KeysAndValues, Left, MinusOne, OneRow, PerExpert, Queries,
    Transposed, UsedElsewhere, WithUp, WithUpInTurn,
};

const TOP: &[Rule] = &[
    ("token_embd", "model.embed_tokens", AsItIs),
    ("output_norm", "model.norm", AsItIs),
    ("output", "lm_head", AsItIs),
    ("rope_freqs", "", Left),
    ("rope_factors_long", "", Left),
    ("rope_factors_short", "", Left),
];

const NORMS: &[Rule] = &[
    ("blk.#.attn_norm", "model.layers.#.input_layernorm", AsItIs),
    ("blk.#.ffn_norm", "model.layers.#.post_attention_layernorm", AsItIs),
];

const ATTENTION: &[Rule] = &[
    ("blk.#.attn_q", "model.layers.#.self_attn.q_proj", AsItIs),
    ("blk.#.attn_k", "model.layers.#.self_attn.k_proj", AsItIs),
    ("blk.#.attn_v", "model.layers.#.self_attn.v_proj", AsItIs),
    ("blk.#.attn_output", "model.layers.#.self_attn.o_proj", AsItIs),
];

/// Architectures whose rotation llama.cpp computes on neighbouring pairs.
const PERMUTED: &[Rule] = &[
    ("blk.#.attn_q", "model.layers.#.self_attn.q_proj", Queries),
    ("blk.#.attn_k", "model.layers.#.self_attn.k_proj", Keys),
    ("blk.#.attn_v", "model.layers.#.self_attn.v_proj", AsItIs),
    ("blk.#.attn_output", "model.layers.#.self_attn.o_proj", AsItIs),
];

const HEAD_NORMS: &[Rule] = &[
    ("blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm", AsItIs),
    ("blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm", AsItIs),
];

const DENSE: &[Rule] = &[
    ("blk.#.ffn_gate", "model.layers.#.mlp.gate_proj", AsItIs),
    ("blk.#.ffn_up", "model.layers.#.mlp.up_proj", AsItIs),
    ("blk.#.ffn_down", "model.layers.#.mlp.down_proj", AsItIs),
];

const EXPERTS: &[Rule] = &[
    ("blk.#.ffn_gate_inp", "model.layers.#.mlp.gate", AsItIs),
    ("blk.#.ffn_gate_exps", "model.layers.#.mlp.experts.@.gate_proj", PerExpert),
    ("blk.#.ffn_up_exps", "model.layers.#.mlp.experts.@.up_proj", PerExpert),
    ("blk.#.ffn_down_exps", "model.layers.#.mlp.experts.@.down_proj", PerExpert),
];

/// Qwen2-MoE's.
const SHARED_EXPERT: &[Rule] = &[
    ("blk.#.ffn_gate_inp_shexp", "model.layers.#.mlp.shared_expert_gate", OneRow),
    ("blk.#.ffn_gate_shexp", "model.layers.#.mlp.shared_expert.gate_proj", AsItIs),
    ("blk.#.ffn_up_shexp", "model.layers.#.mlp.shared_expert.up_proj", AsItIs),
    ("blk.#.ffn_down_shexp", "model.layers.#.mlp.shared_expert.down_proj", AsItIs),
];

/// DeepSeek's.
const SHARED_EXPERTS: &[Rule] = &[
    ("blk.#.ffn_gate_shexp", "model.layers.#.mlp.shared_experts.gate_proj", AsItIs),
    ("blk.#.ffn_up_shexp", "model.layers.#.mlp.shared_experts.up_proj", AsItIs),
    ("blk.#.ffn_down_shexp", "model.layers.#.mlp.shared_experts.down_proj", AsItIs),
    ("blk.#.exp_probs_b.bias", "model.layers.#.mlp.gate.e_score_correction_bias", AsItIs),
];

/// Stacked experts, and one by one as the first files had them.
const MIXTRAL: &[Rule] = &[
    ("blk.#.ffn_gate_inp", "model.layers.#.block_sparse_moe.gate", AsItIs),
    ("blk.#.ffn_gate_exps", "model.layers.#.block_sparse_moe.experts.@.w1", PerExpert),
    ("blk.#.ffn_up_exps", "model.layers.#.block_sparse_moe.experts.@.w3", PerExpert),
    ("blk.#.ffn_down_exps", "model.layers.#.block_sparse_moe.experts.@.w2", PerExpert),
    ("blk.#.ffn_gate.@", "model.layers.#.block_sparse_moe.experts.@.w1", AsItIs),
    ("blk.#.ffn_up.@", "model.layers.#.block_sparse_moe.experts.@.w3", AsItIs),
    ("blk.#.ffn_down.@", "model.layers.#.block_sparse_moe.experts.@.w2", AsItIs),
];

/// Gemma's norms multiply by 1 + w; llama.cpp stores the sum.
const GEMMA: &[Rule] = &[
    ("token_embd", "model.embed_tokens", AsItIs),
    ("output", "lm_head", AsItIs),
    ("rope_freqs", "", Left),
    ("output_norm", "model.norm", MinusOne),
    ("blk.#.attn_norm", "model.layers.#.input_layernorm", MinusOne),
    ("blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm", MinusOne),
    ("blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm", MinusOne),
    ("blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm", MinusOne),
    ("blk.#.ffn_norm", "model.layers.#.pre_feedforward_layernorm", MinusOne),
    ("blk.#.post_ffw_norm", "model.layers.#.post_feedforward_layernorm", MinusOne),
];

const GPT2: &[Rule] = &[
    ("token_embd", "transformer.wte", AsItIs),
    ("position_embd", "transformer.wpe", AsItIs),
    ("output_norm", "transformer.ln_f", AsItIs),
    ("output", "lm_head", AsItIs),
    ("blk.#.attn_norm", "transformer.h.#.ln_1", AsItIs),
    ("blk.#.attn_qkv", "transformer.h.#.attn.c_attn", Transposed),
    ("blk.#.attn_output", "transformer.h.#.attn.c_proj", Transposed),
    ("blk.#.ffn_norm", "transformer.h.#.ln_2", AsItIs),
    ("blk.#.ffn_up", "transformer.h.#.mlp.c_fc", Transposed),
    ("blk.#.ffn_down", "transformer.h.#.mlp.c_proj", Transposed),
];

const GPT_NEOX: &[Rule] = &[
    ("token_embd", "gpt_neox.embed_in", AsItIs),
    ("output_norm", "gpt_neox.final_layer_norm", AsItIs),
    ("output", "embed_out", AsItIs),
    ("blk.#.attn_norm", "gpt_neox.layers.#.input_layernorm", AsItIs),
    ("blk.#.attn_qkv", "gpt_neox.layers.#.attention.query_key_value", HeadByHead),
    ("blk.#.attn_output", "gpt_neox.layers.#.attention.dense", AsItIs),
    ("blk.#.ffn_norm", "gpt_neox.layers.#.post_attention_layernorm", AsItIs),
    ("blk.#.ffn_up", "gpt_neox.layers.#.mlp.dense_h_to_4h", AsItIs),
    ("blk.#.ffn_down", "gpt_neox.layers.#.mlp.dense_4h_to_h", AsItIs),
];

/// Queries, keys and values in one matrix, gate and up in another, as in Hugging Face's files.
const PHI3: &[Rule] = &[
    ("blk.#.attn_qkv", "model.layers.#.self_attn.qkv_proj", AsItIs),
    ("blk.#.attn_output", "model.layers.#.self_attn.o_proj", AsItIs),
    ("blk.#.ffn_up", "model.layers.#.mlp.gate_up_proj", AsItIs),
    ("blk.#.ffn_down", "model.layers.#.mlp.down_proj", AsItIs),
];

const OLMO2_NORMS: &[Rule] = &[
    ("blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm", AsItIs),
    ("blk.#.post_ffw_norm", "model.layers.#.post_feedforward_layernorm", AsItIs),
];

const LATENT_ATTENTION: &[Rule] = &[
    ("blk.#.attn_q", "model.layers.#.self_attn.q_proj", AsItIs),
    ("blk.#.attn_q_a", "model.layers.#.self_attn.q_a_proj", AsItIs),
    ("blk.#.attn_q_a_norm", "model.layers.#.self_attn.q_a_layernorm", AsItIs),
    ("blk.#.attn_q_b", "model.layers.#.self_attn.q_b_proj", AsItIs),
    ("blk.#.attn_kv_a_mqa", "model.layers.#.self_attn.kv_a_proj_with_mqa", AsItIs),
    ("blk.#.attn_kv_a_norm", "model.layers.#.self_attn.kv_a_layernorm", AsItIs),
    ("blk.#.attn_kv_b", "model.layers.#.self_attn.kv_b_proj", AsItIs),
    (
        "blk.#.attn_k_b.weight",
        "model.layers.#.self_attn.kv_b_proj.weight",
        KeysAndValues { values: "blk.#.attn_v_b.weight", together: "blk.#.attn_kv_b.weight" },
    ),
    ("blk.#.attn_v_b.weight", "", UsedElsewhere),
    ("blk.#.attn_output", "model.layers.#.self_attn.o_proj", AsItIs),
];

const GPT_OSS: &[Rule] = &[
    ("blk.#.attn_norm", "model.layers.#.input_layernorm", AsItIs),
    ("blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm", AsItIs),
    ("blk.#.attn_sinks.weight", "model.layers.#.self_attn.sinks", AsItIs),
    ("blk.#.ffn_gate_inp", "model.layers.#.mlp.router", AsItIs),
    (
        "blk.#.ffn_gate_exps.weight",
        "model.layers.#.mlp.experts.gate_up_proj",
        WithUpInTurn("blk.#.ffn_up_exps.weight"),
    ),
    (
        "blk.#.ffn_gate_exps.bias",
        "model.layers.#.mlp.experts.gate_up_proj_bias",
        WithUpInTurn("blk.#.ffn_up_exps.bias"),
    ),
    ("blk.#.ffn_up_exps.weight", "", UsedElsewhere),
    ("blk.#.ffn_up_exps.bias", "", UsedElsewhere),
    ("blk.#.ffn_down_exps.weight", "model.layers.#.mlp.experts.down_proj", EachTransposed),
    ("blk.#.ffn_down_exps.bias", "model.layers.#.mlp.experts.down_proj_bias", AsItIs),
];

const GRANITE_MOE: &[Rule] = &[
    ("blk.#.ffn_gate_inp", "model.layers.#.block_sparse_moe.router.layer", AsItIs),
    (
        "blk.#.ffn_gate_exps.weight",
        "model.layers.#.block_sparse_moe.input_linear.weight",
        WithUp("blk.#.ffn_up_exps.weight"),
    ),
    ("blk.#.ffn_up_exps.weight", "", UsedElsewhere),
    ("blk.#.ffn_down_exps", "model.layers.#.block_sparse_moe.output_linear", AsItIs),
];
