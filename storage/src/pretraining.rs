//! The log of a language model's training: `pretrain.parquet`.

use std::path::Path;

use crate::error::Result;
use crate::row::{self, row};
use crate::table::Scan;

/// The file's name in the model's folder.
pub const FILE: &str = "pretrain.parquet";

row! {
    /// `pretrain.parquet`: one logged step. Figures are those of the step's batch; of routers, means over tokens and
    /// layers. Null where an architecture has no such number.
    PretrainingRow {
        /// Updates done.
        step: u64,
        /// Document tokens trained on.
        tokens: u64,
        /// Cross-entropy, nats per token.
        loss: f32,
        /// The gradient's norm before it is clipped.
        gradient_norm: f32,
        /// Learning rate of the step.
        learning_rate: f32,
        /// Document tokens per second of the step.
        tokens_per_second: f32,
        /// Load-balancing loss; 1 = balanced.
        balance: Option<f32>,
        /// Monet: mean of −ln of the mean gate; ln √E where all halves are used alike.
        uniformity: Option<f32>,
        /// Monet: mean of one less the largest gate.
        ambiguity: Option<f32>,
        /// Experts (or modules that are on) per token.
        experts_per_token: Option<f32>,
        /// Entropy of the router's distribution, nats: of EvoMoE the gate's, noise and temperature included; of
        /// modules the sum of their switches'.
        router_entropy: Option<f32>,
        /// EvoMoE: temperature of the gate while it is dense. Modules: mean temperature of the switches.
        temperature: Option<f32>,
    }
}

/// Reads the log of the model in `folder`; nothing where it has none.
///
/// # Errors
/// A table that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<PretrainingRow>> {
    let path = folder.join(FILE);
    match path.exists() {
        true => row::read(&row::open::<PretrainingRow>(&path)?, Scan::default()),
        false => Ok(Vec::new()),
    }
}

/// Writes the log anew, whole or not at all.
///
/// # Errors
/// A folder that cannot be written to.
pub fn write(folder: &Path, rows: &[PretrainingRow]) -> Result<()> {
    row::write(&folder.join(FILE), rows)?;
    Ok(())
}
