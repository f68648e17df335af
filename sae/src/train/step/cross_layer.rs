//! One step of a cross-layer transcoder: the features of layer ℓ read x_ℓ and write into the targets of layer ℓ and of all later ones.
//!
//! With `L` layers, `x_ℓ[B, d]` and targets `y_m[B, d]`:
//!
//! ```text
//! v_ℓ = codes of layer ℓ                        selected by the layer alone: each has a budget of k per token
//! e_m = Σ_{ℓ ≤ m} v_ℓ · W_dec,ℓ[m − ℓ] + b_dec,m − y_m        L = 1/B Σ_b Σ_m ‖e_m,b‖² + penalties
//! s_ℓ = Σ_{m ≥ ℓ} e_m · W_dec,ℓ[m − ℓ]ᵀ at the active pairs    ∂L/∂z_ℓ = 2/B s_ℓ + penalty'
//! ```
//!
//! A decoder row of layer ℓ is `[(L − ℓ) · d]`, its vectors end to end, and has norm 1 as a whole. So to its features a layer is a transcoder
//! whose output is the tail of the row of all targets, and everything but the errors is a [`Stepper`]'s: search, slopes, auxiliary
//! loss, gradients and updates of each layer are those of a transcoder. Only the errors are made of all layers' codes.
//!
//! ```text
//! each layer: select ──▶ all layers: errors [B, L · d] ──▶ each layer: its tail of the errors, loss, gradients, update
//! ```
//!
//! Dead features of layer ℓ reconstruct the tail of the residual, each layer for itself. b_dec, `[L · d]`, is the first layer's, whose tail
//! is the whole row.

use rayon::prelude::*;

use super::select::ActivePairs;
use super::{StepOptions, StepReport, Stepper};
use crate::train::state::TrainState;
use crate::{Error, Result};
use kernels::adam::AdamStep;
use kernels::gather::add_rows;
use kernels::{memory, reduce};

/// A batch of all layers, already scaled.
#[derive(Debug, Clone, Copy)]
pub struct LayerTokens<'a> {
    /// What each layer reads, `[B, d]`.
    pub x: &'a [&'a [f32]],
    /// What all layers are to write, `[B, L · d]`.
    pub targets: &'a [f32],
}

/// Does steps of all layers.
#[derive(Debug)]
pub struct LayerSteppers {
    layers: Vec<Stepper>,
    /// Errors of all layers, `[B, L · d]`: memory for those of the next step.
    errors: Vec<f32>,
}

impl LayerSteppers {
    /// With the options of each layer.
    pub fn new(options: impl IntoIterator<Item = StepOptions>) -> Self {
        Self { layers: options.into_iter().map(Stepper::new).collect(), errors: Vec::new() }
    }

    /// From the next step on all pre-activations are computed: no candidates.
    pub fn search_exactly(&mut self) {
        self.layers.iter_mut().for_each(Stepper::search_exactly);
    }

    /// One step on a batch.
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub fn step(
        &mut self,
        states: &mut [&mut TrainState],
        tokens: LayerTokens<'_>,
        learning_rate: f64,
    ) -> Result<StepReport> {
        for ((stepper, state), x) in self.layers.iter_mut().zip(&mut *states).zip(tokens.x) {
            stepper.select(state, x)?;
        }
        let shared: Vec<&TrainState> = states.iter().map(|state| &**state).collect();
        let mut report = self.measure(&shared, tokens.targets);
        let parts = self.gradients(&shared);
        add_reports(&mut report, &parts);
        let first = states.first().map_or(0, |state| state.step);
        if !report.loss.is_finite() {
            return Err(Error::data(format!("step {}: the loss is {}", first + 1, report.loss))
                .with_remedy(format!("the learning rate {learning_rate:e} is probably too high: lower it")));
        }
        let layers = self.layers.len().max(1) as f64;
        for (layer, (stepper, state)) in self.layers.iter_mut().zip(states).enumerate() {
            let options = &stepper.options;
            let adam = AdamStep::new(first + 1, learning_rate, options.betas, options.epsilon);
            let norm = stepper.apply(state, &adam).map_err(|e| e.within(format_args!("layer {layer}")))?;
            report.decoder_norm += norm / layers;
        }
        Ok(report)
    }

    /// The forward pass and the backward pass alone: gradients can then be asked of each layer.
    #[cfg(test)]
    pub fn forward(&mut self, states: &mut [&mut TrainState], tokens: LayerTokens<'_>) -> StepReport {
        for ((stepper, state), x) in self.layers.iter_mut().zip(&mut *states).zip(tokens.x) {
            stepper.select(state, x).unwrap();
        }
        let shared: Vec<&TrainState> = states.iter().map(|state| &**state).collect();
        let mut report = self.measure(&shared, tokens.targets);
        let parts = self.gradients(&shared);
        add_reports(&mut report, &parts);
        report
    }

    /// Of each layer.
    #[cfg(test)]
    pub fn steppers(&self) -> &[Stepper] {
        &self.layers
    }

    /// Makes the errors of all layers from their codes, and gives every layer its tail of them. What is known of the whole row, for the
    /// report.
    fn measure(&mut self, states: &[&TrainState], targets: &[f32]) -> StepReport {
        let Self { layers, errors } = self;
        memory::resize(errors, targets.len(), 0.0);
        let Some(first) = states.first() else { return StepReport::default() };
        let (b_dec, width) = (&first.b_dec.value, first.b_dec.value.len());
        // Layers are of one shape, so their batches are cut alike.
        let rows = layers.first().and_then(Stepper::chunk_rows).unwrap_or(1);
        let pairs: Vec<&ActivePairs> = layers.iter().map(|layer| &layer.memory.pairs).collect();
        let sums: Vec<[f64; 2]> = errors
            .par_chunks_mut(rows * width)
            .zip(targets.par_chunks(rows * width))
            .enumerate()
            .map(|(chunk, (errors, targets))| {
                for (i, (error, y)) in
                    errors.chunks_exact_mut(width).zip(targets.chunks_exact(width)).enumerate()
                {
                    error.iter_mut().zip(b_dec).zip(y).for_each(|((e, b), y)| *e = b - y);
                    for (state, pairs) in states.iter().zip(&pairs) {
                        let (features, values) = pairs.chunks[chunk].main.codes.row(i);
                        add_rows(&mut error[width - state.d_out..], &state.w_dec.value, features, values);
                    }
                }
                [reduce::sum_of_squares(errors), reduce::sum_of_squares(targets)]
            })
            .collect();
        for (layer, state) in layers.iter_mut().zip(states) {
            let main = &mut layer.memory.errors.main;
            memory::resize(main, targets.len() / width * state.d_out, 0.0);
            main.par_chunks_mut(rows * state.d_out).zip(errors.par_chunks(rows * width)).for_each(
                |(tails, errors)| {
                    let rows = tails.chunks_exact_mut(state.d_out).zip(errors.chunks_exact(width));
                    rows.for_each(|(tail, error)| tail.copy_from_slice(&error[width - state.d_out..]));
                },
            );
        }
        let tokens = (targets.len() / width) as u64;
        let mut columns = vec![0.0; width];
        reduce::add_column_sums(&mut columns, targets);
        let [squared_error, squares] = sums.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
        let mse = squared_error / tokens.max(1) as f64;
        StepReport { loss: mse, mse, squared_error, squares, columns, tokens, ..StepReport::default() }
    }

    /// What every layer's slopes, penalties and auxiliary loss come to.
    fn gradients(&mut self, states: &[&TrainState]) -> Vec<StepReport> {
        self.layers.iter_mut().zip(states).map(|(layer, state)| layer.measure_joint(state)).collect()
    }
}

/// Adds to the report of the whole row what only layers have.
fn add_reports(report: &mut StepReport, layers: &[StepReport]) {
    for layer in layers {
        report.loss += layer.penalty + layer.auxk;
        report.penalty += layer.penalty;
        report.auxk += layer.auxk;
        report.active += layer.active;
        report.dead += layer.dead;
        report.audit.add(&layer.audit);
    }
}
