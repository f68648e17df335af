//! `features/examples.parquet`: windows of text around tokens that a feature fires on.

use arrow::datatypes::{DataType, SchemaRef};

use super::{DOCUMENT, FEATURE, POSITION, column, list, schema};

/// `interval`: 0 = the strongest, 1…5 = fifths of (0, max] from the strongest down, −1 = random.
pub const INTERVAL: &str = "interval";
/// `rank`: place inside its interval, from 0.
pub const RANK: &str = "rank";
/// `value`: activation at `position`, the token that the example is about.
pub const VALUE: &str = "value";
/// `start`: position of the window's first token.
pub const START: &str = "start";
/// `tokens`: the window.
pub const TOKENS: &str = "tokens";
/// `values`: the feature's activation at every token of the window.
pub const VALUES: &str = "values";

/// feature u32, interval i8, rank u16, document u32, position u32, value f32, start u32, tokens `List<u32>`,
/// values `List<f32>`.
pub fn examples() -> SchemaRef {
    schema(vec![
        column(FEATURE, DataType::UInt32),
        column(INTERVAL, DataType::Int8),
        column(RANK, DataType::UInt16),
        column(DOCUMENT, DataType::UInt32),
        column(POSITION, DataType::UInt32),
        column(VALUE, DataType::Float32),
        column(START, DataType::UInt32),
        column(TOKENS, list(DataType::UInt32)),
        column(VALUES, list(DataType::Float32)),
    ])
}
