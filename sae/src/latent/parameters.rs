//! What a model is, its parameters, and what they are before the first step.

use kernels::chance::{Generator, Purpose, generator, normal, uniform};

use crate::{Error, Result};

/// How latents make a row y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Binary sparse coding: latents are 0 or 1, y = Σ s_h W_h + noise.
    Bsc,
    /// Ternary sparse coding: latents are −1, 0 or 1, both signs equally often.
    Tsc,
    /// Discrete sparse coding: latents take one of several given values, each with a rate of its own.
    Dsc,
    /// Maximal causes: of the active latents' W_hd, all above 0, y_d is the largest.
    Mca,
    /// Maximum-magnitude causes: of the active latents' W_hd, y_d is the one of the largest magnitude.
    Mmca,
    /// Gaussian sparse coding, spike and slab: an active latent has a normal code z_h, y = Σ s_h z_h W_h + noise.
    Gsc,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Bsc, Self::Tsc, Self::Dsc, Self::Mca, Self::Mmca, Self::Gsc];

    /// `bsc`, `tsc`, ….
    pub fn name(self) -> &'static str {
        match self {
            Self::Bsc => "bsc",
            Self::Tsc => "tsc",
            Self::Dsc => "dsc",
            Self::Mca => "mca",
            Self::Mmca => "mmca",
            Self::Gsc => "gsc",
        }
    }

    /// Whether y_d comes from one latent and not from a sum.
    pub fn is_maximum(self) -> bool {
        matches!(self, Self::Mca | Self::Mmca)
    }

    /// Whether temperature acts on the prior, too, as it does in ProSper's programs of these models.
    pub(super) fn anneals_prior(self) -> bool {
        self.is_maximum() || self == Self::Gsc
    }
}

/// The least entry of W of maximal causes: its logarithm must exist.
pub(super) const LEAST_WEIGHT: f64 = 1e-4;
/// Rates stay this far from 0 and 1.
pub(super) const LEAST_RATE: f64 = 1e-6;

/// A model's parameters. H latents, V values that are not 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// The model.
    pub kind: Kind,
    /// Width of a row.
    pub d: usize,
    /// What a row of `w` is times where its latent is active, `[V]`: 1; −1 and 1; or what was given.
    pub values: Vec<f64>,
    /// `[H, d]`, one row per latent.
    pub w: Vec<f64>,
    /// How often: `[1]` any latent is active; of `dsc` `[V]` any latent has each value; of `gsc` `[H]` each latent is active.
    pub rates: Vec<f64>,
    /// Standard deviation of the noise of a component of a row.
    pub sigma: f64,
    /// Mean of an active latent's code, `[H]`; `gsc` only.
    pub mean: Vec<f64>,
    /// Variance of an active latent's code, `[H]`; `gsc` only.
    pub variance: Vec<f64>,
}

impl Parameters {
    /// Before the first step: W is the mean row with normal noise of a quarter of the mean standard deviation, any latent is active
    /// once in a row. `values` matter to `dsc` alone.
    pub fn first(kind: Kind, rows: &[f32], d: usize, latents: usize, values: &[f64], seed: u64) -> Self {
        let (mean, deviation) = moments(rows, d);
        let sigma = deviation.iter().sum::<f64>() / d as f64;
        let draw = |h: usize| generator(seed, Purpose::Latents, h as u64, 0);
        let mut w: Vec<f64> = (0..latents)
            .flat_map(|h| {
                let mut rng = draw(h);
                mean.iter().map(|m| m + sigma / 4.0 * f64::from(normal(&mut rng))).collect::<Vec<_>>()
            })
            .collect();
        if kind == Kind::Mca {
            w.iter_mut().for_each(|w| *w = w.max(LEAST_WEIGHT));
        }
        let values = match kind {
            Kind::Tsc => vec![-1.0, 1.0],
            Kind::Dsc => values.to_vec(),
            _ => vec![1.0],
        };
        let rate = (1.0 / latents as f64).min(0.5);
        // A stream of its own, so that W is the same for all models.
        let each = |of: fn(&mut Generator) -> f64, part: u64| -> Vec<f64> {
            (0..latents).map(|h| of(&mut generator(seed, Purpose::Latents, h as u64, part))).collect()
        };
        let (rates, mean, variance) = match kind {
            Kind::Dsc => (vec![rate / values.len() as f64; values.len()], Vec::new(), Vec::new()),
            Kind::Gsc => (
                each(|rng| (0.95 * uniform(rng)).max(0.05), 1),
                each(|rng| f64::from(normal(rng)), 2),
                each(|rng| (2.0 * uniform(rng)).max(0.05), 3),
            ),
            _ => (vec![rate], Vec::new(), Vec::new()),
        };
        Self { kind, d, values, w, rates, sigma: sigma.max(f64::MIN_POSITIVE.sqrt()), mean, variance }
    }

    /// Number of latents.
    pub fn latents(&self) -> usize {
        self.w.len() / self.d.max(1)
    }

    /// Row `h` of W.
    pub fn row(&self, h: usize) -> &[f64] {
        &self.w[h * self.d..(h + 1) * self.d]
    }

    /// How often latent `h` is active.
    pub fn rate(&self, h: usize) -> f64 {
        match self.kind {
            Kind::Dsc => self.rates.iter().sum(),
            Kind::Gsc => self.rates[h],
            _ => self.rates[0],
        }
    }

    /// Logarithm of how much likelier each value of each latent is than 0, `[H, V]`.
    pub(super) fn log_ratios(&self) -> Vec<f64> {
        let v = self.values.len();
        (0..self.latents() * v)
            .map(|at| {
                let rate = self.rate(at / v);
                let of_value = match self.kind {
                    Kind::Dsc => self.rates[at % v],
                    _ => rate / v as f64,
                };
                (of_value / (1.0 - rate)).ln()
            })
            .collect()
    }

    /// Logarithm of how likely it is that no latent is active.
    pub(super) fn log_none(&self) -> f64 {
        (0..self.latents()).map(|h| (-self.rate(h)).ln_1p()).sum()
    }

    /// How likely at most `most` latents are active, and how many of those are on average, times that.
    pub(super) fn at_most(&self, most: usize) -> (f64, f64) {
        let mut of_count = vec![0.0; most + 1];
        of_count[0] = 1.0;
        for rate in (0..self.latents()).map(|h| self.rate(h)) {
            for g in (0..=most).rev() {
                let before = if g == 0 { 0.0 } else { of_count[g - 1] };
                of_count[g] = of_count[g] * (1.0 - rate) + before * rate;
            }
        }
        (of_count.iter().sum(), of_count.iter().enumerate().map(|(g, p)| g as f64 * p).sum())
    }

    /// # Errors
    /// A parameter that is not finite.
    pub(super) fn check(&self, step: usize) -> Result<()> {
        let parts = [&self.w, &self.rates, &self.mean, &self.variance];
        if self.sigma.is_finite() && parts.iter().all(|part| part.iter().all(|p| p.is_finite())) {
            return Ok(());
        }
        Err(Error::data(format!("iteration {step} gave parameters that are not finite"))
            .with_remedy("scale the rows to numbers around 1, or begin at a higher temperature"))
    }
}

/// Mean and standard deviation of each component of `rows[n, d]`.
pub(super) fn moments(rows: &[f32], d: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (rows.len() / d.max(1)).max(1) as f64;
    let mut mean = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x) / n);
    }
    let mut variance = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        let parts = variance.iter_mut().zip(row).zip(&mean);
        parts.for_each(|((v, x), m)| *v += (f64::from(*x) - m).powi(2) / n);
    }
    (mean, variance.into_iter().map(f64::sqrt).collect())
}
