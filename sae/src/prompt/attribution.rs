//! What each code does to the loss or to a logit, estimated by the gradient at the hook.

use candle_core::{Tensor, Var};
use serde::Serialize;

use super::prompter::Prompter;
use super::reading::Reading;
use crate::{Error, Result};
use kernels::gather::dot_rows;

/// What an effect is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The summed cross-entropy of all tokens of the text but the first, nats. (The first is predicted from
    /// BOS and depends on no code.)
    Loss,
    /// The logit of a token.
    Logit {
        /// The token.
        token: u32,
        /// The token of the text that it follows, counted from 0.
        position: usize,
    },
}

/// The effect of every code on a target, T.
///
/// With x = Σ cᵢ · W_decᵢ + (everything else), removing code cᵢ moves x by −cᵢ · W_decᵢ, so that to first
/// order
///
/// ```text
/// effectᵢ = cᵢ · (W_decᵢ · ∂T/∂x) ≈ T(unchanged) − T(without the code)
/// ```
///
/// (activation × gradient, "attribution patching": Nanda 2023; Syed et al. 2023; for features of dictionaries
/// Marks et al. 2024). A code that helps has a negative effect on the loss. One backward pass gives all
/// effects. They are estimates: to be sure of one, ablate its feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attribution {
    /// What the effects are on.
    pub target: Target,
    /// The target's value without a change.
    pub value: f32,
    /// The effect of each of the reading's codes, in their order.
    pub effects: Vec<f32>,
}

impl Prompter {
    /// The effects of a reading's codes on `target`.
    ///
    /// # Errors
    /// The loss of a text of one token, a token or a position that does not exist.
    pub fn attribute(&self, reading: &Reading, target: Target) -> Result<Attribution> {
        self.check(reading, target)?;
        let shift = Var::zeros(reading.value.shape(), reading.value.dtype(), reading.value.device())?;
        let residual = self.after(&reading.batch, &(&reading.value + shift.as_tensor())?)?;
        let scalar = self.target(reading, target, &residual)?;
        let gradients = scalar.backward()?;
        let gradient = gradients.get(&shift).ok_or_else(|| {
            Error::data(format!("no gradient reached {}: nothing after it depends on it", self.hook))
        })?;
        let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        let (d, codes) = (self.dictionary.d_in, &reading.codes);
        let mut effects = vec![0.0; codes.values.len()];
        for token in 0..reading.len() {
            let place = reading.batch.first + token;
            let range = codes.offsets[token]..codes.offsets[token + 1];
            let slopes = &mut effects[range.clone()];
            let gradient = &gradient[place * d..(place + 1) * d];
            dot_rows(slopes, &self.dictionary.w_dec, &codes.features[range.clone()], gradient);
            slopes.iter_mut().zip(&codes.values[range]).for_each(|(slope, code)| *slope *= code);
        }
        let value = match target {
            Target::Loss => reading.predictions.iter().filter_map(|prediction| prediction.loss).sum(),
            Target::Logit { .. } => scalar.to_scalar()?,
        };
        Ok(Attribution { target, value, effects })
    }

    pub(super) fn check(&self, reading: &Reading, target: Target) -> Result<()> {
        let (n, vocabulary) = (reading.len(), self.model.config().vocab_size);
        match target {
            Target::Loss if n < 2 => {
                Err(Error::request("a text of one token has no next token to take the loss of")
                    .with_remedy("give a longer text, or ask for a logit"))
            }
            Target::Logit { position, .. } if position >= n => Err(Error::request(format!(
                "the text has no token {position}: its {n} tokens are numbered from 0"
            ))),
            Target::Logit { token, .. } if token as usize >= vocabulary => {
                Err(Error::request(format!("there is no token {token}: the vocabulary has {vocabulary}")))
            }
            _ => Ok(()),
        }
    }

    /// The target, a scalar, of a final residual stream.
    pub(super) fn target(&self, reading: &Reading, target: Target, residual: &Tensor) -> Result<Tensor> {
        let decoder = self.model.decoder();
        match target {
            Target::Loss => decoder.summed_loss(residual, &reading.batch.contexts),
            Target::Logit { token, position } => {
                let row = residual.narrow(1, reading.batch.first + position, 1)?;
                Ok(decoder.logits(&row)?.flatten_all()?.get(token as usize)?)
            }
        }
    }
}
