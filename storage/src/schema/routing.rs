//! `routing-NNNNN.parquet`: one row a token and MoE layer, in (document, position, layer) order.

use arrow::datatypes::{DataType, SchemaRef};

use super::{DOCUMENT, POSITION, TOKEN, column, list, schema};

/// `layer`: number of the block.
pub const LAYER: &str = "layer";
/// `experts`: the chosen experts, the strongest first.
pub const EXPERTS: &str = "experts";
/// `weights`: the weights that were applied to them.
pub const WEIGHTS: &str = "weights";
/// `entropy`: of the router's whole distribution, in nats.
pub const ENTROPY: &str = "entropy";
/// `scores`: the router's scores of all experts, `[E]`. Optional.
pub const SCORES: &str = "scores";

/// document u32, position u32, token u32, layer u16, experts `List<u16>`, weights `List<f32>`, entropy f32.
pub fn routing() -> SchemaRef {
    schema(vec![
        column(DOCUMENT, DataType::UInt32),
        column(POSITION, DataType::UInt32),
        column(TOKEN, DataType::UInt32),
        column(LAYER, DataType::UInt16),
        column(EXPERTS, list(DataType::UInt16)),
        column(WEIGHTS, list(DataType::Float32)),
        column(ENTROPY, DataType::Float32),
    ])
}

/// [`routing`] and scores `List<f32>`.
pub fn routing_with_scores() -> SchemaRef {
    let mut fields: Vec<_> = routing().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(column(SCORES, list(DataType::Float32)));
    schema(fields)
}
