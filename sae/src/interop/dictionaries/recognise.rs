//! Which format a folder or file has.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::names::origin;
use super::{
    Format, circuit_tracer, dictionary_learning, gemma_scope, gemma_scope2, llama_scope, qwen_scope, sparsify,
};
use crate::dictionary::cross_layer::{KIND, TOP_K_KIND};
use crate::dictionary::weights::Weights;
use crate::dictionary::{CONFIG, WEIGHTS};
use crate::{Error, Result};

/// A dictionary's place on this machine.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub format: Format,
    /// The folder of its files.
    pub folder: PathBuf,
    /// The file, where one of the folder's is meant.
    pub file: Option<PathBuf>,
    /// The name of the source, for what only names say.
    pub origin: String,
}

/// The format of a folder or file: a glance at names and configurations, no weights.
///
/// # Errors
/// Nothing there that is recognised, and what was looked for; several dictionaries, and which.
pub fn recognise(path: &Path) -> Result<Format> {
    Place::of(path).map(|place| place.format)
}

impl Place {
    /// Recognises `path`.
    ///
    /// # Errors
    /// As [`recognise`].
    pub fn of(path: &Path) -> Result<Self> {
        let whole = std::path::absolute(path).map_err(|e| Error::io(path, e))?;
        let about = std::fs::metadata(&whole).map_err(|e| Error::io(path, e))?;
        let (folder, file) = match about.is_dir() {
            true => (whole.clone(), None),
            false => (whole.parent().unwrap_or(Path::new("/")).to_path_buf(), Some(whole.clone())),
        };
        let place =
            |format| Self { format, folder: folder.clone(), file: file.clone(), origin: origin(&whole) };
        match format_of(&folder, file.as_deref())? {
            Some(format) => Ok(place(format)),
            None => Err(nothing(path, &folder)),
        }
    }

    /// The file that is meant, or else `name` in the folder.
    pub fn file_or(&self, name: &str) -> PathBuf {
        self.file.clone().unwrap_or_else(|| self.folder.join(name))
    }
}

/// The format by the names of files, and where these do not tell, by configurations and names of tensors.
fn format_of(folder: &Path, file: Option<&Path>) -> Result<Option<Format>> {
    let has = |name: &str| folder.join(name).is_file();
    let named = file.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let named = named.as_deref();
    // A file that is given counts, not what lies next to it.
    let meant = |name: &str| named.map_or_else(|| has(name), |file| file == name);
    if let Some(name) = named.filter(|name| name.ends_with(".pt") || name.ends_with(".pth")) {
        return Ok(Some(match name {
            dictionary_learning::FILE => Format::DictionaryLearning,
            _ if name.ends_with(qwen_scope::ENDING) => Format::QwenScope,
            // Told apart by its tensors when it is read.
            _ => Format::OpenAi,
        }));
    }
    if has(llama_scope::CONFIG) && has("checkpoints/final.safetensors") {
        return Ok(Some(Format::LlamaScope));
    }
    if has(CONFIG) && (meant(WEIGHTS) || named == Some(CONFIG)) && has(WEIGHTS) {
        if has(storage::run::FILE) {
            return Ok(Some(Format::Run));
        }
        let config = json(&folder.join(CONFIG))?;
        return Ok(Some(if is_version_6(&config) { Format::SaeLens6 } else { Format::SaeLens5 }));
    }
    if meant(sparsify::FILE) && has(CONFIG) {
        return Ok(Some(Format::Sparsify));
    }
    if meant(gemma_scope::FILE) || named.is_some_and(|name| name.ends_with(".npz")) {
        return Ok(Some(Format::GemmaScope));
    }
    if meant(gemma_scope2::FILE) {
        return Ok(Some(Format::GemmaScope2));
    }
    if meant(dictionary_learning::FILE) {
        return Ok(Some(Format::DictionaryLearning));
    }
    if meant(WEIGHTS) && has("config.json") {
        let weights = Weights::read(&folder.join(WEIGHTS))?;
        return Ok(weights.shape(llama_scope::LOG_THRESHOLD).map(|_| Format::LlamaScopeR1));
    }
    if has(circuit_tracer::CONFIG) {
        let config = circuit_tracer::config(&folder.join(circuit_tracer::CONFIG))?;
        return Ok(match config.get("model_kind").map(String::as_str) {
            Some("transcoder_set") => Some(Format::TranscoderSet),
            Some(KIND | TOP_K_KIND) => Some(Format::CrossLayer),
            _ => None,
        });
    }
    let clt = |name: &str| name.starts_with(gemma_scope2::LAYER) && name.ends_with(".safetensors");
    if named.map_or_else(|| !within(folder, clt).is_empty(), clt) {
        return Ok(Some(Format::GemmaScope2));
    }
    // A set of transcoders whose config.yaml was not brought along.
    let layer = |name: &str| name.starts_with("layer_") && name.ends_with(".safetensors");
    let first = match named {
        Some(name) => Some(name.to_owned()).filter(|name| layer(name)),
        None => within(folder, layer).into_iter().next(),
    };
    if let Some(first) = first {
        let weights = Weights::read(&folder.join(first))?;
        let known = ["W_enc", "W_dec", "b_enc", "b_dec"].iter().all(|name| weights.shape(name).is_some());
        return Ok(known.then_some(Format::TranscoderSet));
    }
    Ok(within(folder, |name| name.ends_with(qwen_scope::ENDING)).first().map(|_| Format::QwenScope))
}

/// Names in a folder that satisfy `wanted`, ascending; a few.
fn within(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| wanted(name));
    names.sort();
    names
}

/// Says what is there, and where in it a dictionary is.
fn nothing(path: &Path, folder: &Path) -> Error {
    let error = Error::format(path, "is not a dictionary of a format that is read");
    let inside =
        within(folder, |name| format_of(&folder.join(name), None).is_ok_and(|format| format.is_some()));
    match &inside[..] {
        [] => {
            let there: Vec<String> =
                within(folder, |name| !name.starts_with('.')).into_iter().take(8).collect();
            error.with_remedy(format!(
                "it holds {}; docs/dictionaries.md lists what files each format has",
                if there.is_empty() { "nothing".to_owned() } else { there.join(", ") }
            ))
        }
        [first, ..] => error.with_remedy(format!(
            "give one of the {} in it, e.g. {}",
            inside.len(),
            folder.join(first).display()
        )),
    }
}

/// A JSON file.
pub(super) fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&text).map_err(|e| {
        Error::format(path, format!("is not JSON: {e}")).with_remedy("download or copy it again")
    })
}

/// SAELens's own rule: a version of 6 or later in the configuration or its metadata.
fn is_version_6(config: &Value) -> bool {
    let version = |value: &Value| value.get("sae_lens_version").and_then(Value::as_str).map(str::to_owned);
    let version = version(config).or_else(|| config.get("metadata").and_then(version));
    let major =
        version.and_then(|version| version.split('.').next().and_then(|major| major.parse::<u32>().ok()));
    major.is_some_and(|major| major >= 6)
}
