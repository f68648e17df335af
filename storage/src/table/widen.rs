//! Columns that older files have in a narrower type: numbers of experts had 16 bits before there were layers of more than 65,536.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

/// Whether a column of type `found` can be read as `expected`: the same, or 16 bits where there are 32. Names of inner list fields and
/// top-level nullability are free: other tools write them as they like.
pub(super) fn fits(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::List(a), DataType::List(b)) => fits(a.data_type(), b.data_type()),
        (DataType::FixedSizeList(a, n), DataType::FixedSizeList(b, m)) => {
            n == m && fits(a.data_type(), b.data_type())
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && fits(a.data_type(), b.data_type()))
        }
        (DataType::UInt32, DataType::UInt16) => true,
        _ => expected == found,
    }
}

/// `found` with the numbers of `expected`, which it [`fits`]; all else is as it is in the file.
fn wide(expected: &DataType, found: &DataType) -> DataType {
    let inner = |expected: &Arc<Field>, found: &Arc<Field>| {
        let data_type = wide(expected.data_type(), found.data_type());
        Arc::new(found.as_ref().clone().with_data_type(data_type))
    };
    match (expected, found) {
        (DataType::List(a), DataType::List(b)) => DataType::List(inner(a, b)),
        (DataType::FixedSizeList(a, n), DataType::FixedSizeList(b, _)) => {
            DataType::FixedSizeList(inner(a, b), *n)
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            DataType::Struct(a.iter().zip(b).map(|(a, b)| inner(a, b)).collect())
        }
        (DataType::UInt32, DataType::UInt16) => DataType::UInt32,
        _ => found.clone(),
    }
}

/// The columns of a file as they are read: `found`, with the numbers of `expected` where it has such a column.
pub(super) fn widened(found: &SchemaRef, expected: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match expected.field_with_name(field.name()) {
        Ok(wanted) => {
            let data_type = wide(wanted.data_type(), field.data_type());
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        }
        Err(_) => Arc::clone(field),
    };
    let fields: Vec<Arc<Field>> = found.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, found.metadata().clone()))
}

/// Batches of a file, with its columns as `schema` has them.
pub(super) struct WideReader {
    pub reader: ParquetRecordBatchReader,
    pub schema: SchemaRef,
}

impl WideReader {
    fn widen(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let narrow = batch.schema();
        let wanted = |field: &Arc<Field>| self.schema.field_with_name(field.name());
        let fields = narrow.fields().iter().map(|field| Ok(Arc::new(wanted(field)?.clone())));
        let fields: Vec<Arc<Field>> = fields.collect::<Result<_, ArrowError>>()?;
        if fields.iter().zip(narrow.fields()).all(|(wide, narrow)| wide.data_type() == narrow.data_type()) {
            return Ok(batch);
        }
        let columns = batch.columns().iter().zip(&fields).map(|(column, field)| match field.data_type() {
            same if same == column.data_type() => Ok(Arc::clone(column)),
            wide => cast(column, wide),
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, ArrowError>>()?;
        RecordBatch::try_new(Arc::new(Schema::new_with_metadata(fields, narrow.metadata().clone())), columns)
    }
}

impl Iterator for WideReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.next().map(|batch| self.widen(batch?))
    }
}
