//! `experts/load.parquet` and `experts/layers.parquet`: how a mixture of experts is used.

use arrow::datatypes::{DataType, Field, SchemaRef};

use super::{DOMAIN, column, schema};

/// `layer`: number of the block.
pub const LAYER: &str = "layer";
/// `expert`: number of the expert in its layer.
pub const EXPERT: &str = "expert";
/// `tokens`: tokens that chose it (load), or tokens seen (layers).
pub const TOKENS: &str = "tokens";
/// `share`: of the layer's slots.
pub const SHARE: &str = "share";
/// `weight`: mean applied weight.
pub const WEIGHT: &str = "weight";
/// `experts`: experts of the layer.
pub const EXPERTS: &str = "experts";
/// `k`: experts a token.
pub const K: &str = "k";
/// `cv`: coefficient of variation of the load.
pub const CV: &str = "cv";
/// `max_violation`: (largest load − mean load) / mean load.
pub const MAX_VIOLATION: &str = "max_violation";
/// `gini`: of the load.
pub const GINI: &str = "gini";
/// `load_entropy`: of the load, in nats.
pub const LOAD_ENTROPY: &str = "load_entropy";
/// `effective_experts`: exp(load_entropy).
pub const EFFECTIVE_EXPERTS: &str = "effective_experts";
/// `router_entropy`: mean entropy of the router over tokens, in nats.
pub const ROUTER_ENTROPY: &str = "router_entropy";
/// `dead`: experts that no token chose.
pub const DEAD: &str = "dead";

/// layer u16, expert u16, domain utf8 (null: all domains), tokens u64, share f64, weight f64.
pub fn expert_load() -> SchemaRef {
    schema(vec![
        column(LAYER, DataType::UInt16),
        column(EXPERT, DataType::UInt16),
        Field::new(DOMAIN, DataType::Utf8, true),
        column(TOKENS, DataType::UInt64),
        column(SHARE, DataType::Float64),
        column(WEIGHT, DataType::Float64),
    ])
}

/// layer u16, experts u16, k u16, tokens u64, six f64 numbers of balance, dead u16.
pub fn expert_layers() -> SchemaRef {
    schema(vec![
        column(LAYER, DataType::UInt16),
        column(EXPERTS, DataType::UInt16),
        column(K, DataType::UInt16),
        column(TOKENS, DataType::UInt64),
        column(CV, DataType::Float64),
        column(MAX_VIOLATION, DataType::Float64),
        column(GINI, DataType::Float64),
        column(LOAD_ENTROPY, DataType::Float64),
        column(EFFECTIVE_EXPERTS, DataType::Float64),
        column(ROUTER_ENTROPY, DataType::Float64),
        column(DEAD, DataType::UInt16),
    ])
}
