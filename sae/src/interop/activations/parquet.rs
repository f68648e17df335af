//! Parquet: a column of lists, of lists of lists, or one column a dimension (BioNeMo's `dim_0` …).

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Type;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::batch::{guarded, until_error};
use super::columns::Table;
use super::source::{Chunk, Facts, Names, rows_at_once};
use crate::{Error, Result};
use lm::model::Hook;

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    guarded(path, "Parquet", || ParquetRecordBatchReaderBuilder::try_new(file))
}

fn rows_of(path: &Path, table: &Table, at_once: usize) -> Result<ParquetRecordBatchReader> {
    let builder = builder(path)?;
    let wanted = table.columns();
    let schema = builder.schema().clone();
    let roots = (0..schema.fields().len()).filter(|&i| wanted.contains(&schema.field(i).name().as_str()));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    guarded(path, "Parquet", || check_dictionaries(file, &wanted))?;
    guarded(path, "Parquet", || builder.with_projection(mask).with_batch_size(at_once).build())
}

/// A dictionary has no more values than its page has bytes for: the library makes room for as many as the page says, up to 2³¹,
/// before it looks. Headers of pages are read for that, and dictionaries.
fn check_dictionaries(file: File, wanted: &[&str]) -> ParquetResult<()> {
    let reader = SerializedFileReader::new(file)?;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        for index in 0..group.num_columns() {
            let column = group.metadata().column(index);
            if !column.column_path().parts().first().is_some_and(|root| wanted.contains(&root.as_str())) {
                continue;
            }
            let least = match column.column_type() {
                Type::INT64 | Type::DOUBLE => 8,
                Type::INT96 => 12,
                Type::FIXED_LEN_BYTE_ARRAY => {
                    usize::try_from(column.column_descr().type_length()).unwrap_or(0).max(1)
                }
                Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY | Type::BOOLEAN => 4,
            };
            let mut pages = group.get_column_page_reader(index)?;
            while let Some(page) = pages.peek_next_page()? {
                if !page.is_dict {
                    pages.skip_next_page()?;
                } else if let Some(Page::DictionaryPage { buf, num_values, .. }) = pages.get_next_page()?
                    && num_values as usize > buf.len() / least
                {
                    let (name, bytes) = (column.column_path().string(), buf.len());
                    let problem =
                        format!("column {name}: a dictionary of {num_values} values in {bytes} bytes");
                    return Err(ParquetError::General(problem));
                }
            }
        }
    }
    Ok(())
}

/// Opens files of one schema.
pub(super) fn open(
    files: &[PathBuf],
    names: &Names,
) -> Result<(Facts, Box<dyn Iterator<Item = Result<Chunk>>>)> {
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
    let row = guarded(path, "Parquet", || first.next().transpose())?;
    let row = row.filter(|batch| batch.num_rows() > 0).ok_or_else(|| Error::format(path, "has no rows"))?;
    let (d, length) = table.shape(&row, path)?;
    let facts = Facts {
        d,
        dtype: table.dtype(),
        rows: (!table.sequences()).then_some(rows),
        tokens: table.tokens.is_some(),
        documents: table.sequences() || table.documents.is_some(),
        length,
        hook: table.name().filter(|name| name.parse::<Hook>().is_ok()).map(str::to_owned),
        about: table.about(d),
    };
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
            match guarded(path, "Parquet", || reader.next().transpose())? {
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
