//! Eigenvectors of a symmetric matrix, by Jacobi's rotations.
//!
//! Each rotation makes one pair of elements off the diagonal 0; sweeps over all pairs converge quadratically (Golub & Van Loan, *Matrix
//! Computations*, 8.5). Slow compared with tridiagonal methods, and exact to the last digits even for eigenvalues far below the largest.

/// Eigenvalues, descending, and their eigenvectors: row i of `vectors` `[d, d]` belongs to `values[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// `[d]`.
    pub values: Vec<f64>,
    /// `[d, d]`, orthonormal rows.
    pub vectors: Vec<f64>,
}

/// Sweeps after which even the worst matrix has converged.
const SWEEPS: usize = 60;

/// Of the symmetric `a` `[d, d]`; only the part on and above the diagonal is read.
///
/// `stop` is asked after every sweep; `None` if it says yes.
pub fn symmetric(a: &[f64], d: usize, mut stop: impl FnMut() -> bool) -> Option<Eigen> {
    let mut a = full(a, d);
    let mut vectors = vec![0.0; d * d];
    (0..d).for_each(|i| vectors[i * d + i] = 1.0);
    let scale: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 = (0..d).map(|i| a[i * d + i + 1..(i + 1) * d].iter().map(|x| x * x).sum::<f64>()).sum();
        if off <= f64::EPSILON * f64::EPSILON * scale {
            break;
        }
        for p in 0..d {
            for q in p + 1..d {
                rotate(&mut a, &mut vectors, d, p, q);
            }
        }
        if stop() {
            return None;
        }
    }
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&i, &j| a[j * d + j].total_cmp(&a[i * d + i]));
    let values = order.iter().map(|&i| a[i * d + i]).collect();
    let vectors = order.iter().flat_map(|&i| vectors[i * d..(i + 1) * d].iter().copied()).collect();
    Some(Eigen { values, vectors })
}

fn full(a: &[f64], d: usize) -> Vec<f64> {
    let element = |i: usize, j: usize| a[i.min(j) * d + i.max(j)];
    (0..d * d).map(|at| element(at / d, at % d)).collect()
}

/// Makes `a[p, q]` 0. The matrix is kept whole, so that both changes are of rows.
fn rotate(a: &mut [f64], vectors: &mut [f64], d: usize, p: usize, q: usize) {
    let (app, aqq, apq) = (a[p * d + p], a[q * d + q], a[p * d + q]);
    if apq.abs() <= f64::MIN_POSITIVE {
        return;
    }
    // tan of the smaller of the two angles.
    let theta = (aqq - app) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    turn(a, d, p, q, c, s);
    turn(vectors, d, p, q, c, s);
    for i in 0..d {
        (a[i * d + p], a[i * d + q]) = (a[p * d + i], a[q * d + i]);
    }
    (a[p * d + p], a[q * d + q]) = (app - t * apq, aqq + t * apq);
    (a[p * d + q], a[q * d + p]) = (0.0, 0.0);
}

/// Rows p and q, turned.
fn turn(matrix: &mut [f64], d: usize, p: usize, q: usize, c: f64, s: f64) {
    let (above, below) = matrix.split_at_mut(q * d);
    let rows = above[p * d..(p + 1) * d].iter_mut().zip(&mut below[..d]);
    for (x, y) in rows {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn random(d: usize, rank: usize, seed: u64) -> Vec<f64> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let factors: Vec<f64> = (0..d * rank).map(|_| rng.random::<f64>() - 0.5).collect();
        let product = |i: usize, j: usize| {
            (0..rank)
                .map(|k| factors[i * rank + k] * factors[j * rank + k] * 10f64.powi(-(k as i32) / 2))
                .sum()
        };
        (0..d * d).map(|at| product(at / d, at % d)).collect()
    }

    #[test]
    fn by_definition() {
        for (d, rank) in [(1, 1), (2, 2), (7, 7), (24, 24), (24, 5)] {
            let a = random(d, rank, d as u64);
            let Eigen { values, vectors } = symmetric(&a, d, || false).unwrap();
            assert!(values.windows(2).all(|w| w[0] >= w[1]));
            let largest = values[0];
            for i in 0..d {
                let v = &vectors[i * d..(i + 1) * d];
                for j in 0..d {
                    let av: f64 = (0..d).map(|k| a[j * d + k] * v[k]).sum();
                    assert!((av - values[i] * v[j]).abs() <= 1e-13 * largest, "A v = λ v");
                    let dot: f64 = v.iter().zip(&vectors[j * d..]).map(|(x, y)| x * y).sum();
                    assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-13, "orthonormal");
                }
            }
            let trace: f64 = (0..d).map(|i| a[i * d + i]).sum();
            assert!((values.iter().sum::<f64>() - trace).abs() < 1e-12 * trace);
            assert!(values[rank..].iter().all(|x| x.abs() < 1e-14 * largest));
        }
    }

    #[test]
    fn a_matrix_by_hand() {
        let eigen = symmetric(&[2.0, 1.0, f64::NAN, 2.0], 2, || false).unwrap();
        assert!((eigen.values[0] - 3.0).abs() < 1e-15 && (eigen.values[1] - 1.0).abs() < 1e-15);
        assert!(
            (eigen.vectors[0].abs() - 0.5f64.sqrt()).abs() < 1e-15 && eigen.vectors[0] == eigen.vectors[1]
        );
        assert!(symmetric(&[2.0, 1.0, 1.0, 2.0], 2, || true).is_none());
    }
}
