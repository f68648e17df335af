//! What the tokens of a text fire, and what the model predicts behind them.

use candle_core::Tensor;

use super::experts::LayerExperts;
use super::pass::Batch;
use super::predictions::{Prediction, TOP};
use super::prompter::Prompter;
use crate::dictionary::Codes;
use crate::{Error, Result};
use kernels::feature::norm_squared;

/// A text as the model and the dictionary read it; `n` tokens.
#[derive(Debug)]
pub struct Reading {
    /// The text.
    pub text: String,
    /// Its tokens, `[n]`; BOS is not among them.
    pub tokens: Vec<u32>,
    /// What fires on each, `[n, F]`.
    pub codes: Codes,
    /// ‖x‖ at the hook, `[n]`.
    pub norms: Vec<f32>,
    /// Tokens whose norm is above the limit of training: they have no codes and are never changed, `[n]`.
    pub left_out: Vec<bool>,
    /// The experts of each token, a layer with a router each; none of a model without experts.
    pub experts: Vec<LayerExperts>,
    /// What is predicted behind each token, `[n]`.
    pub predictions: Vec<Prediction>,
    pub(super) batch: Batch,
    /// The value at the hook, `[1, len, d]`.
    pub(super) value: Tensor,
    /// The final residual stream, `[1, len, d_model]`.
    pub(super) residual: Tensor,
}

impl Reading {
    /// Number of tokens, `n`.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Never: an empty text is refused.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The strongest activation of `feature` on this text, if it fires.
    pub fn maximum(&self, feature: u32) -> Option<f32> {
        let entries = self.codes.features.iter().zip(&self.codes.values);
        entries.filter(|(f, _)| **f == feature).map(|(_, v)| *v).reduce(f32::max)
    }

    /// Activation of `feature` at every token, 0 where it does not fire, `[n]`.
    pub fn activations(&self, feature: u32) -> Vec<f32> {
        let at = |token| {
            let (features, values) = self.codes.row(token);
            features.binary_search(&feature).map_or(0.0, |i| values[i])
        };
        (0..self.len()).map(at).collect()
    }

    /// The token that follows each, if one does, `[n]`.
    pub(super) fn targets(&self) -> Vec<Option<u32>> {
        (1..=self.len()).map(|next| self.tokens.get(next).copied()).collect()
    }
}

impl Prompter {
    /// Reads a text.
    ///
    /// # Errors
    /// An empty text, one that is longer than the model's context.
    pub fn read(&self, text: &str) -> Result<Reading> {
        let tokens = self.model.tokenizer().encode_after_bos(text)?;
        if tokens.is_empty() {
            return Err(Error::request("the text is empty: there is no token to look at"));
        }
        if tokens.len() > self.room() {
            return Err(Error::request(format!(
                "the text has {} tokens, `{}` takes {} at most; give a shorter one",
                tokens.len(),
                self.model.id(),
                self.room()
            )));
        }
        let batch = self.batch(&tokens)?;
        let (value, residual, experts) = self.clean(&batch)?;
        let d = self.dictionary.d_in;
        let values: Vec<f32> = value.flatten_all()?.to_vec1()?;
        let rows = &values[batch.first * d..(batch.first + tokens.len()) * d];
        let left_out: Vec<bool> = rows.chunks_exact(d).map(|row| self.is_left_out(row)).collect();
        let all = self.dictionary.encode(rows);
        let mut codes = Codes::default();
        for (token, &left_out) in left_out.iter().enumerate() {
            let (features, values) = if left_out { (&[][..], &[][..]) } else { all.row(token) };
            codes.push_row(features, values);
        }
        let mut reading = Reading {
            text: text.to_owned(),
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
}
