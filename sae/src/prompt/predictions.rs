//! What a model predicts behind tokens: losses, likeliest tokens, divergence from another prediction.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use super::prompter::Prompter;
use super::reading::Reading;
use crate::Result;

/// Likeliest tokens that are kept.
pub(super) const TOP: usize = 5;
/// Tokens whose logits are held at a time.
const CHUNK: usize = 16;

/// What is predicted behind one token.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Prediction {
    /// Cross-entropy of the token that follows, nats; none behind the last.
    pub loss: Option<f32>,
    /// The likeliest tokens and their probabilities, from the likeliest down.
    pub top: Vec<(u32, f32)>,
}

/// The probability of a token with and without a change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shift {
    /// The token.
    pub token: u32,
    /// As it is.
    pub before: f32,
    /// With the change.
    pub after: f32,
}

/// Logits of one prediction, `[V]`, and ln Σ e^logit.
pub(super) struct Logits<'a> {
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

impl Prompter {
    /// Calls `each` for every token with the logits behind it of every final residual stream; results are in the tokens' order.
    pub(super) fn at_each<T: Send>(
        &self,
        reading: &Reading,
        residuals: &[&Tensor],
        each: impl Fn(usize, &[Logits<'_>]) -> T + Sync,
    ) -> Result<Vec<T>> {
        let n = reading.len();
        let mut results = Vec::with_capacity(n);
        for first in (0..n).step_by(CHUNK) {
            let tokens = CHUNK.min(n - first);
            let logits = residuals.iter().map(|residual| {
                let rows = residual.narrow(1, reading.batch.first + first, tokens)?.contiguous()?;
                Ok(self.model.decoder().logits(&rows)?.flatten_all()?.to_vec1::<f32>()?)
            });
            let logits: Vec<Vec<f32>> = logits.collect::<Result<_>>()?;
            let part = |i: usize| {
                let of = |all: &Vec<f32>| -> std::ops::Range<usize> {
                    let width = all.len() / tokens;
                    i * width..(i + 1) * width
                };
                let rows: Vec<Logits<'_>> = logits.iter().map(|all| Logits::new(&all[of(all)])).collect();
                each(first + i, &rows)
            };
            results.par_extend((0..tokens).into_par_iter().map(part));
        }
        Ok(results)
    }

    /// What the model as it is predicts behind every token, with its `k` likeliest.
    pub(super) fn predictions(&self, reading: &Reading, k: usize) -> Result<Vec<Prediction>> {
        let targets = reading.targets();
        self.at_each(reading, &[&reading.residual], |token, logits| Prediction {
            loss: targets[token].map(|next| -logits[0].log(next) as f32),
            top: logits[0].top(k),
        })
    }
}
