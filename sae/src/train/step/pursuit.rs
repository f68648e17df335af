//! Matching pursuit: the pairs of a batch, and gradients through all steps of every token.
//!
//! With r₀ = x − b_dec a token's step t takes `v_t = r_{t−1}·d` of the row d that it has chosen, and leaves `r_t = r_{t−1} − v_t d`. What is left
//! after the last step is the error: e = −r_K. So with `G_K = ∂L/∂r_K`, step by step backwards,
//!
//! ```text
//! ∂L/∂d −= v_t G_t + (G_t·d) r_{t−1};   G_{t−1} = G_t − (G_t·d) d;   ∂L/∂b_dec = −Σ_b G_0
//! ```
//!
//! Which rows are chosen counts as constant, as for every method. The encoder is the decoder: W_enc and b_enc are not used.

use rayon::prelude::*;

use super::batch::{CentredBatch, part};
use super::context::Context;
use super::errors::Errors;
use super::options::Rule;
use super::select::ActivePairs;
use crate::dictionary::pursuit::{self, Limits, Steps};
use crate::train::pairs::{Pairs, PairsByFeature};
use kernels::feature::Source;
use kernels::gather::dot_rows;
use kernels::vector::axpy;
use kernels::{memory, reduce};

/// Norm of what is left of a token that is enough, in units of training.
pub const RESIDUAL: f32 = 0.01;

/// What gradients through the steps are made of; empty where features are not pursued.
#[derive(Debug, Default)]
pub struct Pursuit {
    chunks: Vec<PursuedChunk>,
    /// G_t of every step of every token, `[B · K, d]`.
    after: Vec<f32>,
    /// r_{t−1} of every step of every token, `[B · K, d]`.
    before: Vec<f32>,
    /// By feature: −v_t as codes, −G_t·d as slopes.
    pairs: PairsByFeature,
}

/// A chunk of tokens.
#[derive(Debug, Default)]
struct PursuedChunk {
    steps: Vec<Steps>,
    /// One pair per step.
    pairs: Pairs,
    /// Σ_b G_0, `[d]`.
    begun: Vec<f64>,
}

/// What a token may take, with k features at most.
pub fn limits(k: usize) -> Limits {
    Limits { steps: k, residual: RESIDUAL, stop_on_repeat: true }
}

impl Pursuit {
    /// Makes `pairs` what the tokens of `batch` take.
    pub fn select(&mut self, context: &Context<'_>, batch: &CentredBatch, pairs: &mut ActivePairs) {
        let (state, width, limits) = (context.state, context.width(), limits(context.plan.per_token(1.0)));
        self.chunks.resize_with(context.chunks(), PursuedChunk::default);
        (&mut pairs.chunks, &mut self.chunks).into_par_iter().enumerate().for_each_init(
            || (Vec::new(), Vec::new()),
            |(rows, products), (i, (pairs, chunk))| {
                rows.clear();
                rows.extend_from_slice(part(batch.rows().centred, i, width));
                chunk.steps = pursuit::pursue(rows, &state.w_dec.value, state.d, limits, products);
                chunk.steps.iter().for_each(|steps| pursuit::push_codes(&mut pairs.main.codes, steps));
            },
        );
    }

    /// Goes back through the steps, once the errors are known; gradients are times `scale`.
    pub fn go_back(&mut self, context: &Context<'_>, batch: &CentredBatch, errors: &Errors, scale: f64) {
        if context.plan.rule != Rule::Pursuit {
            return;
        }
        let (state, d, steps) = (context.state, context.state.d, context.plan.per_token(1.0));
        let Self { chunks, after, before, pairs } = self;
        memory::resize(after, context.tokens * steps * d, 0.0);
        memory::resize(before, context.tokens * steps * d, 0.0);
        let (rows, width) = (context.chunking.rows, context.width());
        let matrices = after.par_chunks_mut(steps * width).zip(before.par_chunks_mut(steps * width));
        chunks.par_iter_mut().zip(matrices).enumerate().for_each(|(i, (chunk, (after, before)))| {
            chunk.pairs.clear();
            chunk.begun.clear();
            chunk.begun.resize(d, 0.0);
            let tokens = part(batch.rows().centred, i, width).chunks_exact(d);
            let errors = part(&errors.main, i, width).chunks_exact(d);
            let PursuedChunk { steps: taken, pairs, begun } = chunk;
            pairs.slopes.clear();
            let of_tokens = after.chunks_exact_mut(steps * d).zip(before.chunks_exact_mut(steps * d));
            for ((taken, (x, error)), (after, before)) in taken.iter().zip(tokens.zip(errors)).zip(of_tokens)
            {
                let slopes = token(&state.w_dec.value, taken, (x, error), (after, before), begun);
                for t in 0..steps {
                    match taken.get(t) {
                        Some(&(feature, value)) => pairs.codes.push_row(&[feature], &[-value]),
                        None => pairs.codes.push_row(&[], &[]),
                    }
                }
                pairs.slopes.extend(slopes);
            }
        });
        let chunks: Vec<&Pairs> = chunks.iter().map(|chunk| &chunk.pairs).collect();
        pairs.collect(&chunks, rows * steps, state.features, scale as f32);
    }

    /// What the gradient of feature `f`'s decoder row is made of.
    pub fn sources(&self, f: usize) -> [Source<'_>; 2] {
        let with_after = self.pairs.source(f, &self.after, &[]);
        let with_before = self.pairs.source(f, &self.before, &[]);
        [with_after, Source { codes: with_before.slopes, ..with_before }]
    }

    /// `−Σ_b G_0`, `[d]`.
    pub fn bias(&self, d: usize) -> Vec<f64> {
        let mut sums = vec![0.0; d];
        self.chunks.iter().for_each(|chunk| reduce::add(&mut sums, &chunk.begun));
        sums.iter_mut().for_each(|sum| *sum = -*sum);
        sums
    }
}

/// Goes through the steps that a token has `taken`, forwards for r and backwards for G. Adds G_0 to `begun`, and returns −G_t·d of each.
fn token(
    w_dec: &[f32],
    taken: &Steps,
    (x, error): (&[f32], &[f32]),
    (after, before): (&mut [f32], &mut [f32]),
    begun: &mut [f64],
) -> Vec<f32> {
    let d = x.len();
    let row = |f: u32| &w_dec[f as usize * d..(f as usize + 1) * d];
    let mut residual = x.to_vec();
    for (&(f, value), before) in taken.iter().zip(before.chunks_exact_mut(d)) {
        before.copy_from_slice(&residual);
        axpy(&mut residual, -value, row(f));
    }
    let mut gradient: Vec<f32> = error.iter().map(|e| -e).collect();
    let mut slopes = vec![0.0; taken.len()];
    for (t, &(f, _)) in taken.iter().enumerate().rev() {
        after[t * d..(t + 1) * d].copy_from_slice(&gradient);
        dot_rows(&mut slopes[t..=t], w_dec, &[f], &gradient);
        axpy(&mut gradient, -slopes[t], row(f));
        slopes[t] = -slopes[t];
    }
    begun.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += f64::from(*g));
    slopes
}
