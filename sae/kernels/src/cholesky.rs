//! Small symmetric systems by Cholesky's decomposition A = L Lᵀ, in double precision.
//!
//! A and L are `[n, n]`, row by row; of A the lower triangle is read, and L takes its place. What is above the diagonal stays.

/// L in the place of A. What is left on the diagonal is at least `least`, which makes something of a matrix that rounding took out of
/// the positive definite ones.
pub fn factor(a: &mut [f64], n: usize, least: f64) {
    for i in 0..n {
        for j in 0..=i {
            let (before, this) = a.split_at(i * n);
            let row = if j == i { &this[..j] } else { &before[j * n..j * n + j] };
            let sum: f64 = this[..j].iter().zip(row).map(|(x, y)| x * y).sum();
            let rest = a[i * n + j] - sum;
            a[i * n + j] = if i == j { rest.max(least).sqrt() } else { rest / a[j * n + j] };
        }
    }
}

/// L⁻¹ b in the place of `b[n]`.
pub fn forward(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let sum: f64 = (0..i).map(|j| l[i * n + j] * b[j]).sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
}

/// L⁻ᵀ b in the place of `b[n]`.
pub fn backward(l: &[f64], n: usize, b: &mut [f64]) {
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|j| l[j * n + i] * b[j]).sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
}

/// A⁻¹ b in the place of `b[n]`, with L of [`factor`].
pub fn solve(l: &[f64], n: usize, b: &mut [f64]) {
    forward(l, n, b);
    backward(l, n, b);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        // A x with x = (1, 2, 3).
        let (mut a, mut b) = ([4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0], [9.8, 15.0, 11.6]);
        let whole = a;
        factor(&mut a, 3, 0.0);
        for i in 0..3 {
            for j in 0..=i {
                let product: f64 = (0..=j).map(|k| a[i * 3 + k] * a[j * 3 + k]).sum();
                assert!((product - whole[i * 3 + j]).abs() < 1e-12);
            }
        }
        solve(&a, 3, &mut b);
        assert!(b.iter().zip([1.0, 2.0, 3.0]).all(|(found, wanted)| (found - wanted).abs() < 1e-12), "{b:?}");
    }

    #[test]
    fn the_halves_are_those_of_the_triangle() {
        let l = [2.0, 0.0, 3.0, 5.0];
        let (mut down, mut up) = ([4.0, 16.0], [4.0, 10.0]);
        forward(&l, 2, &mut down);
        backward(&l, 2, &mut up);
        assert_eq!((down, up), ([2.0, 2.0], [-1.0, 2.0]));
    }

    #[test]
    fn a_matrix_that_is_not_definite_has_the_least_on_its_diagonal() {
        let mut a = [1.0, 1.0, 1.0, 1.0];
        factor(&mut a, 2, 1e-4);
        assert_eq!(a[3], 1e-2);
    }
}
