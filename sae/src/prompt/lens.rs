//! What the value at the hook says through a Jacobian lens: tokens that it makes likely, now and later.

use candle_core::Tensor;

use super::predictions::{Logits, TOP};
use super::prompter::Prompter;
use super::reading::Reading;
use crate::Result;
use crate::lens::Lens;

impl Prompter {
    /// For every token the likeliest tokens of `unembed(J · x)` with their probabilities, `[n]`.
    ///
    /// # Errors
    /// A lens of a different model, or without the dictionary's hook.
    pub fn through_lens(&self, reading: &Reading, lens: &Lens) -> Result<Vec<Vec<(u32, f32)>>> {
        let d = self.dictionary.d_in;
        let jacobian = lens.at(&self.hook.to_string(), d, &self.model)?;
        let rows = reading.value.narrow(1, reading.batch.first, reading.len())?.squeeze(0)?;
        let moved: Tensor = rows.matmul(&jacobian.t()?)?.unsqueeze(0)?;
        let logits: Vec<Vec<f32>> = self.model.decoder().logits(&moved)?.squeeze(0)?.to_vec2()?;
        Ok(logits.iter().map(|logits| Logits::new(logits).top(TOP)).collect())
    }
}
