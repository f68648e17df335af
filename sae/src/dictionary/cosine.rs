//! Codes that are ranked by a mixture of cosine and inner product.
//!
//! With `ê` the unit encoder row of a feature, `x̄ = x − b_dec` and `r = ‖x̄‖` in units of training:
//!
//! ```text
//! s = (x̄ · ê) · r^(α−1) + b        what is ranked: α = 1 is the inner product, α = 0 the cosine
//! v = s · r^(1−α)                  the code, so that the decoder sees magnitudes
//! ```

use super::Codes;
use super::pick::{Pick, PickMemory};
use kernels::wide;

/// The smallest norm that counts: a row of zeros has no direction.
const LEAST_NORM: f32 = 1e-12;

/// How such a dictionary selects.
#[derive(Debug, Clone, PartialEq)]
pub struct Cosine {
    /// α of each feature, `[F]`, each between 0 and 1.
    pub alpha: Vec<f32>,
    /// What 1 of training is in the units of `x`.
    pub unit: f32,
    /// Which scores are taken.
    pub pick: Pick,
}

/// Memory for the scores of a token.
#[derive(Debug, Default)]
struct Memory {
    values: Vec<f32>,
    scores: Vec<f32>,
    pick: PickMemory,
}

/// α of the parameter θ that is learned: its sigmoid.
pub fn alpha(theta: f32) -> f32 {
    1.0 / (1.0 + (-theta).exp())
}

/// `r` of a centred row.
pub fn norm(centred: &[f32]) -> f32 {
    (wide::norm(centred) as f32).max(LEAST_NORM)
}

/// Makes `values` and `scores` those of a row with the norm `norm`, from its `products` with unit encoder rows.
pub fn weigh(
    products: &[f32],
    bias: &[f32],
    alpha: &[f32],
    norm: f32,
    (values, scores): (&mut Vec<f32>, &mut Vec<f32>),
) {
    let log = norm.ln();
    let factor = |alpha: f32| ((alpha - 1.0) * log).exp();
    let first = alpha.first().copied().unwrap_or(1.0);
    let shared = alpha.iter().all(|&a| a == first).then(|| factor(first));
    values.clear();
    scores.clear();
    for ((&product, &bias), &alpha) in products.iter().zip(bias).zip(alpha) {
        let factor = shared.unwrap_or_else(|| factor(alpha));
        let score = product * factor + bias;
        scores.push(score);
        values.push(score / factor);
    }
}

impl Cosine {
    /// The codes of `products[n, F]` of the rows `centred[n, d]`.
    pub(super) fn select(&self, products: &[f32], centred: &[f32], b_enc: &[f32]) -> Codes {
        let (mut codes, mut memory) = (Codes::default(), Memory::default());
        let features = b_enc.len();
        let d = centred.len() * features / products.len().max(1);
        for (products, row) in products.chunks_exact(features).zip(centred.chunks_exact(d.max(1))) {
            let Memory { values, scores, pick } = &mut memory;
            weigh(products, b_enc, &self.alpha, norm(row) / self.unit, (values, scores));
            for &f in self.pick.of(scores, pick) {
                codes.features.push(f);
                codes.values.push(values[f as usize]);
            }
            codes.offsets.push(codes.features.len());
        }
        codes
    }

    /// The same for rows, and biases, that are `factor` times as large.
    pub(super) fn rescale(&mut self, factor: f32) {
        self.unit *= factor;
        self.pick = self.pick.scaled(factor);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Selection;
    use super::super::tests::{numbers, small};
    use super::*;

    fn scores(x: [f32; 2], alpha: f32) -> (Vec<f32>, Vec<f32>) {
        let (mut values, mut scores) = (Vec::new(), Vec::new());
        let products = [x[0], 0.6 * x[0] + 0.8 * x[1]];
        weigh(&products, &[0.0, 0.5], &[alpha; 2], norm(&x), (&mut values, &mut scores));
        (values, scores)
    }

    #[test]
    fn ends_are_the_inner_product_and_the_cosine() {
        // ‖x‖ = 5, products 3 and 5.
        let near =
            |got: &[f32], expected: [f32; 2]| got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        let (values, ranked) = scores([3.0, 4.0], 1.0);
        assert!(near(&values, [3.0, 5.5]) && near(&ranked, [3.0, 5.5]), "{values:?} {ranked:?}");
        let (values, ranked) = scores([3.0, 4.0], 0.0);
        assert!(near(&values, [3.0, 7.5]) && near(&ranked, [0.6, 1.5]), "{values:?} {ranked:?}");
        let (values, ranked) = scores([3.0, 4.0], 0.5);
        let root = 5.0_f32.sqrt();
        assert!(near(&values, [3.0, 5.0 + 0.5 * root]) && near(&ranked, [3.0 / root, root + 0.5]));
        // A row of zeros has finite scores.
        let (values, ranked) = scores([0.0, 0.0], 0.3);
        assert!(values.iter().chain(&ranked).all(|v| v.is_finite()));
    }

    #[test]
    fn another_unit_selects_the_same_features() {
        let mut dictionary = small(12, 40, Selection::TopK(1));
        for pick in [Pick::Best(5), Pick::Above(0.2)] {
            let alpha = numbers(40, 9).iter().map(|v| 0.5 + 0.4 * v).collect();
            dictionary.selection = Selection::Cosine(Cosine { alpha, unit: 1.0, pick });
            let x = numbers(12 * 60, 7);
            let (plain, raw) = (dictionary.encode(&x), dictionary.clone().for_raw_activations(0.25));
            let scaled: Vec<f32> = x.iter().map(|x| x * 4.0).collect();
            let other = raw.encode(&scaled);
            assert!(plain.features.len() > 60 && plain.features == other.features);
            assert!(plain.values.iter().zip(&other.values).all(|(a, b)| (4.0 * a - b).abs() < 1e-4));
        }
    }
}
