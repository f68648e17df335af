//! How a language model was trained, as the window holds it.

use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;
use storage::pretraining::{self as files, Pretraining, PretrainingRow};

use super::problem;
use crate::load::Problem;

/// What a model's folder says without its log.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Options and results; none while it is trained, or where that was interrupted.
    pub record: Option<Pretraining>,
    /// When the log was written last.
    pub log_written: Option<SystemTime>,
}

impl ModelInfo {
    /// All options that have a value, as the record has them.
    pub fn options(&self) -> Vec<(&str, String)> {
        let all = self.record.iter().flat_map(|record| &record.config);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        all.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.as_str(), text(value))).collect()
    }

    /// The kind of model.
    pub fn architecture(&self) -> Option<&str> {
        self.record.as_ref()?.config.get("architecture")?.as_str()
    }

    /// Bits per byte of held-out text, mean over domains.
    pub fn bits_per_byte(&self) -> Option<f64> {
        let scores = &self.record.as_ref()?.result.held_out;
        let sum: f64 = scores.values().map(|score| score.bits_per_byte).sum();
        (!scores.is_empty()).then(|| sum / scores.len() as f64)
    }
}

/// The log of a training, column by column; one value per logged step, none where the architecture has no such number.
#[derive(Clone, Debug, Default)]
pub struct TrainingLog {
    /// Updates done.
    pub step: Vec<u64>,
    /// Document tokens trained on.
    pub tokens: Vec<u64>,
    /// Cross-entropy, nats per token.
    pub loss: Vec<Option<f32>>,
    /// The gradient's norm before it is clipped.
    pub gradient_norm: Vec<Option<f32>>,
    /// Learning rate.
    pub learning_rate: Vec<Option<f32>>,
    /// Document tokens per second.
    pub tokens_per_second: Vec<Option<f32>>,
    /// Load-balancing loss.
    pub balance: Vec<Option<f32>>,
    /// Monet's uniformity loss.
    pub uniformity: Vec<Option<f32>>,
    /// Monet's ambiguity loss.
    pub ambiguity: Vec<Option<f32>>,
    /// Experts, or modules that are on, per token.
    pub experts_per_token: Vec<Option<f32>>,
    /// Entropy of the router, nats.
    pub router_entropy: Vec<Option<f32>>,
    /// Temperature of the gate or of the switches.
    pub temperature: Vec<Option<f32>>,
}

impl TrainingLog {
    fn new(rows: &[PretrainingRow]) -> Self {
        let column = |of: fn(&PretrainingRow) -> Option<f32>| rows.iter().map(of).collect();
        Self {
            step: rows.iter().map(|row| row.step).collect(),
            tokens: rows.iter().map(|row| row.tokens).collect(),
            loss: column(|row| Some(row.loss)),
            gradient_norm: column(|row| Some(row.gradient_norm)),
            learning_rate: column(|row| Some(row.learning_rate)),
            tokens_per_second: column(|row| Some(row.tokens_per_second)),
            balance: column(|row| row.balance),
            uniformity: column(|row| row.uniformity),
            ambiguity: column(|row| row.ambiguity),
            experts_per_token: column(|row| row.experts_per_token),
            router_entropy: column(|row| row.router_entropy),
            temperature: column(|row| row.temperature),
        }
    }
}

/// What the folder of a model says without its log.
///
/// # Errors
/// A record that cannot be read.
pub fn read_info(folder: &Path) -> Result<ModelInfo, Problem> {
    let log_written = std::fs::metadata(folder.join(files::FILE)).and_then(|m| m.modified()).ok();
    Ok(ModelInfo { record: Pretraining::read(folder).map_err(problem)?, log_written })
}

/// Reads the log of the model in `folder`.
///
/// # Errors
/// A log that cannot be read.
pub fn read_log(folder: &Path) -> Result<TrainingLog, Problem> {
    files::read(folder).map(|rows| TrainingLog::new(&rows)).map_err(problem)
}
