//! What can be a column of a table.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int8Array, ListArray,
    StringArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int8Type, UInt16Type, UInt32Type, UInt64Type};

use super::Entry;
use crate::column::of_array::{
    booleans, nullable_primitive, primitive, spans, strings, structs, texts, vectors,
};
use crate::error::{Error, Result};
use crate::field;

/// A type that is a column. `names` are those of the fields where a cell is a list of tuples, and empty elsewhere.
pub trait Cell: Sized + Default {
    /// Whether a cell may be null.
    const NULLABLE: bool = false;
    /// The column's type.
    fn data_type(names: &[&str]) -> DataType;
    /// Cells as an array.
    fn array<'a>(cells: impl Iterator<Item = &'a Self>, names: &[&str]) -> ArrayRef
    where
        Self: 'a;
    /// The cells of the column `name`.
    ///
    /// # Errors
    /// A column of a different type, a null where there may be none.
    fn values(array: &ArrayRef, name: &str, names: &[&str]) -> Result<Vec<Self>>;
}

macro_rules! number {
    ($native:ty, $type:ty, $array:ty) => {
        impl Cell for $native {
            fn data_type(_: &[&str]) -> DataType {
                <$type as arrow::datatypes::ArrowPrimitiveType>::DATA_TYPE
            }
            fn array<'a>(cells: impl Iterator<Item = &'a Self>, _: &[&str]) -> ArrayRef {
                Arc::new(<$array>::from_iter_values(cells.copied()))
            }
            fn values(array: &ArrayRef, name: &str, _: &[&str]) -> Result<Vec<Self>> {
                Ok(primitive::<$type>(array, name)?.values().to_vec())
            }
        }

        impl Cell for Option<$native> {
            const NULLABLE: bool = true;
            fn data_type(_: &[&str]) -> DataType {
                <$type as arrow::datatypes::ArrowPrimitiveType>::DATA_TYPE
            }
            fn array<'a>(cells: impl Iterator<Item = &'a Self>, _: &[&str]) -> ArrayRef {
                Arc::new(cells.copied().collect::<$array>())
            }
            fn values(array: &ArrayRef, name: &str, _: &[&str]) -> Result<Vec<Self>> {
                let array = nullable_primitive::<$type>(array, name)?;
                Ok((0..array.len()).map(|i| array.is_valid(i).then(|| array.value(i))).collect())
            }
        }
    };
}

number!(i8, Int8Type, Int8Array);
number!(u16, UInt16Type, UInt16Array);
number!(u32, UInt32Type, UInt32Array);
number!(u64, UInt64Type, UInt64Array);
number!(f32, Float32Type, Float32Array);
number!(f64, Float64Type, Float64Array);

macro_rules! numbers {
    ($native:ty, $type:ty, $array:ty) => {
        impl Cell for Vec<$native> {
            fn data_type(_: &[&str]) -> DataType {
                field::list(<$native as Cell>::data_type(&[]))
            }
            fn array<'a>(cells: impl Iterator<Item = &'a Self>, names: &[&str]) -> ArrayRef {
                let (mut lengths, mut all) = (Vec::new(), Vec::new());
                for cell in cells {
                    lengths.push(cell.len());
                    all.extend_from_slice(cell);
                }
                list(<$native as Cell>::data_type(names), lengths, Arc::new(<$array>::from_iter_values(all)))
            }
            fn values(array: &ArrayRef, name: &str, _: &[&str]) -> Result<Vec<Self>> {
                vectors::<$type>(array, name)
            }
        }
    };
}

numbers!(u16, UInt16Type, UInt16Array);
numbers!(u32, UInt32Type, UInt32Array);
numbers!(f32, Float32Type, Float32Array);

fn list(data_type: DataType, lengths: Vec<usize>, values: ArrayRef) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(field::element(data_type), offsets, values, None))
}

/// A list of structs.
impl<T: Entry> Cell for Vec<T> {
    fn data_type(names: &[&str]) -> DataType {
        field::list(DataType::Struct(T::fields(names)))
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>, names: &[&str]) -> ArrayRef
    where
        Self: 'a,
    {
        let cells: Vec<&Self> = cells.collect();
        let entries: Vec<&T> = cells.iter().flat_map(|cell| cell.iter()).collect();
        let lengths = cells.iter().map(|cell| cell.len()).collect();
        list(DataType::Struct(T::fields(names)), lengths, Arc::new(T::array(&entries, names)))
    }
    fn values(array: &ArrayRef, name: &str, names: &[&str]) -> Result<Vec<Self>> {
        let (list, structs) = structs(array, name)?;
        let mut entries = T::values(structs, name, names)?.into_iter();
        let mut skipped = 0;
        let cells = spans(list).map(|span| {
            // A sliced list begins inside its values.
            entries.by_ref().take(span.start - skipped).for_each(drop);
            skipped = span.end;
            entries.by_ref().take(span.len()).collect()
        });
        Ok(cells.collect())
    }
}

/// Bytes.
impl Cell for Vec<u8> {
    fn data_type(_: &[&str]) -> DataType {
        DataType::Binary
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>, _: &[&str]) -> ArrayRef {
        Arc::new(BinaryArray::from_iter_values(cells))
    }
    fn values(array: &ArrayRef, name: &str, _: &[&str]) -> Result<Vec<Self>> {
        let bytes = array
            .as_binary_opt::<i32>()
            .ok_or_else(|| Error::column(name, "Binary", array.data_type().to_string()))?;
        Ok((0..bytes.len()).map(|row| bytes.value(row).to_vec()).collect())
    }
}

impl Cell for bool {
    fn data_type(_: &[&str]) -> DataType {
        DataType::Boolean
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>, _: &[&str]) -> ArrayRef {
        Arc::new(cells.map(|cell| Some(*cell)).collect::<BooleanArray>())
    }
    fn values(array: &ArrayRef, name: &str, _: &[&str]) -> Result<Vec<Self>> {
        Ok(booleans(array, name)?.values().iter().collect())
    }
}

impl Cell for String {
    fn data_type(_: &[&str]) -> DataType {
        DataType::Utf8
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>, _: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(cells))
    }
    fn values(array: &ArrayRef, name: &str, _: &[&str]) -> Result<Vec<Self>> {
        strings(array, name)
    }
}

impl Cell for Option<String> {
    const NULLABLE: bool = true;
    fn data_type(_: &[&str]) -> DataType {
        DataType::Utf8
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>, _: &[&str]) -> ArrayRef {
        Arc::new(cells.map(Option::as_deref).collect::<StringArray>())
    }
    fn values(array: &ArrayRef, name: &str, _: &[&str]) -> Result<Vec<Self>> {
        Ok(texts(array, name)?.iter().map(|text| text.map(str::to_owned)).collect())
    }
}
