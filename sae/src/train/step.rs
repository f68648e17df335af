//! One step of training: the only place where a batch meets the parameters.
//!
//! With a batch `x[B, d]`:
//!
//! ```text
//! c = x − b_dec;  z = c · W_encᵀ + b_enc        dense, a chunk of rows at a time, top-k right behind it
//! v = the k largest positive z of each token     B·k matches
//! e = v · W_dec − c = x̂ − x                      L = 1/B Σ_b ‖e_b‖²
//! s = e · W_decᵀ at the matches                  ∂L/∂z = 2/B s
//! ```
//!
//! Dead features (silent for `dead_after` tokens) get the loss of Gao et al. (2024), AuxK: with `u` their k_aux largest positive
//! pre-activations, they reconstruct the residual `r = x − x̂ = −e`, which counts as constant, without bias:
//!
//! ```text
//! q = u · W_dec + e;   L_aux = α · V · Σ_b ‖q_b‖² / Σ_b ‖r_b − mean(r)‖²
//! ```
//!
//! `V`, the variance of the input measured before the first step, gives both losses one unit, so that `α = 1/32` means what it means
//! for a loss that is divided by `V`, whatever the scale of the activations.
//!
//! After the forward pass everything is sparse. Matches are grouped by feature and each feature is visited once: gradients, projection,
//! Adam, unit norm (`kernels::feature`). `∂L/∂b_dec = 2/B Σ_b e_b − Σ_f (∂L/∂b_enc)_f W_enc,f`.

use rayon::prelude::*;

use super::matches::{Grouped, Matches};
use super::state::TrainState;
use crate::kernels::adam::{self, AdamStep};
use crate::kernels::encode::{ChunkBuffer, centre, chunk_rows, products};
use crate::kernels::feature::{self, Gradient, Parameters, Source};
use crate::kernels::gather::{add_rows, dot_rows};
use crate::kernels::spare::Spare;
use crate::kernels::{reduce, topk};
use crate::{Error, Result};

/// Features updated by one task.
const TASK_FEATURES: usize = 64;

/// What does not change from step to step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepOptions {
    /// Matches a token.
    pub(crate) k: usize,
    /// Dead features a token may use for AuxK.
    pub(crate) k_aux: usize,
    /// Tokens of silence after which a feature is dead.
    pub(crate) dead_after: u64,
    /// α.
    pub(crate) auxk_coefficient: f64,
    /// V: mean of ‖x − mean(x)‖² of the input.
    pub(crate) input_variance: f64,
    /// β₁, β₂.
    pub(crate) betas: (f64, f64),
    /// ε.
    pub(crate) epsilon: f64,
}

/// What a step was like, before its update.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StepReport {
    /// L + L_aux.
    pub(crate) loss: f64,
    /// L.
    pub(crate) mse: f64,
    /// L_aux.
    pub(crate) auxk: f64,
    /// `Σ_b ‖x_b − x̂_b‖²`
    pub(crate) squared_error: f64,
    /// `Σ_b ‖x_b‖²`
    pub(crate) squares: f64,
    /// `Σ_b x_b`, `[d]`
    pub(crate) columns: Vec<f64>,
    /// Tokens.
    pub(crate) tokens: u64,
    /// Matches.
    pub(crate) matches: u64,
    /// Dead features when the step began.
    pub(crate) dead: u64,
    /// Mean norm of decoder rows after Adam and before they were made 1 again.
    pub(crate) decoder_norm: f64,
}

/// A chunk of a batch: its matches and its part of every sum.
#[derive(Debug, Default)]
struct Chunk {
    main: Matches,
    aux: Matches,
    squared_error: f64,
    aux_squared_error: f64,
    squares: f64,
    error_columns: Vec<f64>,
    columns: Vec<f64>,
}

/// Memory of one thread in the forward pass.
#[derive(Debug, Default)]
struct Buffer {
    chunk: ChunkBuffer,
    dead_products: Vec<f32>,
}

/// Does steps; holds the memory they need, so that a step allocates next to nothing.
#[derive(Debug)]
pub(crate) struct Stepper {
    options: StepOptions,
    chunk_rows: usize,
    chunks: Vec<Chunk>,
    errors: Vec<f32>,
    aux_errors: Vec<f32>,
    centred: Vec<f32>,
    dead: Vec<u32>,
    dead_bias: Vec<f32>,
    main: Grouped,
    aux: Grouped,
    spare: Spare<Buffer>,
}

impl Stepper {
    pub(crate) fn new(features: usize, options: StepOptions) -> Self {
        Self {
            options,
            chunk_rows: chunk_rows(features),
            chunks: Vec::new(),
            errors: Vec::new(),
            aux_errors: Vec::new(),
            centred: Vec::new(),
            dead: Vec::new(),
            dead_bias: Vec::new(),
            main: Grouped::default(),
            aux: Grouped::default(),
            spare: Spare::default(),
        }
    }

    /// One step on `x[B, d]` (already scaled). On an error `state` may be half updated; checkpoints are not.
    pub(crate) fn step(
        &mut self,
        state: &mut TrainState,
        x: &[f32],
        learning_rate: f64,
    ) -> Result<StepReport> {
        let mut report = self.forward(state, x);
        let t = state.step + 1;
        if !report.loss.is_finite() {
            return Err(Error::data(format!(
                "step {t}: the loss is {}; the learning rate {learning_rate:e} is probably too high",
                report.loss
            )));
        }
        let adam = AdamStep::new(t, learning_rate, self.options.betas, self.options.epsilon);
        report.decoder_norm = self.update(state, &adam, report.tokens)?;
        state.step = t;
        Ok(report)
    }

    /// Forward pass and slopes; groups the matches by feature.
    pub(crate) fn forward(&mut self, state: &TrainState, x: &[f32]) -> StepReport {
        let (d, rows) = (state.d, x.len() / state.d);
        self.find_dead(state);
        for matrix in [&mut self.errors, &mut self.centred] {
            matrix.resize(x.len(), 0.0);
        }
        self.aux_errors.resize(if self.has_aux() { x.len() } else { 0 }, 0.0);
        self.chunks.resize_with(rows.div_ceil(self.chunk_rows), Chunk::default);
        let width = self.chunk_rows * d;
        // Without dead features there is no second matrix of errors: its chunks are empty.
        let aux_errors: Vec<&mut [f32]> = match self.aux_errors.is_empty() {
            true => self.chunks.iter().map(|_| <&mut [f32]>::default()).collect(),
            false => self.aux_errors.chunks_mut(width).collect(),
        };
        let shared = Shared { state, options: &self.options, dead: &self.dead, dead_bias: &self.dead_bias };
        let spare = &self.spare;
        (
            self.chunks.par_iter_mut(),
            x.par_chunks(width),
            self.errors.par_chunks_mut(width),
            self.centred.par_chunks_mut(width),
            aux_errors.into_par_iter(),
        )
            .into_par_iter()
            .for_each(|(chunk, x, errors, centred, aux_errors)| {
                let mut buffer = spare.take();
                chunk.forward(&shared, x, errors, centred, aux_errors, &mut buffer);
                spare.give(buffer);
            });
        self.finish_forward(state.features, d, rows)
    }

    fn find_dead(&mut self, state: &TrainState) {
        self.dead.clear();
        self.dead.extend(state.dead(self.options.dead_after));
        self.dead_bias.clear();
        self.dead_bias.extend(self.dead.iter().map(|&f| state.b_enc.value[f as usize]));
    }

    /// Whether this step has an AuxK loss.
    fn has_aux(&self) -> bool {
        !self.dead.is_empty() && self.options.k_aux > 0 && self.options.auxk_coefficient > 0.0
    }

    /// Adds up the chunks, in order, and groups their matches by feature.
    fn finish_forward(&mut self, features: usize, d: usize, rows: usize) -> StepReport {
        let mut report = StepReport {
            tokens: rows as u64,
            dead: self.dead.len() as u64,
            columns: vec![0.0; d],
            ..StepReport::default()
        };
        let mut error_columns = vec![0.0; d];
        let mut aux_squared_error = 0.0;
        for chunk in &self.chunks {
            report.squared_error += chunk.squared_error;
            report.squares += chunk.squares;
            report.matches += chunk.main.total() as u64;
            aux_squared_error += chunk.aux_squared_error;
            reduce::add(&mut report.columns, &chunk.columns);
            reduce::add(&mut error_columns, &chunk.error_columns);
        }
        report.mse = report.squared_error / rows as f64;
        let main: Vec<&Matches> = self.chunks.iter().map(|c| &c.main).collect();
        self.main.collect(&main, self.chunk_rows, features, 2.0 / rows as f32);
        self.aux.clear();
        // The residual's spread; without any there is nothing that dead features could explain.
        let spread = reduce::centred_sum_of_squares(rows as u64, &error_columns, report.squared_error);
        if !self.aux_errors.is_empty() && spread > 0.0 {
            let factor = self.options.auxk_coefficient * self.options.input_variance / spread;
            report.auxk = factor * aux_squared_error;
            let aux: Vec<&Matches> = self.chunks.iter().map(|c| &c.aux).collect();
            self.aux.collect(&aux, self.chunk_rows, features, (2.0 * factor) as f32);
        }
        report.loss = report.mse + report.auxk;
        report
    }

    /// The sources of feature `f`'s gradient.
    fn sources<'a>(&'a self, f: usize, sources: &mut Vec<Source<'a>>) {
        sources.clear();
        sources.extend(self.main.source(f, &self.errors, &self.centred));
        sources.extend(self.aux.source(f, &self.aux_errors, &self.centred));
    }

    /// `2/B Σ_b e_b`: the decoder's share of `∂L/∂b_dec`.
    fn b_dec_gradient(&self, d: usize, rows: u64) -> Vec<f64> {
        let mut sums = vec![0.0; d];
        for chunk in &self.chunks {
            reduce::add(&mut sums, &chunk.error_columns);
        }
        sums.iter_mut().for_each(|s| *s *= 2.0 / rows as f64);
        sums
    }

    /// Backward pass and update, feature by feature. Returns the mean decoder norm before it was made 1.
    fn update(&self, state: &mut TrainState, adam: &AdamStep, rows: u64) -> Result<f64> {
        let (d, features) = (state.d, state.features);
        let mut gradient = self.b_dec_gradient(d, rows);
        let sums: Vec<TaskSums> = tasks(state)
            .enumerate()
            .map(|(task, rows_of_task)| self.update_task(task * TASK_FEATURES, d, rows_of_task, adam, rows))
            .collect();
        let mut norms = 0.0;
        for task in &sums {
            if let Some(f) = task.lost {
                return Err(Error::data(format!(
                    "step {}: the weights of feature {f} are no longer finite; the learning rate is probably too high",
                    state.step + 1
                )));
            }
            norms += task.norms;
            gradient.iter_mut().zip(&task.b_dec).for_each(|(g, &part)| *g += f64::from(part));
        }
        let gradient: Vec<f32> = gradient.into_iter().map(|g| g as f32).collect();
        let b_dec = &mut state.b_dec;
        adam::update(adam, &mut b_dec.value, &mut b_dec.first, &mut b_dec.second, &gradient);
        Ok(norms / features as f64)
    }

    fn update_task(&self, first: usize, d: usize, task: Task<'_>, adam: &AdamStep, rows: u64) -> TaskSums {
        let (mut gradient, mut sources) = (Gradient::default(), Vec::with_capacity(2));
        let mut sums = TaskSums { b_dec: vec![0.0; d], norms: 0.0, lost: None };
        let (encoder, decoder, bias, since_fired) = task;
        for (i, since) in since_fired.iter_mut().enumerate() {
            let f = first + i;
            let row = i * d..(i + 1) * d;
            self.sources(f, &mut sources);
            gradient.collect(d, &sources);
            let mut parameters = Parameters {
                encoder: [
                    &mut encoder.0[row.clone()],
                    &mut encoder.1[row.clone()],
                    &mut encoder.2[row.clone()],
                ],
                decoder: [&mut decoder.0[row.clone()], &mut decoder.1[row.clone()], &mut decoder.2[row]],
                bias: [&mut bias.0[i], &mut bias.1[i], &mut bias.2[i]],
            };
            match feature::update(&mut parameters, &mut gradient, adam, &mut sums.b_dec) {
                Some(norm) => sums.norms += f64::from(norm),
                None => sums.lost = sums.lost.or(Some(f)),
            }
            *since = if self.main.fired(f) { 0 } else { *since + rows };
        }
        sums
    }
}

/// A parameter's value and moments for the features of a task.
type Triple<'a> = (&'a mut [f32], &'a mut [f32], &'a mut [f32]);
/// Encoder, decoder, bias, silence.
type Task<'a> = (Triple<'a>, Triple<'a>, Triple<'a>, &'a mut [u64]);

/// What the features of a task add up to.
struct TaskSums {
    b_dec: Vec<f32>,
    norms: f64,
    lost: Option<usize>,
}

/// Cuts the state into tasks of a fixed number of features.
fn tasks(state: &mut TrainState) -> impl IndexedParallelIterator<Item = Task<'_>> {
    fn triples(
        parameter: &mut super::state::Parameter,
        width: usize,
    ) -> impl IndexedParallelIterator<Item = Triple<'_>> {
        let first = parameter.first.par_chunks_mut(width);
        (parameter.value.par_chunks_mut(width), first, parameter.second.par_chunks_mut(width)).into_par_iter()
    }
    let width = TASK_FEATURES * state.d;
    (
        triples(&mut state.w_enc, width),
        triples(&mut state.w_dec, width),
        triples(&mut state.b_enc, TASK_FEATURES),
        state.since_fired.par_chunks_mut(TASK_FEATURES),
    )
        .into_par_iter()
}

/// What all chunks of a forward pass read.
struct Shared<'a> {
    state: &'a TrainState,
    options: &'a StepOptions,
    dead: &'a [u32],
    dead_bias: &'a [f32],
}

impl Chunk {
    fn forward(
        &mut self,
        shared: &Shared<'_>,
        x: &[f32],
        errors: &mut [f32],
        centred: &mut [f32],
        aux_errors: &mut [f32],
        buffer: &mut Buffer,
    ) {
        let (state, d) = (shared.state, shared.state.d);
        centre(centred, x, &state.b_dec.value);
        products(&mut buffer.chunk.products, centred, &state.w_enc.value, d);
        let rows = x.len() / d;
        self.main.reset(rows, shared.options.k);
        self.aux.reset(rows, if aux_errors.is_empty() { 0 } else { shared.options.k_aux });
        (self.squared_error, self.aux_squared_error) = (0.0, 0.0);
        for (i, (error, c)) in errors.chunks_exact_mut(d).zip(centred.chunks_exact(d)).enumerate() {
            let scores = &buffer.chunk.products[i * state.features..(i + 1) * state.features];
            let (features, values, slopes) = self.main.slots(i);
            let candidates = &mut buffer.chunk.candidates;
            let n = topk::select(scores, &state.b_enc.value, shared.options.k, candidates, features, values);
            error.iter_mut().zip(c).for_each(|(e, c)| *e = -c);
            add_rows(error, &state.w_dec.value, &features[..n], &values[..n]);
            dot_rows(&mut slopes[..n], &state.w_dec.value, &features[..n], error);
            self.main.set_count(i, n);
            self.squared_error += reduce::sum_of_squares(error);
        }
        for (i, (error, q)) in errors.chunks_exact(d).zip(aux_errors.chunks_exact_mut(d)).enumerate() {
            self.forward_dead(shared, i, error, q, buffer);
        }
        self.squares = reduce::sum_of_squares(x);
        for (columns, matrix) in [(&mut self.columns, x), (&mut self.error_columns, &*errors)] {
            columns.clear();
            columns.resize(d, 0.0);
            reduce::add_column_sums(columns, matrix);
        }
    }

    /// Dead features reconstruct token `i`'s residual `−error`; `q` becomes what is wrong with it.
    fn forward_dead(
        &mut self,
        shared: &Shared<'_>,
        i: usize,
        error: &[f32],
        q: &mut [f32],
        buffer: &mut Buffer,
    ) {
        let state = shared.state;
        let scores = &buffer.chunk.products[i * state.features..(i + 1) * state.features];
        buffer.dead_products.clear();
        buffer.dead_products.extend(shared.dead.iter().map(|&f| scores[f as usize]));
        let (features, values, slopes) = self.aux.slots(i);
        let candidates = &mut buffer.chunk.candidates;
        let k_aux = shared.options.k_aux;
        let n = topk::select(&buffer.dead_products, shared.dead_bias, k_aux, candidates, features, values);
        // Selected were places in the list of dead features.
        features[..n].iter_mut().for_each(|f| *f = shared.dead[*f as usize]);
        q.copy_from_slice(error);
        add_rows(q, &state.w_dec.value, &features[..n], &values[..n]);
        dot_rows(&mut slopes[..n], &state.w_dec.value, &features[..n], q);
        self.aux.set_count(i, n);
        self.aux_squared_error += reduce::sum_of_squares(q);
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
