//! Scattered row ranges of a table: what a shuffled training reader asks for.

use std::ops::Range;

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;

use super::TableReader;
use super::part::guarded;
use super::scan::open_ranges;
use crate::error::{Error, Result};

/// Ranges nearer than this are read as one: they may share a page.
const NEAR: u64 = 256;
/// Rows that are read as one at most, so that a long list of near ranges stays a stream.
const SPAN: u64 = 16 << 10;

impl TableReader {
    /// Reads row ranges, in any order, also overlapping: one batch each, in the order asked.
    ///
    /// # Errors
    /// A column that the table does not have, rows beyond its end, what reading gives.
    pub fn take(&self, ranges: &[Range<u64>], columns: &[&str]) -> Result<Vec<RecordBatch>> {
        let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
        let indices = columns.iter().map(|name| self.require(name)).collect::<Result<Vec<_>>>()?;
        let schema: SchemaRef =
            self.schema().project(&indices).map_err(|e| self.argument(e.to_string()))?.into();
        for range in ranges {
            if range.start > range.end || range.end > self.rows() {
                return Err(self.argument(format!(
                    "rows {}..{} asked of a table of {} rows",
                    range.start,
                    range.end,
                    self.rows()
                )));
            }
        }
        let mut order: Vec<usize> = (0..ranges.len()).filter(|&i| !ranges[i].is_empty()).collect();
        order.sort_by_key(|&i| ranges[i].start);
        let mut taken = vec![RecordBatch::new_empty(schema.clone()); ranges.len()];
        let mut at = 0;
        while at < order.len() {
            let mut span = ranges[order[at]].clone();
            let first = at;
            at += 1;
            while at < order.len() && joins(&span, &ranges[order[at]]) {
                span.end = span.end.max(ranges[order[at]].end);
                at += 1;
            }
            let batch = self.read_span(&span, &columns, &schema)?;
            for &index in &order[first..at] {
                let range = &ranges[index];
                taken[index] =
                    batch.slice((range.start - span.start) as usize, (range.end - range.start) as usize);
            }
        }
        Ok(taken)
    }

    /// Consecutive rows as one batch.
    fn read_span(&self, span: &Range<u64>, columns: &[String], schema: &SchemaRef) -> Result<RecordBatch> {
        let rows = (span.end - span.start) as usize;
        let mut batches = Vec::new();
        let first = self.inner.parts.partition_point(|part| part.first_row <= span.start).saturating_sub(1);
        for part in &self.inner.parts[first..] {
            let range = part.range()?;
            if range.start >= span.end {
                break;
            }
            let wanted = span.start.max(range.start) - range.start
                ..span.end.min(range.end).saturating_sub(range.start);
            if wanted.is_empty() {
                continue;
            }
            let Some(reader) = open_ranges(part, columns, &[wanted], rows)? else { continue };
            let mut reader = reader;
            while let Some(batch) =
                guarded(&part.path, || reader.next().transpose().map_err(ParquetError::from))?
            {
                let order: std::result::Result<Vec<_>, _> =
                    columns.iter().map(|name| batch.schema_ref().index_of(name)).collect();
                let batch = order
                    .and_then(|order| batch.project(&order))
                    .map_err(|e| Error::parquet(&part.path)(e.into()))?;
                batches.push(batch);
            }
        }
        let batch = match <[RecordBatch; 1]>::try_from(batches) {
            Ok([batch]) => batch,
            Err(batches) => {
                concat_batches(schema, &batches).map_err(|e| Error::parquet(self.path())(e.into()))?
            }
        };
        if batch.num_rows() != rows {
            return Err(Error::Damaged {
                path: self.path().to_owned(),
                part: format!("rows {}..{}", span.start, span.end),
                expected: format!("{rows} rows"),
                found: format!("{} rows", batch.num_rows()),
            });
        }
        Ok(batch)
    }
}

fn joins(span: &Range<u64>, next: &Range<u64>) -> bool {
    next.start <= span.end.saturating_add(NEAR) && next.end.max(span.end) - span.start <= SPAN
}
