//! A dictionary together with the dataset that it is analysed on.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use storage::Dataset;

use super::{Source, is_cross_layer_run};
use crate::dictionary::Dictionary;
use crate::files::files_sha256;
use crate::interop::dictionaries::open_path;
use crate::{Error, Result};
use lm::model::hexadecimal;

/// A dictionary and a dataset.
#[derive(Debug)]
pub struct Subject {
    /// The dictionary, for raw activations.
    pub dictionary: Dictionary,
    /// SHA-256 of its weight file, in hexadecimal.
    pub dictionary_sha256: String,
    /// The dataset.
    pub dataset: Dataset,
    /// Norm of an activation above which rows were left out of training.
    pub norm_limit: Option<f32>,
    /// Whether it is a run, in whose folder results are kept.
    pub is_run: bool,
}

impl Subject {
    /// Opens the run or the foreign dictionary at `path` with the dataset `data`, or else with the one that the run names.
    ///
    /// # Errors
    /// A dictionary or dataset that cannot be read, no dataset, or one of a different hook.
    pub fn open(path: &Path, data: Option<&Path>) -> Result<Self> {
        let source = Source::open(path)?;
        let folder = source.data(path, data)?;
        if data.is_none() && !folder.exists() {
            let (run, folder) = (path.display(), folder.display());
            return Err(Error::request(format!("{run}: its dataset {folder} is not there any more"))
                .with_remedy("say with --data where it is now"));
        }
        let dataset = Dataset::open(&folder)?;
        let (trained, found) = (source.hook(), dataset.manifest().hook.clone().unwrap_or_default());
        if !trained.is_empty() && *trained != found {
            return Err(Error::request(format!(
                "{}: activations were taken at `{found}`, but the dictionary was trained at `{trained}`",
                dataset.dir().display()
            ))
            .with_remedy("give a dataset of that hook with --data"));
        }
        let norm_limit = source.norm_limit();
        let is_run = source.record().is_some();
        Ok(Self {
            dictionary: source.dictionary,
            dictionary_sha256: source.sha256,
            dataset,
            norm_limit,
            is_run,
        })
    }
}

/// The dictionary in `dir` and the SHA-256 of its weight file, hexadecimal: that of the weights that were read, also where somebody writes
/// the file meanwhile.
///
/// # Errors
/// A dictionary that cannot be read, weights that change while they are read.
pub fn load_with_sha256(dir: &Path) -> Result<(Dictionary, String)> {
    let sha256 = weights_sha256(dir)?;
    let dictionary = Dictionary::load(dir)?;
    if weights_sha256(dir)? == sha256 {
        return Ok((dictionary, sha256));
    }
    Err(Error::data(format!("the weights of {} changed while they were read", dir.display()))
        .with_remedy("wait until whatever writes them is done, then run this again"))
}

/// SHA-256 of the weight file of the dictionary in `dir`, hexadecimal; of all files of a cross-layer transcoder.
///
/// # Errors
/// A weight file that cannot be read.
pub fn weights_sha256(dir: &Path) -> Result<String> {
    if is_cross_layer_run(dir)? {
        return files_sha256(&open_path(dir)?.reading.files);
    }
    let path = dir.join("sae_weights.safetensors");
    let mut file = std::fs::File::open(&path).map_err(|e| Error::io(&path, e))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(|e| Error::io(&path, e))?;
    Ok(hexadecimal(&hash.finalize()))
}
