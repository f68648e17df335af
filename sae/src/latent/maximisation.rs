//! The M-step: parameters that make the sums of the E-step likeliest.

use super::expectation::Sums;
use super::parameters::{Kind, LEAST_RATE, LEAST_WEIGHT, Parameters};
use super::solve::least_squares;

/// Rows over which W of maximum-magnitude causes moves most of the way to its new place.
const INERTIA: f64 = 2.5;
/// It moves at least so much of the way.
const LEAST_MOVE: f64 = 0.2;
/// Sums of weights below this are none.
const NO_WEIGHT: f64 = 1e-5;

/// The next parameters; at most `active` latents are active in a state.
pub(super) fn maximise(old: &Parameters, sums: &Sums, active: usize) -> Parameters {
    let (h, d) = (old.latents(), old.d);
    let count = sums.rows * d as f64;
    let mut new = old.clone();
    match old.kind {
        Kind::Mca => {
            for ((w, sum), weight) in new.w.iter_mut().zip(&sums.with_row).zip(&sums.pairs) {
                *w = if *weight < f64::MIN_POSITIVE { 0.0 } else { sum / weight }.max(LEAST_WEIGHT);
            }
        }
        Kind::Mmca => {
            for ((w, sum), weight) in new.w.iter_mut().zip(&sums.with_row).zip(&sums.pairs) {
                let by = (1.0 - (-weight / INERTIA).exp()).max(LEAST_MOVE);
                *w += by * (sum / weight.max(NO_WEIGHT) - *w);
            }
        }
        _ => new.w = least_squares(&sums.pairs, &sums.with_row, h, d),
    }
    new.rates = rates(old, sums, active);
    if old.kind == Kind::Gsc {
        for i in 0..h {
            let times = sums.active[i];
            // A latent that is never active has no codes to learn from.
            if times > LEAST_RATE {
                new.mean[i] = sums.codes[i] / times;
                let second = sums.pairs[i * h + i] / times;
                new.variance[i] = (second - new.mean[i] * new.mean[i]).max(second * 1e-9).max(1e-12);
            }
        }
        // What the new W, which solves the normal equations, leaves of the rows.
        let explained: f64 = new.w.iter().zip(&sums.with_row).map(|(w, s)| w * s).sum();
        new.sigma = ((sums.squared - explained) / count).max(sums.squared / count * 1e-12).sqrt();
    } else {
        new.sigma = (sums.error / count).max(sums.squared / count * 1e-12).sqrt();
    }
    new
}

/// Rates of activity. Where states have at most γ active latents and rows with more are left out, latents are seen active less often
/// than they are, by the factor that the present rate predicts.
fn rates(old: &Parameters, sums: &Sums, active: usize) -> Vec<f64> {
    let (h, v) = (old.latents(), old.values.len());
    let bounded = |rate: f64| rate.clamp(LEAST_RATE, 1.0 - LEAST_RATE);
    match old.kind {
        Kind::Gsc => sums.active.iter().map(|times| bounded(times / sums.rows)).collect(),
        Kind::Dsc => {
            let of_value = |value: usize| (0..h).map(|i| sums.active[i * v + value]).sum::<f64>();
            let rates: Vec<f64> =
                (0..v).map(|value| (of_value(value) / (h as f64 * sums.rows)).max(LEAST_RATE)).collect();
            let all = rates.iter().sum::<f64>().max(1.0 - LEAST_RATE) / (1.0 - LEAST_RATE);
            rates.into_iter().map(|rate| rate / all).collect()
        }
        _ => {
            let (share, most) = old.at_most(active);
            let seen = sums.active.iter().sum::<f64>() / sums.rows;
            vec![bounded(old.rates[0] * share / most * seen)]
        }
    }
}
