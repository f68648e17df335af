//! The architectures that pretraining knows, as their `config.json` says them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::model::Config;

/// A mixture-of-experts decoder of OLMoE's architecture. Field names and order are those of its
/// `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// `olmoe`.
    pub model_type: String,
    /// Class names, as `transformers` wants them.
    pub architectures: Vec<String>,
    /// Number of tokens V.
    pub vocab_size: usize,
    /// d_model.
    pub hidden_size: usize,
    /// Hidden units of one expert.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Activation of the experts; `silu`.
    pub hidden_act: String,
    /// Longest context the model is made for.
    pub max_position_embeddings: usize,
    /// ε of the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Null: it is not stretched.
    pub rope_scaling: Option<()>,
    /// True if the output matrix is the embedding.
    pub tie_word_embeddings: bool,
    /// Experts a layer, E.
    pub num_experts: usize,
    /// Experts per token, k.
    pub num_experts_per_tok: usize,
    /// True if the k weights are divided by their sum.
    pub norm_topk_prob: bool,
    /// Null: queries, keys and values are not clipped.
    pub clip_qkv: Option<()>,
    /// Biases in attention.
    pub attention_bias: bool,
    /// Token that begins a context, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Token that ends a document.
    pub eos_token_id: Option<u32>,
    /// Token that fills up a batch.
    pub pad_token_id: Option<u32>,
    /// Weight of the load-balancing loss in pretraining.
    pub router_aux_loss_coef: f64,
    /// Type of the stored weights.
    pub torch_dtype: String,
}

/// A decoder with Llama's attention and a branch of its own next to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Llama {
    /// The family: `llama`, `arcee`, `monet` or `plain_moe`.
    pub model_type: &'static str,
    /// Class names, as `transformers` wants them; null for a family that it does not have.
    pub architectures: Option<[&'static str; 1]>,
    /// Number of tokens V.
    pub vocab_size: usize,
    /// d_model.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Longest context the model is made for.
    pub max_position_embeddings: usize,
    /// ε of the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// True if the output matrix is the embedding.
    pub tie_word_embeddings: bool,
    /// Biases in attention.
    pub attention_bias: bool,
    /// Token that begins a context, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Token that ends a document.
    pub eos_token_id: Option<u32>,
    /// Token that fills up a batch.
    pub pad_token_id: Option<u32>,
    /// Type of the stored weights.
    pub torch_dtype: &'static str,
    /// Activation of the hidden units.
    pub hidden_act: Units,
    /// The branch next to attention.
    #[serde(flatten)]
    pub branch: Branch,
}

/// The branch next to attention, in the fields of its family.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Branch {
    /// An MLP; with a gate the family is `llama`, without `arcee`.
    Dense {
        /// Hidden units.
        intermediate_size: usize,
    },
    /// Monet.
    Monet {
        /// Hidden units m of an expert.
        moe_dim: usize,
        /// Heads H of the routers.
        moe_heads: usize,
        /// Halves of each kind, √E.
        moe_experts: usize,
        /// Halves that a head keeps on average.
        moe_topk: usize,
        /// Layers that share routers.
        moe_groups: usize,
        /// `vertical` or `horizontal`.
        moe_decompose: &'static str,
    },
    /// Experts that are MLPs without a gate.
    PlainMoe {
        /// Hidden units of one expert.
        intermediate_size: usize,
        /// Experts a layer, E.
        num_experts: usize,
        /// Experts per token, k.
        num_experts_per_tok: usize,
        /// True if the k weights are divided by their sum.
        norm_topk_prob: bool,
        /// `learned` or `expected_sparsity`.
        router: &'static str,
    },
}

/// The activation of hidden units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Units {
    /// x σ(x).
    Silu,
    /// x Φ(x).
    Gelu,
    /// max(x, 0).
    Relu,
    /// max(x, 0)².
    Relu2,
}

/// A model's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ModelConfig {
    /// A mixture of gated experts in OLMoE's form.
    TopK(Architecture),
    /// The others.
    Llama(Llama),
}

impl From<Architecture> for ModelConfig {
    fn from(architecture: Architecture) -> Self {
        Self::TopK(architecture)
    }
}

impl ModelConfig {
    /// The size of the model: (V, d_model, blocks, whether the output matrix is the embedding).
    pub fn size(&self) -> (usize, usize, usize, bool) {
        match self {
            Self::TopK(c) => (c.vocab_size, c.hidden_size, c.num_hidden_layers, c.tie_word_embeddings),
            Self::Llama(c) => (c.vocab_size, c.hidden_size, c.num_hidden_layers, c.tie_word_embeddings),
        }
    }

    /// The token that begins a context.
    pub fn bos_token_id(&self) -> Option<u32> {
        match self {
            Self::TopK(c) => c.bos_token_id,
            Self::Llama(c) => c.bos_token_id,
        }
    }

    /// What the rest of the program calls a configuration.
    ///
    /// # Errors
    /// Sizes that do not fit each other.
    pub fn config(&self) -> Result<Config> {
        let path = Path::new("config.json");
        let json = serde_json::to_value(self)
            .map_err(|e| crate::Error::format(path, format!("the architecture cannot be written: {e}")))?;
        Config::from_json(&json, path)
    }
}
