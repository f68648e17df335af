//! Feature choice: tiles of features against the whole batch, so that each feature sees all its tokens at once.
//!
//! Rows and columns change places: a tile's encoder rows are the rows of the product, the batch's tokens are its columns. By candidates
//! (`kernels::int8`) the batch lies in panels and features have biases of rows.

use rayon::prelude::*;

use super::audit::{self, Audit};
use super::prefilter::{Prefilter, Quantised, silence};
use super::select::{Buffer, Row};
use super::{Stepper, candidates};
use crate::dictionary::Codes;
use crate::dictionary::score::{Score, is_silent};
use crate::train::state::TrainState;
use kernels::encode::{Packed, chunk_rows, products};
use kernels::gather::dot_rows;
use kernels::int8::tile::{Instructions, ROWS};
use kernels::int8::{Pairs, Weights};

/// What all tiles read.
struct Tiles<'a> {
    state: &'a TrainState,
    score: Score,
    centred: &'a [f32],
    gradients: &'a [f32],
    /// Which tokens have no gradient.
    silent: &'a [bool],
}

/// How a tile's tokens are found.
enum Search {
    /// From all pre-activations.
    Exact { centred: Packed, gradients: Packed },
    /// From candidates: tokens and their gradients in panels.
    Candidates { instructions: Instructions, tokens: Quantised, gradients: Option<Quantised> },
}

impl Stepper {
    /// Every feature's best tokens, as many as its budget.
    pub(super) fn match_columns(&mut self, state: &TrainState, rows: usize) {
        let silent: Vec<bool> = self.matrices.gradients.chunks_exact(state.d).map(is_silent).collect();
        let tiles = Tiles {
            state,
            score: self.options.score,
            centred: &self.matrices.centred,
            gradients: &self.matrices.gradients,
            silent: &silent,
        };
        let search = tiles.search(self.prefilter.as_ref());
        // A tile is to the batch what a chunk of tokens is to the features.
        let tile = match search {
            Search::Exact { .. } => chunk_rows(rows),
            Search::Candidates { .. } => self.chunk_rows,
        };
        let spare = &self.spare;
        let parts: Vec<(Codes, Audit)> = state
            .budgets
            .par_chunks(tile)
            .enumerate()
            .map(|(i, budgets)| {
                let mut buffer = spare.take();
                let found = tiles.choose(&search, i * tile, budgets, &mut buffer);
                spare.give(buffer);
                found
            })
            .collect();
        let (parts, audits): (Vec<Codes>, Vec<Audit>) = parts.into_iter().unzip();
        audits.iter().for_each(|audit| self.chunks[0].audit.add(audit));
        // Rows of these codes are features; their transpose has the tokens as rows.
        let by_token = Codes::concatenate(&parts).transposed(rows);
        for token in 0..rows {
            let (features, values) = by_token.feature(token);
            self.chunks[token / self.chunk_rows].main.codes.push_row(features, values);
        }
    }
}

impl Tiles<'_> {
    /// Packs the batch.
    fn search(&self, prefilter: Option<&Prefilter>) -> Search {
        let d = self.state.d;
        let Some(prefilter) = prefilter else {
            let (mut centred, mut gradients) = (Packed::default(), Packed::default());
            centred.set(self.centred, d);
            if !self.gradients.is_empty() {
                gradients.set(self.gradients, d);
            }
            return Search::Exact { centred, gradients };
        };
        let mut tokens = Quantised::new(prefilter.encoder.fold.clone().swapped());
        tokens.pack(self.centred, |_| 0.0);
        let gradients = prefilter.decoder.as_ref().map(|decoder| {
            let mut gradients = Quantised::new(decoder.fold.clone().swapped());
            gradients.pack(self.gradients, |token| silence(self.silent[token]));
            gradients
        });
        Search::Candidates { instructions: prefilter.instructions, tokens, gradients }
    }

    /// The tokens of the features from `first` on, a row a feature.
    fn choose(&self, search: &Search, first: usize, budgets: &[u32], buffer: &mut Buffer) -> (Codes, Audit) {
        match search {
            Search::Exact { centred, gradients } => {
                let (encoder, decoder) = self.rows(first, budgets.len());
                centred.products(&mut buffer.products, encoder, self.centred, self.state.d);
                if !self.gradients.is_empty() {
                    gradients.products(&mut buffer.along, decoder, self.gradients, self.state.d);
                }
                (self.choose_exact(first, budgets, buffer), Audit::default())
            }
            Search::Candidates { instructions, tokens, gradients } => {
                let tokens = (tokens, gradients.as_ref());
                let (codes, mut audit) = self.choose_listed(tokens, *instructions, first, budgets, buffer);
                if first == 0 && audit::is_due(self.state) {
                    self.audit(&codes, budgets, &mut audit, buffer);
                }
                (codes, audit)
            }
        }
    }

    /// Encoder and decoder rows of `n` features from `first` on.
    fn rows(&self, first: usize, n: usize) -> (&[f32], &[f32]) {
        let tile = first * self.state.d..(first + n) * self.state.d;
        (&self.state.w_enc.value[tile.clone()], &self.state.w_dec.value[tile])
    }

    /// The best tokens by all products, which are in `buffer`.
    fn choose_exact(&self, first: usize, budgets: &[u32], buffer: &mut Buffer) -> Codes {
        let rows = self.centred.len() / self.state.d;
        let mut codes = Codes::default();
        for (i, &budget) in budgets.iter().enumerate() {
            let bias = self.state.b_enc.value[first + i];
            let row = i * rows..(i + 1) * rows;
            buffer.z.clear();
            buffer.z.extend(buffer.products[row.clone()].iter().map(|p| p + bias));
            let along = buffer.along.get(row).unwrap_or_default();
            self.weigh(&mut buffer.scores, &buffer.z, along, |token| token);
            let n = buffer.best_of(Row::Scores, budget as usize);
            for (value, &token) in buffer.values.iter_mut().zip(&buffer.features[..n]) {
                *value = buffer.z[token as usize];
            }
            codes.push_row(&buffer.features[..n], &buffer.values[..n]);
        }
        codes
    }

    /// The best tokens of candidates.
    fn choose_listed(
        &self,
        (tokens, gradients): (&Quantised, Option<&Quantised>),
        instructions: Instructions,
        first: usize,
        budgets: &[u32],
        buffer: &mut Buffer,
    ) -> (Codes, Audit) {
        let d = self.state.d;
        let (encoder, decoder) = self.rows(first, budgets.len());
        let biases = &self.state.b_enc.value[first..first + budgets.len()];
        let Buffer { search, candidates, chosen, features, values, .. } = buffer;
        search.rows.set(encoder, &tokens.fold, ROWS);
        search.rows.set_biases(biases.iter().copied());
        let weights = match (self.score, gradients) {
            (Score::Gradient { lambda, beta, .. }, Some(gradients)) => {
                search.along_rows.set(decoder, &gradients.fold, ROWS);
                Some(Weights { rows: &search.along_rows, panels: &gradients.panels, lambda, beta })
            }
            _ => None,
        };
        let pairs = Pairs { rows: &search.rows, panels: &tokens.panels, weights };
        search.shortlist.find_each(pairs, budgets, instructions);
        let (mut codes, mut audit) = (Codes::default(), Audit::default());
        for (i, &budget) in budgets.iter().enumerate() {
            let row = i * d..(i + 1) * d;
            let candidates::Search8 { listed, z, along, scores, shortlist, .. } = search;
            listed.clear();
            listed.extend(shortlist.row(i));
            audit.candidates += listed.len() as u64;
            z.resize(listed.len(), 0.0);
            dot_rows(z, self.centred, listed, &encoder[row.clone()]);
            z.iter_mut().for_each(|z| *z += biases[i]);
            if gradients.is_some() {
                along.resize(listed.len(), 0.0);
                dot_rows(along, self.gradients, listed, &decoder[row]);
            }
            self.weigh(scores, z, along, |place| listed[place] as usize);
            let n = search.best(budget as usize, candidates, chosen);
            features.clear();
            values.clear();
            for &place in &chosen.places[..n] {
                features.push(search.listed[place as usize]);
                values.push(search.z[place as usize]);
            }
            codes.push_row(features, values);
        }
        (codes, audit)
    }

    /// Counts what `codes` have of the best tokens of the first features by all products.
    fn audit(&self, codes: &Codes, budgets: &[u32], audit: &mut Audit, buffer: &mut Buffer) {
        let budgets = &budgets[..budgets.len().min(audit::ROWS)];
        let (encoder, decoder) = self.rows(0, budgets.len());
        products(&mut buffer.products, encoder, self.centred, self.state.d);
        if !self.gradients.is_empty() {
            products(&mut buffer.along, decoder, self.gradients, self.state.d);
        }
        let exact = self.choose_exact(0, budgets, buffer);
        (0..budgets.len()).for_each(|i| audit.compare(exact.row(i).0, codes.row(i).0));
    }

    /// Scores of one feature's pre-activations `z`; `token` says whose the i-th is.
    fn weigh(&self, scores: &mut Vec<f32>, z: &[f32], along: &[f32], token: impl Fn(usize) -> usize) {
        self.score.weigh(scores, z, along, false);
        if let Score::Gradient { lambda, beta, .. } = self.score {
            for (i, (score, z)) in scores.iter_mut().zip(z).enumerate() {
                if self.silent[token(i)] {
                    *score = z.max(0.0) * (lambda + beta);
                }
            }
        }
    }
}
