//! Whether matches are found from candidates, and what that needs: rows of features in 8 bits.
//!
//! The panels of encoder and decoder rows are made anew with the rows, in the same visits (`step::update`), so a step never packs them
//! twice.

use super::Stepper;
use super::options::{Rule, Search, StepOptions};
use crate::dictionary::score::Score;
use crate::train::state::TrainState;
use kernels::encode::{Packed, chunk_rows};
use kernels::int8::tile::{Instructions, ROWS};
use kernels::int8::{Fold, MAX_WIDTH, Pairs, Panels, Rows, Weights};
use kernels::listed::rows_at_once;

/// Tokens of a chunk: their 8 bits stay in the second cache while all panels go by. Whole tiles.
const CHUNK_ROWS: usize = 16 * ROWS;
/// Below these a product in `f32` is as fast.
const SMALLEST: (usize, usize) = (64, 1024);

/// Rows of features in 8 bits.
#[derive(Debug)]
pub(super) struct Prefilter {
    pub(super) instructions: Instructions,
    /// Encoder rows.
    pub(super) encoder: Quantised,
    /// Decoder rows, where scores have gradients.
    pub(super) decoder: Option<Quantised>,
    /// The step whose rows are in the panels.
    pub(super) packed: Option<u64>,
}

/// One matrix of features in 8 bits.
#[derive(Debug)]
pub(super) struct Quantised {
    pub(super) fold: Fold,
    pub(super) panels: Panels,
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

impl Quantised {
    pub(super) fn new(fold: Fold) -> Self {
        Self { fold, panels: Panels::default() }
    }

    /// Makes the panels those of `rows[n, d]`.
    pub(super) fn pack(&mut self, rows: &[f32], bias: impl Fn(usize) -> f32 + Sync) {
        self.panels.pack(rows, &self.fold, bias);
    }
}

/// Whether matches of this kind, of rows of width `d` with `features`, are found by candidates: where that is faster on this processor.
pub(crate) fn finds_candidates(
    rule: Rule,
    score: Score,
    search: Search,
    (d, features): (usize, usize),
) -> bool {
    let weighed = match score {
        Score::Plain => true,
        // Bounds of the weights grow with |W_dec ĝ|.
        Score::Gradient { lambda, beta, .. } => lambda >= 0.0 && beta > 0.0,
    };
    let possible = matches!(rule, Rule::Token | Rule::Mutual | Rule::Feature) && weighed && d <= MAX_WIDTH;
    let wanted = match search {
        Search::Exact => false,
        Search::Auto => {
            Instructions::detect() != Instructions::Portable && d >= SMALLEST.0 && features >= SMALLEST.1
        }
        #[cfg(test)]
        Search::Candidates => true,
    };
    possible && wanted
}

impl Prefilter {
    /// What candidates need, where they are the faster way.
    fn for_step(state: &TrainState, options: &StepOptions) -> Option<Self> {
        let instructions = Instructions::detect();
        let found = finds_candidates(options.rule, options.score, options.search, (state.d, state.features));
        let fold = match options.rms.len() == state.d {
            true => Fold::balancing(&options.rms),
            false => Fold::none(state.d),
        };
        let decoder = (options.score != Score::Plain).then(|| Quantised::new(Fold::none(state.d)));
        let encoder = Quantised::new(fold);
        found.then_some(Self { instructions, encoder, decoder, packed: None })
    }

    /// Packs all rows, if those of this step are not packed yet.
    fn pack(&mut self, state: &TrainState) {
        if self.packed == Some(state.step) {
            return;
        }
        self.encoder.pack(&state.w_enc.value, |f| state.b_enc.value[f]);
        if let Some(decoder) = &mut self.decoder {
            decoder.pack(&state.w_dec.value, |_| 0.0);
        }
        self.packed = Some(state.step);
    }

    /// Tokens with all features, worth what `score` says: `rows` are centred activations, `along_rows` ĝ.
    pub(super) fn pairs<'a>(&'a self, score: Score, rows: &'a Rows, along_rows: &'a Rows) -> Pairs<'a> {
        let weights = match (score, &self.decoder) {
            (Score::Gradient { lambda, beta, .. }, Some(decoder)) => {
                Some(Weights { rows: along_rows, panels: &decoder.panels, lambda, beta })
            }
            _ => None,
        };
        Pairs { rows, panels: &self.encoder.panels, weights }
    }
}

impl Stepper {
    /// Decides how matches are found, once, and packs what that needs.
    pub(super) fn ready_search(&mut self, state: &TrainState) {
        if self.chunk_rows == 0 {
            self.prefilter = Prefilter::for_step(state, &self.options);
            self.chunk_rows = if self.prefilter.is_some() { CHUNK_ROWS } else { chunk_rows(state.features) };
            self.chunks_at_once = (rows_at_once(state.d) / self.chunk_rows).max(1);
        }
        match &mut self.prefilter {
            // Feature choice looks at tokens in panels.
            Some(_) if self.options.plan(state.step + 1).rule == Rule::Feature => {}
            Some(prefilter) => prefilter.pack(state),
            None => self.packed.pack(state, &self.options),
        }
    }
}

/// The bias that makes |W_dec ĝ| of a token without gradient 1.
pub(super) fn silence(silent: bool) -> f32 {
    if silent { 1.0 } else { 0.0 }
}
