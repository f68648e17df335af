//! `activations-NNNNN.parquet`: one row a token, in (document, position) order.

use arrow::datatypes::{DataType, Field, SchemaRef};

use super::{DOCUMENT, DOMAIN, POSITION, TOKEN, column, dictionary_text, fixed_size_list, schema};
use crate::{Dtype, RowsAre};

/// `activation`: the value at the hook, `[d_model]`.
pub const ACTIVATION: &str = "activation";
/// `gradient`: d(sum of next-token cross-entropy) / d(activation), `[d_model]`, always f32. Optional.
pub const GRADIENT: &str = "gradient";

/// `x`: column of a patch's left pixels in its picture.
pub const X: &str = "x";
/// `y`: row of a patch's upper pixels in its picture.
pub const Y: &str = "y";

/// document u32, position u32, token u32, domain, activation `[d_model]` of `dtype`, and gradient if asked.
pub fn activations(d_model: usize, dtype: Dtype, with_gradient: bool) -> SchemaRef {
    let mut fields = fields(RowsAre::Tokens, d_model, dtype);
    if with_gradient {
        fields.push(column(GRADIENT, fixed_size_list(DataType::Float32, d_model)));
    }
    schema(fields)
}

/// As [`activations`] for rows that may be no tokens: without `token` then, and for patches with x u32 and y u32 at the end.
pub fn activations_of(rows_are: RowsAre, d_model: usize, dtype: Dtype) -> SchemaRef {
    let mut fields = fields(rows_are, d_model, dtype);
    if rows_are == RowsAre::Patches {
        fields.extend([column(X, DataType::UInt32), column(Y, DataType::UInt32)]);
    }
    schema(fields)
}

fn fields(rows_are: RowsAre, d_model: usize, dtype: Dtype) -> Vec<Field> {
    let token = rows_are.tokens().then(|| column(TOKEN, DataType::UInt32));
    let first = [column(DOCUMENT, DataType::UInt32), column(POSITION, DataType::UInt32)];
    let last =
        [column(DOMAIN, dictionary_text()), column(ACTIVATION, fixed_size_list(dtype.data_type(), d_model))];
    first.into_iter().chain(token).chain(last).collect()
}
