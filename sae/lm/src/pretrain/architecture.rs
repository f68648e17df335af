//! The architecture that pretraining knows: OLMoE's, as `config.json` says it.

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

impl Architecture {
    /// What the rest of the program calls a configuration.
    ///
    /// # Errors
    /// Numbers that no model can have, such as heads that do not divide d_model.
    pub fn config(&self) -> Result<Config> {
        let path = Path::new("config.json");
        let json = serde_json::to_value(self)
            .map_err(|e| crate::Error::format(path, format!("the architecture cannot be written: {e}")))?;
        Config::from_json(&json, path)
    }
}
