//! Examples of features in their context: `features/examples.parquet`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int8Array, UInt16Array, UInt32Array};
use arrow::datatypes::{Float32Type, Int8Type, SchemaRef, UInt16Type, UInt32Type};
use arrow::record_batch::RecordBatch;

use crate::column::{self, primitive, vectors};
use crate::error::Result;
use crate::manifest::Part;
use crate::schema::examples as names;
use crate::schema::{DOCUMENT, FEATURE, POSITION};
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter, schema};

/// One window of text around a token that a feature fires on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExampleRow {
    /// The feature.
    pub feature: u32,
    /// 0 = the strongest, 1…5 = fifths of (0, max] from the strongest down, −1 = random.
    pub interval: i8,
    /// Place inside the interval, from 0.
    pub rank: u16,
    /// The document.
    pub document: u32,
    /// The token that the example is about.
    pub position: u32,
    /// Activation there.
    pub value: f32,
    /// Position of the window's first token.
    pub start: u32,
    /// The window's tokens.
    pub tokens: Vec<u32>,
    /// The feature's activation at each of them.
    pub values: Vec<f32>,
}

/// Rows that are gathered before they are written.
const BATCH: usize = 4096;

/// Writes `examples.parquet`; rows come sorted by feature.
#[derive(Debug)]
pub struct ExampleWriter {
    part: PartWriter,
    schema: SchemaRef,
    waiting: Vec<ExampleRow>,
}

impl ExampleWriter {
    /// Begins the file.
    pub fn create(path: &Path) -> Result<Self> {
        let schema = schema::examples();
        let part = PartWriter::create(path, schema.clone(), &Layout::feature_rows())?;
        Ok(Self { part, schema, waiting: Vec::new() })
    }

    /// Appends the next example.
    pub fn append(&mut self, row: ExampleRow) -> Result<()> {
        self.waiting.push(row);
        if self.waiting.len() == BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes what waits and closes the file.
    pub fn finish(mut self) -> Result<Part> {
        self.flush()?;
        self.part.finish()
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        self.part.write(&to_batch(&self.schema, &rows)?)
    }
}

/// Reads the examples of one feature, in the file's order. Only its row groups and pages are read.
pub fn read(reader: &TableReader, feature: u32) -> Result<Vec<ExampleRow>> {
    let range = Some((FEATURE.to_owned(), u64::from(feature), u64::from(feature)));
    let mut rows = Vec::new();
    reader.each(Scan { range, ..Scan::default() }, |batch| from_batch(batch, &mut rows))?;
    Ok(rows)
}

fn to_batch(schema: &SchemaRef, rows: &[ExampleRow]) -> Result<RecordBatch> {
    let numbers = |get: fn(&ExampleRow) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(get)))
    };
    let tokens =
        Arc::new(UInt32Array::from_iter_values(rows.iter().flat_map(|row| row.tokens.iter().copied())));
    let values =
        Arc::new(Float32Array::from_iter_values(rows.iter().flat_map(|row| row.values.iter().copied())));
    let tokens_type = column::type_of(schema, names::TOKENS)?.data_type();
    let values_type = column::type_of(schema, names::VALUES)?.data_type();
    let columns = vec![
        numbers(|row| row.feature),
        Arc::new(Int8Array::from_iter_values(rows.iter().map(|row| row.interval))),
        Arc::new(UInt16Array::from_iter_values(rows.iter().map(|row| row.rank))),
        numbers(|row| row.document),
        numbers(|row| row.position),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.value))),
        numbers(|row| row.start),
        column::list_column(names::TOKENS, tokens_type, tokens, rows.iter().map(|row| row.tokens.len()))?,
        column::list_column(names::VALUES, values_type, values, rows.iter().map(|row| row.values.len()))?,
    ];
    column::batch(schema.clone(), columns)
}

fn from_batch(batch: &RecordBatch, rows: &mut Vec<ExampleRow>) -> Result<()> {
    let number = |name: &str| primitive::<UInt32Type>(batch, name);
    let (feature, document) = (number(FEATURE)?, number(DOCUMENT)?);
    let (position, start) = (number(POSITION)?, number(names::START)?);
    let interval = primitive::<Int8Type>(batch, names::INTERVAL)?;
    let rank = primitive::<UInt16Type>(batch, names::RANK)?;
    let value = primitive::<Float32Type>(batch, names::VALUE)?;
    let mut tokens = vectors::<UInt32Type>(batch, names::TOKENS)?;
    let mut values = vectors::<Float32Type>(batch, names::VALUES)?;
    for i in 0..batch.num_rows() {
        rows.push(ExampleRow {
            feature: feature.value(i),
            interval: interval.value(i),
            rank: rank.value(i),
            document: document.value(i),
            position: position.value(i),
            value: value.value(i),
            start: start.value(i),
            tokens: std::mem::take(&mut tokens[i]),
            values: std::mem::take(&mut values[i]),
        });
    }
    Ok(())
}
