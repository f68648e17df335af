//! The datasets of one harvest that say what the MLP of every layer reads and writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use storage::{Dataset, MANIFEST};

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
        let mut found: [BTreeMap<usize, Dataset>; 2] = Default::default();
        for path in datasets(folder)? {
            let dataset = Dataset::open(&path)?;
            let hook = dataset.manifest().hook.as_deref().and_then(|hook| hook.parse::<Hook>().ok());
            let (side, layer) = match hook {
                Some(Hook { layer, site: Site::MlpIn }) => (0, layer),
                Some(Hook { layer, site: Site::MlpOut }) => (1, layer),
                _ => continue,
            };
            if let Some(other) = found[side].insert(layer, dataset) {
                return Err(Error::request(format!(
                    "{} and {} are both of {}",
                    other.dir().display(),
                    path.display(),
                    other.manifest().hook.as_deref().unwrap_or_default()
                ))
                .with_remedy("leave the datasets of one harvest in the folder"));
            }
        }
        let layers = found.iter().filter_map(|side| side.keys().max()).max().map_or(0, |last| last + 1);
        for layer in 0..layers.max(1) {
            for (side, site) in found.iter().zip([Site::MlpIn, Site::MlpOut]) {
                if !side.contains_key(&layer) {
                    return Err(missing(folder, layer, site));
                }
            }
        }
        let [inputs, targets] = found.map(|side| side.into_values().collect::<Vec<_>>());
        Ok(Self { inputs, targets })
    }
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

fn missing(folder: &Path, layer: usize, site: Site) -> Error {
    let hook = Hook::new(layer, site);
    Error::request(format!(
        "{} has no dataset of {hook}: a cross-layer transcoder is trained on what the MLPs of all layers read and write",
        folder.display()
    ))
    .with_remedy(
        "name the folder that `sae harvest --out` made with --hook blocks.0.hook_mlp_in --hook blocks.0.hook_mlp_out and so on \
         for every layer",
    )
}
