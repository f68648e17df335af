//! `sae train`: a dictionary from a dataset of activations.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use crate::train::{self, TrainConfig, TrainOutcome};
use crate::{Error, Result};

/// Train a sparse autoencoder on a dataset of activations
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae train --data data --d-sae 2048 --k 32 --tokens 4000000 --out topk\n  sae train --out topk --resume"
)]
pub struct Command {
    /// The dataset, as `sae harvest` made it
    #[arg(long, required_unless_present_any = ["resume", "config"], value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder for the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// All options as TOML (a run's train.toml); what is given on the command line comes first
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on from the newest checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// Number of features, F
    #[arg(long)]
    d_sae: Option<usize>,
    /// Number of features as a multiple of d_model, if --d-sae is not given [default: 16]
    #[arg(long)]
    expansion: Option<usize>,
    /// Active features a token [default: 32]
    #[arg(long)]
    k: Option<usize>,
    /// Tokens a step [default: 2048]
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens to train on; more than the dataset has means several epochs [default: one epoch]
    #[arg(long)]
    tokens: Option<u64>,
    /// Peak learning rate [default: from the width and the length of the run]
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Leave out rows with a norm above this multiple of the median norm
    #[arg(long, value_name = "MULTIPLE")]
    max_norm: Option<f32>,
    /// Steps between rows of metrics.parquet
    #[arg(long)]
    log_every: Option<u64>,
    /// Steps between checkpoints [default: 1000]
    #[arg(long)]
    checkpoint_every: Option<u64>,
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        if self.resume && self.config.is_none() && self.data.is_none() {
            return Ok(report(&train::resume(&self.out, &mut session.progress)?));
        }
        let config = self.config(session)?;
        let data = config.data.clone().ok_or_else(|| Error::request("no dataset given: --data DIR"))?;
        Ok(report(&train::run(&config, &data, &self.out, self.resume, &mut session.progress)?))
    }

    fn config(&self, session: &Session) -> Result<TrainConfig> {
        let base = match &self.config {
            None => TrainConfig::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
                toml::from_str(&text).map_err(|e| Error::format(path, e.to_string()))?
            }
        };
        Ok(TrainConfig {
            data: self.data.clone().or(base.data),
            d_sae: self.d_sae.or(base.d_sae),
            expansion: self.expansion.or(base.expansion),
            k: self.k.unwrap_or(base.k),
            batch: self.batch.unwrap_or(base.batch),
            tokens: self.tokens.or(base.tokens),
            learning_rate: self.learning_rate.or(base.learning_rate),
            max_activation_norm_multiple: self.max_norm.or(base.max_activation_norm_multiple),
            log_every: self.log_every.or(base.log_every),
            checkpoint_every: self.checkpoint_every.unwrap_or(base.checkpoint_every),
            seed: session.seed.unwrap_or(base.seed),
            threads: session.threads.or(base.threads),
            ..base
        })
    }
}

fn report(outcome: &TrainOutcome) -> Output {
    let mut output = Output::new(serde_json::json!({
        "run": outcome.run, "steps": outcome.steps, "tokens": outcome.tokens, "seconds": outcome.seconds,
        "loss": outcome.loss, "fve": outcome.fve, "l0": outcome.l0, "dead": outcome.dead,
        "dead_share": outcome.dead_share, "dead_after": outcome.dead_after, "left_out": outcome.left_out,
    }));
    output.row("run", outcome.run.display());
    output.row("steps", outcome.steps);
    output.row("tokens", outcome.tokens);
    output.row("time", super::progress::duration(outcome.seconds));
    output.row("FVE", format!("{:.4} (training rows, last window)", outcome.fve));
    output.row("L0", format!("{:.1}", outcome.l0));
    let share = 100.0 * outcome.dead_share;
    output.row("dead", format!("{} ({share:.2} %, silent for {} tokens)", outcome.dead, outcome.dead_after));
    output
}
