//! Softmax down the columns of a matrix that comes in chunks of rows: what logits `[vocabulary, positions]` need.

use super::exp::exp;

for_this_processor! {
    /// Raises `largest [width]` to the largest number of each column of `x [rows, width]`.
    pub fn raise / raise_portable(x: &[f32], largest: &mut [f32]) {
        for row in x.chunks_exact(largest.len()) {
            for (m, v) in largest.iter_mut().zip(row) {
                *m = if *v > *m { *v } else { *m };
            }
        }
    }
}

for_this_processor! {
    /// Adds `Σ e^(number − shift)` of each column of `x [rows, width]` to `sums [width]`; no number is more than its column's shift + 88.
    pub fn add_exponentials / add_exponentials_portable(x: &[f32], shifts: &[f32], sums: &mut [f32]) {
        let shifts = &shifts[..sums.len()];
        for row in x.chunks_exact(sums.len()) {
            for ((sum, v), shift) in sums.iter_mut().zip(row).zip(shifts) {
                *sum += exp(*v - *shift);
            }
        }
    }
}

for_this_processor! {
    /// Adds `Σ e^(a − shift) (a − b)` of each column of `a` and `b [rows, width]` to `sums [width]`.
    pub fn add_excess / add_excess_portable(a: &[f32], b: &[f32], shifts: &[f32], sums: &mut [f32]) {
        let shifts = &shifts[..sums.len()];
        for (a, b) in a.chunks_exact(sums.len()).zip(b.chunks_exact(sums.len())) {
            for (((sum, a), b), shift) in sums.iter_mut().zip(a).zip(b).zip(shifts) {
                *sum += exp(*a - *shift) * (*a - *b);
            }
        }
    }
}

for_this_processor! {
    /// `out = factor · e^(number − shift)`, with a shift and a factor a column of `x [rows, width]`.
    pub fn shares / shares_portable(x: &[f32], shifts: &[f32], factors: &[f32], out: &mut [f32]) {
        let factors = &factors[..shifts.len()];
        for (row, out) in x.chunks_exact(shifts.len()).zip(out.chunks_exact_mut(shifts.len())) {
            for (((out, v), shift), factor) in out.iter_mut().zip(row).zip(shifts).zip(factors) {
                *out = factor * exp(*v - *shift);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_as_one_by_one_and_variants_give_the_same_bits() {
        let (rows, width) = (37, 45);
        let x: Vec<f32> = (0..rows * width).map(|i| ((i * 37) % 101) as f32 / 9.0 - 5.0).collect();
        let (mut largest, mut sums, mut out) = (vec![-1.0; width], vec![0.5; width], vec![0.0; x.len()]);
        raise(&x, &mut largest);
        add_exponentials(&x, &largest, &mut sums);
        let factors: Vec<f32> = sums.iter().map(|s| 1.0 / s).collect();
        shares(&x, &largest, &factors, &mut out);
        for c in 0..width {
            let column: Vec<f64> = (0..rows).map(|r| f64::from(x[r * width + c])).collect();
            let top = column.iter().fold(-1.0, |m: f64, v| m.max(*v));
            assert_eq!(f64::from(largest[c]), top);
            let sum = 0.5 + column.iter().map(|v| (v - top).exp()).sum::<f64>();
            assert!((f64::from(sums[c]) - sum).abs() < 1e-5 * sum);
            for r in 0..rows {
                assert!((f64::from(out[r * width + c]) - (column[r] - top).exp() / sum).abs() < 1e-6);
            }
        }
        let other: Vec<f32> = x.iter().map(|v| v * 0.5 + 1.0).collect();
        let (mut excess, mut portable) = (vec![0.25; width], vec![0.25; width]);
        add_excess(&x, &other, &largest, &mut excess);
        add_excess_portable(&x, &other, &largest, &mut portable);
        assert_eq!(excess, portable);
        for (c, found) in excess.iter().enumerate() {
            let terms = (0..rows).map(|r| (f64::from(x[r * width + c]), f64::from(other[r * width + c])));
            let sum: f64 = terms.map(|(a, b)| (a - f64::from(largest[c])).exp() * (a - b)).sum();
            assert!((f64::from(*found) - 0.25 - sum).abs() < 1e-4 * (1.0 + sum.abs()));
        }
        let (mut a, mut b, mut c) = (vec![-1.0; width], vec![0.5; width], vec![0.0; x.len()]);
        raise_portable(&x, &mut a);
        add_exponentials_portable(&x, &a, &mut b);
        shares_portable(&x, &a, &factors, &mut c);
        assert_eq!((a, b, c), (largest, sums, out));
    }
}
