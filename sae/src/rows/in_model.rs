//! A dictionary at its place in its model.

use std::path::Path;

use super::{ModelChoice, Source, load_model, manifest_for};
use crate::{Error, Result};
use lm::model::{Hook, LanguageModel};

/// A dictionary, the model that its activations are of, and the hook that it reads there.
#[derive(Debug)]
pub struct InModel {
    /// The dictionary and where it comes from.
    pub source: Source,
    /// What it reads.
    pub hook: Hook,
    /// The model.
    pub model: LanguageModel,
}

impl InModel {
    /// Opens the run or the foreign dictionary at `path` with the model and the hook of its dataset, or of `data`. No row of the dataset
    /// is read, so it may be gone if `run.json` still names the model; a foreign dictionary needs `data` or a model.
    ///
    /// # Errors
    /// A run without a dictionary or without a model, a model that is missing or whose weights differ from those that made the dataset, a
    /// hook that is not named.
    pub fn open(path: &Path, data: Option<&Path>, model: &ModelChoice) -> Result<Self> {
        Self::of(Source::open(path)?, path, data, model)
    }

    /// The same of a dictionary that was read.
    ///
    /// # Errors
    /// As [`InModel::open`].
    pub fn of(source: Source, path: &Path, data: Option<&Path>, model: &ModelChoice) -> Result<Self> {
        let manifest = manifest_for(path, data, &source, model)?;
        let named = manifest.hook.clone().unwrap_or_default();
        if !source.hook().is_empty() && source.hook() != named {
            return Err(Error::request(format!(
                "the dataset was taken at `{named}`, but the dictionary of {} was trained at `{}`",
                path.display(),
                source.hook()
            ))
            .with_remedy("give a dataset of that hook with --data"));
        }
        if named.is_empty() {
            return Err(Error::request(format!(
                "{} does not name the hook of its activations, so its dictionary has no place in a model",
                path.display()
            )));
        }
        let model = load_model(model, &manifest)?.ok_or_else(|| {
            Error::request(format!(
                "{} has no language model to prompt: the rows that it was trained on are {}, not tokens of a text",
                path.display(),
                manifest.rows_are.name()
            ))
        })?;
        Ok(Self { source, hook: named.parse()?, model })
    }
}
