//! Tables whose columns are the fields of a Rust struct: one declaration gives the schema, the writer, the reader and the
//! documentation.
//!
//! ```text
//! row! {
//!     /// What a row of the table is.
//!     #[layout(feature_rows)]              optional: how its bytes lie in the file (a preset of `Layout`)
//!     FeatureRow columns FeatureColumns {  optional: a struct of arrays with the same columns
//!         /// What the column holds, with its unit.
//!         feature: u32,
//!         /// A column whose name is not a Rust name.
//!         l0 as "metrics/l0": Option<f32>,
//!         /// A list of structs; the names are those of their fields.
//!         fires_on [token, count]: Vec<(u32, u32)>,
//!     }
//! }
//! ```
//!
//! A number that may be missing is an `Option` and a nullable column, several numbers are a `Vec` and a list, bytes are a
//! `Vec<u8>` and binary. What else can be a column is what implements [`Cell`].

mod cell;
mod entry;

use std::marker::PhantomData;
use std::path::Path;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::column;
use crate::error::Result;
use crate::field::{self, FEATURE};
use crate::manifest::Part;
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter};

pub use cell::Cell;
pub use entry::Entry;
pub(crate) use entry::{entry, field as entry_field, values as entry_values};

/// A struct that is a row of a table.
pub trait Row: Sized {
    /// What a row is.
    const ABOUT: &'static str;
    /// What each column holds, in the order of [`Row::fields`].
    const DOCS: &'static [&'static str];

    /// Columns in order.
    fn fields() -> Vec<Field>;
    /// The columns of these rows, in the order of [`Row::fields`].
    fn columns(rows: &[Self]) -> Vec<ArrayRef>;
    /// Appends the rows of a batch.
    ///
    /// # Errors
    /// A column that is missing or of a different type, a null where there may be none.
    fn append(batch: &RecordBatch, rows: &mut Vec<Self>) -> Result<()>;

    /// How the bytes of the table lie in its file.
    fn layout() -> Layout {
        Layout::small_table()
    }

    /// The table's schema.
    fn schema() -> SchemaRef {
        field::schema(Self::fields())
    }
}

/// Declares a struct and makes it a [`Row`]; the syntax is that of the example above.
macro_rules! row {
    ($(#[$($meta:tt)*])* $name:ident columns $columns:ident { $($body:tt)+ }) => {
        $crate::row::row! { $(#[$($meta)*])* $name { $($body)+ } }
        $crate::row::columns! { $name $columns { $($body)+ } }
    };
    (
        $(#[doc = $about:literal])*
        $(#[layout($layout:ident)])?
        $(#[derive($($derive:path),+)])?
        $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field:ident $(as $column:literal)? $([$($inner:ident),+])?: $type:ty,
            )+
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        $(#[derive($($derive),+)])?
        pub struct $name {
            $(
                $(#[doc = $doc])*
                $(#[serde(rename = $column)])?
                pub $field: $type,
            )+
        }

        impl $crate::row::Row for $name {
            const ABOUT: &'static str = concat!($($about, "\n",)*);
            const DOCS: &'static [&'static str] = &[$(concat!($($doc, "\n",)*),)+];

            fn fields() -> Vec<arrow::datatypes::Field> {
                vec![$($crate::row::field::<$type>(
                    $crate::row::column_name!($field $($column)?),
                    &[$($(stringify!($inner)),+)?],
                ),)+]
            }

            fn columns(rows: &[Self]) -> Vec<arrow::array::ArrayRef> {
                vec![$(<$type as $crate::row::Cell>::array(
                    rows.iter().map(|row| &row.$field),
                    &[$($(stringify!($inner)),+)?],
                ),)+]
            }

            fn append(
                batch: &arrow::record_batch::RecordBatch,
                rows: &mut Vec<Self>,
            ) -> $crate::error::Result<()> {
                $(
                    let mut $field = $crate::row::values::<$type>(
                        batch,
                        $crate::row::column_name!($field $($column)?),
                        &[$($(stringify!($inner)),+)?],
                    )?
                    .into_iter();
                )+
                rows.reserve(batch.num_rows());
                for _ in 0..batch.num_rows() {
                    rows.push(Self { $($field: $field.next().unwrap_or_default(),)+ });
                }
                Ok(())
            }

            $(fn layout() -> $crate::Layout {
                $crate::Layout::$layout()
            })?
        }
    };
}
pub(crate) use row;

/// Name of the column of a field: its own unless another is given.
macro_rules! column_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $column:literal) => {
        $column
    };
}
pub(crate) use column_name;

/// Declares the struct of arrays that goes with a row; part of [`row!`].
macro_rules! columns {
    (
        $row:ident $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field:ident $(as $column:literal)? $([$($inner:ident),+])?: $type:ty,
            )+
        }
    ) => {
        #[doc = concat!("The columns of [`", stringify!($row), "`], one value per row in each; a column that was not read is empty.")]
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                pub $field: Vec<$type>,
            )+
        }

        impl $name {
            /// Appends the columns that `batch` has.
            ///
            /// # Errors
            /// When a column has another type.
            pub fn append(&mut self, batch: &arrow::record_batch::RecordBatch) -> $crate::error::Result<()> {
                $(
                    let name = $crate::row::column_name!($field $($column)?);
                    if batch.column_by_name(name).is_some() {
                        let names: &[&str] = &[$($(stringify!($inner)),+)?];
                        self.$field.extend($crate::row::values::<$type>(batch, name, names)?);
                    }
                )+
                Ok(())
            }

            /// Reads the columns `names` in one streamed pass.
            ///
            /// # Errors
            /// When the table cannot be read or has no such column.
            pub fn read(reader: &$crate::TableReader, names: &[&str]) -> $crate::error::Result<Self> {
                let mut read = Self::default();
                reader.each($crate::Scan::of(names), |batch| read.append(batch))?;
                Ok(read)
            }

            /// Reads all columns in one streamed pass.
            ///
            /// # Errors
            /// When the table cannot be read.
            pub fn read_all(reader: &$crate::TableReader) -> $crate::error::Result<Self> {
                let fields = <$row as $crate::row::Row>::fields();
                Self::read(reader, &fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>())
            }

            /// Reads the columns that are not lists: what is needed to sort, filter and search.
            ///
            /// # Errors
            /// When the table cannot be read.
            pub fn read_scalars(reader: &$crate::TableReader) -> $crate::error::Result<Self> {
                let fields = <$row as $crate::row::Row>::fields();
                let scalars = fields.iter().filter(|field| !field.data_type().is_nested());
                Self::read(reader, &scalars.map(|field| field.name().as_str()).collect::<Vec<_>>())
            }
        }
    };
}
pub(crate) use columns;

/// The column `name` of cells `T`.
pub(crate) fn field<T: Cell>(name: &str, inner: &[&str]) -> Field {
    Field::new(name, T::data_type(inner), T::NULLABLE)
}

/// The cells of the column `name` of a batch.
pub(crate) fn values<T: Cell>(batch: &RecordBatch, name: &str, inner: &[&str]) -> Result<Vec<T>> {
    T::values(column::find(batch, name)?, name, inner)
}

/// Rows that are turned into a batch at a time.
const BATCH: usize = 64 << 10;

/// Writes rows as they come.
#[derive(Debug)]
pub struct RowWriter<R> {
    part: PartWriter,
    schema: SchemaRef,
    rows: PhantomData<R>,
}

impl<R: Row> RowWriter<R> {
    /// Begins the file of a table, in the layout that is declared for it.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_as(path, &R::layout())
    }

    /// Begins the file in a different layout.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create_as(path: &Path, layout: &Layout) -> Result<Self> {
        let schema = R::schema();
        let part = PartWriter::create(path, schema.clone(), layout)?;
        Ok(Self { part, schema, rows: PhantomData })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, rows: &[R]) -> Result<()> {
        for rows in rows.chunks(BATCH) {
            self.part.write(&column::batch(self.schema.clone(), R::columns(rows))?)?;
        }
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.part.rows()
    }

    /// Closes the file; before that nobody sees it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<Part> {
        self.part.finish()
    }
}

/// Rows that a [`RowQueue`] gathers.
const QUEUE: usize = 4096;

/// Writes rows that come one by one.
#[derive(Debug)]
pub struct RowQueue<R> {
    writer: RowWriter<R>,
    waiting: Vec<R>,
}

impl<R: Row> RowQueue<R> {
    /// Begins the file of a table, in the layout that is declared for it.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { writer: RowWriter::create(path)?, waiting: Vec::new() })
    }

    /// Appends the next row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, row: R) -> Result<()> {
        self.waiting.push(row);
        if self.waiting.len() == QUEUE { self.flush() } else { Ok(()) }
    }

    /// Rows appended so far: the next one's row number.
    pub fn rows(&self) -> u64 {
        self.writer.rows() + self.waiting.len() as u64
    }

    /// Writes what waits and closes the file; before that nobody sees it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<Part> {
        self.flush()?;
        self.writer.finish()
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.append(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

/// The rows as one batch, for a [`PartWriter`].
///
/// # Errors
/// When a row does not fit the schema.
pub fn batch<R: Row>(rows: &[R]) -> Result<RecordBatch> {
    column::batch(R::schema(), R::columns(rows))
}

/// Writes the rows as one file.
///
/// # Errors
/// When the file cannot be written.
pub fn write<R: Row>(path: &Path, rows: &[R]) -> Result<Part> {
    let mut writer = RowWriter::create(path)?;
    writer.append(rows)?;
    writer.finish()
}

/// Opens one file as a table of such rows.
///
/// # Errors
/// When the file is not there, is not Parquet, or lacks a column.
pub fn open<R: Row>(path: &Path) -> Result<TableReader> {
    TableReader::open_file(path, &R::schema())
}

/// Reads the rows that `scan` describes; its columns are left aside, a row has all of them.
///
/// # Errors
/// When the file cannot be read.
pub fn read<R: Row>(reader: &TableReader, scan: Scan) -> Result<Vec<R>> {
    let columns = R::fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = Vec::new();
    reader.each(Scan { columns: Some(columns), ..scan }, |batch| R::append(batch, &mut rows))?;
    Ok(rows)
}

/// The rows of one feature, in the file's order, from a table that is sorted by feature. Only its row groups and pages are
/// read.
///
/// # Errors
/// When the file cannot be read.
pub fn read_feature<R: Row>(reader: &TableReader, feature: u32) -> Result<Vec<R>> {
    let range = Some((FEATURE.to_owned(), u64::from(feature), u64::from(feature)));
    read(reader, Scan { range, ..Scan::default() })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    row! {
        /// Everything a column can be.
        #[layout(feature_rows)]
        Sample columns SampleColumns {
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
            /// F.
            below: i8,
            /// G.
            whole: Vec<u32>,
            /// H,
            /// on two lines.
            real as "a/real": Vec<f32>,
            /// I.
            pairs [token, lift]: Vec<(u32, f32)>,
            /// J.
            bytes: Vec<u8>,
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
                below: (i % 5) as i8 - 2,
                whole: (0..u32::from(i % 4)).map(|n| n + u32::from(i)).collect(),
                real: (0..i % 3).map(|n| f32::from(n) / 8.0).collect(),
                pairs: (0..i % 4).map(|n| (u32::from(n), f32::from(i) / 4.0)).collect(),
                bytes: (0..(i % 6) as u8).map(|n| n * 50).collect(),
            })
            .collect();
        assert_eq!(write(&path, &rows).unwrap().rows, 5000);
        let table = open::<Sample>(&path).unwrap();
        assert_eq!(read::<Sample>(&table, Scan::default()).unwrap(), rows);
        let scan = Scan { range: Some(("small".into(), 10, 12)), ..Scan::default() };
        assert_eq!(read::<Sample>(&table, scan).unwrap(), rows[10..13]);
        assert_eq!(Sample::fields()[1], Field::new("wide", DataType::UInt64, true));
        assert_eq!(Sample::fields()[7].name(), "a/real");
        assert_eq!(
            (Sample::ABOUT, Sample::DOCS[7]),
            (" Everything a column can be.\n", " H,\n on two lines.\n")
        );

        let columns = SampleColumns::read_scalars(&table).unwrap();
        assert_eq!(columns.name, rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>());
        assert!(columns.pairs.is_empty() && columns.bytes.len() == 5000);
        let columns = SampleColumns::read(&table, &["pairs"]).unwrap();
        assert_eq!(columns.pairs, rows.iter().map(|row| row.pairs.clone()).collect::<Vec<_>>());
        assert!(columns.small.is_empty());
        assert_eq!(SampleColumns::read_all(&table).unwrap().below.len(), 5000);
    }
}
