//! The log of a run: what the log lines say, as a table.

use std::path::Path;

use storage::pretraining::{self, PretrainingRow};

use super::checkpoint::Position;
use super::loss::Loss;
use crate::Result;

/// Tokens per second, median over the log in `folder`; none where nothing was logged.
///
/// # Errors
/// A log that cannot be read.
pub(super) fn speed(folder: &Path) -> Result<Option<f32>> {
    let mut all: Vec<f32> = pretraining::read(folder)?.iter().map(|row| row.tokens_per_second).collect();
    all.sort_by(f32::total_cmp);
    Ok(all.get(all.len() / 2).copied())
}

/// The rows so far.
#[derive(Debug)]
pub(super) struct Log(Vec<PretrainingRow>);

impl Log {
    /// What the log in `folder` has up to step `step`, where a run is resumed.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn begin(folder: &Path, step: u64) -> Result<Self> {
        let mut rows = pretraining::read(folder)?;
        rows.retain(|row| row.step <= step);
        Ok(Self(rows))
    }

    /// Adds a step: the gradient's norm, the learning rate, tokens per second; and the temperature of switches.
    pub fn add(&mut self, at: Position, loss: &Loss, [norm, rate, speed]: [f64; 3], switches: Option<f64>) {
        let of = |name: &str| loss.routers.iter().find(|(of, _)| *of == name).map(|(_, value)| *value);
        self.0.push(PretrainingRow {
            step: at.step,
            tokens: at.tokens,
            loss: loss.cross_entropy,
            gradient_norm: norm as f32,
            learning_rate: rate as f32,
            tokens_per_second: speed as f32,
            balance: of("balance"),
            uniformity: of("uniformity"),
            ambiguity: of("ambiguity"),
            experts_per_token: of("experts per token"),
            router_entropy: of("router entropy"),
            temperature: of("temperature").or(switches.map(|t| t as f32)),
        });
    }

    /// Writes all rows.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        Ok(pretraining::write(folder, &self.0)?)
    }
}
