//! How long encoder rows are when training begins.
//!
//! Encoder rows begin parallel to decoder rows, which have norm 1. Of the same norm they would make the k best features of a token
//! reconstruct far more than the token: they all point its way, so they overlap, and the first part of a run would go into making
//! them shorter. OpenAI's code (Gao et al. 2024) divides by the mean norm of the reconstructions of unit vectors.
//!
//! With `x̂` the reconstruction by rows of norm 1 and codes linear in the norm `s`, `Σ_b ‖x_b − b_dec − s·x̂_b‖²` is least at
//! `s = Σ_b ⟨x_b − b_dec, x̂_b⟩ / Σ_b ‖x̂_b‖²`; which features are the k best does not depend on `s`, as biases begin at 0. Half of
//! that is where training goes best from. FVU of SmolLM2's stream (layer 15; 4,608 features, k 32) after 522,240 tokens at rate 5e-3 and
//! after 1,000,000 at 3e-3, and of a planted dictionary (256, 4096, 32, 1024) after 512,000 at 5e-3:
//!
//! | norm | 1 | `s` | 0.85·`s` | 0.7·`s` | 0.5·`s` | 0.4·`s` |
//! |---|---|---|---|---|---|---|
//! | SmolLM2, half a million | 0.2110 | 0.2076 | 0.2068 | 0.2056 | 0.2047 | 0.2046 |
//! | SmolLM2, a million | 0.1942 | 0.1914 | 0.1911 | 0.1903 | 0.1899 | 0.1896 |
//! | planted | 0.1673 | 0.1609 | 0.1602 | 0.1608 | 0.1603 | 0.1605 |

use std::path::Path;

use rayon::prelude::*;

use super::state::TrainState;
use crate::dictionary::{Dictionary, Selection};
use crate::{Error, Result};
use kernels::encode::{centre, products};
use kernels::feature::make_unit;
use kernels::gather::add_rows;
use kernels::reduce;
use kernels::topk::{self, Candidates};
use kernels::vector::dot;

/// The norm, as a share of the one that reconstructs untrained rows best.
const SHARE: f32 = 0.5;
/// Tokens that are looked at.
const ROWS: usize = 256;
/// Tokens from which a transcoder's decoder rows are made.
const TRANSCODER_ROWS: usize = 1024;
/// Features of a task.
const TASK_FEATURES: usize = 64;
/// Tokens of a task: its pre-activations of all features are in memory at once.
const TASK_ROWS: usize = 16;

/// Gives the encoder rows of a state that has done no step, `[F, d]` and tied, the norm that suits the first of `rows[n, d]`, where
/// every token has its `k` best features. They stay as they are if no feature fires.
pub fn fit_encoder(state: &mut TrainState, rows: &[f32], k: usize) {
    let rows = &rows[..rows.len().min(ROWS * state.d)];
    let mut centred = vec![0.0; rows.len()];
    centre(&mut centred, rows, &state.b_dec.value);
    fit_norm(state, &centred, None, k);
}

/// The norm for encoder rows that read `x[n, d]` and are to reconstruct `wanted[n, d]`, or `x` itself.
fn fit_norm(state: &mut TrainState, x: &[f32], wanted: Option<&[f32]>, k: usize) {
    let width = TASK_ROWS * state.d;
    let of_task = |(i, x): (usize, &[f32])| {
        overlaps(state, x, wanted.map(|wanted| &wanted[i * width..i * width + x.len()]), k)
    };
    let sums: Vec<[f64; 2]> = x.par_chunks(width).enumerate().map(of_task).collect();
    let [along, squares] = sums.iter().fold([0.0, 0.0], |[a, b], [c, d]| [a + c, b + d]);
    if along > 0.0 && squares > 0.0 {
        let norm = SHARE * (along / squares) as f32;
        state.w_enc.value.par_iter_mut().for_each(|w| *w *= norm);
    }
}

/// Gives a state that has done no step the rows of a transcoder, from the first of `x[n, d]` and `targets[n, d]`: each decoder row is
/// the mean of the targets, less their bias, weighted by how strongly the feature's random encoder row fires, and encoder rows get the
/// norm that suits as in [`fit_encoder`]. Rows that never fire, or whose mean is 0, stay random.
pub fn fit_transcoder(state: &mut TrainState, x: &[f32], targets: &[f32], k: usize) {
    let d = state.d;
    let n = x.len().min(TRANSCODER_ROWS * d);
    let (x, mut wanted) = (&x[..n], vec![0.0; n]);
    centre(&mut wanted, &targets[..n], &state.b_dec.value);
    let rows = state
        .w_enc
        .value
        .par_chunks(TASK_FEATURES * d)
        .zip(state.w_dec.value.par_chunks_mut(TASK_FEATURES * d));
    rows.for_each(|(encoder, decoder)| {
        let mut z = Vec::new();
        products(&mut z, encoder, x, d);
        for (z, row) in z.chunks_exact(n / d).zip(decoder.chunks_exact_mut(d)) {
            let mut sum = vec![0.0; d];
            for (z, target) in z.iter().zip(wanted.chunks_exact(d)).filter(|(z, _)| **z > 0.0) {
                sum.iter_mut().zip(target).for_each(|(sum, y)| *sum += z * y);
            }
            if make_unit(&mut sum) > 0.0 {
                row.copy_from_slice(&sum);
            }
        }
    });
    let rows = ROWS.min(n / d) * d;
    fit_norm(state, &x[..rows], Some(&wanted[..rows]), k);
}

/// The same for a cross-layer transcoder: every layer begins as the transcoder of its own layer, and what its features write into later
/// layers begins at 0. `x[layer][n, d]` is what layers read, `targets[n, layers · d]` what they write.
///
/// Rows that began by writing into all later layers would explain every output as often as there are layers up to it.
pub fn fit_layers(states: &mut [&mut TrainState], x: &[&[f32]], targets: &[f32], k: usize) {
    let b_dec = states.first().map(|state| state.b_dec.value.clone()).unwrap_or_default();
    let d_out = b_dec.len();
    for (layer, (state, x)) in states.iter_mut().zip(x).enumerate() {
        let own = layer * state.d..(layer + 1) * state.d;
        let n = x.len().min(TRANSCODER_ROWS * state.d);
        let targets: Vec<f32> = targets
            .chunks_exact(d_out)
            .take(n / state.d)
            .flat_map(|row| &row[own.clone()])
            .copied()
            .collect();
        let rows = std::mem::take(&mut state.w_enc.value);
        // Rows that never fire stay the directions that they are.
        let mut alone = TrainState::with_rows((state.d, state.d), rows.clone(), rows, b_dec[own].to_vec());
        fit_transcoder(&mut alone, &x[..n], &targets, k);
        state.w_enc.value = alone.w_enc.value;
        let rows =
            state.w_dec.value.chunks_exact_mut(state.d_out).zip(alone.w_dec.value.chunks_exact(state.d));
        rows.for_each(|(row, own)| row[..own.len()].copy_from_slice(own));
    }
}

/// Gives a state that has done no step the weights of the run or the dictionary in `folder`, for activations that are multiplied by
/// `scale`.
///
/// # Errors
/// If it cannot be read, or has a different shape.
pub fn take_weights(state: &mut TrainState, folder: &Path, scale: f32) -> Result<()> {
    let raw = Dictionary::load(folder)?;
    raw.needs_its_input("training from a dictionary")?;
    raw.needs_raw_rows("training from a dictionary")?;
    raw.needs_pre_activations("training from a dictionary")?;
    let (ours, theirs) = ((state.d, state.features), (raw.d_in, raw.d_sae));
    if ours != theirs {
        return Err(Error::format(folder, format!("has d_in and d_sae {theirs:?}; expected {ours:?}"))
            .with_remedy("leave d_sae and expansion out to take those of the dictionary"));
    }
    let mut dictionary = raw.for_raw_activations(1.0 / scale);
    // Decoder rows of every run have norm 1; others may not have.
    for f in 0..state.features {
        let row = f * state.d..(f + 1) * state.d;
        let norm = make_unit(&mut dictionary.w_dec[row.clone()]);
        if norm == 0.0 {
            continue;
        }
        dictionary.w_enc[row].iter_mut().for_each(|w| *w *= norm);
        dictionary.b_enc[f] *= norm;
        if let Selection::Threshold(thresholds) = &mut dictionary.selection {
            thresholds[f] *= norm;
        }
    }
    if let (Selection::Threshold(thresholds), true) =
        (&dictionary.selection, state.own.value.len() == state.features)
    {
        // The threshold of a feature is learned as its logarithm.
        let known = state.own.value.iter_mut().zip(thresholds).filter(|(_, threshold)| **threshold > 0.0);
        known.for_each(|(own, threshold)| *own = threshold.ln());
    }
    state.w_enc.value = dictionary.w_enc;
    state.b_enc.value = dictionary.b_enc;
    state.w_dec.value = dictionary.w_dec;
    state.b_dec.value = dictionary.b_dec;
    Ok(())
}

/// `Σ_b ⟨wanted_b, x̂_b⟩` and `Σ_b ‖x̂_b‖²`; without `wanted` it is `x`, and rows are tied.
fn overlaps(state: &TrainState, x: &[f32], wanted: Option<&[f32]>, k: usize) -> [f64; 2] {
    let (d, k) = (state.d, k.min(state.features));
    let (mut z, mut reconstruction) = (Vec::new(), vec![0.0; d]);
    let (mut features, mut codes) = (vec![0; k], vec![0.0; k]);
    let mut candidates = Candidates::default();
    products(&mut z, x, &state.w_enc.value, d);
    let mut sums = [0.0; 2];
    for (i, z) in z.chunks_exact(state.features).enumerate() {
        let n = topk::select(z, &state.b_enc.value, k, &mut candidates, &mut features, &mut codes);
        reconstruction.fill(0.0);
        add_rows(&mut reconstruction, &state.w_dec.value, &features[..n], &codes[..n]);
        sums[0] += match wanted {
            // A code is ⟨x − b_dec, w⟩ itself.
            None => reduce::sum_of_squares(&codes[..n]),
            Some(wanted) => f64::from(dot(&wanted[i * d..(i + 1) * d], &reconstruction)),
        };
        sums[1] += reduce::sum_of_squares(&reconstruction);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::chance::{Purpose, generator, normal};

    /// `Σ ‖x − b_dec − s·x̂‖²` with the k largest positive pre-activations, number by number.
    fn error(state: &TrainState, rows: &[f32], k: usize, s: f64) -> f64 {
        let d = state.d;
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
        let mut sum = 0.0;
        for row in rows.chunks(d) {
            let mut rest: Vec<f64> =
                row.iter().zip(&state.b_dec.value).map(|(x, b)| f64::from(*x) - f64::from(*b)).collect();
            let mut z: Vec<(f64, &[f32])> =
                state.w_dec.value.chunks(d).map(|w| (dot(&rest, w), w)).filter(|(z, _)| *z > 0.0).collect();
            z.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (z, w) in z.into_iter().take(k) {
                rest.iter_mut().zip(w).for_each(|(rest, w)| *rest -= s * z * f64::from(*w));
            }
            sum += rest.iter().map(|rest| rest * rest).sum::<f64>();
        }
        sum
    }

    #[test]
    fn the_norm_is_half_of_the_best_fit() {
        let (d, k) = (24, 6);
        let mut rng = generator(7, Purpose::Directions, 0, 0);
        let rows: Vec<f32> = (0..40 * d).map(|_| 3.0 * normal(&mut rng)).collect();
        let mut state = TrainState::new(150, vec![0.25; d], 3);
        let begun = state.clone();
        fit_encoder(&mut state, &rows, k);
        let norm = f64::from(state.w_enc.value[0] / begun.w_enc.value[0]);
        let best = norm / f64::from(SHARE);
        assert!((0.2..0.95).contains(&best), "{best}");
        let fitted = error(&begun, &rows, k, best);
        for other in [0.9, 0.98, 1.02, 1.1, 1.0 / best] {
            assert!(fitted < error(&begun, &rows, k, best * other), "{other}");
        }
        assert_eq!(state.w_dec, begun.w_dec);
        let scaled = state.w_enc.value.iter().zip(&begun.w_enc.value);
        assert!(scaled.into_iter().all(|(new, old)| (f64::from(*new) - norm * f64::from(*old)).abs() < 1e-6));
    }

    #[test]
    fn without_a_feature_that_fires_nothing_changes() {
        let mut state = TrainState::new(4, vec![1.0, 2.0], 0);
        let begun = state.clone();
        fit_encoder(&mut state, &[1.0, 2.0, 1.0, 2.0], 2);
        assert_eq!(state, begun);
    }
}
