//! The whole decoder: embedding, blocks, final norm, output matrix.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::block::{Batch, Block, linear, visit};
use super::ops::{AttentionMask, Rotation, rms_norm};
use super::{Config, Hook, Site, Tap, Weights};
use crate::Result;
use crate::text::Contexts;

/// A decoder-only language model with taps at its hooks.
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Tensor,
    output: Tensor,
}

impl Decoder {
    /// Takes the weights that `config` asks for; names and shapes are Hugging Face's.
    pub fn new(config: Config, mut weights: Weights) -> Result<Self> {
        let (v, d) = (config.vocab_size, config.hidden_size);
        let embedding = weights.take("model.embed_tokens.weight", &[v, d])?;
        let blocks: Result<Vec<_>> =
            (0..config.num_hidden_layers).map(|l| Block::load(&mut weights, &config, l)).collect();
        let output = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => weights.take("lm_head.weight", &[v, d])?,
        };
        let norm = weights.take("model.norm.weight", &[d])?;
        Ok(Self { blocks: blocks?, norm, output, embedding, config })
    }

    /// Shape and switches.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every hook of this model, in the order a forward pass meets them.
    pub fn hooks(&self) -> Vec<Hook> {
        Hook::all(self.config.num_hidden_layers)
    }

    /// Runs the embedding and the first `layers` blocks: `[rows, len, d_model]`, the residual stream behind them.
    pub fn residual(&self, contexts: &Contexts, layers: usize, tap: &mut dyn Tap) -> Result<Tensor> {
        contexts.check_tokens(self.config.vocab_size)?;
        let (rows, len) = (contexts.rows, contexts.len);
        let tokens = Tensor::from_slice(&contexts.tokens, rows * len, &Device::Cpu)?;
        let x = self.embedding.index_select(&tokens, 0)?.reshape((rows, len, self.config.hidden_size))?;
        let batch = Batch {
            mask: AttentionMask { segments: Arc::new(contexts.segments.clone()), len },
            rotation: Rotation::new(&contexts.positions, self.config.d_head(), self.config.rope_theta),
        };
        let mut x = visit(Hook::new(0, Site::Embed), x, tap)?;
        for block in &self.blocks[..layers] {
            x = block.forward(x, &batch, tap)?;
        }
        Ok(x)
    }

    /// Logits `[rows, len, V]`.
    pub fn forward(&self, contexts: &Contexts, tap: &mut dyn Tap) -> Result<Tensor> {
        let x = self.residual(contexts, self.blocks.len(), tap)?;
        self.logits(&x)
    }

    /// Logits `[rows, len, V]` of a final residual stream `[rows, len, d_model]`.
    pub fn logits(&self, residual: &Tensor) -> Result<Tensor> {
        linear(&rms_norm(residual, &self.norm, self.config.rms_norm_eps)?, &self.output)
    }

    /// What a direction of the residual stream does to the logits, `[V, d_model]`: the output matrix with the final norm's gain
    /// folded in. The norm's division, which depends on the token, is left out.
    pub fn unembedding(&self) -> Result<Tensor> {
        Ok(self.output.broadcast_mul(&self.norm)?)
    }
}
