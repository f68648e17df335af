//! Feature choice: tiles of features against the whole batch, so that each feature sees all its tokens at once.
//!
//! Rows and columns change places: a tile's encoder rows are the rows of the product, the batch's tokens are its columns. By candidates
//! (`kernels::int8`) the batch lies in panels and features have biases of rows.

use rayon::prelude::*;

use super::audit::{self, Audit};
use super::memory::{CandidateMemory, ThreadMemory};
use super::rows::{FeatureRows, Quantised, bias_without_gradient};
use super::{ActivePairs, SearchMemory};
use crate::dictionary::Codes;
use crate::dictionary::score::{Score, is_silent};
use crate::train::step::batch::{CentredBatch, TokenRows};
use crate::train::step::context::Context;
use kernels::encode::{Packed, chunk_rows, products};
use kernels::gather::dot_rows;
use kernels::int8::tile::{Instructions, ROWS};
use kernels::int8::{Pairs, Weights};

/// What all tiles read.
#[derive(Clone, Copy)]
struct Batch<'a> {
    context: &'a Context<'a>,
    tokens: TokenRows<'a>,
    /// Which tokens have no gradient.
    silent: &'a [bool],
}

/// The batch as the search reads it.
enum TokenPanels {
    /// For all pre-activations.
    Packed { centred: Packed, gradients: Packed },
    /// For candidates.
    Quantised(QuantisedTokens),
}

/// Tokens and their gradients in 8 bits.
struct QuantisedTokens {
    instructions: Instructions,
    centred: Quantised,
    gradients: Option<Quantised>,
}

/// Features that are searched together.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// The number of the first.
    first: usize,
    /// `[n, d]`
    encoder: &'a [f32],
    /// `[n, d]`
    decoder: &'a [f32],
    /// `[n]`
    bias: &'a [f32],
    /// Tokens for each, `[n]`.
    budgets: &'a [u32],
}

/// Every feature's best tokens, as many as its budget.
pub fn select(
    context: &Context<'_>,
    rows: &FeatureRows,
    batch: &CentredBatch,
    memory: &SearchMemory,
    pairs: &mut ActivePairs,
) {
    let tokens = batch.rows();
    let silent: Vec<bool> = tokens.gradients.chunks_exact(context.state.d).map(is_silent).collect();
    let batch = Batch { context, tokens, silent: &silent };
    let panels = batch.panels(rows);
    // A tile is to the batch what a chunk of tokens is to the features.
    let tile = match panels {
        TokenPanels::Packed { .. } => chunk_rows(context.tokens),
        TokenPanels::Quantised(_) => context.chunking.rows,
    };
    let parts: Vec<(Codes, Audit)> = context
        .state
        .budgets
        .par_chunks(tile)
        .enumerate()
        .map(|(i, budgets)| {
            memory.spare.with(|memory| batch.choose(&panels, batch.tile(i * tile, budgets), memory))
        })
        .collect();
    let (parts, audits): (Vec<Codes>, Vec<Audit>) = parts.into_iter().unzip();
    audits.iter().for_each(|audit| pairs.audit.add(audit));
    // Rows of these codes are features; their transpose has the tokens as rows.
    let by_token = Codes::concatenate(&parts).transposed(context.tokens);
    for token in 0..context.tokens {
        let (features, values) = by_token.feature(token);
        pairs.chunks[token / context.chunking.rows].main.codes.push_row(features, values);
    }
}

impl<'a> Batch<'a> {
    /// Packs the batch.
    fn panels(&self, rows: &FeatureRows) -> TokenPanels {
        let (d, TokenRows { centred: rows_centred, gradients: rows_gradients }) =
            (self.context.state.d, self.tokens);
        let features = match rows {
            FeatureRows::Quantised(features) => features,
            FeatureRows::Packed(_) => {
                let (mut centred, mut gradients) = (Packed::default(), Packed::default());
                centred.set(rows_centred, d);
                if !rows_gradients.is_empty() {
                    gradients.set(rows_gradients, d);
                }
                return TokenPanels::Packed { centred, gradients };
            }
        };
        let mut centred = Quantised::new(features.encoder.fold.clone().swapped());
        centred.pack(rows_centred, |_| 0.0);
        let gradients = features.decoder.as_ref().map(|decoder| {
            let mut gradients = Quantised::new(decoder.fold.clone().swapped());
            gradients.pack(rows_gradients, |token| bias_without_gradient(self.silent[token]));
            gradients
        });
        TokenPanels::Quantised(QuantisedTokens { instructions: features.instructions, centred, gradients })
    }

    /// The features with these budgets, from `first` on.
    fn tile(&self, first: usize, budgets: &'a [u32]) -> Tile<'a> {
        let (state, features) = (self.context.state, first..first + budgets.len());
        let rows = features.start * state.d..features.end * state.d;
        Tile {
            first,
            encoder: &state.w_enc.value[rows.clone()],
            // Scores without gradients do not look at them, and they may be of a different width.
            decoder: match self.context.options.score {
                Score::Plain => &[],
                Score::Gradient { .. } => &state.w_dec.value[rows],
            },
            bias: &state.b_enc.value[features],
            budgets,
        }
    }

    /// The tokens of a tile's features, a row per feature.
    fn choose(&self, panels: &TokenPanels, tile: Tile<'_>, memory: &mut ThreadMemory) -> (Codes, Audit) {
        let (d, TokenRows { centred, gradients }) = (self.context.state.d, self.tokens);
        match panels {
            TokenPanels::Packed { centred: packed, gradients: packed_gradients } => {
                packed.products(&mut memory.scores.products, tile.encoder, centred, d);
                if !gradients.is_empty() {
                    packed_gradients.products(&mut memory.scores.along, tile.decoder, gradients, d);
                }
                (self.choose_exact(tile, memory), Audit::default())
            }
            TokenPanels::Quantised(tokens) => {
                let (codes, mut audit) = self.choose_listed(tokens, tile, memory);
                if tile.first == 0 && audit::is_due(self.context) {
                    self.audit(&codes, tile.budgets, &mut audit, memory);
                }
                (codes, audit)
            }
        }
    }

    /// The best tokens by all products, which are in `memory`.
    fn choose_exact(&self, tile: Tile<'_>, memory: &mut ThreadMemory) -> Codes {
        let tokens = self.context.tokens;
        let ThreadMemory { scores: memory, largest, .. } = memory;
        let mut codes = Codes::default();
        for (i, (&budget, bias)) in tile.budgets.iter().zip(tile.bias).enumerate() {
            let row = i * tokens..(i + 1) * tokens;
            memory.z.clear();
            memory.z.extend(memory.products[row.clone()].iter().map(|p| p + bias));
            let along = memory.along.get(row).unwrap_or_default();
            self.weigh(&mut memory.scores, &memory.z, along, |token| token);
            let (tokens, values) = largest.of(&memory.scores, budget as usize);
            values.iter_mut().zip(&*tokens).for_each(|(value, &token)| *value = memory.z[token as usize]);
            codes.push_row(tokens, values);
        }
        codes
    }

    /// The best tokens of candidates.
    fn choose_listed(
        &self,
        tokens: &QuantisedTokens,
        tile: Tile<'_>,
        memory: &mut ThreadMemory,
    ) -> (Codes, Audit) {
        let d = self.context.state.d;
        let ThreadMemory { candidates, largest, features: chosen, values, .. } = memory;
        let CandidateMemory { rows, along_rows, shortlist, listed, z, along, scores } = candidates;
        rows.set(tile.encoder, &tokens.centred.fold, ROWS);
        rows.set_biases(tile.bias.iter().copied());
        let weights = match (self.context.options.score, &tokens.gradients) {
            (Score::Gradient { lambda, beta, .. }, Some(gradients)) => {
                along_rows.set(tile.decoder, &gradients.fold, ROWS);
                Some(Weights { rows: along_rows, panels: &gradients.panels, lambda, beta })
            }
            _ => None,
        };
        let pairs = Pairs { rows, panels: &tokens.centred.panels, weights };
        shortlist.find_each(pairs, tile.budgets, tokens.instructions);
        let (mut codes, mut audit) = (Codes::default(), Audit::default());
        for (i, &budget) in tile.budgets.iter().enumerate() {
            let row = i * d..(i + 1) * d;
            listed.clear();
            listed.extend(shortlist.row(i));
            audit.candidates += listed.len() as u64;
            z.resize(listed.len(), 0.0);
            dot_rows(z, self.tokens.centred, listed, &tile.encoder[row.clone()]);
            z.iter_mut().for_each(|z| *z += tile.bias[i]);
            if tokens.gradients.is_some() {
                along.resize(listed.len(), 0.0);
                dot_rows(along, self.tokens.gradients, listed, &tile.decoder[row]);
            }
            self.weigh(scores, z, along, |place| listed[place] as usize);
            let (places, _) = largest.of(scores, budget as usize);
            chosen.clear();
            values.clear();
            for place in places.iter().map(|&place| place as usize) {
                chosen.push(listed[place]);
                values.push(z[place]);
            }
            codes.push_row(chosen, values);
        }
        (codes, audit)
    }

    /// Counts what `codes` have of the best tokens of the first features by all products.
    fn audit(&self, codes: &Codes, budgets: &[u32], audit: &mut Audit, memory: &mut ThreadMemory) {
        let tile = self.tile(0, &self.context.state.budgets[..budgets.len().min(audit::ROWS)]);
        let (d, TokenRows { centred, gradients }) = (self.context.state.d, self.tokens);
        products(&mut memory.scores.products, tile.encoder, centred, d);
        if !gradients.is_empty() {
            products(&mut memory.scores.along, tile.decoder, gradients, d);
        }
        let exact = self.choose_exact(tile, memory);
        (0..tile.budgets.len()).for_each(|i| audit.compare(exact.row(i).0, codes.row(i).0));
    }

    /// Scores of one feature's pre-activations `z`; `token` says whose the i-th is.
    fn weigh(&self, scores: &mut Vec<f32>, z: &[f32], along: &[f32], token: impl Fn(usize) -> usize) {
        let score = self.context.options.score;
        score.weigh(scores, z, along, false);
        if let Score::Gradient { lambda, beta, .. } = score {
            for (i, (score, z)) in scores.iter_mut().zip(z).enumerate() {
                if self.silent[token(i)] {
                    *score = z.max(0.0) * (lambda + beta);
                }
            }
        }
    }
}
