//! Rows on which it is measured how a dictionary is to be used: those of documents that are not held out.

use storage::Dataset;

use super::splice::is_within;
use crate::Result;
use crate::dictionary::Dictionary;
use crate::dictionary::recode::{Coding, Recoder};
use crate::rows::{RowReader, choose, documents};

/// Rows at most, in whole documents.
const TOKENS: u64 = 20_000;
/// Rows read at a time.
const BATCH: usize = 8192;

/// Rows `[n, d_in]` of documents that are not held out, drawn by `seed`, that have at most the norm `limit`; none of a dataset that is held
/// out as a whole.
///
/// # Errors
/// Rows that cannot be read.
pub(super) fn rows(dataset: &Dataset, d_in: usize, limit: Option<f32>, seed: u64) -> Result<Vec<f32>> {
    rows_where(dataset, |held_out| !held_out, (d_in, limit), seed)
}

/// Rows that show how features behave: [`rows`], or where all documents are held out those, since nothing is fitted to them but rates and
/// sizes.
///
/// # Errors
/// Rows that cannot be read.
pub(crate) fn rows_of_features(
    dataset: &Dataset,
    d_in: usize,
    limit: Option<f32>,
    seed: u64,
) -> Result<Vec<f32>> {
    let training = rows(dataset, d_in, limit, seed)?;
    if training.is_empty() { rows_where(dataset, |_| true, (d_in, limit), seed) } else { Ok(training) }
}

fn rows_where(
    dataset: &Dataset,
    wanted: impl Fn(bool) -> bool,
    (d_in, limit): (usize, Option<f32>),
    seed: u64,
) -> Result<Vec<f32>> {
    let chosen = documents(dataset)?.into_iter().filter(|(row, _)| wanted(row.held_out));
    let choice = choose(&chosen.map(|(_, which)| which).collect::<Vec<_>>(), Some(TOKENS), seed);
    let mut reader = RowReader::new(dataset, &choice.ranges, BATCH, d_in)?;
    let mut rows = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        let within = batch.activations.chunks_exact(d_in).filter(|row| is_within(row, limit));
        rows.extend(within.flatten().copied());
    }
    Ok(rows)
}

/// A search for better codes of `dictionary`; where it asks how features behave, that is measured on [`rows_of_features`].
///
/// # Errors
/// As [`Recoder::new`]; rows that cannot be read.
pub(crate) fn recoder(
    dictionary: &Dictionary,
    dataset: &Dataset,
    (coding, iterations): (Coding, usize),
    limit: Option<f32>,
    seed: u64,
) -> Result<Recoder> {
    let rows = match coding.needs_slabs() {
        true => rows_of_features(dataset, dictionary.d_in, limit, seed)?,
        false => Vec::new(),
    };
    Recoder::new(dictionary, coding, iterations, &rows)
}
