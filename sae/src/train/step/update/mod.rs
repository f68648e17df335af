//! Backward pass and update, feature by feature: all decoder rows, then all encoder rows.
//!
//! A decoder row's gradient gathers errors of tokens, an encoder row's their centred activations. One pass for each means that the rows
//! of only one matrix `[B, d]` are gathered at a time: it stays in the third cache where both together do not.

mod decoder;
mod encoder;

use super::Stepper;
use super::options::Rule;
use super::prefilter::{Prefilter, Quantised};
use crate::train::state::{Parameter, TrainState};
use crate::{Error, Result};
#[cfg(test)]
pub(super) use encoder::EncoderGradients;
use kernels::adam::{self, AdamStep};
use kernels::int8::Fold;
use kernels::int8::panels::{COLUMNS, Panel};
use kernels::reduce;

/// Features updated by one task: those of a panel.
const TASK_FEATURES: usize = COLUMNS;

/// A parameter's value and moments for the features of a task.
type Triple<'a> = [&'a mut [f32]; 3];

/// Where a task's rows are kept in 8 bits.
type Packed<'a> = Option<(Panel<'a>, &'a Fold)>;

impl Stepper {
    /// ∂L/∂b_dec through decoding: `2/B Σ_b e_b` over all reconstructions that are not frozen.
    pub(super) fn b_dec_gradient(&self, d: usize) -> Vec<f64> {
        let mut sums = vec![0.0; d];
        let mut second = vec![0.0; d];
        for chunk in &self.chunks {
            let nested = !self.matrices.nested.is_empty();
            reduce::add(
                &mut sums,
                if nested { &chunk.sums.nested_columns } else { &chunk.sums.error_columns },
            );
            reduce::add(&mut second, &chunk.sums.second_columns);
        }
        sums.iter_mut().for_each(|s| *s *= self.scales.main);
        if self.options.rule != Rule::Gated {
            sums.iter_mut().zip(second).for_each(|(s, second)| *s += self.scales.second * second);
        }
        sums
    }

    /// Backward pass and update. Returns the mean decoder norm before it was made 1.
    pub(super) fn update(&mut self, state: &mut TrainState, adam: &AdamStep, rows: u64) -> Result<f64> {
        let step = state.step + 1;
        let mut gradient = self.b_dec_gradient(state.d);
        let mut prefilter = self.prefilter.take();
        // Feature choice has no use for features in panels.
        let packs = self.options.plan(step + 1).rule != Rule::Feature;
        let [encoder, decoder] = match prefilter.as_mut().filter(|_| packs) {
            Some(Prefilter { encoder, decoder, .. }) => [Some(encoder), decoder.as_mut()],
            None => [None, None],
        };
        let norm = match self.options.frozen_decoder {
            true => 1.0,
            false => self.update_decoder(state, decoder, adam)?,
        };
        self.update_encoder(state, encoder, adam, rows, &mut gradient)?;
        if let Some(prefilter) = prefilter.as_mut().filter(|_| packs) {
            prefilter.packed = Some(step);
        }
        self.prefilter = prefilter;
        let gradient: Vec<f32> = gradient.into_iter().map(|g| g as f32).collect();
        let b_dec = &mut state.b_dec;
        adam::update(adam, &mut b_dec.value, &mut b_dec.first, &mut b_dec.second, &gradient);
        Ok(norm)
    }
}

/// Cuts a parameter with `width` numbers a feature into those of tasks.
fn triples(parameter: &mut Parameter, width: usize) -> impl Iterator<Item = Triple<'_>> {
    let width = (TASK_FEATURES * width).max(1);
    let (first, second) = (parameter.first.chunks_mut(width), parameter.second.chunks_mut(width));
    parameter.value.chunks_mut(width).zip(first).zip(second).map(|((v, m), s)| [v, m, s])
}

/// The panels of tasks; for ever none where there are none.
fn panels(matrix: Option<&mut Quantised>) -> impl Iterator<Item = Packed<'_>> {
    let mut panels = matrix.map(|Quantised { fold, panels }| (panels.panels_mut(), &*fold));
    std::iter::repeat_with(move || panels.as_mut().and_then(|(panels, fold)| Some((panels.next()?, *fold))))
}

/// The first feature, in order, that a task has lost, as an error.
fn lost(step: u64, lost: impl IntoIterator<Item = Option<usize>>) -> Result<()> {
    match lost.into_iter().flatten().next() {
        Some(f) => Err(Error::data(format!(
            "step {step}: the weights of feature {f} are no longer finite; the learning rate is probably too high"
        ))),
        None => Ok(()),
    }
}
