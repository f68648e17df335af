//! What changes of features do to the model's predictions on a text, compared with random directions of the
//! same length.

use candle_core::Tensor;
use serde::Serialize;

use super::change::Plan;
use super::pass::Intervention;
use super::predictions::{Shift, TOP};
use super::prompter::Prompter;
use super::reading::Reading;
use crate::{Error, Progress, Result};

/// Predictions with an intervention, compared with those without; one number per token, `n` in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// KL(unchanged ‖ changed) of the prediction after the token, nats, `[n]`.
    pub kl: Vec<f32>,
    /// Cross-entropy of the token that follows, nats; none for the last, `[n]`.
    pub losses: Vec<Option<f32>>,
}

/// What a plan does to the predictions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Effect {
    /// ‖δ‖ of each token, `[n]`.
    pub deltas: Vec<f32>,
    /// ‖δ‖ / ‖x‖ of each token, `[n]`.
    pub ratios: Vec<f32>,
    /// Cross-entropy without the change, nats, `[n]`.
    pub before: Vec<Option<f32>>,
    /// With the change.
    pub after: Outcome,
    /// With steps of the same lengths in random directions, one entry per draw: a draw has one direction for
    /// all tokens.
    pub controls: Vec<Outcome>,
    /// For every token the likeliest next tokens with and without the change, `[n]`, the likeliest without it
    /// first.
    pub shifts: Vec<Vec<Shift>>,
}

/// A mean over tokens, summarised over the draws of a control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean of the draws.
    pub mean: f64,
    /// The lowest of the draws.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Outcome {
    /// Mean KL over the tokens, nats.
    pub fn mean_kl(&self) -> f64 {
        mean(self.kl.iter().copied()).unwrap_or_default()
    }

    /// Mean cross-entropy over the tokens that have a next one; none in a text of one token.
    pub fn mean_loss(&self) -> Option<f64> {
        mean(self.losses.iter().flatten().copied())
    }
}

impl Effect {
    /// Mean ‖δ‖/‖x‖ over the changed tokens; none if no token was changed.
    pub fn mean_ratio(&self) -> Option<f64> {
        mean(self.ratios.iter().copied().filter(|ratio| *ratio > 0.0))
    }

    /// Mean cross-entropy as it is.
    pub fn mean_before(&self) -> Option<f64> {
        mean(self.before.iter().flatten().copied())
    }

    /// Mean KL of the controls; none without controls.
    pub fn control_kl(&self) -> Option<Spread> {
        Spread::of(self.controls.iter().map(Outcome::mean_kl))
    }

    /// Mean cross-entropy of the controls.
    pub fn control_loss(&self) -> Option<Spread> {
        Spread::of(self.controls.iter().filter_map(Outcome::mean_loss))
    }
}

impl Spread {
    pub(super) fn of(draws: impl Iterator<Item = f64>) -> Option<Self> {
        let draws: Vec<f64> = draws.collect();
        let (low, high) = (draws.iter().copied().reduce(f64::min)?, draws.iter().copied().reduce(f64::max)?);
        Some(Self { mean: draws.iter().sum::<f64>() / draws.len() as f64, low, high })
    }
}

fn mean(values: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0_u32), |(sum, n), value| (sum + f64::from(value), n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

impl Prompter {
    /// What `plan` does to the predictions on a reading, compared with `controls` draws of random directions
    /// of the same length.
    ///
    /// # Errors
    /// [`Error::Stopped`], or a failed tensor operation.
    pub fn effect(
        &self,
        reading: &Reading,
        plan: &Plan,
        (controls, seed): (u16, u64),
        progress: &mut dyn Progress,
    ) -> Result<Effect> {
        progress.begin("changes", Some(u64::from(controls) + 1), "passes");
        let (residual, deltas) = self.replaced(reading, Intervention::Changes(plan))?;
        let targets = reading.targets();
        let both = self.at_each(reading, &[&reading.residual, &residual], |token, logits| {
            let loss = targets[token].map(|next| -logits[1].log(next) as f32);
            let (before, after) = (logits[0].top(TOP), logits[1].top(TOP));
            let mut tokens: Vec<u32> = before.iter().map(|(token, _)| *token).collect();
            tokens.extend(after.iter().map(|(token, _)| *token).filter(|t| before.iter().all(|b| b.0 != *t)));
            let probability = |side: usize, token| logits[side].log(token).exp() as f32;
            let shift = |token| Shift { token, before: probability(0, token), after: probability(1, token) };
            (logits[0].divergence(&logits[1]), loss, tokens.into_iter().map(shift).collect())
        })?;
        let mut effect = Effect {
            ratios: deltas.iter().zip(&reading.norms).map(|(delta, norm)| ratio(*delta, *norm)).collect(),
            deltas,
            before: reading.predictions.iter().map(|prediction| prediction.loss).collect(),
            ..Effect::default()
        };
        for (kl, loss, shifts) in both {
            effect.after.kl.push(kl);
            effect.after.losses.push(loss);
            effect.shifts.push(shifts);
        }
        for draw in 0..u64::from(controls) {
            progress.advance(draw + 1, "");
            if progress.stop_requested() {
                return Err(Error::stopped("the controls were not finished"));
            }
            let direction = self.direction(seed, draw);
            let (residual, _) = self.replaced(reading, Intervention::Control(plan, &direction))?;
            effect.controls.push(self.outcome(reading, &residual)?);
        }
        progress.end(&format!("KL {:.4} nats per token", effect.after.mean_kl()));
        Ok(effect)
    }

    fn outcome(&self, reading: &Reading, residual: &Tensor) -> Result<Outcome> {
        let targets = reading.targets();
        let both = self.at_each(reading, &[&reading.residual, residual], |token, logits| {
            (logits[0].divergence(&logits[1]), targets[token].map(|next| -logits[1].log(next) as f32))
        })?;
        let (kl, losses) = both.into_iter().unzip();
        Ok(Outcome { kl, losses })
    }

    /// The final residual stream with the change, and ‖δ‖ of each token.
    pub(super) fn replaced(&self, reading: &Reading, with: Intervention<'_>) -> Result<(Tensor, Vec<f32>)> {
        match self.changed(&reading.batch, &reading.value, with)? {
            Some((value, deltas)) => Ok((self.after(&reading.batch, &value)?, deltas)),
            None => Ok((reading.residual.clone(), vec![0.0; reading.len()])),
        }
    }
}

fn ratio(delta: f32, norm: f32) -> f32 {
    if norm > 0.0 { delta / norm } else { 0.0 }
}
