//! What thresholds are compared with: pre-activations, scores between cosine and inner product, or pre-activations of a corrected input.

use crate::dictionary::{cosine, refined};
use crate::train::state::TrainState;
use crate::train::step::options::{Rule, StepOptions};
use kernels::encode::products;

/// Which numbers.
#[derive(Debug, Clone)]
pub(super) enum Ranked {
    /// z.
    Plain,
    /// s, with α of each feature.
    Cosine(Vec<f32>),
    /// z of what is encoded a second time: η, and the threshold of the first guess.
    Corrected { step: f32, first: f32 },
}

/// A thread's memory.
#[derive(Debug, Default)]
pub(super) struct RankedMemory {
    /// The numbers, `[n, F]`.
    pub scores: Vec<f32>,
    corrected: Vec<f32>,
    row: Vec<f32>,
    values: Vec<f32>,
    features: Vec<u32>,
}

impl Ranked {
    /// Those that a run with `options` ranks; of a corrected input, those of its first guess.
    pub fn of(state: &TrainState, options: &StepOptions) -> Self {
        match options.rule {
            Rule::Cosine(_) => Self::Cosine(state.own.value.iter().copied().map(cosine::alpha).collect()),
            _ => Self::Plain,
        }
    }

    /// Makes `memory.scores` those of the rows `centred[n, d]`.
    pub fn fill(&self, state: &TrainState, centred: &[f32], memory: &mut RankedMemory) {
        let RankedMemory { scores, corrected, row, values, features } = memory;
        pre_activations(state, centred, scores);
        match self {
            Self::Plain => {}
            Self::Cosine(alpha) => {
                let rows = scores.chunks_exact_mut(state.features).zip(centred.chunks_exact(state.d));
                for (scores, x) in rows {
                    scores.iter_mut().zip(&state.b_enc.value).for_each(|(z, b)| *z -= b);
                    let norm = cosine::norm(x);
                    cosine::weigh(scores, &state.b_enc.value, alpha, norm, (&mut *values, &mut *row));
                    scores.copy_from_slice(row);
                }
            }
            Self::Corrected { step, first } => {
                corrected.clear();
                corrected.extend_from_slice(centred);
                let rows = corrected.chunks_exact_mut(state.d).zip(scores.chunks_exact(state.features));
                for (x, z) in rows {
                    features.clear();
                    values.clear();
                    for (f, &z) in (0..).zip(z).filter(|(_, z)| **z > first.max(0.0)) {
                        features.push(f);
                        values.push(z);
                    }
                    refined::shift(x, &state.w_dec.value, (&*features, &*values), *step);
                }
                pre_activations(state, corrected, scores);
            }
        }
    }
}

/// Makes `out` the pre-activations `[n, F]` of the centred rows `[n, d]`.
fn pre_activations(state: &TrainState, centred: &[f32], out: &mut Vec<f32>) {
    products(out, centred, &state.w_enc.value, state.d);
    for row in out.chunks_exact_mut(state.features) {
        row.iter_mut().zip(&state.b_enc.value).for_each(|(z, b)| *z += b);
    }
}
