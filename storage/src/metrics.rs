//! The log of a training run: `metrics.parquet`.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::row::{self, row};
use crate::table::{Scan, TableReader};

/// The file's name.
pub const FILE: &str = "metrics.parquet";

row! {
    /// One logged step. Columns are named as SAELens names its metrics; null where a method has no such number. Figures are
    /// means over the steps since the last logged one.
    #[derive(serde::Deserialize, Copy)]
    MetricsRow columns MetricsColumns {
        /// Number of the step, from 0.
        step: u64,
        /// Tokens trained on, up to and including this step.
        tokens: u64,
        /// Training time up to this step, seconds, summed over resumptions.
        seconds: f64,
        /// The loss that is minimised.
        overall_loss as "losses/overall_loss": Option<f32>,
        /// Sum of squares of the error, mean over tokens.
        mse_loss as "losses/mse_loss": Option<f32>,
        /// AuxK: what dead features are trained with.
        auxiliary_loss as "losses/auxiliary_reconstruction_loss": Option<f32>,
        /// Fraction of variance explained (FVE), centred.
        explained_variance as "metrics/explained_variance": Option<f32>,
        /// 1 − FVE.
        fvu as "metrics/fvu": Option<f32>,
        /// Mean number of features per token.
        l0 as "metrics/l0": Option<f32>,
        /// Number of features that did not fire for `dead_after` tokens.
        dead_features as "sparsity/dead_features": Option<f32>,
        /// These over all features.
        dead_share as "sparsity/dead_share": Option<f32>,
        /// Learning rate of the step.
        learning_rate as "details/current_learning_rate": Option<f32>,
        /// Tokens per second since the last logged step.
        tokens_per_second as "details/tokens_per_second": Option<f32>,
        /// Mean norm of decoder rows.
        decoder_norms as "weights/W_dec_norms": Option<f32>,
        /// What codes cost (L1, L0, tanh, …), with its coefficient λ; only penalised methods.
        sparsity_loss as "losses/sparsity_loss": Option<f32>,
        /// Candidates of a product in 8 bits that were computed in f32, per match; null where all pre-activations were.
        candidates_per_match as "details/candidates_per_match": Option<f32>,
        /// Share of the matches that candidates had, of those looked at once more from all pre-activations.
        selection_recall as "details/selection_recall": Option<f32>,
    }
}

/// Rows in memory; [`MetricsLog::flush`] writes the file anew, whole or not at all, so a reader never sees half of one.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    rows: Vec<MetricsRow>,
    /// Rows that the file has.
    flushed: Option<usize>,
}

impl MetricsLog {
    /// With a step: continues the file there, rows of later steps dropped (they will be trained again). Without: begins
    /// anew.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(path: &Path, keep_up_to_step: Option<u64>) -> Result<Self> {
        let mut rows = Vec::new();
        if let Some(step) = keep_up_to_step.filter(|_| path.exists()) {
            rows = read(&row::open::<MetricsRow>(path)?)?;
            rows.retain(|row| row.step <= step);
        }
        Ok(Self { path: path.to_owned(), rows, flushed: None })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When its step does not come after the last one's.
    pub fn append(&mut self, row: MetricsRow) -> Result<()> {
        if let Some(last) = self.rows.last().filter(|last| last.step >= row.step) {
            return Err(Error::column("step", format!("a step after {}", last.step), row.step.to_string()));
        }
        self.rows.push(row);
        Ok(())
    }

    /// All rows so far.
    pub fn rows(&self) -> &[MetricsRow] {
        &self.rows
    }

    /// Writes the file if it does not have all rows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        if self.flushed == Some(self.rows.len()) {
            return Ok(());
        }
        row::write(&self.path, &self.rows)?;
        self.flushed = Some(self.rows.len());
        Ok(())
    }
}

/// Reads all rows.
///
/// # Errors
/// When the table cannot be read.
pub fn read(reader: &TableReader) -> Result<Vec<MetricsRow>> {
    row::read(reader, Scan::default())
}
