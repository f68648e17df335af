//! Codes of either sign as codes above zero: each side of a feature becomes a feature of its own.

use super::{Dictionary, Selection};
use crate::{Error, Result};

impl Dictionary {
    /// A dictionary of `2F` features that reconstructs the same with codes above zero. Feature f has the positive codes of f, feature
    /// F + f the magnitudes of its negative ones: the k largest |z| of F are the k largest of z and −z.
    ///
    /// # Errors
    /// A dictionary whose codes have one sign already.
    pub fn split_signs(&self) -> Result<Self> {
        let Selection::AbsTopK(k) = self.selection else {
            return Err(Error::request(format!(
                "signs are split where codes have either sign; those of this dictionary ({}) have one",
                self.selection.name()
            )));
        };
        let with_negative =
            |numbers: &[f32]| numbers.iter().copied().chain(numbers.iter().map(|x| -x)).collect();
        Ok(Self {
            d_sae: 2 * self.d_sae,
            w_enc: with_negative(&self.w_enc),
            b_enc: with_negative(&self.b_enc),
            w_dec: with_negative(&self.w_dec),
            selection: Selection::TopK(k),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, small};
    use super::super::{Normalisation, Target};
    use super::*;

    #[test]
    fn sides_have_the_codes_of_their_features() {
        let (d, f, d_out) = (24, 150, 5);
        let mut transcoder = small(d, f, Selection::AbsTopK(9));
        transcoder.w_dec = numbers(f * d_out, 31);
        transcoder.b_dec = numbers(d_out, 32);
        transcoder.target =
            Some(Target { d_out, skip: Some(numbers(d_out * d, 33)), hook: None, norm_limit: None });
        let mut normalised = small(d, f, Selection::AbsTopK(9));
        normalised.normalisation = Normalisation::LayerNorm;
        let mut negative = 0;
        for signed in [small(d, f, Selection::AbsTopK(9)), transcoder, normalised] {
            let sides = signed.split_signs().unwrap();
            let x = numbers(d * 300, 7);
            let (before, after) = (signed.encode(&x), sides.encode(&x));
            for i in 0..300 {
                let (features, values) = after.row(i);
                let mut back: Vec<(u32, f32)> = features
                    .iter()
                    .zip(values)
                    .map(|(&side, &v)| if side < f as u32 { (side, v) } else { (side - f as u32, -v) })
                    .collect();
                back.sort_by_key(|(feature, _)| *feature);
                let (features, values) = before.row(i);
                assert_eq!(back.iter().map(|b| b.0).collect::<Vec<_>>(), features, "row {i}");
                for ((_, v), expected) in back.iter().zip(values) {
                    assert!((v - expected).abs() < 1e-5, "row {i}: {v}, {expected}");
                }
                negative += back.iter().filter(|(_, v)| *v < 0.0).count();
            }
            for (a, b) in sides.decode_with(&after, &x).iter().zip(signed.decode_with(&before, &x)) {
                assert!((a - b).abs() < 1e-4, "{a}, {b}");
            }
        }
        assert!(negative > 300);
    }

    #[test]
    fn codes_of_one_sign_are_not_split() {
        let error = small(4, 10, Selection::TopK(2)).split_signs().unwrap_err().to_string();
        assert!(error.contains("topk"), "{error}");
    }
}
