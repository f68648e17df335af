//! Parquet: a column of lists, of lists of lists, or one column per dimension (BioNeMo's `dim_0` …).

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::batch::guarded;
use super::chunk::{Chunk, Chunks, Facts, Names, rows_at_once, until_error};
use super::columns::Table;
use super::parquet_limits::{check_footer, check_pages};
use crate::{Error, Result};

/// What a file is that has a footer and cannot be decoded.
const DAMAGED: &str = "is a damaged Parquet file";

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    lm::pointer::refuse_file(path)?;
    storage::bucket::fill(path)?;
    check_footer(path)?;
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    guarded(path, DAMAGED, || ParquetRecordBatchReaderBuilder::try_new(file))
}

fn rows_of(path: &Path, table: &Table, at_once: usize) -> Result<ParquetRecordBatchReader> {
    let builder = builder(path)?;
    let wanted = table.columns();
    check_pages(path, builder.metadata(), &wanted)?;
    let schema = builder.schema().clone();
    let roots = (0..schema.fields().len()).filter(|&i| wanted.contains(&schema.field(i).name().as_str()));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    guarded(path, DAMAGED, || builder.with_projection(mask).with_batch_size(at_once).build())
}

/// Opens files of one schema.
///
/// # Errors
/// Files that are not Parquet or damaged, have no rows or no column that could be the activations.
pub(super) fn open(files: &[PathBuf], names: &Names) -> Result<(Facts, Chunks)> {
    let path = files.first().ok_or_else(|| Error::request("no files"))?;
    let table = Table::choose(builder(path)?.schema(), names, path)?;
    let mut rows = 0u64;
    for file in files {
        let there = builder(file)?.metadata().file_metadata().num_rows();
        let there = u64::try_from(there)
            .map_err(|_| Error::format(file, format!("says that it has {there} rows")))?;
        rows = rows.saturating_add(there);
    }
    let mut first = rows_of(path, &table, 1)?;
    let row = guarded(path, DAMAGED, || first.next().transpose())?;
    let row = row.filter(|batch| batch.num_rows() > 0).ok_or_else(|| Error::format(path, "has no rows"))?;
    let (d, length) = table.shape(&row, path)?;
    let facts = table.facts(d, length, Some(rows));
    let at_once = (rows_at_once(d) / length.unwrap_or(1)).max(1);
    let all: Vec<PathBuf> = files.to_owned();
    let mut files = all.into_iter();
    let mut current: Option<(PathBuf, ParquetRecordBatchReader)> = None;
    let (mut row, mut sequence) = (0u64, 0u64);
    let next = move || -> Result<Option<Chunk>> {
        loop {
            let Some((path, reader)) = &mut current else {
                let Some(file) = files.next() else { return Ok(None) };
                row = 0;
                current = Some((file.clone(), rows_of(&file, &table, at_once)?));
                continue;
            };
            match guarded(path, DAMAGED, || reader.next().transpose())? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    let chunk = table.chunk(&batch, Some(d), (path, row), &mut sequence)?;
                    row += batch.num_rows() as u64;
                    return Ok(Some(chunk));
                }
                None => current = None,
            }
        }
    };
    Ok((facts, until_error(next)))
}
