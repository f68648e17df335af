//! What can be an entry of a list of structs: tuples, whose fields are named where the column is declared, and structs that
//! [`entry!`] declares.

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Field, Fields};

use super::Cell;
use crate::error::{Error, Result};

/// A type that is a struct in a list. `names` are those of the fields, for types that do not name them.
pub trait Entry: Sized {
    /// The struct's fields.
    fn fields(names: &[&str]) -> Fields;
    /// Entries as an array.
    fn array(entries: &[&Self], names: &[&str]) -> StructArray;
    /// The entries of the column `column`.
    ///
    /// # Errors
    /// A field that is missing or of a different type.
    fn values(structs: &StructArray, column: &str, names: &[&str]) -> Result<Vec<Self>>;
}

/// A struct field of cells `T`.
pub(crate) fn field<T: Cell>(name: &str) -> Field {
    Field::new(name, T::data_type(&[]), T::NULLABLE)
}

/// The values of a struct field.
pub(crate) fn values<T: Cell>(
    structs: &StructArray,
    column: &str,
    name: &str,
) -> Result<std::vec::IntoIter<T>> {
    let path = format!("{column}.{name}");
    let array: &ArrayRef = structs
        .column_by_name(name)
        .ok_or_else(|| Error::column(&path, T::data_type(&[]).to_string(), "no such field"))?;
    Ok(T::values(array, &path, &[])?.into_iter())
}

macro_rules! tuple {
    ($($type:ident $index:tt),+) => {
        impl<$($type: Cell),+> Entry for ($($type,)+) {
            fn fields(names: &[&str]) -> Fields {
                vec![$(field::<$type>(names[$index]),)+].into()
            }
            fn array(entries: &[&Self], names: &[&str]) -> StructArray {
                let arrays = vec![$($type::array(entries.iter().map(|entry| &entry.$index), &[]),)+];
                StructArray::new(Self::fields(names), arrays, None)
            }
            fn values(structs: &StructArray, column: &str, names: &[&str]) -> Result<Vec<Self>> {
                let mut fields = ($(values::<$type>(structs, column, names[$index])?,)+);
                let next = |_| ($(fields.$index.next().unwrap_or_default(),)+);
                Ok((0..arrow::array::Array::len(structs)).map(next).collect())
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);

/// Declares a struct and makes it an [`Entry`].
macro_rules! entry {
    (
        $(#[doc = $about:literal])*
        $name:ident { $($(#[doc = $doc:literal])* $field:ident: $type:ty,)+ }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)+
        }

        impl $crate::row::Entry for $name {
            fn fields(_: &[&str]) -> arrow::datatypes::Fields {
                vec![$($crate::row::entry_field::<$type>(stringify!($field)),)+].into()
            }
            fn array(entries: &[&Self], names: &[&str]) -> arrow::array::StructArray {
                let arrays = vec![
                    $(<$type as $crate::row::Cell>::array(entries.iter().map(|entry| &entry.$field), &[]),)+
                ];
                arrow::array::StructArray::new(Self::fields(names), arrays, None)
            }
            fn values(
                structs: &arrow::array::StructArray,
                column: &str,
                _: &[&str],
            ) -> $crate::error::Result<Vec<Self>> {
                $(let mut $field = $crate::row::entry_values::<$type>(structs, column, stringify!($field))?;)+
                let next = |_| Self { $($field: $field.next().unwrap_or_default(),)+ };
                Ok((0..arrow::array::Array::len(structs)).map(next).collect())
            }
        }
    };
}
pub(crate) use entry;
