//! Which rows of a file can hold a value in [min, max]: by row groups' statistics, then by the page index.

use std::ops::Range;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::{ParquetError, Result as ParquetResult};

use super::part::{Loaded, guarded};
use crate::error::Result;

/// The condition `min <= column <= max` on an integer column.
#[derive(Debug, Clone)]
pub(super) struct ValueRange {
    pub column: String,
    pub min: u64,
    pub max: u64,
}

impl ValueRange {
    pub fn contains(&self, value: i128) -> bool {
        i128::from(self.min) <= value && value <= i128::from(self.max)
    }

    fn overlaps(&self, least: Option<i128>, greatest: Option<i128>) -> bool {
        // An unknown bound excludes nothing.
        least.is_none_or(|least| least <= i128::from(self.max))
            && greatest.is_none_or(|greatest| greatest >= i128::from(self.min))
    }
}

/// Parts of `rows` (rows of this file) that can match, ascending and disjoint.
pub(super) fn candidate_rows(
    path: &Path,
    loaded: &Loaded,
    rows: Range<u64>,
    condition: &ValueRange,
) -> Result<Vec<Range<u64>>> {
    guarded(path, || candidates(loaded, rows, condition))
}

fn candidates(loaded: &Loaded, rows: Range<u64>, condition: &ValueRange) -> ParquetResult<Vec<Range<u64>>> {
    let metadata = loaded.metadata.metadata();
    let statistics =
        StatisticsConverter::try_new(&condition.column, &loaded.schema, loaded.metadata.parquet_schema())?;
    let groups = metadata.row_groups();
    let least = integers(&statistics.row_group_mins(groups)?)?;
    let greatest = integers(&statistics.row_group_maxes(groups)?)?;
    let mut found: Vec<Range<u64>> = Vec::new();
    for group in 0..groups.len() {
        let span = loaded.group_starts[group]..loaded.group_starts[group + 1];
        let outside = span.end <= rows.start || span.start >= rows.end;
        if outside || !condition.overlaps(bound(&least, group), bound(&greatest, group)) {
            continue;
        }
        for page in pages(loaded, &statistics, group, &span, condition)? {
            let page = page.start.max(rows.start)..page.end.min(rows.end);
            if page.is_empty() {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.end == page.start => last.end = page.end,
                _ => found.push(page),
            }
        }
    }
    Ok(found)
}

/// Pages of a row group that can match; the whole group where there is no page index.
fn pages(
    loaded: &Loaded,
    statistics: &StatisticsConverter<'_>,
    group: usize,
    span: &Range<u64>,
    condition: &ValueRange,
) -> ParquetResult<Vec<Range<u64>>> {
    let whole = vec![span.clone()];
    let (Some(index), Some(column)) =
        (loaded.metadata.metadata().page_index(), statistics.parquet_column_index())
    else {
        return Ok(whole);
    };
    let (Some(_), Some(offsets)) = (index.column_index(group, column), index.offset_index(group, column))
    else {
        return Ok(whole);
    };
    let least = integers(&statistics.data_page_mins(&**index, [&group])?)?;
    let greatest = integers(&statistics.data_page_maxes(&**index, [&group])?)?;
    let locations = offsets.page_locations();
    if least.len() != locations.len() || greatest.len() != locations.len() {
        return Ok(whole);
    }
    let start = |page: usize| -> ParquetResult<u64> {
        match locations.get(page) {
            Some(location) => u64::try_from(location.first_row_index)
                .ok()
                .and_then(|row| row.checked_add(span.start))
                .filter(|&row| row <= span.end)
                .ok_or_else(|| ParquetError::General("a page outside of its row group".to_owned())),
            None => Ok(span.end),
        }
    };
    let mut matching = Vec::new();
    for page in 0..locations.len() {
        if condition.overlaps(bound(&least, page), bound(&greatest, page)) {
            matching.push(start(page)?..start(page + 1)?);
        }
    }
    Ok(matching)
}

fn bound(bounds: &[Option<i128>], index: usize) -> Option<i128> {
    bounds.get(index).copied().flatten()
}

/// Whether a range condition on a column of this type makes sense.
pub(super) fn is_integer(data_type: &DataType) -> bool {
    data_type.is_integer()
}

/// Any integer column as i128, which holds them all.
pub(super) fn integers(array: &ArrayRef) -> ParquetResult<Vec<Option<i128>>> {
    if array.data_type().is_unsigned_integer() {
        let array = cast(array, &DataType::UInt64)?;
        Ok(array.as_primitive::<UInt64Type>().iter().map(|value| value.map(i128::from)).collect())
    } else if array.data_type().is_signed_integer() {
        let array = cast(array, &DataType::Int64)?;
        Ok(array.as_primitive::<Int64Type>().iter().map(|value| value.map(i128::from)).collect())
    } else {
        Err(ParquetError::General(format!("statistics of type {}", array.data_type())))
    }
}
