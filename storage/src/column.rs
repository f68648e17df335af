//! Typed access to the columns of a batch, with errors that name the column.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, GenericListArray, ListArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

use crate::error::{Error, Result};

/// A column by name.
pub fn find<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let there: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        Error::column(name, "a column of this name", format!("the columns {}", there.join(", ")))
    })
}

/// A numeric column without nulls, as its Arrow array; `.values()` is the slice.
pub fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>> {
    let array = nullable_primitive::<T>(batch, name)?;
    no_nulls(name, array)?;
    Ok(array)
}

/// A numeric column that may have nulls.
pub fn nullable_primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>> {
    let array = find(batch, name)?;
    array
        .as_primitive_opt()
        .ok_or_else(|| Error::column(name, T::DATA_TYPE.to_string(), array.data_type().to_string()))
}

/// A column of booleans without nulls.
pub fn booleans<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BooleanArray> {
    let array = find(batch, name)?;
    no_nulls(name, array)?;
    array.as_boolean_opt().ok_or_else(|| Error::column(name, "Boolean", array.data_type().to_string()))
}

/// A column of text, plain or dictionary, as plain text; it may have nulls.
pub fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    let array = find(batch, name)?;
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

/// A column of text without nulls, as strings.
pub(crate) fn strings(batch: &RecordBatch, name: &str) -> Result<Vec<String>> {
    let array = texts(batch, name)?;
    no_nulls(name, &array)?;
    Ok((0..array.len()).map(|row| array.value(row).to_owned()).collect())
}

/// Each text, or none where it is null.
pub(crate) fn strings_or_null(array: &StringArray) -> impl Iterator<Item = Option<String>> + '_ {
    array.iter().map(|text| text.map(str::to_owned))
}

/// A column of lists without nulls.
pub fn lists<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ListArray> {
    let array = find(batch, name)?;
    no_nulls(name, array)?;
    array.as_list_opt().ok_or_else(|| Error::column(name, "List", array.data_type().to_string()))
}

/// Each row of a column of lists of numbers, as a vector.
pub(crate) fn vectors<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str) -> Result<Vec<Vec<T::Native>>> {
    let list = lists(batch, name)?;
    let values: &PrimitiveArray<T> = list
        .values()
        .as_primitive_opt()
        .ok_or_else(|| Error::column(name, T::DATA_TYPE.to_string(), list.value_type().to_string()))?;
    no_nulls(name, values)?;
    Ok(spans(list).map(|span| values.values()[span].to_vec()).collect())
}

/// The structs inside a column of lists of structs, and each row's span in them.
pub(crate) fn structs<'a>(batch: &'a RecordBatch, name: &str) -> Result<(&'a ListArray, &'a StructArray)> {
    let list = lists(batch, name)?;
    let structs = list
        .values()
        .as_struct_opt()
        .ok_or_else(|| Error::column(name, "List of Struct", list.data_type().to_string()))?;
    no_nulls(name, structs)?;
    Ok((list, structs))
}

/// A numeric field of the structs.
pub(crate) fn field<'a, T: ArrowPrimitiveType>(
    structs: &'a StructArray,
    column: &str,
    field: &str,
) -> Result<&'a [T::Native]> {
    let name = || format!("{column}.{field}");
    let array = structs
        .column_by_name(field)
        .ok_or_else(|| Error::column(&name(), T::DATA_TYPE.to_string(), "no such field"))?;
    no_nulls(&name(), array)?;
    let array: &PrimitiveArray<T> = array
        .as_primitive_opt()
        .ok_or_else(|| Error::column(&name(), T::DATA_TYPE.to_string(), array.data_type().to_string()))?;
    Ok(array.values())
}

/// A field of text of the structs.
pub(crate) fn field_texts<'a>(
    structs: &'a StructArray,
    column: &str,
    field: &str,
) -> Result<&'a StringArray> {
    let name = || format!("{column}.{field}");
    let array =
        structs.column_by_name(field).ok_or_else(|| Error::column(&name(), "Utf8", "no such field"))?;
    no_nulls(&name(), array)?;
    array.as_string_opt().ok_or_else(|| Error::column(&name(), "Utf8", array.data_type().to_string()))
}

/// Where each row's values lie.
pub(crate) fn spans(list: &ListArray) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    list.value_offsets().windows(2).map(|w| w[0] as usize..w[1] as usize)
}

fn no_nulls(name: &str, array: &dyn Array) -> Result<()> {
    match array.null_count() {
        0 => Ok(()),
        nulls => Err(Error::column(name, "no nulls", format!("{nulls} nulls in {} rows", array.len()))),
    }
}

/// A column of lists: `values` of all rows end to end, `lengths` of each row. `data_type` is the column's.
pub(crate) fn list_column(
    name: &str,
    data_type: &DataType,
    values: ArrayRef,
    lengths: impl Iterator<Item = usize>,
) -> Result<ArrayRef> {
    let DataType::List(inner) = data_type else {
        return Err(Error::column(name, "List", data_type.to_string()));
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    let list: GenericListArray<i32> = GenericListArray::try_new(inner.clone(), offsets, values, None)
        .map_err(|e| Error::column(name, data_type.to_string(), e.to_string()))?;
    Ok(Arc::new(list))
}

/// The struct array for a `List<Struct>` column: one array a field.
pub(crate) fn struct_values(name: &str, data_type: &DataType, arrays: Vec<ArrayRef>) -> Result<ArrayRef> {
    let fields = match data_type {
        DataType::List(inner) => match inner.data_type() {
            DataType::Struct(fields) => fields.clone(),
            other => return Err(Error::column(name, "Struct", other.to_string())),
        },
        other => return Err(Error::column(name, "List", other.to_string())),
    };
    let structs = StructArray::try_new(fields, arrays, None)
        .map_err(|e| Error::column(name, data_type.to_string(), e.to_string()))?;
    Ok(Arc::new(structs))
}

/// A batch of `schema` from its columns in order.
pub(crate) fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, columns)
        .map_err(|e| Error::column("(all)", "columns of equal length", e.to_string()))
}

/// The type of a column of `schema`.
pub(crate) fn type_of<'a>(schema: &'a SchemaRef, name: &str) -> Result<&'a FieldRef> {
    schema
        .fields()
        .find(name)
        .map(|(_, field)| field)
        .ok_or_else(|| Error::column(name, "a column of this name", "no such column"))
}
