//! Sums in a fixed order, in double precision where many terms meet.

/// Adds `part[n]` to `total[n]`.
pub fn add(total: &mut [f64], part: &[f64]) {
    for (t, p) in total.iter_mut().zip(part) {
        *t += p;
    }
}

/// `Σᵢ x²` in double precision.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    // Blocks keep the loop from being one long chain of additions; the order is still fixed.
    let (blocks, rest) = x.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
}

/// Adds each column's sum over the rows of `x[n, d]` to `sums[d]`.
pub fn add_column_sums(sums: &mut [f64], x: &[f32]) {
    for row in x.chunks_exact(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
}

/// `Σ‖x − mean(x)‖²` of `n` rows, from their column sums and the sum of their squares.
pub fn centred_sum_of_squares(n: u64, column_sums: &[f64], sum_of_squares: f64) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let of_mean: f64 = column_sums.iter().map(|s| s * s).sum::<f64>() / n as f64;
    (sum_of_squares - of_mean).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centred_squares_equal_the_definition() {
        let (n, d) = (13, 5);
        let x: Vec<f32> = (0..n * d).map(|i| ((i * 17) % 19) as f32 / 3.0 + 2.0).collect();
        let mean: Vec<f64> =
            (0..d).map(|c| (0..n).map(|r| f64::from(x[r * d + c])).sum::<f64>() / n as f64).collect();
        let exact: f64 = (0..n * d).map(|i| (f64::from(x[i]) - mean[i % d]).powi(2)).sum();
        let mut sums = vec![0.0; d];
        add_column_sums(&mut sums, &x);
        let got = centred_sum_of_squares(n as u64, &sums, sum_of_squares(&x));
        assert!((got - exact).abs() < 1e-9 * exact, "{got} and {exact}");
        assert_eq!(centred_sum_of_squares(0, &[0.0], 0.0), 0.0);
    }
}
