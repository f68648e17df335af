//! What the search among candidates found, next to what all pre-activations would have given.
//!
//! Bounds of 8 bits are not proofs (`kernels::int8`), so training looks: now and then the first tokens of a batch, or the first features
//! of feature choice, are searched once more in all their pre-activations in `f32`. A recall below [`LEAST_RECALL`] ends the search
//! among candidates (`trainer`).

use super::memory::ThreadMemory;
use crate::dictionary::Codes;
use crate::dictionary::score::is_silent;
use crate::train::step::batch::TokenRows;
use crate::train::step::context::Context;
use kernels::encode::products;

/// Steps between two looks.
const EVERY: u64 = 64;
/// Tokens, or features, looked at.
pub const ROWS: usize = 32;
/// Share of the active pairs that candidates must have, or they are not used any more.
pub const LEAST_RECALL: f64 = 0.999;

/// What was found by candidates, and what of it was looked at again.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Audit {
    /// Candidates that were computed in `f32`.
    pub candidates: u64,
    /// Active pairs that all pre-activations have, where they were computed too.
    pub wanted: u64,
    /// Those of them that candidates have.
    pub found: u64,
}

impl Audit {
    pub fn add(&mut self, other: &Self) {
        self.candidates += other.candidates;
        self.wanted += other.wanted;
        self.found += other.found;
    }

    /// Counts what of `wanted` is in `got`, which is ascending.
    pub fn compare(&mut self, wanted: &[u32], got: &[u32]) {
        self.wanted += wanted.len() as u64;
        self.found += wanted.iter().filter(|i| got.binary_search(i).is_ok()).count() as u64;
    }

    /// Share of the active pairs looked at again that candidates had; `None` where none were looked at.
    pub fn recall(&self) -> Option<f64> {
        (self.wanted > 0).then(|| self.found as f64 / self.wanted as f64)
    }

    /// Searches the first of `tokens` once more in all pre-activations, and counts what of that is in `codes`.
    pub fn look(
        &mut self,
        context: &Context<'_>,
        least: Cutoff,
        tokens: TokenRows<'_>,
        codes: &Codes,
        memory: &mut ThreadMemory,
    ) {
        let (state, d) = (context.state, context.state.d);
        let tokens = tokens.part(0, ROWS * d);
        let ThreadMemory { scores, largest, features, .. } = memory;
        products(&mut scores.products, tokens.centred, &state.w_enc.value, d);
        if !tokens.gradients.is_empty() {
            products(&mut scores.along, tokens.gradients, &state.w_dec.value, d);
        }
        for row in 0..tokens.centred.len() / d {
            let silent = is_silent(tokens.gradient(row, d));
            scores.score(row, &state.b_enc.value, context.options.score, silent);
            let wanted = match least {
                Cutoff::Best(k) => &*largest.of(&scores.scores, k).0,
                Cutoff::Above(least) => {
                    let above = (0..).zip(&scores.scores).filter(|(_, score)| **score > least);
                    features.clear();
                    features.extend(above.map(|(f, _)| f));
                    &*features
                }
            };
            self.compare(wanted, codes.row(row).0);
        }
    }
}

/// Whether this step looks.
pub fn is_due(context: &Context<'_>) -> bool {
    context.state.step.is_multiple_of(EVERY)
}

/// What a feature of a token must reach to be active.
#[derive(Debug, Clone, Copy)]
pub enum Cutoff {
    /// A place among the k best.
    Best(usize),
    /// A score above this.
    Above(f32),
}
