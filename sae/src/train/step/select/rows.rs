//! The rows of features as the search reads them: packed for products in `f32`, or in 8 bits where candidates are searched.
//!
//! The panels of encoder and decoder rows are made anew with the rows, in the same visits (`step::update`), so a step never packs
//! them twice.

use crate::dictionary::score::Score;
use crate::train::state::TrainState;
use crate::train::step::context::Chunking;
use crate::train::step::options::{Rule, Search, StepOptions};
use kernels::encode::{Packed, chunk_rows};
use kernels::int8::tile::{Instructions, ROWS};
use kernels::int8::{Fold, MAX_WIDTH, Pairs, Panels, Rows, Weights};
use kernels::listed::rows_at_once;

/// Tokens of a chunk: their 8 bits stay in the second cache while all panels go by. Whole tiles.
pub const CHUNK_ROWS: usize = 16 * ROWS;
/// Below these a product in `f32` is as fast.
const SMALLEST: (usize, usize) = (64, 1024);

/// How active pairs are searched, with the rows of all features that this needs. Decided once, at the first step.
#[derive(Debug)]
pub enum FeatureRows {
    /// In all pre-activations, a chunk of tokens at a time.
    Packed(PackedRows),
    /// Among the candidates of a product in 8 bits.
    Quantised(QuantisedRows),
}

/// Rows of features in 8 bits.
#[derive(Debug)]
pub struct QuantisedRows {
    pub instructions: Instructions,
    /// Encoder rows.
    pub encoder: Quantised,
    /// Decoder rows, where scores have gradients.
    pub decoder: Option<Quantised>,
    /// The step whose rows are in the panels.
    packed: Option<u64>,
}

/// One matrix of features in 8 bits.
#[derive(Debug)]
pub struct Quantised {
    pub fold: Fold,
    pub panels: Panels,
}

/// Rows of features packed for products in `f32`.
#[derive(Debug, Default)]
pub struct PackedRows {
    pub encoder: Packed,
    /// Where scores have gradients.
    pub decoder: Packed,
}

impl PackedRows {
    fn pack(&mut self, state: &TrainState, options: &StepOptions) {
        self.encoder.set(&state.w_enc.value, state.d);
        if options.score != Score::Plain {
            self.decoder.set(&state.w_dec.value, state.d);
        }
    }
}

impl Quantised {
    pub fn new(fold: Fold) -> Self {
        Self { fold, panels: Panels::default() }
    }

    /// Makes the panels those of `rows[n, d]`.
    pub fn pack(&mut self, rows: &[f32], bias: impl Fn(usize) -> f32 + Sync) {
        self.panels.pack(rows, &self.fold, bias);
    }
}

/// Whether active pairs of rows of width `d` with `features` are searched among candidates: where that is faster on this processor.
pub fn finds_candidates(rule: Rule, score: Score, search: Search, (d, features): (usize, usize)) -> bool {
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

impl FeatureRows {
    /// Those of the faster search, not packed yet.
    pub fn choose(state: &TrainState, options: &StepOptions) -> Self {
        let shape = (state.d, state.features);
        match finds_candidates(options.rule, options.score, options.search, shape) {
            true => Self::Quantised(QuantisedRows::new(state, options)),
            false => Self::Packed(PackedRows::default()),
        }
    }

    /// How a batch is cut for this search.
    pub fn chunking(&self, state: &TrainState) -> Chunking {
        let rows = if self.are_quantised() { CHUNK_ROWS } else { chunk_rows(state.features) };
        Chunking { rows, at_once: (rows_at_once(state.d) / rows).max(1) }
    }

    /// Whether candidates are searched.
    pub fn are_quantised(&self) -> bool {
        matches!(self, Self::Quantised(_))
    }

    /// Packs what the next step of `state` needs and what is not packed yet.
    pub fn pack(&mut self, state: &TrainState, options: &StepOptions) {
        // Feature choice has its tokens in panels, not its features.
        if options.plan(state.step + 1).rule == Rule::Feature {
            return;
        }
        match self {
            Self::Quantised(rows) => rows.pack(state),
            Self::Packed(rows) => rows.pack(state, options),
        }
    }

    /// Encoder and decoder rows in 8 bits, to be packed while step `step` changes them; none if the next step has no use for them.
    pub fn renew(&mut self, step: u64, options: &StepOptions) -> [Option<&mut Quantised>; 2] {
        match self {
            Self::Quantised(rows) if options.plan(step + 1).rule != Rule::Feature => {
                rows.packed = Some(step);
                [Some(&mut rows.encoder), rows.decoder.as_mut()]
            }
            _ => [None, None],
        }
    }

    /// Forgets what is packed: rows have changed outside of the update.
    pub fn invalidate(&mut self) {
        if let Self::Quantised(rows) = self {
            rows.packed = None;
        }
    }
}

impl QuantisedRows {
    fn new(state: &TrainState, options: &StepOptions) -> Self {
        let fold = match options.rms.len() == state.d {
            true => Fold::balancing(&options.rms),
            false => Fold::none(state.d),
        };
        let decoder = (options.score != Score::Plain).then(|| Quantised::new(Fold::none(state.d)));
        Self { instructions: Instructions::detect(), encoder: Quantised::new(fold), decoder, packed: None }
    }

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
    pub fn pairs<'a>(&'a self, score: Score, rows: &'a Rows, along_rows: &'a Rows) -> Pairs<'a> {
        let weights = match (score, &self.decoder) {
            (Score::Gradient { lambda, beta, .. }, Some(decoder)) => {
                Some(Weights { rows: along_rows, panels: &decoder.panels, lambda, beta })
            }
            _ => None,
        };
        Pairs { rows, panels: &self.encoder.panels, weights }
    }
}

/// The bias that makes |W_dec ĝ| of a token without gradient 1.
pub fn bias_without_gradient(silent: bool) -> f32 {
    if silent { 1.0 } else { 0.0 }
}
