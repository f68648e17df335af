//! A text as the model and the dictionary read it.

use candle_core::Tensor;

use super::batch::Batch;
use super::experts::LayerExperts;
use super::predictions::Prediction;
use crate::dictionary::Codes;

/// A text as the model and the dictionary read it; `n` tokens.
#[derive(Debug)]
pub struct Reading {
    /// The text.
    pub text: String,
    /// Its tokens, `[n]`; BOS is not among them.
    pub tokens: Vec<u32>,
    /// The codes of each, `[n, d_sae]`.
    pub codes: Codes,
    /// ‖x‖ at the hook, `[n]`.
    pub norms: Vec<f32>,
    /// Whether a token's norm is above the limit of training: such tokens have no codes and are never
    /// changed, `[n]`.
    pub left_out: Vec<bool>,
    /// The experts of each token, one entry per layer with a router; empty for a model without experts.
    pub experts: Vec<LayerExperts>,
    /// What is predicted after each token, `[n]`.
    pub predictions: Vec<Prediction>,
    pub(super) batch: Batch,
    /// The value at the hook, `[1, len, d]`.
    pub(super) value: Tensor,
    /// The final residual stream, `[1, len, d_model]`.
    pub(super) residual: Tensor,
}

impl Reading {
    /// Number of tokens, `n`.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens of the context before the text: 1 for BOS, where there is one.
    pub fn begins(&self) -> usize {
        self.batch.first
    }

    /// Never true: an empty text is refused.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The strongest activation of `feature` on this text, if it fires.
    pub fn maximum(&self, feature: u32) -> Option<f32> {
        let entries = self.codes.features.iter().zip(&self.codes.values);
        entries.filter(|(f, _)| **f == feature).map(|(_, v)| *v).reduce(f32::max)
    }

    /// Activation of `feature` at every token, 0 where it does not fire, `[n]`.
    pub fn activations(&self, feature: u32) -> Vec<f32> {
        let at = |token| {
            let (features, values) = self.codes.row(token);
            features.binary_search(&feature).map_or(0.0, |i| values[i])
        };
        (0..self.len()).map(at).collect()
    }

    /// The token that follows each, if one does, `[n]`.
    pub(super) fn targets(&self) -> Vec<Option<u32>> {
        (1..=self.len()).map(|next| self.tokens.get(next).copied()).collect()
    }
}
