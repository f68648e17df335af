//! `journal.json`: which parts of an unfinished dataset are whole, and where to continue.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::json::{differences, read_versioned};
use crate::manifest::{Manifest, Table, VERSION};

/// The journal's file name.
pub const FILE: &str = "journal.json";
const FORMAT: &str = "sae-workbench journal";

/// Contents of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    format: String,
    version: u64,
    /// The manifest as it was when the work began.
    pub header: Manifest,
    /// Whether the work began with f16 and went over to the header's f32.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub widened: bool,
    /// Whole parts.
    pub tables: BTreeMap<String, Table>,
    /// Where the writer's owner wants to continue; `None` before the first commit.
    pub cursor: Option<Value>,
}

impl Journal {
    pub fn new(header: Manifest) -> Self {
        let format = FORMAT.to_owned();
        Self { format, version: VERSION, header, widened: false, tables: BTreeMap::new(), cursor: None }
    }

    /// # Errors
    /// A file that cannot be read, is not a journal, or is of a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        read_versioned(path, FORMAT, VERSION)
    }

    /// Settings that differ between the two headers, one `name: A there, B here` each; `None` when equal.
    pub fn difference(&self, header: &Manifest) -> Option<String> {
        let there = serde_json::to_value(&self.header).unwrap_or_default();
        // The command that began with f16 is the one that continues.
        let dtype = if self.widened { self.header.dtype } else { header.dtype };
        let here = serde_json::to_value(Manifest { dtype, ..header.clone() }).unwrap_or_default();
        differences(&there, &here)
    }
}

/// The error for a folder that has a journal and no manifest.
pub(super) fn unfinished(dir: &Path) -> Error {
    let detail = match Journal::read(&dir.join(FILE)) {
        Ok(journal) => {
            let parts: usize = journal.tables.values().map(|table| table.parts.len()).sum();
            let rows: u64 = journal.tables.values().map(|table| table.rows).sum();
            format!("{parts} whole parts with {rows} rows")
        }
        Err(error) => error.to_string(),
    };
    let remedy = "repeat the command that was interrupted: it continues after the last whole part".to_owned();
    Error::Unfinished { path: dir.to_owned(), detail, remedy }
}
