//! Rows to pre-activations without biases, a chunk of rows at a time, so that `[B, F]` never exists.

use super::gemm::{Mat, MatMut, WriteMode, rows_times_rows};
use super::product::{self, RightFactor, multiply};
use super::topk::Candidates;

/// Numbers of a chunk's pre-activations: 16 MiB.
const CHUNK_NUMBERS: usize = 1 << 22;
/// Rows a chunk has at most; more would not make the product faster.
const CHUNK_ROWS: usize = 256;

/// Rows of a chunk for dictionaries with `features` features. Depends on nothing else, so chunks are the same for any number
/// of threads.
pub fn chunk_rows(features: usize) -> usize {
    (CHUNK_NUMBERS / features.max(1)).clamp(1, CHUNK_ROWS)
}

/// Memory of one chunk; keep one per thread and reuse it.
#[derive(Debug, Default)]
pub struct ChunkBuffer {
    /// `x − b_dec`, `[rows, d]`, for callers that do not keep it themselves.
    pub centred: Vec<f32>,
    /// `(x − b_dec) · W_encᵀ`, `[rows, F]`; `b_enc` is added while selecting.
    pub products: Vec<f32>,
    /// For [`super::topk::select`].
    pub candidates: Candidates,
}

/// `out[n, d] = x[n, d] − b_dec[d]`.
pub fn centre(out: &mut [f32], x: &[f32], b_dec: &[f32]) {
    for (out, x) in out.chunks_exact_mut(b_dec.len()).zip(x.chunks_exact(b_dec.len())) {
        for ((out, x), b) in out.iter_mut().zip(x).zip(b_dec) {
            *out = x - b;
        }
    }
}

/// Makes `out` the products `[n, F]` of `centred[n, d]` with `w_enc[F, d]`.
pub fn products(out: &mut Vec<f32>, centred: &[f32], w_enc: &[f32], d: usize) {
    let (rows, features) = (centred.len() / d, w_enc.len() / d);
    out.resize(rows * features, 0.0);
    rows_times_rows(out, centred, w_enc, rows, features, d);
}

/// A matrix `[F, d]` that many rows are multiplied with: its panels, made once by all threads.
#[derive(Debug, Default)]
pub struct Packed {
    panels: Vec<f32>,
}

impl Packed {
    /// Packs `w[F, d]`.
    pub fn set(&mut self, w: &[f32], d: usize) {
        // First the old ones: there need not be room for both.
        self.panels = Vec::new();
        self.panels = product::panels(Mat::new(w, w.len() / d, d).t());
    }

    /// Makes `out` the products `[n, F]` of `rows[n, d]` with the `w[F, d]` that was packed.
    ///
    /// # Panics
    /// If `w` has another shape than what was packed.
    pub fn products(&self, out: &mut Vec<f32>, rows: &[f32], w: &[f32], d: usize) {
        let (n, features) = (rows.len() / d, w.len() / d);
        out.resize(n * features, 0.0);
        let right = RightFactor::packed(Mat::new(w, features, d).t(), &self.panels);
        multiply(Mat::new(rows, n, d), &right, 1.0, WriteMode::Overwrite, MatMut::new(out, n, features));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_stay_within_their_memory() {
        for features in [1, 100, 2048, 10240, 65536, 1 << 20, 1 << 23] {
            let rows = chunk_rows(features);
            assert!(rows == 1 || rows * features <= CHUNK_NUMBERS, "{features}");
            assert!((1..=CHUNK_ROWS).contains(&rows));
        }
    }

    #[test]
    fn packed_products_equal_plain_ones() {
        let numbers = |n: usize| (0..n).map(|i| ((i * 7) % 13) as f32 / 4.0 - 1.5).collect::<Vec<_>>();
        for (n, features, d) in [(1, 1, 3), (13, 70, 20), (5, 32, 64)] {
            let (rows, w) = (numbers(n * d), numbers(features * d));
            let (mut packed, mut a, mut b) = (Packed::default(), Vec::new(), Vec::new());
            packed.set(&w, d);
            packed.products(&mut a, &rows, &w, d);
            products(&mut b, &rows, &w, d);
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{n}, {features}, {d}");
        }
    }

    #[test]
    fn products_are_of_centred_rows() {
        let (mut centred, mut out) = (vec![0.0; 4], Vec::new());
        centre(&mut centred, &[3.0, 5.0, 1.0, 2.0], &[1.0, 2.0]);
        assert_eq!(centred, [2.0, 3.0, 0.0, 0.0]);
        products(&mut out, &centred, &[1.0, 0.0, 0.5, 2.0, -1.0, 1.0], 2);
        assert_eq!(out, [2.0, 7.0, 1.0, 0.0, 0.0, 0.0]);
    }
}
