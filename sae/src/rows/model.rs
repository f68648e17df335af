//! The model that a dataset was made with.

use std::path::Path;

use storage::{Bos, Dataset, Dtype, Manifest, ModelRef};

use super::Source;

use crate::{Error, Result};
use lm::model::{Compute, LanguageModel, ModelSource};
use serde::Deserialize as _;

/// The model that an analysis uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ModelChoice {
    /// The one that the dataset names.
    #[default]
    OfTheData,
    /// This one; its weights must be those that made the dataset.
    Source(ModelSource),
    /// None: what needs a model is left out.
    Without,
}

/// Loads the model of an analysis, which multiplies in the numbers of the dataset's; `None` if it goes without one.
///
/// # Errors
/// A model that is missing or cannot be read, or whose weights are not those that made the dataset.
pub fn load_model(choice: &ModelChoice, manifest: &Manifest) -> Result<Option<LanguageModel>> {
    if !manifest.rows_are.tokens() {
        let what = manifest.rows_are.name();
        return match choice {
            ModelChoice::Source(_) => Err(Error::request(format!(
                "the rows of the dataset are {what}, not tokens: no language model made them"
            ))
            .with_remedy("leave --model out")),
            _ => Ok(None),
        };
    }
    let source = match choice {
        ModelChoice::Without => return Ok(None),
        ModelChoice::Source(source) => source.clone(),
        ModelChoice::OfTheData => source_of(manifest)?,
    };
    let mut model = LanguageModel::load(&source)?;
    // A dataset that was imported may not know; whoever names the model then answers for it.
    if !manifest.model.sha256.is_empty() && !model.is(&manifest.model.sha256) {
        return Err(Error::request(format!(
            "the dataset was made with `{}` (SHA-256 {}), but {source} is a different model (SHA-256 {}): \
             weights, configuration or tokenizer differ",
            manifest.model.id,
            manifest.model.sha256,
            model.sha256()
        ))
        .with_remedy("give that model with --model, or harvest again"));
    }
    // Contexts begin as they did when the dataset was made. Before that was recorded, the begin token that a
    // model names began them.
    let bos = manifest.bos.as_ref().map_or(model.tokenizer().beginning().named, |bos| bos.token);
    model.begin_with(bos)?;
    model.set_compute(compute_of(manifest)?);
    Ok(Some(model))
}

/// The setting of a dataset that [`compute_of`] reads.
pub const COMPUTE: &str = "compute";

/// In what numbers the model multiplied when it made the dataset.
///
/// # Errors
/// A dataset of a newer program, that names others.
pub fn compute_of(manifest: &Manifest) -> Result<Compute> {
    match manifest.settings.get(COMPUTE) {
        None => Ok(Compute::F32),
        Some(named) => Compute::deserialize(named)
            .map_err(|e| Error::data(format!("the dataset's `settings.compute`: {e}"))),
    }
}

/// The model that the dataset names: a folder or `default`.
///
/// # Errors
/// A dataset that does not say where its model is.
pub fn source_of(manifest: &Manifest) -> Result<ModelSource> {
    match &manifest.model.path {
        Some(path) => Ok(ModelSource::parse(&storage::bucket::local(path)?.to_string_lossy())),
        None => Err(Error::request(format!(
            "the dataset does not say where its model `{}` is",
            manifest.model.id
        ))
        .with_remedy("give the folder with --model, or use --no-model")),
    }
}

/// What is known of the rows that the dictionary at `path` reads: as its dataset or `data` says, or, of a dataset that is gone or was never
/// named, as the dictionary itself does.
///
/// # Errors
/// A dictionary that does not say where its model is, a dataset that cannot be read.
pub fn manifest_for(
    path: &Path,
    data: Option<&Path>,
    source: &Source,
    model: &ModelChoice,
) -> Result<Manifest> {
    let record = source.record();
    let itself = |model: ModelRef| {
        let mut manifest =
            Manifest::new(model, Some(source.hook().to_owned()), source.dictionary.d_in, Dtype::F32);
        if source.dictionary.info.prepend_bos == Some(false) {
            manifest.bos = Some(Bos { token: None, because: "the dictionary's prepend_bos".to_owned() });
        }
        manifest
    };
    let without_data = data.is_none() && record.is_none_or(|record| record.data.is_empty());
    let named = record.map(|record| &record.model).filter(|model| model.path.is_some());
    if without_data && (named.is_some() || matches!(model, ModelChoice::Source(_))) {
        return Ok(itself(named.cloned().unwrap_or_default()));
    }
    let folder = source.data(path, data).map_err(|error| match error {
        Error::Request(_) => Error::request(format!("{} does not say where its model is", path.display()))
            .with_remedy("name it with --model"),
        error => error,
    })?;
    match Dataset::open(&folder) {
        Ok(dataset) => Ok(dataset.manifest().clone()),
        Err(_) if data.is_none() && !folder.exists() && named.is_some() => {
            Ok(itself(named.cloned().unwrap_or_default()))
        }
        Err(error) => Err(error.into()),
    }
}
