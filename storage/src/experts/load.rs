//! `experts/load.parquet`: how often each expert was chosen.

use std::path::Path;

use crate::error::Result;
use crate::manifest::Part;
use crate::row::{self, row};
use crate::table::{Scan, TableReader};

row! {
    /// Load of one expert, over all text or over one domain.
    ExpertLoadRow {
        /// Number of the block.
        layer: u16,
        /// Number of the expert in it.
        expert: u32,
        /// The domain; null for all text.
        domain: Option<String>,
        /// Tokens that chose it.
        tokens: u64,
        /// Its share of the layer's slots, 0 to 1.
        share: f64,
        /// Mean weight that was applied to it; 0 where it was never chosen.
        weight: f64,
    }
}

/// Writes `experts/load.parquet`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_load(path: &Path, rows: &[ExpertLoadRow]) -> Result<Part> {
    row::write(path, rows)
}

/// Reads `experts/load.parquet`.
///
/// # Errors
/// When the table cannot be read.
pub fn read_load(reader: &TableReader) -> Result<Vec<ExpertLoadRow>> {
    row::read(reader, Scan::default())
}
