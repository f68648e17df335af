//! `whitening.parquet`: one row per component of a whitened activation, in order.

use arrow::datatypes::{DataType, SchemaRef};

use super::{Column, documented, fixed_size_list, schema_of};

const COMPONENT: &str = "component";
pub(crate) const MEAN: &str = "mean";
pub(crate) const WHITEN: &str = "whiten";
pub(crate) const RESTORE: &str = "restore";

/// The table for activations of `d_model` numbers.
pub fn whitening(d_model: usize) -> SchemaRef {
    schema_of(columns(d_model))
}

pub(crate) fn columns(d_model: usize) -> Vec<Column> {
    let row = || fixed_size_list(DataType::Float32, d_model);
    vec![
        documented(COMPONENT, DataType::UInt32, "Number of the component, from 0."),
        documented(MEAN, DataType::Float32, "Its mean before whitening."),
        documented(WHITEN, row(), "Its row of W, `[d_model]`: activations are W (x − mean)."),
        documented(RESTORE, row(), "Its row of W⁻¹, `[d_model]`: x = W⁻¹ activation + mean."),
    ]
}
