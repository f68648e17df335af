//! Continuations: the tokens that the model adds to a text.

use serde::Serialize;

use super::batch::Batch;
use super::pass::Intervention;
use super::predictions::Logits;
use super::prompter::Prompter;
use super::reading::Reading;
use crate::{Error, Progress, Result};
use kernels::chance::{Generator, Purpose, generator, uniform};
use lm::model::KeyValueCache;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// The likeliest token; of equals the one with the lower number.
    #[default]
    Greedy,
    /// Drawn from softmax(logits / temperature), as the token with the largest logit / temperature + Gumbel
    /// noise. The noise is a function of (seed, step, token), so that with and without a change the same
    /// tokens are drawn until the predictions differ.
    Drawn {
        /// Above 0; 1 is the model's own distribution.
        temperature: f32,
        /// Seed of the noise.
        seed: u64,
    },
}

/// Tokens that follow a text.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Continuation {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Their text.
    pub text: String,
    /// ln p of each token when it was chosen, in the pass that chose it.
    pub log_probabilities: Vec<f32>,
    /// Whether the model ended it (with its end-of-sequence token).
    pub ended: bool,
}

impl Prompter {
    /// Continues a reading's text by at most `tokens` tokens. A change everywhere applies to the new tokens
    /// too, one at chosen tokens does not. What the model computed for a token is kept for those after it.
    ///
    /// # Errors
    /// More tokens than the model's context has room for, or a temperature that is not above 0.
    pub fn continuation(
        &self,
        reading: &Reading,
        with: Intervention<'_>,
        tokens: usize,
        sampling: Sampling,
        progress: &mut dyn Progress,
    ) -> Result<Continuation> {
        let room = self.room() - reading.len();
        if tokens > room {
            return Err(Error::request(format!(
                "`{}` has room for {room} more tokens after these {}, not for {tokens}",
                self.model.id(),
                reading.len()
            )));
        }
        if let Sampling::Drawn { temperature, .. } = sampling
            && !(temperature > 0.0 && temperature.is_finite())
        {
            return Err(Error::request(format!(
                "the temperature is {temperature}, expected a number above 0"
            )));
        }
        progress.begin("continuation", Some(tokens as u64), "tokens");
        let (mut batch, mut cache) = (reading.batch.clone().unpadded(), KeyValueCache::default());
        let mut made = Continuation::default();
        for step in 0..tokens {
            let (token, log) = self.next(&batch, &mut cache, with, sampling, step as u64)?;
            made.log_probabilities.push(log);
            made.tokens.push(token);
            batch = batch.following(token);
            progress.advance(step as u64 + 1, self.token_text(token));
            if Some(token) == self.model.config().eos_token_id {
                made.ended = true;
                break;
            }
            if progress.stop_requested() {
                return Err(Error::stopped("the continuation was not finished"));
            }
        }
        made.text = self.text(&made.tokens);
        progress.end(&format!("{} tokens", made.tokens.len()));
        Ok(made)
    }

    /// The token after `batch`, which follows what is in `cache`, and ln of its probability.
    fn next(
        &self,
        batch: &Batch,
        cache: &mut KeyValueCache,
        with: Intervention<'_>,
        sampling: Sampling,
        step: u64,
    ) -> Result<(u32, f32)> {
        let residual = self.following(batch, cache, with)?;
        let last = residual.narrow(1, batch.first + batch.tokens - 1, 1)?;
        let logits: Vec<f32> = self.model.decoder().logits(&last)?.flatten_all()?.to_vec1()?;
        let token = match sampling {
            Sampling::Greedy => largest(logits.iter().map(|&v| f64::from(v))),
            Sampling::Drawn { temperature, seed } => {
                let mut rng = generator(seed, Purpose::Continuations, step, 0);
                largest(logits.iter().map(|&v| f64::from(v / temperature) + gumbel(&mut rng)))
            }
        };
        Ok((token, Logits::new(&logits).log(token) as f32))
    }
}

/// −ln(−ln u), u uniform in (0, 1).
fn gumbel(rng: &mut Generator) -> f64 {
    -(-uniform(rng).ln()).ln()
}

/// The index of the largest, the first of equals.
fn largest(values: impl Iterator<Item = f64>) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, value) in values.enumerate() {
        if value > best.1 {
            best = (i as u32, value);
        }
    }
    best.0
}
