//! The batch of a step: what is given, and the same centred.

use rayon::prelude::*;

use super::context::Context;
use crate::dictionary::score::{Score, normalise};
use kernels::encode::centre;
use kernels::memory;

/// A batch, already scaled.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// Activations `[B, d]`.
    pub x: &'a [f32],
    /// Gradients of the model's loss at them `[B, d]`; empty for methods that need none.
    pub gradients: &'a [f32],
}

impl<'a> From<&'a Vec<f32>> for Tokens<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        Self { x, gradients: &[] }
    }
}

impl<'a> From<&'a [f32]> for Tokens<'a> {
    fn from(x: &'a [f32]) -> Self {
        Self { x, gradients: &[] }
    }
}

/// Rows of a batch that belong to the same tokens.
#[derive(Debug, Clone, Copy)]
pub struct TokenRows<'a> {
    /// `x − b_dec`, `[n, d]`.
    pub centred: &'a [f32],
    /// ĝ, `[n, d]`; empty for plain scores.
    pub gradients: &'a [f32],
}

impl<'a> TokenRows<'a> {
    /// The i-th piece of `width` numbers of each matrix.
    pub fn part(self, i: usize, width: usize) -> Self {
        Self { centred: part(self.centred, i, width), gradients: part(self.gradients, i, width) }
    }

    /// ĝ of one token, `[d]`; empty for plain scores.
    pub fn gradient(self, row: usize, d: usize) -> &'a [f32] {
        part(self.gradients, row, d)
    }
}

/// The i-th piece of `width` numbers; the last one may be shorter, and the pieces of an empty matrix are empty.
fn part(all: &[f32], i: usize, width: usize) -> &[f32] {
    let start = (i * width).min(all.len());
    &all[start..(start + width).min(all.len())]
}

/// A batch as the stages of a step read it.
#[derive(Debug, Default)]
pub struct CentredBatch {
    centred: Vec<f32>,
    gradients: Vec<f32>,
}

impl CentredBatch {
    /// Makes it the batch `tokens`: subtracts `b_dec`, and brings gradients to one scale where scores have them.
    pub fn set(&mut self, context: &Context<'_>, tokens: Tokens<'_>) {
        let Context { state, options, .. } = context;
        self.gradients.clear();
        if let Score::Gradient { norm, .. } = options.score {
            normalise(&mut self.gradients, tokens.gradients, state.d, norm);
        }
        memory::resize(&mut self.centred, tokens.x.len(), 0.0);
        let width = context.width();
        (self.centred.par_chunks_mut(width), tokens.x.par_chunks(width))
            .into_par_iter()
            .for_each(|(centred, x)| centre(centred, x, &state.b_dec.value));
    }

    /// All rows.
    pub fn rows(&self) -> TokenRows<'_> {
        TokenRows { centred: &self.centred, gradients: &self.gradients }
    }
}
