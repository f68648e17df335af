//! One Parquet file: its footer, checked once, and readers of some of its rows.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::PageIndexPolicy;

use super::source::Source;
use super::widen::{WideReader, fits, widened};
use crate::error::{Error, Result};

/// A file of a table. Nothing is read before [`PartReader::loaded`] is asked.
#[derive(Debug)]
pub(super) struct PartReader {
    pub path: PathBuf,
    /// Number of its first row in the table.
    pub first_row: u64,
    /// What the manifest says.
    expected_rows: Option<u64>,
    expected: Option<SchemaRef>,
    /// Columns of the table's first part, which this one must have too.
    pub first_schema: Option<SchemaRef>,
    loaded: OnceLock<Loaded>,
    bytes_read: Arc<AtomicU64>,
}

/// An open file with its footer.
#[derive(Debug)]
pub(super) struct Loaded {
    pub source: Source,
    pub metadata: ArrowReaderMetadata,
    pub schema: SchemaRef,
    pub rows: u64,
    /// First row of each row group, and the number of rows at the end.
    pub group_starts: Vec<u64>,
}

impl PartReader {
    /// A file that is opened when it is first read.
    pub fn new(
        path: PathBuf,
        first_row: u64,
        expected_rows: Option<u64>,
        expected: Option<SchemaRef>,
    ) -> Self {
        Self {
            path,
            first_row,
            expected_rows,
            expected,
            first_schema: None,
            loaded: OnceLock::new(),
            bytes_read: Arc::default(),
        }
    }

    /// The footer, read at the first call.
    ///
    /// # Errors
    /// A file that is missing, is not Parquet, is damaged, or lacks an expected column.
    pub fn loaded(&self) -> Result<&Loaded> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let loaded = self.load()?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// Rows of this part; from the manifest if there is one.
    ///
    /// # Errors
    /// As [`Self::loaded`].
    pub fn rows(&self) -> Result<u64> {
        match self.expected_rows {
            Some(rows) => Ok(rows),
            None => Ok(self.loaded()?.rows),
        }
    }

    /// The part's rows as rows of the table.
    ///
    /// # Errors
    /// As [`Self::loaded`].
    pub fn range(&self) -> Result<Range<u64>> {
        Ok(self.first_row..self.first_row + self.rows()?)
    }

    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    fn load(&self) -> Result<Loaded> {
        let source = Source::open(&self.path, self.bytes_read.clone())?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = guarded(&self.path, || ArrowReaderMetadata::load(&source, options))?;
        let mut schema = metadata.schema().clone();
        for expected in [&self.expected, &self.first_schema].into_iter().flatten() {
            check_schema(&self.path, &schema, expected)?;
            schema = widened(&schema, expected);
        }
        let group_starts = group_starts(&self.path, &metadata)?;
        let rows = group_starts.last().copied().unwrap_or_default();
        if let Some(expected) = self.expected_rows.filter(|&expected| expected != rows) {
            return Err(Error::Damaged {
                path: self.path.clone(),
                part: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                expected: format!("{expected} rows"),
                found: format!("{rows} rows"),
            });
        }
        Ok(Loaded { source, metadata, schema, rows, group_starts })
    }

    /// A reader of `selection` among the rows of `row_groups`.
    ///
    /// # Errors
    /// As [`Self::loaded`]; what the Parquet reader refuses.
    pub fn reader(
        &self,
        columns: &[usize],
        row_groups: Vec<usize>,
        selection: Option<RowSelection>,
        batch_rows: usize,
    ) -> Result<WideReader> {
        let loaded = self.loaded()?;
        let reader = guarded(&self.path, || {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
                loaded.source.clone(),
                loaded.metadata.clone(),
            );
            let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
            let builder =
                builder.with_projection(mask).with_row_groups(row_groups).with_batch_size(batch_rows.max(1));
            match selection {
                Some(selection) => builder.with_row_selection(selection),
                None => builder,
            }
            .build()
        })?;
        Ok(WideReader { reader, schema: loaded.schema.clone() })
    }

    /// Indices of these columns in this file, which may have them in another order than the first part.
    ///
    /// # Errors
    /// As [`Self::loaded`]; a column that the file does not have.
    pub fn column_indices(&self, names: &[String]) -> Result<Vec<usize>> {
        let schema = &self.loaded()?.schema;
        names
            .iter()
            .map(|name| {
                schema.index_of(name).map_err(|_| missing_column(&self.path, name, "a column of this name"))
            })
            .collect()
    }
}

/// Runs code of the Parquet library on bytes that may be damaged. It checks much, but not everything: a panic in there is
/// an error of the file, not of this program.
pub(super) fn guarded<T>(path: &Path, read: impl FnOnce() -> ParquetResult<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(Error::parquet(path)),
        Err(_) => Err(Error::Parquet {
            path: path.to_owned(),
            source: ParquetError::General("its contents contradict each other".to_owned()),
        }),
    }
}

fn group_starts(path: &Path, metadata: &ArrowReaderMetadata) -> Result<Vec<u64>> {
    let mut starts = vec![0u64];
    for group in metadata.metadata().row_groups() {
        let last = starts.last().copied().unwrap_or_default();
        let next = u64::try_from(group.num_rows()).ok().and_then(|rows| last.checked_add(rows));
        starts.push(next.ok_or_else(|| Error::Parquet {
            path: path.to_owned(),
            source: ParquetError::General(format!("a row group of {} rows", group.num_rows())),
        })?);
    }
    let total = metadata.metadata().file_metadata().num_rows();
    if starts.last().copied() != u64::try_from(total).ok() {
        let text = format!("{total} rows in the footer, {} in its row groups", starts.last().unwrap_or(&0));
        return Err(Error::Parquet { path: path.to_owned(), source: ParquetError::General(text) });
    }
    Ok(starts)
}

fn missing_column(path: &Path, name: &str, expected: &str) -> Error {
    Error::Schema {
        path: path.to_owned(),
        column: name.to_owned(),
        expected: expected.to_owned(),
        found: "no such column".to_owned(),
    }
}

/// Every expected column must be there with its type, as [`fits`] has it.
fn check_schema(path: &Path, found: &Schema, expected: &Schema) -> Result<()> {
    for field in expected.fields() {
        let Ok(other) = found.field_with_name(field.name()) else {
            return Err(missing_column(path, field.name(), &field.data_type().to_string()));
        };
        if !fits(field.data_type(), other.data_type()) {
            return Err(Error::Schema {
                path: path.to_owned(),
                column: field.name().clone(),
                expected: field.data_type().to_string(),
                found: other.data_type().to_string(),
            });
        }
    }
    Ok(())
}
