//! The codes sorted by feature: `features/activations-NNNNN.parquet`.

use std::mem::take;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, UInt32Array};
use arrow::datatypes::SchemaRef;

use crate::PartWriter;
use crate::column;
use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::row::{self, Row as _, row};
use crate::schema::FEATURE;
use crate::table::{Scan, TableReader};

row! {
    /// One pair of a feature and a token that it fires on, sorted by (feature, document, position).
    #[layout(activation_rows)]
    #[derive(Copy)]
    ActivationRow {
        /// Number of the feature.
        feature: u32,
        /// Number of the document.
        document: u32,
        /// The token's position in it.
        position: u32,
        /// The feature's activation there, > 0.
        value: f32,
    }
}

impl ActivationRow {
    /// What the table is sorted by.
    pub fn key(&self) -> (u32, u32, u32) {
        (self.feature, self.document, self.position)
    }
}

/// The activations of one feature, column by column: all of one length.
#[derive(Debug, Clone, Copy)]
pub struct FeatureActivations<'a> {
    /// Number of the feature.
    pub feature: u32,
    /// Number of each activation's document.
    pub documents: &'a [u32],
    /// Position of its token there.
    pub positions: &'a [u32],
    /// The feature's value on it, > 0.
    pub values: &'a [f32],
}

/// Rows that are gathered before they are written: those of a row group.
const BATCH: usize = 8192;

/// Writes sorted rows. A row out of order is an error: readers rely on the order.
#[derive(Debug)]
pub struct ActivationWriter {
    part: PartWriter,
    schema: SchemaRef,
    features: Vec<u32>,
    documents: Vec<u32>,
    positions: Vec<u32>,
    values: Vec<f32>,
    last: Option<(u32, u32, u32)>,
}

impl ActivationWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let schema = ActivationRow::schema();
        let part = PartWriter::create(path, schema.clone(), &ActivationRow::layout())?;
        let (features, documents, positions) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { part, schema, features, documents, positions, values: Vec::new(), last: None })
    }

    /// Appends rows in (feature, document, position) order.
    ///
    /// # Errors
    /// When a row is out of order or the file cannot be written.
    pub fn append(&mut self, rows: &[ActivationRow]) -> Result<()> {
        for row in rows {
            let (documents, positions, values) = (&[row.document], &[row.position], &[row.value]);
            self.append_feature(FeatureActivations { feature: row.feature, documents, positions, values })?;
        }
        Ok(())
    }

    /// Appends some of a feature's activations, or all of them.
    ///
    /// # Errors
    /// As [`ActivationWriter::append`]; columns of different lengths.
    pub fn append_feature(&mut self, of: FeatureActivations<'_>) -> Result<()> {
        let FeatureActivations { feature, documents, positions, values } = of;
        let n = documents.len();
        if positions.len() != n || values.len() != n {
            let found = format!("{} positions and {} values", positions.len(), values.len());
            return Err(Error::column(FEATURE, format!("{n} activations of a feature"), found));
        }
        for (&document, &position) in documents.iter().zip(positions) {
            let key = (feature, document, position);
            if let Some(last) = self.last.filter(|&last| key <= last) {
                let expected = format!("(feature, document, position) after {last:?}");
                return Err(Error::column(FEATURE, expected, format!("{key:?}")));
            }
            self.last = Some(key);
        }
        let mut from = 0;
        while from < n {
            let to = n.min(from + BATCH - self.features.len());
            self.features.resize(self.features.len() + to - from, feature);
            self.documents.extend_from_slice(&documents[from..to]);
            self.positions.extend_from_slice(&positions[from..to]);
            self.values.extend_from_slice(&values[from..to]);
            if self.features.len() == BATCH {
                self.flush()?;
            }
            from = to;
        }
        Ok(())
    }

    /// Rows appended so far: the next one's row number.
    pub fn rows(&self) -> u64 {
        self.part.rows() + self.features.len() as u64
    }

    /// Writes what waits and closes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<Part> {
        if !self.features.is_empty() {
            self.flush()?;
        }
        self.part.finish()
    }

    fn flush(&mut self) -> Result<()> {
        let numbers = |column: &mut Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(take(column))) };
        let columns = vec![
            numbers(&mut self.features),
            numbers(&mut self.documents),
            numbers(&mut self.positions),
            Arc::new(Float32Array::from(take(&mut self.values))),
        ];
        self.part.write(&column::batch(self.schema.clone(), columns)?)
    }
}

/// Reads the rows of one feature. Only its row groups and pages are read.
///
/// # Errors
/// When the table cannot be read.
pub fn read(reader: &TableReader, feature: u32) -> Result<Vec<ActivationRow>> {
    row::read_feature(reader, feature)
}

/// Reads rows by number: `first_row .. first_row + count` of a feature's row in the feature table is its own. The
/// fastest way, and the way to read only the first of many.
///
/// # Errors
/// When the table cannot be read.
pub fn read_rows(reader: &TableReader, rows: std::ops::Range<u64>) -> Result<Vec<ActivationRow>> {
    row::read(reader, Scan { rows: Some(rows), ..Scan::default() })
}
