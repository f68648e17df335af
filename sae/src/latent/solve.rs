//! Small symmetric systems.

use kernels::{cholesky, eigen};

/// The lower triangle L of A = LLᵀ, in place; false where A `[k, k]` is not positive definite by a margin.
pub(super) fn decompose(a: &mut [f64], k: usize) -> bool {
    let largest = (0..k).map(|i| a[i * k + i]).fold(0.0, f64::max);
    for j in 0..k {
        let mut pivot = a[j * k + j];
        for l in 0..j {
            pivot -= a[j * k + l] * a[j * k + l];
        }
        if pivot.is_nan() || pivot <= largest * f64::EPSILON * k as f64 {
            return false;
        }
        let root = pivot.sqrt();
        a[j * k + j] = root;
        for i in j + 1..k {
            let mut x = a[i * k + j];
            for l in 0..j {
                x -= a[i * k + l] * a[j * k + l];
            }
            a[i * k + j] = x / root;
        }
    }
    true
}

/// X `[k, d]` with A X = B in the sense of least squares, the smallest where there are several; A `[k, k]` is symmetric and has no
/// negative eigenvalue, B is `[k, d]`.
pub(super) fn least_squares(a: &[f64], b: &[f64], k: usize, d: usize) -> Vec<f64> {
    let mut l = a.to_vec();
    let mut x = b.to_vec();
    if decompose(&mut l, k) {
        let mut column = vec![0.0; k];
        for c in 0..d {
            (0..k).for_each(|i| column[i] = b[i * d + c]);
            cholesky::solve(&l, k, &mut column);
            (0..k).for_each(|i| x[i * d + c] = column[i]);
        }
        return x;
    }
    // A latent that no state has: its row is 0.
    let Some(eigen) = eigen::symmetric(a, k, || false) else { return x };
    let least = eigen.values.first().copied().unwrap_or_default() * f64::EPSILON * k as f64;
    x.fill(0.0);
    for (value, vector) in eigen.values.iter().zip(eigen.vectors.chunks_exact(k)) {
        if *value <= least {
            continue;
        }
        let mut along = vec![0.0; d];
        for (v, b) in vector.iter().zip(b.chunks_exact(d)) {
            along.iter_mut().zip(b).for_each(|(a, b)| *a += v * b / value);
        }
        for (v, x) in vector.iter().zip(x.chunks_exact_mut(d)) {
            x.iter_mut().zip(&along).for_each(|(x, a)| *x += v * a);
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(a: &[f64], x: &[f64], k: usize, d: usize) -> Vec<f64> {
        (0..k * d).map(|at| (0..k).map(|j| a[at / d * k + j] * x[j * d + at % d]).sum()).collect()
    }

    #[test]
    fn systems_are_solved() {
        let a = [4.0, 1.0, 0.5, 1.0, 3.0, -1.0, 0.5, -1.0, 2.0];
        let x = [1.0, 2.0, -3.0, 0.25, 5.0, -1.0];
        let found = least_squares(&a, &product(&a, &x, 3, 2), 3, 2);
        assert!(found.iter().zip(&x).all(|(f, x)| (f - x).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn where_there_are_several_the_smallest_is_taken() {
        // Latents 0 and 1 are always on together, latent 2 never is.
        let a = [2.0, 2.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0];
        let found = least_squares(&a, &[4.0, 4.0, 0.0], 3, 1);
        assert!((found[0] - 1.0).abs() < 1e-12 && (found[1] - 1.0).abs() < 1e-12 && found[2].abs() < 1e-12);
    }
}
