//! One text as a batch of the model.

use crate::{Error, Result};
use lm::text::{Contexts, pack};

/// One text as a batch of the model.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub contexts: Contexts,
    /// Where the text's first token is: after BOS, if there is one.
    pub first: usize,
    /// Tokens of the text.
    pub tokens: usize,
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
        Ok(Self { contexts, first, tokens: tokens.len() })
    }
}
