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
