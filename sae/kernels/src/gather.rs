//! Work on a few chosen rows of a matrix: the sparse halves of decoding and of both gradients.

use super::vector::{axpy, axpy4, dot, dot4, prefetch};

#[inline(always)]
fn row(matrix: &[f32], width: usize, index: u32) -> &[f32] {
    let start = index as usize * width;
    &matrix[start..start + width]
}

for_this_processor! {
    /// `out[width] += Σᵢ weights[i] · matrix[indices[i]]`, in the order of `indices`, four rows at a time.
    ///
    /// Decoding is this with a token's features, a weight gradient is this with a feature's tokens.
    pub fn add_rows / add_rows_portable(out: &mut [f32], matrix: &[f32], indices: &[u32], weights: &[f32]) {
        let width = out.len();
        let (index_blocks, index_rest) = indices.as_chunks::<4>();
        let (weight_blocks, weight_rest) = weights.as_chunks::<4>();
        for (i, (index, weight)) in index_blocks.iter().zip(weight_blocks).enumerate() {
            if let Some(next) = index_blocks.get(i + 1) {
                next.iter().for_each(|&i| prefetch(row(matrix, width, i)));
            }
            axpy4(out, *weight, index.map(|i| row(matrix, width, i)));
        }
        for (&index, &weight) in index_rest.iter().zip(weight_rest) {
            axpy(out, weight, row(matrix, width, index));
        }
    }
}

for_this_processor! {
    /// `out[i] = matrix[indices[i]] · vector`.
    pub fn dot_rows / dot_rows_portable(out: &mut [f32], matrix: &[f32], indices: &[u32], vector: &[f32]) {
        let width = vector.len();
        let (out_blocks, out_rest) = out.as_chunks_mut::<4>();
        let (index_blocks, index_rest) = indices.as_chunks::<4>();
        for (i, (out, index)) in out_blocks.iter_mut().zip(index_blocks).enumerate() {
            if let Some(next) = index_blocks.get(i + 1) {
                next.iter().for_each(|&i| prefetch(row(matrix, width, i)));
            }
            *out = dot4(index.map(|i| row(matrix, width, i)), vector);
        }
        for (out, &index) in out_rest.iter_mut().zip(index_rest) {
            *out = dot(row(matrix, width, index), vector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 37;

    fn matrix() -> Vec<f32> {
        (0..WIDTH * 20).map(|i| ((i * 31) % 23) as f32 / 5.0 - 2.0).collect()
    }

    fn lists(n: usize) -> (Vec<u32>, Vec<f32>) {
        let indices = (0..n).map(|i| (i * 7 % 20) as u32).collect();
        (indices, (0..n).map(|i| i as f32 * 0.25 - 1.0).collect())
    }

    #[test]
    fn sums_of_rows_equal_the_plain_loop() {
        for n in 0..10 {
            let (matrix, (indices, weights)) = (matrix(), lists(n));
            let mut out = vec![0.5; WIDTH];
            add_rows(&mut out, &matrix, &indices, &weights);
            for (c, &value) in out.iter().enumerate() {
                let exact: f64 = 0.5
                    + indices
                        .iter()
                        .zip(&weights)
                        .map(|(&i, &w)| f64::from(w) * f64::from(matrix[i as usize * WIDTH + c]))
                        .sum::<f64>();
                assert!((f64::from(value) - exact).abs() < 1e-4, "{n} rows, column {c}");
            }
        }
    }

    #[test]
    fn dots_equal_the_plain_loop() {
        let (matrix, (indices, _)) = (matrix(), lists(9));
        let vector: Vec<f32> = (0..WIDTH).map(|i| i as f32 / 10.0).collect();
        let mut out = vec![0.0; 9];
        dot_rows(&mut out, &matrix, &indices, &vector);
        for (&value, &i) in out.iter().zip(&indices) {
            let exact: f64 =
                (0..WIDTH).map(|c| f64::from(matrix[i as usize * WIDTH + c]) * f64::from(vector[c])).sum();
            assert!((f64::from(value) - exact).abs() < 1e-3);
        }
    }

    #[test]
    fn both_variants_give_the_same_bits() {
        let (matrix, (indices, weights)) = (matrix(), lists(11));
        let (mut a, mut b) = (vec![0.1; WIDTH], vec![0.1; WIDTH]);
        add_rows(&mut a, &matrix, &indices, &weights);
        add_rows_portable(&mut b, &matrix, &indices, &weights);
        assert_eq!(a, b);
        let (mut c, mut d) = (vec![0.0; 11], vec![0.0; 11]);
        dot_rows(&mut c, &matrix, &indices, &a);
        dot_rows_portable(&mut d, &matrix, &indices, &a);
        assert_eq!(c, d);
    }
}
