//! A folder of tables with a manifest that is written last.

mod journal;
mod verify;
mod widen;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub use writer::DatasetWriter;

use crate::error::{Error, Result};
use crate::json::read_versioned;
use crate::manifest::{Dtype, FORMAT, Manifest, Part, VERSION};
use crate::schema;
use crate::table::TableReader;

/// The manifest's file name.
pub const MANIFEST: &str = "dataset.json";
pub use journal::FILE as JOURNAL;

/// A finished dataset. Opening reads the manifest and asks the system for the parts' lengths; tables are opened when asked for
/// and then kept.
pub struct Dataset {
    dir: PathBuf,
    manifest: Manifest,
    tables: Mutex<BTreeMap<String, TableReader>>,
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset").field("dir", &self.dir).field("rows", &self.manifest.rows).finish()
    }
}

impl Dataset {
    /// Opens the dataset in `dir`, which may be `s3://…`. A folder without a manifest, with a part that is missing or whose length is not the
    /// manifest's, is an error.
    ///
    /// # Errors
    /// [`Error::Missing`] for a folder without a manifest, [`Error::Unfinished`] for one that has a journal instead; a
    /// manifest that cannot be read or contradicts itself; parts that are missing or have a different length.
    pub fn open(dir: &Path) -> Result<Self> {
        let dir = &*crate::bucket::at(dir)?;
        let path = dir.join(MANIFEST);
        if !path.exists() {
            return Err(not_a_dataset(dir));
        }
        let manifest: Manifest = read_versioned(&path, FORMAT, VERSION)?;
        check_manifest(&path, &manifest)?;
        for part in manifest.tables.values().flat_map(|table| &table.parts) {
            check_length(dir, part)?;
        }
        Ok(Self { dir: dir.to_owned(), manifest, tables: Mutex::default() })
    }

    /// Whether a writer that was begun with `header` made this dataset: the same command, given again.
    pub fn was_begun_with(&self, header: &Manifest) -> bool {
        let bare = Manifest { tables: BTreeMap::new(), rows: 0, ..self.manifest.clone() };
        let mut journal = journal::Journal::new(bare);
        // Numbers too large for f16 may have turned up on the way.
        journal.widened = self.manifest.dtype == Dtype::F32 && header.dtype == Dtype::F16;
        journal.difference(header).is_none()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder (the same as [`Dataset::dir`]).
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What the dataset says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether there is such a table.
    pub fn has_table(&self, name: &str) -> bool {
        self.manifest.tables.contains_key(name)
    }

    /// The reader of a table. Columns and types of known tables are checked; gradients and other further columns may be
    /// there.
    ///
    /// # Errors
    /// [`Error::Missing`] for a table that the dataset does not have; as [`TableReader::open`].
    pub fn table(&self, name: &str) -> Result<TableReader> {
        let mut tables = self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(reader) = tables.get(name) {
            return Ok(reader.clone());
        }
        let table = self.manifest.tables.get(name).ok_or_else(|| self.no_table(name))?;
        let expected = schema::of_dataset(name, &self.manifest);
        let reader = TableReader::open(&self.dir, &table.parts, expected)?;
        tables.insert(name.to_owned(), reader.clone());
        Ok(reader)
    }

    fn no_table(&self, name: &str) -> Error {
        let there: Vec<&str> = self.manifest.tables.keys().map(String::as_str).collect();
        let remedy = match there.as_slice() {
            [] => "this dataset has no tables".to_owned(),
            there => format!("this dataset has {}", there.join(", ")),
        };
        Error::Missing { path: self.dir.join(name), remedy }
    }
}

fn not_a_dataset(dir: &Path) -> Error {
    if dir.join(JOURNAL).exists() {
        return journal::unfinished(dir);
    }
    let remedy = if dir.exists() {
        format!(
            "a dataset is a folder with {MANIFEST}; datasets inside this folder have to be named one by one"
        )
    } else {
        "check the path".to_owned()
    };
    Error::Missing { path: dir.join(MANIFEST), remedy }
}

/// A manifest that contradicts itself was edited or damaged.
fn check_manifest(path: &Path, manifest: &Manifest) -> Result<()> {
    let damaged = |part: &str, expected: String, found: String| Error::Damaged {
        path: path.to_owned(),
        part: part.to_owned(),
        expected,
        found,
    };
    for (name, table) in &manifest.tables {
        let rows = table.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.rows));
        if rows != Some(table.rows) {
            let found = rows.map_or("more than 2^64".to_owned(), |rows| rows.to_string());
            return Err(damaged(
                &format!("table {name}"),
                format!("{} rows", table.rows),
                format!("{found} in its parts"),
            ));
        }
        for part in &table.parts {
            if Path::new(&part.file).file_name() != Some(part.file.as_ref()) {
                let expected = "a file name without a folder".to_owned();
                return Err(damaged(&format!("table {name}"), expected, format!("{:?}", part.file)));
            }
        }
    }
    if manifest.rows != manifest.main_rows() {
        let expected = format!("{} rows", manifest.rows);
        return Err(damaged("manifest", expected, format!("{} in its tables", manifest.main_rows())));
    }
    Ok(())
}

/// A missing or cut-off part is found here, before anybody reads rows.
pub(crate) fn check_length(dir: &Path, part: &Part) -> Result<()> {
    let path = dir.join(&part.file);
    let found = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let remedy =
                "the manifest names this part; restore the file or make the dataset again".to_owned();
            return Err(Error::Missing { path, remedy });
        }
        Err(error) => return Err(Error::io(&path)(error)),
    };
    if found != part.bytes {
        return Err(Error::Damaged {
            path,
            part: part.file.clone(),
            expected: format!("{} bytes", part.bytes),
            found: format!("{found} bytes"),
        });
    }
    Ok(())
}
