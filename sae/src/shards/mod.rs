//! One job by several processes that share nothing but a folder.
//!
//! ```text
//! sae JOB … --shard 0/3 ─▶ JOB/shards/shard-00000-of-00003/ ── files, work.json ─┐
//! sae JOB … --shard 1/3 ─▶ …                                                     ├─ sae JOB … --merge ─▶ what one process writes
//! sae JOB … --shard 2/3 ─▶ …                                                     ┘
//! ```
//!
//! A shard locks a folder of its own, makes its files there one after the other and records each in `work.json` when it is whole, so the
//! same command may be given again however it ended: what is recorded is not made again ([`working`]). The record also says who worked,
//! and on what: input and options that decide the bytes. The merge is the same command with `--merge`; it takes nothing before every shard
//! is there, finished, of its own input and options, and with the checksums that were recorded ([`finished`]).
//!
//! What a shard makes and what the merge makes of it is the job's: `features::index_shard`, `probe::run_shard`,
//! `explain::explain_shard`, `synth::dataset`, `harvest`, `train::sweep`.

pub mod finished;
#[cfg(test)]
mod tests;
pub mod working;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use storage::Dataset;

pub use finished::{Finished, Shards};
pub use storage::work::{SHARDS, Work, WorkStatus};
pub use working::{Begun, Working};

use crate::{Error, Result};
use lm::model::hexadecimal;

/// Part `index` of `count`, counted from 0, written `index/count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a shard; expected i/n with 0 ≤ i < n ≤ 100000, e.g. 0/8 to 7/8");
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let shard =
            Self { index: index.parse().map_err(|_| wrong())?, count: count.parse().map_err(|_| wrong())? };
        if shard.index < shard.count && shard.count <= 100_000 { Ok(shard) } else { Err(wrong()) }
    }
}

impl Shard {
    /// Where this shard's files are: a folder in `folder`.
    pub fn folder(&self, folder: &Path) -> PathBuf {
        folder.join(format!("shard-{:05}-of-{:05}", self.index, self.count))
    }

    /// Which of `n` things in a row are this shard's: shards follow each other and are about equally long.
    pub fn range(&self, n: u64) -> Range<u64> {
        let bound = |index: usize| (u128::from(n) * index as u128 / self.count as u128) as u64;
        bound(self.index)..bound(self.index + 1)
    }
}

/// A job that is cut into shards.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name in records and messages.
    pub name: &'static str,
    /// The folder with a folder for each shard.
    pub folder: PathBuf,
    /// Input and options that decide what the shards make; null where that says it itself.
    pub settings: Value,
}

impl Job {
    /// A job whose shards lie in `folder`. Shards of different versions of the program are not mixed.
    pub fn new(name: &'static str, folder: PathBuf, mut settings: Value) -> Self {
        if let Some(settings) = settings.as_object_mut() {
            settings.insert("program".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        }
        Self { name, folder, settings }
    }
}

/// What tells a dataset from all others, wherever it lies.
pub(crate) fn identity(dataset: &Dataset) -> Value {
    let manifest = dataset.manifest();
    let tables = json!({ "tables": manifest.tables, "settings": manifest.settings });
    json!({
        "model_sha256": manifest.model.sha256,
        "hook": manifest.hook,
        "rows": manifest.rows,
        "sha256": hexadecimal(&Sha256::digest(tables.to_string())),
    })
}

/// The division whose folders `shard-I-of-N` are in `folder`: N and the shards that are there; `None` without any.
///
/// # Errors
/// A folder that cannot be listed, shards of several divisions.
pub(crate) fn division(folder: &Path) -> Result<Option<(usize, BTreeSet<usize>)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(folder, error)),
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name().to_string_lossy().into_owned();
        let parsed = name.strip_prefix("shard-").and_then(|rest| rest.split_once("-of-"));
        if let Some((index, count)) = parsed.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?))) {
            found.insert((count, index));
        }
    }
    let counts: BTreeSet<usize> = found.iter().map(|(count, _)| *count).collect();
    match counts.iter().collect::<Vec<_>>().as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((**one, found.into_iter().map(|(_, index)| index).collect()))),
        several => {
            let text = format!("{} has shards of {several:?}; expected one division", folder.display());
            Err(Error::request(text).with_remedy("remove the folders of the others"))
        }
    }
}
