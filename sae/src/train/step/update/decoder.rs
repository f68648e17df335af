//! Decoder rows: gradient, projection, Adam, unit norm.

use rayon::prelude::*;

use super::{PanelSlot, TASK_FEATURES, Triple, lost, panels, triples};
use crate::Result;
use crate::train::state::TrainState;
use crate::train::step::gradients::Gradients;
use crate::train::step::select::rows::Quantised;
use kernels::adam::AdamStep;
use kernels::feature;

/// A thread's memory.
#[derive(Debug, Default)]
struct Memory {
    gradient: Vec<f32>,
    row: Vec<i8>,
}

/// What the features of a task come to.
struct TaskSums {
    norms: f64,
    lost: Option<usize>,
}

/// Updates all decoder rows. Returns their mean norm before it was made 1.
///
/// # Errors
/// A row that is not finite after the step, with the step and its feature.
pub fn update(
    state: &mut TrainState,
    gradients: &Gradients<'_>,
    packed: Option<&mut Quantised>,
    adam: &AdamStep,
) -> Result<f64> {
    let (d, step) = (state.d, state.step + 1);
    let tasks: Vec<_> = triples(&mut state.w_dec, d).zip(panels(packed)).enumerate().collect();
    let sums: Vec<TaskSums> = tasks
        .into_par_iter()
        .map_init(Memory::default, |memory, (task, (rows, panel))| {
            update_rows(task * TASK_FEATURES, gradients, rows, panel, adam, memory)
        })
        .collect();
    lost(step, sums.iter().map(|task| task.lost))?;
    Ok(sums.iter().map(|task| task.norms).sum::<f64>() / state.features as f64)
}

fn update_rows(
    first: usize,
    gradients: &Gradients<'_>,
    [values, firsts, seconds]: Triple<'_>,
    mut panel: PanelSlot<'_>,
    adam: &AdamStep,
    Memory { gradient, row }: &mut Memory,
) -> TaskSums {
    let (mut sums, d) = (TaskSums { norms: 0.0, lost: None }, gradients.d);
    let moments = firsts.chunks_exact_mut(d).zip(seconds.chunks_exact_mut(d));
    for (i, (value, (first_moment, second_moment))) in values.chunks_exact_mut(d).zip(moments).enumerate() {
        gradients.decoder(first + i, gradient);
        match feature::update_decoder([value, first_moment, second_moment], gradient, adam) {
            Some(norm) => sums.norms += f64::from(norm),
            None => sums.lost = sums.lost.or(Some(first + i)),
        }
        if let Some((panel, fold)) = &mut panel {
            panel.set(i, value, 0.0, fold, row);
        }
    }
    sums
}
