//! A dictionary of sparse coding: `RUN/coding/coding.json`.

use std::path::Path;

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;

/// `format` of a [`SparseCoding`].
pub const FORMAT: &str = "sae-workbench sparse coding";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run.
pub const FOLDER: &str = "coding";
/// The record.
pub const FILE: &str = "coding.json";
/// Bins of the histogram of codes.
pub const BINS: usize = 60;

record! {
    /// How well a dictionary codes rows, by inference that is run to its end.
    #[derive(Default)]
    CodingScore {
        /// Rows.
        rows: u64,
        /// Active units per row.
        l0: f64,
        /// Fraction of variance explained; null if rows do not vary.
        fve: Option<f64>,
        /// The same with the best codes on the same units: without what the penalty shrinks.
        fve_refitted: Option<f64>,
        /// Units that no row uses.
        unused: u64,
        /// Mean |code| of an active unit.
        mean_code: f64,
        /// Kurtosis of all codes, zeros too; 3 for a normal distribution, more for sparse codes.
        kurtosis: f64,
        /// Active codes by their size: 60 bins of equal width from 0 to `largest`.
        histogram: Vec<u64>,
        /// Upper end of the histogram: the largest |code|.
        largest: f64,
    }
}

record! {
    /// `coding.json`.
    #[derive(Default)]
    SparseCoding {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// `soft`, `hard`, `half`, `firm` or `log-sum`.
        penalty: String,
        /// Folder of the dataset.
        data: String,
        /// Units.
        units: usize,
        /// Active units per row that λ was adapted to; null if λ was given.
        wanted_l0: Option<f64>,
        /// λ at the end.
        lambda: f64,
        /// η at the end: 1 over the largest eigenvalue of the rows' products.
        step_size: f64,
        /// Batches.
        steps: u64,
        /// Rows of a batch.
        batch: u64,
        /// Steps of inference per batch, at most.
        iterations: u64,
        /// Rows that were learned from.
        rows: u64,
        /// Whether the mean row was subtracted.
        centre: bool,
        /// Decides every random choice.
        seed: u64,
        /// Seconds of learning.
        seconds: f64,
        /// On rows that it learned from.
        training: CodingScore,
        /// On rows of held-out documents; null without such rows.
        held_out: Option<CodingScore>,
    }
}

impl SparseCoding {
    /// Writes the record into the folder of a run.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(crate::error::Error::io(&folder))?;
        atomic::write_json(&folder.join(FILE), self)
    }

    /// Reads `RUN/coding/coding.json`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is of another kind.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}
