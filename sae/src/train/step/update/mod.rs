//! Backward pass and update, feature by feature: all decoder rows, then all encoder rows.
//!
//! A decoder row's gradient gathers errors of tokens, an encoder row's their centred activations. One pass for each means that the rows
//! of only one matrix `[B, d]` are gathered at a time: it stays in the third cache where both together do not.

mod decoder;
mod encoder;
mod skip;

use super::gradients::Gradients;
use super::select::rows::Quantised;
use crate::train::state::{Parameter, TrainState};
use crate::{Error, Result};
use kernels::adam::{self, AdamStep};
use kernels::int8::Fold;
use kernels::int8::panels::{COLUMNS, Panel};

/// Features updated by one task: those of a panel.
const TASK_FEATURES: usize = COLUMNS;

/// A parameter's value and moments for the features of a task.
type Triple<'a> = [&'a mut [f32]; 3];

/// Where a task's rows are kept in 8 bits.
type PanelSlot<'a> = Option<(Panel<'a>, &'a Fold)>;

/// Backward pass and update; encoder and decoder rows in 8 bits are renewed where they are given. Returns the mean norm of decoder rows
/// before it was made 1.
///
/// # Errors
/// If a weight is no longer finite.
pub fn update(
    state: &mut TrainState,
    gradients: &Gradients<'_>,
    [encoder, decoder]: [Option<&mut Quantised>; 2],
    adam: &AdamStep,
) -> Result<f64> {
    let mut b_dec_gradient = gradients.b_dec();
    // An encoder row that is aligned follows its decoder row from where that was.
    let before = if gradients.options.aligned { state.w_dec.value.clone() } else { Vec::new() };
    let norm = match gradients.options.frozen_decoder {
        true => 1.0,
        false => decoder::update(state, gradients, decoder, adam)?,
    };
    skip::update(state, gradients, adam)?;
    let through_decoder = b_dec_gradient.clone();
    encoder::update(state, gradients, (encoder, &before), adam, &mut b_dec_gradient)?;
    if !gradients.batch.subtracts_bias() {
        // Nothing goes through the encoder.
        b_dec_gradient = through_decoder;
    }
    let b_dec_gradient: Vec<f32> = b_dec_gradient.into_iter().map(|g| g as f32).collect();
    let b_dec = &mut state.b_dec;
    if b_dec.value.is_empty() {
        // A different layer of the cross-layer transcoder has it.
        return Ok(norm);
    }
    adam::update(adam, &mut b_dec.value, &mut b_dec.first, &mut b_dec.second, &b_dec_gradient);
    Ok(norm)
}

/// Cuts a parameter with `width` numbers per feature into those of tasks.
fn triples(parameter: &mut Parameter, width: usize) -> impl Iterator<Item = Triple<'_>> {
    let width = (TASK_FEATURES * width).max(1);
    let (first, second) = (parameter.first.chunks_mut(width), parameter.second.chunks_mut(width));
    parameter.value.chunks_mut(width).zip(first).zip(second).map(|((v, m), s)| [v, m, s])
}

/// The panels of tasks; forever none where there are none.
fn panels(matrix: Option<&mut Quantised>) -> impl Iterator<Item = PanelSlot<'_>> {
    let mut panels = matrix.map(|Quantised { fold, panels }| (panels.panels_mut(), &*fold));
    std::iter::repeat_with(move || panels.as_mut().and_then(|(panels, fold)| Some((panels.next()?, *fold))))
}

/// The first feature, in order, that a task has lost, as an error.
fn lost(step: u64, lost: impl IntoIterator<Item = Option<usize>>) -> Result<()> {
    match lost.into_iter().flatten().next() {
        Some(f) => Err(Error::data(format!("step {step}: the weights of feature {f} are no longer finite"))
            .with_remedy("the learning rate is probably too high: lower it")),
        None => Ok(()),
    }
}
