//! Leave-one-out pruning: of a token's active features those stay that the others cannot do without.

use rayon::prelude::*;

use super::{Codes, Dictionary};
use crate::{Error, Result};
use kernels::wide::{dot, norm};

/// Rows of one task.
const ROWS: usize = 64;

impl Dictionary {
    /// For what prunes codes.
    ///
    /// # Errors
    /// A transcoder, whose output is not known when it is used, codes of either sign, or a dictionary that prunes its codes already.
    pub fn needs_prunable_codes(&self) -> Result<()> {
        if let Some(below) = self.prune_below {
            return Err(Error::request(format!("this dictionary prunes its codes already, below {below}"))
                .with_remedy("prune the dictionary that it was made of"));
        }
        self.needs_its_input("pruning")?;
        self.needs_positive_codes("pruning")
    }

    /// The codes of `x[n, d_in]` without the features that the others nearly make up for. With r = x − x̂, the best code of feature i
    /// for the token, the other codes being as they are, is a_i + r·d_i / ‖d_i‖². A feature stays with its code if that is more than
    /// `below`; all are judged before any is left out.
    ///
    /// # Panics
    /// If `codes` are not of `x`, or name a feature that the dictionary does not have.
    pub fn prune(&self, codes: &Codes, x: &[f32], below: f32) -> Codes {
        self.prune_normalised(codes, &self.normalisation.apply(x, self.d_in), below)
    }

    /// The same of rows that are normalised already.
    pub(super) fn prune_normalised(&self, codes: &Codes, x: &[f32], below: f32) -> Codes {
        let d = self.d_in;
        assert_eq!(codes.rows() * d, x.len(), "codes and rows are of different tokens");
        let reconstructed = self.decode(codes);
        let parts: Vec<Codes> = x
            .par_chunks(ROWS * d)
            .zip(reconstructed.par_chunks(ROWS * d))
            .enumerate()
            .map(|(task, (x, reconstructed))| {
                let mut left = Codes::default();
                let (mut residual, mut features, mut values) = (vec![0.0; d], Vec::new(), Vec::new());
                for (i, (x, reconstructed)) in
                    x.chunks_exact(d).zip(reconstructed.chunks_exact(d)).enumerate()
                {
                    residual.iter_mut().zip(x.iter().zip(reconstructed)).for_each(|(r, (x, y))| *r = x - y);
                    features.clear();
                    values.clear();
                    let (all, codes) = codes.row(task * ROWS + i);
                    for (&feature, &value) in all.iter().zip(codes) {
                        if self.best_alone(feature, value, &residual) > f64::from(below) {
                            features.push(feature);
                            values.push(value);
                        }
                    }
                    left.push_row(&features, &values);
                }
                left
            })
            .collect();
        Codes::concatenate(&parts)
    }

    /// The best code of `feature`, which has `value`, if all others keep theirs and leave `residual[d]` with it.
    fn best_alone(&self, feature: u32, value: f32, residual: &[f32]) -> f64 {
        let row = self.decoder_row(feature as usize);
        let energy = norm(row).powi(2);
        if energy > 0.0 { f64::from(value) + dot(residual, row) / energy } else { 0.0 }
    }
}

/// The median of values that are all above zero, 0 of none. Reorders them.
pub fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// What `multiple` of the median code of `x[n, d_in]` is: the measure of [`Dictionary::prune`] that fits any scale of activations.
///
/// # Errors
/// A multiple that is not a number of 0 or more; as [`Dictionary::needs_prunable_codes`]; a dictionary that is silent on all of `x`.
pub fn threshold(dictionary: &Dictionary, x: &[f32], multiple: f64) -> Result<f32> {
    if !(multiple >= 0.0 && multiple.is_finite()) {
        return Err(Error::request(format!(
            "pruning below {multiple} medians: expected a number of 0 or more"
        )));
    }
    dictionary.needs_prunable_codes()?;
    match median(&mut dictionary.encode(x).values) {
        0.0 => {
            Err(Error::data("the dictionary has no active feature on the rows that pruning is measured on"))
        }
        median => Ok((multiple * f64::from(median)) as f32),
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::super::tests::{numbers, small};
    use super::super::{Normalisation, Selection};
    use super::*;
    use kernels::wide::unit_rows;

    /// Rows (1, 0), (.8, .6), (0, 1) and x = (1, .4): TopK 2 takes the first two, which are worth 0.168 and 0.24.
    #[test]
    fn of_two_that_say_the_same_both_are_worth_little() {
        let mut dictionary = small(2, 3, Selection::TopK(2));
        dictionary.w_dec = vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0];
        dictionary.w_enc = dictionary.w_dec.clone();
        dictionary.b_enc = vec![0.0; 3];
        dictionary.b_dec = vec![0.0; 2];
        let x = [1.0, 0.4];
        let codes = dictionary.encode(&x);
        assert_eq!(codes.features, [0, 1]);
        let left = |below| dictionary.prune(&codes, &x, below).features;
        assert_eq!(left(0.1679), [0, 1]);
        assert_eq!(left(0.1681), [1]);
        assert_eq!(left(0.2399), [1]);
        assert!(left(0.2401).is_empty());
    }

    /// What stays is worth more than the limit by the loss itself: the minimum of ‖x − x̂ + (a − t) d‖² over t, by three of its values.
    #[test]
    fn a_feature_stays_if_the_parabola_of_its_loss_has_its_minimum_above_the_limit() {
        let (d, features, n, below) = (12, 30, 150, 0.35_f32);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        for normalisation in [Normalisation::None, Normalisation::ConstantNorm] {
            let mut dictionary = small(d, features, Selection::TopK(3));
            dictionary.normalisation = normalisation;
            // Rows of norm 1.5, whose codes alone would be right.
            dictionary.w_dec = unit_rows(&draw(features * d), d).iter().map(|w| 1.5 * w).collect();
            dictionary.w_enc = dictionary.w_dec.iter().map(|w| w / 2.25).collect();
            (dictionary.b_enc, dictionary.b_dec) = (vec![0.0; features], vec![0.0; d]);
            let x = draw(n * d);
            let codes = dictionary.encode(&x);
            let left = dictionary.prune(&codes, &x, below);
            let rows = normalisation.apply(&x, d);
            let mut fewer = 0;
            for i in 0..n {
                let (features, values) = codes.row(i);
                let mut expected = Vec::new();
                for (at, &feature) in features.iter().enumerate() {
                    let loss = |t: f64| -> f64 {
                        (0..d)
                            .map(|c| {
                                let sum: f64 = features
                                    .iter()
                                    .zip(values)
                                    .enumerate()
                                    .map(|(j, (&f, &v))| {
                                        let v = if j == at { t } else { f64::from(v) };
                                        v * f64::from(dictionary.decoder_row(f as usize)[c])
                                    })
                                    .sum();
                                (f64::from(rows[i * d + c]) - f64::from(dictionary.b_dec[c]) - sum).powi(2)
                            })
                            .sum()
                    };
                    let (a, b, c) = (loss(-1.0), loss(0.0), loss(1.0));
                    let minimum = (a - c) / (2.0 * (a - 2.0 * b + c));
                    assert!((minimum - f64::from(below)).abs() > 1e-6, "too near to tell");
                    if minimum > f64::from(below) {
                        expected.push(feature);
                    }
                }
                fewer += features.len() - expected.len();
                assert_eq!(left.row(i).0, expected, "row {i}");
                for (feature, value) in left.row(i).0.iter().zip(left.row(i).1) {
                    let at = features.iter().position(|f| f == feature).unwrap();
                    assert_eq!(*value, values[at]);
                }
            }
            assert!(fewer > n / 4 && left.features.len() > n / 4, "{fewer}, {}", left.features.len());
        }
    }

    #[test]
    fn the_limit_is_a_multiple_of_the_median_code() {
        let dictionary = small(7, 30, Selection::TopK(5));
        let x = numbers(100 * 7, 5);
        let mut values = dictionary.encode(&x).values;
        values.sort_by(f32::total_cmp);
        let expected = 0.4 * values[values.len() / 2];
        assert!((threshold(&dictionary, &x, 0.4).unwrap() - expected).abs() < 1e-6);
        assert!(threshold(&dictionary, &x, f64::NAN).is_err());
        let signed = small(7, 30, Selection::AbsTopK(5));
        assert!(threshold(&signed, &x, 0.4).unwrap_err().to_string().contains("either sign"));
    }
}
