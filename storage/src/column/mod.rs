//! Typed access to the columns of a batch, with errors that name the column.

pub(crate) mod of_array;

use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray, ListArray, PrimitiveArray, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

/// A column by name.
///
/// # Errors
/// When there is none; the error names those that there are.
pub fn find<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let there: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        Error::column(name, "a column of this name", format!("the columns {}", there.join(", ")))
    })
}

/// A numeric column without nulls, as its Arrow array; `.values()` is the slice.
///
/// # Errors
/// When there is no such column or it has a different type or nulls.
pub fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>> {
    of_array::primitive(find(batch, name)?, name)
}

/// A column of booleans without nulls.
///
/// # Errors
/// When there is no such column or it has a different type or nulls.
pub fn booleans<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BooleanArray> {
    of_array::booleans(find(batch, name)?, name)
}

/// A column of text, plain or dictionary, as plain text; it may have nulls.
///
/// # Errors
/// When there is no such column or it has a different type.
pub fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    of_array::texts(find(batch, name)?, name)
}

/// A column of lists without nulls.
///
/// # Errors
/// When there is no such column or it has a different type or nulls.
pub fn lists<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ListArray> {
    of_array::lists(find(batch, name)?, name)
}

/// The lists of numbers of a column, and the numbers of all of them end to end.
///
/// # Errors
/// When there is no such column or it has a different type or nulls.
pub(crate) fn number_lists<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<(&'a ListArray, &'a [T::Native])> {
    let list = lists(batch, name)?;
    Ok((list, of_array::primitive::<T>(list.values(), name)?.values()))
}

/// A batch of `schema` from its columns in order.
pub(crate) fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, columns)
        .map_err(|e| Error::column("(all)", "columns of equal length", e.to_string()))
}
