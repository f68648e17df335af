//! `features/codes-NNNNN.parquet`: the codes again, one row a token, in (document, position) order.

use arrow::datatypes::{DataType, SchemaRef};

use super::{DOCUMENT, POSITION, column, list, schema};

/// `features`: the features that fire on the token, ascending.
pub const FEATURES: &str = "features";
/// `values`: their activations, all > 0.
pub const VALUES: &str = "values";

/// document u32, position u32, features `List<u32>`, values `List<f32>`.
pub fn codes() -> SchemaRef {
    schema(vec![
        column(DOCUMENT, DataType::UInt32),
        column(POSITION, DataType::UInt32),
        column(FEATURES, list(DataType::UInt32)),
        column(VALUES, list(DataType::Float32)),
    ])
}
