//! One text as a batch of the model.

use crate::{Error, Result};
use lm::text::{Contexts, pack};

/// One text as a batch of the model.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub contexts: Contexts,
    /// Where the text's first token is: after BOS, if there is one.
    pub first: usize,
    /// Tokens of the text that are in it.
    pub tokens: usize,
    /// Tokens of the text before those.
    pub before: usize,
}

impl Batch {
    /// `tokens` after `bos`, if the model has one.
    ///
    /// # Errors
    /// No tokens.
    pub fn new(tokens: &[u32], bos: Option<u32>) -> Result<Self> {
        let first = usize::from(bos.is_some());
        // Shorter contexts are refused: they cannot hold a token and the one that follows it.
        let length = (tokens.len() + first).max(2);
        let mut batches = pack([Ok((0, tokens.to_vec()))], length, bos, 1)?;
        let contexts = batches.next().ok_or_else(|| Error::request("the text is empty"))??;
        Ok(Self { contexts, first, tokens: tokens.len(), before: 0 })
    }

    /// The same without padding.
    pub fn unpadded(mut self) -> Self {
        let contexts = &mut self.contexts;
        contexts.len = self.first + self.tokens;
        contexts.tokens.truncate(contexts.len);
        contexts.segments.truncate(contexts.len);
        contexts.positions.truncate(contexts.len);
        contexts.origin.truncate(contexts.len);
        self
    }

    /// One token, which follows the last one of this batch; it has no padding.
    pub fn following(&self, token: u32) -> Self {
        let contexts = &self.contexts;
        let last = |values: &[u32]| values.last().copied().unwrap_or_default();
        let contexts = Contexts {
            rows: 1,
            len: 1,
            tokens: vec![token],
            segments: vec![last(&contexts.segments)],
            positions: vec![last(&contexts.positions) + 1],
            origin: vec![None],
        };
        Self { contexts, first: 0, tokens: 1, before: self.before + self.tokens }
    }
}
