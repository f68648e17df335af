//! Encoder rows, biases and what some rules learn beside them: gradients and Adam. Counts who fired.

use rayon::prelude::*;

use super::super::Stepper;
use super::super::options::{Penalty, Rule};
use super::super::prefilter::Quantised;
use super::{Packed, TASK_FEATURES, Triple, lost, panels, triples};
use crate::Result;
use crate::train::state::TrainState;
use kernels::adam::AdamStep;
use kernels::feature::{self, EncoderGradient, Source};

/// The features of a task.
struct Task<'a> {
    rows: Triple<'a>,
    bias: Triple<'a>,
    own: Triple<'a>,
    since_fired: &'a mut [u64],
    /// Empty if nobody counts.
    fired: &'a mut [u64],
    rates: &'a mut [f32],
    panel: Packed<'a>,
}

/// What the features of a task come to.
struct TaskSums {
    b_dec: Vec<f32>,
    lost: Option<usize>,
}

/// One feature's gradients, and memory to make them.
#[derive(Debug, Default)]
pub(in super::super) struct EncoderGradients {
    pub(in super::super) encoder: EncoderGradient,
    /// Of the parameters that only some rules have.
    pub(in super::super) own: [f32; 2],
    slopes: Vec<f32>,
}

/// A thread's memory.
#[derive(Debug, Default)]
struct Memory {
    gradients: EncoderGradients,
    row: Vec<i8>,
}

impl Stepper {
    /// Updates what features have beside their decoder rows, and adds to `b_dec_gradient[d]` what goes through their encoder rows.
    pub(super) fn update_encoder(
        &self,
        state: &mut TrainState,
        packed: Option<&mut Quantised>,
        adam: &AdamStep,
        rows: u64,
        b_dec_gradient: &mut [f64],
    ) -> Result<()> {
        let (d, step) = (state.d, state.step + 1);
        let sums: Vec<TaskSums> = tasks(state, self.options.rule.own_parameters(), packed)
            .into_par_iter()
            .enumerate()
            .map_init(Memory::default, |memory, (task, part)| {
                self.update_encoder_rows(task * TASK_FEATURES, d, part, adam, rows, memory)
            })
            .collect();
        lost(step, sums.iter().map(|task| task.lost))?;
        for task in &sums {
            b_dec_gradient.iter_mut().zip(&task.b_dec).for_each(|(g, &part)| *g += f64::from(part));
        }
        Ok(())
    }

    fn update_encoder_rows(
        &self,
        first: usize,
        d: usize,
        mut task: Task<'_>,
        adam: &AdamStep,
        rows: u64,
        Memory { gradients, row }: &mut Memory,
    ) -> TaskSums {
        let mut sums = TaskSums { b_dec: vec![0.0; d], lost: None };
        let share = self.options.rate_share(rows) as f32;
        let own = self.options.rule.own_parameters();
        for i in 0..task.since_fired.len() {
            let f = first + i;
            self.encoder_gradients(f, d, &task.own[0][i * own..(i + 1) * own], rows, gradients);
            if !task.apply(i, d, gradients, adam, &mut sums.b_dec) {
                sums.lost = sums.lost.or(Some(f));
            }
            if let Some((panel, fold)) = &mut task.panel {
                panel.set(i, &task.rows[0][i * d..(i + 1) * d], task.bias[0][i], fold, row);
            }
            let fired = self.main.fired(f);
            let since = &mut task.since_fired[i];
            *since = if fired > 0 { 0 } else { since.saturating_add(rows) };
            if let Some(count) = task.fired.get_mut(i) {
                *count += fired as u64;
            }
            task.rates[i] += share * (fired as f32 / rows as f32 - task.rates[i]);
        }
        sums
    }

    /// The gradients of feature `f`, whose own parameters are `own`.
    pub(in super::super) fn encoder_gradients(
        &self,
        f: usize,
        d: usize,
        own: &[f32],
        rows: u64,
        out: &mut EncoderGradients,
    ) {
        let centred = self.matrices.centred.as_slice();
        let mut main = self.main.source(f, &[], centred);
        let second = self.second.source(f, &[], centred);
        let aux = self.aux.source(f, &[], centred);
        let EncoderGradients { encoder, own: own_gradient, slopes } = out;
        *own_gradient = [0.0; 2];
        slopes.clear();
        match self.options.rule {
            Rule::Jump { bandwidth } => {
                own_gradient[0] = self.threshold_gradient(&main, own, bandwidth, rows);
                let below = |(code, slope): (&f32, &f32)| if *code > 0.0 { *slope } else { 0.0 };
                slopes.extend(main.codes.iter().zip(main.slopes).map(below));
                main.slopes = slopes;
                encoder.collect(d, &[main, second, aux]);
            }
            Rule::Gated => {
                let (factor, bias) = (own[0].exp(), own[1]);
                let scale = self.scales.main as f32;
                // v = e^r·u + b: its derivative by r is e^r·u = v − b.
                let by_r = |(code, slope): (&f32, &f32)| slope * (code / scale - bias);
                own_gradient[0] = main.codes.iter().zip(main.slopes).map(by_r).sum();
                own_gradient[1] = main.slopes.iter().sum();
                slopes.extend(main.slopes.iter().map(|s| s * factor));
                main.slopes = slopes;
                encoder.collect(d, &[main, second, aux]);
                encoder.bias = second.slopes.iter().chain(aux.slopes).sum();
            }
            _ => encoder.collect(d, &[main, second, aux]),
        }
        if let Some(help) = self.help_of(f) {
            encoder.row.iter_mut().zip(&help.encoder).for_each(|(g, h)| *g += h);
            encoder.bias += help.bias;
            encoder.input += help.bias;
        }
    }

    /// ∂L/∂log θ by straight-through estimation (Rajamanoharan et al. 2024): with K the box of width ε,
    /// `∂v/∂θ = −θ/ε·K((z−θ)/ε)` and `∂[z>θ]/∂θ = −1/ε·K((z−θ)/ε)`.
    fn threshold_gradient(&self, main: &Source<'_>, own: &[f32], bandwidth: f32, rows: u64) -> f32 {
        let threshold = own[0].exp();
        let scale = self.scales.main as f32;
        let count = if self.options.penalty == Penalty::Count { self.sparsity / rows as f64 } else { 0.0 };
        let mut sum = 0.0;
        for (code, slope) in main.codes.iter().zip(main.slopes) {
            // Those with the code 0 were kept because they are in the box.
            if code / scale < threshold + 0.5 * bandwidth {
                sum -= (threshold * slope + count as f32) / bandwidth;
            }
        }
        threshold * sum
    }
}

impl Task<'_> {
    /// Updates feature `i` of the task. Returns whether its weights are finite.
    fn apply(
        &mut self,
        i: usize,
        d: usize,
        gradients: &EncoderGradients,
        adam: &AdamStep,
        b_dec: &mut [f32],
    ) -> bool {
        let row = self.rows.each_mut().map(|numbers| &mut numbers[i * d..(i + 1) * d]);
        let bias = self.bias.each_mut().map(|numbers| &mut numbers[i]);
        let mut finite = feature::update_encoder(row, bias, &gradients.encoder, adam, b_dec);
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
