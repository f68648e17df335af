//! Rows as batches of the dataset's table, and a guard around the decoders of libraries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use storage::{Dtype, RowsAre, schema, vector};

use crate::{Error, Result};

/// Rows of one batch, column by column.
#[derive(Debug, Default)]
pub(in crate::interop) struct Columns {
    pub documents: Vec<u32>,
    pub positions: Vec<u32>,
    pub tokens: Option<Vec<u32>>,
    /// Left and upper edge of patches.
    pub places: Option<(Vec<u32>, Vec<u32>)>,
    /// `[rows, d]`.
    pub values: Vec<f32>,
}

/// Rows of one domain that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::interop) struct Run {
    pub domain: String,
    pub rows: usize,
}

impl Columns {
    /// As a batch of `schema::activations_of`; `domains` in the order of the rows.
    ///
    /// # Errors
    /// `place(row)` begins the message if a number is not finite as `dtype`.
    pub fn batch(
        self,
        rows_are: RowsAre,
        d: usize,
        dtype: Dtype,
        domains: &[Run],
        place: impl Fn(usize) -> String,
    ) -> Result<RecordBatch> {
        let (column, bad) = vector::column_from_rows(&self.values, d, dtype)?;
        if let Some(row) = bad.first_row {
            // One that no type holds matters more than one that is too large for f16.
            let infinite = self.values.chunks_exact(d).position(|row| row.iter().any(|x| !x.is_finite()));
            let row = infinite.unwrap_or(row);
            return Err(not_finite(&self.values[row * d..][..d], &place(row), dtype));
        }
        let numbers = |values: Vec<u32>| Arc::new(UInt32Array::from(values)) as ArrayRef;
        let mut columns = vec![numbers(self.documents), numbers(self.positions)];
        columns.extend(self.tokens.map(numbers));
        columns.push(Arc::new(domain_column(domains)?));
        columns.push(Arc::new(column));
        if let Some((x, y)) = self.places {
            columns.extend([numbers(x), numbers(y)]);
        }
        RecordBatch::try_new(schema::activations_of(rows_are, d, dtype), columns)
            .map_err(|e| Error::data(format!("rows that do not fit their table: {e}")))
    }
}

fn not_finite(row: &[f32], place: &str, dtype: Dtype) -> Error {
    match row.iter().position(|x| !x.is_finite()) {
        Some(column) => {
            Error::data(format!("{place}: number {column} is {}, expected a finite number", row[column]))
        }
        None => {
            let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
            Error::data(format!("{place}: {largest} is too large for {dtype:?} (65504)"))
                .with_remedy("import with --dtype f32")
        }
    }
}

fn domain_column(runs: &[Run]) -> Result<DictionaryArray<Int32Type>> {
    let mut names: Vec<&str> = Vec::new();
    let mut keys = Vec::new();
    for run in runs {
        let key = names.iter().position(|name| *name == run.domain).unwrap_or_else(|| {
            names.push(&run.domain);
            names.len() - 1
        });
        keys.extend(std::iter::repeat_n(key as i32, run.rows));
    }
    let names = Arc::new(StringArray::from_iter_values(names));
    DictionaryArray::try_new(Int32Array::from(keys), names).map_err(|e| Error::data(e.to_string()))
}

/// Runs a decoder of a library on bytes that may be damaged: a panic in there is an error of the file.
/// `damaged` says what a file is that does not decode, such as "is a damaged Parquet file".
///
/// # Errors
/// [`Error::Io`] where the system could not read, else [`Error::Format`]; what the library knows but does not
/// read is not called damaged.
pub(in crate::interop) fn guarded<T, E: std::error::Error + 'static>(
    path: &Path,
    damaged: &str,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T> {
    let error = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error,
        Err(_) => return Err(Error::format(path, format!("{damaged}: its contents contradict each other"))),
    };
    if let Some(kind) = system_error(&error) {
        return Err(Error::io(path, std::io::Error::new(kind, error.to_string())));
    }
    let problem = if is_unsupported(&error) {
        format!("holds what is not read here: {error}")
    } else {
        format!("{damaged}: {error}")
    };
    Err(Error::format(path, problem))
}

fn is_unsupported(error: &(dyn std::error::Error + 'static)) -> bool {
    let arrow = error.downcast_ref::<ArrowError>();
    let parquet = error.downcast_ref::<ParquetError>();
    matches!(arrow, Some(ArrowError::NotYetImplemented(_))) || matches!(parquet, Some(ParquetError::NYI(_)))
}

/// The kind of an error of the system among the causes; the end of a file is one of the file.
fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let kinds = causes.filter_map(|error| error.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    // Decoders report damage as invalid data, and as kinds of their own.
    let of_file = [
        std::io::ErrorKind::UnexpectedEof,
        std::io::ErrorKind::InvalidData,
        std::io::ErrorKind::InvalidInput,
    ];
    let kind = kinds.last()?;
    (!of_file.contains(&kind) && kind != std::io::ErrorKind::Other).then_some(kind)
}
