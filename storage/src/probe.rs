//! Probes of labelled prompts: the folder that `sae probe` writes.

use std::path::Path;

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::row::row;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench probe";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The record of the folder.
pub const FILE: &str = "probe.json";
/// All [`ProbeRow`]s, once every set is finished.
pub const PROBES: &str = "probes.parquet";
/// The [`ProbeSetRow`]s.
pub const SETS: &str = "sets.parquet";
/// The [`ProbeMeanRow`]s.
pub const MEANS: &str = "means.parquet";

row! {
    /// One probe: logistic regression on some columns of one set of prompts.
    ProbeRow {
        /// The set of prompts.
        set: String,
        /// `normal`, `scarce` (few prompts to train on), `imbalanced` (few or many positives) or `shifted` (tested on prompts of a
        /// different distribution).
        setting: String,
        /// `published` (as sae-probes draws it) or `different` (no prompt twice, so none is both trained on and tested on).
        split: String,
        /// Seed of the split and of the folds.
        seed: u32,
        /// The dictionary, or the control.
        dictionary: String,
        /// Which control it is, in words; empty for a dictionary that is to be judged.
        control: String,
        /// Where the activations were taken.
        hook: String,
        /// `l1` or `l2`.
        penalty: String,
        /// Columns that the probe was given; 0 means all of them.
        k: u32,
        /// Prompts trained on, those that chose C among them.
        train: u32,
        /// Prompts tested on.
        test: u32,
        /// Share of the prompts trained on that are positive.
        positives: f64,
        /// Share of the prompts tested on that are, to the letter, among those trained on.
        leak: f64,
        /// C: the larger, the weaker the penalty.
        c: f64,
        /// Mean area under the ROC curve over the folds that chose C; null where there were too few prompts to choose.
        val_auc: Option<f64>,
        /// Area under the ROC curve of the prompts tested on.
        test_auc: f64,
        /// Share of them on the right side.
        test_accuracy: f64,
        /// F1 of both classes, weighted by their shares.
        test_f1: f64,
        /// The columns, best first: features, dimensions or components.
        features: Vec<u32>,
        /// Their weights, in the same order.
        weights: Vec<f32>,
        /// The bias.
        bias: f64,
    }
}

row! {
    /// One set of prompts.
    ProbeSetRow {
        /// Its name.
        set: String,
        /// Prompts.
        prompts: u32,
        /// Prompts of the class that sorts last, which is the positive one.
        positives: u32,
        /// That class.
        positive: String,
        /// The other.
        negative: String,
        /// Different prompts, those with both labels left out.
        different: u32,
        /// Share of the tested prompts of the published split (seed 42) that are, to the letter, among those trained on; null where
        /// there are too few prompts to split.
        leak: Option<f64>,
    }
}

row! {
    /// What one row of the table comes to over all sets: the mean over sets of the mean over seeds.
    ProbeMeanRow {
        /// See [`ProbeRow::setting`].
        setting: String,
        /// See [`ProbeRow::split`].
        split: String,
        /// See [`ProbeRow::dictionary`].
        dictionary: String,
        /// See [`ProbeRow::control`].
        control: String,
        /// See [`ProbeRow::hook`].
        hook: String,
        /// See [`ProbeRow::penalty`].
        penalty: String,
        /// See [`ProbeRow::k`].
        k: u32,
        /// Sets.
        sets: u32,
        /// Seeds.
        seeds: u32,
        /// Mean area under the ROC curve.
        auc: f64,
        /// Lower end of its 95 % interval over sets: by bootstrap (percentiles 2.5 and 97.5 of 1000 draws), or by Student's t where that is
        /// wider, as it is for few sets; null for one set.
        low: Option<f64>,
        /// Its upper end.
        high: Option<f64>,
        /// Standard deviation over seeds of the mean over sets; null for one seed.
        seed_sd: Option<f64>,
        /// Mean share on the right side.
        accuracy: f64,
        /// Mean weighted F1.
        f1: f64,
        /// Mean share of tested prompts that were trained on.
        leak: f64,
        /// `auc` minus that of the activation's own dimensions with as many columns, over the same sets; null where they were not probed.
        over_raw: Option<f64>,
        /// Lower end of its 95 % interval over sets, made in the same way.
        over_raw_low: Option<f64>,
        /// Its upper end.
        over_raw_high: Option<f64>,
        /// The smallest difference from raw dimensions that would have been seen four times of five in a two-sided t test
        /// at 5 % on the paired differences over sets.
        detectable: Option<f64>,
    }
}

row! {
    /// What a probe reads of one prompt: `activations/SET-KEY.parquet`, one row per prompt in the set's order. The key is made of the model,
    /// the hook, the pooling and the prompts, so a file is what its name says.
    PromptActivationRow {
        /// The activation, `[d_model]`; empty for a prompt without a token.
        activation: Vec<f32>,
    }
}

record! {
    /// `probe.json`: what was asked. A folder is resumed only by the same question.
    #[derive(Default)]
    Probe {
        /// Always `sae-workbench probe`.
        format: String,
        /// Version of the layout.
        version: u64,
        /// Name of the model.
        model: String,
        /// SHA-256 of the model.
        model_sha256: String,
        /// Names of the dictionaries.
        dictionaries: Vec<String>,
        /// SHA-256 of the weights of each.
        dictionaries_sha256: Vec<String>,
        /// Hook of each.
        hooks: Vec<String>,
        /// `last` token or `mean` over tokens.
        pooling: String,
        /// Columns that probes are given.
        k: Vec<u32>,
        /// `l1`, `l2`.
        penalties: Vec<String>,
        /// See [`ProbeRow::setting`].
        settings: Vec<String>,
        /// See [`ProbeRow::split`].
        splits: Vec<String>,
        /// See [`ProbeRow::seed`].
        seeds: Vec<u32>,
    }
}

impl Probe {
    /// Writes `DIR/probe.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        atomic::write_json(&dir.join(FILE), self)
    }

    /// Reads `DIR/probe.json`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is of another kind.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}
