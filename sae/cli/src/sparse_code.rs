//! `sae sparse-code`: dictionaries whose codes minimise an objective.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::{Output, Session};
use kernels::shrink::Shrinkage;
use sae::Result;
use sae::coding::{self, CodingOptions, LearnOptions};
use storage::coding::CodingScore;

/// Learn a dictionary by sparse coding: codes minimise error and a penalty, without an encoder
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("strength").required(true),
    after_help = "Examples:\n  sae import --images photographs --patch 12 --out patches\n  \
    sae sparse-code --penalty hard --data patches --units 200 --l0 8 --out hard\n  sae fields hard\n\n\
    docs/sparse-coding.md compares the penalties. Figures are kept in RUN/coding, the dictionary as that of any run.")]
pub struct Command {
    /// What codes cost
    #[arg(long, value_enum)]
    penalty: Penalty,
    /// The dataset, as `sae harvest` or `sae import` made it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder for the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Units
    #[arg(long, value_name = "N")]
    units: usize,
    /// Active units per row; lambda is adapted to it over the first 80 % of the batches
    #[arg(long, value_name = "N", group = "strength")]
    l0: Option<f64>,
    /// Weight of the penalty; it does not mean the same for two penalties
    #[arg(long, value_name = "LAMBDA", group = "strength")]
    lambda: Option<f64>,
    /// Batches
    #[arg(long, value_name = "N", default_value_t = 400)]
    steps: usize,
    /// Rows of a batch
    #[arg(long, value_name = "N", default_value_t = 256)]
    batch: usize,
    /// Steps of inference per batch, at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    iterations: usize,
    /// Rows at most, in whole documents, all in memory
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    rows: u64,
    /// Rows that are scored, at most, of those that were learned from and of those held out
    #[arg(long, value_name = "N", default_value_t = 4096)]
    scored: u64,
    /// Subtract the mean row first, as activations need and whitened patches do not
    #[arg(long)]
    centre: bool,
}

/// The penalties by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Penalty {
    /// λ Σ|r|: soft thresholding, ISTA
    Soft,
    /// λ for every active unit: hard thresholding, IHT
    Hard,
    /// λ Σ √|r|
    Half,
    /// CEL0, the minimax concave penalty: firm thresholding
    Firm,
    /// λ Σ ln(1 + 2|r|)
    LogSum,
}

impl Penalty {
    fn kind(self) -> Shrinkage {
        match self {
            Self::Soft => Shrinkage::Soft,
            Self::Hard => Shrinkage::Hard,
            Self::Half => Shrinkage::Half,
            Self::Firm => Shrinkage::Firm,
            Self::LogSum => Shrinkage::LogSum,
        }
    }
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// Options that make no sense; a dataset that cannot be read; a folder that is taken; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let learn = LearnOptions {
            kind: self.penalty.kind(),
            units: self.units,
            l0: self.l0,
            lambda: self.lambda,
            steps: self.steps,
            batch: self.batch,
            iterations: self.iterations,
            seed: session.seed.unwrap_or_default(),
        };
        let options = CodingOptions {
            data: self.data,
            learn,
            rows: self.rows,
            scored: self.scored,
            centre: self.centre,
        };
        let coding = coding::run(&options, &self.out, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(coding));
        output.row("run", self.out.display());
        output.row(
            "learned",
            format!("{} batches of {} in {:.1} s", coding.steps, coding.batch, coding.seconds),
        );
        output.row("lambda", format!("{:.5}, step size {:.4}", coding.lambda, coding.step_size));
        output.row("training", shown(&coding.training));
        coding.held_out.iter().for_each(|score| output.row("held out", shown(score)));
        let score = coding.held_out.as_ref().unwrap_or(&coding.training);
        output.row("codes", format!("mean |code| {:.3}, kurtosis {:.1}", score.mean_code, score.kurtosis));
        output.row("sizes", bars(score));
        Ok(output)
    }
}

fn shown(score: &CodingScore) -> String {
    let share = |fve: Option<f64>| fve.map_or_else(|| "–".to_owned(), |fve| format!("{fve:.4}"));
    format!(
        "FVE {} at L0 {:.2}, refitted {}; {} units unused, {} rows",
        share(score.fve),
        score.l0,
        share(score.fve_refitted),
        score.unused,
        score.rows
    )
}

/// The histogram of codes as a line of blocks.
fn bars(score: &CodingScore) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = score.histogram.iter().copied().max().unwrap_or_default().max(1);
    let block = |count: &u64| BLOCKS[(count * 8).div_ceil(most) as usize];
    let line: String = score.histogram.iter().map(block).collect();
    format!("0 {line} {:.2}", score.largest)
}
