//! Columns of vectors (`FixedSizeList<f16|f32, d>`) as flat f32 rows, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array};
use arrow::datatypes::{DataType, Float16Type, Float32Type};
use arrow::record_batch::RecordBatch;
use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::Dtype;
use crate::error::{Error, Result};
use crate::schema;

/// Values that are NaN or infinite, also those that overflow f16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NonFinite {
    /// How many values.
    pub count: u64,
    /// The first row that has one.
    pub first_row: Option<usize>,
}

/// Appends the rows of a vector column to `out`, `[rows, d]` row by row, and returns d.
///
/// # Errors
/// A column that is missing, is not of lists of f16 or f32 of one width, or has nulls.
pub fn fixed_size_rows(batch: &RecordBatch, column: &str, out: &mut Vec<f32>) -> Result<usize> {
    let array = crate::column::find(batch, column)?;
    let wrong =
        || Error::column(column, "FixedSizeList of Float16 or Float32", array.data_type().to_string());
    let list = array.as_fixed_size_list_opt().ok_or_else(wrong)?;
    let width = usize::try_from(list.value_length()).map_err(|_| wrong())?;
    if list.null_count() > 0 || list.values().null_count() > 0 {
        return Err(Error::column(column, "no nulls", "nulls"));
    }
    // `values` of a sliced list is the whole child: cut our rows out.
    let child = list.values().slice(list.value_offset_at(0), list.len() * width);
    match child.data_type() {
        DataType::Float32 => out.extend_from_slice(child.as_primitive::<Float32Type>().values()),
        DataType::Float16 => {
            let start = out.len();
            out.resize(start + child.len(), 0.0);
            child.as_primitive::<Float16Type>().values().convert_to_f32_slice(&mut out[start..]);
        }
        _ => return Err(wrong()),
    }
    Ok(width)
}

/// Whether all values are finite and some are too large for f16.
pub fn exceeds_f16<'a>(values: impl IntoIterator<Item = &'a f32>) -> bool {
    let mut largest = 0f32;
    for value in values {
        if !value.is_finite() {
            return false;
        }
        largest = largest.max(value.abs());
    }
    !f16::from_f32(largest).is_finite()
}

/// Builds a vector column from `rows`, `[n, d]` row by row, and says where values are not finite in the stored type.
///
/// # Errors
/// A number of values that is not a multiple of `d`, or a `d` of 0.
pub fn column_from_rows(rows: &[f32], d: usize, dtype: Dtype) -> Result<(FixedSizeListArray, NonFinite)> {
    let width = i32::try_from(d).ok().filter(|&d| d > 0);
    let Some(width) = width.filter(|_| rows.len().is_multiple_of(d)) else {
        return Err(Error::column(
            "vectors",
            format!("a multiple of the width {d}, which is at least 1"),
            format!("{} values", rows.len()),
        ));
    };
    let (values, bad): (ArrayRef, NonFinite) = match dtype {
        Dtype::F32 => {
            let bad = non_finite(rows, d, |value| value.is_finite());
            (Arc::new(Float32Array::from(rows.to_vec())), bad)
        }
        Dtype::F16 => {
            let mut halves = vec![f16::ZERO; rows.len()];
            halves.convert_from_f32_slice(rows);
            let bad = non_finite(&halves, d, |value| value.is_finite());
            (Arc::new(Float16Array::from(halves)), bad)
        }
    };
    let list = FixedSizeListArray::try_new(schema::element(dtype.data_type()), width, values, None)
        .map_err(|e| Error::column("vectors", "a list", e.to_string()))?;
    Ok((list, bad))
}

fn non_finite<T: Copy>(values: &[T], d: usize, is_finite: impl Fn(T) -> bool) -> NonFinite {
    let count = values.iter().map(|&value| u64::from(!is_finite(value))).sum();
    let first_row =
        if count == 0 { None } else { values.iter().position(|&value| !is_finite(value)).map(|i| i / d) };
    NonFinite { count, first_row }
}
