//! Mean and covariance of rows as they come, and the whitening they give.

use rayon::prelude::*;
use storage::whitening::Whitening;

use kernels::eigen;
use kernels::gemm::rows_times_rows;

/// Share of the mean variance below which a component is not amplified further, where nothing else is asked
/// for. The smallest component of 16 × 16 patches of 17 photographs with grass and gravel had 0.0076 of it:
/// there nothing is held back.
pub(crate) const FLOOR: f64 = 1e-3;
/// Rows whose products are summed at once: they stay in the processor's cache.
const BLOCK: usize = 64;

/// Sums over rows of width d, in f64.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    d: usize,
    n: u64,
    sum: Vec<f64>,
    /// Upper triangle of Σ (x − ½)(x − ½)ᵀ, `[d, d]`: pixels lie around ½, and to activations ½ is as good as 0.
    products: Vec<f64>,
}

const CENTRE: f64 = 0.5;

impl Moments {
    pub(crate) fn new(d: usize) -> Self {
        Self { d, n: 0, sum: vec![0.0; d], products: vec![0.0; d * d] }
    }

    /// Adds rows, `[n, d]`.
    pub(crate) fn add(&mut self, rows: &[f32]) {
        let d = self.d;
        for block in rows.chunks(BLOCK * d) {
            let x: Vec<f64> = block.iter().map(|x| f64::from(*x) - CENTRE).collect();
            for row in x.chunks_exact(d) {
                self.sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            self.products.par_chunks_mut(d).enumerate().for_each(|(i, sums)| {
                for row in x.chunks_exact(d) {
                    let factor = row[i];
                    sums[i..].iter_mut().zip(&row[i..]).for_each(|(sum, x)| *sum += factor * x);
                }
            });
            self.n += (block.len() / d) as u64;
        }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.n
    }

    /// The mean, `[d]`, and the upper triangle of the covariance, `[d, d]`.
    pub(crate) fn finish(&self) -> (Vec<f64>, Vec<f64>) {
        let n = self.n.max(1) as f64;
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / n).collect();
        let element = |at: usize| self.products[at] / n - mean[at / self.d] * mean[at % self.d];
        let covariance = (0..self.d * self.d).map(element).collect();
        (mean.iter().map(|m| m + CENTRE).collect(), covariance)
    }
}

/// ZCA from a mean and a covariance; `None` if `stop` says so.
pub(crate) fn zca(
    mean: &[f64],
    covariance: &[f64],
    floor: f64,
    stop: impl FnMut() -> bool,
) -> Option<Whitening> {
    let d = mean.len();
    let eigen = eigen::symmetric(covariance, d, stop)?;
    let least = floor * eigen.values.iter().sum::<f64>() / d as f64;
    let roots: Vec<f64> =
        eigen.values.iter().map(|value| value.max(least).max(f64::MIN_POSITIVE).sqrt()).collect();
    // Σ_k f(k) e_k e_kᵀ.
    let matrix = |factor: fn(f64) -> f64| -> Vec<f32> {
        let mut out = vec![0f32; d * d];
        out.par_chunks_mut(d).enumerate().for_each(|(i, out)| {
            let mut row = vec![0f64; d];
            for (vector, root) in eigen.vectors.chunks_exact(d).zip(&roots) {
                let factor = factor(*root) * vector[i];
                row.iter_mut().zip(vector).for_each(|(sum, x)| *sum += factor * x);
            }
            out.iter_mut().zip(row).for_each(|(out, x)| *out = x as f32);
        });
        out
    };
    let mean = mean.iter().map(|m| *m as f32).collect();
    Some(Whitening { mean, whiten: matrix(|root| 1.0 / root), restore: matrix(|root| root) })
}

/// `W (x − mean)` of every row.
pub(crate) fn apply(whitening: &Whitening, rows: &mut [f32]) {
    let d = whitening.mean.len();
    rows.par_chunks_mut(BLOCK * d).for_each(|rows| {
        let mut centred = rows.to_vec();
        for row in centred.chunks_exact_mut(d) {
            row.iter_mut().zip(&whitening.mean).for_each(|(x, mean)| *x -= mean);
        }
        let n = rows.len() / d;
        rows_times_rows(rows, &centred, &whitening.whiten, n, d, d);
    });
}
