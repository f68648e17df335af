//! Dictionaries of patches as fields of pixels: `RUN/fields/`.

use std::path::Path;

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::row::{self, row};
use crate::table::Scan;

/// `format` of a [`Fields`].
pub const FORMAT: &str = "sae-workbench fields";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run.
pub const FOLDER: &str = "fields";
/// The record.
pub const FILE: &str = "fields.json";
/// The [`FieldRow`]s.
pub const TABLE: &str = "fields.parquet";
/// All fields as one picture.
pub const SHEET: &str = "fields.png";

row! {
    /// The field of one feature: its decoder row, seen as pixels.
    FieldRow columns FieldColumns {
        /// Number of the feature.
        feature: u32,
        /// Share of the rows that were looked at on which it is active.
        usage: f64,
        /// Cycles per pixel of the strongest wave in it.
        frequency: f64,
        /// Direction of that wave's stripes, degrees from the horizontal, 0 to 180.
        orientation: f64,
        /// How far its power prefers an orientation: |Σ P e^(2iθ)| / Σ P; 0 for none, 1 for a single one.
        selectivity: f64,
        /// Spread of its energy about its centre, as a share of that of a field that is the same everywhere.
        spread: f64,
        /// Whether its spread is below that of 99 of 100 random fields.
        localised: bool,
        /// Whether its selectivity is above that of 99 of 100 random fields.
        oriented: bool,
    }
}

record! {
    /// `fields.json`.
    #[derive(Default)]
    Fields {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// SHA-256 of the dictionary's weight file, in hexadecimal.
        dictionary_sha256: String,
        /// Pixels of a side.
        side: usize,
        /// Features.
        features: u64,
        /// Share that is localised.
        localised: f64,
        /// Share that is oriented.
        oriented: f64,
        /// Share that is both.
        both: f64,
        /// Spread below which a field counts as localised: the first percentile of random fields.
        spread_limit: f64,
        /// Selectivity above which a field counts as oriented: the 99th percentile of random fields.
        selectivity_limit: f64,
        /// Of fields that are both: quartiles of the frequency, cycles per pixel.
        frequencies: Vec<f64>,
        /// Of those: octaves between the first and the third quartile of the frequency.
        octaves: Option<f64>,
        /// Of those: |mean e^(2iθ)| of orientations; 0 where all occur alike, 1 where there is one.
        orientation_bias: Option<f64>,
        /// Of those: quartiles of the spread.
        spreads: Vec<f64>,
        /// Rows of the dataset on which usage was counted.
        rows: u64,
    }
}

impl Fields {
    /// Writes the record into `folder`, the folder of fields.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        atomic::write_json(&folder.join(FILE), self)
    }

    /// Reads `RUN/fields/fields.json`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is of another kind.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

/// Writes the fields of a run into `folder`, the folder of fields.
///
/// # Errors
/// When the file cannot be written.
pub fn write_rows(folder: &Path, rows: &[FieldRow]) -> Result<()> {
    row::write(&folder.join(TABLE), rows).map(|_| ())
}

/// Reads the fields of a run.
///
/// # Errors
/// When the table cannot be read.
pub fn read_rows(run: &Path) -> Result<Vec<FieldRow>> {
    row::read(&row::open::<FieldRow>(&run.join(FOLDER).join(TABLE))?, Scan::default())
}
