//! The experts' choices: batches of `routing-NNNNN.parquet` as Rust values.

use arrow::array::{Array as _, ListArray};
use arrow::datatypes::{Float32Type, UInt16Type, UInt32Type};
use arrow::record_batch::RecordBatch;

use crate::column::{number_lists, primitive};
use crate::error::{Error, Result};
use crate::field::{DOCUMENT, POSITION, TOKEN};
use crate::row::row;

pub use crate::field::LAYER;

/// The column `experts`.
pub const EXPERTS: &str = "experts";
/// The column `weights`.
pub const WEIGHTS: &str = "weights";
/// The column `entropy`.
pub const ENTROPY: &str = "entropy";
/// The column `scores`, which only tables with the router's whole distribution have.
pub const SCORES: &str = "scores";
/// What it holds.
pub(crate) const ABOUT_SCORES: &str =
    "The router's scores of all experts, `[E]`. Only where they were harvested.";

/// The columns that [`Choices`] needs; entropies and scores are left aside.
pub const COLUMNS: [&str; 6] = [DOCUMENT, POSITION, TOKEN, LAYER, EXPERTS, WEIGHTS];

row! {
    /// What one token chose in one layer of experts, in (document, position, layer) order.
    #[layout(routing)]
    RoutingRow {
        /// Number of the document, from 0.
        document: u32,
        /// Number of the token in its document, from 0; BOS is not counted.
        position: u32,
        /// Id of the token.
        token: u32,
        /// Number of the block.
        layer: u16,
        /// The chosen experts, the strongest first; empty where the token skipped the layer.
        experts: Vec<u32>,
        /// The weights that were applied to them, one per expert.
        weights: Vec<f32>,
        /// Entropy of the router's whole distribution, nats.
        entropy: f32,
    }
}

/// What one token chose in one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice<'a> {
    /// The document.
    pub document: u32,
    /// The token's position in it.
    pub position: u32,
    /// The token.
    pub token: u32,
    /// The block.
    pub layer: u16,
    /// The chosen experts, the strongest first; none where the token skipped the layer.
    pub experts: &'a [u32],
    /// The weights that were applied, one per expert.
    pub weights: &'a [f32],
}

impl Choice<'_> {
    /// The weight of `expert` and its place in the order of weights; `None` when it was not chosen.
    pub fn of(&self, expert: u32) -> Option<(usize, f32)> {
        let place = self.experts.iter().position(|&e| e == expert)?;
        Some((place, self.weights[place]))
    }
}

/// The rows of one batch.
#[derive(Debug)]
pub struct Choices<'a> {
    documents: &'a [u32],
    positions: &'a [u32],
    tokens: &'a [u32],
    layers: &'a [u16],
    experts: &'a ListArray,
    numbers: &'a [u32],
    weights: &'a ListArray,
    values: &'a [f32],
}

impl<'a> Choices<'a> {
    /// A batch with [`COLUMNS`], checked: every expert has its weight.
    ///
    /// # Errors
    /// A column that is missing or of a different type; a row with fewer weights than experts.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        let number = |name: &str| Ok::<_, Error>(primitive::<UInt32Type>(batch, name)?.values().as_ref());
        let (experts, numbers) = number_lists::<UInt32Type>(batch, EXPERTS)?;
        let (weights, values) = number_lists::<Float32Type>(batch, WEIGHTS)?;
        let uneven = (0..experts.len()).find(|&i| experts.value_length(i) != weights.value_length(i));
        if let Some(row) = uneven {
            let (a, b) = (experts.value_length(row), weights.value_length(row));
            let found = format!("{a} experts and {b} weights in row {row} of a batch");
            return Err(Error::column(WEIGHTS, "as many weights as experts", found));
        }
        Ok(Self {
            documents: number(DOCUMENT)?,
            positions: number(POSITION)?,
            tokens: number(TOKEN)?,
            layers: primitive::<UInt16Type>(batch, LAYER)?.values(),
            experts,
            numbers,
            weights,
            values,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Row `i`, below [`Choices::len`].
    pub fn get(&self, i: usize) -> Choice<'a> {
        let span = |list: &ListArray| {
            let offsets = list.value_offsets();
            offsets[i] as usize..offsets[i + 1] as usize
        };
        Choice {
            document: self.documents[i],
            position: self.positions[i],
            token: self.tokens[i],
            layer: self.layers[i],
            experts: &self.numbers[span(self.experts)],
            weights: &self.values[span(self.weights)],
        }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Choice<'a>> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }
}
