//! From a dictionary of whitened rows to the same one for rows as they are.

use storage::whitening::Whitening;

use super::Dictionary;
use super::weights::transposed;
use kernels::wide::dot;

impl Dictionary {
    /// Makes a dictionary of `W (x − μ)` one of `x` with the same codes: `W_enc ← W_enc W`, `W_dec ← W_dec (W⁻¹)ᵀ`, `b_dec ← W⁻¹ b_dec + μ`.
    /// Decoder rows of norm 1 do not keep it.
    pub(crate) fn unwhiten(&mut self, whitening: &Whitening) {
        let d = self.d_in;
        let rows = |old: &[f32], by: &[f32]| -> Vec<f32> {
            old.chunks_exact(d)
                .flat_map(|row| by.chunks_exact(d).map(move |by| dot(by, row) as f32))
                .collect()
        };
        self.w_enc = rows(&self.w_enc, &transposed(&whitening.whiten, d, d));
        self.w_dec = rows(&self.w_dec, &whitening.restore);
        self.b_dec = rows(&self.b_dec, &whitening.restore);
        self.b_dec.iter_mut().zip(&whitening.mean).for_each(|(b, mean)| *b += mean);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Selection;
    use super::super::tests::{numbers, small};
    use super::*;

    /// W is triangular, so that it is not its own transpose.
    #[test]
    fn codes_stay_and_reconstructions_are_of_rows_as_they_are() {
        let dictionary = small(3, 20, Selection::TopK(4));
        let whitening = Whitening {
            mean: vec![5.0, -2.0, 1.0],
            whiten: vec![2.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0, -1.0, 4.0],
            restore: vec![0.5, 0.0, 0.0, -1.0, 2.0, 0.0, -0.25, 0.5, 0.25],
        };
        let apply = |matrix: &[f32], row: &[f32]| -> Vec<f32> {
            matrix.chunks(3).map(|m| m.iter().zip(row).map(|(m, x)| m * x).sum()).collect()
        };
        let mut raw = dictionary.clone();
        raw.unwhiten(&whitening);
        for x in numbers(3 * 50, 7).chunks(3) {
            let centred: Vec<f32> = x.iter().zip(&whitening.mean).map(|(x, m)| x - m).collect();
            let (a, b) = (dictionary.encode(&apply(&whitening.whiten, &centred)), raw.encode(x));
            assert_eq!(a.features, b.features);
            assert!(a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-4));
            let restored = apply(&whitening.restore, &dictionary.decode(&a));
            let expected = restored.iter().zip(&whitening.mean).map(|(x, m)| x + m);
            assert!(raw.decode(&b).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
}
