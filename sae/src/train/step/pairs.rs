//! Mutual choice from candidates: the B·k best pairs of the batch without all its pre-activations.
//!
//! ```text
//! chunks: candidates whose upper bound reaches a floor that rises as chunks report theirs
//!   ──▶ the M-th largest lower bound of the batch: whoever does not reach it is out
//!   ──▶ chunks: lists of the rest ──▶ pre-activations of all that is listed in f32
//!   ──▶ the M largest, ties to the lower token, then to the lower feature
//! ```
//!
//! The worst match of the last step makes the first floor. If that was too high, the search is done again without it, so it saves time
//! and never decides anything.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::audit::{self, Wanted};
use super::candidates::{Exact, Search8};
use super::options::Plan;
use super::prefilter::Prefilter;
use super::select::Buffer;
use super::{Chunk, Stepper, part};
use crate::dictionary::Codes;
use crate::dictionary::score::Score;
use crate::train::state::TrainState;
use kernels::listed::Lists;
use kernels::spare::Spare;

/// The first floor, as a share of the worst match of the last step: matches differ from batch to batch.
const FLOOR_SHARE: f32 = 0.9;

/// Pairs of a chunk that may be among the best, by token and feature.
#[derive(Debug, Default)]
pub(super) struct Proposed {
    lists: Lists,
    upper: Vec<f32>,
    lower: Vec<f32>,
    /// Pre-activations of those that are left.
    exact: Codes,
    /// What they are worth.
    scores: Vec<f32>,
}

impl Stepper {
    /// Matches the best pairs of the batch with their tokens.
    pub(super) fn match_pairs(
        &mut self,
        state: &TrainState,
        prefilter: &Prefilter,
        plan: &Plan,
        rows: usize,
    ) {
        let limit = plan.per_batch(rows, self.most());
        let first_floor = FLOOR_SHARE * self.worst_match;
        let mut floor = self.propose(state, prefilter, limit, first_floor);
        if floor <= first_floor && first_floor > 0.0 {
            floor = self.propose(state, prefilter, limit, 0.0);
        }
        self.chunks.par_iter_mut().for_each(|chunk| chunk.list_reaching(floor));
        let (spare, score, width) = (&self.spare, self.options.score, self.chunk_rows * state.d);
        for (i, chunks) in self.chunks.chunks_mut(self.chunks_at_once).enumerate() {
            let rows = self.matrices.of_chunk(i, self.chunks_at_once * width);
            self.exact.compute(state, score, chunks, self.chunk_rows, rows);
            let (exact, [_, gradients]) = (&self.exact, rows);
            chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
                let mut buffer = spare.take();
                chunk.settle(state, score, (i, exact), part(gradients, i, width), &mut buffer.search);
                spare.give(buffer);
            });
        }
        let second = self.options.multi.is_some();
        self.worst_match = self.give_best(limit, second);
        let worst = match second {
            true => self.give_best(plan.per_batch(rows, 1.0), false),
            false => self.worst_match,
        };
        if let (Some(chunk), true) = (self.chunks.first_mut(), audit::is_due(state)) {
            let mut buffer = self.spare.take();
            chunk.audit(state, score, Wanted::Above(worst), self.matrices.of_chunk(0, width), &mut buffer);
            self.spare.give(buffer);
        }
    }

    /// Collects the candidates of all chunks. Returns the `limit`-th largest lower bound, or `floor` if there are fewer candidates.
    fn propose(&mut self, state: &TrainState, prefilter: &Prefilter, limit: usize, floor: f32) -> f32 {
        let (spare, score): (&Spare<Buffer>, _) = (&self.spare, self.options.score);
        let (matrices, width) = (&self.matrices, self.chunk_rows * state.d);
        let known = AtomicU32::new(floor.to_bits());
        self.chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let mut buffer = spare.take();
            let search = &mut buffer.search;
            let [centred, gradients] = matrices.of_chunk(i, width);
            search.set_tokens(prefilter, centred, gradients);
            // Floors are not negative, so their bits are in their order.
            let before = f32::from_bits(known.load(Ordering::Relaxed));
            let pairs = prefilter.pairs(score, &search.rows, &search.along_rows);
            let list = &mut search.shortlist;
            let found = list.find_all(pairs, limit, before, prefilter.instructions);
            if found.is_finite() {
                known.fetch_max(found.to_bits(), Ordering::Relaxed);
            }
            chunk.proposed.take((0..search.rows.len()).map(|row| list.bounds(row)));
            spare.give(buffer);
        });
        let mut lower: Vec<f32> =
            self.chunks.iter().flat_map(|chunk| chunk.proposed.lower.iter().copied()).collect();
        if lower.len() < limit || limit == 0 {
            return floor;
        }
        let (_, worst, _) = lower.select_nth_unstable_by(limit - 1, |a, b| b.total_cmp(a));
        worst.max(floor)
    }

    /// Gives the `limit` largest of the settled pairs to their tokens, as main or second matches. Returns the smallest of them.
    fn give_best(&mut self, limit: usize, second: bool) -> f32 {
        let mut all: Vec<f32> =
            self.chunks.iter().flat_map(|chunk| chunk.proposed.scores.iter().copied()).collect();
        let worst = match all.len() > limit {
            true => *all.select_nth_unstable_by(limit - 1, |a, b| b.total_cmp(a)).1,
            false => 0.0,
        };
        let above = all.iter().filter(|&&v| v > worst).count();
        // As many of those that tie with the worst as there is room for, the first ones.
        let mut room = limit.saturating_sub(above);
        let mut row = (Vec::new(), Vec::new());
        for chunk in &mut self.chunks {
            let Chunk { proposed, main, second: other, .. } = chunk;
            let matches = if second { other } else { main };
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
                matches.codes.push_row(&row.0, &row.1);
            }
        }
        worst
    }
}

impl Proposed {
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
}

impl Chunk {
    /// Lists the candidates whose upper bound reaches `floor`.
    fn list_reaching(&mut self, floor: f32) {
        let Self { lists, proposed, .. } = self;
        lists.clear();
        let mut upper = proposed.upper.iter();
        for row in proposed.lists.rows() {
            let reach = row.iter().zip(&mut upper).filter(|(_, upper)| **upper >= floor);
            lists.push_row(reach.map(|(f, _)| *f));
        }
    }

    /// Takes the pre-activations of what is listed that is worth something.
    fn settle(
        &mut self,
        state: &TrainState,
        score: Score,
        (chunk, computed): (usize, &Exact),
        gradients: &[f32],
        search: &mut Search8,
    ) {
        let Self { lists, proposed: Proposed { exact, scores, .. }, .. } = self;
        exact.offsets.truncate(1);
        exact.features.clear();
        exact.values.clear();
        scores.clear();
        for (row, features) in lists.rows().enumerate() {
            search.weigh(state, score, computed, (chunk, lists, row), part(gradients, row, state.d));
            for ((&z, &f), &score) in search.z.iter().zip(features).zip(&search.scores) {
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
