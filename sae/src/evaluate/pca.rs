//! Principal components as dictionaries: what a linear map that was not trained gives with as many numbers per token.
//!
//! A coefficient of a component may be negative and codes may not, so every component is two features, +v and −v, of which at most
//! one is positive: x̂ = mean + Σ relu(±v·(x−mean))·(±v) is the projection, exactly. So PCA goes through the same code as every other
//! dictionary.

use storage::Dataset;
use storage::evaluation::Baseline;

use super::splice::is_within;
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};
use crate::rows::{RowReader, choose, documents};
use crate::{Error, Progress, Result};
use kernels::gemm::rows_times_rows;

/// Rows of the covariance, in whole documents that are not held out.
const TOKENS: u64 = 200_000;
/// Rows at a time.
const BATCH: usize = 4096;
/// Rows that are kept for whoever needs some.
const SAMPLE: usize = 1024;
/// Rotations of all pairs, at most; ten are enough for any matrix that is one.
const SWEEPS: usize = 30;

/// Mean and principal components of activations.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// `[d]`
    pub mean: Vec<f32>,
    /// Orthonormal, by falling variance, `[d, d]`.
    pub components: Vec<f32>,
    /// Variance along each, `[d]`.
    pub variances: Vec<f64>,
}

impl Pca {
    /// Of rows of `dataset` that are not held out and whose norm is not above `limit`; with the first [`SAMPLE`] of them, `[n, d]`.
    ///
    /// # Errors
    /// Fewer than two rows; rows that cannot be read; a stop that was asked for.
    pub fn fit(
        dataset: &Dataset,
        limit: Option<f32>,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<(Self, Vec<f32>)> {
        let training = documents(dataset)?.into_iter().filter(|(row, _)| !row.held_out);
        let choice = choose(&training.map(|(_, which)| which).collect::<Vec<_>>(), Some(TOKENS), seed);
        let d = dataset.manifest().d_model;
        let mut reader = RowReader::new(dataset, &choice.ranges, BATCH, d)?;
        let (mut moments, mut sample) = (Moments::new(d), Vec::new());
        progress.begin("principal components", Some(choice.tokens), "tokens");
        let mut done = 0;
        while let Some(rows) = reader.next_batch()? {
            let within = rows.activations.chunks_exact(d).filter(|row| is_within(row, limit));
            let within: Vec<f32> = within.flatten().copied().collect();
            let wanted = (SAMPLE * d).saturating_sub(sample.len()).min(within.len());
            sample.extend_from_slice(&within[..wanted]);
            moments.add(&within);
            done += rows.len() as u64;
            progress.advance(done, "");
            if progress.stop_requested() {
                return Err(Error::stopped("the principal components were not finished"));
            }
        }
        let fitted = moments.fit();
        progress.end(&format!("{d} components of {done} tokens"));
        fitted.map(|fitted| (fitted, sample)).ok_or_else(|| {
            Error::request(format!(
                "{} has fewer than two rows to take principal components of",
                dataset.dir().display()
            ))
        })
    }

    /// The dictionary that keeps `k` coefficients of a token.
    pub fn dictionary(&self, baseline: Baseline, k: usize) -> Dictionary {
        let d = self.mean.len();
        let k = k.min(d);
        let components = match baseline {
            Baseline::PcaFirst => &self.components[..k * d],
            _ => &self.components[..],
        };
        let rows: Vec<f32> =
            components.chunks_exact(d).flat_map(|v| v.iter().copied().chain(v.iter().map(|x| -x))).collect();
        Dictionary {
            d_in: d,
            d_sae: rows.len() / d,
            w_enc: rows.clone(),
            b_enc: vec![0.0; rows.len() / d],
            w_dec: rows,
            b_dec: self.mean.clone(),
            selection: Selection::TopK(k),
            prune_below: None,
            normalisation: Normalisation::None,
            target: None,
            info: DictionaryInfo::default(),
        }
    }
}

/// Sums for mean and covariance. Rows are taken relative to the first batch's mean, so that a large offset costs no digits.
struct Moments {
    d: usize,
    rows: u64,
    origin: Vec<f32>,
    sums: Vec<f64>,
    products: Vec<f64>,
}

impl Moments {
    fn new(d: usize) -> Self {
        Self { d, rows: 0, origin: Vec::new(), sums: vec![0.0; d], products: vec![0.0; d * d] }
    }

    fn add(&mut self, x: &[f32]) {
        let (d, n) = (self.d, x.len() / self.d);
        if n == 0 {
            return;
        }
        if self.origin.is_empty() {
            let sum = |c: usize| x.iter().skip(c).step_by(d).copied().map(f64::from).sum::<f64>();
            self.origin = (0..d).map(|c| (sum(c) / n as f64) as f32).collect();
        }
        // Columns as rows: [d, n].
        let columns: Vec<f32> = (0..d)
            .flat_map(|c| (0..n).map(move |i| (c, i)))
            .map(|(c, i)| x[i * d + c] - self.origin[c])
            .collect();
        for (sum, column) in self.sums.iter_mut().zip(columns.chunks_exact(n)) {
            *sum += column.iter().copied().map(f64::from).sum::<f64>();
        }
        let mut part = vec![0.0; d * d];
        rows_times_rows(&mut part, &columns, &columns, d, d, n);
        self.products.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(part));
        self.rows += n as u64;
    }

    fn fit(self) -> Option<Pca> {
        if self.rows < 2 {
            return None;
        }
        let (d, n) = (self.d, self.rows as f64);
        let mean: Vec<f64> = self.sums.iter().map(|sum| sum / n).collect();
        let entry = |i: usize, j: usize| {
            // Both halves, averaged: a matrix that is symmetric to the bit.
            let product = 0.5 * (self.products[i * d + j] + self.products[j * d + i]);
            product / n - mean[i] * mean[j]
        };
        let covariance = (0..d * d).map(|at| entry(at / d, at % d)).collect();
        let (variances, vectors) = eigen(covariance, d);
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&a, &b| variances[b].total_cmp(&variances[a]));
        let row = |&i: &usize| vectors[i * d..(i + 1) * d].iter().map(|&v| v as f32).collect::<Vec<f32>>();
        Some(Pca {
            mean: self.origin.iter().zip(&mean).map(|(o, m)| (f64::from(*o) + m) as f32).collect(),
            components: order.iter().flat_map(row).collect(),
            variances: order.iter().map(|&i| variances[i]).collect(),
        })
    }
}

/// Eigenvalues and, as rows, eigenvectors of the symmetric `a[d, d]`, by Jacobi's rotations (Golub & Van Loan, 8.5).
fn eigen(mut a: Vec<f64>, d: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; d * d];
    (0..d).for_each(|i| vectors[i * d + i] = 1.0);
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 =
            (0..d).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * d + j].powi(2)).sum();
        if off <= 1e-24 * total {
            break;
        }
        for p in 0..d {
            for q in p + 1..d {
                rotate(&mut a, &mut vectors, d, p, q);
            }
        }
    }
    ((0..d).map(|i| a[i * d + i]).collect(), vectors)
}

/// Makes `a[p, q]` 0.
fn rotate(a: &mut [f64], vectors: &mut [f64], d: usize, p: usize, q: usize) {
    let apq = a[p * d + q];
    if apq == 0.0 {
        return;
    }
    let tau = (a[q * d + q] - a[p * d + p]) / (2.0 * apq);
    let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let c = 1.0 / (1.0 + t * t).sqrt();
    let s = t * c;
    // Rows p and q of a, then columns; a stays symmetric.
    two_rows(a, d, p, q, c, s);
    for row in a.chunks_exact_mut(d) {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
    two_rows(vectors, d, p, q, c, s);
}

/// Turns rows `p` < `q` into `c·p − s·q` and `s·p + c·q`.
fn two_rows(m: &mut [f64], d: usize, p: usize, q: usize, c: f64, s: f64) {
    let (head, tail) = m.split_at_mut(q * d);
    for (x, y) in head[p * d..(p + 1) * d].iter_mut().zip(&mut tail[..d]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Reconstruction;
    use crate::rows::fixture;

    /// Rows with variances 100, 81, … along random orthogonal directions, far from 0.
    fn rows(n: usize, d: usize) -> Vec<f32> {
        let noise = fixture::activations(n, d, 5);
        // A Householder reflection is orthogonal, and its inverse.
        let v: Vec<f32> = (0..d).map(|i| ((i * 7 + 3) % 11) as f32 - 5.0).collect();
        let norm: f32 = v.iter().map(|x| x * x).sum();
        noise
            .chunks_exact(d)
            .flat_map(|row| {
                let scaled: Vec<f32> =
                    row.iter().enumerate().map(|(i, x)| x * (10 - i.min(9)) as f32).collect();
                let along = 2.0 * scaled.iter().zip(&v).map(|(x, v)| x * v).sum::<f32>() / norm;
                scaled.iter().zip(&v).map(|(x, v)| x - along * v + 300.0).collect::<Vec<f32>>()
            })
            .collect()
    }

    fn fit(x: &[f32], d: usize) -> Pca {
        let mut moments = Moments::new(d);
        x.chunks(d * 700).for_each(|part| moments.add(part));
        moments.fit().unwrap()
    }

    /// Components are orthonormal, and the covariance, computed in two passes in double precision, is diagonal in them.
    #[test]
    fn components_diagonalise_the_covariance() {
        let (n, d) = (3000, 9);
        let x = rows(n, d);
        let pca = fit(&x, d);
        let wide = |i: usize, c: usize| f64::from(x[i * d + c]);
        let mean: Vec<f64> = (0..d).map(|c| (0..n).map(|i| wide(i, c)).sum::<f64>() / n as f64).collect();
        for (found, exact) in pca.mean.iter().zip(&mean) {
            assert!((f64::from(*found) - exact).abs() < 1e-3);
        }
        let v = |i: usize, c: usize| f64::from(pca.components[i * d + c]);
        for (i, &variance) in pca.variances.iter().enumerate() {
            for j in 0..d {
                let dot: f64 = (0..d).map(|c| v(i, c) * v(j, c)).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-5, "{i} {j}: {dot}");
                let along =
                    |row: usize, k: usize| (0..d).map(|c| (wide(row, c) - mean[c]) * v(k, c)).sum::<f64>();
                let covariance = (0..n).map(|row| along(row, i) * along(row, j)).sum::<f64>() / n as f64;
                let expected = if i == j { variance } else { 0.0 };
                assert!(
                    (covariance - expected).abs() < 1e-3 * pca.variances[0],
                    "{i} {j}: {covariance} {expected}"
                );
            }
        }
        assert!(pca.variances.is_sorted_by(|a, b| a >= b));
    }

    /// The share of variance in the first k components is the FVE of the dictionary, by the code that measures every other one.
    #[test]
    fn the_first_k_explain_their_share_and_the_largest_k_more() {
        let d = 9;
        let x = rows(3000, d);
        let pca = fit(&x, d);
        let fve = |baseline, k| {
            let dictionary = pca.dictionary(baseline, k);
            let codes = dictionary.encode(&x);
            let mut sums = Reconstruction::new(d, dictionary.d_sae);
            sums.add(&x, &codes, &dictionary.decode(&codes)).unwrap();
            let figures = sums.figures().unwrap();
            assert!(figures.l0 <= k as f64 + 1e-9 && figures.l0 > k as f64 - 0.01, "{figures:?}");
            figures.fve.unwrap()
        };
        let total: f64 = pca.variances.iter().sum();
        for k in [1, 3, 8] {
            let share = pca.variances[..k].iter().sum::<f64>() / total;
            let first = fve(Baseline::PcaFirst, k);
            assert!((first - share).abs() < 1e-3, "{k}: {first}, variances say {share}");
            assert!(fve(Baseline::PcaLargest, k) > first, "{k}");
        }
        for baseline in Baseline::ALL {
            assert!((fve(baseline, 100.min(d)) - 1.0).abs() < 1e-5, "all components are the whole");
        }
    }

    #[test]
    fn one_row_has_no_components() {
        let mut moments = Moments::new(3);
        moments.add(&[1.0, 2.0, 3.0]);
        assert!(moments.fit().is_none());
    }
}
