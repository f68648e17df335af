//! The codes sorted by feature: `features/activations-NNNNN.parquet`.

use std::path::Path;

use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::row::{self, RowQueue, row};
use crate::schema::FEATURE;
use crate::table::{Scan, TableReader};

row! {
    /// One pair of a feature and a token that it fires on, sorted by (feature, document, position).
    #[layout(feature_rows)]
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

/// Writes sorted rows. A row out of order is an error: readers rely on the order.
#[derive(Debug)]
pub struct ActivationWriter {
    queue: RowQueue<ActivationRow>,
    last: Option<(u32, u32, u32)>,
}

impl ActivationWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { queue: RowQueue::create(path)?, last: None })
    }

    /// Appends rows in (feature, document, position) order.
    ///
    /// # Errors
    /// When a row is out of order or the file cannot be written.
    pub fn append(&mut self, rows: &[ActivationRow]) -> Result<()> {
        for row in rows {
            if let Some(last) = self.last.filter(|&last| row.key() <= last) {
                let expected = format!("(feature, document, position) after {last:?}");
                return Err(Error::column(FEATURE, expected, format!("{:?}", row.key())));
            }
            self.last = Some(row.key());
            self.queue.append(*row)?;
        }
        Ok(())
    }

    /// Rows appended so far: the next one's row number.
    pub fn rows(&self) -> u64 {
        self.queue.rows()
    }

    /// Writes what waits and closes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<Part> {
        self.queue.finish()
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
