//! Two dictionaries matched feature by feature: `RUN/matching/NAME/` with `matching.json` and two tables of [`NearestRow`],
//! `features.parquet` for the features of RUN and `others.parquet` for those of the other run.

use std::path::{Path, PathBuf};

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::row::row;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench matching";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run that holds its matchings.
pub const FOLDER: &str = "matching";
/// The record; it is written last.
pub const FILE: &str = "matching.json";
/// The features of the run, each with its nearest in the other.
pub const FEATURES: &str = "features.parquet";
/// The features of the other run, each with its nearest in this one.
pub const OTHERS: &str = "others.parquet";

row! {
    /// One feature and the nearest decoder row of the other dictionary.
    NearestRow columns NearestColumns {
        /// The feature.
        feature: u32,
        /// The feature of the other dictionary whose decoder row has the largest cosine with its own.
        nearest: u32,
        /// That cosine.
        cosine: f32,
        /// The second largest cosine; null where the other dictionary has one feature.
        second: Option<f32>,
        /// Whether each is the other's nearest.
        mutual: bool,
    }
}

record! {
    /// `matching.json`.
    #[derive(Default)]
    Matching {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// Folder of the run.
        run: PathBuf,
        /// Folder of the run that it is matched with.
        other: PathBuf,
        /// SHA-256 of the run's weights.
        sha256: String,
        /// SHA-256 of the other's.
        other_sha256: String,
        /// Features of the run.
        features: u64,
        /// Features of the other.
        others: u64,
        /// Pairs that are each other's nearest.
        mutual: u64,
        /// Mean over the run's features of the largest cosine (mean max cosine similarity, MMCS).
        mean_max_cosine: f64,
        /// The same over the other's.
        others_mean_max_cosine: f64,
    }
}

impl Matching {
    /// Writes `DIR/matching.json`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        atomic::write_json(&dir.join(FILE), self)
    }

    /// Reads `DIR/matching.json`.
    ///
    /// # Errors
    /// A file that is missing or cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        read_versioned(&dir.join(FILE), FORMAT, VERSION)
    }
}

/// The folders in `RUN/matching` that hold a matching, sorted.
pub fn find(run: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run.join(FOLDER)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|p| p.join(FILE).is_file() && !atomic::in_the_making(p))
        .collect();
    found.sort();
    found
}
