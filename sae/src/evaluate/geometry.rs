//! How a dictionary's rows lie to each other: mean |cos| and largest cosines.

use kernels::pairs::{ROWS, fold_products};
use kernels::wide::unit_rows;

use crate::dictionary::Dictionary;

/// Multiplications for each of both matrices: ten seconds or less. Of a larger dictionary evenly spaced features meet all others.
const PRODUCTS: usize = 1 << 38;
/// Features that are looked at in any dictionary.
const LEAST: usize = 64;

/// Cosines between rows of different features; `None` where there is one feature alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Mean |cos| of decoder rows.
    pub decoder: Option<f64>,
    /// Mean over features of the largest cosine of its decoder row.
    pub max_decoder: Option<f64>,
    /// The same of encoder rows.
    pub max_encoder: Option<f64>,
    /// Features that were compared with all others.
    pub features: usize,
}

impl Geometry {
    /// Of the rows of `dictionary`.
    pub fn of(dictionary: &Dictionary) -> Self {
        let (features, widest) = (dictionary.d_sae, dictionary.d_in.max(dictionary.d_out()));
        let affordable = PRODUCTS / (features * widest).max(1);
        let looked_at = features.min(affordable.max(LEAST));
        let [mean, max_decoder] = cosines(&dictionary.w_dec, dictionary.d_out(), looked_at);
        let [_, max_encoder] = cosines(&dictionary.w_enc, dictionary.d_in, looked_at);
        Self { decoder: mean, max_decoder, max_encoder, features: looked_at }
    }
}

/// Mean |cos| and mean largest cosine of `looked_at` evenly spaced rows of `matrix[n, d]` with all others.
fn cosines(matrix: &[f32], d: usize, looked_at: usize) -> [Option<f64>; 2] {
    let rows = unit_rows(matrix, d);
    let n = rows.len() / d.max(1);
    if n < 2 {
        return [None; 2];
    }
    let own = |i: usize| i * n / looked_at;
    let chosen: Vec<f32> = (0..looked_at).flat_map(|i| rows[own(i) * d..][..d].iter().copied()).collect();
    let sums = fold_products(
        (&chosen, &rows, d),
        0..looked_at,
        ROWS,
        |i| (own(i), 0.0_f64, f32::NEG_INFINITY),
        |(own, sum, largest), j, cosine| {
            if j != *own {
                *sum += f64::from(cosine.abs());
                *largest = largest.max(cosine);
            }
        },
        |(_, sum, largest)| (sum, f64::from(largest.clamp(-1.0, 1.0))),
    );
    let count = looked_at as f64;
    let (mean, largest) = sums.iter().fold((0.0, 0.0), |(a, b), (sum, largest)| (a + sum, b + largest));
    [Some(mean / (count * (n - 1) as f64)), Some(largest / count)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_by_two_loops_over_all_pairs_and_over_some_rows() {
        let (n, d) = (150, 7);
        let matrix: Vec<f32> = (0..n * d).map(|i| ((i * 37 + i * i) % 19) as f32 - 8.5).collect();
        let cosine = |i: usize, j: usize| {
            let dot = |a: usize, b: usize| {
                (0..d).map(|c| f64::from(matrix[a * d + c]) * f64::from(matrix[b * d + c])).sum::<f64>()
            };
            dot(i, j) / (dot(i, i) * dot(j, j)).sqrt()
        };
        for looked_at in [n, 30] {
            let (mut sum, mut largest) = (0.0, 0.0);
            for i in (0..n).step_by(n / looked_at) {
                let others = || (0..n).filter(move |&j| j != i).map(|j| cosine(i, j));
                sum += others().map(f64::abs).sum::<f64>() / (n - 1) as f64;
                largest += others().fold(-1.0, f64::max);
            }
            let [mean, max] = cosines(&matrix, d, looked_at).map(Option::unwrap);
            assert!((mean - sum / looked_at as f64).abs() < 1e-6, "{mean}");
            assert!((max - largest / looked_at as f64).abs() < 1e-6, "{max}");
        }
        assert_eq!(cosines(&matrix[..d], d, 1), [None; 2]);
    }
}
