//! A dictionary that takes the k best of a token, made to select by one threshold with the same L0: how it compares with methods that
//! have nothing but thresholds, and what it costs to let tokens have different numbers of features.

use storage::Dataset;

use super::splice::is_within;
use crate::dictionary::{Dictionary, Selection};
use crate::rows::{RowReader, choose, documents};
use crate::{Error, Progress, Result};
use kernels::quantile::Histogram;

/// Rows that the threshold is fitted on, in whole documents that are not held out.
const TOKENS: u64 = 100_000;
/// Rows at a time: about half of all pre-activations are kept until they are counted.
const BATCH: usize = 1024;

/// `dictionary` with the threshold above which training rows of `dataset` have as many codes as it takes of each token; `None` if it
/// selects by thresholds already.
pub(super) fn by_threshold(
    dictionary: &Dictionary,
    dataset: &Dataset,
    limit: Option<f32>,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Option<Dictionary>> {
    let Selection::TopK(k) = dictionary.selection else { return Ok(None) };
    let (d, features) = (dictionary.d_in, dictionary.d_sae);
    let training = documents(dataset)?.into_iter().filter(|(row, _)| !row.held_out);
    let choice = choose(&training.map(|(_, which)| which).collect::<Vec<_>>(), Some(TOKENS), seed);
    let mut reader = RowReader::new(dataset, &choice.ranges, BATCH, d)?;
    let mut all = Dictionary { selection: Selection::Threshold(vec![0.0; features]), ..dictionary.clone() };
    let (mut histogram, mut rows) = (Histogram::default(), 0);
    while let Some(batch) = reader.next_batch()? {
        let within = batch.activations.chunks_exact(d).filter(|row| is_within(row, limit));
        let within: Vec<f32> = within.flatten().copied().collect();
        histogram.add(&all.encode(&within).values);
        rows += (within.len() / d) as u64;
        if progress.stop_requested() {
            return Err(Error::stopped("the threshold was not fitted"));
        }
    }
    all.selection = Selection::Threshold(vec![histogram.threshold(k as u64 * rows); features]);
    Ok(Some(all))
}
