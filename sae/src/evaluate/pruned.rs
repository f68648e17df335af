//! A dictionary with leave-one-out pruning, whose limit is measured on rows that are not held out.

use storage::Dataset;

use super::splice::is_within;
use crate::Result;
use crate::dictionary::Dictionary;
use crate::dictionary::prune::{Coder, threshold};
use crate::rows::{RowReader, choose, documents};

/// Rows that the median code is taken from, in whole documents.
const TOKENS: u64 = 20_000;
/// Rows read at a time.
const BATCH: usize = 8192;

/// `dictionary`, pruned as [`limit_on`] says.
pub(super) fn coder<'a>(
    dictionary: &'a Dictionary,
    dataset: &Dataset,
    multiple: f64,
    limit: Option<f32>,
    seed: u64,
) -> Result<Coder<'a>> {
    Ok(Coder { dictionary, prune_below: Some(limit_on(dictionary, dataset, multiple, limit, seed)?) })
}

/// What `multiple` medians of the codes of `dictionary` are on training rows of `dataset` that have at most the norm `limit`.
///
/// # Errors
/// As [`threshold`]; rows that cannot be read.
pub(crate) fn limit_on(
    dictionary: &Dictionary,
    dataset: &Dataset,
    multiple: f64,
    limit: Option<f32>,
    seed: u64,
) -> Result<f32> {
    dictionary.needs_prunable_codes()?;
    let training = documents(dataset)?.into_iter().filter(|(row, _)| !row.held_out);
    let choice = choose(&training.map(|(_, which)| which).collect::<Vec<_>>(), Some(TOKENS), seed);
    let mut reader = RowReader::new(dataset, &choice.ranges, BATCH, dictionary.d_in)?;
    let mut rows = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        let within = batch.activations.chunks_exact(dictionary.d_in).filter(|row| is_within(row, limit));
        rows.extend(within.flatten().copied());
    }
    threshold(dictionary, &rows, multiple)
}
