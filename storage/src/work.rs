//! Who did which part of a job that several processes share: `shards/shard-I-of-N/work.json`.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::atomic;
use crate::error::{Error, Result};
use crate::json::{differences, read_versioned};
use crate::manifest::Part;
use crate::part::hexadecimal;
use crate::record::record;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench work";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The file's name inside a shard's folder.
pub const FILE: &str = "work.json";
/// The folder that has a folder for each shard of a job.
pub const SHARDS: &str = "shards";

/// How far a shard came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkStatus {
    /// At work, or killed while it was.
    #[default]
    Working,
    /// All of it is there.
    Done,
    /// All of it is in the job's result.
    Merged,
    /// Interrupted on request; the same command continues.
    Stopped,
    /// Ended by an error; the same command continues.
    Failed,
}

impl WorkStatus {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Done => "done",
            Self::Merged => "merged",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing is left to do.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::Merged)
    }
}

record! {
    /// What one shard of a job is to do, who did it last and how far it came.
    #[derive(Default)]
    Work {
        /// Always `sae-workbench work`.
        format: String,
        /// Version of the layout.
        version: u64,
        /// The job: `harvest`, `sweep`, `index`, `probe`, `explain` or `synth rows`.
        #[serde(default)]
        job: String,
        /// Which shard, counted from 0.
        shard: usize,
        /// Of how many.
        of: usize,
        /// What is its: runs of a sweep, sets of prompts, ranges of rows or features.
        #[serde(alias = "runs")]
        pieces: Vec<String>,
        /// Input and options that decide what the shards make: the same for all of a job. Null where what they make says it itself.
        #[serde(default)]
        settings: Value,
        /// Its files that are whole, next to this one.
        #[serde(default)]
        files: Vec<Part>,
        /// The machine that worked last.
        host: String,
        /// Number of the process there.
        process: u32,
        /// Times that the shard was started; above 1 it was killed, stopped or given again.
        starts: u64,
        /// When it was started first (RFC 3339, UTC).
        started: String,
        /// When it was started last or ended.
        updated: String,
        /// `working` (or killed while it was), `done`, `merged`, `stopped` or `failed`.
        status: WorkStatus,
    }
}

impl Work {
    /// A record with the format and version of this program and everything else empty.
    pub fn new() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, ..Self::default() }
    }

    /// Writes `SHARD/work.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, shard: &Path) -> Result<()> {
        atomic::write_json(&shard.join(FILE), self)
    }

    /// Reads `SHARD/work.json`; `None` where the file is missing.
    ///
    /// # Errors
    /// When the file cannot be read or lacks a field.
    pub fn read(shard: &Path) -> Result<Option<Self>> {
        let path = shard.join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }

    /// Settings in which this shard differs from `settings`, one `name: A there, B here` each; `None` when equal.
    pub fn difference(&self, settings: &Value) -> Option<String> {
        // Both as they are in a file, where a number may be rounded.
        let as_read = |value: &Value| serde_json::from_str(&value.to_string()).unwrap_or(Value::Null);
        differences(&as_read(&self.settings), &as_read(settings))
    }

    /// Whether `file` was whole when it was recorded and has the length that it had.
    pub fn has(&self, shard: &Path, file: &str) -> bool {
        let length =
            |part: &Part| std::fs::metadata(shard.join(&part.file)).is_ok_and(|m| m.len() == part.bytes);
        self.files.iter().any(|part| part.file == file && length(part))
    }
}

/// What to record of the file `name` in `shard`, which has `rows` rows.
///
/// # Errors
/// A file that cannot be read.
pub fn recorded(shard: &Path, name: &str, rows: u64) -> Result<Part> {
    let path = shard.join(name);
    crate::bucket::fill(&path)?;
    let mut hash = Sha256::new();
    let mut file = File::open(&path).map_err(Error::io(&path))?;
    let bytes = std::io::copy(&mut file, &mut hash).map_err(Error::io(&path))?;
    Ok(Part { file: name.to_owned(), rows, bytes, sha256: hexadecimal(&hash.finalize()) })
}

/// The name of this machine; empty where the system does not tell.
pub fn host() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    told.unwrap_or_default().trim().to_owned()
}
