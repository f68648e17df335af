//! New rows for dead features, after Bricken et al. (2023).
//!
//! A dead feature becomes the direction of a token that is badly reconstructed: tokens are drawn without replacement with probabilities
//! in proportion to the squares of their losses; the decoder row is the token's centred activation made unit, the encoder row the same
//! direction with a fifth of the mean norm of the encoder rows that are alive, bias and moments are 0. The paper draws from many batches;
//! we draw from the batch of the step at hand, so no more features are resampled at once than it has tokens.

use super::options::StepOptions;
use crate::train::state::TrainState;
use kernels::chance::{Purpose, generator, uniform};
use kernels::feature::{make_unit, norm_squared};
use kernels::reduce::sum_of_squares;

/// Norm of a new encoder row, as a share of the mean of those alive.
const ENCODER_SHARE: f32 = 0.2;

/// Resamples if this step is one at which that is done; `x[B, d]` and `errors[B, d]` are the step's batch and what is wrong with its
/// reconstructions. Returns whether rows have changed.
pub fn resample(state: &mut TrainState, options: &StepOptions, x: &[f32], errors: &[f32]) -> bool {
    let Some(resampling) = options.resampling else { return false };
    if !state.step.is_multiple_of(resampling.every) || state.step > resampling.until {
        return false;
    }
    let dead: Vec<u32> = state.dead(options.dead_after).collect();
    let tokens = draw(errors, state.d, dead.len(), resampling.seed, state.step);
    let norm = ENCODER_SHARE * mean_norm_alive(state, &dead);
    for (&f, token) in dead.iter().zip(tokens) {
        renew(state, f as usize, &x[token * state.d..(token + 1) * state.d], norm);
    }
    true
}

/// At most `n` different tokens, drawn with weights ‖e‖⁴: those with the largest ln(u)/weight (Efraimidis and Spirakis 2006).
fn draw(errors: &[f32], d: usize, n: usize, seed: u64, step: u64) -> Vec<usize> {
    let mut rng = generator(seed, Purpose::Resampling, step, 0);
    let mut keys: Vec<(f64, usize)> = errors
        .chunks_exact(d)
        .enumerate()
        .map(|(token, e)| {
            let uniform = uniform(&mut rng);
            (uniform.ln() / sum_of_squares(e).powi(2).max(f64::MIN_POSITIVE), token)
        })
        .collect();
    keys.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    keys.into_iter().take(n).map(|(_, token)| token).collect()
}

fn mean_norm_alive(state: &TrainState, dead: &[u32]) -> f32 {
    let (mut sum, mut alive) = (0.0_f64, 0_u32);
    for (f, row) in state.w_enc.value.chunks_exact(state.d).enumerate() {
        if dead.binary_search(&(f as u32)).is_err() {
            sum += f64::from(norm_squared(row).sqrt());
            alive += 1;
        }
    }
    if alive == 0 { 1.0 } else { (sum / f64::from(alive)) as f32 }
}

fn renew(state: &mut TrainState, f: usize, x: &[f32], encoder_norm: f32) {
    let row = f * state.d..(f + 1) * state.d;
    let mut direction: Vec<f32> = x.iter().zip(&state.b_dec.value).map(|(x, b)| x - b).collect();
    if make_unit(&mut direction) == 0.0 {
        return;
    }
    state.w_dec.value[row.clone()].copy_from_slice(&direction);
    direction.iter_mut().for_each(|w| *w *= encoder_norm);
    state.w_enc.value[row.clone()].copy_from_slice(&direction);
    state.b_enc.value[f] = 0.0;
    for parameter in [&mut state.w_enc, &mut state.w_dec] {
        parameter.first[row.clone()].fill(0.0);
        parameter.second[row.clone()].fill(0.0);
    }
    (state.b_enc.first[f], state.b_enc.second[f]) = (0.0, 0.0);
    state.since_fired[f] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badly_reconstructed_tokens_are_drawn_more_often() {
        // Squares of losses 1, 16 and 81: of the first draws 1/98, 16/98 and 81/98.
        let errors = [1.0, 2.0, 3.0];
        let mut counts = [0; 3];
        for step in 0..4000 {
            let drawn = draw(&errors, 1, 2, 7, step);
            assert!(drawn.len() == 2 && drawn[0] != drawn[1]);
            counts[drawn[0]] += 1;
        }
        for (count, expected) in counts.into_iter().zip([1.0, 16.0, 81.0]) {
            let (count, expected) = (f64::from(count), 4000.0 * expected / 98.0);
            assert!((count - expected).abs() < 4.0 * expected.sqrt(), "{counts:?}");
        }
    }
}
