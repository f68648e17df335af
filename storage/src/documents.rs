//! The documents of a dataset: `documents.parquet`.

use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::row::{self, row};
use crate::table::{Scan, TableReader};

row! {
    /// One document, in order.
    #[derive(Eq)]
    DocumentRow {
        /// Number of the document, from 0.
        document: u32,
        /// What it is called.
        name: String,
        /// The file it came from.
        source: String,
        /// What kind of text it is.
        domain: String,
        /// Whether it is never trained on.
        held_out: bool,
        /// Its first row in `activations`.
        first_row: u64,
        /// Its number of rows there; BOS has none.
        tokens: u32,
    }
}

/// The rows as a batch, for a [`crate::PartWriter`].
///
/// # Errors
/// When a row does not fit the schema.
pub fn to_batch(rows: &[DocumentRow]) -> Result<RecordBatch> {
    row::batch(rows)
}

/// Reads all documents.
///
/// # Errors
/// When the table cannot be read.
pub fn read(reader: &TableReader) -> Result<Vec<DocumentRow>> {
    row::read(reader, Scan::default())
}
