//! The k best features of a token from candidates: a product in 8 bits says who may be among them (`kernels::int8`), only those are
//! computed in `f32`.
//!
//! The panels of encoder rows are made anew with the rows, in the same visit (`step::update`), so a step never packs them twice.

use super::options::{Rule, Search, StepOptions};
use super::select::Buffer;
use super::{Chunk, Stepper};
use crate::dictionary::score::Score;
use crate::kernels::encode::{Packed, chunk_rows, products};
use crate::kernels::gather::dot_rows;
use crate::kernels::int8::panels::COLUMNS;
use crate::kernels::int8::tile::{Instructions, ROWS};
use crate::kernels::int8::{Fold, MAX_WIDTH, Panels, Rows, Shortlist};
use crate::kernels::topk;
use crate::train::state::TrainState;

/// Tokens of a chunk: their 8 bits stay in the second cache while all panels go by. Whole tiles.
const CHUNK_ROWS: usize = 16 * ROWS;
/// Below these a product in `f32` is as fast.
const SMALLEST: (usize, usize) = (64, 1024);
/// Steps between two looks at the recall.
const AUDIT_EVERY: u64 = 64;
/// Tokens looked at.
const AUDIT_ROWS: usize = 32;

/// Encoder rows in 8 bits.
#[derive(Debug)]
pub(super) struct Prefilter {
    pub(super) instructions: Instructions,
    pub(super) fold: Fold,
    pub(super) panels: Panels,
    /// The step whose encoder rows are in the panels.
    pub(super) packed: Option<u64>,
}

/// Matrices packed for products in `f32`, where all pre-activations are computed a chunk of tokens at a time.
#[derive(Debug, Default)]
pub(super) struct PackedState {
    pub(super) encoder: Packed,
    /// Where scores have gradients.
    pub(super) decoder: Packed,
}

impl PackedState {
    fn pack(&mut self, state: &TrainState, options: &StepOptions) {
        if options.plan(state.step + 1).rule == Rule::Feature {
            return;
        }
        self.encoder.set(&state.w_enc.value, state.d);
        if options.score != Score::Plain {
            self.decoder.set(&state.w_dec.value, state.d);
        }
    }
}

/// A thread's memory for finding candidates.
#[derive(Debug, Default)]
pub(super) struct Search8 {
    pub(super) rows: Rows,
    pub(super) shortlist: Shortlist,
    pub(super) listed: Vec<u32>,
    pub(super) scores: Vec<f32>,
    zeros: Vec<f32>,
}

/// What was found by candidates, and what of it was looked at again.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Audit {
    /// Candidates that were computed in `f32`.
    pub(crate) candidates: u64,
    /// Matches wanted where all pre-activations were computed too.
    pub(crate) wanted: u64,
    /// Those of them that were among the candidates' best.
    pub(crate) found: u64,
}

impl Audit {
    pub(crate) fn add(&mut self, other: &Self) {
        self.candidates += other.candidates;
        self.wanted += other.wanted;
        self.found += other.found;
    }
}

impl Prefilter {
    /// If matches of this kind are found faster by candidates on this processor.
    fn for_step(state: &TrainState, options: &StepOptions) -> Option<Self> {
        let instructions = Instructions::detect();
        let possible = matches!(options.rule, Rule::Token | Rule::Mutual)
            && options.score == Score::Plain
            && state.d <= MAX_WIDTH;
        let wanted = match options.search {
            Search::Exact => false,
            Search::Auto => {
                instructions != Instructions::Portable
                    && state.d >= SMALLEST.0
                    && state.features >= SMALLEST.1
            }
            #[cfg(test)]
            Search::Candidates => true,
        };
        let fold = match options.rms.len() == state.d {
            true => Fold::balancing(&options.rms),
            false => Fold::none(state.d),
        };
        (possible && wanted).then(|| Self { instructions, fold, panels: Panels::default(), packed: None })
    }

    /// Packs all encoder rows, if those of this step are not packed yet.
    fn pack(&mut self, state: &TrainState) {
        if self.packed == Some(state.step) {
            return;
        }
        use rayon::prelude::*;
        self.panels.resize(state.features, state.d);
        let rows = state.w_enc.value.par_chunks(COLUMNS * state.d).zip(state.b_enc.value.par_chunks(COLUMNS));
        let panels: Vec<_> = self.panels.panels_mut().collect();
        panels.into_par_iter().zip(rows).for_each_init(Vec::new, |memory, (mut panel, (rows, biases))| {
            for (c, (row, &bias)) in rows.chunks_exact(state.d).zip(biases).enumerate() {
                panel.set(c, row, bias, &self.fold, memory);
            }
        });
        self.packed = Some(state.step);
    }
}

impl Stepper {
    /// Decides how matches are found, once, and packs what that needs.
    pub(super) fn ready_search(&mut self, state: &TrainState) {
        if self.chunk_rows == 0 {
            self.prefilter = Prefilter::for_step(state, &self.options);
            self.chunk_rows = if self.prefilter.is_some() { CHUNK_ROWS } else { chunk_rows(state.features) };
        }
        match &mut self.prefilter {
            Some(prefilter) => prefilter.pack(state),
            None => self.packed.pack(state, &self.options),
        }
    }
}

impl Chunk {
    /// The k best features of every token of the chunk; of a second reconstruction too.
    pub(super) fn match_candidates(
        &mut self,
        state: &TrainState,
        prefilter: &Prefilter,
        levels: [Option<usize>; 2],
        centred: &[f32],
        buffer: &mut Buffer,
    ) {
        let d = state.d;
        let search = &mut buffer.search;
        let most = levels.into_iter().flatten().max().unwrap_or_default();
        search.rows.set(centred, &prefilter.fold, ROWS);
        search.shortlist.find(&search.rows, &prefilter.panels, most, prefilter.instructions);
        for (row, c) in centred.chunks_exact(d).enumerate() {
            search.listed.clear();
            search.listed.extend(search.shortlist.row(row));
            let n = search.listed.len();
            self.audit.candidates += n as u64;
            search.scores.resize(n, 0.0);
            dot_rows(&mut search.scores, &state.w_enc.value, &search.listed, c);
            for (score, &f) in search.scores.iter_mut().zip(&search.listed) {
                *score += state.b_enc.value[f as usize];
            }
            search.zeros.resize(n.max(search.zeros.len()), 0.0);
            for (matches, k) in [&mut self.main, &mut self.second].into_iter().zip(levels) {
                let Some(k) = k else { continue };
                let (features, values) = (&mut buffer.features, &mut buffer.values);
                features.resize(k.max(features.len()), 0);
                values.resize(k.max(values.len()), 0.0);
                let candidates = &mut buffer.candidates;
                let n = topk::select(&search.scores, &search.zeros, k, candidates, features, values);
                // Selected were places in the list of candidates.
                features[..n].iter_mut().for_each(|f| *f = search.listed[*f as usize]);
                matches.codes.push_row(&features[..n], &values[..n]);
            }
        }
    }

    /// Finds the best of the first tokens once more, from all pre-activations, and counts what candidates had of them.
    pub(super) fn audit(&mut self, state: &TrainState, k: usize, centred: &[f32], buffer: &mut Buffer) {
        if !state.step.is_multiple_of(AUDIT_EVERY) {
            return;
        }
        let (d, features) = (state.d, state.features);
        let rows = AUDIT_ROWS.min(centred.len() / d);
        products(&mut buffer.products, &centred[..rows * d], &state.w_enc.value, d);
        buffer.features.resize(k.max(buffer.features.len()), 0);
        buffer.values.resize(k.max(buffer.values.len()), 0.0);
        for row in 0..rows {
            let scores = &buffer.products[row * features..(row + 1) * features];
            let (into, values) = (&mut buffer.features, &mut buffer.values);
            let n = topk::select(scores, &state.b_enc.value, k, &mut buffer.candidates, into, values);
            let (got, _) = self.main.codes.row(row);
            self.audit.wanted += n as u64;
            self.audit.found += into[..n].iter().filter(|f| got.binary_search(f).is_ok()).count() as u64;
        }
    }
}
