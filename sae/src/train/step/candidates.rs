//! The k best features of a token from candidates: a product in 8 bits says who may be among them (`kernels::int8`), only those are
//! computed in `f32`. Where scores have gradients there are two products, z and W_dec ĝ.
//!
//! ```text
//! chunks: lists of candidates ──▶ all lists: z in f32, feature by feature (`kernels::listed`) ──▶ chunks: the k best of each token
//! ```

use rayon::prelude::*;

use super::audit::{self, Wanted};
use super::options::Plan;
use super::prefilter::{Prefilter, silence};
use super::select::Buffer;
use super::{Chunk, Stepper, part};
use crate::dictionary::score::{Score, is_silent};
use crate::train::state::TrainState;
use kernels::int8::tile::ROWS;
use kernels::int8::{Rows, Shortlist};
use kernels::listed::{Listed, Lists};
use kernels::topk::{self, Candidates};

/// Products in `f32` of all pairs that some chunks list.
#[derive(Debug, Default)]
pub(super) struct Exact {
    listed: Listed,
    /// c · W_enc
    products: Vec<f32>,
    /// ĝ · W_dec
    along: Vec<f32>,
}

impl Exact {
    /// Computes what `chunks` list, whose rows are these.
    pub(super) fn compute(
        &mut self,
        state: &TrainState,
        score: Score,
        chunks: &mut [Chunk],
        chunk_rows: usize,
        [centred, gradients]: [&[f32]; 2],
    ) {
        chunks.iter_mut().for_each(|Chunk { lists, audit, .. }| audit.candidates += lists.len() as u64);
        let lists: Vec<&Lists> = chunks.iter().map(|chunk| &chunk.lists).collect();
        self.listed.set(state.features, &lists, chunk_rows);
        self.listed.dots(&mut self.products, centred, &state.w_enc.value, state.d);
        if score != Score::Plain {
            self.listed.dots(&mut self.along, gradients, &state.w_dec.value, state.d);
        }
    }
}

/// A thread's memory for finding candidates.
#[derive(Debug, Default)]
pub(super) struct Search8 {
    /// Centred activations; of feature choice, encoder rows.
    pub(super) rows: Rows,
    /// ĝ; of feature choice, decoder rows.
    pub(super) along_rows: Rows,
    pub(super) shortlist: Shortlist,
    pub(super) listed: Vec<u32>,
    /// Pre-activations of those that are listed.
    pub(super) z: Vec<f32>,
    /// Their W_dec ĝ.
    pub(super) along: Vec<f32>,
    /// What they are worth.
    pub(super) scores: Vec<f32>,
    zeros: Vec<f32>,
}

impl Search8 {
    /// Makes the rows those of tokens.
    pub(super) fn set_tokens(&mut self, prefilter: &Prefilter, centred: &[f32], gradients: &[f32]) {
        self.rows.set(centred, &prefilter.encoder.fold, ROWS);
        if let Some(decoder) = &prefilter.decoder {
            let d = decoder.fold.width();
            self.along_rows.set(gradients, &decoder.fold, ROWS);
            self.along_rows.set_biases(gradients.chunks_exact(d).map(|g| silence(is_silent(g))));
        }
    }

    /// What token `row` of chunk `chunk`, whose lists these are, has listed is worth to it: fills `z`, `along` and `scores`.
    pub(super) fn weigh(
        &mut self,
        state: &TrainState,
        score: Score,
        exact: &Exact,
        (chunk, lists, row): (usize, &Lists, usize),
        gradient: &[f32],
    ) {
        let Self { z, along, scores, .. } = self;
        let places = exact.listed.places(chunk, lists, row);
        z.clear();
        let with_bias = |(&place, &f): (&usize, &u32)| exact.products[place] + state.b_enc.value[f as usize];
        z.extend(places.iter().zip(lists.row(row)).map(with_bias));
        along.clear();
        if score != Score::Plain {
            along.extend(places.iter().map(|&place| exact.along[place]));
        }
        score.weigh(scores, z, along, is_silent(gradient));
    }

    /// The places among the listed of the `k` best of them, ascending.
    pub(super) fn best(&mut self, k: usize, candidates: &mut Candidates, best: &mut Chosen) -> usize {
        self.zeros.resize(self.scores.len().max(self.zeros.len()), 0.0);
        best.places.resize(k.max(best.places.len()), 0);
        best.scores.resize(k.max(best.scores.len()), 0.0);
        topk::select(&self.scores, &self.zeros, k, candidates, &mut best.places, &mut best.scores)
    }
}

/// What [`Search8::best`] found.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) places: Vec<u32>,
    scores: Vec<f32>,
}

impl Stepper {
    /// The k best features of every token; of a second reconstruction too.
    pub(super) fn match_candidates(&mut self, state: &TrainState, prefilter: &Prefilter, plan: &Plan) {
        let (spare, score, width) = (&self.spare, self.options.score, self.chunk_rows * state.d);
        let levels = plan.levels(self.options.multi, state.features);
        for (i, chunks) in self.chunks.chunks_mut(self.chunks_at_once).enumerate() {
            let rows = self.matrices.of_chunk(i, self.chunks_at_once * width);
            let of_chunk = |i: usize| rows.map(|all| part(all, i, width));
            let most = levels.into_iter().flatten().max().unwrap_or_default();
            chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
                let mut buffer = spare.take();
                chunk.list_candidates(prefilter, score, most, of_chunk(i), &mut buffer.search);
                spare.give(buffer);
            });
            self.exact.compute(state, score, chunks, self.chunk_rows, rows);
            let exact = &self.exact;
            chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
                let mut buffer = spare.take();
                let [_, gradients] = of_chunk(i);
                chunk.match_listed(state, score, (i, exact), levels, gradients, &mut buffer);
                spare.give(buffer);
            });
        }
        if let (Some(chunk), [Some(k), _], true) = (self.chunks.first_mut(), levels, audit::is_due(state)) {
            let mut buffer = spare.take();
            chunk.audit(state, score, Wanted::Best(k), self.matrices.of_chunk(0, width), &mut buffer);
            spare.give(buffer);
        }
    }
}

impl Chunk {
    /// The candidates for the `most` best features of every token.
    fn list_candidates(
        &mut self,
        prefilter: &Prefilter,
        score: Score,
        most: usize,
        [centred, gradients]: [&[f32]; 2],
        search: &mut Search8,
    ) {
        search.set_tokens(prefilter, centred, gradients);
        let pairs = prefilter.pairs(score, &search.rows, &search.along_rows);
        search.shortlist.find(pairs, most, prefilter.instructions);
        self.lists.clear();
        (0..search.rows.len()).for_each(|row| self.lists.push_row(search.shortlist.row(row)));
    }

    /// The k best of what is listed.
    fn match_listed(
        &mut self,
        state: &TrainState,
        score: Score,
        (chunk, exact): (usize, &Exact),
        levels: [Option<usize>; 2],
        gradients: &[f32],
        buffer: &mut Buffer,
    ) {
        let Buffer { search, candidates, chosen, features, values, .. } = buffer;
        let Self { lists, main, second, .. } = self;
        for (row, listed) in lists.rows().enumerate() {
            search.weigh(state, score, exact, (chunk, lists, row), part(gradients, row, state.d));
            for (matches, k) in [&mut *main, &mut *second].into_iter().zip(levels) {
                let Some(k) = k else { continue };
                let n = search.best(k, candidates, chosen);
                features.clear();
                values.clear();
                for &place in &chosen.places[..n] {
                    features.push(listed[place as usize]);
                    values.push(search.z[place as usize]);
                }
                matches.codes.push_row(features, values);
            }
        }
    }
}
