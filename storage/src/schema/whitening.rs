//! `whitening.parquet`: one row a component of a whitened activation, in order.

use arrow::datatypes::{DataType, SchemaRef};

use super::{column, fixed_size_list, schema};

/// `component`: number of the component.
pub const COMPONENT: &str = "component";
/// `mean`: its mean before whitening.
pub const MEAN: &str = "mean";
/// `whiten`: its row of W, `[d]`.
pub const WHITEN: &str = "whiten";
/// `restore`: its row of W⁻¹, `[d]`.
pub const RESTORE: &str = "restore";

/// component u32, mean f32, whiten `[d]` f32, restore `[d]` f32.
pub fn whitening(d_model: usize) -> SchemaRef {
    schema(vec![
        column(COMPONENT, DataType::UInt32),
        column(MEAN, DataType::Float32),
        column(WHITEN, fixed_size_list(DataType::Float32, d_model)),
        column(RESTORE, fixed_size_list(DataType::Float32, d_model)),
    ])
}
