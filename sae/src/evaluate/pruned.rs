//! A dictionary with leave-one-out pruning, whose limit is measured on rows that are not held out.

use storage::Dataset;

use super::training;
use crate::Result;
use crate::dictionary::prune::threshold;
use crate::dictionary::{Coder, Dictionary, Finish};

/// `dictionary`, pruned as [`limit_on`] says.
pub(super) fn coder<'a>(
    dictionary: &'a Dictionary,
    dataset: &Dataset,
    multiple: f64,
    limit: Option<f32>,
    seed: u64,
) -> Result<Coder<'a>> {
    let finish = Finish::Pruned(limit_on(dictionary, dataset, multiple, limit, seed)?);
    Ok(Coder { dictionary, finish })
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
    threshold(dictionary, &training::rows(dataset, dictionary.d_in, limit, seed)?, multiple)
}
