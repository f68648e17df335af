//! How well a dictionary gives activations back, without a model: exact sums in double precision, streamed.

use rayon::prelude::*;

use crate::dictionary::Codes;
use crate::{Error, Result};

/// Rows of one partial sum. Partial sums are merged in order, so no bit depends on the number of threads.
const CHUNK: usize = 256;

/// Sums over rows x and their reconstructions x̂; see [`Reconstruction::figures`].
#[derive(Debug, Clone)]
pub struct Reconstruction {
    sums: Sums,
    /// Rows on which each feature fired.
    fired: Vec<u64>,
    /// Rows with so many features.
    with: Vec<u64>,
}

/// Share of the mean feature's rate below which a feature is under-used.
const UNDER_USED: f64 = 0.1;
/// Shares of the rows above which a feature counts as frequent, as in SAEBench.
const FREQUENT: [f64; 2] = [0.01, 0.1];
/// Which quantiles of the features of a token are told.
pub const QUANTILES: [f64; 7] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];

/// The figures of a [`Reconstruction`]. `None` where a figure is not defined (no variance, no energy).
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Rows that were reconstructed.
    pub tokens: u64,
    /// `1 − Σ‖x−x̂‖² / Σ‖x−mean x‖²`, mean over these rows.
    pub fve: Option<f64>,
    /// `1 − fve`.
    pub fvu: Option<f64>,
    /// `Σ‖x−x̂‖² / Σ‖x‖²`, not centred.
    pub nmse: Option<f64>,
    /// Mean of (x−x̂)² over rows and dimensions.
    pub mse: f64,
    /// Mean number of features that fire on a token.
    pub l0: f64,
    /// Standard deviation of the number of features that fire on a token.
    pub l0_sd: f64,
    /// [`QUANTILES`] of that number.
    pub l0_quantiles: [u64; QUANTILES.len()],
    /// Share of features that fire on less than a tenth of the tokens that the mean feature fires on; dead ones are among them.
    pub under_used_share: f64,
    /// Mean of Σ codes of a token.
    pub l1: f64,
    /// Share of features that fire on none of `tokens`.
    pub dead_share: f64,
    /// Number of features that fire on none of `tokens`.
    pub dead: usize,
    /// Mean cosine of x and x̂ (0 where either is 0).
    pub cosine: f64,
    /// Mean of ‖x̂‖/‖x‖ over rows with x ≠ 0; below 1 means shrinkage.
    pub l2_ratio: Option<f64>,
    /// `E‖x̂‖² / E[x·x̂]`; 1 = unbiased, below 1 means shrinkage.
    pub relative_reconstruction_bias: Option<f64>,
    /// γ = ‖μ‖ / ‖σ‖ of the rows: their mean over the root of their total variance.
    pub mean_to_spread: Option<f64>,
    /// Mean ‖x‖ and mean ‖x̂‖.
    pub norms: [f64; 2],
    /// Mean of 1 − ‖x−x̂‖² / ‖x−m‖² over rows with x ≠ m, m the mean of the 256 rows around.
    pub fve_legacy: Option<f64>,
    /// Shares of features that fire on more than 1 % and 10 % of the rows.
    pub frequent: [f64; 2],
    /// Shares of all firings that are of such features.
    pub frequent_firings: [Option<f64>; 2],
}

impl Reconstruction {
    /// No rows yet, of width `d`, for `features` features.
    pub fn new(d: usize, features: usize) -> Self {
        Self { sums: Sums::new(d), fired: vec![0; features], with: Vec::new() }
    }

    /// Adds `x[n, d]` with their `codes` and reconstructions `x_hat[n, d]`.
    ///
    /// # Errors
    /// An activation or a reconstruction that is not finite, with its row.
    pub fn add(&mut self, x: &[f32], codes: &Codes, x_hat: &[f32]) -> Result<()> {
        let d = self.sums.mean.len();
        let parts: Vec<Sums> = x
            .par_chunks(CHUNK * d)
            .zip(x_hat.par_chunks(CHUNK * d))
            .map(|(x, x_hat)| Sums::of(x, x_hat, d))
            .collect();
        let first = self.sums.rows;
        parts.iter().for_each(|part| self.sums.merge(part));
        self.sums.active += codes.features.len() as u64;
        self.sums.l1 += codes.values.iter().copied().map(f64::from).sum::<f64>();
        codes.features.iter().for_each(|&feature| self.fired[feature as usize] += 1);
        for n in codes.offsets.windows(2).map(|pair| pair[1] - pair[0]) {
            self.with.resize(self.with.len().max(n + 1), 0);
            self.with[n] += 1;
        }
        self.check_finite(x, x_hat, first)
    }

    /// A sum that is not finite comes from a row that is not; that row is named.
    fn check_finite(&self, x: &[f32], x_hat: &[f32], first: u64) -> Result<()> {
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if self.sums.residual.is_finite() && self.sums.energy.is_finite() {
            return Ok(());
        }
        let d = self.sums.mean.len();
        let rows = x.chunks_exact(d).zip(x_hat.chunks_exact(d));
        let bad = rows.enumerate().find(|(_, (x, x_hat))| !finite(x) || !finite(x_hat));
        let (row, what) = match bad {
            Some((row, (x, _))) if !finite(x) => (row, "the activation"),
            Some((row, _)) => (row, "the reconstruction"),
            None => (0, "a sum"),
        };
        Err(Error::data(format!(
            "evaluated row {}: {what} holds NaN or infinity; expected finite numbers",
            first + row as u64
        ))
        .with_remedy("harvest the dataset again, in f32 if the model's activations exceed 65504"))
    }

    /// Rows added.
    pub fn rows(&self) -> u64 {
        self.sums.rows
    }

    /// Mean of the rows, `[d]`.
    pub fn mean(&self) -> Vec<f32> {
        self.sums.mean.iter().map(|&m| m as f32).collect()
    }

    /// Mean of ‖x‖² over the rows.
    pub fn mean_energy(&self) -> f64 {
        self.sums.energy / self.sums.rows.max(1) as f64
    }

    /// The figures; `None` before any row was added.
    pub fn figures(&self) -> Option<Figures> {
        let s = &self.sums;
        if s.rows == 0 {
            return None;
        }
        let n = s.rows as f64;
        let ratio = |a: f64, b: f64| (b > 0.0).then(|| a / b);
        let fvu = ratio(s.residual, s.squares.iter().sum());
        let dead = self.fired.iter().filter(|&&n| n == 0).count();
        let features = self.fired.len() as f64;
        let under = UNDER_USED * s.active as f64 / features;
        let under_used = self.fired.iter().filter(|&&n| n == 0 || (n as f64) < under).count();
        Some(Figures {
            l0_sd: self.l0_spread(),
            l0_quantiles: QUANTILES.map(|share| self.l0_quantile(share)),
            under_used_share: under_used as f64 / features,
            tokens: s.rows,
            fve: fvu.map(|fvu| 1.0 - fvu),
            fvu,
            nmse: ratio(s.residual, s.energy),
            mse: s.residual / (n * s.mean.len() as f64),
            l0: s.active as f64 / n,
            l1: s.l1 / n,
            dead_share: dead as f64 / self.fired.len() as f64,
            dead,
            cosine: s.cosine / n,
            l2_ratio: ratio(s.ratio, s.nonzero as f64),
            relative_reconstruction_bias: ratio(s.energy_hat, s.dot),
            mean_to_spread: {
                let mean: f64 = s.mean.iter().map(|m| m * m).sum();
                ratio(mean, s.squares.iter().sum::<f64>() / n).map(f64::sqrt)
            },
            norms: s.norms.map(|sum| sum / n),
            fve_legacy: (s.apart > 0).then(|| s.explained / s.apart as f64),
            frequent: FREQUENT.map(|share| self.firing_more_often(share).count() as f64 / features),
            frequent_firings: FREQUENT
                .map(|share| ratio(self.firing_more_often(share).sum::<u64>() as f64, s.active as f64)),
        })
    }
}

impl Reconstruction {
    /// On how many rows each feature fires that fires on more than `share` of them.
    fn firing_more_often(&self, share: f64) -> impl Iterator<Item = u64> {
        let least = share * self.sums.rows as f64;
        self.fired.iter().copied().filter(move |&n| n as f64 > least)
    }

    /// Standard deviation of the number of features of a row.
    fn l0_spread(&self) -> f64 {
        let (rows, mean) = (self.sums.rows as f64, self.sums.active as f64 / self.sums.rows as f64);
        let squares = self.with.iter().enumerate().map(|(n, &rows)| rows as f64 * (n as f64 - mean).powi(2));
        (squares.sum::<f64>() / rows).sqrt()
    }

    /// The least number of features that a share of at least `share` of the rows do not exceed.
    fn l0_quantile(&self, share: f64) -> u64 {
        let wanted = ((share * self.sums.rows as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (n, rows) in self.with.iter().enumerate() {
            below += rows;
            if below >= wanted {
                return n as u64;
            }
        }
        0
    }
}

/// Sums over some rows.
#[derive(Debug, Clone)]
struct Sums {
    rows: u64,
    /// Rows with x ≠ 0.
    nonzero: u64,
    /// Mean of each dimension.
    mean: Vec<f64>,
    /// Sum of squared deviations from that mean, of each dimension.
    squares: Vec<f64>,
    /// Σ‖x−x̂‖².
    residual: f64,
    /// Σ‖x‖².
    energy: f64,
    /// Σ‖x̂‖².
    energy_hat: f64,
    /// Σ x·x̂.
    dot: f64,
    /// Σ cos(x, x̂).
    cosine: f64,
    /// Σ ‖x̂‖/‖x‖ where x ≠ 0.
    ratio: f64,
    /// Σ codes.
    l1: f64,
    /// Number of codes.
    active: u64,
    /// Σ‖x‖, Σ‖x̂‖.
    norms: [f64; 2],
    /// Σ (1 − ‖x−x̂‖² / ‖x−m‖²) over rows with x ≠ m.
    explained: f64,
    /// Number of such rows.
    apart: u64,
}

impl Sums {
    fn new(d: usize) -> Self {
        Self {
            rows: 0,
            nonzero: 0,
            mean: vec![0.0; d],
            squares: vec![0.0; d],
            residual: 0.0,
            energy: 0.0,
            energy_hat: 0.0,
            dot: 0.0,
            cosine: 0.0,
            ratio: 0.0,
            l1: 0.0,
            active: 0,
            norms: [0.0; 2],
            explained: 0.0,
            apart: 0,
        }
    }

    fn of(x: &[f32], x_hat: &[f32], d: usize) -> Self {
        let mut sums = Self::new(d);
        for (x, x_hat) in x.chunks_exact(d).zip(x_hat.chunks_exact(d)) {
            sums.add_row(x, x_hat);
        }
        let n = sums.rows as f64;
        sums.mean.iter_mut().for_each(|sum| *sum /= n);
        for (row, x_hat) in x.chunks_exact(d).zip(x_hat.chunks_exact(d)) {
            let (mut apart, mut residual) = (0.0, 0.0);
            for (((square, &value), mean), &given) in
                sums.squares.iter_mut().zip(row).zip(&sums.mean).zip(x_hat)
            {
                let value = f64::from(value);
                let squared = (value - mean).powi(2);
                *square += squared;
                apart += squared;
                residual += (value - f64::from(given)).powi(2);
            }
            if apart > 0.0 {
                sums.explained += 1.0 - residual / apart;
                sums.apart += 1;
            }
        }
        sums
    }

    /// Everything but the squares; `mean` still holds the sum.
    fn add_row(&mut self, x: &[f32], x_hat: &[f32]) {
        let (mut residual, mut energy, mut energy_hat, mut dot) = (0.0, 0.0, 0.0, 0.0);
        for ((&x, &x_hat), sum) in x.iter().zip(x_hat).zip(&mut self.mean) {
            let (x, x_hat) = (f64::from(x), f64::from(x_hat));
            residual += (x - x_hat).powi(2);
            energy += x * x;
            energy_hat += x_hat * x_hat;
            dot += x * x_hat;
            *sum += x;
        }
        self.rows += 1;
        self.residual += residual;
        self.energy += energy;
        self.energy_hat += energy_hat;
        self.dot += dot;
        self.norms[0] += energy.sqrt();
        self.norms[1] += energy_hat.sqrt();
        if energy > 0.0 {
            self.nonzero += 1;
            self.ratio += (energy_hat / energy).sqrt();
            if energy_hat > 0.0 {
                self.cosine += dot / (energy * energy_hat).sqrt();
            }
        }
    }

    /// Chan, Golub and LeVeque's update of means and squared deviations; the rest just adds.
    fn merge(&mut self, other: &Self) {
        let (n, m) = (self.rows as f64, other.rows as f64);
        if other.rows == 0 {
            return;
        }
        for (i, (mean, square)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let apart = other.mean[i] - *mean;
            *mean += apart * m / (n + m);
            *square += other.squares[i] + apart * apart * n * m / (n + m);
        }
        self.rows += other.rows;
        self.nonzero += other.nonzero;
        self.residual += other.residual;
        self.energy += other.energy;
        self.energy_hat += other.energy_hat;
        self.dot += other.dot;
        self.cosine += other.cosine;
        self.ratio += other.ratio;
        self.norms.iter_mut().zip(other.norms).for_each(|(sum, part)| *sum += part);
        self.explained += other.explained;
        self.apart += other.apart;
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| rng.random::<f32>() * 4.0 + 10.0).collect()
    }

    /// Row i fires feature i mod F with value i.
    fn codes(rows: usize, features: usize) -> Codes {
        let mut codes = Codes::default();
        (0..rows).for_each(|i| codes.push_row(&[(i % features) as u32], &[i as f32]));
        codes
    }

    fn figures(x: &[f32], x_hat: &[f32], d: usize) -> Figures {
        let mut sums = Reconstruction::new(d, 7);
        sums.add(x, &codes(x.len() / d, 5), x_hat).unwrap();
        sums.figures().unwrap()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
    }

    /// The definitions, in two passes over everything at once.
    #[test]
    fn figures_by_their_definitions() {
        let (n, d) = (1000, 5);
        let (x, x_hat) = (random(n * d, 1), random(n * d, 2));
        let mut sums = Reconstruction::new(d, 7);
        let all = codes(n, 5);
        for start in (0..n).step_by(300) {
            let end = (start + 300).min(n);
            let mut some = Codes::default();
            (start..end).for_each(|i| some.push_row(all.row(i).0, all.row(i).1));
            sums.add(&x[start * d..end * d], &some, &x_hat[start * d..end * d]).unwrap();
        }
        let found = sums.figures().unwrap();

        let wide = |v: &[f32]| v.iter().copied().map(f64::from).collect::<Vec<_>>();
        let (x, y) = (wide(&x), wide(&x_hat));
        let mean: Vec<f64> = (0..d).map(|c| (0..n).map(|i| x[i * d + c]).sum::<f64>() / n as f64).collect();
        let residual: f64 = x.iter().zip(&y).map(|(a, b)| (a - b).powi(2)).sum();
        let variance: f64 = x.iter().enumerate().map(|(i, a)| (a - mean[i % d]).powi(2)).sum();
        let energy = |v: &[f64]| v.iter().map(|a| a * a).sum::<f64>();
        let dot: f64 = x.iter().zip(&y).map(|(a, b)| a * b).sum();
        let norm = |v: &[f64], i: usize| energy(&v[i * d..(i + 1) * d]).sqrt();
        let cosine =
            |i: usize| (0..d).map(|c| x[i * d + c] * y[i * d + c]).sum::<f64>() / (norm(&x, i) * norm(&y, i));
        let average = |of: &dyn Fn(usize) -> f64| (0..n).map(of).sum::<f64>() / n as f64;

        assert_eq!((found.tokens, found.dead), (1000, 2));
        assert!(close(found.fve.unwrap(), 1.0 - residual / variance), "{found:?}");
        assert!(close(found.fvu.unwrap(), residual / variance));
        assert!(close(found.nmse.unwrap(), residual / energy(&x)));
        assert!(close(found.mse, residual / (n * d) as f64));
        assert!(close(found.l0, 1.0) && close(found.l1, 499.5) && close(found.dead_share, 2.0 / 7.0));
        assert!(close(found.cosine, average(&cosine)));
        assert!(close(found.l2_ratio.unwrap(), average(&|i| norm(&y, i) / norm(&x, i))));
        assert!(close(found.relative_reconstruction_bias.unwrap(), energy(&y) / dot));
        let gamma = (mean.iter().map(|m| m * m).sum::<f64>() / (variance / n as f64)).sqrt();
        assert!(close(found.mean_to_spread.unwrap(), gamma), "{found:?}");
        assert!(
            close(found.norms[0], average(&|i| norm(&x, i)))
                && close(found.norms[1], average(&|i| norm(&y, i)))
        );
        for (found, exact) in sums.mean().iter().zip(&mean) {
            assert!((f64::from(*found) - exact).abs() < 1e-5);
        }
    }

    #[test]
    fn how_many_features_tokens_have() {
        let mut sums = Reconstruction::new(1, 30);
        let mut codes = Codes::default();
        // A hundred rows with 0, 1, 2, 3, … of the features, ten of each number.
        for row in 0..100 {
            let features: Vec<u32> = (0..row / 10).collect();
            codes.push_row(&features, &vec![1.0; features.len()]);
        }
        sums.add(&[1.0; 100], &codes, &[1.0; 100]).unwrap();
        let f = sums.figures().unwrap();
        assert_eq!(f.l0_quantiles, [0, 0, 2, 4, 7, 9, 9]);
        assert!(close(f.l0, 4.5) && close(f.l0_sd, 8.25_f64.sqrt()), "{f:?}");
        // 450 codes, 15 a feature: a feature of fewer than 1.5 is under-used. Features 0 to 8 fire on 90, 80, … 10 rows.
        assert_eq!((f.dead, f.under_used_share), (21, 0.7));
        // More than 10 % of 100 rows: features 0 to 7, with 90 + 80 + … + 20 of the 450 codes. More than 1 %: feature 8, too.
        assert_eq!(f.frequent, [9.0 / 30.0, 8.0 / 30.0]);
        assert_eq!(f.frequent_firings, [Some(1.0), Some(440.0 / 450.0)]);
    }

    #[test]
    fn a_perfect_dictionary() {
        let x = random(600, 3);
        let found = figures(&x, &x, 6);
        assert_eq!((found.fve, found.fvu, found.nmse, found.mse), (Some(1.0), Some(0.0), Some(0.0), 0.0));
        assert!(close(found.cosine, 1.0) && close(found.l2_ratio.unwrap(), 1.0));
        assert!(close(found.relative_reconstruction_bias.unwrap(), 1.0));
    }

    /// Predicting the mean explains nothing; predicting 0 is worse when the mean is far from 0.
    #[test]
    fn the_mean_and_nothing() {
        let x = random(600, 4);
        let mut mean = [0.0f64; 6];
        x.iter().enumerate().for_each(|(i, &v)| mean[i % 6] += f64::from(v) / 100.0);
        let constant: Vec<f32> = (0..600).map(|i| mean[i % 6] as f32).collect();
        assert!(figures(&x, &constant, 6).fve.unwrap().abs() < 1e-6);
        let nothing = figures(&x, &[0.0; 600], 6);
        assert_eq!((nothing.nmse, nothing.l2_ratio, nothing.cosine), (Some(1.0), Some(0.0), 0.0));
        assert_eq!(nothing.relative_reconstruction_bias, None);
        assert!(nothing.fve.unwrap() < -10.0);
    }

    #[test]
    fn a_shrunk_reconstruction_shows_as_shrinkage() {
        let x = random(600, 5);
        let half: Vec<f32> = x.iter().map(|v| v / 2.0).collect();
        let found = figures(&x, &half, 6);
        assert!(close(found.l2_ratio.unwrap(), 0.5) && close(found.cosine, 1.0));
        assert!(close(found.relative_reconstruction_bias.unwrap(), 0.5) && close(found.nmse.unwrap(), 0.25));
    }

    /// Variance far below the mean: a formula with E[x²] − E[x]² loses all digits here.
    #[test]
    fn a_large_offset_costs_no_digits() {
        let x: Vec<f32> = (0..4096).map(|i| 30_000.0 + (i % 2) as f32 * 0.0625).collect();
        let x_hat = vec![30_000.031; 4096];
        assert!(figures(&x, &x_hat, 1).fve.unwrap().abs() < 1e-9);
    }

    #[test]
    fn without_variance_there_is_no_fve() {
        let found = figures(&[1.0; 60], &[0.5; 60], 6);
        assert_eq!((found.fve, found.fvu, found.nmse), (None, None, Some(0.25)));
        assert_eq!(Reconstruction::new(4, 4).figures(), None);
    }

    #[test]
    fn the_bad_row_is_named() {
        let mut x = random(6 * 900, 6);
        let mut sums = Reconstruction::new(6, 7);
        sums.add(&x, &codes(900, 5), &x).unwrap();
        x[6 * 400 + 2] = f32::NAN;
        let message = sums.add(&x, &codes(900, 5), &x).unwrap_err().to_string();
        assert!(message.contains("row 1300: the activation holds NaN"), "{message}");
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, x_hat) = (random(6 * 5000, 7), random(6 * 5000, 8));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| figures(&x, &x_hat, 6))
        };
        assert_eq!(run(1), run(3));
    }
}
