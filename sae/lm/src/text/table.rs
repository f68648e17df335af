//! Records of tables: Parquet, Arrow streams and files.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use minijinja::Value as Any;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::TextOptions;
use super::chat::Chat;
use super::reader::Records;
use super::record::{A_LIST, Record, Value};
use crate::{Error, Result};

/// Rows that are read at once: documents are long.
const ROWS: usize = 64;

/// The rows of a Parquet file; columns that nobody asked for are not read.
pub(super) fn parquet(path: &Path, options: &TextOptions) -> Result<Records> {
    crate::pointer::refuse_file(path)?;
    storage::bucket::fill(path)?;
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let damaged =
        |e: &dyn std::fmt::Display| Error::format(path, format!("is not a readable Parquet file: {e}"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let names: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    let wanted = names.iter().enumerate().filter(|(_, name)| options.reads(name)).map(|(i, _)| i);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.collect::<Vec<_>>());
    let reader = builder.with_projection(mask).with_batch_size(ROWS).build().map_err(|e| damaged(&e))?;
    Ok(rows(reader, names, path, options))
}

/// The rows of an Arrow stream (as `datasets.save_to_disk` writes) or file (Feather).
pub(super) fn arrow(path: &Path, options: &TextOptions) -> Result<Records> {
    crate::pointer::refuse_file(path)?;
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let damaged = |e: ArrowError| Error::format(path, format!("is not a readable Arrow file: {e}"));
    let mut begin = [0; 6];
    let is_file = file.read_exact(&mut begin).is_ok() && &begin == b"ARROW1";
    file.rewind().map_err(|e| Error::io(path, e))?;
    if is_file {
        let reader = FileReader::try_new(BufReader::new(file), None).map_err(damaged)?;
        let names = reader.schema().fields().iter().map(|f| f.name().clone()).collect();
        Ok(rows(reader, names, path, options))
    } else {
        let reader = StreamReader::try_new(BufReader::new(file), None).map_err(damaged)?;
        let names = reader.schema().fields().iter().map(|f| f.name().clone()).collect();
        Ok(rows(reader, names, path, options))
    }
}

fn rows(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
    names: Vec<String>,
    path: &Path,
    options: &TextOptions,
) -> Records {
    let (path, options) = (path.to_path_buf(), options.clone());
    let mut number = 0;
    Box::new(batches.flat_map(move |batch| {
        let batch = match batch {
            Ok(batch) => batch,
            Err(e) => return vec![Err(Error::format(&path, format!("is damaged: {e}")))],
        };
        let columns: Vec<Option<Column>> = names
            .iter()
            .map(|name| batch.column_by_name(name).filter(|_| options.reads(name)).map(Column::of))
            .collect();
        let inner = Inner::of(&batch, &options);
        (0..batch.num_rows())
            .map(|row| {
                number += 1;
                let value = |column: &Option<Column>| column.as_ref().map_or(Value::Unread, |c| c.value(row));
                let fields = names.iter().zip(&columns).map(|(name, column)| (name.clone(), value(column)));
                let inner = inner.as_ref().map(|inner| (inner.name.clone(), inner.value(row)));
                Ok(Record { fields: fields.chain(inner).collect(), number, instead: None })
            })
            .collect()
    }))
}

/// A field inside structures, where `--text-column` names one.
struct Inner {
    name: String,
    /// The structures around it: where one of them is null, so is the field.
    around: Vec<ArrayRef>,
    column: Column,
}

impl Inner {
    fn of(batch: &RecordBatch, options: &TextOptions) -> Option<Self> {
        let name = options.column.clone().filter(|name| batch.column_by_name(name).is_none())?;
        let (outer, inner) = options.inside()?;
        let (mut around, mut array) = (Vec::new(), batch.column_by_name(outer)?.clone());
        for name in inner {
            let field = array.as_struct_opt()?.column_by_name(name)?.clone();
            around.push(std::mem::replace(&mut array, field));
        }
        Some(Self { name, around, column: Column::of(&array) })
    }

    fn value(&self, row: usize) -> Value {
        if self.around.iter().any(|array| array.is_null(row)) { Value::Null } else { self.column.value(row) }
    }
}

/// A column as what its type makes it.
enum Column {
    Texts(StringArray),
    Bytes(ArrayRef),
    Scalars(StringArray),
    Lists(ArrayRef),
    Other(ArrayRef, &'static str),
}

impl Column {
    fn of(array: &ArrayRef) -> Self {
        let inner = match array.data_type() {
            DataType::Dictionary(_, values) => values.as_ref(),
            other => other,
        };
        let strings = || cast(array, &DataType::Utf8).ok().map(|a| a.as_string::<i32>().clone());
        let made = match inner {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => strings().map(Self::Texts),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                cast(array, &DataType::LargeBinary).ok().map(Self::Bytes)
            }
            DataType::Boolean => strings().map(Self::Scalars),
            numeric if numeric.is_numeric() => strings().map(Self::Scalars),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
                Some(Self::Lists(array.clone()))
            }
            _ => None,
        };
        made.unwrap_or_else(|| Self::Other(array.clone(), in_words(inner)))
    }

    fn value(&self, row: usize) -> Value {
        let text = |strings: &StringArray| strings.value(row).to_owned();
        match self {
            Self::Texts(array) if array.is_valid(row) => Value::Text { text: text(array), replaced: false },
            Self::Bytes(array) if array.is_valid(row) => Value::text(array.as_binary::<i64>().value(row)),
            Self::Scalars(array) if array.is_valid(row) => Value::Scalar(text(array)),
            Self::Lists(array) if array.is_valid(row) => {
                item(array, row).map_or(Value::Other(A_LIST), |items| list(&items))
            }
            Self::Other(array, name) if array.is_valid(row) => Value::Other(name),
            _ => Value::Null,
        }
    }
}

fn in_words(kind: &DataType) -> &'static str {
    match kind {
        DataType::Struct(_) => "a structure",
        DataType::Map(_, _) => "a map",
        DataType::Null => "null",
        _ => "of a type that is not text",
    }
}

/// The items of a row of a list.
fn item(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

fn list(items: &ArrayRef) -> Value {
    let kind = items.data_type();
    if kind.is_integer() || *kind == DataType::Boolean {
        let Ok(numbers) = cast(items, &DataType::Int64) else { return Value::Other(A_LIST) };
        // A null among tokens is what a mask leaves out.
        let numbers = numbers.as_primitive::<Int64Type>().iter().map(|n| n.unwrap_or(-1));
        return Value::Integers(numbers.collect());
    }
    let messages = matches!(kind, DataType::Struct(_))
        .then(|| (0..items.len()).map(|i| any(items, i)).collect::<Any>())
        .and_then(Chat::of);
    messages.map_or(Value::Other(A_LIST), Value::Chat)
}

/// A value for a template. Fields that are null are left out of their structure, as Arrow has them in every
/// row and JSON has not.
fn any(array: &ArrayRef, row: usize) -> Any {
    if array.is_null(row) {
        return Any::from(());
    }
    if let DataType::Struct(fields) = array.data_type() {
        let columns = array.as_struct().columns();
        let pairs = fields.iter().zip(columns).filter(|(_, column)| column.is_valid(row));
        return Any::from_pairs(pairs.map(|(field, column)| (field.name().as_str(), any(column, row))));
    }
    if let Some(items) = item(array, row) {
        return (0..items.len()).map(|i| any(&items, i)).collect();
    }
    let one = array.slice(row, 1);
    let text = || cast(&one, &DataType::Utf8).ok().map(|a| a.as_string::<i32>().value(0).to_owned());
    match array.data_type() {
        DataType::Boolean => Any::from(array.as_boolean().value(row)),
        kind if kind.is_integer() => {
            text().and_then(|t| t.parse::<i64>().ok()).map_or(Any::from(()), Any::from)
        }
        kind if kind.is_numeric() => {
            text().and_then(|t| t.parse::<f64>().ok()).map_or(Any::from(()), Any::from)
        }
        _ => text().map_or(Any::from(()), Any::from),
    }
}
