//! A training run: `run.json` and the tables next to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::attention::{self, AttributionRow, HeadsRow};
use crate::codes::CodesRow;
use crate::error::{Error, Result};
use crate::evaluation::{self, Evaluation};
use crate::examples::{self, ExampleRow};
use crate::feature_activations::ActivationRow;
use crate::features::{self, FeatureRow};
use crate::index::IndexRecord;
use crate::json::read_versioned;
use crate::manifest::ModelRef;
use crate::metrics::{self, MetricsRow};
use crate::record::record;
use crate::row::{self, Row};
use crate::table::TableReader;
use crate::token_features::{self, TokenFeatureRow};
use crate::vocabulary::{self, TokenRow};

/// `format` of `run.json`.
pub const FORMAT: &str = "sae-workbench run";
/// Newest version of `run.json` that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The record's file name.
pub const FILE: &str = "run.json";

/// Where a run stands. A run that says `running` and whose `updated` is old was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Training.
    #[default]
    Running,
    /// All steps done.
    Finished,
    /// Stopped by a person; it can be resumed.
    Stopped,
    /// Ended by an error, see `error`.
    Failed,
}

record! {
    /// `run.json`.
    #[derive(Default)]
    RunRecord {
        /// Always [`FORMAT`].
        format: String,
        /// Version of the layout; see [`VERSION`].
        version: u64,
        /// Where it stands.
        status: RunStatus,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// `topk`, `mutual-choice` and so on.
        method: String,
        /// Features per token; 0 for methods without a budget.
        k: usize,
        /// Width of an activation.
        d_in: usize,
        /// Number of features; of a cross-layer transcoder those of each layer.
        d_sae: usize,
        /// Layers of a cross-layer transcoder: the width, k and the hooks are those of its first one. `None` for anything else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layers: Option<u64>,
        /// Where the activations were taken (a TransformerLens name).
        hook: String,
        /// Where what a transcoder reconstructs was taken; `None` for a dictionary that reconstructs its input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target_hook: Option<String>,
        /// The model of the data.
        model: ModelRef,
        /// The dataset's folder.
        data: String,
        /// Decides every random choice.
        seed: u64,
        /// Threads; they do not change the result.
        threads: usize,
        /// Tokens to train on.
        tokens_total: u64,
        /// Tokens trained on so far.
        tokens_done: u64,
        /// Steps done.
        step: u64,
        /// Steps to do.
        steps_total: u64,
        /// Training time, summed over resumptions.
        wall_seconds: f64,
        /// Program and libraries → version.
        #[serde(default)]
        versions: BTreeMap<String, String>,
        /// When it began, RFC 3339.
        started: String,
        /// When this record was written, RFC 3339.
        updated: String,
        /// What the raw activations were multiplied by in training; of a cross-layer transcoder those of its first layer.
        input_scale: f64,
        /// Norm of a raw activation above which rows are left out of training; `None` if there is no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm_limit: Option<f64>,
        /// The same of a transcoder's target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target_norm_limit: Option<f64>,
        /// The same of each layer of a cross-layer transcoder; a row above any of them is left out of all layers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target_norm_limits: Option<Vec<f64>>,
        /// Where training left the search among candidates; `None` if it did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exact_search: Option<ExactSearch>,
        /// Rows that were left out of training because of their norm, of those that came by; `None` before training.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_out: Option<LeftOut>,
        /// γ = ‖μ‖/‖σ‖ of the activations that were trained on: norm of the mean over root mean square of the distance from it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean_ratio: Option<f64>,
        /// The last logged row of `metrics.parquet`; null before the first.
        last: Option<MetricsRow>,
        /// How thresholds were fitted after training; `None` for methods that need none or are not done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thresholds: Option<ThresholdFit>,
        /// Where the dictionary came from, if it was imported and not trained here. The fields about training then say nothing: there are
        /// no steps, no tokens and no `train.toml`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        imported: Option<Imported>,
    }
}

record! {
    /// Where an imported dictionary came from and how it was read.
    #[derive(Default)]
    Imported {
        /// What it was given as: a folder, a file or a hub name.
        source: String,
        /// The format that it had on disk, in words.
        layout: String,
        /// Its files.
        files: Vec<ImportedFile>,
        /// Whether its decoder bias was subtracted before encoding, as documented. The run's dictionary always subtracts it, with an
        /// encoder bias that makes the two equal.
        pre_bias: bool,
        /// What activations were multiplied by, as documented; folded into the run's dictionary.
        input_scale: f64,
        /// How activations were normalised besides; `none` if they were not.
        normalisation: String,
        /// The reading that was asked for in place of the documented one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reading: Option<String>,
        /// What was inferred, and why.
        decisions: Vec<Decision>,
    }
}

record! {
    /// A file of an imported dictionary.
    #[derive(Default)]
    ImportedFile {
        /// Its path.
        path: String,
        /// Its length.
        bytes: u64,
        /// Its SHA-256, in hexadecimal.
        sha256: String,
    }
}

record! {
    /// One thing that was inferred of a dictionary.
    #[derive(Default, Eq)]
    Decision {
        /// What was decided about.
        what: String,
        /// What was decided.
        value: String,
        /// Why.
        why: String,
    }
}

record! {
    /// From where on training computed all pre-activations, because the search among candidates of a product in 8 bits missed too many
    /// active features.
    #[derive(Default)]
    ExactSearch {
        /// The first step without candidates, counted from 1.
        from_step: u64,
        /// Share of the active pairs of the step before that candidates had.
        recall: f32,
        /// The same in words.
        reason: String,
    }
}

record! {
    /// Rows that were left out of training.
    #[derive(Copy, Default)]
    LeftOut {
        /// Their number.
        rows: u64,
        /// The same as a share of all rows that came by.
        share: f64,
    }
}

record! {
    /// Thresholds of a dictionary whose training selected codes from whole batches.
    #[derive(Default)]
    ThresholdFit {
        /// `one` for all features, or `each` feature its own.
        kind: String,
        /// Which tokens they were fitted on: `held-out`, `unused` (of the training documents, but not trained on) or `training`.
        split: String,
        /// Tokens they were fitted on.
        tokens: u64,
        /// Other tokens of the same kind, on which `l0_threshold` was measured.
        check_tokens: u64,
        /// Active features per token in training, over the last logged window.
        l0_training: f64,
        /// Active features per token by the thresholds.
        l0_threshold: f64,
    }
}

impl RunRecord {
    /// A record with the format and version of this program and everything else empty.
    pub fn new() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, ..Self::default() }
    }

    /// Reads `DIR/run.json`.
    ///
    /// # Errors
    /// [`Error::Missing`] for a folder without `run.json`; a file that cannot be read or is of a newer version.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        if !path.exists() {
            let remedy = if dir.exists() {
                format!("a run is a folder with {FILE}; give the folder that `sae train` made")
            } else {
                "check the path".to_owned()
            };
            return Err(Error::Missing { path, remedy });
        }
        read_versioned(&path, FORMAT, VERSION)
    }

    /// Writes `DIR/run.json`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        atomic::write_json(&dir.join(FILE), self)
    }
}

/// A run's folder. Tables that are made later (index, evaluation) are `None` until then.
#[derive(Debug, Clone)]
pub struct Run {
    dir: PathBuf,
    record: RunRecord,
}

impl Run {
    /// Reads the record.
    ///
    /// # Errors
    /// As [`RunRecord::read`].
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self { dir: dir.to_owned(), record: RunRecord::read(dir)? })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The record as it was when the run was opened.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The log of training.
    ///
    /// # Errors
    /// A table that is missing, cannot be read, or lacks a column.
    pub fn metrics(&self) -> Result<TableReader> {
        row::open::<MetricsRow>(&self.dir.join(metrics::FILE))
    }

    /// The feature table.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn features(&self) -> Result<Option<TableReader>> {
        self.optional::<FeatureRow>(features::FILE)
    }

    /// Examples of features.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn examples(&self) -> Result<Option<TableReader>> {
        self.optional::<ExampleRow>(examples::FILE)
    }

    /// Decoder weights by head; only dictionaries of attention heads have them.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn heads(&self) -> Result<Option<TableReader>> {
        self.optional::<HeadsRow>(attention::HEADS)
    }

    /// Sources of examples; only dictionaries of attention heads have them.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn attribution(&self) -> Result<Option<TableReader>> {
        self.optional::<AttributionRow>(attention::ATTRIBUTION)
    }

    /// Token → text.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn vocabulary(&self) -> Result<Option<TableReader>> {
        self.optional::<TokenRow>(vocabulary::FILE)
    }

    /// The codes by feature, all parts as one table.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn activations(&self) -> Result<Option<TableReader>> {
        self.parts::<ActivationRow>("activations")
    }

    /// The codes by token.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn codes(&self) -> Result<Option<TableReader>> {
        self.parts::<CodesRow>("codes")
    }

    /// Which features fire on which token of the vocabulary; an index of an older version has no such table.
    ///
    /// # Errors
    /// A table that is there and cannot be read, or lacks a column.
    pub fn token_features(&self) -> Result<Option<TableReader>> {
        self.optional::<TokenFeatureRow>(token_features::FILE)
    }

    fn parts<R: Row>(&self, name: &str) -> Result<Option<TableReader>> {
        let mut paths = Vec::new();
        loop {
            let path = self.features_dir().join(format!("{name}-{:05}.parquet", paths.len()));
            if !path.exists() {
                break;
            }
            paths.push(path);
        }
        if paths.is_empty() { Ok(None) } else { TableReader::open_files(&paths, &R::schema()).map(Some) }
    }

    /// What the feature index is made of.
    ///
    /// # Errors
    /// A record that is there and cannot be read.
    pub fn index(&self) -> Result<Option<IndexRecord>> {
        IndexRecord::read(&self.features_dir())
    }

    /// The numbers of `sae evaluate`.
    ///
    /// # Errors
    /// A record that is there and cannot be read.
    pub fn evaluation(&self) -> Result<Option<Evaluation>> {
        Evaluation::read(&self.dir, evaluation::CORE)
    }

    /// `DIR/features`.
    pub fn features_dir(&self) -> PathBuf {
        self.dir.join("features")
    }

    fn optional<R: Row>(&self, name: &str) -> Result<Option<TableReader>> {
        let path = self.features_dir().join(name);
        if path.exists() { row::open::<R>(&path).map(Some) } else { Ok(None) }
    }
}
