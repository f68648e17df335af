//! Columns of lists of numbers, whatever kind of list, as one run of f32.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use half::slice::HalfFloatSliceExt as _;

/// The type inside a list; None for other types.
pub(super) fn inside(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Some(field.data_type())
        }
        _ => None,
    }
}

/// Whether numbers of this type are activations.
pub(super) fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// The values inside lists, from the first row's first to the last row's last, and where each row's are in
/// them.
///
/// # Errors
/// The first row that is null; an array of another type.
pub(super) fn values(array: &dyn Array) -> Result<(ArrayRef, Vec<Range<usize>>), (usize, String)> {
    if let Some(row) =
        (array.null_count() > 0).then(|| (0..array.len()).find(|&row| array.is_null(row))).flatten()
    {
        return Err((row, "is null".into()));
    }
    let (inner, offsets): (&ArrayRef, Vec<usize>) = if let Some(list) = array.as_list_opt::<i32>() {
        (list.values(), list.value_offsets().iter().map(|&at| at as usize).collect())
    } else if let Some(list) = array.as_list_opt::<i64>() {
        (list.values(), list.value_offsets().iter().map(|&at| at as usize).collect())
    } else if let Some(list) = array.as_fixed_size_list_opt() {
        let (first, width) = (list.value_offset_at(0), list.value_length() as usize);
        (list.values(), (0..=list.len()).map(|row| first + row * width).collect())
    } else {
        return Err((0, format!("is {}; expected a list", array.data_type())));
    };
    let (start, end) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let spans = offsets.windows(2).map(|w| w[0] - start..w[1] - start).collect();
    Ok((inner.slice(start, end - start), spans))
}

/// Floating-point numbers as f32.
///
/// # Errors
/// The index of the first null; a type that is not floating point.
pub(super) fn floats(array: &dyn Array) -> Result<Vec<f32>, (usize, String)> {
    if let Some(at) = (array.null_count() > 0).then(|| (0..array.len()).find(|&i| array.is_null(i))).flatten()
    {
        return Err((at, "is null".into()));
    }
    match array.data_type() {
        DataType::Float32 => Ok(array.as_primitive::<Float32Type>().values().to_vec()),
        DataType::Float64 => {
            Ok(array.as_primitive::<Float64Type>().values().iter().map(|&x| x as f32).collect())
        }
        DataType::Float16 => {
            let mut out = vec![0.0; array.len()];
            array.as_primitive::<Float16Type>().values().convert_to_f32_slice(&mut out);
            Ok(out)
        }
        other => Err((0, format!("is {other}; expected floating-point numbers"))),
    }
}
