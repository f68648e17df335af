//! What is kept of a language model's training: its log, `pretrain.parquet`, and what came of it, `pretrain.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::row::{self, row};
use crate::table::Scan;

/// The log's name in the model's folder.
pub const FILE: &str = "pretrain.parquet";
/// The record's name; it is written when the training ends.
pub const RECORD: &str = "pretrain.json";

/// `pretrain.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pretraining {
    /// All options.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// What came of the training.
    pub result: PretrainingResult,
}

/// What came of a training.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PretrainingResult {
    /// Numbers in the model.
    pub parameters: u64,
    /// Those that take part in the computation of one token; of modules that are switched, a mean.
    pub active_parameters: u64,
    /// Of modules that are switched: the share of held-out tokens that each is on for, by layer.
    #[serde(default)]
    pub density: BTreeMap<u16, Vec<f64>>,
    /// Updates done.
    pub steps: u64,
    /// Document tokens trained on.
    pub tokens: u64,
    /// Median over the logged steps.
    pub tokens_per_second: Option<f32>,
    /// Scores on the held-out documents, by domain.
    #[serde(default)]
    pub held_out: BTreeMap<String, PretrainingScore>,
}

/// How well held-out documents of one domain are predicted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PretrainingScore {
    /// Documents.
    pub documents: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Σ −log₂ p(token) / bytes.
    pub bits_per_byte: f64,
    /// Mean cross-entropy in nats per token.
    pub nats_per_token: f64,
}

impl Pretraining {
    /// The record of the model in `folder`; none where the training has not ended.
    ///
    /// # Errors
    /// A file that cannot be read or is not such a record.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORD);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::json(&path, &e)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }
}

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
