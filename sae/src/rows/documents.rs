//! Where each document's rows are.

use storage::Dataset;
use storage::documents::DocumentRow;
use storage::schema::{ACTIVATIONS, DOCUMENTS};

use super::Which;
use crate::{Error, Result};

/// The documents of a dataset with their rows in `activations`, in row order.
///
/// A document's rows end where the next one's begin: a limit on tokens may have cut the last one.
pub fn documents(dataset: &Dataset) -> Result<Vec<(DocumentRow, Which)>> {
    let mut rows = storage::documents::read(&dataset.table(DOCUMENTS)?)?;
    rows.sort_by_key(|row| (row.first_row, row.document));
    let end = dataset.table(ACTIVATIONS)?.rows();
    let starts: Vec<u64> = rows.iter().map(|row| row.first_row).chain([end]).collect();
    if let Some(row) = rows.iter().find(|row| row.first_row > end) {
        return Err(Error::format(
            dataset.dir().join("documents.parquet"),
            format!(
                "document {} begins at row {}, but there are {end} rows of activations; harvest the dataset again",
                row.document, row.first_row
            ),
        ));
    }
    let ends = starts.into_iter().skip(1);
    Ok(rows
        .into_iter()
        .zip(ends)
        .map(|(row, end)| {
            let which = Which { document: row.document, rows: row.first_row..end };
            (row, which)
        })
        .collect())
}
