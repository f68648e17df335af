//! All chosen rows in memory, for methods that go over them many times.

use storage::Dataset;

use super::{DocumentRows, RowReader, choose, documents};
use crate::{Error, Result, memory};

/// Rows read at a time.
const BATCH: usize = 4096;

/// Rows `[n, d]` to learn from, or those that are held out (maybe none): at most `most`, in whole documents that `seed` chooses.
///
/// # Errors
/// A dataset that cannot be read; no rows to learn from; more than half of the memory that is free.
pub fn read_whole(dataset: &Dataset, held_out: bool, most: u64, seed: u64) -> Result<Vec<f32>> {
    let wanted: Vec<DocumentRows> = documents(dataset)?
        .into_iter()
        .filter(|(row, _)| row.held_out == held_out)
        .map(|(_, rows)| rows)
        .collect();
    let choice = choose(&wanted, Some(most), seed);
    if choice.tokens == 0 && !held_out {
        return Err(Error::request(format!(
            "{} has no rows to learn from: it is empty, all its documents are held out, or --rows is 0",
            dataset.dir().display()
        )));
    }
    let d = dataset.manifest().d_model;
    let bytes = choice.tokens * d as u64 * 4;
    if let Some(room) = memory::available().filter(|room| bytes > room / 2) {
        return Err(Error::request(format!(
            "{} rows of width {d} take {bytes} bytes, which is more than half of the {room} that are free",
            choice.tokens
        ))
        .with_remedy("give fewer with --rows"));
    }
    let mut reader = RowReader::new(dataset, &choice.ranges, BATCH, d)?;
    let mut rows = Vec::with_capacity(choice.tokens as usize * d);
    while let Some(batch) = reader.next_batch()? {
        rows.extend_from_slice(&batch.activations);
    }
    Ok(rows)
}

/// Takes `offset` (`[d]`) off every row.
pub fn subtract(rows: &mut [f32], offset: &[f64]) {
    for row in rows.chunks_exact_mut(offset.len()) {
        row.iter_mut().zip(offset).for_each(|(x, o)| *x = (f64::from(*x) - o) as f32);
    }
}
