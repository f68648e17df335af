//! What the readers of all formats share: options, the records that they give, and the error about a file that ends too early.

use std::path::Path;

use super::record::Record;
use crate::{Error, Result};

/// How text is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextOptions {
    /// The field of the text; `text`, `input_ids` or `messages` if not given.
    pub column: Option<String>,
    /// The share of a single file of plain text that is held out, as stretches of it; None leaves such a file
    /// whole, unless it is large.
    pub held_out_share: Option<f64>,
    /// How many tokens are wanted: stretches are cut so that a share of those can be held out.
    pub tokens: Option<u64>,
}

/// Bytes of a stretch, into which a large text is cut.
pub(super) const STRETCH: usize = 1 << 16;

/// The records of one file.
pub(super) type Records = Box<dyn Iterator<Item = Result<Record>> + Send>;

/// What went wrong with a file while it was read.
pub(super) fn damaged(path: &Path, error: &std::io::Error) -> Error {
    Error::format(path, format!("cannot be read to its end: {error}"))
}
