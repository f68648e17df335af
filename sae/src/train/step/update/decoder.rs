//! Decoder rows: gradient, projection, Adam, unit norm.

use rayon::prelude::*;

use super::{PanelSlot, TASK_FEATURES, Triple, lost, panels, triples};
use crate::Result;
use crate::train::state::TrainState;
use crate::train::step::gradients::{EncoderGradients, Gradients};
use crate::train::step::select::rows::Quantised;
use kernels::adam::AdamStep;
use kernels::feature;
use kernels::wide::dot;

/// Least cosine of a softly frozen row with the direction that it began as.
const CONE: f64 = 0.8;

/// A thread's memory.
#[derive(Debug, Default)]
struct Memory {
    gradient: Vec<f32>,
    of_encoder: EncoderGradients,
    row: Vec<i8>,
}

/// Encoder rows, biases and own parameters before the step: an aligned decoder row has a gradient through its encoder row.
#[derive(Clone, Copy)]
struct Encoder<'a> {
    rows: &'a [f32],
    bias: &'a [f32],
    own: &'a [f32],
}

impl<'a> Encoder<'a> {
    /// Bias and own parameters of feature `f`.
    fn of(&self, f: usize, gradients: &Gradients<'_>) -> (f32, &'a [f32]) {
        let own = gradients.options.rule.own_parameters();
        (self.bias[f], &self.own[f * own..(f + 1) * own])
    }
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
    let (d, step) = (state.d_out, state.step + 1);
    let encoder = Encoder { rows: &state.w_enc.value, bias: &state.b_enc.value, own: &state.own.value };
    let tasks: Vec<_> = triples(&mut state.w_dec, d).zip(panels(packed)).enumerate().collect();
    let sums: Vec<TaskSums> = tasks
        .into_par_iter()
        .map_init(Memory::default, |memory, (task, (rows, panel))| {
            update_rows(task * TASK_FEATURES, (gradients, encoder), rows, panel, adam, memory)
        })
        .collect();
    lost(step, sums.iter().map(|task| task.lost))?;
    Ok(sums.iter().map(|task| task.norms).sum::<f64>() / state.features as f64)
}

fn update_rows(
    first: usize,
    (gradients, encoder): (&Gradients<'_>, Encoder<'_>),
    [values, firsts, seconds]: Triple<'_>,
    mut panel: PanelSlot<'_>,
    adam: &AdamStep,
    Memory { gradient, of_encoder, row }: &mut Memory,
) -> TaskSums {
    let (mut sums, d) = (TaskSums { norms: 0.0, lost: None }, gradients.d_out);
    let moments = firsts.chunks_exact_mut(d).zip(seconds.chunks_exact_mut(d));
    for (i, (value, (first_moment, second_moment))) in values.chunks_exact_mut(d).zip(moments).enumerate() {
        gradients.decoder(first + i, gradient);
        if gradients.options.aligned {
            let (f, own) = (first + i, encoder.of(first + i, gradients));
            let rows = (&encoder.rows[f * d..(f + 1) * d], &*value);
            gradients.through_encoder(f, rows, own, of_encoder, gradient);
        }
        let parts = [&mut *value, first_moment, second_moment];
        let norm = match gradients.options.sites {
            0 | 1 => feature::update_decoder(parts, gradient, adam),
            sites => feature::update_decoder_of_sites(parts, sites, gradient, adam),
        };
        match norm {
            Some(norm) => sums.norms += f64::from(norm),
            None => sums.lost = sums.lost.or(Some(first + i)),
        }
        if let Some(begun) = gradients.options.cone.chunks_exact(d).nth(first + i) {
            into_cone(value, begun);
        }
        if let Some((panel, fold)) = &mut panel {
            panel.set(i, value, 0.0, fold, row);
        }
    }
    sums
}

/// Turns the unit `row` back to the cone around the unit row `begun`, the short way: `0.8·begun + 0.6·p`, with `p` the unit vector along
/// what `row` has at right angles to `begun`.
fn into_cone(row: &mut [f32], begun: &[f32]) {
    let cosine = dot(row, begun);
    if cosine >= CONE {
        return;
    }
    let across: Vec<f64> =
        row.iter().zip(begun).map(|(&x, &b)| f64::from(x) - cosine * f64::from(b)).collect();
    let length = across.iter().map(|x| x * x).sum::<f64>().sqrt();
    // A row that points straight back has no short way; it begins again.
    let (along, aside) = if length > 1e-6 { (CONE, (1.0 - CONE * CONE).sqrt() / length) } else { (1.0, 0.0) };
    for ((x, &b), across) in row.iter_mut().zip(begun).zip(across) {
        *x = (along * f64::from(b) + aside * across) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::wide::{norm, unit_rows};

    #[test]
    fn rows_outside_the_cone_come_to_its_edge_and_those_inside_stay() {
        let numbers = |seed: f32| (0..7).map(|i| (seed * (i as f32 + 1.3)).sin()).collect::<Vec<f32>>();
        let begun = unit_rows(&numbers(1.0), 7);
        for seed in [2.0, 3.7, 5.1, -1.02] {
            let far = unit_rows(&numbers(seed), 7);
            let mut row = far.clone();
            into_cone(&mut row, &begun);
            assert!((norm(&row) - 1.0).abs() < 1e-6 && (dot(&row, &begun) - 0.8).abs() < 1e-6, "{seed}");
            // Nearest of the cone's rows: no other one, turned a little around the axis, is nearer to where it was.
            for turn in 0..7 {
                let mut other = row.clone();
                other[turn] += 0.05;
                let other = unit_rows(&other, 7);
                let side: Vec<f32> =
                    other.iter().zip(&begun).map(|(x, b)| x - dot(&other, &begun) as f32 * b).collect();
                let side = unit_rows(&side, 7);
                let other: Vec<f32> = side.iter().zip(&begun).map(|(s, b)| 0.8 * b + 0.6 * s).collect();
                assert!(dot(&other, &far) <= dot(&row, &far) + 1e-6, "{seed}, {turn}");
            }
        }
        let near = unit_rows(&begun.iter().map(|b| b + 0.1).collect::<Vec<f32>>(), 7);
        let mut row = near.clone();
        into_cone(&mut row, &begun);
        assert_eq!(row, near);
        let mut back: Vec<f32> = begun.iter().map(|b| -b).collect();
        into_cone(&mut back, &begun);
        assert_eq!(back, begun);
    }
}
