//! From a batch to its matches, a chunk of tokens at a time: `[B, F]` never exists.

use rayon::prelude::*;

use super::candidates::{Chosen, Search8};
use super::options::{Plan, Rule, StepOptions};
use super::prefilter::PackedState;
use super::{Chunk, Helped, Stepper};
use crate::dictionary::score::{Score, is_silent};
use crate::train::state::TrainState;
use kernels::best::{Best, SharedBest};
use kernels::topk::{self, Candidates};

/// Memory of one thread while it matches.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// `c · W_encᵀ`, `[rows, F]`.
    pub(super) products: Vec<f32>,
    /// `ĝ · W_decᵀ`, `[rows, F]`.
    pub(super) along: Vec<f32>,
    /// z of one row.
    pub(super) z: Vec<f32>,
    /// Scores of one row.
    pub(super) scores: Vec<f32>,
    /// A bias where there is none.
    pub(super) zeros: Vec<f32>,
    pub(super) candidates: Candidates,
    pub(super) features: Vec<u32>,
    pub(super) values: Vec<f32>,
    best: Best,
    /// The products of the features that get help, `[rows, ·]` or one row.
    helped: Vec<f32>,
    pub(super) search: Search8,
    pub(super) chosen: Chosen,
}

impl Buffer {
    /// The `k` largest positive of `scores + bias`: places and values.
    pub(super) fn best_of(&mut self, source: Row<'_>, k: usize) -> usize {
        self.features.resize(k.max(self.features.len()), 0);
        self.values.resize(k.max(self.values.len()), 0.0);
        let (scores, bias) = match source {
            Row::Sum(products, bias) => (products, bias),
            Row::Scores => {
                self.zeros.resize(self.scores.len().max(self.zeros.len()), 0.0);
                (self.scores.as_slice(), self.zeros.as_slice())
            }
        };
        topk::select(scores, bias, k, &mut self.candidates, &mut self.features, &mut self.values)
    }

    /// Makes `z` the sum of `products` and `bias`.
    pub(super) fn add(&mut self, row: usize, bias: &[f32]) {
        let products = &self.products[row * bias.len()..(row + 1) * bias.len()];
        self.z.clear();
        self.z.extend(products.iter().zip(bias).map(|(p, b)| p + b));
    }
}

/// What [`Buffer::best_of`] looks at.
#[derive(Clone, Copy)]
pub(super) enum Row<'a> {
    /// The sum of these.
    Sum(&'a [f32], &'a [f32]),
    /// The buffer's scores.
    Scores,
}

/// What all chunks read.
struct Shared<'a> {
    state: &'a TrainState,
    options: &'a StepOptions,
    plan: &'a Plan,
    helped: &'a Helped,
    helps: bool,
    /// Whether matches are found from candidates, later.
    by_candidates: bool,
    packed: &'a PackedState,
    best: &'a SharedBest,
    /// Matches that the collector of mutual choice keeps.
    limit: usize,
    /// Thresholds of JumpReLU, factors e^r of gates.
    exponentials: &'a [f32],
}

impl Stepper {
    /// Matches tokens by every rule that a token or a chunk of them can decide, collects candidates for mutual choice, and chooses
    /// the features that get help.
    pub(super) fn score_tokens(&mut self, state: &TrainState, plan: &Plan) {
        let width = self.chunk_rows * state.d;
        let rows = self.matrices.centred.len() / state.d;
        let own = self.options.rule.own_parameters();
        self.exponentials.clear();
        if own > 0 {
            self.exponentials.extend(state.own.value.chunks_exact(own).map(|own| own[0].exp()));
        }
        let shared = Shared {
            state,
            options: &self.options,
            plan,
            helped: &self.helped,
            helps: self.helps(),
            by_candidates: self.prefilter.is_some(),
            packed: &self.packed,
            best: &self.best,
            limit: plan.per_batch(rows, self.most()),
            exponentials: &self.exponentials,
        };
        let (spare, matrices, chunk_rows) = (&self.spare, &self.matrices, self.chunk_rows);
        self.chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let mut buffer = spare.take();
            let [centred, gradients] = matrices.of_chunk(i, width);
            chunk.score(&shared, i * chunk_rows, centred, gradients, &mut buffer);
            spare.give(buffer);
        });
    }

    /// Gives the best pairs of the batch to their tokens.
    pub(super) fn match_best(&mut self, features: usize, plan: &Plan, rows: usize) {
        let width = features as u64;
        let entries = self.best.finish();
        let fill = |entries: &[kernels::best::Entry], chunks: &mut [Chunk], second: bool| {
            let (mut at, mut row) = (0, (Vec::new(), Vec::new()));
            for token in 0..rows {
                row.0.clear();
                row.1.clear();
                while let Some(entry) = entries.get(at).filter(|e| e.index / width == token as u64) {
                    row.0.push((entry.index % width) as u32);
                    row.1.push(entry.value);
                    at += 1;
                }
                let chunk = &mut chunks[token / self.chunk_rows];
                let matches = if second { &mut chunk.second } else { &mut chunk.main };
                matches.codes.push_row(&row.0, &row.1);
            }
        };
        if self.options.multi.is_none() {
            return fill(entries, &mut self.chunks, false);
        }
        fill(entries, &mut self.chunks, true);
        let mut fewer = Best::default();
        fewer.narrow(entries, plan.per_batch(rows, 1.0));
        fill(fewer.finish(), &mut self.chunks, false);
    }
}

impl Chunk {
    fn score(
        &mut self,
        shared: &Shared<'_>,
        first_row: usize,
        centred: &[f32],
        gradients: &[f32],
        buffer: &mut Buffer,
    ) {
        self.clear();
        let (state, d) = (shared.state, shared.state.d);
        let rows = centred.len() / d;
        if shared.plan.rule == Rule::Feature || shared.by_candidates {
            return self.help_alone(shared, centred, rows, buffer);
        }
        let levels = shared.plan.levels(shared.options.multi, state.features);
        shared.packed.encoder.products(&mut buffer.products, centred, &state.w_enc.value, d);
        if !gradients.is_empty() {
            shared.packed.decoder.products(&mut buffer.along, gradients, &state.w_dec.value, d);
        }
        shared.best.begin(&mut buffer.best, shared.limit);
        for row in 0..rows {
            if shared.helps {
                let products = &buffer.products[row * state.features..(row + 1) * state.features];
                let helped = shared.helped.features.iter().map(|&f| products[f as usize]);
                match shared.helped.dense {
                    true => {
                        self.dense.codes.extend(helped);
                        self.dense.keep_best(row, &shared.helped.bias, shared.options.aux.k);
                    }
                    false => {
                        buffer.helped.clear();
                        buffer.helped.extend(helped);
                        self.help(shared, 0, buffer);
                    }
                }
            }
            let silent = gradients.is_empty() || is_silent(&gradients[row * d..(row + 1) * d]);
            match shared.plan.rule {
                Rule::Token => self.match_token(shared, levels, row, silent, buffer),
                Rule::Mutual => {
                    score_row(shared, row, silent, buffer);
                    let first = (first_row + row) as u64 * state.features as u64;
                    buffer.best.take(&buffer.scores, &buffer.z, first);
                }
                Rule::Active | Rule::Jump { .. } | Rule::Gated => self.match_above(shared, row, buffer),
                Rule::Feature => {}
            }
        }
        if shared.plan.rule == Rule::Mutual {
            shared.best.merge(&mut buffer.best);
        }
    }

    /// The best features of token `row`; of a second reconstruction too.
    fn match_token(
        &mut self,
        shared: &Shared<'_>,
        levels: [Option<usize>; 2],
        row: usize,
        silent: bool,
        buffer: &mut Buffer,
    ) {
        let (state, plain) = (shared.state, shared.options.score == Score::Plain);
        if !plain {
            score_row(shared, row, silent, buffer);
        }
        for (matches, k) in [&mut self.main, &mut self.second].into_iter().zip(levels) {
            let Some(k) = k else { continue };
            let products = std::mem::take(&mut buffer.products);
            let n = match plain {
                true => {
                    let row = &products[row * state.features..(row + 1) * state.features];
                    buffer.best_of(Row::Sum(row, &state.b_enc.value), k)
                }
                false => buffer.best_of(Row::Scores, k),
            };
            buffer.products = products;
            if !plain {
                for (value, &f) in buffer.values.iter_mut().zip(&buffer.features[..n]) {
                    *value = buffer.z[f as usize];
                }
            }
            matches.codes.push_row(&buffer.features[..n], &buffer.values[..n]);
        }
    }

    /// The features of token `row` that pass their threshold or gate.
    fn match_above(&mut self, shared: &Shared<'_>, row: usize, buffer: &mut Buffer) {
        let state = shared.state;
        buffer.add(row, &state.b_enc.value);
        let main = &mut self.main.codes;
        match shared.plan.rule {
            Rule::Jump { bandwidth } => {
                for ((f, &z), &threshold) in (0..).zip(&buffer.z).zip(shared.exponentials) {
                    if z > threshold - 0.5 * bandwidth {
                        main.features.push(f);
                        // Not above, but near enough for the threshold to learn from it.
                        main.values.push(if z > threshold { z } else { 0.0 });
                    }
                }
            }
            Rule::Gated => {
                let products = &buffer.products[row * state.features..(row + 1) * state.features];
                let gate = &mut self.second.codes;
                for (f, (&z, &product)) in buffer.z.iter().zip(products).enumerate() {
                    if z > 0.0 {
                        gate.features.push(f as u32);
                        gate.values.push(z);
                        let magnitude = shared.exponentials[f] * product + state.own.value[2 * f + 1];
                        if magnitude > 0.0 {
                            main.features.push(f as u32);
                            main.values.push(magnitude);
                        }
                    }
                }
                gate.offsets.push(gate.features.len());
            }
            _ => {
                for (f, &z) in (0..).zip(&buffer.z) {
                    if z > 0.0 {
                        main.features.push(f);
                        main.values.push(z);
                    }
                }
            }
        }
        main.offsets.push(main.features.len());
    }

    /// The features that help a token, from row `row` of `buffer.helped`.
    fn help(&mut self, shared: &Shared<'_>, row: usize, buffer: &mut Buffer) {
        let helped = &shared.helped.features;
        let products = std::mem::take(&mut buffer.helped);
        let scores = &products[row * helped.len()..(row + 1) * helped.len()];
        let n = buffer.best_of(Row::Sum(scores, &shared.helped.bias), shared.options.aux.k);
        buffer.helped = products;
        // Selected were places in the list of features that get help.
        buffer.features[..n].iter_mut().for_each(|f| *f = helped[*f as usize]);
        self.aux.codes.push_row(&buffer.features[..n], &buffer.values[..n]);
    }

    /// The same for all tokens of the chunk, where nothing else needs z.
    fn help_alone(&mut self, shared: &Shared<'_>, centred: &[f32], rows: usize, buffer: &mut Buffer) {
        if shared.helps && shared.helped.dense {
            self.dense.encode(shared.helped, centred, shared.state.d);
            for row in 0..rows {
                self.dense.keep_best(row, &shared.helped.bias, shared.options.aux.k);
            }
        } else if shared.helps {
            let Helped { encoder, packed_encoder, .. } = shared.helped;
            packed_encoder.products(&mut buffer.helped, centred, encoder, shared.state.d);
            for row in 0..rows {
                self.help(shared, row, buffer);
            }
        }
    }
}

/// z and scores of token `row`.
fn score_row(shared: &Shared<'_>, row: usize, silent: bool, buffer: &mut Buffer) {
    let features = shared.state.features;
    buffer.add(row, &shared.state.b_enc.value);
    let along = buffer.along.get(row * features..(row + 1) * features).unwrap_or_default();
    shared.options.score.weigh(&mut buffer.scores, &buffer.z, along, silent);
}
