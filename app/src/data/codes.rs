//! The features that fire on the tokens of a document, as the index of a run holds them.

use std::path::Path;

use storage::Run;
pub use storage::codes::TokenCodes;

use super::{missing, problem};
use crate::load::Problem;

/// Reads the codes of the tokens of `document` at `positions`, of the run in `run`.
///
/// # Errors
/// A run whose index has no table of codes, or one that cannot be read.
pub fn read(run: &Path, document: u32, positions: std::ops::Range<u32>) -> Result<TokenCodes, Problem> {
    let opened = Run::open(run).map_err(problem)?;
    let table = opened.codes().map_err(problem)?.ok_or_else(|| {
        missing(
            run,
            "table of features by token",
            "Its index was made by an older version, or not at all; `sae index` makes it.",
        )
    })?;
    storage::codes::read(&table, document, positions).map_err(problem)
}

/// Whether the run in `run` has such a table.
pub fn exist(run: &Path) -> bool {
    Run::open(run).is_ok_and(|run| run.codes().is_ok_and(|codes| codes.is_some()))
}

/// The features of one token, the strongest first.
pub fn strongest(codes: &TokenCodes, position: u32) -> Option<Vec<(u32, f32)>> {
    let (features, values) = codes.at(position)?;
    let mut pairs: Vec<(u32, f32)> = features.iter().copied().zip(values.iter().copied()).collect();
    pairs.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    Some(pairs)
}
