//! Tables whose columns are the fields of a Rust struct: one declaration gives the schema, the writer and the reader.
//!
//! A number that may be missing is an `Option` and a nullable column. [`crate::experts`] declares its tables so.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Float32Array, Float64Array, StringArray, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, SchemaRef, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::record_batch::RecordBatch;

use crate::column::{self, booleans, nullable_primitive, primitive, strings, strings_or_null, texts};
use crate::error::Result;
use crate::manifest::Part;
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter, schema};

/// A struct that is a row of a table.
pub trait Row: Sized {
    /// Columns in order.
    fn fields() -> Vec<Field>;
    /// The columns of these rows, in the order of [`Row::fields`].
    fn columns(rows: &[Self]) -> Vec<ArrayRef>;
    /// Appends the rows of a batch.
    fn append(batch: &RecordBatch, rows: &mut Vec<Self>) -> Result<()>;

    /// The table's schema.
    fn schema() -> SchemaRef {
        schema::schema(Self::fields())
    }
}

/// A type that is a column.
pub trait Cell: Sized {
    /// The column `name`.
    fn field(name: &str) -> Field;
    /// Its values as an array.
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
    /// Its values in a batch.
    fn values(batch: &RecordBatch, name: &str) -> Result<Vec<Self>>;
}

macro_rules! number {
    ($native:ty, $type:ty, $array:ty, $data_type:expr) => {
        impl Cell for $native {
            fn field(name: &str) -> Field {
                Field::new(name, $data_type, false)
            }
            fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                Arc::new(<$array>::from_iter_values(values.copied()))
            }
            fn values(batch: &RecordBatch, name: &str) -> Result<Vec<Self>> {
                Ok(primitive::<$type>(batch, name)?.values().to_vec())
            }
        }

        impl Cell for Option<$native> {
            fn field(name: &str) -> Field {
                Field::new(name, $data_type, true)
            }
            fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                Arc::new(values.copied().collect::<$array>())
            }
            fn values(batch: &RecordBatch, name: &str) -> Result<Vec<Self>> {
                nullable::<$type>(batch, name)
            }
        }
    };
}

fn nullable<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str) -> Result<Vec<Option<T::Native>>> {
    let array = nullable_primitive::<T>(batch, name)?;
    Ok((0..array.len()).map(|i| array.is_valid(i).then(|| array.value(i))).collect())
}

number!(u16, UInt16Type, UInt16Array, DataType::UInt16);
number!(u32, UInt32Type, UInt32Array, DataType::UInt32);
number!(u64, UInt64Type, UInt64Array, DataType::UInt64);
number!(f32, Float32Type, Float32Array, DataType::Float32);
number!(f64, Float64Type, Float64Array, DataType::Float64);

impl Cell for bool {
    fn field(name: &str) -> Field {
        Field::new(name, DataType::Boolean, false)
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(values.map(|v| Some(*v)).collect::<BooleanArray>())
    }
    fn values(batch: &RecordBatch, name: &str) -> Result<Vec<Self>> {
        Ok(booleans(batch, name)?.values().iter().collect())
    }
}

impl Cell for String {
    fn field(name: &str) -> Field {
        Field::new(name, DataType::Utf8, false)
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
    fn values(batch: &RecordBatch, name: &str) -> Result<Vec<Self>> {
        strings(batch, name)
    }
}

impl Cell for Option<String> {
    fn field(name: &str) -> Field {
        Field::new(name, DataType::Utf8, true)
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(values.map(Option::as_deref).collect::<StringArray>())
    }
    fn values(batch: &RecordBatch, name: &str) -> Result<Vec<Self>> {
        Ok(strings_or_null(&texts(batch, name)?).collect())
    }
}

/// Declares a struct and makes it a [`Row`].
macro_rules! row {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        pub struct $name {
            $($(#[$about])* pub $field: $type,)+
        }

        impl $crate::row::Row for $name {
            fn fields() -> Vec<arrow::datatypes::Field> {
                vec![$(<$type as $crate::row::Cell>::field(stringify!($field)),)+]
            }

            fn columns(rows: &[Self]) -> Vec<arrow::array::ArrayRef> {
                vec![$(<$type as $crate::row::Cell>::array(rows.iter().map(|row| &row.$field)),)+]
            }

            fn append(
                batch: &arrow::record_batch::RecordBatch,
                rows: &mut Vec<Self>,
            ) -> $crate::error::Result<()> {
                $(let $field = <$type as $crate::row::Cell>::values(batch, stringify!($field))?;)+
                rows.extend((0..batch.num_rows()).map(|i| Self { $($field: $field[i].clone(),)+ }));
                Ok(())
            }
        }
    };
}
pub(crate) use row;

/// Rows that are gathered before they are written.
const BATCH: usize = 64 << 10;

/// Writes rows as they come.
#[derive(Debug)]
pub struct RowWriter<R> {
    part: PartWriter,
    schema: SchemaRef,
    rows: PhantomData<R>,
}

impl<R: Row> RowWriter<R> {
    /// Begins the file of a small table.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_in(path, &Layout::small_table())
    }

    /// Begins the file in a layout of its own.
    pub fn create_in(path: &Path, layout: &Layout) -> Result<Self> {
        let schema = R::schema();
        let part = PartWriter::create(path, schema.clone(), layout)?;
        Ok(Self { part, schema, rows: PhantomData })
    }

    /// Appends rows.
    pub fn append(&mut self, rows: &[R]) -> Result<()> {
        for rows in rows.chunks(BATCH) {
            self.part.write(&column::batch(self.schema.clone(), R::columns(rows))?)?;
        }
        Ok(())
    }

    /// Closes the file; before that nobody sees it.
    pub fn finish(self) -> Result<Part> {
        self.part.finish()
    }
}

/// Writes the rows as one file.
pub fn write<R: Row>(path: &Path, rows: &[R]) -> Result<Part> {
    let mut writer = RowWriter::create(path)?;
    writer.append(rows)?;
    writer.finish()
}

/// Opens one file as a table of such rows.
pub fn open<R: Row>(path: &Path) -> Result<TableReader> {
    TableReader::open_file(path, &R::schema())
}

/// Reads the rows that `scan` describes; its columns are left aside, a row has all of them.
pub fn read<R: Row>(reader: &TableReader, scan: Scan) -> Result<Vec<R>> {
    let columns = R::fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = Vec::new();
    reader.each(Scan { columns: Some(columns), ..scan }, |batch| R::append(batch, &mut rows))?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    row! {
        /// Everything a column can be.
        Sample {
            /// A.
            small: u16,
            /// B.
            wide: Option<u64>,
            /// C.
            ratio: Option<f64>,
            /// D.
            flag: bool,
            /// E.
            name: Option<String>,
        }
    }

    #[test]
    fn rows_come_back_and_gaps_stay_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.parquet");
        let rows: Vec<Sample> = (0..5000u16)
            .map(|i| Sample {
                small: i,
                wide: (i % 3 == 0).then_some(u64::from(i) << 40),
                ratio: (i % 2 == 0).then(|| f64::from(i).sqrt()),
                flag: i % 5 == 0,
                name: (i % 7 != 0).then(|| format!("n{i}")),
            })
            .collect();
        assert_eq!(write(&path, &rows).unwrap().rows, 5000);
        let table = open::<Sample>(&path).unwrap();
        assert_eq!(read::<Sample>(&table, Scan::default()).unwrap(), rows);
        let scan = Scan { range: Some(("small".into(), 10, 12)), ..Scan::default() };
        assert_eq!(read::<Sample>(&table, scan).unwrap(), rows[10..13]);
        assert_eq!(Sample::fields()[1], Field::new("wide", DataType::UInt64, true));
    }
}
