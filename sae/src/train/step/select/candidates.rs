//! The k best features of a token from candidates: a product in 8 bits says which may be among them (`kernels::int8`), and only those
//! are computed in `f32`. Where scores have gradients there are two products, z and W_dec ĝ.
//!
//! ```text
//! chunks: lists of candidates ──▶ all lists: z in f32, feature by feature (`kernels::listed`) ──▶ chunks: the k best of each token
//! ```

use rayon::prelude::*;

use super::audit::{self, Cutoff};
use super::memory::{CandidateMemory, ThreadMemory};
use super::rows::QuantisedRows;
use super::{ActivePairs, ChunkPairs, SearchMemory};
use crate::dictionary::score::{Score, is_silent};
use crate::train::step::batch::{CentredBatch, TokenRows};
use crate::train::step::context::Context;
use kernels::listed::{Listed, Lists};

/// Products in `f32` of all pairs that some chunks list.
#[derive(Debug, Default)]
pub struct ListedProducts {
    listed: Listed,
    /// c · W_enc
    products: Vec<f32>,
    /// ĝ · W_dec
    along: Vec<f32>,
}

/// A token's place among the lists that were computed together.
#[derive(Debug, Clone, Copy)]
pub struct ListedToken<'a> {
    pub chunk: usize,
    /// The lists of its chunk.
    pub lists: &'a Lists,
    pub row: usize,
}

impl ListedProducts {
    /// Computes what `chunks` list, whose tokens are these. Returns how many pairs that are.
    pub fn compute(&mut self, context: &Context<'_>, chunks: &[Lists], tokens: TokenRows<'_>) -> u64 {
        let Context { state, options, chunking, .. } = context;
        let lists: Vec<&Lists> = chunks.iter().collect();
        self.listed.set(state.features, &lists, chunking.rows);
        self.listed.dots(&mut self.products, tokens.centred, &state.w_enc.value, state.d);
        if options.score != Score::Plain {
            self.listed.dots(&mut self.along, tokens.gradients, &state.w_dec.value, state.d);
        }
        lists.iter().map(|lists| lists.len() as u64).sum()
    }

    /// What the candidates of a token, whose gradient this is, are worth to it: fills `z`, `along` and `scores`.
    pub fn weigh(
        &self,
        context: &Context<'_>,
        token: ListedToken<'_>,
        gradient: &[f32],
        memory: &mut CandidateMemory,
    ) {
        let (bias, score) = (&context.state.b_enc.value, context.options.score);
        let CandidateMemory { z, along, scores, .. } = memory;
        let places = self.listed.places(token.chunk, token.lists, token.row);
        z.clear();
        let with_bias = |(&place, &f): (&usize, &u32)| self.products[place] + bias[f as usize];
        z.extend(places.iter().zip(token.lists.row(token.row)).map(with_bias));
        along.clear();
        if score != Score::Plain {
            along.extend(places.iter().map(|&place| self.along[place]));
        }
        score.weigh(scores, z, along, is_silent(gradient));
    }
}

/// The k best features of every token; of a second reconstruction too.
pub fn select(
    context: &Context<'_>,
    features: &QuantisedRows,
    batch: &CentredBatch,
    memory: &mut SearchMemory,
    pairs: &mut ActivePairs,
) {
    let (d, width, at_once) = (context.state.d, context.width(), context.chunking.at_once);
    let levels = context.levels();
    let most = levels.into_iter().flatten().max().unwrap_or_default();
    let SearchMemory { spare, listed, lists, .. } = memory;
    let ActivePairs { chunks, audit } = pairs;
    for (i, (lists, chunks)) in lists.chunks_mut(at_once).zip(chunks.chunks_mut(at_once)).enumerate() {
        let tokens = batch.rows().part(i, at_once * width);
        lists.par_iter_mut().enumerate().for_each(|(i, lists)| {
            let tokens = tokens.part(i, width);
            spare.with(|memory: &mut ThreadMemory| {
                list_candidates(context, features, most, tokens, lists, &mut memory.candidates);
            });
        });
        audit.candidates += listed.compute(context, lists, tokens);
        let (listed, lists) = (&*listed, &*lists);
        chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let gradient = |row| tokens.part(i, width).gradient(row, d);
            let token = |row| ListedToken { chunk: i, lists: &lists[i], row };
            spare.with(|memory| {
                for row in 0..lists[i].rows().len() {
                    listed.weigh(context, token(row), gradient(row), &mut memory.candidates);
                    keep_best(levels, lists[i].row(row), chunk, memory);
                }
            });
        });
    }
    if let (Some(chunk), [Some(k), _], true) = (chunks.first(), levels, audit::is_due(context)) {
        let tokens = batch.rows().part(0, width);
        spare.with(|memory| audit.look(context, Cutoff::Best(k), tokens, &chunk.main.codes, memory));
    }
}

/// The candidates for the `most` best features of every token.
fn list_candidates(
    context: &Context<'_>,
    features: &QuantisedRows,
    most: usize,
    tokens: TokenRows<'_>,
    lists: &mut Lists,
    memory: &mut CandidateMemory,
) {
    memory.set_tokens(features, tokens);
    let CandidateMemory { rows, along_rows, shortlist, .. } = memory;
    let pairs = features.pairs(context.options.score, rows, along_rows);
    shortlist.find(pairs, most, features.instructions);
    lists.clear();
    (0..rows.len()).for_each(|row| lists.push_row(shortlist.row(row)));
}

/// Makes the k best of a token's candidates `listed`, which were weighed, its active pairs in each reconstruction.
fn keep_best(levels: [Option<usize>; 2], listed: &[u32], chunk: &mut ChunkPairs, memory: &mut ThreadMemory) {
    let ThreadMemory { candidates, largest, features, values, .. } = memory;
    for (pairs, k) in [&mut chunk.main, &mut chunk.second].into_iter().zip(levels) {
        let Some(k) = k else { continue };
        let (places, _) = largest.of(&candidates.scores, k);
        features.clear();
        values.clear();
        for place in places.iter().map(|&place| place as usize) {
            features.push(listed[place]);
            values.push(candidates.z[place]);
        }
        pairs.codes.push_row(features, values);
    }
}
