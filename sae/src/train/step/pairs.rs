//! Mutual choice from candidates: the B·k best pairs of the batch without all its pre-activations.
//!
//! ```text
//! chunks: candidates whose upper bound reaches a floor that rises as chunks report theirs
//!   ──▶ the M-th largest lower bound of the batch: whoever does not reach it is out
//!   ──▶ chunks: pre-activations of the rest in f32
//!   ──▶ the M largest, ties to the lower token, then to the lower feature
//! ```
//!
//! The worst match of the last step makes the first floor. If that was too high, the search is done again without it, so it saves time
//! and never decides anything.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::options::Plan;
use super::prefilter::Prefilter;
use super::select::Buffer;
use super::{Chunk, Stepper};
use crate::dictionary::Codes;
use crate::kernels::gather::dot_rows;
use crate::kernels::int8::tile::ROWS;
use crate::kernels::spare::Spare;
use crate::train::state::TrainState;

/// The first floor, as a share of the worst match of the last step: matches differ from batch to batch.
const FLOOR_SHARE: f32 = 0.9;

/// Pairs of a chunk that may be among the best, by token and feature.
#[derive(Debug, Default)]
pub(super) struct Proposed {
    offsets: Vec<usize>,
    features: Vec<u32>,
    upper: Vec<f32>,
    lower: Vec<f32>,
    /// Pre-activations of those that are left.
    exact: Codes,
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
        let (spare, d) = (&self.spare, state.d);
        let centred = &self.matrices.centred;
        (self.chunks.par_iter_mut(), centred.par_chunks(self.chunk_rows * d)).into_par_iter().for_each(
            |(chunk, centred)| {
                let mut buffer = spare.take();
                chunk.settle(state, floor, centred, &mut buffer);
                spare.give(buffer);
            },
        );
        let second = self.options.multi.is_some();
        self.worst_match = self.give_best(limit, second);
        if second {
            self.give_best(plan.per_batch(rows, 1.0), false);
        }
    }

    /// Collects the candidates of all chunks. Returns the `limit`-th largest lower bound, or `floor` if there are fewer candidates.
    fn propose(&mut self, state: &TrainState, prefilter: &Prefilter, limit: usize, floor: f32) -> f32 {
        let (spare, d): (&Spare<Buffer>, usize) = (&self.spare, state.d);
        let known = AtomicU32::new(floor.to_bits());
        let centred = &self.matrices.centred;
        (self.chunks.par_iter_mut(), centred.par_chunks(self.chunk_rows * d)).into_par_iter().for_each(
            |(chunk, centred)| {
                let mut buffer = spare.take();
                let search = &mut buffer.search;
                search.rows.set(centred, &prefilter.fold, ROWS);
                // Floors are not negative, so their bits are in their order.
                let before = f32::from_bits(known.load(Ordering::Relaxed));
                let list = &mut search.shortlist;
                let found =
                    list.find_all(&search.rows, &prefilter.panels, limit, before, prefilter.instructions);
                if found.is_finite() {
                    known.fetch_max(found.to_bits(), Ordering::Relaxed);
                }
                chunk.proposed.take((0..search.rows.len()).map(|row| list.bounds(row)));
                spare.give(buffer);
            },
        );
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
        let values = |chunk: &Chunk| chunk.proposed.exact.values.clone();
        let mut all: Vec<f32> = self.chunks.iter().flat_map(values).collect();
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
            for i in 0..proposed.exact.rows() {
                row.0.clear();
                row.1.clear();
                let (features, values) = proposed.exact.row(i);
                for (&f, &v) in features.iter().zip(values) {
                    let ties = v == worst && room > 0;
                    room -= usize::from(ties);
                    if v > worst || ties {
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
        self.features.clear();
        self.upper.clear();
        self.lower.clear();
        self.offsets.clear();
        self.offsets.push(0);
        for row in rows {
            for (upper, lower, f) in row {
                self.features.push(f);
                self.upper.push(upper);
                self.lower.push(lower);
            }
            self.offsets.push(self.features.len());
        }
    }
}

impl Chunk {
    /// Computes the positive pre-activations of the candidates whose upper bound reaches `floor`.
    fn settle(&mut self, state: &TrainState, floor: f32, centred: &[f32], buffer: &mut Buffer) {
        let search = &mut buffer.search;
        let Proposed { offsets, features, upper, exact, .. } = &mut self.proposed;
        exact.offsets.truncate(1);
        exact.features.clear();
        exact.values.clear();
        for (range, c) in offsets.windows(2).zip(centred.chunks_exact(state.d)) {
            let range = range[0]..range[1];
            search.listed.clear();
            let reach = features[range.clone()].iter().zip(&upper[range]).filter(|(_, u)| **u >= floor);
            search.listed.extend(reach.map(|(f, _)| *f));
            search.scores.resize(search.listed.len(), 0.0);
            dot_rows(&mut search.scores, &state.w_enc.value, &search.listed, c);
            self.audit.candidates += search.listed.len() as u64;
            for (&z, &f) in search.scores.iter().zip(&search.listed) {
                let z = z + state.b_enc.value[f as usize];
                if z > 0.0 {
                    exact.features.push(f);
                    exact.values.push(z);
                }
            }
            exact.offsets.push(exact.features.len());
        }
    }
}
