//! BatchTopK (mutual choice) from candidates: the B·k best pairs of the batch without all its pre-activations.
//!
//! ```text
//! chunks: candidates whose upper bound reaches a floor that rises as chunks report theirs
//!   ──▶ the M-th largest lower bound of the batch: whoever does not reach it is out
//!   ──▶ chunks: lists of the rest ──▶ pre-activations of all that is listed in f32
//!   ──▶ the M largest, ties to the lower token, then to the lower feature
//! ```
//!
//! The worst active pair of the last step makes the first floor. If that was too high, the search is done again without it, so it saves time
//! and never decides anything.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::audit::{self, Cutoff};
use super::candidates::{ListedProducts, ListedToken};
use super::memory::{CandidateMemory, ThreadMemory};
use super::rows::QuantisedRows;
use super::{ActivePairs, ChunkPairs, SearchMemory};
use crate::dictionary::Codes;
use crate::train::step::batch::{CentredBatch, TokenRows};
use crate::train::step::context::Context;
use kernels::listed::Lists;
use kernels::spare::Spare;

/// The first floor, as a share of the worst active pair of the last step: batches differ.
const FLOOR_SHARE: f32 = 0.9;

/// Pairs of a chunk that may be among the best, by token and feature.
#[derive(Debug, Default)]
pub struct Proposals {
    lists: Lists,
    upper: Vec<f32>,
    lower: Vec<f32>,
    /// Pre-activations of those that are left.
    exact: Codes,
    /// What they are worth.
    scores: Vec<f32>,
}

/// Makes the best pairs of the batch the active ones of their tokens.
pub fn select(
    context: &Context<'_>,
    features: &QuantisedRows,
    batch: &CentredBatch,
    memory: &mut SearchMemory,
    pairs: &mut ActivePairs,
) {
    let (limit, width, at_once) = (context.most_pairs(), context.width(), context.chunking.at_once);
    let SearchMemory { spare, listed, lists, proposed, worst, .. } = memory;
    let first_floor = FLOOR_SHARE * *worst;
    let search = CandidateSearch { context, features, batch, limit, spare };
    let mut floor = search.propose(proposed, first_floor);
    if floor <= first_floor && first_floor > 0.0 {
        floor = search.propose(proposed, 0.0);
    }
    (&*proposed, &mut *lists)
        .into_par_iter()
        .for_each(|(proposed, lists)| proposed.list_reaching(floor, lists));
    let ActivePairs { chunks, audit } = pairs;
    for (i, (lists, proposed)) in lists.chunks(at_once).zip(proposed.chunks_mut(at_once)).enumerate() {
        let tokens = batch.rows().part(i, at_once * width);
        audit.candidates += listed.compute(context, lists, tokens);
        let listed = &*listed;
        proposed.par_iter_mut().enumerate().for_each(|(i, proposed)| {
            let (lists, tokens) = ((i, &lists[i]), tokens.part(i, width));
            spare.with(|memory| proposed.settle(context, listed, lists, tokens, &mut memory.candidates));
        });
    }
    let second = context.options.multi.is_some();
    *worst = match second {
        true => give_best(proposed, limit, chunks, |chunk| &mut chunk.second.codes),
        false => give_best(proposed, limit, chunks, |chunk| &mut chunk.main.codes),
    };
    let worst = match second {
        true => {
            let limit = context.plan.per_batch(context.tokens, 1.0);
            give_best(proposed, limit, chunks, |chunk| &mut chunk.main.codes)
        }
        false => *worst,
    };
    if let (Some(chunk), true) = (chunks.first(), audit::is_due(context)) {
        let tokens = batch.rows().part(0, width);
        spare.with(|memory| audit.look(context, Cutoff::Above(worst), tokens, &chunk.main.codes, memory));
    }
}

/// The search for candidates in all chunks.
#[derive(Clone, Copy)]
struct CandidateSearch<'a> {
    context: &'a Context<'a>,
    features: &'a QuantisedRows,
    batch: &'a CentredBatch,
    /// Pairs of the batch that are wanted, M.
    limit: usize,
    spare: &'a Spare<ThreadMemory>,
}

impl CandidateSearch<'_> {
    /// Collects the candidates of all chunks. Returns the M-th largest lower bound, or `floor` if there are fewer candidates.
    fn propose(&self, proposed: &mut [Proposals], floor: f32) -> f32 {
        let Self { context, features, batch, limit, spare } = *self;
        let known = AtomicU32::new(floor.to_bits());
        proposed.par_iter_mut().enumerate().for_each(|(i, proposed)| {
            let tokens = batch.rows().part(i, context.width());
            spare.with(|memory| {
                memory.candidates.set_tokens(features, tokens);
                let CandidateMemory { rows, along_rows, shortlist, .. } = &mut memory.candidates;
                // Floors are not negative, so their bits are in their order.
                let before = f32::from_bits(known.load(Ordering::Relaxed));
                let pairs = features.pairs(context.options.score, rows, along_rows);
                let found = shortlist.find_all(pairs, limit, before, features.instructions);
                if found.is_finite() {
                    known.fetch_max(found.to_bits(), Ordering::Relaxed);
                }
                proposed.take((0..rows.len()).map(|row| shortlist.bounds(row)));
            });
        });
        let mut lower: Vec<f32> = proposed.iter().flat_map(|chunk| chunk.lower.iter().copied()).collect();
        if lower.len() < limit || limit == 0 {
            return floor;
        }
        let (_, worst, _) = lower.select_nth_unstable_by(limit - 1, |a, b| b.total_cmp(a));
        worst.max(floor)
    }
}

/// Gives the `limit` largest of the settled pairs to their tokens, in the codes that `codes_of` names. Returns the smallest of them.
fn give_best(
    proposed: &[Proposals],
    limit: usize,
    chunks: &mut [ChunkPairs],
    codes_of: impl Fn(&mut ChunkPairs) -> &mut Codes,
) -> f32 {
    let mut all: Vec<f32> = proposed.iter().flat_map(|chunk| chunk.scores.iter().copied()).collect();
    let worst = match all.len() > limit {
        true => *all.select_nth_unstable_by(limit - 1, |a, b| b.total_cmp(a)).1,
        false => 0.0,
    };
    let above = all.iter().filter(|&&v| v > worst).count();
    // As many of those that tie with the worst as there is room for, the first ones.
    let mut room = limit.saturating_sub(above);
    let mut row = (Vec::new(), Vec::new());
    for (proposed, chunk) in proposed.iter().zip(chunks) {
        let codes = codes_of(chunk);
        for (i, range) in proposed.exact.offsets.windows(2).enumerate() {
            row.0.clear();
            row.1.clear();
            let (features, values) = proposed.exact.row(i);
            let scores = &proposed.scores[range[0]..range[1]];
            for ((&f, &v), &score) in features.iter().zip(values).zip(scores) {
                let ties = score == worst && room > 0;
                room -= usize::from(ties);
                if score > worst || ties {
                    row.0.push(f);
                    row.1.push(v);
                }
            }
            codes.push_row(&row.0, &row.1);
        }
    }
    worst
}

impl Proposals {
    /// Takes the candidates of all rows: upper bound, lower bound, feature.
    fn take(&mut self, rows: impl Iterator<Item = impl Iterator<Item = (f32, f32, u32)>>) {
        let Self { lists, upper, lower, .. } = self;
        lists.clear();
        upper.clear();
        lower.clear();
        for row in rows {
            lists.push_row(row.map(|(above, below, f)| {
                upper.push(above);
                lower.push(below);
                f
            }));
        }
    }

    /// Lists the candidates whose upper bound reaches `floor`.
    fn list_reaching(&self, floor: f32, lists: &mut Lists) {
        lists.clear();
        let mut upper = self.upper.iter();
        for row in self.lists.rows() {
            let reach = row.iter().zip(&mut upper).filter(|(_, upper)| **upper >= floor);
            lists.push_row(reach.map(|(f, _)| *f));
        }
    }

    /// Takes the pre-activations of what is listed that is worth something.
    fn settle(
        &mut self,
        context: &Context<'_>,
        listed: &ListedProducts,
        (chunk, lists): (usize, &Lists),
        tokens: TokenRows<'_>,
        memory: &mut CandidateMemory,
    ) {
        let Self { exact, scores, .. } = self;
        exact.clear();
        scores.clear();
        for (row, features) in lists.rows().enumerate() {
            let gradient = tokens.gradient(row, context.state.d);
            listed.weigh(context, ListedToken { chunk, lists, row }, gradient, memory);
            for ((&z, &f), &score) in memory.z.iter().zip(features).zip(&memory.scores) {
                if score > 0.0 {
                    exact.features.push(f);
                    exact.values.push(z);
                    scores.push(score);
                }
            }
            exact.offsets.push(exact.features.len());
        }
    }
}
