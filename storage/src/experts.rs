//! How experts are used: `experts/load.parquet` and `experts/layers.parquet` here, and in the files beside the tables
//! that [`crate::row`] writes and reads.

mod masking;
mod together;
mod usage;
mod weights;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt16Array, UInt64Array};
use arrow::datatypes::{Float64Type, UInt16Type, UInt64Type};

use crate::column::{self, primitive, strings_or_null, texts};
use crate::error::Result;
use crate::manifest::Part;
use crate::schema::DOMAIN;
use crate::schema::experts as names;
use crate::table::TableReader;
use crate::{Layout, PartWriter, schema};

pub use masking::{MaskedRow, MaskingRow};
pub use together::{AgainstRow, FeatureExpertRow, PairRow, TransitionRow, VocabularyRow};
pub use usage::{BalanceRow, InformationRow, SpecialisationRow};
pub use weights::{CellRow, SimilarityRow, SparsityRow};

/// An expert with a smaller share of a layer's slots than this counts as dead.
pub const DEAD_SHARE: f64 = 0.001;

/// Load of one expert, over all text or over one domain.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ExpertLoadRow {
    /// The block.
    pub layer: u16,
    /// The expert in it.
    pub expert: u16,
    /// `None`: all text.
    pub domain: Option<String>,
    /// Tokens that chose it.
    pub tokens: u64,
    /// Its share of the layer's slots, 0 to 1.
    pub share: f64,
    /// Mean weight that was applied to it.
    pub weight: f64,
}

/// Balance of one layer.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ExpertLayerRow {
    /// The block.
    pub layer: u16,
    /// Experts in it.
    pub experts: u16,
    /// Experts a token.
    pub k: u16,
    /// Tokens seen.
    pub tokens: u64,
    /// Coefficient of variation of the load.
    pub cv: f64,
    /// (largest load − mean load) / mean load.
    pub max_violation: f64,
    /// Gini coefficient of the load.
    pub gini: f64,
    /// Entropy of the load over ln(experts), in [0, 1]; 1 = balanced.
    pub load_entropy: f64,
    /// exp(entropy of the load): how many equally used experts would have it.
    pub effective_experts: f64,
    /// Mean entropy of the router, in nats.
    pub router_entropy: f64,
    /// Experts with less than [`DEAD_SHARE`] of the slots.
    pub dead: u16,
}

/// Writes `experts/load.parquet`.
pub fn write_load(path: &Path, rows: &[ExpertLoadRow]) -> Result<Part> {
    let shorts = |get: fn(&ExpertLoadRow) -> u16| -> ArrayRef {
        Arc::new(UInt16Array::from_iter_values(rows.iter().map(get)))
    };
    let columns: Vec<ArrayRef> = vec![
        shorts(|row| row.layer),
        shorts(|row| row.expert),
        Arc::new(rows.iter().map(|row| row.domain.as_deref()).collect::<StringArray>()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.tokens))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.share))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.weight))),
    ];
    write_small(path, schema::expert_load(), columns)
}

/// Reads `experts/load.parquet`.
pub fn read_load(reader: &TableReader) -> Result<Vec<ExpertLoadRow>> {
    let mut rows = Vec::new();
    reader.each(crate::Scan::default(), |batch| {
        let layer = primitive::<UInt16Type>(batch, names::LAYER)?;
        let expert = primitive::<UInt16Type>(batch, names::EXPERT)?;
        let domains = texts(batch, DOMAIN)?;
        let tokens = primitive::<UInt64Type>(batch, names::TOKENS)?;
        let share = primitive::<Float64Type>(batch, names::SHARE)?;
        let weight = primitive::<Float64Type>(batch, names::WEIGHT)?;
        rows.extend(strings_or_null(&domains).enumerate().map(|(i, domain)| ExpertLoadRow {
            layer: layer.value(i),
            expert: expert.value(i),
            domain,
            tokens: tokens.value(i),
            share: share.value(i),
            weight: weight.value(i),
        }));
        Ok(())
    })?;
    Ok(rows)
}

/// Writes `experts/layers.parquet`.
pub fn write_layers(path: &Path, rows: &[ExpertLayerRow]) -> Result<Part> {
    let shorts = |get: fn(&ExpertLayerRow) -> u16| -> ArrayRef {
        Arc::new(UInt16Array::from_iter_values(rows.iter().map(get)))
    };
    let doubles = |get: fn(&ExpertLayerRow) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(rows.iter().map(get)))
    };
    let columns = vec![
        shorts(|row| row.layer),
        shorts(|row| row.experts),
        shorts(|row| row.k),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.tokens))),
        doubles(|row| row.cv),
        doubles(|row| row.max_violation),
        doubles(|row| row.gini),
        doubles(|row| row.load_entropy),
        doubles(|row| row.effective_experts),
        doubles(|row| row.router_entropy),
        shorts(|row| row.dead),
    ];
    write_small(path, schema::expert_layers(), columns)
}

/// Reads `experts/layers.parquet`.
pub fn read_layers(reader: &TableReader) -> Result<Vec<ExpertLayerRow>> {
    let mut rows = Vec::new();
    reader.each(crate::Scan::default(), |batch| {
        let short = |name: &str| primitive::<UInt16Type>(batch, name);
        let double = |name: &str| primitive::<Float64Type>(batch, name);
        let (layer, experts) = (short(names::LAYER)?, short(names::EXPERTS)?);
        let (k, dead) = (short(names::K)?, short(names::DEAD)?);
        let tokens = primitive::<UInt64Type>(batch, names::TOKENS)?;
        let (cv, max_violation) = (double(names::CV)?, double(names::MAX_VIOLATION)?);
        let (gini, load_entropy) = (double(names::GINI)?, double(names::LOAD_ENTROPY)?);
        let (effective, router) = (double(names::EFFECTIVE_EXPERTS)?, double(names::ROUTER_ENTROPY)?);
        rows.extend((0..batch.num_rows()).map(|i| ExpertLayerRow {
            layer: layer.value(i),
            experts: experts.value(i),
            k: k.value(i),
            tokens: tokens.value(i),
            cv: cv.value(i),
            max_violation: max_violation.value(i),
            gini: gini.value(i),
            load_entropy: load_entropy.value(i),
            effective_experts: effective.value(i),
            router_entropy: router.value(i),
            dead: dead.value(i),
        }));
        Ok(())
    })?;
    Ok(rows)
}

fn write_small(path: &Path, schema: arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>) -> Result<Part> {
    let mut part = PartWriter::create(path, schema.clone(), &Layout::small_table())?;
    part.write(&column::batch(schema, columns)?)?;
    part.finish()
}
