//! Embeddings that every block adds (Gemma 3n and 4): of the token, and of the model's embedding.
//!
//! ```text
//! token ─ embed_tokens_per_layer ─ · √width ──────────────────────┐
//! hook_embed ─ per_layer_model_projection ─ · 1/√d ─ norm ────────┴─ + ─ · 1/√2 ─▶ [rows, len, blocks · width]
//!
//! in a block:  x ─ gate ─ activation ─ ∘ its part ─ projection ─ norm ─▶ what is added
//! ```

use candle_core::Tensor;

use super::config::{Activation, Config, PerLayerConfig};
use super::load::{BlockLoader, Linear, Loader, Norm};
use super::ops::activate;
use super::weights::Rows;
use crate::Result;
use crate::text::Contexts;

/// What the model makes of tokens for its blocks.
#[derive(Debug)]
pub(super) struct PerLayer {
    config: PerLayerConfig,
    table: Rows,
    projection: Linear,
    norm: Norm,
}

impl PerLayer {
    pub fn load(loader: &mut Loader<'_>, config: &Config, own: PerLayerConfig) -> Result<Self> {
        let all = config.num_hidden_layers * own.width;
        Ok(Self {
            config: own,
            table: loader.rows("embed_tokens_per_layer.weight", [own.vocab_size, all])?,
            projection: loader.linear("per_layer_model_projection", all, config.hidden_size)?,
            norm: loader.norm("per_layer_projection_norm", own.width, config.final_norm)?,
        })
    }

    /// Of `x [rows, len, d_model]`, the embedding of `contexts`: `[rows, len, blocks · width]`.
    pub fn inputs(&self, contexts: &Contexts, x: &Tensor) -> Result<Tensor> {
        let (rows, len, d) = x.dims3()?;
        let width = self.config.width;
        let own = |&token: &u32| if (token as usize) < self.config.vocab_size { token } else { 0 };
        let ids: Vec<u32> = contexts.tokens.iter().map(own).collect();
        let of_tokens = (self.table.gather(&ids)? * (width as f64).sqrt())?;
        let projected = (self.projection.forward(x)? / (d as f64).sqrt())?;
        let all = projected.dim(2)?;
        let projected = self.norm.forward(&projected.reshape((rows, len, all / width, width))?)?;
        let sum = (projected.reshape((rows, len, all))? + of_tokens.reshape((rows, len, all))?)?;
        Ok((sum * std::f64::consts::FRAC_1_SQRT_2)?)
    }
}

/// A block's way from its part of the inputs to the stream.
#[derive(Debug)]
pub(super) struct PerLayerGate {
    width: usize,
    activation: Activation,
    gate: Linear,
    projection: Linear,
    norm: Norm,
}

impl PerLayerGate {
    pub fn load(
        loader: &mut BlockLoader<'_, '_>,
        (width, activation): (usize, Activation),
        norm: super::config::NormConfig,
        d_model: usize,
    ) -> Result<Self> {
        Ok(Self {
            width,
            activation,
            gate: loader.linear("per_layer_input_gate", width, d_model, false)?,
            projection: loader.linear("per_layer_projection", d_model, width, false)?,
            norm: loader.norm("post_per_layer_input_norm", d_model, norm)?,
        })
    }

    /// What block `layer` adds where it reads `x [rows, len, d_model]`; `inputs` is [`PerLayer::inputs`].
    pub fn forward(&self, x: &Tensor, inputs: &Tensor, layer: usize) -> Result<Tensor> {
        let own = inputs.narrow(2, layer * self.width, self.width)?;
        let gate = activate(&self.gate.forward(x)?, self.activation)?;
        self.norm.forward(&self.projection.forward(&(gate * own)?)?)
    }
}
