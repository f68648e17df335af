//! The documents of a dataset: `documents.parquet`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;

use crate::column::{self, booleans, primitive, strings};
use crate::error::Result;
use crate::schema;
use crate::schema::documents as names;
use crate::schema::{DOCUMENT, DOMAIN};
use crate::table::{Scan, TableReader};

/// One document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentRow {
    /// Its number.
    pub document: u32,
    /// What it is called.
    pub name: String,
    /// The file it came from.
    pub source: String,
    /// What kind of text it is.
    pub domain: String,
    /// Never trained on.
    pub held_out: bool,
    /// Its first row in `activations`.
    pub first_row: u64,
    /// Its number of rows there.
    pub tokens: u32,
}

/// The rows as a batch of [`schema::documents()`], for a [`crate::PartWriter`].
pub fn to_batch(rows: &[DocumentRow]) -> Result<RecordBatch> {
    let texts = |get: fn(&DocumentRow) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(get)))
    };
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.document))) as ArrayRef,
        texts(|row| &row.name),
        texts(|row| &row.source),
        texts(|row| &row.domain),
        Arc::new(rows.iter().map(|row| Some(row.held_out)).collect::<BooleanArray>()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.first_row))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.tokens))),
    ];
    column::batch(schema::documents(), columns)
}

/// Reads all documents.
pub fn read(reader: &TableReader) -> Result<Vec<DocumentRow>> {
    let mut rows = Vec::new();
    reader.each(Scan::default(), |batch| {
        let document = primitive::<UInt32Type>(batch, DOCUMENT)?;
        let held_out = booleans(batch, names::HELD_OUT)?;
        let first_row = primitive::<UInt64Type>(batch, names::FIRST_ROW)?;
        let tokens = primitive::<UInt32Type>(batch, names::TOKENS)?;
        let name = strings(batch, names::NAME)?;
        let source = strings(batch, names::SOURCE)?;
        let domain = strings(batch, DOMAIN)?;
        let texts = name.into_iter().zip(source).zip(domain);
        rows.extend(texts.enumerate().map(|(i, ((name, source), domain))| DocumentRow {
            document: document.value(i),
            name,
            source,
            domain,
            held_out: held_out.value(i),
            first_row: first_row.value(i),
            tokens: tokens.value(i),
        }));
        Ok(())
    })?;
    Ok(rows)
}
