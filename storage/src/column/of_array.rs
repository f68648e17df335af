//! Arrays of a known type, with errors that name their column.

use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, PrimitiveArray, StringArray,
    StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::error::{Error, Result};

/// Numbers without nulls.
pub(crate) fn primitive<'a, T: ArrowPrimitiveType>(
    array: &'a ArrayRef,
    name: &str,
) -> Result<&'a PrimitiveArray<T>> {
    let array = nullable_primitive::<T>(array, name)?;
    no_nulls(name, array)?;
    Ok(array)
}

/// Numbers that may be null.
pub(crate) fn nullable_primitive<'a, T: ArrowPrimitiveType>(
    array: &'a ArrayRef,
    name: &str,
) -> Result<&'a PrimitiveArray<T>> {
    array
        .as_primitive_opt()
        .ok_or_else(|| Error::column(name, T::DATA_TYPE.to_string(), array.data_type().to_string()))
}

/// Booleans without nulls.
pub(crate) fn booleans<'a>(array: &'a ArrayRef, name: &str) -> Result<&'a BooleanArray> {
    no_nulls(name, array)?;
    array.as_boolean_opt().ok_or_else(|| Error::column(name, "Boolean", array.data_type().to_string()))
}

/// Text, plain or dictionary, as plain text; it may be null.
pub(crate) fn texts(array: &ArrayRef, name: &str) -> Result<StringArray> {
    let is_text = match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => **values == DataType::Utf8,
        _ => false,
    };
    if !is_text {
        return Err(Error::column(name, "Utf8", array.data_type().to_string()));
    }
    let plain = cast(array, &DataType::Utf8).map_err(|e| Error::column(name, "Utf8", e.to_string()))?;
    Ok(plain.as_string::<i32>().clone())
}

/// Text without nulls, as strings.
pub(crate) fn strings(array: &ArrayRef, name: &str) -> Result<Vec<String>> {
    let array = texts(array, name)?;
    no_nulls(name, &array)?;
    Ok((0..array.len()).map(|row| array.value(row).to_owned()).collect())
}

/// Lists without nulls.
pub(crate) fn lists<'a>(array: &'a ArrayRef, name: &str) -> Result<&'a ListArray> {
    no_nulls(name, array)?;
    array.as_list_opt().ok_or_else(|| Error::column(name, "List", array.data_type().to_string()))
}

/// Each list of numbers as a vector.
pub(crate) fn vectors<T: ArrowPrimitiveType>(array: &ArrayRef, name: &str) -> Result<Vec<Vec<T::Native>>> {
    let list = lists(array, name)?;
    let values = primitive::<T>(list.values(), name)?;
    Ok(spans(list).map(|span| values.values()[span].to_vec()).collect())
}

/// Lists of structs, and the structs of all of them.
pub(crate) fn structs<'a>(array: &'a ArrayRef, name: &str) -> Result<(&'a ListArray, &'a StructArray)> {
    let list = lists(array, name)?;
    let structs = list
        .values()
        .as_struct_opt()
        .ok_or_else(|| Error::column(name, "List of Struct", list.data_type().to_string()))?;
    no_nulls(name, structs)?;
    Ok((list, structs))
}

/// Where each list's values lie.
pub(crate) fn spans(list: &ListArray) -> impl Iterator<Item = Range<usize>> + '_ {
    list.value_offsets().windows(2).map(|w| w[0] as usize..w[1] as usize)
}

fn no_nulls(name: &str, array: &dyn Array) -> Result<()> {
    match array.null_count() {
        0 => Ok(()),
        nulls => Err(Error::column(name, "no nulls", format!("{nulls} nulls in {} rows", array.len()))),
    }
}
