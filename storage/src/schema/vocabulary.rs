//! `vocabulary.parquet`: token → text, one row a token in the order of ids.

use arrow::datatypes::{DataType, SchemaRef};

use super::{TOKEN, column, schema};

/// `text`: what the token shows as; bytes that are no UTF-8 as ‹xx›.
pub const TEXT: &str = "text";
/// `bytes`: the bytes that the token stands for.
pub const BYTES: &str = "bytes";

/// token u32, text utf8, bytes binary.
pub fn vocabulary() -> SchemaRef {
    schema(vec![
        column(TOKEN, DataType::UInt32),
        column(TEXT, DataType::Utf8),
        column(BYTES, DataType::Binary),
    ])
}
