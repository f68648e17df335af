//! Reading a table of one or many Parquet files: streamed, pruned, never whole.

mod part;
mod prune;
mod scan;
mod source;
mod take;
mod widen;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

pub use scan::{Batches, Scan};

use crate::error::{Error, Result};
use crate::manifest::Part;
use part::PartReader;

/// A table. Cheap to clone and to share between threads; footers and page indexes are read once.
#[derive(Debug, Clone)]
pub struct TableReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    parts: Vec<PartReader>,
    schema: SchemaRef,
    rows: u64,
}

impl TableReader {
    /// Opens parts in the order of their rows. `expected` columns must be there with their types; others may be.
    ///
    /// # Errors
    /// A first part that is missing or cannot be read, or lacks an expected column.
    pub fn open(dir: &Path, parts: &[Part], expected: Option<SchemaRef>) -> Result<Self> {
        let mut readers = Vec::with_capacity(parts.len());
        let mut rows = 0;
        for part in parts {
            readers.push(PartReader::new(dir.join(&part.file), rows, Some(part.rows), expected.clone()));
            rows += part.rows;
        }
        let schema = match readers.first() {
            Some(first) => first.loaded()?.schema.clone(),
            None => expected.unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty())),
        };
        for reader in &mut readers {
            reader.first_schema = Some(schema.clone());
        }
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_owned(), parts: readers, schema, rows }) })
    }

    /// Opens one file as a table.
    ///
    /// # Errors
    /// A file that is missing or cannot be read, or lacks an expected column.
    pub fn open_file(path: &Path, expected: &SchemaRef) -> Result<Self> {
        let part = PartReader::new(path.to_owned(), 0, None, Some(expected.clone()));
        let loaded = part.loaded()?;
        let (schema, rows) = (loaded.schema.clone(), loaded.rows);
        Ok(Self { inner: Arc::new(Inner { dir: path.to_owned(), parts: vec![part], schema, rows }) })
    }

    /// Opens several files as one table, in the given order, as [`TableReader::open_file`].
    ///
    /// # Errors
    /// As [`TableReader::open_file`].
    pub fn open_files(paths: &[PathBuf], expected: &SchemaRef) -> Result<Self> {
        let mut parts: Vec<PartReader> = Vec::with_capacity(paths.len());
        let mut rows = 0;
        for path in paths {
            let part = PartReader::new(path.clone(), rows, None, Some(expected.clone()));
            rows += part.loaded()?.rows;
            parts.push(part);
        }
        let schema = match parts.first() {
            Some(first) => first.loaded()?.schema.clone(),
            None => expected.clone(),
        };
        let dir = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_owned();
        Ok(Self { inner: Arc::new(Inner { dir, parts, schema, rows }) })
    }

    /// Rows of all parts.
    pub fn rows(&self) -> u64 {
        self.inner.rows
    }

    /// Columns of the first part (all parts of a table have the same).
    pub fn schema(&self) -> &SchemaRef {
        &self.inner.schema
    }

    /// Whether there is a column of this name.
    pub fn has_column(&self, name: &str) -> bool {
        self.inner.schema.field_with_name(name).is_ok()
    }

    /// The file, or the folder of several.
    pub fn path(&self) -> &Path {
        &self.inner.dir
    }

    /// Bytes read from disk so far, by all clones of this reader.
    pub fn bytes_read(&self) -> u64 {
        self.inner.parts.iter().map(PartReader::bytes_read).sum()
    }

    /// Streams whole columns, all rows, in batches of 8192.
    ///
    /// # Errors
    /// As [`TableReader::scan`].
    pub fn columns(&self, names: &[&str]) -> Result<Batches> {
        self.scan(Scan::of(names))
    }

    /// A column that must be there, with the error that names the ones there are.
    fn require(&self, name: &str) -> Result<usize> {
        self.inner.schema.index_of(name).map_err(|_| {
            let there: Vec<&str> = self.inner.schema.fields().iter().map(|f| f.name().as_str()).collect();
            Error::Schema {
                path: self.inner.dir.clone(),
                column: name.to_owned(),
                expected: "a column of this name".to_owned(),
                found: format!("the columns {}", there.join(", ")),
            }
        })
    }
}
