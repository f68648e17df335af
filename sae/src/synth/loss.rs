//! A loss that is planted in a made world, so that the gradient of a loss at its rows is known.
//!
//! Some features matter. For each of them, j, a reader says from an activation x whether the feature fires:
//!
//! ```text
//! p_j = σ(s_j (d_j·x − μ_j − m_j/2) + ln(r_j / (1 − r_j))),   s_j = m_j / v_j
//! loss = −Σ_j (t_j ln p_j + (1 − t_j) ln(1 − p_j)),   ∂loss/∂x = Σ_j s_j (p_j − t_j) d_j
//! ```
//!
//! with the feature's direction d_j, mean magnitude m_j and rate r_j, and t_j = 1 on rows where it fires. μ_j and v_j are mean and variance of
//! d_j·x on rows where it does not: the best reader along d_j if both kinds of rows were normal with that variance. What other features put along d_j
//! makes it err, as superposition does in a model. A dictionary serves the loss if its reconstructions leave it as it was.

use kernels::chance::{Purpose, choose, generator};
use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::product::{RightFactor, multiply, panels};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Sample, World};
use crate::dictionary::Codes;
use crate::{Error, Result};

/// Rows that readers are fitted to; they are in no dataset.
const FITTED_ROWS: u64 = 8192;
/// Rows that a task multiplies.
const TASK_ROWS: usize = 64;

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossOptions {
    /// Share of the features that matter.
    pub share: f64,
    /// Decides which.
    pub seed: u64,
}

impl LossOptions {
    pub(super) fn check(&self) -> Result<()> {
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        Err(Error::request(format!("{} of the features matter to the loss", self.share))
            .with_remedy("give a share above 0 and at most 1"))
    }
}

/// What d_j·x is on rows where j does not fire, and how often it does.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    fired: f64,
    silent: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, along: f64, fires: bool) {
        if fires {
            self.fired += 1.0;
        } else {
            self.silent += 1.0;
            self.sum += along;
            self.squares += along * along;
        }
    }
}

/// A world's loss, ready for rows.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantedLoss {
    d: usize,
    /// The features that matter, ascending, `[m]`.
    pub features: Vec<u32>,
    /// d_j, `[m, d]`.
    directions: Vec<f32>,
    /// s_j, `[m]`.
    slopes: Vec<f32>,
    /// −s_j (μ_j + m_j/2) + ln(r_j / (1 − r_j)), `[m]`.
    offsets: Vec<f32>,
}

impl PlantedLoss {
    /// That of `world`.
    pub fn new(world: &World, options: &LossOptions) -> Self {
        let (n, d) = (world.features(), world.d);
        let wanted = ((options.share * n as f64).round() as usize).clamp(1, n);
        let mut features: Vec<u32> = (0..n as u32).collect();
        choose(&mut features, wanted, &mut generator(options.seed, Purpose::WorldParts, 3, 0));
        features.sort_unstable();
        let rows = features.iter().map(|&i| &world.directions[i as usize * d..(i as usize + 1) * d]);
        let directions: Vec<f32> = rows.flatten().copied().collect();
        let m = features.len();
        let mut loss = Self { d, features, directions, slopes: vec![1.0; m], offsets: vec![0.0; m] };
        loss.fit(world, &world.fresh_rows(options.seed, 0..FITTED_ROWS));
        loss
    }

    /// Fits the readers, whose slopes are 1 and offsets 0, to `sample`.
    fn fit(&mut self, world: &World, sample: &Sample) {
        let m = self.features.len();
        let along = self.logits(&sample.activations);
        let mut moments = vec![Moments::default(); m];
        for (row, along) in along.chunks_exact(m).enumerate() {
            let targets = self.targets(sample.codes.row(row).0);
            for ((moments, along), fires) in moments.iter_mut().zip(along).zip(targets) {
                moments.add(f64::from(*along), fires);
            }
        }
        for (j, moments) in moments.iter().enumerate() {
            let mean = f64::from(world.means[self.features[j] as usize]);
            let (silent, fired) = (moments.silent.max(1.0), moments.fired);
            let middle = moments.sum / silent;
            let variance = (moments.squares / silent - middle * middle).max(f64::from(f32::EPSILON));
            let slope = mean / variance;
            // Half a row more of each kind: a feature that never fired here has a rate, too.
            let odds = (fired + 0.5) / (moments.silent + 0.5);
            self.slopes[j] = slope as f32;
            self.offsets[j] = (odds.ln() - slope * (middle + mean / 2.0)) as f32;
        }
    }

    /// Whether each of the world's `n` features matters.
    pub fn matters(&self, n: usize) -> Vec<bool> {
        let mut matters = vec![false; n];
        self.features.iter().for_each(|&feature| matters[feature as usize] = true);
        matters
    }

    /// The readers' logits `[n, m]` at `x[n, d]`.
    fn logits(&self, x: &[f32]) -> Vec<f32> {
        let (m, d) = (self.features.len(), self.d);
        let readers = Mat::new(&self.directions, m, d).t();
        let packed = panels(readers);
        let right = RightFactor::packed(readers, &packed);
        let mut logits = vec![0.0; x.len() / d * m];
        logits.par_chunks_mut(TASK_ROWS * m).zip(x.par_chunks(TASK_ROWS * d)).for_each(|(logits, x)| {
            let n = x.len() / d;
            multiply(Mat::new(x, n, d), &right, 1.0, WriteMode::Overwrite, MatMut::new(logits, n, m));
            for row in logits.chunks_exact_mut(m) {
                row.iter_mut().zip(&self.slopes).zip(&self.offsets).for_each(|((z, s), o)| *z = *z * s + o);
            }
        });
        logits
    }

    /// Whether each of the features that matter fires, `[m]`, on the row whose `truth` these features are.
    fn targets(&self, truth: &[u32]) -> impl Iterator<Item = bool> {
        self.features.iter().map(|feature| truth.binary_search(feature).is_ok())
    }

    /// ∂loss/∂x `[n, d]` at activations `x[n, d]` of rows whose true codes are `truth`.
    pub fn gradients(&self, x: &[f32], truth: &Codes) -> Vec<f32> {
        let (m, d) = (self.features.len(), self.d);
        // Of each logit s (p − t).
        let mut pushes = self.logits(x);
        pushes.par_chunks_mut(m).enumerate().for_each(|(row, pushes)| {
            kernels::exp::sigmoid(pushes);
            for ((push, slope), fires) in
                pushes.iter_mut().zip(&self.slopes).zip(self.targets(truth.row(row).0))
            {
                *push = slope * (*push - f32::from(u8::from(fires)));
            }
        });
        let packed = panels(Mat::new(&self.directions, m, d));
        let right = RightFactor::packed(Mat::new(&self.directions, m, d), &packed);
        let mut gradients = vec![0.0; x.len()];
        gradients.par_chunks_mut(TASK_ROWS * d).zip(pushes.par_chunks(TASK_ROWS * m)).for_each(
            |(out, pushes)| {
                let n = out.len() / d;
                multiply(Mat::new(pushes, n, m), &right, 1.0, WriteMode::Overwrite, MatMut::new(out, n, d));
            },
        );
        gradients
    }

    /// Σ of the losses, in nats, at `x[n, d]`: activations of rows whose true codes are `truth`, or what stands for them.
    pub fn total(&self, x: &[f32], truth: &Codes) -> f64 {
        let m = self.features.len();
        let of_row = |(row, logits): (usize, &[f32])| -> f64 {
            let targets = self.targets(truth.row(row).0);
            // −ln σ(z) where the feature fires, −ln σ(−z) where it does not.
            logits.iter().zip(targets).map(|(&z, fires)| softplus(if fires { -z } else { z })).sum()
        };
        let losses: Vec<f64> = self.logits(x).par_chunks(m).enumerate().map(of_row).collect();
        losses.iter().sum()
    }
}

/// ln(1 + e^z).
fn softplus(z: f32) -> f64 {
    let z = f64::from(z);
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::synth::WorldOptions;

    fn world() -> World {
        World::make(&WorldOptions::small(), &mut Quiet).unwrap()
    }

    /// The loss of one row by its definition, in double precision.
    fn naive(world: &World, readers: &[(u32, f64, f64, f64)], x: &[f64], fires: &[u32]) -> f64 {
        let of = |&(feature, middle, variance, rate): &(u32, f64, f64, f64)| {
            let mean = f64::from(world.means[feature as usize]);
            let logit = mean / variance * (along(world, feature, x) - middle - mean / 2.0);
            let p = 1.0 / (1.0 + (-logit).exp() * (1.0 - rate) / rate);
            if fires.contains(&feature) { -p.ln() } else { -(1.0 - p).ln() }
        };
        readers.iter().map(of).sum()
    }

    fn along(world: &World, feature: u32, x: &[f64]) -> f64 {
        let direction = &world.directions[feature as usize * world.d..];
        x.iter().zip(direction).map(|(x, d)| x * f64::from(*d)).sum()
    }

    /// Mean and variance of d·x where the feature does not fire, and its rate.
    fn reader(world: &World, sample: &Sample, feature: u32) -> (u32, f64, f64, f64) {
        let rows = sample.activations.chunks_exact(world.d).enumerate();
        let silent: Vec<f64> = rows
            .filter(|(row, _)| !sample.codes.row(*row).0.contains(&feature))
            .map(|(_, x)| along(world, feature, &x.iter().map(|&x| x.into()).collect::<Vec<_>>()))
            .collect();
        let n = silent.len() as f64;
        let middle = silent.iter().sum::<f64>() / n;
        let variance = silent.iter().map(|a| (a - middle).powi(2)).sum::<f64>() / n;
        let fired = sample.codes.rows() as f64 - n;
        (feature, middle, variance, (fired + 0.5) / (fired + n + 1.0))
    }

    #[test]
    fn loss_and_gradient_are_those_of_the_definition() {
        let world = world();
        let loss = PlantedLoss::new(&world, &LossOptions { share: 1.0 / 128.0, seed: 3 });
        assert_eq!(loss.features.len(), world.features() / 128);
        let fitted = world.fresh_rows(3, 0..FITTED_ROWS);
        let readers: Vec<_> = loss.features.iter().map(|&j| reader(&world, &fitted, j)).collect();
        let sample = world.rows(1, 0..40);
        let gradients = loss.gradients(&sample.activations, &sample.codes);
        let mut total = 0.0;
        for (row, (x, gradient)) in
            sample.activations.chunks_exact(world.d).zip(gradients.chunks_exact(world.d)).enumerate()
        {
            let fires = sample.codes.row(row).0;
            let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            total += naive(&world, &readers, &x, fires);
            for c in 0..world.d {
                let step = 1e-5;
                let at = |by: f64| {
                    let mut moved = x.clone();
                    moved[c] += by;
                    naive(&world, &readers, &moved, fires)
                };
                let slope = (at(step) - at(-step)) / (2.0 * step);
                assert!(
                    (slope - f64::from(gradient[c])).abs() < 1e-3 * slope.abs().max(1.0),
                    "row {row}, component {c}: {} instead of {slope}",
                    gradient[c]
                );
            }
        }
        let found = loss.total(&sample.activations, &sample.codes);
        assert!((found / total - 1.0).abs() < 1e-3, "{found} instead of {total}");
        assert!(total / 40.0 > 1e-3, "superposition makes readers err: {total}");
    }

    #[test]
    fn the_seed_decides_which_features_matter() {
        let world = world();
        let of = |seed| PlantedLoss::new(&world, &LossOptions { share: 0.5, seed }).features;
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(LossOptions { share: 0.0, seed: 1 }.check().is_err());
        assert!(LossOptions { share: f64::NAN, seed: 1 }.check().is_err());
    }
}
