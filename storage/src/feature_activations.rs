//! The codes sorted by feature: `features/activations-NNNNN.parquet`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, UInt32Array};
use arrow::datatypes::{Float32Type, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;

use crate::column::{self, primitive};
use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::schema::feature_activations::VALUE;
use crate::schema::{DOCUMENT, FEATURE, POSITION};
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter, schema};

/// One pair of feature and token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ActivationRow {
    /// The feature.
    pub feature: u32,
    /// The document.
    pub document: u32,
    /// The token's position in it.
    pub position: u32,
    /// Activation, > 0.
    pub value: f32,
}

impl ActivationRow {
    /// What the table is sorted by.
    pub fn key(&self) -> (u32, u32, u32) {
        (self.feature, self.document, self.position)
    }
}

/// Rows that are gathered before they are written.
const BATCH: usize = 8192;

/// Writes sorted rows. A row out of order is an error: readers rely on the order.
#[derive(Debug)]
pub struct ActivationWriter {
    part: PartWriter,
    schema: SchemaRef,
    waiting: Vec<ActivationRow>,
    last: Option<(u32, u32, u32)>,
}

impl ActivationWriter {
    /// Begins the file.
    pub fn create(path: &Path) -> Result<Self> {
        let schema = schema::feature_activations();
        let part = PartWriter::create(path, schema.clone(), &Layout::feature_rows())?;
        Ok(Self { part, schema, waiting: Vec::with_capacity(BATCH), last: None })
    }

    /// Appends rows in (feature, document, position) order.
    pub fn append(&mut self, rows: &[ActivationRow]) -> Result<()> {
        for row in rows {
            if let Some(last) = self.last.filter(|&last| row.key() <= last) {
                let expected = format!("(feature, document, position) after {last:?}");
                return Err(Error::column(FEATURE, expected, format!("{:?}", row.key())));
            }
            self.last = Some(row.key());
            self.waiting.push(*row);
            if self.waiting.len() == BATCH {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Rows appended so far: the next one's row number.
    pub fn rows(&self) -> u64 {
        self.part.rows() + self.waiting.len() as u64
    }

    /// Writes what waits and closes the file.
    pub fn finish(mut self) -> Result<Part> {
        self.flush()?;
        self.part.finish()
    }

    fn flush(&mut self) -> Result<()> {
        let batch = to_batch(&self.schema, &self.waiting)?;
        self.waiting.clear();
        self.part.write(&batch)
    }
}

/// Reads the rows of one feature. Only its row groups and pages are read.
pub fn read(reader: &TableReader, feature: u32) -> Result<Vec<ActivationRow>> {
    let range = Some((FEATURE.to_owned(), u64::from(feature), u64::from(feature)));
    collect(reader, Scan { range, ..Scan::default() })
}

/// Reads rows by number: `first_row .. first_row + count` of a feature's row in the feature table is its own. The
/// fastest way, and the way to read only the first of many.
pub fn read_rows(reader: &TableReader, rows: std::ops::Range<u64>) -> Result<Vec<ActivationRow>> {
    collect(reader, Scan { rows: Some(rows), ..Scan::default() })
}

fn collect(reader: &TableReader, scan: Scan) -> Result<Vec<ActivationRow>> {
    let mut rows = Vec::new();
    reader.each(scan, |batch| {
        let feature = primitive::<UInt32Type>(batch, FEATURE)?.values();
        let document = primitive::<UInt32Type>(batch, DOCUMENT)?.values();
        let position = primitive::<UInt32Type>(batch, POSITION)?.values();
        let value = primitive::<Float32Type>(batch, VALUE)?.values();
        rows.extend((0..batch.num_rows()).map(|i| ActivationRow {
            feature: feature[i],
            document: document[i],
            position: position[i],
            value: value[i],
        }));
        Ok(())
    })?;
    Ok(rows)
}

fn to_batch(schema: &SchemaRef, rows: &[ActivationRow]) -> Result<RecordBatch> {
    let numbers = |get: fn(&ActivationRow) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(get)))
    };
    let value = Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.value)));
    let columns = vec![numbers(|r| r.feature), numbers(|r| r.document), numbers(|r| r.position), value];
    column::batch(schema.clone(), columns)
}
