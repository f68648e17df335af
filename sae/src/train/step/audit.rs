//! What a search by candidates found, beside what all pre-activations would have given.
//!
//! Bounds of 8 bits are not proofs (`kernels::int8`), so training looks: now and then the first tokens of a batch, or features of feature
//! choice, are matched once more from all their pre-activations in `f32`.

use super::select::{Buffer, Row};
use super::{Chunk, part};
use crate::dictionary::score::{Score, is_silent};
use crate::train::state::TrainState;
use kernels::encode::products;

/// Steps between two looks.
const EVERY: u64 = 64;
/// Tokens, or features, looked at.
pub(super) const ROWS: usize = 32;

/// What was found by candidates, and what of it was looked at again.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Audit {
    /// Candidates that were computed in `f32`.
    pub(crate) candidates: u64,
    /// Matches wanted where all pre-activations were computed too.
    pub(crate) wanted: u64,
    /// Those of them that were among the candidates' best.
    pub(crate) found: u64,
}

impl Audit {
    pub(crate) fn add(&mut self, other: &Self) {
        self.candidates += other.candidates;
        self.wanted += other.wanted;
        self.found += other.found;
    }

    /// Counts what of `wanted` is in `got`, which is ascending.
    pub(super) fn compare(&mut self, wanted: &[u32], got: &[u32]) {
        self.wanted += wanted.len() as u64;
        self.found += wanted.iter().filter(|i| got.binary_search(i).is_ok()).count() as u64;
    }
}

/// Whether this step looks.
pub(super) fn is_due(state: &TrainState) -> bool {
    state.step.is_multiple_of(EVERY)
}

/// Which features a token should have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// Its k best.
    Best(usize),
    /// Those with more than this score.
    Above(f32),
}

impl Chunk {
    /// Matches the first tokens once more.
    pub(super) fn audit(
        &mut self,
        state: &TrainState,
        score: Score,
        wanted: Wanted,
        [centred, gradients]: [&[f32]; 2],
        buffer: &mut Buffer,
    ) {
        let (d, features) = (state.d, state.features);
        let width = ROWS * d;
        let (centred, gradients) =
            (&centred[..width.min(centred.len())], &gradients[..width.min(gradients.len())]);
        products(&mut buffer.products, centred, &state.w_enc.value, d);
        if !gradients.is_empty() {
            products(&mut buffer.along, gradients, &state.w_dec.value, d);
        }
        for row in 0..centred.len() / d {
            buffer.add(row, &state.b_enc.value);
            let silent = is_silent(part(gradients, row, d));
            let along = buffer.along.get(row * features..(row + 1) * features).unwrap_or_default();
            score.weigh(&mut buffer.scores, &buffer.z, along, silent);
            let n = match wanted {
                Wanted::Best(k) => buffer.best_of(Row::Scores, k),
                Wanted::Above(worst) => {
                    let above = (0..).zip(&buffer.scores).filter(|(_, score)| **score > worst);
                    buffer.features.clear();
                    buffer.features.extend(above.map(|(f, _)| f));
                    buffer.features.len()
                }
            };
            self.audit.compare(&buffer.features[..n], self.main.codes.row(row).0);
        }
    }
}
