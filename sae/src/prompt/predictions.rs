//! What a model predicts after a token: loss, likeliest tokens, divergence from a different prediction.

use serde::Serialize;

/// Likeliest tokens that a prediction keeps.
pub(super) const TOP: usize = 5;

/// What is predicted after one token.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Prediction {
    /// Cross-entropy of the token that follows, nats; none for the last.
    pub loss: Option<f32>,
    /// The likeliest tokens and their probabilities, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// The probability of a token with and without a change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shift {
    /// The token.
    pub token: u32,
    /// Without the change.
    pub before: f32,
    /// With the change.
    pub after: f32,
}

/// Logits of one prediction, `[V]`, and ln Σ e^logit.
pub(crate) struct Logits<'a> {
    values: &'a [f32],
    log_sum: f64,
}

impl<'a> Logits<'a> {
    pub fn new(values: &'a [f32]) -> Self {
        let largest = f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = values.iter().map(|&v| (f64::from(v) - largest).exp()).sum();
        Self { values, log_sum: largest + sum.ln() }
    }

    /// ln p(token).
    pub fn log(&self, token: u32) -> f64 {
        f64::from(self.values[token as usize]) - self.log_sum
    }

    /// The likeliest tokens, ties by number.
    pub fn top(&self, k: usize) -> Vec<(u32, f32)> {
        let mut order: Vec<u32> = (0..self.values.len() as u32).collect();
        let by_logit =
            |a: &u32, b: &u32| self.values[*b as usize].total_cmp(&self.values[*a as usize]).then(a.cmp(b));
        let k = k.min(order.len());
        if k < order.len() {
            order.select_nth_unstable_by(k, by_logit);
        }
        order.truncate(k);
        order.sort_by(by_logit);
        order.into_iter().map(|token| (token, self.log(token).exp() as f32)).collect()
    }

    /// KL(self ‖ other) = Σ p (ln p − ln q), nats.
    pub fn divergence(&self, other: &Self) -> f32 {
        let pairs = self.values.iter().zip(other.values);
        let sum: f64 = pairs
            .map(|(&a, &b)| {
                let (p, q) = (f64::from(a) - self.log_sum, f64::from(b) - other.log_sum);
                p.exp() * (p - q)
            })
            .sum();
        // Rounding can leave −1e−17 where both are equal.
        sum.max(0.0) as f32
    }
}
