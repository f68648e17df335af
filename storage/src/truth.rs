//! What is known of a made world: the codes that made a dataset's rows, and how a dictionary was scored against it, in `RUN/truth/`.

use std::path::{Path, PathBuf};

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::row::{self, row};
use crate::table::{Scan, TableReader};

/// `format` of a [`TruthScore`].
pub const FORMAT: &str = "sae-workbench truth";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run that holds its scores, and the table of a dataset with the codes that made its rows.
pub const FOLDER: &str = "truth";
/// The folder of a run that holds its scores with pruned codes.
pub const PRUNED: &str = "truth/pruned";
/// The folder of a run that holds its scores with codes that were searched for.
pub const RECODED: &str = "truth/recoded";
/// The record; it is written last.
pub const FILE: &str = "truth.json";
/// The [`ScoredFeatureRow`]s.
pub const FEATURES: &str = "features.parquet";
/// The [`TrueFeatureRow`]s.
pub const WORLD: &str = "world.parquet";

row! {
    /// The features of the world that made a row, in (document, position) order.
    #[layout(token_rows)]
    TrueCodesRow {
        /// Number of the document.
        document: u32,
        /// Number of the row in it.
        position: u32,
        /// The features of the world that fired, ascending.
        features: Vec<u32>,
        /// Their magnitudes, all > 0.
        values: Vec<f32>,
    }
}

row! {
    /// One feature of the dictionary against the features of the world.
    ScoredFeatureRow columns ScoredFeatureColumns {
        /// The feature.
        feature: u32,
        /// The feature of the world whose direction has the largest |cosine| with its decoder row.
        truth: u32,
        /// That |cosine|.
        cosine: f32,
        /// The feature of the world that the best one-to-one assignment gives it; null if there are fewer of them than of features.
        assigned: Option<u32>,
        /// |cosine| with that one.
        assigned_cosine: Option<f32>,
        /// Rows on which both it and its `truth` fired.
        true_positives: u64,
        /// Rows on which only it fired.
        false_positives: u64,
        /// Rows on which only its `truth` fired.
        false_negatives: u64,
        /// Share of its rows on which its `truth` fired; 0 if it never fired.
        precision: f64,
        /// Share of the rows of its `truth` on which it fired; 0 if its `truth` never fired.
        recall: f64,
        /// Harmonic mean of the two; 0 if either is.
        f1: f64,
    }
}

row! {
    /// One feature of the world, and what the dictionary made of it.
    TrueFeatureRow columns TrueFeatureColumns {
        /// The feature of the world.
        truth: u32,
        /// Levels of the hierarchy above it.
        level: u32,
        /// Share of the rows on which it fired.
        rate: f64,
        /// Features of the dictionary that have it as their `truth`: none where it was missed, several where it was split.
        features: u32,
        /// The feature of the dictionary whose decoder row has the largest |cosine| with it.
        nearest: u32,
        /// That |cosine|.
        cosine: f32,
        /// The largest F1 of the features that have it as their `truth`; null if there are none.
        f1: Option<f64>,
    }
}

record! {
    /// What a dictionary leaves of the loss that is planted in a made world, and how well it knows the features that this loss reads.
    PlantedLossScore {
        /// Features of the world that the loss reads.
        world_features: u64,
        /// Mean loss of a row, in nats, at the activations as they are.
        at_rows: f64,
        /// … at their reconstructions.
        at_reconstructions: f64,
        /// … at the world's bias, where nothing fires.
        at_bias: f64,
        /// Share of the loss at the bias that reconstructions take away: 1 as the rows do, 0 as the bias does; null if rows take away nothing.
        recovered: Option<f64>,
        /// Features of the dictionary whose `truth` the loss reads.
        features: u64,
        /// Mean F1 of these; null if there are none.
        f1: Option<f64>,
        /// Mean F1 of the dictionary's other features; null if there are none.
        f1_of_others: Option<f64>,
        /// Mean over the features that the loss reads of the largest |cosine| with a decoder row.
        cosine: f64,
        /// The same over the world's other features; null if there are none.
        cosine_of_others: Option<f64>,
    }
}

record! {
    /// `truth.json`: how a dictionary was scored against the world that made its rows.
    #[derive(Default)]
    TruthScore {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// Folder of the world.
        world: PathBuf,
        /// SHA-256 of its files, in hexadecimal.
        world_sha256: String,
        /// SHA-256 of the dictionary's weight file, in hexadecimal.
        dictionary_sha256: String,
        /// Rows that were scored. They are in no dataset of the world.
        rows: u64,
        /// Seed of these rows.
        seed: u64,
        /// Features of the dictionary.
        d_sae: u64,
        /// Features of the world.
        world_features: u64,
        /// Codes were pruned: a feature stayed if its best code, the others being as they are, was more than this; null if not.
        pruned_below: Option<f64>,
        /// Codes were searched for from the dictionary's own, by the coding of this name; missing if they were not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recoded: Option<String>,
        /// Mean F1 over the dictionary's features; those that never fired count as 0.
        f1: f64,
        /// Mean precision, likewise.
        precision: f64,
        /// Mean recall, likewise.
        recall: f64,
        /// Mean |cosine| over the pairs of the best one-to-one assignment (mean correlation coefficient, MCC).
        mcc: f64,
        /// Different `truth`s of the dictionary's features over the number of features.
        uniqueness: f64,
        /// `1 − Σ‖x−x̂‖² / Σ‖x−mean x‖²`; null if rows do not vary.
        fve: Option<f64>,
        /// Mean number of the dictionary's features that fire on a row.
        l0: f64,
        /// Mean number of the world's features that fire on a row.
        true_l0: f64,
        /// Features that never fired.
        dead: u64,
        /// Mean ‖x̂‖/‖x‖; below 1 means shrinkage; null if all rows are 0.
        l2_ratio: Option<f64>,
        /// Features of the world that are the `truth` of exactly one feature.
        matched: u64,
        /// Features of the world that are the `truth` of several.
        split: u64,
        /// Features of the world that are the `truth` of none.
        missed: u64,
        /// What the dictionary leaves of the loss that is planted in the dataset; null without one.
        loss: Option<PlantedLossScore>,
    }
}

impl TruthScore {
    /// Writes the tables and the record into `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path, features: &[ScoredFeatureRow], world: &[TrueFeatureRow]) -> Result<()> {
        row::write(&dir.join(FEATURES), features)?;
        row::write(&dir.join(WORLD), world)?;
        atomic::write_json(&dir.join(FILE), self)
    }

    /// Reads `RUN/truth/truth.json`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is of another kind.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

/// True codes as a batch, for a [`crate::PartWriter`].
///
/// # Errors
/// When a row does not fit the schema.
pub fn to_batch(rows: &[TrueCodesRow]) -> Result<arrow::record_batch::RecordBatch> {
    row::batch(rows)
}

/// Reads true codes.
///
/// # Errors
/// When the table cannot be read.
pub fn read_codes(reader: &TableReader, scan: Scan) -> Result<Vec<TrueCodesRow>> {
    row::read(reader, scan)
}
