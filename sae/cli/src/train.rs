//! `sae train`: a dictionary from a dataset of activations.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use sae::dictionary::allocation::law::BudgetLaw;
use sae::dictionary::score::GradientNorm;
use sae::train::sweep::{self, Asked, Plan};
use sae::train::{self, AuxLoss, FrozenDecoder, JumpPenalty, Method, TrainConfig, TrainOutcome};
use sae::{Error, Result};

/// Train a sparse autoencoder, or many of them, on a dataset of activations
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae train --data data --d-sae 2048 --k 32 --tokens 4000000 --out topk\n  sae train --out topk --resume\n  sae train --config sweep.toml --out sweep      # docs/sweeps.md"
)]
pub struct Command {
    /// The dataset, as `sae harvest` made it
    #[arg(long, required_unless_present_any = ["resume", "config"], value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder for the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// All options as TOML (a run's train.toml), or a sweep of many runs; what is given on the command line comes first
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on from the newest checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// How tokens are matched with features: topk, mutual-choice, feature-choice, gradient, gradient-mutual, gradient-feature; relu,
    /// jumprelu, gated, matryoshka, p-anneal [default: topk]
    #[arg(long)]
    method: Option<Method>,
    /// Number of features, F
    #[arg(long)]
    d_sae: Option<usize>,
    /// Number of features as a multiple of d_model, if --d-sae is not given [default: 16]
    #[arg(long)]
    expansion: Option<usize>,
    /// Active features a token [default: 32]
    #[arg(long)]
    k: Option<usize>,
    /// k at the first step; it falls to --k in a straight line
    #[arg(long)]
    k_start: Option<usize>,
    /// Share of the run in which k falls [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    k_anneal: Option<f64>,
    /// Add an eighth of the loss with this many times k matches
    #[arg(long, value_name = "MULTIPLE", num_args = 0..=1, default_missing_value = "4")]
    multi_topk: Option<f64>,
    /// Budgets of feature choice: uniform, zipf:s,q or fit [default: fit]
    #[arg(long, value_name = "LAW")]
    budget_law: Option<BudgetLaw>,
    /// Most tokens of a batch for one feature, as a share of the batch [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    budget_cap: Option<f64>,
    /// Share of the run that is mutual choice before feature choice begins [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    mutual_share: Option<f64>,
    /// λ of the gradient score relu(z)·(λ + β·|W_dec g|) [default: 1]
    #[arg(long)]
    score_lambda: Option<f64>,
    /// β of the gradient score; with 0 gradients are not read [default: 1]
    #[arg(long)]
    score_beta: Option<f64>,
    /// How gradients are brought to one scale: token or batch [default: token]
    #[arg(long, value_parser = gradient_norm)]
    gradient_norm: Option<GradientNorm>,
    /// Control: score every token with the gradient of another token of its batch
    #[arg(long)]
    shuffle_gradients: bool,
    /// Control: decoder rows stay the random directions that they begin as
    #[arg(long, value_name = "random", value_parser = frozen_decoder)]
    freeze_decoder: Option<FrozenDecoder>,
    /// Loss of features that fire too little: auxk, zipf or none
    #[arg(long, value_parser = aux_loss)]
    aux: Option<AuxLoss>,
    /// A feature that fires at less than this share of the rate that the law gives it is under-used, for --aux zipf [default: 0.3]
    #[arg(long, value_name = "SHARE")]
    aux_rho: Option<f64>,
    /// Tokens of silence after which a feature is dead [default: an eighth of the run, at most 10 million]
    #[arg(long, value_name = "TOKENS")]
    dead_after: Option<u64>,
    /// Features of the nested dictionaries of matryoshka, as 256,1024,4096
    #[arg(long, value_delimiter = ',')]
    widths: Option<Vec<usize>>,
    /// λ of the penalty of relu, jumprelu, gated and p-anneal
    #[arg(long, value_name = "LAMBDA")]
    sparsity: Option<f64>,
    /// What the codes of jumprelu cost: l0 or tanh [default: l0]
    #[arg(long, value_parser = jump_penalty)]
    jump_penalty: Option<JumpPenalty>,
    /// Pre-activations within half of this move a threshold of jumprelu
    #[arg(long, value_name = "WIDTH")]
    jump_bandwidth: Option<f64>,
    /// p at the end of p-anneal [default: 0.2]
    #[arg(long, value_name = "P")]
    power_end: Option<f64>,
    /// Steps after which dead features of relu get new rows
    #[arg(long, value_name = "STEPS")]
    resample_every: Option<u64>,
    /// Held-out tokens to fit thresholds on, at most [default: 1000000]
    #[arg(long, value_name = "TOKENS")]
    threshold_tokens: Option<u64>,
    /// Tokens a step [default: 2048]
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens to train on; more than the dataset has means several epochs [default: one epoch]
    #[arg(long)]
    tokens: Option<u64>,
    /// Peak learning rate [default: from the width and the length of the run]
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Compute all pre-activations, and the help for dead features, in f32: no candidates from a
    /// product in 8 bits, nothing rounded to bfloat16
    #[arg(long)]
    exact: bool,
    /// Leave out rows with a norm above this multiple of the median norm
    #[arg(long, value_name = "MULTIPLE")]
    max_norm: Option<f32>,
    /// Steps between rows of metrics.parquet
    #[arg(long)]
    log_every: Option<u64>,
    /// Steps between checkpoints [default: 1000]
    #[arg(long)]
    checkpoint_every: Option<u64>,
    /// Snapshots from which the history of every feature is made, at most; 0 for none [default: one for every
    /// 50 steps, 2 to 20]
    #[arg(long, value_name = "SNAPSHOTS")]
    history: Option<usize>,
    /// Seed of the order of rows [default: --seed]
    #[arg(long, value_name = "SEED")]
    data_seed: Option<u64>,
    /// Memory in GiB that the runs of a sweep may take together [default: most of what is free]
    #[arg(long, value_name = "GIB")]
    memory: Option<f64>,
    /// Only say what would be trained and what memory it needs
    #[arg(long)]
    dry_run: bool,
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        if let Some(asked) = self.sweep(session)? {
            let plan = self.plan(&asked, session)?;
            if self.dry_run {
                return Ok(super::sweep::planned(&plan));
            }
            let outcome = sweep::run(&plan, &self.out, self.resume, &mut session.progress)?;
            return Ok(super::sweep::swept(&outcome));
        }
        if self.resume && self.config.is_none() && self.data.is_none() {
            return Ok(report(&train::resume(&self.out, &mut session.progress)?));
        }
        let base = match &self.config {
            None => TrainConfig::default(),
            Some(path) => train::read_config_file(path)?,
        };
        let config = self.over(base, session)?;
        let data = config.data.clone().ok_or_else(|| Error::request("no dataset given: --data DIR"))?;
        if self.dry_run {
            let name = self.out.display().to_string();
            return Ok(super::sweep::planned(&self.plan(&[Asked { name, config }], session)?));
        }
        Ok(report(&train::run(&config, &data, &self.out, self.resume, &mut session.progress)?))
    }

    /// The runs of the sweep that is asked for, if one is.
    fn sweep(&self, session: &Session) -> Result<Option<Vec<Asked>>> {
        let asked = match &self.config {
            Some(path) if sweep::is_sweep(path)? => sweep::read_file(path)?,
            None if self.resume && self.out.join(sweep::SWEEP_FILE).exists() => sweep::read_out(&self.out)?,
            _ => return Ok(None),
        };
        let over = |asked: Asked| {
            let config = self.over(asked.config, session)?;
            Ok(Asked { name: asked.name, config })
        };
        asked.into_iter().map(over).collect::<Result<Vec<_>>>().map(Some)
    }

    fn plan(&self, asked: &[Asked], session: &Session) -> Result<Plan> {
        if let Some(gib) = self.memory.filter(|gib| !(*gib > 0.0 && gib.is_finite())) {
            return Err(Error::request(format!("--memory is {gib}; it must be a number of GiB above 0")));
        }
        let limit = self.memory.map(|gib| (gib * (1_u64 << 30) as f64) as u64);
        Plan::new(asked, limit, session.threads)
    }

    /// `base`, with what is given on the command line in its place.
    fn over(&self, base: TrainConfig, session: &Session) -> Result<TrainConfig> {
        if self.k.is_some() && self.method.is_some_and(Method::is_penalised) {
            return Err(Error::request(
                "--k has no meaning for this method: its penalty decides how many features a token has (--sparsity)",
            ));
        }
        Ok(TrainConfig {
            data: self.data.clone().or(base.data),
            d_sae: self.d_sae.or(base.d_sae),
            expansion: self.expansion.or(base.expansion),
            method: self.method.unwrap_or(base.method),
            k: self.k.unwrap_or(base.k),
            k_start: self.k_start.or(base.k_start),
            k_anneal_share: self.k_anneal.or(base.k_anneal_share),
            multi_topk: self.multi_topk.or(base.multi_topk),
            budget_law: self.budget_law.or(base.budget_law),
            budget_cap: self.budget_cap.or(base.budget_cap),
            mutual_share: self.mutual_share.or(base.mutual_share),
            score_lambda: self.score_lambda.or(base.score_lambda),
            score_beta: self.score_beta.or(base.score_beta),
            gradient_norm: self.gradient_norm.or(base.gradient_norm),
            shuffle_gradients: self.shuffle_gradients || base.shuffle_gradients,
            freeze_decoder: self.freeze_decoder.or(base.freeze_decoder),
            aux: self.aux.or(base.aux),
            aux_rho: self.aux_rho.or(base.aux_rho),
            dead_after: self.dead_after.or(base.dead_after),
            widths: self.widths.clone().or(base.widths),
            sparsity_coefficient: self.sparsity.or(base.sparsity_coefficient),
            jump_penalty: self.jump_penalty.or(base.jump_penalty),
            jump_bandwidth: self.jump_bandwidth.or(base.jump_bandwidth),
            power_end: self.power_end.or(base.power_end),
            resample_every: self.resample_every.or(base.resample_every),
            threshold_tokens: self.threshold_tokens.or(base.threshold_tokens),
            batch: self.batch.unwrap_or(base.batch),
            tokens: self.tokens.or(base.tokens),
            learning_rate: self.learning_rate.or(base.learning_rate),
            max_activation_norm_multiple: self.max_norm.or(base.max_activation_norm_multiple),
            log_every: self.log_every.or(base.log_every),
            checkpoint_every: self.checkpoint_every.unwrap_or(base.checkpoint_every),
            history: self.history.or(base.history),
            exact: self.exact || base.exact,
            seed: session.seed.unwrap_or(base.seed),
            data_seed: self.data_seed.or(base.data_seed),
            threads: session.threads.or(base.threads),
            ..base
        })
    }
}

fn gradient_norm(text: &str) -> Result<GradientNorm, String> {
    one_of(text, &[("token", GradientNorm::Token), ("batch", GradientNorm::Batch)])
}

fn aux_loss(text: &str) -> Result<AuxLoss, String> {
    one_of(text, &[("auxk", AuxLoss::Auxk), ("zipf", AuxLoss::Zipf), ("none", AuxLoss::None)])
}

fn jump_penalty(text: &str) -> Result<JumpPenalty, String> {
    one_of(text, &[("l0", JumpPenalty::L0), ("tanh", JumpPenalty::Tanh)])
}

fn frozen_decoder(text: &str) -> Result<FrozenDecoder, String> {
    one_of(text, &[("random", FrozenDecoder::Random)])
}

fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
    found.ok_or_else(|| format!("`{text}` is none of {}", names.join(", ")))
}

fn report(outcome: &TrainOutcome) -> Output {
    let mut output = Output::new(serde_json::json!({
        "run": outcome.run, "steps": outcome.steps, "tokens": outcome.tokens, "seconds": outcome.seconds,
        "loss": outcome.loss, "fve": outcome.fve, "l0": outcome.l0, "dead": outcome.dead,
        "dead_share": outcome.dead_share, "dead_after": outcome.dead_after, "left_out": outcome.left_out,
        "l0_threshold": outcome.l0_threshold,
    }));
    output.row("run", outcome.run.display());
    output.row("steps", outcome.steps);
    output.row("tokens", outcome.tokens);
    output.row("time", super::progress::duration(outcome.seconds));
    output.row("FVE", format!("{:.4} (training rows, last window)", outcome.fve));
    output.row("L0", format!("{:.1}", outcome.l0));
    if let Some(l0) = outcome.l0_threshold {
        output.row("L0 by threshold", format!("{l0:.1}"));
    }
    let share = 100.0 * outcome.dead_share;
    output.row("dead", format!("{} ({share:.2} %, silent for {} tokens)", outcome.dead, outcome.dead_after));
    output
}
