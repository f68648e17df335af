//! Encoder rows, biases and what some rules learn besides: gradients and Adam. Counts who fired.

use rayon::prelude::*;

use super::{PanelSlot, TASK_FEATURES, Triple, lost, panels, triples};
use crate::Result;
use crate::train::state::TrainState;
use crate::train::step::gradients::{EncoderGradients, Gradients};
use crate::train::step::options::{CosineRule, Rule};
use crate::train::step::select::rows::Quantised;
use kernels::adam::{self, AdamStep};
use kernels::feature;

/// The features of a task.
struct Task<'a> {
    rows: Triple<'a>,
    bias: Triple<'a>,
    own: Triple<'a>,
    since_fired: &'a mut [u64],
    /// Empty if nobody counts.
    fired: &'a mut [u64],
    rates: &'a mut [f32],
    panel: PanelSlot<'a>,
}

/// What the features of a task come to.
struct TaskSums {
    b_dec: Vec<f32>,
    lost: Option<usize>,
}

/// A thread's memory.
#[derive(Debug, Default)]
struct Memory {
    gradients: EncoderGradients,
    row: Vec<i8>,
}

/// Updates what features have besides their decoder rows, which were `before` (empty where that does not matter), and adds to `b_dec_gradient[d]` what goes through their encoder rows.
///
/// # Errors
/// A row, bias or threshold that is not finite after the step, with the step and its feature.
pub fn update(
    state: &mut TrainState,
    gradients: &Gradients<'_>,
    (packed, before): (Option<&mut Quantised>, &[f32]),
    adam: &AdamStep,
    b_dec_gradient: &mut [f64],
) -> Result<()> {
    let step = state.step + 1;
    let shared = shared_slope(state, gradients);
    let decoder = std::mem::take(&mut state.w_dec.value);
    let sums: Vec<TaskSums> = tasks(state, gradients.options.rule.own_parameters(), packed)
        .into_par_iter()
        .enumerate()
        .map_init(Memory::default, |memory, (task, part)| {
            update_rows(task * TASK_FEATURES, (gradients, shared), (before, &decoder), part, adam, memory)
        })
        .collect();
    state.w_dec.value = decoder;
    lost(step, sums.iter().map(|task| task.lost))?;
    for task in &sums {
        b_dec_gradient.iter_mut().zip(&task.b_dec).for_each(|(g, &part)| *g += f64::from(part));
    }
    Ok(())
}

fn update_rows(
    first: usize,
    (gradients, shared): (&Gradients<'_>, Option<f32>),
    (before, after): (&[f32], &[f32]),
    mut task: Task<'_>,
    adam: &AdamStep,
    Memory { gradients: of_feature, row }: &mut Memory,
) -> TaskSums {
    let (d, tokens) = (gradients.d, gradients.tokens as u64);
    let mut sums = TaskSums { b_dec: vec![0.0; d], lost: None };
    let share = gradients.options.rate_share(tokens) as f32;
    let own = gradients.options.rule.own_parameters();
    for i in 0..task.since_fired.len() {
        let f = first + i;
        gradients.encoder(f, (task.bias[0][i], &task.own[0][i * own..(i + 1) * own]), of_feature);
        if let Some(slope) = shared {
            of_feature.own[0] = slope;
        }
        let own_row = f * d..(f + 1) * d;
        let constraint = match gradients.options.rule {
            Rule::Pursuit => Constraint::Frozen,
            _ if gradients.options.frozen_encoder => Constraint::Frozen,
            _ if gradients.options.aligned => {
                Constraint::Aligned { before: &before[own_row.clone()], after: &after[own_row] }
            }
            Rule::Cosine(_) => Constraint::Unit,
            _ => Constraint::None,
        };
        if !task.apply(i, d, of_feature, adam, constraint, &mut sums.b_dec) {
            sums.lost = sums.lost.or(Some(f));
        }
        if let Some((panel, fold)) = &mut task.panel {
            panel.set(i, &task.rows[0][i * d..(i + 1) * d], task.bias[0][i], fold, row);
        }
        task.count(i, gradients.pairs.main.fired(f), tokens, share);
    }
    sums
}

/// What an encoder row must be after a step.
#[derive(Clone, Copy)]
enum Constraint<'a> {
    None,
    /// What it was.
    Frozen,
    /// Of norm 1.
    Unit,
    /// ⟨e, d⟩ = 1 for the decoder row `after` the step; `before` is what that was.
    Aligned {
        before: &'a [f32],
        after: &'a [f32],
    },
}

/// A step on the encoder row `e = d + v`, v at right angles to the decoder row d: v is changed by what of `gradient` is at right angles to
/// d, and what of it is along the new d is taken off: `e = d + v − (v·d) d`. Returns whether the row is finite.
fn align(
    [row, first, second]: [&mut [f32]; 3],
    gradient: &mut [f32],
    (before, after): (&[f32], &[f32]),
    step: &AdamStep,
) -> bool {
    feature::remove_parallel(gradient, before);
    row.iter_mut().zip(before).for_each(|(e, d)| *e -= d);
    adam::update(step, row, first, second, gradient);
    // Once more for what rounding leaves.
    for _ in 0..2 {
        feature::remove_parallel(row, after);
    }
    row.iter_mut().zip(after).for_each(|(v, d)| *v += d);
    feature::norm_squared(row).is_finite()
}

/// ∂L/∂θ where all features share one; `None` where they do not.
fn shared_slope(state: &TrainState, gradients: &Gradients<'_>) -> Option<f32> {
    let Rule::Cosine(CosineRule { shared: true, .. }) = gradients.options.rule else { return None };
    let slope = |f: usize| gradients.theta(f, state.b_enc.value[f], state.own.value[f]);
    let of_task = |task: usize| {
        let first = task * TASK_FEATURES;
        (first..(first + TASK_FEATURES).min(state.features)).map(slope).sum::<f32>()
    };
    let tasks: Vec<f32> = (0..state.features.div_ceil(TASK_FEATURES)).into_par_iter().map(of_task).collect();
    Some(tasks.iter().sum())
}

impl Task<'_> {
    /// Counts that feature `i` of the task fired on `fired` of `tokens`, which are a `share` of the window of rates.
    fn count(&mut self, i: usize, fired: usize, tokens: u64, share: f32) {
        let since = &mut self.since_fired[i];
        *since = if fired > 0 { 0 } else { since.saturating_add(tokens) };
        if let Some(count) = self.fired.get_mut(i) {
            *count += fired as u64;
        }
        self.rates[i] += share * (fired as f32 / tokens as f32 - self.rates[i]);
    }

    /// Updates feature `i` of the task, of a frozen encoder only what it learns besides its row and bias. Returns whether its weights are
    /// finite. The gradients are used up.
    fn apply(
        &mut self,
        i: usize,
        d: usize,
        gradients: &mut EncoderGradients,
        adam: &AdamStep,
        constraint: Constraint<'_>,
        b_dec: &mut [f32],
    ) -> bool {
        let row = self.rows.each_mut().map(|numbers| &mut numbers[i * d..(i + 1) * d]);
        let bias = self.bias.each_mut().map(|numbers| &mut numbers[i]);
        b_dec.iter_mut().zip(&gradients.by_norm).for_each(|(b, by_norm)| *b -= by_norm);
        let mut finite = match constraint {
            Constraint::Frozen => {
                // b_dec is the decoder's: what it does to the pre-activations still counts.
                feature::subtract(b_dec, gradients.encoder.input, row[0]);
                true
            }
            Constraint::None => feature::update_encoder(row, bias, &gradients.encoder, adam, b_dec),
            Constraint::Unit => {
                feature::subtract(b_dec, gradients.encoder.input, row[0]);
                let [bias, first, second] = bias;
                *bias = adam.apply(*bias, first, second, gradients.encoder.bias);
                bias.is_finite() && feature::update_decoder(row, &mut gradients.encoder.row, adam).is_some()
            }
            Constraint::Aligned { before, after } => {
                feature::subtract(b_dec, gradients.encoder.input, row[0]);
                let [bias, first, second] = bias;
                *bias = adam.apply(*bias, first, second, gradients.encoder.bias);
                bias.is_finite() && align(row, &mut gradients.encoder.row, (before, after), adam)
            }
        };
        let [values, first, second] = &mut self.own;
        let own = values.len() / self.since_fired.len();
        for (j, &g) in gradients.own.iter().take(own).enumerate() {
            let at = i * own + j;
            values[at] = adam.apply(values[at], &mut first[at], &mut second[at], g);
            finite &= values[at].is_finite();
        }
        finite
    }
}

/// Cuts the state into tasks of a fixed number of features.
fn tasks<'a>(state: &'a mut TrainState, own: usize, packed: Option<&'a mut Quantised>) -> Vec<Task<'a>> {
    let d = state.d;
    let mut own = triples(&mut state.own, own);
    let mut fired = state.fired.chunks_mut(TASK_FEATURES);
    let counts = state.since_fired.chunks_mut(TASK_FEATURES).zip(state.rates.chunks_mut(TASK_FEATURES));
    triples(&mut state.w_enc, d)
        .zip(triples(&mut state.b_enc, 1))
        .zip(counts)
        .zip(panels(packed))
        .map(|(((rows, bias), (since_fired, rates)), panel)| Task {
            rows,
            bias,
            own: own.next().unwrap_or_default(),
            since_fired,
            fired: fired.next().unwrap_or_default(),
            rates,
            panel,
        })
        .collect()
}
