//! Reading a text: what its tokens fire, and what the model predicts after them.

use candle_core::Tensor;
use rayon::prelude::*;

use super::predictions::{Logits, Prediction, TOP};
use super::prompter::Prompter;
use super::reading::Reading;
use crate::dictionary::Codes;
use crate::heads::HeldText;
use crate::{Error, Result};
use kernels::feature::norm_squared;

/// Tokens whose logits are held at a time.
const CHUNK: usize = 16;

impl Prompter {
    /// Reads a text.
    ///
    /// # Errors
    /// An empty text, or one that is longer than the model's context.
    pub fn read(&self, text: &str) -> Result<Reading> {
        let tokens = self.model.tokenizer().encode_after_bos(text)?;
        self.read_as(text.to_owned(), tokens)
    }

    /// Reads tokens as they are, such as those of a dataset: a text that is made of them may be cut into different ones.
    ///
    /// # Errors
    /// No tokens, more than the model's context has room for, or one outside its vocabulary.
    pub fn read_tokens(&self, tokens: &[u32]) -> Result<Reading> {
        let size = self.model.config().vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= size) {
            return Err(Error::request(format!(
                "token {token} is outside the vocabulary of `{}`, which has {size} tokens",
                self.model.id()
            ))
            .with_remedy("use the model that the dataset was made with"));
        }
        self.read_as(self.text(tokens), tokens.to_vec())
    }

    /// Holds the model linear at a reading, to follow features back through its heads. Tokens are counted with those of
    /// [`Reading::begins`].
    ///
    /// # Errors
    /// A model that cannot be held ([`HeldText::new`]).
    pub fn hold(&self, reading: &Reading) -> Result<HeldText> {
        HeldText::new(self.model.decoder(), &reading.batch.clone().unpadded().contexts)
    }

    fn read_as(&self, text: String, tokens: Vec<u32>) -> Result<Reading> {
        if tokens.is_empty() {
            return Err(Error::request("the text is empty: there is no token to look at"));
        }
        if tokens.len() > self.room() {
            return Err(Error::request(format!(
                "the text has {} tokens, `{}` takes at most {}",
                tokens.len(),
                self.model.id(),
                self.room()
            ))
            .with_remedy("give a shorter text"));
        }
        let batch = self.batch(&tokens)?;
        let (value, residual, experts) = self.clean(&batch)?;
        let d = self.dictionary.d_in;
        let values: Vec<f32> = value.flatten_all()?.to_vec1()?;
        let rows = &values[batch.first * d..(batch.first + tokens.len()) * d];
        let left_out: Vec<bool> = rows.chunks_exact(d).map(|row| self.is_left_out(row)).collect();
        let all = self.codes(rows);
        let mut codes = Codes::default();
        for (token, &left_out) in left_out.iter().enumerate() {
            // Tokens that training left out have no codes: the dictionary never saw such norms.
            let (features, values) = if left_out { (&[][..], &[][..]) } else { all.row(token) };
            codes.push_row(features, values);
        }
        let mut reading = Reading {
            text,
            codes,
            norms: rows.chunks_exact(d).map(|row| norm_squared(row).sqrt()).collect(),
            left_out,
            experts,
            predictions: Vec::new(),
            tokens,
            batch,
            value,
            residual,
        };
        reading.predictions = self.predictions(&reading, TOP)?;
        Ok(reading)
    }

    /// Calls `each` for every token with the logits after it, of each of `residuals` (`[1, len, d_model]`).
    /// Results are in the tokens' order.
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

    /// What the unchanged model predicts after every token, with its `k` likeliest.
    pub(super) fn predictions(&self, reading: &Reading, k: usize) -> Result<Vec<Prediction>> {
        let targets = reading.targets();
        self.at_each(reading, &[&reading.residual], |token, logits| Prediction {
            loss: targets[token].map(|next| -logits[0].log(next) as f32),
            top: logits[0].top(k),
        })
    }
}
