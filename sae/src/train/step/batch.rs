//! The batch of a step: what is given, and the same centred.

use rayon::prelude::*;

use super::context::Context;
use super::options::Rule;
use crate::dictionary::cosine;
use crate::dictionary::score::{Score, normalise};
use kernels::encode::{centre, products};
use kernels::memory;

/// A batch, already scaled.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// Activations `[B, d]`.
    pub x: &'a [f32],
    /// Gradients of the model's loss at them `[B, d]`; empty for methods that need none.
    pub gradients: &'a [f32],
    /// What a transcoder is to reconstruct, `[B, d_out]`; empty for a dictionary that reconstructs `x`.
    pub targets: &'a [f32],
}

impl<'a> Tokens<'a> {
    /// What is reconstructed.
    pub fn reconstructed(&self) -> &'a [f32] {
        if self.targets.is_empty() { self.x } else { self.targets }
    }
}

impl<'a> From<&'a Vec<f32>> for Tokens<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        Self { x, gradients: &[], targets: &[] }
    }
}

impl<'a> From<&'a [f32]> for Tokens<'a> {
    fn from(x: &'a [f32]) -> Self {
        Self { x, gradients: &[], targets: &[] }
    }
}

/// Rows of a batch that belong to the same tokens.
#[derive(Debug, Clone, Copy)]
pub struct TokenRows<'a> {
    /// What is encoded: `x − b_dec`, of a transcoder `x` itself, `[n, d]`.
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
pub(super) fn part(all: &[f32], i: usize, width: usize) -> &[f32] {
    let start = (i * width).min(all.len());
    &all[start..(start + width).min(all.len())]
}

/// A batch as the stages of a step read it.
#[derive(Debug, Default)]
pub struct CentredBatch {
    centred: Vec<f32>,
    gradients: Vec<f32>,
    /// Of a transcoder, targets − b_dec, less what its skip connection gives; else empty.
    targets: Vec<f32>,
    /// Norms of what is encoded, where scores need them; else empty.
    norms: Vec<f32>,
    /// Whether it is of a layer of a cross-layer transcoder: what its codes should give depends on those of the other layers.
    joint: bool,
}

impl CentredBatch {
    /// Makes it the batch `tokens`: subtracts `b_dec`, and brings gradients to one scale where scores have them.
    pub fn set(&mut self, context: &Context<'_>, tokens: Tokens<'_>) {
        let Context { state, options, .. } = context;
        self.gradients.clear();
        if let Score::Gradient { norm, .. } = options.score {
            normalise(&mut self.gradients, tokens.gradients, state.d, norm);
        }
        self.joint = false;
        let (width, b_dec) = (context.width_out(), &state.b_dec.value);
        let centred = |out: &mut Vec<f32>, x: &[f32]| {
            memory::resize(out, x.len(), 0.0);
            (out.par_chunks_mut(width), x.par_chunks(width))
                .into_par_iter()
                .for_each(|(centred, x)| centre(centred, x, b_dec));
        };
        centred(&mut self.targets, tokens.targets);
        let skip = &state.skip.value;
        if !skip.is_empty() {
            let chunks = self.targets.par_chunks_mut(width).zip(tokens.x.par_chunks(context.width()));
            chunks.for_each_init(Vec::new, |given, (wanted, x)| {
                products(given, x, skip, state.d);
                wanted.iter_mut().zip(given).for_each(|(wanted, given)| *wanted -= *given);
            });
        }
        if tokens.targets.is_empty() {
            centred(&mut self.centred, tokens.x);
        } else {
            self.centred.clear();
            self.centred.extend_from_slice(tokens.x);
        }
        self.norms.clear();
        if let Rule::Cosine(_) = options.rule {
            self.norms.par_extend(self.centred.par_chunks(state.d).map(cosine::norm));
        }
    }

    /// Norms of what is encoded, where scores need them.
    pub fn norms(&self) -> &[f32] {
        &self.norms
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.centred.clear();
    }

    /// Makes its rows those of `other`, without gradients, to be changed by the caller.
    pub fn begin_as(&mut self, other: &Self) -> &mut [f32] {
        self.centred.clone_from(&other.centred);
        &mut self.centred
    }

    /// Makes it what a layer of a cross-layer transcoder reads, `x[B, d]`.
    pub fn set_joint(&mut self, x: &[f32]) {
        (self.joint, self.gradients, self.targets) = (true, Vec::new(), Vec::new());
        self.centred.clear();
        self.centred.extend_from_slice(x);
    }

    /// What codes times decoder rows should be, `[B, d_out]`: what is reconstructed less its bias. Empty for a layer of a cross-layer
    /// transcoder.
    pub fn wanted(&self) -> &[f32] {
        match self.joint {
            true => &[],
            false if self.targets.is_empty() => &self.centred,
            false => &self.targets,
        }
    }

    /// Whether the decoder's bias is subtracted from what is encoded, so that it has a gradient through the encoder.
    pub fn subtracts_bias(&self) -> bool {
        self.targets.is_empty() && !self.joint
    }

    /// All rows.
    pub fn rows(&self) -> TokenRows<'_> {
        TokenRows { centred: &self.centred, gradients: &self.gradients }
    }
}
