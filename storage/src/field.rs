//! Names of tables and of the columns that rows are found by, and the types that columns are made of.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

/// Name of the table of activations.
pub const ACTIVATIONS: &str = "activations";
/// Name of the table of experts' choices.
pub const ROUTING: &str = "routing";
/// Name of the table token → text.
pub const VOCABULARY: &str = "vocabulary";
/// Name of the table of documents.
pub const DOCUMENTS: &str = "documents";
/// Name of the table that undoes a whitening.
pub const WHITENING: &str = "whitening";
/// Name of the table of the codes that made the rows of a world.
pub const TRUTH: &str = "truth";

/// Tables that fit into one file, which then has no number: `vocabulary.parquet`.
pub const SINGLE_FILE: [&str; 3] = [VOCABULARY, DOCUMENTS, WHITENING];

/// The column `document`.
pub const DOCUMENT: &str = "document";
/// The column `position`.
pub const POSITION: &str = "position";
/// The column `token`.
pub const TOKEN: &str = "token";
/// The column `feature`.
pub const FEATURE: &str = "feature";
/// The column `domain`.
pub const DOMAIN: &str = "domain";
/// The column `layer`.
pub const LAYER: &str = "layer";
/// The column `expert`.
pub const EXPERT: &str = "expert";

/// A column and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name and type, and whether it may be null.
    pub field: Field,
    /// What it holds, with its unit.
    pub about: &'static str,
}

/// A column that is never null.
pub(crate) fn column(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// A column that is never null, and what it holds.
pub(crate) fn documented(name: &str, data_type: DataType, about: &'static str) -> Column {
    Column { field: column(name, data_type), about }
}

/// The schema of documented columns.
pub(crate) fn schema_of(columns: Vec<Column>) -> SchemaRef {
    schema(columns.into_iter().map(|column| column.field).collect())
}

/// The inner field of every list.
pub(crate) fn element(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, false))
}

/// `List<data_type>`, nothing null.
pub(crate) fn list(data_type: DataType) -> DataType {
    DataType::List(element(data_type))
}

/// `FixedSizeList<data_type, width>`, nothing null.
pub(crate) fn fixed_size_list(data_type: DataType, width: usize) -> DataType {
    DataType::FixedSizeList(element(data_type), i32::try_from(width).unwrap_or(i32::MAX))
}

/// utf8 with few different values: stored and read as a dictionary.
pub(crate) fn dictionary_text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

pub(crate) fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}
