//! Feature choice: tiles of features against the whole batch, so that each feature sees all its tokens at once.

use rayon::prelude::*;

use super::Stepper;
use super::select::{Buffer, Row};
use crate::dictionary::Codes;
use crate::dictionary::score::{Score, is_silent};
use crate::kernels::encode::{Packed, chunk_rows};
use crate::train::state::TrainState;

/// What all tiles read.
struct Tiles<'a> {
    state: &'a TrainState,
    score: Score,
    centred: &'a [f32],
    packed_centred: Packed,
    packed_gradients: Packed,
    gradients: &'a [f32],
    /// Which tokens have no gradient.
    silent: &'a [bool],
}

impl Stepper {
    /// Every feature's best tokens, as many as its budget.
    pub(super) fn match_columns(&mut self, state: &TrainState, rows: usize) {
        let d = state.d;
        let gradients = &self.matrices.gradients;
        let silent: Vec<bool> = gradients.chunks_exact(d).map(is_silent).collect();
        let (mut packed_centred, mut packed_gradients) = (Packed::default(), Packed::default());
        packed_centred.set(&self.matrices.centred, d);
        if !gradients.is_empty() {
            packed_gradients.set(gradients, d);
        }
        let tiles = Tiles {
            packed_centred,
            packed_gradients,
            state,
            score: self.options.score,
            centred: &self.matrices.centred,
            gradients,
            silent: &silent,
        };
        // A tile is to the batch what a chunk of tokens is to the features.
        let tile = chunk_rows(rows);
        let spare = &self.spare;
        let parts: Vec<Codes> = state
            .budgets
            .par_chunks(tile)
            .enumerate()
            .map(|(i, budgets)| {
                let mut buffer = spare.take();
                let codes = tiles.choose(i * tile, budgets, &mut buffer);
                spare.give(buffer);
                codes
            })
            .collect();
        // Rows of these codes are features; their transpose has the tokens as rows.
        let by_token = Codes::concatenate(&parts).transposed(rows);
        for token in 0..rows {
            let (features, values) = by_token.feature(token);
            self.chunks[token / self.chunk_rows].main.codes.push_row(features, values);
        }
    }
}

impl Tiles<'_> {
    /// The tokens of the features from `first` on, a row a feature.
    fn choose(&self, first: usize, budgets: &[u32], buffer: &mut Buffer) -> Codes {
        let (state, d) = (self.state, self.state.d);
        let rows = self.centred.len() / d;
        let tile = first * d..(first + budgets.len()) * d;
        let encoder = &state.w_enc.value[tile.clone()];
        self.packed_centred.products(&mut buffer.products, encoder, self.centred, d);
        if !self.gradients.is_empty() {
            self.packed_gradients.products(&mut buffer.along, &state.w_dec.value[tile], self.gradients, d);
        }
        let mut codes = Codes::default();
        for (i, &budget) in budgets.iter().enumerate() {
            let bias = state.b_enc.value[first + i];
            let row = i * rows..(i + 1) * rows;
            buffer.z.clear();
            buffer.z.extend(buffer.products[row.clone()].iter().map(|p| p + bias));
            let along = buffer.along.get(row).unwrap_or_default();
            self.weigh(&mut buffer.scores, &buffer.z, along);
            let n = buffer.best_of(Row::Scores, budget as usize);
            for (value, &token) in buffer.values.iter_mut().zip(&buffer.features[..n]) {
                *value = buffer.z[token as usize];
            }
            codes.push_row(&buffer.features[..n], &buffer.values[..n]);
        }
        codes
    }

    /// Scores of one feature's pre-activations `z[B]`.
    fn weigh(&self, scores: &mut Vec<f32>, z: &[f32], along: &[f32]) {
        self.score.weigh(scores, z, along, false);
        if let Score::Gradient { lambda, beta, .. } = self.score {
            for ((score, z), _) in scores.iter_mut().zip(z).zip(self.silent).filter(|(_, silent)| **silent) {
                *score = z.max(0.0) * (lambda + beta);
            }
        }
    }
}
