//! Who did which part of a job that several processes share: `SWEEP/shards/shard-I-of-N/work.json`.

use std::path::Path;

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench work";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The file's name inside a shard's folder.
pub const FILE: &str = "work.json";

record! {
    /// What one shard of a sweep is to do, who did it last and how far it came.
    #[derive(Default)]
    Work {
        /// Always `sae-workbench work`.
        format: String,
        /// Version of the layout.
        version: u64,
        /// Which shard, counted from 0.
        shard: usize,
        /// Of how many.
        of: usize,
        /// Its runs, folders of the sweep.
        runs: Vec<String>,
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
        /// `working` (or killed while it was), `done`, `stopped` or `failed`.
        status: String,
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
}

/// The name of this machine; empty where the system does not tell.
pub fn host() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    told.unwrap_or_default().trim().to_owned()
}
