//! `activations-NNNNN.parquet`: one row a token, in (document, position) order.

use arrow::datatypes::{DataType, SchemaRef};

use super::{DOCUMENT, DOMAIN, POSITION, TOKEN, column, dictionary_text, fixed_size_list, schema};
use crate::Dtype;

/// `activation`: the value at the hook, `[d_model]`.
pub const ACTIVATION: &str = "activation";
/// `gradient`: d(sum of next-token cross-entropy) / d(activation), `[d_model]`, always f32. Optional.
pub const GRADIENT: &str = "gradient";

/// document u32, position u32, token u32, domain, activation `[d_model]` of `dtype`, and gradient if asked.
pub fn activations(d_model: usize, dtype: Dtype, with_gradient: bool) -> SchemaRef {
    let mut fields = vec![
        column(DOCUMENT, DataType::UInt32),
        column(POSITION, DataType::UInt32),
        column(TOKEN, DataType::UInt32),
        column(DOMAIN, dictionary_text()),
        column(ACTIVATION, fixed_size_list(dtype.data_type(), d_model)),
    ];
    if with_gradient {
        fields.push(column(GRADIENT, fixed_size_list(DataType::Float32, d_model)));
    }
    schema(fields)
}
