//! One step of training: the only place where a batch meets the parameters.
//!
//! With a batch `x[B, d]`:
//!
//! ```text
//! c = x − b_dec;  z = c · W_encᵀ + b_enc        dense, in chunks
//! S = allocation(score(z))                      which z become codes: B·k matches, or all that pass a threshold
//! v = z on S
//! e = v · W_dec − c = x̂ − x                     L = 1/B Σ_b ‖e_b‖² + penalty(v)
//! s = e · W_decᵀ at the matches                 ∂L/∂z = 2/B s + penalty'
//! ```
//!
//! | file | part |
//! |---|---|
//! | `options` | what a step is told; ramps and phases |
//! | `prepare` | before the step: budgets, expected rates, who gets help |
//! | `select` | z in chunks of tokens → matches; token choice, mutual choice, ReLU, JumpReLU, gates |
//! | `prefilter` | whether matches are found from candidates of a product in 8 bits, and the rows it needs |
//! | `candidates` | matches from candidates; token choice |
//! | `pairs` | the same for mutual choice |
//! | `columns` | tiles of features against the batch, by candidates or from all z; feature choice |
//! | `audit` | what candidates found of what they should have |
//! | `dense_aux` | help for dead features by dense products |
//! | `errors` | errors and slopes at the matches, of every reconstruction that the loss has |
//! | `penalty` | what codes cost |
//! | `update` | by feature: gradients, projection, Adam, unit norm |
//! | `parts` | where the time goes |
//! | `resample` | new rows for dead features |
//!
//! Features that fire too little get a loss of their own. AuxK (Gao et al. 2024): with `u` the k_aux largest positive pre-activations
//! of the dead features (silent for `dead_after` tokens), they reconstruct the residual `r = x − x̂ = −e`, which counts as constant,
//! without bias:
//!
//! ```text
//! q = u · W_dec + e;   L_aux = α · V · Σ_b ‖q_b‖² / Σ_b ‖r_b − mean(r)‖²
//! ```
//!
//! `V`, the variance of the input measured before the first step, gives both losses one unit, so that `α = 1/32` means what it means
//! for a loss that is divided by `V`, whatever the scale of the activations. aux-zipf is the same loss for the dead features and the
//! under-used ones, those that fire at less than ρ times the rate that Zipf's law gives to their rank; with ρ = 0, or a law that expects
//! nothing, it is AuxK. (The paper, Ayonrinde 2024, calls it a generalisation of AuxK for dead and under-used features; the formula is
//! our reading.)
//!
//! Further reconstructions that a loss may have:
//! - Multi-TopK: with 4k matches instead of k, times 1/8.
//! - Matryoshka (Bussmann et al. 2025): nested dictionaries of the first F₁ < F₂ < … < F features, each with the matches that fall on
//!   it. Our loss is the mean over the nested dictionaries, not their sum, so that learning rate and AuxK mean what they mean elsewhere.
//! - Gated (Rajamanoharan et al. 2024): from the gate's codes relu(z), with the decoder held constant, beside λ·Σ relu(z).
//!
//! After the forward pass everything is sparse. Matches are grouped by feature and each of a feature's rows is visited once: gradients,
//! projection, Adam, unit norm (`kernels::feature`). `∂L/∂b_dec = 2/B Σ_b e_b − Σ_f (Σ_b s_b)_f W_enc,f`.

mod audit;
mod candidates;
mod columns;
mod dense_aux;
mod errors;
pub(super) mod options;
mod pairs;
pub(crate) mod parts;
mod penalty;
mod prefilter;
pub(super) mod prepare;
mod resample;
mod select;
mod update;

use rayon::prelude::*;

pub(super) use dense_aux::DENSE;
pub(crate) use options::StepOptions;
use options::{Plan, Rule};
use parts::{Part, Parts};
pub(super) use prefilter::finds_candidates;

use super::matches::{Grouped, Matches};
use super::state::TrainState;
use crate::dictionary::score::{Score, normalise};
use crate::{Error, Result};
pub(crate) use audit::Audit;
use errors::Views;
use kernels::adam::AdamStep;
use kernels::best::SharedBest;
use kernels::encode::{Packed, centre};
use kernels::listed::Lists;
use kernels::spare::Spare;
use kernels::{memory, reduce};
use prefilter::Prefilter;
use select::Buffer;

/// A batch, already scaled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens<'a> {
    /// Activations `[B, d]`.
    pub(crate) x: &'a [f32],
    /// Gradients of the model's loss at them `[B, d]`; empty for methods that need none.
    pub(crate) gradients: &'a [f32],
}

impl<'a> From<&'a Vec<f32>> for Tokens<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        Self { x, gradients: &[] }
    }
}

impl<'a> From<&'a [f32]> for Tokens<'a> {
    fn from(x: &'a [f32]) -> Self {
        Self { x, gradients: &[] }
    }
}

/// What a step was like, before its update.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StepReport {
    /// All of the loss.
    pub(crate) loss: f64,
    /// `1/B Σ_b ‖x_b − x̂_b‖²`.
    pub(crate) mse: f64,
    /// AuxK or aux-zipf.
    pub(crate) auxk: f64,
    /// What codes cost.
    pub(crate) penalty: f64,
    /// What further reconstructions add to the loss.
    pub(crate) further: f64,
    /// `Σ_b ‖x_b − x̂_b‖²`
    pub(crate) squared_error: f64,
    /// `Σ_b ‖x_b‖²`
    pub(crate) squares: f64,
    /// `Σ_b x_b`, `[d]`
    pub(crate) columns: Vec<f64>,
    /// Tokens.
    pub(crate) tokens: u64,
    /// Codes above 0.
    pub(crate) matches: u64,
    /// Dead features when the step began.
    pub(crate) dead: u64,
    /// Mean norm of decoder rows after Adam and before they were made 1 again.
    pub(crate) decoder_norm: f64,
    /// What is known of the search by candidates; zeros if all pre-activations were computed.
    pub(crate) audit: Audit,
}

/// A chunk of a batch: its matches and its part of every sum.
#[derive(Debug, Default)]
struct Chunk {
    /// The matches that are decoded.
    main: Matches,
    /// Those of a second reconstruction: of 4k matches, or from the gate's codes.
    second: Matches,
    /// Those of the features that get help.
    aux: Matches,
    dense: dense_aux::DenseAux,
    sums: errors::Sums,
    audit: Audit,
    /// Candidates that are computed in `f32`.
    lists: Lists,
    proposed: pairs::Proposed,
}

/// Matrices `[B, d]` that a step fills.
#[derive(Debug, Default)]
struct Matrices {
    centred: Vec<f32>,
    /// ĝ; empty for plain scores.
    gradients: Vec<f32>,
    errors: Vec<f32>,
    second: Vec<f32>,
    aux: Vec<f32>,
    /// Sums of the errors of the nested dictionaries from the i-th on; none for a single dictionary.
    nested: Vec<Vec<f32>>,
}

impl Matrices {
    /// Centred activations and ĝ of chunk `i`, whose chunks are `width` numbers long.
    fn of_chunk(&self, i: usize, width: usize) -> [&[f32]; 2] {
        [&self.centred, &self.gradients].map(|all| part(all, i, width))
    }
}

/// The i-th piece of `width` numbers; the last one may be shorter, and there are none of nothing.
fn part(all: &[f32], i: usize, width: usize) -> &[f32] {
    let start = (i * width).min(all.len());
    &all[start..(start + width).min(all.len())]
}

/// Features that get help this step, ascending.
#[derive(Debug, Default)]
struct Helped {
    features: Vec<u32>,
    /// Their biases.
    bias: Vec<f32>,
    /// Their encoder rows, where z is not computed for all features of a token.
    encoder: Vec<f32>,
    /// The same, packed.
    packed_encoder: Packed,
    /// Their decoder rows, where help is dense.
    decoder: Vec<f32>,
    packed_decoder: Packed,
    /// Whether help is by dense products.
    dense: bool,
    /// Their rows for products in bfloat16, where dense products are made in it.
    coarse: Option<dense_aux::Coarse>,
    /// Dead features.
    dead: usize,
}

/// Does steps; holds the memory they need, so that a step allocates next to nothing.
#[derive(Debug)]
pub(crate) struct Stepper {
    options: StepOptions,
    /// Tokens of a chunk; 0 until the first step.
    chunk_rows: usize,
    /// Chunks whose candidates are computed together: as many as have their rows in the cache.
    chunks_at_once: usize,
    prefilter: Option<Prefilter>,
    packed: prefilter::PackedState,
    /// The smallest match of the last step of mutual choice by candidates; 0 before the first.
    worst_match: f32,
    chunks: Vec<Chunk>,
    exact: candidates::Exact,
    matrices: Matrices,
    helped: Helped,
    best: SharedBest,
    main: Grouped,
    second: Grouped,
    aux: Grouped,
    /// Of the helped features, where help is dense; empty where there is none.
    dense_gradients: Vec<dense_aux::HelpGradient>,
    /// The constants that the matches of each reconstruction were multiplied by.
    scales: Scales,
    /// [`TrainState::penalty_scale`] as it is after this step.
    penalty_scale: f32,
    /// λ of this step.
    sparsity: f64,
    /// Thresholds of JumpReLU, factors e^r of gates, `[F]`.
    exponentials: Vec<f32>,
    spare: Spare<Buffer>,
    parts: Parts,
}

/// Constants of the loss: ∂L/∂x̂ of each reconstruction is this times its errors.
#[derive(Debug, Clone, Copy, Default)]
struct Scales {
    main: f64,
    second: f64,
}

impl Stepper {
    pub(crate) fn new(options: StepOptions) -> Self {
        Self {
            options,
            chunk_rows: 0,
            chunks_at_once: 1,
            prefilter: None,
            packed: prefilter::PackedState::default(),
            worst_match: 0.0,
            chunks: Vec::new(),
            exact: candidates::Exact::default(),
            matrices: Matrices::default(),
            helped: Helped::default(),
            best: SharedBest::default(),
            main: Grouped::default(),
            second: Grouped::default(),
            aux: Grouped::default(),
            dense_gradients: Vec::new(),
            scales: Scales::default(),
            penalty_scale: 1.0,
            sparsity: 0.0,
            exponentials: Vec::new(),
            spare: Spare::default(),
            parts: Parts::default(),
        }
    }

    /// One step on a batch. On an error `state` may be half updated; checkpoints are not.
    pub(crate) fn step<'a>(
        &mut self,
        state: &mut TrainState,
        batch: impl Into<Tokens<'a>>,
        learning_rate: f64,
    ) -> Result<StepReport> {
        let batch = batch.into();
        let t = state.step + 1;
        self.parts.begin();
        self.prepare(state, (batch.x.len() / state.d) as u64)?;
        let mut report = self.forward(state, batch);
        if !report.loss.is_finite() {
            return Err(Error::data(format!(
                "step {t}: the loss is {}; the learning rate {learning_rate:e} is probably too high",
                report.loss
            )));
        }
        let adam = AdamStep::new(t, learning_rate, self.options.betas, self.options.epsilon);
        report.decoder_norm = self.update(state, &adam, report.tokens)?;
        self.parts.end(Part::Update);
        state.penalty_scale = self.penalty_scale;
        state.step = t;
        self.resample(state, batch.x);
        Ok(report)
    }

    /// Forward pass and slopes; groups the matches by feature.
    pub(crate) fn forward<'a>(&mut self, state: &TrainState, batch: impl Into<Tokens<'a>>) -> StepReport {
        let batch = batch.into();
        let rows = batch.x.len() / state.d;
        self.ready_search(state);
        let plan = self.options.plan(state.step + 1);
        self.find_helped(state, rows as u64);
        if !self.helped.dense {
            // Lists need the memory.
            self.chunks.iter_mut().for_each(|chunk| chunk.dense = dense_aux::DenseAux::default());
            self.dense_gradients = Vec::new();
        }
        self.sparsity = plan.sparsity;
        self.resize(state, batch);
        self.chunks.resize_with(rows.div_ceil(self.chunk_rows), Chunk::default);
        self.parts.end(Part::Prepare);
        self.match_tokens(state, &plan, rows);
        self.parts.end(Part::Search);
        self.adapt_penalty(state, &plan);
        self.measure_errors(state, &plan, batch.x);
        self.parts.end(Part::Errors);
        let report = self.finish_forward(state.features, state.d, rows, &plan);
        self.parts.end(Part::Group);
        report
    }

    /// Where the time of all steps went.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Fills `centred` and `gradients`, and makes room for the errors.
    fn resize(&mut self, state: &TrainState, batch: Tokens<'_>) {
        let helps = self.helps();
        let second = self.options.multi.is_some() || self.options.rule == Rule::Gated;
        let (n, matrices) = (batch.x.len(), &mut self.matrices);
        matrices.gradients.clear();
        if let Score::Gradient { norm, .. } = self.options.score {
            normalise(&mut matrices.gradients, batch.gradients, state.d, norm);
        }
        memory::resize(&mut matrices.errors, n, 0.0);
        memory::resize(&mut matrices.second, if second { n } else { 0 }, 0.0);
        memory::resize(&mut matrices.aux, if helps { n } else { 0 }, 0.0);
        matrices.nested.resize(self.options.widths.len().saturating_sub(1), Vec::new());
        matrices.nested.iter_mut().for_each(|m| memory::resize(m, n, 0.0));
        memory::resize(&mut matrices.centred, n, 0.0);
        let width = self.chunk_rows * state.d;
        (matrices.centred.par_chunks_mut(width), batch.x.par_chunks(width))
            .into_par_iter()
            .for_each(|(centred, x)| centre(centred, x, &state.b_dec.value));
    }

    /// Whether this step has a loss for features that fire too little.
    fn helps(&self) -> bool {
        !self.helped.features.is_empty() && self.options.aux.k > 0 && self.options.aux.coefficient > 0.0
    }

    /// Who is matched with whom.
    fn match_tokens(&mut self, state: &TrainState, plan: &Plan, rows: usize) {
        if plan.rule == Rule::Mutual {
            self.best.restart(plan.per_batch(rows, self.most()));
        }
        self.score_tokens(state, plan);
        if let Some(prefilter) = self.prefilter.take_if(|_| plan.rule != Rule::Feature) {
            match plan.rule {
                Rule::Mutual => self.match_pairs(state, &prefilter, plan, rows),
                _ => self.match_candidates(state, &prefilter, plan),
            }
            self.prefilter = Some(prefilter);
            return;
        }
        match plan.rule {
            Rule::Mutual => self.match_best(state.features, plan, rows),
            Rule::Feature => self.match_columns(state, rows),
            _ => {}
        }
    }

    /// How many times k the reconstruction with the most matches uses.
    fn most(&self) -> f64 {
        self.options.multi.map_or(1.0, |multi| multi.multiple.max(1.0))
    }

    /// Errors and slopes of all chunks.
    fn measure_errors(&mut self, state: &TrainState, plan: &Plan, x: &[f32]) {
        let width = self.chunk_rows * state.d;
        let shared = errors::Shared {
            state,
            options: &self.options,
            helped: &self.helped,
            plan,
            penalty_scale: self.penalty_scale,
        };
        let views = Views::cut(&mut self.matrices, width, self.chunks.len());
        (self.chunks.par_iter_mut(), x.par_chunks(width), views.into_par_iter())
            .into_par_iter()
            .for_each(|(chunk, x, mut views)| chunk.measure(&shared, x, &mut views));
    }

    /// Adds up the chunks, in order, and groups their matches by feature.
    fn finish_forward(&mut self, features: usize, d: usize, rows: usize, plan: &Plan) -> StepReport {
        let mut report = StepReport {
            tokens: rows as u64,
            dead: self.helped.dead as u64,
            columns: vec![0.0; d],
            ..StepReport::default()
        };
        let mut error_columns = vec![0.0; d];
        let (mut second, mut aux, mut nested, mut penalty) = (0.0, 0.0, 0.0, 0.0);
        for chunk in &self.chunks {
            let sums = &chunk.sums;
            report.squared_error += sums.squared_error;
            report.squares += sums.squares;
            report.matches += chunk.main.fired() as u64;
            second += sums.second_squared_error;
            aux += sums.aux_squared_error;
            nested += sums.nested_squared_error;
            penalty += sums.penalty;
            report.audit.add(&chunk.audit);
            reduce::add(&mut report.columns, &sums.columns);
            reduce::add(&mut error_columns, &sums.error_columns);
        }
        let n = rows as f64;
        let nests = self.options.widths.len().max(1) as f64;
        let weight = self.options.multi.map_or(1.0, |multi| multi.weight);
        report.mse = report.squared_error / n;
        report.penalty = plan.sparsity * f64::from(self.penalty_scale) * penalty / n;
        report.further = weight * second / n;
        if nests > 1.0 {
            report.further += nested / (n * nests) - report.mse;
        }
        self.scales = Scales { main: 2.0 / (n * nests), second: 2.0 * weight / n };
        let chunks = |which: fn(&Chunk) -> &Matches| self.chunks.iter().map(which).collect::<Vec<_>>();
        self.main.collect(&chunks(|c| &c.main), self.chunk_rows, features, self.scales.main as f32);
        self.second.clear();
        if !self.matrices.second.is_empty() {
            self.second.collect(&chunks(|c| &c.second), self.chunk_rows, features, self.scales.second as f32);
        }
        self.aux.clear();
        self.dense_gradients.clear();
        // The residual's spread; without any there is nothing that could be explained.
        let spread = reduce::centred_sum_of_squares(rows as u64, &error_columns, report.squared_error);
        if !self.matrices.aux.is_empty() && spread > 0.0 {
            let factor = self.options.aux.coefficient * self.options.input_variance / spread;
            report.auxk = factor * aux;
            match self.helped.dense {
                true => self.dense_gradients(d, (2.0 * factor) as f32),
                false => {
                    self.aux.collect(&chunks(|c| &c.aux), self.chunk_rows, features, (2.0 * factor) as f32);
                }
            }
        }
        report.loss = report.mse + report.further + report.penalty + report.auxk;
        report
    }
}

impl Chunk {
    /// Forgets the matches of the last step.
    fn clear(&mut self) {
        [&mut self.main, &mut self.second, &mut self.aux].into_iter().for_each(Matches::clear);
        self.dense.codes.clear();
        self.audit = Audit::default();
    }
}

#[cfg(test)]
mod tests;
