//! What a dictionary is worth for a task that is known: `RUN/evaluation/task-NAME.json`.

use std::path::{Path, PathBuf};

use crate::atomic;
use crate::error::{Error, Result};
use crate::evaluation::FOLDER;
use crate::json::read_versioned;
use crate::record::record;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench task";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;

record! {
    /// A principled evaluation (Makelov, Lange and Nanda 2025): a dictionary at one position of a task's prompts, next to a supervised
    /// dictionary and to controls.
    TaskRecord {
        /// Which kind of file this is.
        format: String,
        /// Version of this description.
        version: u64,
        /// Name of the task.
        task: String,
        /// The model.
        model: String,
        /// SHA-256 of its weights.
        model_sha256: String,
        /// Where the dictionary's activations come from.
        hook: String,
        /// SHA-256 of the dictionary's weight file.
        dictionary_sha256: String,
        /// Seed of the prompts.
        seed: u64,
        /// Prompts that supervised dictionaries and labels of features are made from.
        train_prompts: u64,
        /// Prompts that everything is measured on; no combination of attributes' values is among those of the others.
        test_prompts: u64,
        /// Share of the tested prompts after which the answer is likelier than the alternative.
        accuracy: f64,
        /// Mean difference of their logits.
        logit_difference: f64,
        /// The position of the prompts that is looked at.
        position: String,
        /// What it does to the answer to put there, or elsewhere, the activation of a prompt with a different value.
        sites: Vec<TaskSite>,
        /// The dictionaries.
        results: Vec<TaskResult>,
    }
}

record! {
    /// Activation patching: the value of a prompt that differs in one attribute is put into this one.
    TaskSite {
        /// Where.
        hook: String,
        /// At which token: an attribute's occurrence, or the last token.
        position: String,
        /// The attribute that differs.
        attribute: String,
        /// 1 − LD(exchanged) / LD(untouched): 0 nothing changes, 1 the logit difference is gone, 2 it is turned round (0 where there is none).
        effect: f64,
    }
}

record! {
    /// A figure with its interval of 95 % over prompts.
    #[derive(Copy)]
    TaskFigure {
        /// The figure.
        value: f64,
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    }
}

record! {
    /// One dictionary.
    TaskResult {
        /// `run`, `supervised`, or a control.
        dictionary: String,
        /// Whether it is a control.
        control: bool,
        /// Features.
        features: u64,
        /// Active ones per prompt.
        l0: f64,
        /// Variance explained at that position; null where there is none.
        fve: Option<f64>,
        /// Mean logit difference with the reconstruction in place, as a share of the untouched one; null where that is 0.
        sufficiency: Option<TaskFigure>,
        /// 1 − |LD(mean) − LD(mean + error)| / |LD(mean) − LD(clean)|: what is lost if the reconstruction is taken out; null where the mean
        /// loses nothing.
        necessity: Option<TaskFigure>,
        /// Sparse edits that change one attribute.
        edits: Vec<TaskEdit>,
        /// What its features are about.
        labels: Vec<TaskLabels>,
    }
}

record! {
    /// Edits of at most k features, chosen greedily, that turn a prompt's activation into that of a prompt with a different value.
    TaskEdit {
        /// The attribute that is changed.
        attribute: String,
        /// Features that may be changed; 0 changes nothing, 1 of a supervised dictionary is one value for a different one.
        k: u32,
        /// Share of prompts after which the likeliest token is that of the true exchange of activations.
        agreement: TaskFigure,
        /// Mean distance to the true activation that is left, as a share of that without an edit.
        distance: f64,
    }
}

record! {
    /// How well single features tell the values of an attribute.
    TaskLabels {
        /// The attribute.
        attribute: String,
        /// Its values.
        values: u64,
        /// Values for which a feature has an F1 of 0.8 or more on the tested prompts, of those chosen on the others.
        told: u64,
        /// Mean over values of the F1 of the feature that was chosen.
        f1: f64,
        /// Features with an F1 of 0.5 or more per value that has any: above 1 it is split.
        split: Option<f64>,
        /// Share of the attribute in the norms of the supervised directions: one that is hardly there can be occluded by others.
        norm: f64,
    }
}

/// Where the record of `task` lies in the run in `dir`.
pub fn path(dir: &Path, task: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("task-{task}.json"))
}

impl TaskRecord {
    /// Writes it into the run in `dir`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = path(dir, &self.task);
        let folder = dir.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        atomic::write_json(&path, self)
    }

    /// Reads that of `task`.
    ///
    /// # Errors
    /// When the file cannot be read, is of another kind or lacks a field.
    pub fn read(dir: &Path, task: &str) -> Result<Self> {
        read_versioned(&path(dir, task), FORMAT, VERSION)
    }
}
