//! The k best features of a token from candidates: a product in 8 bits says who may be among them (`kernels::int8`), only those are
//! computed in `f32`. Where scores have gradients there are two products, z and W_dec ĝ.

use super::Chunk;
use super::prefilter::{Prefilter, silence};
use super::select::Buffer;
use crate::dictionary::score::{Score, is_silent};
use crate::kernels::gather::dot_rows;
use crate::kernels::int8::tile::ROWS;
use crate::kernels::int8::{Rows, Shortlist};
use crate::kernels::topk::{self, Candidates};
use crate::train::state::TrainState;

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

    /// What the listed features are worth to a token: computes `z`, `along` and `scores` in `f32`.
    pub(super) fn weigh(&mut self, state: &TrainState, score: Score, token: Token<'_>) {
        let Self { listed, z, along, scores, .. } = self;
        z.resize(listed.len(), 0.0);
        dot_rows(z, &state.w_enc.value, listed, token.centred);
        for (z, &f) in z.iter_mut().zip(&*listed) {
            *z += state.b_enc.value[f as usize];
        }
        if score != Score::Plain {
            along.resize(listed.len(), 0.0);
            dot_rows(along, &state.w_dec.value, listed, token.gradient);
        }
        score.weigh(scores, z, along, is_silent(token.gradient));
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

/// A token's rows; `gradient` is empty for plain scores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) centred: &'a [f32],
    pub(super) gradient: &'a [f32],
}

/// Tokens `[n, d]` in their order; the gradients of all or of none.
pub(super) fn tokens<'a>(
    centred: &'a [f32],
    gradients: &'a [f32],
    d: usize,
) -> impl Iterator<Item = Token<'a>> {
    let gradient = move |i: usize| gradients.get(i * d..(i + 1) * d).unwrap_or_default();
    centred.chunks_exact(d).enumerate().map(move |(i, centred)| Token { centred, gradient: gradient(i) })
}

impl Chunk {
    /// The k best features of every token of the chunk; of a second reconstruction too.
    pub(super) fn match_candidates(
        &mut self,
        state: &TrainState,
        prefilter: &Prefilter,
        score: Score,
        levels: [Option<usize>; 2],
        [centred, gradients]: [&[f32]; 2],
        buffer: &mut Buffer,
    ) {
        let Buffer { search, candidates, chosen, features, values, .. } = buffer;
        let most = levels.into_iter().flatten().max().unwrap_or_default();
        search.set_tokens(prefilter, centred, gradients);
        let pairs = prefilter.pairs(score, &search.rows, &search.along_rows);
        search.shortlist.find(pairs, most, prefilter.instructions);
        for (row, token) in tokens(centred, gradients, state.d).enumerate() {
            search.listed.clear();
            search.listed.extend(search.shortlist.row(row));
            self.audit.candidates += search.listed.len() as u64;
            search.weigh(state, score, token);
            for (matches, k) in [&mut self.main, &mut self.second].into_iter().zip(levels) {
                let Some(k) = k else { continue };
                let n = search.best(k, candidates, chosen);
                features.clear();
                values.clear();
                for &place in &chosen.places[..n] {
                    features.push(search.listed[place as usize]);
                    values.push(search.z[place as usize]);
                }
                matches.codes.push_row(features, values);
            }
        }
    }
}
