//! Writing a dataset part by part, so that an interrupted run continues where whole parts end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use serde_json::Value;

use super::journal::{self, Journal};
use super::{Dataset, MANIFEST};
use crate::atomic::{self, PARTIAL};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::lock::{self, Lock};
use crate::manifest::{Dtype, Manifest, Part, Table};
use crate::part::PartWriter;
use crate::schema::SINGLE_FILE;

/// Writes a dataset. Parts become part of it by [`DatasetWriter::commit`]; the manifest comes last, by
/// [`DatasetWriter::finish`].
#[derive(Debug)]
pub struct DatasetWriter {
    dir: PathBuf,
    pub(super) journal: Journal,
    /// The number of each table's next part.
    issued: BTreeMap<String, usize>,
    lock: Lock,
}

impl DatasetWriter {
    /// Begins a dataset in `dir`, or continues the one that was interrupted there if it was begun with the
    /// same header. Files of an interrupted commit are removed. `header` must have no tables.
    ///
    /// # Errors
    /// [`Error::Finished`] where a dataset is, [`Error::Busy`] where another process writes, [`Error::Differs`] where one
    /// was begun with a different header, [`Error::Foreign`] where tables lie without a journal; what reading and
    /// writing give.
    pub fn begin(dir: &Path, header: Manifest) -> Result<Self> {
        if !header.tables.is_empty() || header.rows != 0 {
            let message = "a header has no tables and no rows yet".to_owned();
            return Err(Error::Argument { path: dir.to_owned(), message });
        }
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        if dir.join(MANIFEST).exists() {
            Self::tidy(dir);
            return Err(Error::Finished { path: dir.to_owned() });
        }
        let lock = Lock::take(dir)?;
        let path = dir.join(journal::FILE);
        let journal = if path.exists() {
            let journal = Journal::read(&path)?;
            if let Some(difference) = journal.difference(&header) {
                let remedy =
                    "give the same settings to continue, choose a different folder, or remove this one"
                        .to_owned();
                return Err(Error::Differs { path, difference, remedy });
            }
            for part in journal.tables.values().flat_map(|table| &table.parts) {
                super::check_length(dir, part)?;
            }
            remove_orphans(dir, &journal)?;
            journal
        } else {
            refuse_tables(dir)?;
            let journal = Journal::new(header);
            atomic::write_json(&path, &journal)?;
            journal
        };
        let next =
            |table: &Table| table.parts.iter().map(|part| number_of(&part.file) + 1).max().unwrap_or(0);
        let issued = journal.tables.iter().map(|(name, table)| (name.clone(), next(table))).collect();
        Ok(Self { dir: dir.to_owned(), journal, issued, lock })
    }

    /// Removes what a process that was killed after it wrote the manifest left in `dir`: its journal and its lock. Best effort: whoever
    /// finds them next to a manifest takes no notice of them. Nothing is touched where there is no manifest, or where somebody writes.
    pub fn tidy(dir: &Path) {
        let is_left = [journal::FILE, lock::NAME].iter().any(|name| dir.join(name).exists());
        if !is_left || !dir.join(MANIFEST).exists() {
            return;
        }
        // The lock removes its file when it is dropped.
        if let Ok(_lock) = Lock::take(dir) {
            remove_journal(dir);
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Type of the activations: the header's, or f32 after [`DatasetWriter::widen`].
    pub fn dtype(&self) -> Dtype {
        self.journal.header.dtype
    }

    /// Width of an activation.
    pub(super) fn width(&self) -> usize {
        self.journal.header.d_model
    }

    /// What a person should know where the file system has no locks.
    pub fn note(&self) -> Option<String> {
        self.lock.note()
    }

    /// What the last commit gave; `None` at the beginning.
    pub fn cursor(&self) -> Option<&Value> {
        self.journal.cursor.as_ref()
    }

    /// Committed parts of each table.
    pub fn tables(&self) -> &BTreeMap<String, Table> {
        &self.journal.tables
    }

    /// Begins the next part of a table: `TABLE-00000.parquet` and so on; `vocabulary` and `documents`, which
    /// are one file, have no number. Finish it and give it to [`DatasetWriter::commit`].
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not one of a table; [`Error::Io`] for a file that cannot be made.
    pub fn next_part(&mut self, table: &str, schema: SchemaRef, layout: &Layout) -> Result<PartWriter> {
        let valid = !table.is_empty() && table.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if !valid {
            let message = format!("a table is named with the letters a to z and _, not {table:?}");
            return Err(Error::Argument { path: self.dir.clone(), message });
        }
        let number = self.issued.entry(table.to_owned()).or_default();
        let path = self.dir.join(file_name(table, *number));
        *number += 1;
        PartWriter::create(&path, schema, layout)
    }

    /// Takes over a finished part of another dataset of the same kind, by a hard link where the file system
    /// has them, else by a copy. Give the result to [`DatasetWriter::commit`].
    ///
    /// # Errors
    /// A part that is missing or has a different length; [`Error::Io`] for a file that cannot be copied.
    pub fn adopt_part(&mut self, table: &str, from: &Path, part: &Part) -> Result<Part> {
        super::check_length(from, part)?;
        let number = self.issued.entry(table.to_owned()).or_default();
        let file = file_name(table, *number);
        *number += 1;
        let (source, path) = (from.join(&part.file), self.dir.join(&file));
        if path.exists() {
            // Left there by a merge that was interrupted before its commit.
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
        crate::bucket::fill(&source)?;
        if fs::hard_link(&source, &path).is_err() {
            fs::copy(&source, &path).map_err(Error::io(&path))?;
            fs::File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))?;
        }
        Ok(Part { file, ..part.clone() })
    }

    /// Makes parts part of the dataset, all or none of them, with the place where to continue after them.
    ///
    /// # Errors
    /// A part that is missing or has a different length; [`Error::Io`] for a journal that cannot be written. Nothing is
    /// committed then.
    pub fn commit(&mut self, parts: Vec<(String, Part)>, cursor: Value) -> Result<()> {
        let mut tables = self.journal.tables.clone();
        for (table, part) in parts {
            super::check_length(&self.dir, &part)?;
            tables.entry(table).or_default().push(part);
        }
        let mut next = Journal::new(self.journal.header.clone());
        next.widened = self.journal.widened;
        next.tables = tables;
        next.cursor = Some(cursor);
        atomic::write_json(&self.dir.join(journal::FILE), &next)?;
        self.journal = next;
        Ok(())
    }

    /// Writes the manifest. From here on the dataset is finished.
    ///
    /// # Errors
    /// [`Error::Io`] for a manifest that cannot be written or parts that cannot be removed; as [`Dataset::open`].
    pub fn finish(self) -> Result<Dataset> {
        remove_orphans(&self.dir, &self.journal)?;
        let mut manifest = self.journal.header.clone();
        manifest.tables = self.journal.tables.clone();
        manifest.rows = manifest.main_rows();
        atomic::write_json(&self.dir.join(MANIFEST), &manifest)?;
        remove_journal(&self.dir);
        Dataset::open(&self.dir)
    }
}

/// Removes the journal of a dataset that is finished. Best effort: who finds it next to a manifest takes no notice of it.
fn remove_journal(dir: &Path) {
    let _ = fs::remove_file(dir.join(journal::FILE));
}

fn file_name(table: &str, number: usize) -> String {
    if number == 0 && SINGLE_FILE.contains(&table) {
        format!("{table}.parquet")
    } else {
        format!("{table}-{number:05}.parquet")
    }
}

/// The number in the name of a part; 0 for tables of one file.
fn number_of(file: &str) -> usize {
    let number =
        file.strip_suffix(".parquet").and_then(|stem| stem.rsplit_once('-')).map(|(_, number)| number);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether `next_part` can have made this name. Nothing else in the folder is ever removed.
fn is_part_name(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(PARTIAL).unwrap_or(name).strip_suffix(".parquet") else {
        return false;
    };
    let numbered = stem.rsplit_once('-').is_some_and(|(table, number)| {
        !table.is_empty() && number.len() >= 5 && number.bytes().all(|b| b.is_ascii_digit())
    });
    numbered || SINGLE_FILE.contains(&stem)
}

fn part_files(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let name = entry.map_err(Error::io(dir))?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_part_name(name)) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Removes parts that were finished or begun but not committed.
fn remove_orphans(dir: &Path, journal: &Journal) -> Result<()> {
    let parts = journal.tables.values().flat_map(|table| &table.parts);
    let committed: BTreeSet<&str> = parts.map(|part| part.file.as_str()).collect();
    for name in part_files(dir)? {
        if !committed.contains(name.as_str()) {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// Tables without a journal are somebody's: never write among them.
fn refuse_tables(dir: &Path) -> Result<()> {
    match part_files(dir)?.first() {
        Some(name) => Err(Error::Foreign {
            path: dir.to_owned(),
            found: format!("{name} without {MANIFEST} or {}", journal::FILE),
            expected: "an empty or new folder".to_owned(),
        }),
        None => Ok(()),
    }
}
