//! Streaming some rows and some columns of a table.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::errors::ParquetError;

use super::TableReader;
use super::part::{PartReader, guarded};
use super::prune::{ValueRange, candidate_rows, integers, is_integer};
use super::widen::WideReader;
use crate::error::{Error, Result};

/// Which rows and columns.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Columns, in the wanted order; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Rows by number; `None` for all.
    pub rows: Option<Range<u64>>,
    /// Only rows whose integer column is in min..=max.
    pub range: Option<(String, u64, u64)>,
    /// Rows of a batch at most.
    pub batch_rows: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self { columns: None, rows: None, range: None, batch_rows: 8192 }
    }
}

impl Scan {
    /// All rows of these columns.
    pub fn of(columns: &[&str]) -> Self {
        Self { columns: Some(columns.iter().map(|&name| name.to_owned()).collect()), ..Self::default() }
    }
}

/// Batches of a scan, in row order, none of them empty. After an error it ends.
pub struct Batches {
    table: TableReader,
    schema: SchemaRef,
    columns: Vec<String>,
    /// Columns that are read: the wanted ones and the condition's.
    read: Vec<String>,
    condition: Option<ValueRange>,
    batch_rows: usize,
    /// Parts to come, with rows of the part.
    parts: VecDeque<(usize, Range<u64>)>,
    current: Option<(usize, WideReader)>,
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("columns", &self.columns).field("parts", &self.parts).finish()
    }
}

impl TableReader {
    /// Streams the rows that `scan` describes. Row groups and pages that cannot hold such rows are not read.
    ///
    /// # Errors
    /// A column that the table does not have, rows beyond its end, a range over a column that is not of whole
    /// numbers. Batches give what reading gives.
    pub fn scan(&self, scan: Scan) -> Result<Batches> {
        let columns = match scan.columns {
            Some(columns) => columns,
            None => self.schema().fields().iter().map(|field| field.name().clone()).collect(),
        };
        let indices = columns.iter().map(|name| self.require(name)).collect::<Result<Vec<_>>>()?;
        let schema = self.schema().project(&indices).map_err(|e| self.argument(e.to_string()))?;
        let rows = scan.rows.unwrap_or(0..self.rows());
        if rows.end > self.rows() || rows.start > rows.end {
            return Err(self.argument(format!(
                "rows {}..{} asked of a table of {} rows",
                rows.start,
                rows.end,
                self.rows()
            )));
        }
        let condition = scan.range.map(|(column, min, max)| ValueRange { column, min, max });
        let mut read = columns.clone();
        if let Some(condition) = &condition {
            let index = self.require(&condition.column)?;
            let data_type = self.schema().field(index).data_type();
            if !is_integer(data_type) {
                return Err(self.argument(format!(
                    "a range of values is for integer columns; `{}` is {data_type}",
                    condition.column
                )));
            }
            if !read.contains(&condition.column) {
                read.push(condition.column.clone());
            }
        }
        let mut parts = VecDeque::new();
        for (index, part) in self.inner.parts.iter().enumerate() {
            let range = part.range()?;
            let wanted = rows.start.max(range.start)..rows.end.min(range.end);
            if !wanted.is_empty() {
                parts.push_back((index, wanted.start - range.start..wanted.end - range.start));
            }
        }
        Ok(Batches {
            table: self.clone(),
            schema: schema.into(),
            columns,
            read,
            condition,
            batch_rows: scan.batch_rows.max(1),
            parts,
            current: None,
        })
    }

    /// Calls `take` with every batch; what it says about a column gets the file's name.
    pub(crate) fn each(&self, scan: Scan, mut take: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        for batch in self.scan(scan)? {
            take(&batch?).map_err(|error| error.in_file(&self.inner.dir))?;
        }
        Ok(())
    }

    pub(super) fn argument(&self, message: String) -> Error {
        Error::Argument { path: self.inner.dir.clone(), message }
    }
}

impl Batches {
    /// Columns of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((index, reader)) = &mut self.current {
                let index = *index;
                let part = &self.table.inner.parts[index];
                let batch = guarded(&part.path, || reader.next().transpose().map_err(ParquetError::from))?;
                match batch {
                    Some(batch) => {
                        let batch = self.finish_batch(index, &batch)?;
                        if batch.num_rows() > 0 {
                            return Ok(Some(batch));
                        }
                    }
                    None => self.current = None,
                }
            } else {
                let Some((index, rows)) = self.parts.pop_front() else { return Ok(None) };
                self.current = self.open_part(index, rows)?.map(|reader| (index, reader));
            }
        }
    }

    fn open_part(&self, index: usize, rows: Range<u64>) -> Result<Option<WideReader>> {
        let part = &self.table.inner.parts[index];
        let loaded = part.loaded()?;
        let ranges = match &self.condition {
            Some(condition) => candidate_rows(&part.path, loaded, rows, condition)?,
            None => vec![rows],
        };
        open_ranges(part, &self.read, &ranges, self.batch_rows)
    }

    /// The exact condition, and the wanted columns in the wanted order.
    fn finish_batch(&self, index: usize, batch: &RecordBatch) -> Result<RecordBatch> {
        let path = &self.table.inner.parts[index].path;
        let finish = || -> std::result::Result<RecordBatch, ParquetError> {
            let schema = batch.schema_ref();
            let indices = self
                .columns
                .iter()
                .map(|name| schema.index_of(name))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            let wanted = batch.project(&indices)?;
            let Some(condition) = &self.condition else { return Ok(wanted) };
            let values = integers(batch.column(schema.index_of(&condition.column)?))?;
            let keep: BooleanArray = values
                .iter()
                .map(|value| Some(value.is_some_and(|value| condition.contains(value))))
                .collect();
            if keep.true_count() == keep.len() {
                return Ok(wanted);
            }
            Ok(filter_record_batch(&wanted, &keep)?)
        };
        finish().map_err(Error::parquet(path))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.current = None;
            self.parts.clear();
        }
        next.transpose()
    }
}

/// A reader of ascending, disjoint row ranges of one file; `None` when they are empty.
pub(super) fn open_ranges(
    part: &PartReader,
    columns: &[String],
    ranges: &[Range<u64>],
    batch_rows: usize,
) -> Result<Option<WideReader>> {
    let starts = &part.loaded()?.group_starts;
    let mut groups = Vec::new();
    // Ranges as rows of the chosen row groups laid end to end.
    let mut selected: Vec<Range<usize>> = Vec::new();
    let mut base = 0u64;
    for group in 0..starts.len().saturating_sub(1) {
        let span = starts[group]..starts[group + 1];
        let first = ranges.partition_point(|range| range.end <= span.start);
        let inside = ranges[first..].iter().take_while(|range| range.start < span.end);
        let mut any = false;
        for range in inside {
            let start = range.start.max(span.start) - span.start + base;
            let end = range.end.min(span.end) - span.start + base;
            if start < end {
                any = true;
                selected.push(start as usize..end as usize);
            }
        }
        if any {
            groups.push(group);
            base += span.end - span.start;
        }
    }
    if groups.is_empty() {
        return Ok(None);
    }
    let rows: usize = selected.iter().map(ExactSizeIterator::len).sum();
    let selection = (rows as u64 != base)
        .then(|| RowSelection::from_consecutive_ranges(selected.into_iter(), base as usize));
    let columns = part.column_indices(columns)?;
    part.reader(&columns, groups, selection, batch_rows.min(rows)).map(Some)
}
