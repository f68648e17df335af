//! Backward pass and update, feature by feature.

use rayon::prelude::*;

use super::Stepper;
use super::options::{Penalty, Rule};
use super::prefilter::{Prefilter, Quantised};
use crate::kernels::adam::{self, AdamStep};
use crate::kernels::feature::{self, Gradient, Parameters, Source};
use crate::kernels::int8::Fold;
use crate::kernels::int8::panels::{COLUMNS, Panel};
use crate::kernels::reduce;
use crate::train::state::{Parameter, TrainState};
use crate::{Error, Result};

/// Features updated by one task: those of a panel.
const TASK_FEATURES: usize = COLUMNS;

/// A parameter's value and moments for the features of a task.
type Triple<'a> = [&'a mut [f32]; 3];

/// The features of a task.
struct Task<'a> {
    encoder: Triple<'a>,
    decoder: Triple<'a>,
    bias: Triple<'a>,
    own: Triple<'a>,
    since_fired: &'a mut [u64],
    /// Empty if nobody counts.
    fired: &'a mut [u64],
    rates: &'a mut [f32],
    /// Where their encoder and decoder rows are kept in 8 bits.
    panels: [Option<(Panel<'a>, &'a Fold)>; 2],
}

/// What the features of a task add up to.
struct TaskSums {
    b_dec: Vec<f32>,
    norms: f64,
    lost: Option<usize>,
}

/// One feature's gradients, of its own parameters too, and memory to make them.
#[derive(Debug, Default)]
pub(super) struct FeatureGradient {
    pub(super) rows: Gradient,
    /// Of the parameters that only some rules have.
    pub(super) own: [f32; 2],
    slopes: Vec<f32>,
}

/// A thread's memory.
#[derive(Debug, Default)]
struct Memory {
    gradient: FeatureGradient,
    row: Vec<i8>,
}

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
        let (d, features, step) = (state.d, state.features, state.step + 1);
        let own = self.options.rule.own_parameters();
        let mut gradient = self.b_dec_gradient(d);
        let mut prefilter = self.prefilter.take();
        // Feature choice has no use for features in panels.
        let packs = self.options.plan(step + 1).rule != Rule::Feature;
        let matrices = match prefilter.as_mut().filter(|_| packs) {
            Some(Prefilter { encoder, decoder, .. }) => [Some(encoder), decoder.as_mut()],
            None => [None, None],
        };
        let sums: Vec<TaskSums> = tasks(state, own, matrices)
            .into_par_iter()
            .enumerate()
            .map_init(Memory::default, |memory, (task, part)| {
                self.update_task(task * TASK_FEATURES, d, part, adam, rows, memory)
            })
            .collect();
        if let Some(prefilter) = prefilter.as_mut().filter(|_| packs) {
            prefilter.packed = Some(step);
        }
        self.prefilter = prefilter;
        let mut norms = 0.0;
        for task in &sums {
            if let Some(f) = task.lost {
                return Err(Error::data(format!(
                    "step {step}: the weights of feature {f} are no longer finite; the learning rate is probably too high"
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

    fn update_task(
        &self,
        first: usize,
        d: usize,
        mut task: Task<'_>,
        adam: &AdamStep,
        rows: u64,
        Memory { gradient, row }: &mut Memory,
    ) -> TaskSums {
        let mut sums = TaskSums { b_dec: vec![0.0; d], norms: 0.0, lost: None };
        let share = self.options.rate_share(rows) as f32;
        let own = self.options.rule.own_parameters();
        for i in 0..task.since_fired.len() {
            let f = first + i;
            self.gradient(f, d, &task.own[0][i * own..(i + 1) * own], rows, gradient);
            match task.apply(i, d, gradient, adam, &mut sums.b_dec) {
                Some(norm) => sums.norms += f64::from(norm),
                None => sums.lost = sums.lost.or(Some(f)),
            }
            let of_feature = i * d..(i + 1) * d;
            let [encoder, decoder] = &mut task.panels;
            if let Some((panel, fold)) = encoder {
                panel.set(i, &task.encoder[0][of_feature.clone()], task.bias[0][i], fold, row);
            }
            if let Some((panel, fold)) = decoder {
                panel.set(i, &task.decoder[0][of_feature], 0.0, fold, row);
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
    pub(super) fn gradient(&self, f: usize, d: usize, own: &[f32], rows: u64, out: &mut FeatureGradient) {
        let matrices = &self.matrices;
        let centred = matrices.centred.as_slice();
        let mut main = self.main.source(f, self.errors_of(f), centred);
        let mut second = self.second.source(f, &matrices.second, centred);
        let aux = self.aux.source(f, &matrices.aux, centred);
        let FeatureGradient { rows: gradient, own: own_gradient, slopes } = out;
        *own_gradient = [0.0; 2];
        slopes.clear();
        match self.options.rule {
            Rule::Jump { bandwidth } => {
                own_gradient[0] = self.threshold_gradient(&main, own, bandwidth, rows);
                let below = |(code, slope): (&f32, &f32)| if *code > 0.0 { *slope } else { 0.0 };
                slopes.extend(main.codes.iter().zip(main.slopes).map(below));
                main.slopes = slopes;
                gradient.collect(d, &[main, second, aux]);
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
                // The decoder is held constant where the gate's codes are decoded.
                second.codes = &[];
                gradient.collect(d, &[main, second, aux]);
                gradient.bias = second.slopes.iter().chain(aux.slopes).sum();
            }
            _ => gradient.collect(d, &[main, second, aux]),
        }
        self.add_help(f, gradient);
    }

    /// The errors that feature `f` is to blame for: of all nested dictionaries that have it.
    fn errors_of(&self, f: usize) -> &[f32] {
        let level = self.options.widths.partition_point(|&width| width <= f);
        self.matrices.nested.get(level).unwrap_or(&self.matrices.errors)
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
    /// Updates feature `i` of the task. Returns its decoder row's norm before it was made 1, `None` if a weight is not finite.
    fn apply(
        &mut self,
        i: usize,
        d: usize,
        gradient: &mut FeatureGradient,
        adam: &AdamStep,
        b_dec: &mut [f32],
    ) -> Option<f32> {
        let row = i * d..(i + 1) * d;
        let mut parameters = Parameters {
            encoder: self.encoder.each_mut().map(|m| &mut m[row.clone()]),
            decoder: self.decoder.each_mut().map(|m| &mut m[row.clone()]),
            bias: self.bias.each_mut().map(|m| &mut m[i]),
        };
        let norm = feature::update(&mut parameters, &mut gradient.rows, adam, b_dec);
        let [values, first, second] = &mut self.own;
        let own = values.len() / self.since_fired.len();
        let mut finite = true;
        for (j, &g) in gradient.own.iter().take(own).enumerate() {
            let at = i * own + j;
            values[at] = adam.apply(values[at], &mut first[at], &mut second[at], g);
            finite &= values[at].is_finite();
        }
        norm.filter(|_| finite)
    }
}

/// Cuts the state into tasks of a fixed number of features.
fn tasks<'a>(
    state: &'a mut TrainState,
    own: usize,
    matrices: [Option<&'a mut Quantised>; 2],
) -> Vec<Task<'a>> {
    fn triples(parameter: &mut Parameter, width: usize) -> impl Iterator<Item = Triple<'_>> {
        let width = width.max(1);
        let (first, second) = (parameter.first.chunks_mut(width), parameter.second.chunks_mut(width));
        parameter.value.chunks_mut(width).zip(first).zip(second).map(|((v, m), s)| [v, m, s])
    }
    let width = TASK_FEATURES * state.d;
    let mut panels =
        matrices.map(|matrix| matrix.map(|Quantised { fold, panels }| (panels.panels_mut(), &*fold)));
    let mut own = triples(&mut state.own, TASK_FEATURES * own);
    let mut fired = state.fired.chunks_mut(TASK_FEATURES);
    let rows = triples(&mut state.w_enc, width).zip(triples(&mut state.w_dec, width));
    let counts = state.since_fired.chunks_mut(TASK_FEATURES).zip(state.rates.chunks_mut(TASK_FEATURES));
    rows.zip(triples(&mut state.b_enc, TASK_FEATURES))
        .zip(counts)
        .map(|(((encoder, decoder), bias), (since_fired, rates))| Task {
            encoder,
            decoder,
            bias,
            own: own.next().unwrap_or_default(),
            since_fired,
            fired: fired.next().unwrap_or_default(),
            rates,
            panels: panels
                .each_mut()
                .map(|matrix| matrix.as_mut().and_then(|(panels, fold)| Some((panels.next()?, *fold)))),
        })
        .collect()
}
