//! What can be said about features from their weights alone: the tokens they promote and their nearest neighbours.
//!
//! Products are made in blocks of fixed size, so there is never a matrix of all features by all features or by the whole
//! vocabulary, and no bit depends on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::best::Best;
use crate::kernels::gemm::rows_times_rows;

/// Features of a block.
const BLOCK: usize = 64;
/// Columns of a block: rows of the other matrix.
const COLUMNS: usize = 4096;

/// The tokens that a feature makes likelier and less likely, with logits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logits {
    /// Largest logits, descending.
    pub top: Vec<(u32, f32)>,
    /// Smallest logits, ascending.
    pub bottom: Vec<(u32, f32)>,
}

/// For each decoder row of `features`, the `count` largest and smallest of `decoder[F, d] · unembedding[V, d]ᵀ`.
pub fn logits(
    decoder: &[f32],
    unembedding: &[f32],
    d: usize,
    features: Range<usize>,
    count: usize,
) -> Vec<Logits> {
    blocks(features, |block| {
        let mut best: Vec<_> = block.clone().map(|_| (Best::new(count), Best::new(count))).collect();
        for_products(decoder, unembedding, d, block, |local, token, logit| {
            best[local].0.offer(token, logit.into());
            best[local].1.offer(token, (-logit).into());
        });
        let list = |best: Best, sign: f64| {
            best.into_vec().into_iter().map(|(token, logit)| (token, (sign * logit) as f32)).collect()
        };
        best.into_iter()
            .map(|(top, bottom)| Logits { top: list(top, 1.0), bottom: list(bottom, -1.0) })
            .collect()
    })
}

/// For each decoder row of `features`, the `count` other rows of `decoder[F, d]` of the largest cosine. Rows of norm 0
/// have no neighbours and are nobody's.
pub fn neighbours(
    decoder: &[f32],
    norms: &[f32],
    d: usize,
    features: Range<usize>,
    count: usize,
) -> Vec<Vec<(u32, f32)>> {
    blocks(features, |block| {
        let start = block.start;
        let mut best: Vec<_> = block.clone().map(|_| Best::new(count)).collect();
        for_products(decoder, decoder, d, block, |local, other, product| {
            let (a, b) = (f64::from(norms[start + local]), f64::from(norms[other as usize]));
            if start + local != other as usize && a * b > 0.0 {
                best[local].offer(other, f64::from(product) / (a * b));
            }
        });
        let list =
            |best: Best| best.into_vec().into_iter().map(|(other, cosine)| (other, cosine as f32)).collect();
        best.into_iter().map(list).collect()
    })
}

/// `of` every block of `features`, in parallel, results in order.
fn blocks<T: Send>(features: Range<usize>, of: impl Fn(Range<usize>) -> Vec<T> + Sync) -> Vec<T> {
    let starts: Vec<usize> = features.clone().step_by(BLOCK).collect();
    let parts: Vec<Vec<T>> =
        starts.into_par_iter().map(|start| of(start..features.end.min(start + BLOCK))).collect();
    parts.into_iter().flatten().collect()
}

/// Calls `with(row in block, row of b, product)` for every pair of a row of `a` in `block` and a row of `b`.
fn for_products(a: &[f32], b: &[f32], d: usize, block: Range<usize>, mut with: impl FnMut(usize, u32, f32)) {
    let rows = &a[block.start * d..block.end * d];
    let mut products = vec![0.0; block.len() * COLUMNS];
    for (index, columns) in b.chunks(COLUMNS * d).enumerate() {
        let width = columns.len() / d;
        let out = &mut products[..block.len() * width];
        rows_times_rows(out, rows, columns, block.len(), width, d);
        for (local, row) in out.chunks_exact(width).enumerate() {
            for (column, &product) in row.iter().enumerate() {
                with(local, (index * COLUMNS + column) as u32, product);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers, so that products are exact and ties happen.
    fn matrix(rows: usize, d: usize, salt: usize) -> Vec<f32> {
        (0..rows * d).map(|i| ((i * i * 7 + i * salt + salt) % 9) as f32 - 4.0).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn logits_as_by_sorting() {
        let (features, vocabulary, d) = (150, COLUMNS + 300, 3);
        let (decoder, unembedding) = (matrix(features, d, 5), matrix(vocabulary, d, 11));
        let found = logits(&decoder, &unembedding, d, 10..features, 4);
        assert_eq!(found.len(), features - 10);
        for (feature, found) in (10..features).zip(&found) {
            let row = &decoder[feature * d..][..d];
            let mut all: Vec<(u32, f32)> =
                unembedding.chunks(d).enumerate().map(|(token, u)| (token as u32, dot(row, u))).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            assert_eq!(found.top, all[..4]);
            all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            assert_eq!(found.bottom, all[..4]);
        }
    }

    #[test]
    fn neighbours_as_by_sorting() {
        let (features, d) = (COLUMNS + 70, 3);
        let mut decoder = matrix(features, d, 3);
        decoder[7 * d..8 * d].fill(0.0);
        let norms: Vec<f32> = decoder.chunks(d).map(|row| dot(row, row).sqrt()).collect();
        let found = neighbours(&decoder, &norms, d, 0..features, 3);
        assert_eq!(found[7], []);
        for feature in [0, 1, 63, 64, 65, COLUMNS, features - 1] {
            let row = &decoder[feature * d..][..d];
            let cosine = |other: usize| {
                f64::from(dot(row, &decoder[other * d..][..d]))
                    / (f64::from(norms[feature]) * f64::from(norms[other]))
            };
            let mut all: Vec<(u32, f64)> = (0..features)
                .filter(|&other| other != feature && norms[other] > 0.0)
                .map(|other| (other as u32, cosine(other)))
                .collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let expected: Vec<(u32, f32)> = all[..3].iter().map(|&(other, c)| (other, c as f32)).collect();
            assert_eq!(found[feature], if norms[feature] > 0.0 { expected } else { vec![] });
        }
    }

    #[test]
    fn fewer_rows_than_asked_for() {
        let found = logits(&[1.0, 2.0], &[1.0, -1.0], 1, 0..2, 10);
        assert_eq!(found[1], Logits { top: vec![(0, 2.0), (1, -2.0)], bottom: vec![(1, -2.0), (0, 2.0)] });
        assert_eq!(neighbours(&[1.0], &[1.0], 1, 0..1, 8), [vec![]]);
        assert!(neighbours(&[1.0], &[1.0], 1, 0..0, 8).is_empty());
    }
}
