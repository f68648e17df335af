//! How the features of a dictionary behave, in the terms of spike-and-slab coding (Goodfellow, Courville & Bengio 2012; Lücke & Sheikh 2012).
//!
//! A feature is active with a probability of its own, then its code is normal with a mean and a variance of its own; the rest of a row is
//! normal noise, alike in all directions. Codes are those for decoder rows of norm 1.

use super::Codes;

/// A feature that is seen n times counts n times against so many of the mean feature.
const PRIOR_COUNT: f64 = 10.0;
/// Share of the mean squared code that a variance, and the noise, is at least.
const SMALLEST: f64 = 1e-9;

/// What is known of features before a row is seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Slabs {
    /// ln(π / (1 − π)) with π the probability of being active, `[F]`.
    pub log_odds: Vec<f64>,
    /// Mean code where it is active, `[F]`.
    pub mean: Vec<f64>,
    /// Its variance, `[F]`.
    pub variance: Vec<f64>,
    /// Variance of the noise in one dimension.
    pub noise: f64,
    /// What a feature adds to the log probability of a support, `[F]`: log odds − ½ log v − ½ μ² / v …
    pub(super) prior: Vec<f64>,
    /// … and − ½ log (1 / σ² + 1 / v), if it is the only one.
    pub(super) alone: Vec<f64>,
}

impl Slabs {
    /// Of these numbers of each feature, all `[F]`.
    pub(super) fn new(log_odds: Vec<f64>, mean: Vec<f64>, variance: Vec<f64>, noise: f64) -> Self {
        let of = |i: usize| log_odds[i] - 0.5 * variance[i].ln() - 0.5 * mean[i] * mean[i] / variance[i];
        let prior: Vec<f64> = (0..mean.len()).map(of).collect();
        let one = |(prior, variance): (&f64, &f64)| prior - 0.5 * (1.0 / noise + 1.0 / variance).ln();
        let alone = prior.iter().zip(&variance).map(one).collect();
        Self { log_odds, mean, variance, noise, prior, alone }
    }

    /// Of `codes` of rows of width `d` by `features` features, which left the squared error `error` in all; `None` if no feature is
    /// active.
    pub fn measure(codes: &Codes, error: f64, d: usize, features: usize) -> Option<Self> {
        if codes.features.is_empty() {
            return None;
        }
        let rows = codes.rows() as f64;
        let mut sums = vec![(0.0, 0.0, 0.0); features];
        let mut all = (0.0, 0.0, 0.0);
        for (&feature, &value) in codes.features.iter().zip(&codes.values) {
            let value = f64::from(value);
            for (n, sum, squares) in [&mut sums[feature as usize], &mut all] {
                (*n, *sum, *squares) = (*n + 1.0, *sum + value, *squares + value * value);
            }
        }
        let (n, sum, squares) = all;
        let (centre, energy) = (sum / n, squares / n);
        let spread = (energy - centre * centre).max(SMALLEST * energy);
        let (mut log_odds, mut means, mut variances) = (Vec::new(), Vec::new(), Vec::new());
        for (n, sum, squares) in sums {
            // Half a row more of either kind: a feature that was never active may be.
            log_odds.push(((n + 0.5) / (rows - n + 0.5)).ln());
            let mean = (sum + PRIOR_COUNT * centre) / (n + PRIOR_COUNT);
            let around = squares - 2.0 * mean * sum + n * mean * mean;
            means.push(mean);
            variances.push(((around + PRIOR_COUNT * spread) / (n + PRIOR_COUNT)).max(SMALLEST * energy));
        }
        // A code takes away one dimension in which there could be noise.
        let dimensions = (rows * d as f64 - n).max(rows);
        let noise = (error / dimensions).max(SMALLEST * energy);
        Some(Self::new(log_odds, means, variances, noise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_measured_and_rare_ones_are_like_the_mean_one() {
        let mut codes = Codes::default();
        (0..1000).for_each(|i| match i % 4 {
            0 => codes.push_row(&[0], &[if i % 8 == 0 { 1.0 } else { 3.0 }]),
            _ => codes.push_row(&[], &[]),
        });
        let slabs = Slabs::measure(&codes, 1000.0 * 4.0 - 250.0, 4, 2).unwrap();
        assert!((slabs.log_odds[0] - (250.5_f64 / 750.5).ln()).abs() < 1e-12);
        assert!((slabs.log_odds[1] - (0.5_f64 / 1000.5).ln()).abs() < 1e-12);
        // The only feature is the mean one.
        assert!(slabs.mean.iter().all(|mean| (mean - 2.0).abs() < 1e-9));
        assert!(slabs.variance.iter().all(|variance| (variance - 1.0).abs() < 1e-9));
        assert!((slabs.noise - 1.0).abs() < 1e-12);
        assert_eq!(Slabs::measure(&Codes::default(), 0.0, 4, 2), None);
    }
}
