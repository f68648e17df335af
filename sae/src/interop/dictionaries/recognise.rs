//! Which format a folder or file has.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Format;
use super::names::origin;
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
    pub fn of(path: &Path) -> Result<Self> {
        let whole = std::path::absolute(path).map_err(|e| Error::io(path, e))?;
        let about = std::fs::metadata(&whole).map_err(|e| Error::io(path, e))?;
        let (folder, file) = match about.is_dir() {
            true => (whole.clone(), None),
            false => (whole.parent().unwrap_or(Path::new("/")).to_path_buf(), Some(whole.clone())),
        };
        let place =
            |format| Self { format, folder: folder.clone(), file: file.clone(), origin: origin(&whole) };
        let has = |name: &str| folder.join(name).is_file();
        if has(CONFIG) && has(WEIGHTS) {
            if has(storage::run::FILE) {
                return Ok(place(Format::Run));
            }
            let config = json(&folder.join(CONFIG))?;
            return Ok(place(if is_version_6(&config) { Format::SaeLens6 } else { Format::SaeLens5 }));
        }
        Err(Error::format(path, "is not a dictionary of a format that is read"))
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
