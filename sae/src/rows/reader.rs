//! Reading chosen rows of `activations` in batches of one size, as f32, checked to be finite.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;
use storage::schema::{ACTIVATIONS, DOCUMENT, POSITION, TOKEN, activations::ACTIVATION};
use storage::{Batches, Dataset, Scan, TableReader, column, vector};

use crate::synth::generated::GeneratedRows;
use crate::{Error, Result};

/// Consecutive chosen rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowBatch {
    /// Document of each row.
    pub documents: Vec<u32>,
    /// Position of each row in its document.
    pub positions: Vec<u32>,
    /// Token of each row; empty if rows are not tokens.
    pub tokens: Vec<u32>,
    /// Activations, `[rows, d]`.
    pub activations: Vec<f32>,
}

impl RowBatch {
    /// Rows.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }
}

/// Where rows come from.
#[derive(Debug)]
enum Rows {
    /// A table on disk.
    Table(TableReader),
    /// A made world.
    Generated(GeneratedRows),
}

/// Batches of exactly `batch` rows (the last may have fewer), whatever the files' row groups are, so that
/// results do not depend on how a dataset was cut into files.
#[derive(Debug)]
pub struct RowReader {
    rows: Rows,
    ranges: VecDeque<Range<u64>>,
    current: Option<Batches>,
    /// Rows that were read and not given out.
    rest: Option<(RecordBatch, usize)>,
    batch: usize,
    d: usize,
    /// Whether activations are read.
    with_activations: bool,
}

impl RowReader {
    /// Reads `ranges` of the activations of `dataset`, whose width must be `d`.
    ///
    /// # Errors
    /// A dataset of a different width, or a table that cannot be opened.
    pub fn new(dataset: &Dataset, ranges: &[Range<u64>], batch: usize, d: usize) -> Result<Self> {
        let width = dataset.manifest().d_model;
        if width != d {
            return Err(Error::request(format!(
                "{}: activations have width {width}, but the dictionary takes {d}",
                dataset.dir().display()
            ))
            .with_remedy("give the dataset that it was trained on, or one of the same model and hook"));
        }
        let rows = match GeneratedRows::of(dataset)? {
            Some(generated) => Rows::Generated(generated),
            None => Rows::Table(dataset.table(ACTIVATIONS)?),
        };
        Ok(Self {
            rows,
            ranges: ranges.iter().cloned().collect(),
            current: None,
            rest: None,
            batch: batch.max(1),
            d,
            with_activations: true,
        })
    }

    /// Leaves the activations out: batches have documents, positions and tokens alone.
    #[must_use]
    pub fn places_alone(self) -> Self {
        Self { with_activations: false, ..self }
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// Rows that cannot be read, or an activation that is not finite.
    pub fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        let mut batch = RowBatch::default();
        while batch.len() < self.batch {
            let table = match &self.rows {
                Rows::Table(table) => table.clone(),
                Rows::Generated(rows) => {
                    let rows = rows.clone();
                    if !self.generate(&rows, &mut batch) {
                        break;
                    }
                    continue;
                }
            };
            let Some((source, from)) = self.source(&table)? else { break };
            let rows = (source.num_rows() - from).min(self.batch - batch.len());
            let d = self.with_activations.then_some(self.d);
            append(&mut batch, &source.slice(from, rows), d, &table)?;
            self.rest = (from + rows < source.num_rows()).then_some((source, from + rows));
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Adds rows of the next range to `batch`, as many as it has room for; false at the end.
    fn generate(&mut self, rows: &GeneratedRows, batch: &mut RowBatch) -> bool {
        let Some(range) = self.ranges.pop_front() else { return false };
        let end = range.end.min(range.start + (self.batch - batch.len()) as u64);
        if end < range.end {
            self.ranges.push_front(end..range.end);
        }
        if self.with_activations {
            batch.activations.extend(rows.activations(range.start..end));
        }
        for (document, position) in (range.start..end).map(|row| rows.place(row)) {
            batch.documents.push(document);
            batch.positions.push(position);
        }
        true
    }

    /// Rows that come next, and how many of them were already given out.
    fn source(&mut self, table: &TableReader) -> Result<Option<(RecordBatch, usize)>> {
        loop {
            if let Some(rest) = self.rest.take() {
                return Ok(Some(rest));
            }
            if let Some(batch) = self.current.as_mut().and_then(Iterator::next).transpose()? {
                return Ok(Some((batch, 0)));
            }
            let Some(rows) = self.ranges.pop_front() else { return Ok(None) };
            let there = [DOCUMENT, POSITION, TOKEN, ACTIVATION].into_iter();
            let there = there.filter(|name| *name != TOKEN || table.has_column(TOKEN));
            let there = there.filter(|name| *name != ACTIVATION || self.with_activations);
            let columns = there.map(str::to_owned).collect();
            let scan = Scan { columns: Some(columns), rows: Some(rows), ..Scan::default() };
            self.current = Some(table.scan(scan)?);
        }
    }
}

/// `d`: width of the activations, `None` where they are left out.
fn append(batch: &mut RowBatch, source: &RecordBatch, d: Option<usize>, table: &TableReader) -> Result<()> {
    let first = batch.len();
    for (name, values) in
        [(DOCUMENT, &mut batch.documents), (POSITION, &mut batch.positions), (TOKEN, &mut batch.tokens)]
    {
        if name == TOKEN && source.column_by_name(TOKEN).is_none() {
            continue;
        }
        values.extend_from_slice(column::primitive::<UInt32Type>(source, name)?.values());
    }
    let Some(d) = d else { return Ok(()) };
    vector::fixed_size_rows(source, ACTIVATION, &mut batch.activations)?;
    check_finite(batch, first, d, table)
}

fn check_finite(batch: &RowBatch, first: usize, d: usize, table: &TableReader) -> Result<()> {
    let Some(at) = batch.activations[first * d..].iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let row = first + at / d;
    Err(Error::data(format!(
        "{}: document {}, position {}: component {} of the activation is {}, expected a finite number",
        table.path().display(),
        batch.documents[row],
        batch.positions[row],
        at % d,
        batch.activations[first * d + at],
    ))
    .with_remedy("harvest the dataset again (with f32 if activations exceed 65504, the most that f16 holds)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::fixture::{activations, dataset, header, texts};

    fn read(dataset: &Dataset, ranges: &[Range<u64>], batch: usize) -> Result<Vec<RowBatch>> {
        let mut reader = RowReader::new(dataset, ranges, batch, 3)?;
        std::iter::from_fn(|| reader.next_batch().transpose()).collect()
    }

    /// However the dataset was cut into files and whatever ranges are read, batches have one size and rows
    /// stay together.
    #[test]
    fn batches_are_of_one_size() {
        let folder = tempfile::tempdir().unwrap();
        let (texts, values) = (texts(&[40, 1, 60, 33], 50, 1), activations(134, 3, 2));
        let dataset = dataset(folder.path(), header(3), &texts, &values, 3);
        let ranges = [0..5, 30..101, 130..134];
        let batches = read(&dataset, &ranges, 16).unwrap();
        assert_eq!(batches.iter().map(RowBatch::len).collect::<Vec<_>>(), [16, 16, 16, 16, 16]);
        let rows: Vec<u64> = ranges.iter().cloned().flatten().collect();
        let found = batches.iter().flat_map(|b| b.activations.chunks(3));
        for (row, found) in rows.iter().zip(found) {
            assert_eq!(found, &values[*row as usize * 3..][..3]);
        }
        let tokens: Vec<u32> = texts.iter().flat_map(|t| t.tokens.iter().copied()).collect();
        let found: Vec<u32> = batches.iter().flat_map(|b| b.tokens.iter().copied()).collect();
        assert_eq!(found, rows.iter().map(|&r| tokens[r as usize]).collect::<Vec<_>>());
        let places: Vec<(u32, u32)> = batches
            .iter()
            .flat_map(|b| b.documents.iter().copied().zip(b.positions.iter().copied()))
            .collect();
        assert_eq!((places[4], places[5], places[75], places[76]), ((10, 4), (10, 30), (12, 59), (13, 29)));
    }

    #[test]
    fn places_alone_are_those_of_the_whole_rows() {
        let folder = tempfile::tempdir().unwrap();
        let dataset =
            dataset(folder.path(), header(3), &texts(&[40, 1, 60], 50, 1), &activations(101, 3, 2), 3);
        let mut alone = RowReader::new(&dataset, &[3..90], 16, 3).unwrap().places_alone();
        for whole in read(&dataset, &[3..90], 16).unwrap() {
            assert_eq!(alone.next_batch().unwrap(), Some(RowBatch { activations: Vec::new(), ..whole }));
        }
        assert_eq!(alone.next_batch().unwrap(), None);
    }

    #[test]
    fn a_bad_activation_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut values = activations(30, 3, 2);
        values[3 * 25 + 1] = f32::INFINITY;
        let dataset = dataset(folder.path(), header(3), &texts(&[20, 10], 50, 1), &values, 1);
        assert!(read(&dataset, &[0..20], 7).is_ok());
        let message = read(&dataset, &[0..30], 7).unwrap_err().to_string();
        assert!(
            message.contains("document 11, position 5: component 1") && message.contains("inf"),
            "{message}"
        );
    }

    #[test]
    fn another_width_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), header(4), &texts(&[5], 50, 1), &activations(5, 4, 1), 1);
        let message = read(&dataset, &[0..5], 7).unwrap_err().to_string();
        assert!(message.contains("width 4") && message.contains("takes 3"), "{message}");
    }
}
