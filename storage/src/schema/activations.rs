//! `activations-NNNNN.parquet`: the value of a hook at every row.

use arrow::datatypes::{DataType, SchemaRef};

use super::{
    Column, DOCUMENT, DOMAIN, POSITION, TOKEN, dictionary_text, documented, fixed_size_list, schema_of,
};
use crate::{Dtype, RowsAre};

/// The column `activation`.
pub const ACTIVATION: &str = "activation";
/// The column `gradient`.
pub const GRADIENT: &str = "gradient";
/// The column `x`.
pub const X: &str = "x";
/// The column `y`.
pub const Y: &str = "y";

/// The table of tokens with activations `[d_model]` of `dtype`, and gradients if asked.
pub fn activations(d_model: usize, dtype: Dtype, with_gradient: bool) -> SchemaRef {
    let mut all = columns(RowsAre::Tokens, d_model, dtype);
    all.extend(with_gradient.then(|| gradient(d_model)));
    schema_of(all)
}

/// As [`activations`] for rows that may be no tokens: without `token` then, and for patches with `x` and `y` at the end.
pub fn activations_of(rows_are: RowsAre, d_model: usize, dtype: Dtype) -> SchemaRef {
    schema_of(columns(rows_are, d_model, dtype))
}

pub(crate) fn columns(rows_are: RowsAre, d_model: usize, dtype: Dtype) -> Vec<Column> {
    let token = documented(TOKEN, DataType::UInt32, "Id of the token. Only where rows are tokens.");
    let first = [
        documented(DOCUMENT, DataType::UInt32, "Number of the document, from 0."),
        documented(
            POSITION,
            DataType::UInt32,
            "Number of the token in its document, from 0; BOS is not counted.",
        ),
    ];
    let last = [
        documented(DOMAIN, dictionary_text(), "What kind of text the document is."),
        documented(
            ACTIVATION,
            fixed_size_list(dtype.data_type(), d_model),
            "The value at the hook, `[d_model]`, of the manifest's `dtype`.",
        ),
    ];
    let corner = [
        documented(X, DataType::UInt32, "Column of the patch's left pixels in its picture. Only patches."),
        documented(Y, DataType::UInt32, "Row of the patch's upper pixels in its picture. Only patches."),
    ];
    let token = rows_are.tokens().then_some(token);
    let corner = if rows_are == RowsAre::Patches { corner.into() } else { Vec::new() };
    first.into_iter().chain(token).chain(last).chain(corner).collect()
}

pub(crate) fn gradient(d_model: usize) -> Column {
    documented(
        GRADIENT,
        fixed_size_list(DataType::Float32, d_model),
        "d(sum of next-token cross-entropy) / d(activation), `[d_model]`, always f32. Only where it was harvested.",
    )
}
