//! The log of a training run: `metrics.parquet`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, UInt64Array};
use arrow::datatypes::{Float32Type, Float64Type, UInt64Type};
use arrow::record_batch::RecordBatch;

use crate::column::{self, nullable_primitive, primitive};
use crate::error::{Error, Result};
use crate::schema::metrics as names;
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter, schema};

/// One logged step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Number of the step, from 0.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Training time so far.
    pub seconds: f64,
    /// Numbers under the names of [`names::VALUES`]; one that a method does not have is left out.
    pub values: BTreeMap<String, f32>,
}

impl Row {
    /// A row without numbers.
    pub fn new(step: u64, tokens: u64, seconds: f64) -> Self {
        Self { step, tokens, seconds, values: BTreeMap::new() }
    }

    /// Adds a number.
    #[must_use]
    pub fn with(mut self, name: &str, value: f32) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// A number by name.
    pub fn get(&self, name: &str) -> Option<f32> {
        self.values.get(name).copied()
    }
}

/// Rows in memory; [`MetricsLog::flush`] writes the file anew, whole or not at all, so a reader never sees half of one.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    rows: Vec<Row>,
    /// Rows that the file has.
    flushed: Option<usize>,
}

impl MetricsLog {
    /// With a step: goes on with the file there, rows of later steps dropped (they will be trained again). Without: begins
    /// anew.
    pub fn open(path: &Path, keep_up_to_step: Option<u64>) -> Result<Self> {
        let mut rows = Vec::new();
        if let Some(step) = keep_up_to_step.filter(|_| path.exists()) {
            rows = read(&TableReader::open_file(path, &schema::metrics_steps())?)?;
            rows.retain(|row| row.step <= step);
        }
        Ok(Self { path: path.to_owned(), rows, flushed: None })
    }

    /// Adds a row. Its names must be columns and its step must come after the last one's.
    pub fn append(&mut self, row: Row) -> Result<()> {
        if let Some(name) = row.values.keys().find(|name| !names::VALUES.contains(&name.as_str())) {
            return Err(Error::column(name, names::VALUES.join(", "), "no such column"));
        }
        if let Some(last) = self.rows.last().filter(|last| last.step >= row.step) {
            return Err(Error::column(
                names::STEP,
                format!("a step after {}", last.step),
                row.step.to_string(),
            ));
        }
        self.rows.push(row);
        Ok(())
    }

    /// All rows so far.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Writes the file if it does not have all rows.
    pub fn flush(&mut self) -> Result<()> {
        if self.flushed == Some(self.rows.len()) {
            return Ok(());
        }
        let mut part = PartWriter::create(&self.path, schema::metrics(), &Layout::small_table())?;
        part.write(&to_batch(&self.rows)?)?;
        part.finish()?;
        self.flushed = Some(self.rows.len());
        Ok(())
    }
}

/// Reads all rows. A column that the file does not have gives no numbers.
pub fn read(reader: &TableReader) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    reader.each(Scan::default(), |batch| {
        let step = primitive::<UInt64Type>(batch, names::STEP)?;
        let tokens = primitive::<UInt64Type>(batch, names::TOKENS)?;
        let seconds = primitive::<Float64Type>(batch, names::SECONDS)?;
        let first = rows.len();
        rows.extend(
            (0..batch.num_rows()).map(|i| Row::new(step.value(i), tokens.value(i), seconds.value(i))),
        );
        for name in names::VALUES.into_iter().filter(|name| reader.has_column(name)) {
            let values = nullable_primitive::<Float32Type>(batch, name)?;
            for (row, value) in rows[first..].iter_mut().zip(values) {
                if let Some(value) = value {
                    row.values.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    })?;
    Ok(rows)
}

fn to_batch(rows: &[Row]) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.step))),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.tokens))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.seconds))),
    ];
    for name in names::VALUES {
        columns.push(Arc::new(rows.iter().map(|row| row.get(name)).collect::<Float32Array>()));
    }
    column::batch(schema::metrics(), columns)
}
