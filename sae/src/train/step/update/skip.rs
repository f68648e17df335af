//! The skip connection of a transcoder: gradient and Adam.

use rayon::prelude::*;

use crate::train::state::TrainState;
use crate::train::step::gradients::Gradients;
use crate::{Error, Result};
use kernels::adam::{self, AdamStep};

/// Numbers that one task updates.
const TASK: usize = 1 << 14;

/// Updates W_skip, if there is one.
///
/// # Errors
/// A number that is not finite after the step, with the step.
pub fn update(state: &mut TrainState, gradients: &Gradients<'_>, adam: &AdamStep) -> Result<()> {
    let step = state.step + 1;
    let skip = &mut state.skip;
    if skip.value.is_empty() {
        return Ok(());
    }
    let gradient = gradients.skip();
    skip.value
        .par_chunks_mut(TASK)
        .zip(skip.first.par_chunks_mut(TASK))
        .zip(skip.second.par_chunks_mut(TASK))
        .zip(gradient.par_chunks(TASK))
        .for_each(|(((value, first), second), gradient)| adam::update(adam, value, first, second, gradient));
    match skip.value.iter().all(|w| w.is_finite()) {
        true => Ok(()),
        false => Err(Error::data(format!("step {step}: the skip connection is no longer finite"))
            .with_remedy("the learning rate is probably too high: lower it")),
    }
}
