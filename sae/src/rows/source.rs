//! What an analysis is given: a run, or a dictionary that a different program made.

use std::path::{Path, PathBuf};

use storage::{Dataset, RunRecord};

use super::load_with_sha256;
use crate::dictionary::{CONFIG, Dictionary};
use crate::files::files_sha256;
use crate::interop::dictionaries::{Reading, open_path, recognise};
use crate::{Error, Result};

/// A dictionary and where it is from.
#[derive(Debug)]
pub struct Source {
    /// The dictionary, for raw activations.
    pub dictionary: Dictionary,
    /// SHA-256 of its weights, in hexadecimal.
    pub sha256: String,
    /// What is known about it.
    pub origin: Origin,
}

/// Where a dictionary is from.
#[derive(Debug)]
pub enum Origin {
    /// A run: results are kept in its folder.
    Run(Box<RunRecord>),
    /// Files of a different program: nothing is written next to them.
    Foreign(Box<Reading>),
}

impl Source {
    /// Opens the run or the dictionary at `path`.
    ///
    /// # Errors
    /// Files that cannot be read, a run whose training has not ended, dictionaries of several layers at once.
    pub fn open(path: &Path) -> Result<Self> {
        // A dataset in place of a run is a slip, not a dictionary of a different program.
        if is_run(path) || !path.exists() || path.join(storage::MANIFEST).exists() {
            let record = RunRecord::read(path)?;
            must_be_one(path, &record)?;
            if !path.join(CONFIG).exists() {
                return Err(Error::data(format!(
                    "{} has no dictionary: there is no {}, which is written when training ends",
                    path.display(),
                    path.join(CONFIG).display()
                ))
                .with_remedy("finish the training with `sae train --resume`"));
            }
            let (mut dictionary, sha256) = load_with_sha256(path)?;
            if let Some(target) = &mut dictionary.target {
                target.norm_limit = record.target_norm_limit.map(|limit| limit as f32);
            }
            return Ok(Self { dictionary, sha256, origin: Origin::Run(Box::new(record)) });
        }
        let (dictionary, reading) = open_path(path)?.dictionary()?;
        let sha256 = files_sha256(&reading.files)?;
        Ok(Self { dictionary, sha256, origin: Origin::Foreign(Box::new(reading)) })
    }

    /// The run's record; `None` for a dictionary of a different program.
    pub fn record(&self) -> Option<&RunRecord> {
        match &self.origin {
            Origin::Run(record) => Some(record),
            Origin::Foreign(_) => None,
        }
    }

    /// Norm of an activation above which training left tokens out.
    pub fn norm_limit(&self) -> Option<f32> {
        self.record()?.norm_limit.map(|limit| limit as f32)
    }

    /// The hook that it reads; empty if nobody says it.
    pub fn hook(&self) -> &str {
        match &self.origin {
            Origin::Run(record) => &record.hook,
            Origin::Foreign(reading) => reading.hook_in.as_deref().unwrap_or_default(),
        }
    }

    /// The dataset to analyse it on: `data`, or the one that a run names.
    ///
    /// # Errors
    /// A dictionary that names none.
    pub fn data(&self, path: &Path, data: Option<&Path>) -> Result<PathBuf> {
        let named = self.record().filter(|record| !record.data.is_empty());
        match (data, named) {
            (Some(data), _) => Ok(data.to_owned()),
            (None, Some(record)) => Ok(dataset_of(path, record)),
            (None, None) => {
                let hook = if self.hook().is_empty() { "HOOK" } else { self.hook() };
                Err(Error::request(format!("{} names no dataset to measure it on", path.display()))
                    .with_remedy(format!(
                        "name one with --data; `sae harvest --model MODEL --hook {hook} --text FILES --out data` makes it"
                    )))
            }
        }
    }
}

/// The dataset that the run at `path` names, as [`find_dataset`] finds it.
pub fn dataset_of(path: &Path, record: &RunRecord) -> PathBuf {
    find_dataset(path, &record.data, &record.model.sha256, Some(&record.hook))
}

/// The dataset that a file of the run at `path` calls `name`, from the working directory or from the run's folder. Where it is not there
/// and a whole folder was moved or copied, the one of that name next to the run, if it is of the same model and hook.
pub fn find_dataset(path: &Path, name: &str, model_sha256: &str, hook: Option<&str>) -> PathBuf {
    // What an address stands for, if it can be told; else nothing is there of that name.
    let named = storage::bucket::local(name).unwrap_or_else(|_| PathBuf::from(name));
    if let Some(found) = [named.clone(), path.join(&named)].into_iter().find(|at| at.exists()) {
        return found;
    }
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let sibling = whole.parent().zip(named.file_name()).map(|(folder, name)| folder.join(name));
    let alike = |sibling: &PathBuf| {
        Dataset::open(sibling).is_ok_and(|dataset| {
            let manifest = dataset.manifest();
            manifest.model.sha256 == model_sha256 && manifest.hook.as_deref() == hook
        })
    };
    sibling.filter(alike).unwrap_or(named)
}

/// An error for a run that is a cross-layer transcoder, where a dictionary is wanted.
///
/// # Errors
/// [`Error::Request`], with what takes it.
pub fn must_be_one(path: &Path, record: &RunRecord) -> Result<()> {
    let Some(layers) = record.layers else { return Ok(()) };
    Err(Error::request(format!(
        "{} is a cross-layer transcoder of {layers} layers, whose features write into several of them; this takes a dictionary that writes \
         to one hook",
        path.display()
    ))
    .with_remedy(
        "cross-layer transcoders are for `sae evaluate`, `sae index` and `sae trace --transcoders`; the run's folder is circuit-tracer's layout",
    ))
}

/// Whether the folder at `path` is a run.
pub fn is_run(path: &Path) -> bool {
    path.join(storage::run::FILE).is_file()
}

/// Whether the folder at `path` is a run that is a cross-layer transcoder.
///
/// # Errors
/// A record that cannot be read.
pub fn is_cross_layer_run(path: &Path) -> Result<bool> {
    Ok(is_run(path) && RunRecord::read(path)?.layers.is_some())
}

/// An error unless results can be kept in `path`: `what` would be written there.
///
/// # Errors
/// [`Error::Request`] for a dictionary of a different program, with how to make a run of it.
pub fn must_be_run(path: &Path, what: &str) -> Result<()> {
    if is_run(path) || !path.exists() || recognise(path).is_err() {
        return Ok(());
    }
    let shown = path.display();
    Err(Error::request(format!(
        "{shown} is a dictionary of a different program, and {what} cannot be written there"
    ))
    .with_remedy(format!(
        "make a run of it first: sae import dictionary {shown} --out RUN; index, explain and map do that themselves with --data DIR --out RUN"
    )))
}
