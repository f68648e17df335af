//! `features/activations-NNNNN.parquet`: the codes, sorted by (feature, document, position).

use arrow::datatypes::{DataType, SchemaRef};

use super::{DOCUMENT, FEATURE, POSITION, column, schema};

/// `value`: the feature's activation there, > 0.
pub const VALUE: &str = "value";

/// feature u32, document u32, position u32, value f32.
pub fn feature_activations() -> SchemaRef {
    schema(vec![
        column(FEATURE, DataType::UInt32),
        column(DOCUMENT, DataType::UInt32),
        column(POSITION, DataType::UInt32),
        column(VALUE, DataType::Float32),
    ])
}
