//! The datasets of one harvest that say what the MLP of every layer reads and writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use storage::{Dataset, MANIFEST, RunRecord};

use super::{dataset_of, is_run};
use crate::{Error, Result};
use lm::model::{Hook, Site};

/// The datasets of a harvest, by layer.
#[derive(Debug)]
pub struct Layers {
    /// Of what each layer's MLP reads, from layer 0 on.
    pub inputs: Vec<Dataset>,
    /// Of what it writes.
    pub targets: Vec<Dataset>,
}

impl Layers {
    /// Finds the datasets of `hook_mlp_in` and `hook_mlp_out` in `folder`, by the hooks that they name, from layer 0 on.
    ///
    /// # Errors
    /// A folder without such datasets; a layer that is missing, or there twice.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = &*storage::bucket::at(folder)?;
        let [inputs, targets] = [Site::MlpIn, Site::MlpOut].map(|site| by_layer(folder, site));
        let (inputs, targets) = (inputs?, targets?);
        let layers = inputs.keys().chain(targets.keys()).max().map_or(0, |last| last + 1);
        for layer in 0..layers.max(1) {
            for (side, site) in [(&inputs, Site::MlpIn), (&targets, Site::MlpOut)] {
                if !side.contains_key(&layer) {
                    return Err(missing(folder, Hook::new(layer, site)));
                }
            }
        }
        Ok(Self { inputs: inputs.into_values().collect(), targets: targets.into_values().collect() })
    }
}

/// The folder of the datasets of a cross-layer transcoder's layers: `data`, or the one that the run at `path` names.
///
/// # Errors
/// A folder that is not there; files of a different program, or a run that was imported without rows, which name none.
pub fn folder_of_layers(path: &Path, data: Option<&Path>) -> Result<PathBuf> {
    let folder = match data {
        Some(data) => storage::bucket::at(data)?.to_path_buf(),
        None => {
            let record = is_run(path).then(|| RunRecord::read(path)).transpose()?;
            let record = record.filter(|record| !record.data.is_empty());
            let none = || {
                Error::request(format!("{} names no dataset to measure it on", path.display()))
                    .with_remedy("name one of its model with --data")
            };
            dataset_of(path, &record.ok_or_else(none)?)
        }
    };
    if folder.exists() {
        return Ok(folder);
    }
    let (run, folder) = (path.display(), folder.display());
    Err(Error::request(format!("{run}: its datasets in {folder} are not there any more"))
        .with_remedy("say with --data where they are now"))
}

/// The datasets of `hooks` in `folder`, which are of one site and of layers from 0 on, in their order.
///
/// # Errors
/// As [`Layers::open`].
pub fn datasets_of(folder: &Path, hooks: &[Hook]) -> Result<Vec<Dataset>> {
    let folder = &*storage::bucket::at(folder)?;
    let Some(site) = hooks.first().map(|hook| hook.site) else { return Ok(Vec::new()) };
    let mut found = by_layer(folder, site)?;
    hooks.iter().map(|hook| found.remove(&hook.layer).ok_or_else(|| missing(folder, *hook))).collect()
}

/// The datasets of a site in `folder`.
fn by_layer(folder: &Path, site: Site) -> Result<BTreeMap<usize, Dataset>> {
    let mut found: BTreeMap<usize, Dataset> = BTreeMap::new();
    for path in datasets(folder)? {
        let dataset = Dataset::open(&path)?;
        let hook = dataset.manifest().hook.as_deref().and_then(|hook| hook.parse::<Hook>().ok());
        let Some(hook) = hook.filter(|hook| hook.site == site) else { continue };
        if let Some(other) = found.insert(hook.layer, dataset) {
            return Err(Error::request(format!(
                "{} and {} are both of {hook}",
                other.dir().display(),
                path.display()
            ))
            .with_remedy("leave the datasets of one harvest in the folder"));
        }
    }
    Ok(found)
}

/// The folders with a dataset in `folder`, by name.
fn datasets(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.join(MANIFEST).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn missing(folder: &Path, hook: Hook) -> Error {
    let ends = match hook.site {
        Site::MlpIn | Site::MlpOut => {
            "--hook 'blocks.*.hook_mlp_in' --hook 'blocks.*.hook_mlp_out'".to_owned()
        }
        site => format!("--hook 'blocks.*.{}'", site.name()),
    };
    Error::request(format!(
        "{} has no dataset of {hook}: a cross-layer transcoder is trained on what the MLPs of all layers read and write, and indexed on what \
         all of them read",
        folder.display()
    ))
    .with_remedy(format!("name the folder that `sae harvest --out` made with {ends}"))
}
