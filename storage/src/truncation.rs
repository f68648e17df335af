//! A model with latent variables that was learned by expectation truncation: `RUN/truncation/`.

use std::path::Path;

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::row::{self, row};
use crate::table::Scan;

/// `format` of a [`Truncation`].
pub const FORMAT: &str = "sae-workbench truncation";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run.
pub const FOLDER: &str = "truncation";
/// The record.
pub const FILE: &str = "truncation.json";
/// The [`TruncationStepRow`]s.
pub const STEPS: &str = "steps.parquet";
/// The parameters after the last iteration that was kept, and its number.
pub const PARAMETERS: &str = "parameters.safetensors";

row! {
    /// One iteration of expectation maximisation.
    TruncationStepRow columns TruncationStepColumns {
        /// Its number, from 0.
        step: u64,
        /// Temperature of the posterior.
        temperature: f64,
        /// Standard deviation of what was added to W afterwards, in mean standard deviations of the rows.
        noise: f64,
        /// Rows that it learned from; the others had too many active latents.
        rows: u64,
        /// Mean free energy of those before the iteration, nats per row; at a temperature above 1 it is not what the iteration raises.
        free_energy: f64,
        /// Active latents per row, mean over the posterior.
        l0: f64,
        /// Mean rate of a latent after it.
        rate: f64,
        /// Standard deviation of the noise of a component after it.
        sigma: f64,
        /// Time so far, seconds, summed over resumptions.
        seconds: f64,
    }
}

record! {
    /// How a model is learned.
    #[derive(Default)]
    TruncationOptions {
        /// `bsc`, `tsc`, `dsc`, `mca`, `mmca` or `gsc`.
        model: String,
        /// Folder of the dataset.
        data: String,
        /// Number of latents, H.
        latents: usize,
        /// Candidates of a row, H′.
        candidates: usize,
        /// Latents that a state may have active, γ.
        active: usize,
        /// What latents are where they are active.
        values: Vec<f64>,
        /// Iterations.
        iterations: usize,
        /// Temperature at the beginning.
        temperature: f64,
        /// Noise on W at the beginning, in mean standard deviations of the rows.
        noise: f64,
        /// Share of the iterations after which temperature is 1 and noise 0.
        cool: f64,
        /// Share of the iterations after which the cut of rows is whole.
        cut: f64,
        /// Rows at most, in whole documents drawn by `seed`.
        rows: u64,
        /// Whether the mean row was subtracted.
        centre: bool,
        /// Decides every random choice.
        seed: u64,
    }
}

record! {
    /// How well a model explains rows.
    #[derive(Default, Copy)]
    TruncationScore {
        /// Rows.
        rows: u64,
        /// Mean free energy, nats per row: a lower bound on the log likelihood.
        free_energy: f64,
        /// Fraction of variance explained by the posterior's mean reconstruction; null if rows do not vary.
        fve: Option<f64>,
        /// … by the reconstruction of the most probable state.
        fve_map: Option<f64>,
        /// Active latents per row, mean over the posterior.
        l0: f64,
        /// Active latents per row in the most probable state.
        l0_map: f64,
    }
}

record! {
    /// What was found of made bars.
    #[derive(Default)]
    TruncationBars {
        /// Bars.
        bars: u64,
        /// Bars with a latent of their own whose |cosine| with them is at least 0.95.
        recovered: u64,
        /// Mean |cosine| of bars with their latents.
        cosine: f64,
        /// Mean |difference| of an entry of W; null for models that do not determine the scale or the sign of W.
        error: Option<f64>,
    }
}

record! {
    /// `truncation.json`.
    #[derive(Default)]
    Truncation {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// How it is learned.
        options: TruncationOptions,
        /// Iterations that are done.
        iterations_done: u64,
        /// Rows that it learns from.
        rows: u64,
        /// Rates: of any latent; of `dsc` of each value; of `gsc` of each latent.
        rates: Vec<f64>,
        /// Standard deviation of the noise of a component of a row.
        sigma: f64,
        /// On the rows that it learned from; null until all iterations are done.
        training: Option<TruncationScore>,
        /// On as many rows of held-out documents at most; null without such rows and until all iterations are done.
        held_out: Option<TruncationScore>,
        /// Only of made bars.
        bars: Option<TruncationBars>,
    }
}

impl Truncation {
    /// Writes the record into the folder of a run.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        atomic::write_json(&run.join(FOLDER).join(FILE), self)
    }

    /// Reads `RUN/truncation/truncation.json`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is of another kind.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

/// Writes the iterations of a run.
///
/// # Errors
/// When the file cannot be written.
pub fn write_steps(run: &Path, rows: &[TruncationStepRow]) -> Result<()> {
    row::write(&run.join(FOLDER).join(STEPS), rows).map(|_| ())
}

/// Reads the iterations of a run.
///
/// # Errors
/// When the table cannot be read.
pub fn read_steps(run: &Path) -> Result<Vec<TruncationStepRow>> {
    row::read(&row::open::<TruncationStepRow>(&run.join(FOLDER).join(STEPS))?, Scan::default())
}
