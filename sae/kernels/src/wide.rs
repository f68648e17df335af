//! Dot products and norms of `f32` rows, summed in `f64` in the order of their numbers: for results that are
//! written down once and read often, where the digits matter more than the time. Hot loops use
//! [`vector`](crate::vector).

use rayon::prelude::*;

/// Dot product of two rows of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Length of a row.
pub fn norm(row: &[f32]) -> f64 {
    dot(row, row).sqrt()
}

/// Lengths of the rows of `matrix[n, d]`.
pub fn row_norms(matrix: &[f32], d: usize) -> Vec<f32> {
    matrix.par_chunks(d.max(1)).map(|row| norm(row) as f32).collect()
}

/// The rows of `matrix[n, d]` scaled to length 1; zeros stay zeros.
pub fn unit_rows(matrix: &[f32], d: usize) -> Vec<f32> {
    let mut rows = matrix.to_vec();
    rows.par_chunks_mut(d.max(1)).for_each(scale_to_unit);
    rows
}

/// Scales a row to length 1; zeros stay zeros.
pub fn scale_to_unit(row: &mut [f32]) {
    let norm = norm(row);
    if norm > 0.0 {
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

/// An upper bound on the largest eigenvalue of rowsᵀ rows, for `rows[n, d]`, by power iteration and a margin of one hundredth.
pub fn largest_eigenvalue(rows: &[f32], d: usize) -> f64 {
    let mut v: Vec<f32> = (0..d).map(|i| 1.0 + (i % 7) as f32 / 7.0).collect();
    let mut largest = 1.0;
    for _ in 0..100 {
        let norm = dot(&v, &v).sqrt();
        v.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        let mut next = vec![0.0_f64; d];
        for row in rows.chunks_exact(d) {
            let along = dot(row, &v);
            next.iter_mut().zip(row).for_each(|(next, x)| *next += along * f64::from(*x));
        }
        largest = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().zip(next).for_each(|(v, next)| *v = next as f32);
    }
    1.01 * largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_wide() {
        // In f32 the 1 would be lost next to 2^30.
        let big = 2f32.powi(15);
        assert_eq!(dot(&[big, 1.0, -big], &[big, 1.0, big]), 1.0);
        assert_eq!(norm(&[3.0, 4.0]), 5.0);
        assert_eq!(row_norms(&[3.0, 4.0, 0.0, 2.0], 2), [5.0, 2.0]);
        assert_eq!(unit_rows(&[3.0, 4.0, 0.0, 0.0], 2), [0.6, 0.8, 0.0, 0.0]);
        assert!(unit_rows(&[], 0).is_empty() && row_norms(&[], 2).is_empty());
    }
}
