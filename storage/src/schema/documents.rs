//! `documents.parquet`: one row a document, in order.

use arrow::datatypes::{DataType, SchemaRef};

use super::{DOCUMENT, DOMAIN, column, schema};

/// `name`: what the document is called.
pub const NAME: &str = "name";
/// `source`: the file it came from.
pub const SOURCE: &str = "source";
/// `held_out`: never trained on.
pub const HELD_OUT: &str = "held_out";
/// `first_row`: its first row in `activations`.
pub const FIRST_ROW: &str = "first_row";
/// `tokens`: its number of rows there.
pub const TOKENS: &str = "tokens";

/// document u32, name utf8, source utf8, domain utf8, held_out bool, first_row u64, tokens u32.
pub fn documents() -> SchemaRef {
    schema(vec![
        column(DOCUMENT, DataType::UInt32),
        column(NAME, DataType::Utf8),
        column(SOURCE, DataType::Utf8),
        column(DOMAIN, DataType::Utf8),
        column(HELD_OUT, DataType::Boolean),
        column(FIRST_ROW, DataType::UInt64),
        column(TOKENS, DataType::UInt32),
    ])
}
