//! How a language model was trained, as the window holds it.

use std::path::Path;
use std::time::SystemTime;

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
    /// An option's text, as the record has it.
    pub fn option(&self, name: &str) -> Option<String> {
        let value = self.record.as_ref()?.config.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
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
    columns: [Vec<Option<f32>>; COLUMNS.len()],
}

/// A column of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogColumn {
    /// Cross-entropy, nats per token.
    Loss,
    /// Load-balancing loss.
    Balance,
    /// Monet: mean of −ln of the mean gate.
    Uniformity,
    /// Monet: mean of one less the largest gate.
    Ambiguity,
    /// Experts, or modules that are on, per token.
    Experts,
    /// Entropy of the router, nats.
    Entropy,
    /// Temperature of the gate or of the switches.
    Temperature,
    /// Norm of the gradient before it is clipped.
    Gradient,
    /// Learning rate.
    Rate,
    /// Document tokens per second.
    Speed,
}

type Column = fn(&PretrainingRow) -> Option<f32>;

/// In the order of [`LogColumn`].
const COLUMNS: [Column; 10] = [
    |row| Some(row.loss),
    |row| row.balance,
    |row| row.uniformity,
    |row| row.ambiguity,
    |row| row.experts_per_token,
    |row| row.router_entropy,
    |row| row.temperature,
    |row| Some(row.gradient_norm),
    |row| Some(row.learning_rate),
    |row| Some(row.tokens_per_second),
];

impl TrainingLog {
    fn new(rows: &[PretrainingRow]) -> Self {
        Self {
            step: rows.iter().map(|row| row.step).collect(),
            tokens: rows.iter().map(|row| row.tokens).collect(),
            columns: COLUMNS.map(|of| rows.iter().map(of).collect()),
        }
    }

    /// The values of a column that has at least one finite value.
    pub fn curve(&self, column: LogColumn) -> Option<&[Option<f32>]> {
        let values = &self.columns[column as usize];
        values.iter().flatten().any(|value| value.is_finite()).then_some(values)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_that_they_are_called() {
        let row = PretrainingRow {
            step: 10,
            tokens: 20,
            loss: 1.0,
            gradient_norm: 8.0,
            learning_rate: 9.0,
            tokens_per_second: 10.0,
            balance: Some(2.0),
            uniformity: None,
            ambiguity: Some(4.0),
            experts_per_token: Some(5.0),
            router_entropy: Some(6.0),
            temperature: Some(7.0),
        };
        let log = TrainingLog::new(&[row]);
        let of = |column| log.curve(column).map(|values| values[0].unwrap());
        use LogColumn::*;
        let all =
            [Loss, Balance, Uniformity, Ambiguity, Experts, Entropy, Temperature, Gradient, Rate, Speed];
        let expected = [1.0, 2.0, 0.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
        for (column, value) in all.into_iter().zip(expected) {
            assert_eq!(of(column), (value > 0.0).then_some(value), "{column:?}");
        }
    }
}
