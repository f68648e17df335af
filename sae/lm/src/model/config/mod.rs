//! What a model is: a `config.json` of any family, read into one checked form.
//!
//! Hugging Face has a different name for the same switch in every family, and a default that no file has;
//! both are known here alone. The rest of the room sees a [`Config`]: an embedding, blocks that each know
//! what they are, a final norm and an output matrix.

mod attention;
mod check;
mod experts;
mod families;
mod fields;
mod gemma;
mod moe;
mod monet;
pub(in crate::model) mod refused;
mod rope;
mod text_part;

use std::path::Path;

use serde::Serialize;

pub use gemma::{PerLayerConfig, StreamsConfig};
pub use moe::{ExpertNaming, ExpertsConfig, Groups, RouterConfig, Score, Shared};
pub use monet::{Decomposition, MonetConfig};
pub use rope::{RopeConfig, Scaling};

use crate::{Error, Result};
pub(super) use fields::names_with_defaults;

/// A decoder-only language model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Family, e.g. `olmoe`.
    pub model_type: String,
    /// How its checkpoints name and lay out tensors.
    pub layout: TensorLayout,
    /// Number of tokens V.
    pub vocab_size: usize,
    /// d_model.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// True if positions are a learned table that is added to the embedding (GPT-2).
    pub learned_positions: bool,
    /// What the embedding is multiplied by.
    pub embedding_scale: f64,
    /// True if the output matrix is the embedding.
    pub tie_word_embeddings: bool,
    /// The norm before the output matrix.
    pub final_norm: NormConfig,
    /// What the logits are multiplied by.
    pub logit_scale: f64,
    /// Logits become c · tanh(logit / c).
    pub logit_cap: Option<f64>,
    /// Token that begins every context, if one does: of a loaded model what its tokenizer's files say, not `config.json` alone.
    pub bos_token_id: Option<u32>,
    /// Token that ends a document.
    pub eos_token_id: Option<u32>,
    /// Residual streams next to the active one (Gemma 3n).
    pub streams: Option<StreamsConfig>,
    /// Embeddings that every block adds (Gemma 3n and 4).
    pub per_layer: Option<PerLayerConfig>,
    /// What each block is.
    pub blocks: Vec<BlockConfig>,
}

/// How a family's checkpoints name and lay out tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorLayout {
    /// `model.layers.0.self_attn.q_proj.weight`, matrices `[out, in]`.
    Llama,
    /// `transformer.h.0.attn.c_attn.weight`, matrices `[in, out]`, q, k and v in one.
    Gpt2,
    /// `gpt_neox.layers.0.attention.query_key_value.weight`, q, k and v of a head next to each other.
    NeoX,
}

/// A norm: `x / rms(x)` or `(x − mean) / std`, times a gain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NormConfig {
    /// Which of the two; a layer norm has a bias.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f64,
}

/// The kind of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Root mean square, gain w.
    Rms,
    /// Root mean square, gain 1 + w (Gemma).
    RmsPlusOne,
    /// Mean taken off, divided by the standard deviation, gain and bias.
    Layer,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockConfig {
    /// The norms of its branches' inputs and outputs.
    pub norm: NormConfig,
    /// How the branches join the residual stream.
    pub form: BlockForm,
    /// What a branch is multiplied by before it is added (Granite).
    pub residual_scale: f64,
    /// Rank of a low-rank map next to attention (Gemma 3n's Laurel).
    pub laurel: Option<usize>,
    /// Whether the stream after the block is multiplied by a stored number (Gemma 4).
    pub scaled: bool,
    /// Attention.
    pub attention: AttentionConfig,
    /// The other branch.
    pub mlp: MlpConfig,
}

/// How the two branches of a block join the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockForm {
    /// `x += attention(norm(x)); x += mlp(norm(x))`.
    Sequential,
    /// `x += attention(norm₁(x)) + mlp(norm₂(x))`: there is no resid_mid (GPT-NeoX).
    Parallel,
    /// As sequential, and each branch is normed again before it is added (Gemma).
    Sandwich,
    /// `x += norm(attention(x)); x += norm(mlp(x))` (OLMo 2).
    PostNorm,
}

/// Attention of one block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttentionConfig {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Numbers in a head's query and key.
    pub d_head: usize,
    /// Numbers in a head's value.
    pub d_value: usize,
    /// What q·k is multiplied by.
    pub scale: f64,
    /// Scores become c · tanh(score / c).
    pub soft_cap: Option<f64>,
    /// A token sees itself and this many − 1 tokens before it.
    pub window: Option<usize>,
    /// Every head has a logit that takes part in the softmax and stands for nothing (GPT-OSS).
    pub sinks: bool,
    /// Biases of q, k and v.
    pub qkv_bias: bool,
    /// Bias of the output.
    pub out_bias: bool,
    /// Queries, keys and values are clipped to ± this.
    pub clip: Option<f64>,
    /// Norm of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// Rotary embedding.
    pub rope: Option<RopeConfig>,
    /// Queries, keys and values from low-rank latents (DeepSeek).
    pub latent: Option<LatentConfig>,
    /// Each head's values are normed, without a gain (Gemma 3n and 4).
    pub value_norm: bool,
    /// Values are what keys are before their norm (Gemma 4).
    pub keys_are_values: bool,
    /// The earlier layer whose keys and values it reads in place of its own (Gemma 3n and 4).
    pub shares: Option<usize>,
    /// Whether later layers read its keys and values.
    pub lends: bool,
}

/// Root-mean-square norm of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QkNorm {
    /// True: each head for itself; false: all heads together.
    pub per_head: bool,
    /// Its kind.
    pub norm: NormConfig,
}

/// Multi-head latent attention: q and [k, v] are made from normed low-rank latents, and a part of k that is
/// shared by all heads is the only one that is rotated. A head's q and k are `[nope, rope]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatentConfig {
    /// Rank of the queries' latent; none: queries are made from x.
    pub q_rank: Option<usize>,
    /// Rank of the latent of keys and values.
    pub kv_rank: usize,
    /// Numbers of a head's q and k that are not rotated.
    pub d_nope: usize,
    /// Numbers that are.
    pub d_rope: usize,
    /// ε of the latents' norms.
    pub eps: f64,
}

/// The branch next to attention.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MlpConfig {
    /// One MLP for every token.
    Dense(DenseConfig),
    /// A mixture of experts.
    Experts(ExpertsConfig),
    /// Monet's experts, each put together of two halves.
    Monet(MonetConfig),
}

/// An MLP: `W_down (act(W_gate x) ∘ W_up x)`, or `W_down act(W_up x)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DenseConfig {
    /// Hidden units.
    pub hidden: usize,
    /// Activation.
    pub activation: Activation,
    /// Whether there is a gate.
    pub gated: bool,
    /// Biases.
    pub bias: bool,
    /// Gate and up are one matrix, `input_linear`, and down is `output_linear` (Granite's shared MLP).
    pub joined: bool,
    /// What the gate has above this quantile of a normal distribution of its mean and variance passes, less
    /// that quantile; 0: everything passes (Gemma 3n).
    pub sparsity: f64,
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x σ(x).
    Silu,
    /// x Φ(x).
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// max(x, 0)² (Monet, Arcee).
    #[serde(rename = "relu2")]
    SquaredRelu,
    /// GPT-OSS: `g = min(gate, limit)`, `u = clamp(up, ±limit)`, `(u + 1) · g σ(alpha g)`.
    ClampedSwiglu {
        /// α.
        alpha: f64,
        /// The limit.
        limit: f64,
    },
}

impl Config {
    /// Reads and checks the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Format`]: text that is not JSON, a family or option that is not read, numbers that do not fit
    /// each other.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|e| Error::format(path, format!("is not valid JSON: {e}")))?;
        Self::from_json(&json, path)
    }

    /// From the value of a `config.json`.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn from_json(json: &serde_json::Value, path: &Path) -> Result<Self> {
        let config = families::read(json, path)?;
        check::check(&config, path)?;
        Ok(config)
    }

    /// Whether a block reads only the residual stream before it, so that a pass can begin there. Otherwise it
    /// also reads other streams, the token, or keys and values of earlier blocks.
    pub fn is_one_stream(&self) -> bool {
        let shares = self.blocks.iter().any(|block| block.attention.shares.is_some());
        self.streams.is_none() && self.per_layer.is_none() && !shares
    }

    /// Experts and experts per token of the block that has the most; none in a dense model.
    pub fn experts(&self) -> Option<(usize, usize)> {
        let of = |block: &BlockConfig| match &block.mlp {
            MlpConfig::Experts(e) => Some((e.experts, e.k)),
            MlpConfig::Monet(m) => Some((m.experts(), m.recorded())),
            MlpConfig::Dense(_) => None,
        };
        self.blocks.iter().filter_map(of).max()
    }
}

#[cfg(test)]
mod tests;
