//! `sae pretrain`: a small language model from text, dense or a mixture of experts.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Output, Session};
use lm::pretrain::{self, Kind, PretrainConfig};
use sae::{Error, Result};
use storage::pretraining::PretrainingRow;

/// Train a small language model on text, or fine-tune one: a mixture of experts of several kinds, or a dense control
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae pretrain --text text/ --tokens 20000000 --repeat legal=3 --out small-moe\n  \
    sae pretrain --text text/ --architecture monet-vertical --out monet\n  \
    sae pretrain --text text/ --architecture moe-x --start dense --out moe-x\n  \
    sae pretrain --from default --text legal.jsonl --tokens 500000 --out tuned\n\n\
    Options of each architecture and what it begins with: docs/moe-models.md."
)]
pub struct Command {
    /// Architecture: top-k, dense, monet-vertical, monet-horizontal, moe-x, evo-moe, modular [default: top-k]
    #[arg(long, value_name = "NAME", value_parser = kind)]
    architecture: Option<Kind>,
    /// Fine-tune this model, made by `sae pretrain` (or `default`, the one inside the program): its options, tokenizer and weights are
    /// taken, with a tenth of its learning rate and 1,000,000 tokens unless others are given
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["start", "architecture"])]
    from: Option<PathBuf>,
    /// MoE-X and EvoMoE: make the experts of this dense model (gated = false), and take its tokenizer
    #[arg(long, value_name = "MODEL")]
    start: Option<PathBuf>,
    /// Text files and folders (.txt, .jsonl, .parquet); documents marked as held out are scored, not trained on
    #[arg(long, required_unless_present = "config", num_args = 1.., value_name = "PATH")]
    text: Vec<PathBuf>,
    /// Folder for the model: config.json, model.safetensors, tokenizer.json, pretrain.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Tokens to train on
    #[arg(long)]
    tokens: Option<u64>,
    /// See a domain N times in each pass over the text
    #[arg(long, value_name = "DOMAIN=N", value_parser = repeat)]
    repeat: Vec<(String, u32)>,
    /// All options as TOML; options on the command line override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Resume from the checkpoint in --out
    #[arg(long)]
    resume: bool,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::parse(name).map_err(|e| e.to_string())
}

fn repeat(text: &str) -> Result<(String, u32), String> {
    let (domain, times) = text.split_once('=').ok_or("expected DOMAIN=N")?;
    let times = times.parse().map_err(|e| format!("`{times}`: {e}"))?;
    Ok((domain.to_owned(), times))
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// Options that make no sense, text that cannot be read, a folder that is taken or has nothing to resume;
    /// an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let config = self.config(session)?;
        let result = pretrain::run(&config, &self.out, self.resume, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!({"model": self.out, "result": result}));
        output.row("model", self.out.display());
        output.row("architecture", config.architecture.name());
        output.row(
            "parameters",
            format!("{}, of which a token meets {}", result.parameters, result.active_parameters),
        );
        for (layer, density) in &result.density {
            let each: Vec<String> = density.iter().map(|share| format!("{share:.3}")).collect();
            output.row(
                &format!("modules of layer {layer}"),
                format!("on for {} of held-out tokens", each.join(", ")),
            );
        }
        over_training(&storage::pretraining::read(&self.out)?, &mut output);
        output.row("tokens", result.tokens);
        for (domain, score) in &result.held_out {
            output.row(&format!("bits/byte {domain}"), format!("{:.3}", score.bits_per_byte));
        }
        Ok(output)
    }

    fn config(&self, session: &Session) -> Result<PretrainConfig> {
        let mut config = match (&self.from, &self.config) {
            (Some(from), config) => tuning(from, config.as_deref())?,
            (None, None) => PretrainConfig::of(self.architecture.unwrap_or_default()),
            (None, Some(path)) => from_toml(path, self.architecture)?,
        };
        if self.start.is_some() {
            config.start.clone_from(&self.start);
        }
        if !self.text.is_empty() {
            config.text.clone_from(&self.text);
        }
        config.tokens = self.tokens.unwrap_or(config.tokens);
        config.seed = session.seed.unwrap_or(config.seed);
        config.repeat.extend(self.repeat.iter().cloned());
        Ok(config)
    }
}

/// Routers over training, at its beginning, quarters and end; nothing of a model without any.
fn over_training(log: &[PretrainingRow], output: &mut Output) {
    let figures: [(&str, fn(&PretrainingRow) -> Option<f32>); 3] = [
        ("experts per token", |row| row.experts_per_token),
        ("router entropy", |row| row.router_entropy),
        ("temperature", |row| row.temperature),
    ];
    let last = log.len().saturating_sub(1);
    for (name, figure) in figures {
        let shown = |quarter: usize| log.get(quarter * last / 4).and_then(figure);
        if log.iter().any(|row| figure(row).is_some()) {
            let each: Vec<String> = (0..=4)
                .map(|q| shown(q).map_or_else(|| "–".to_owned(), |value| format!("{value:.2}")))
                .collect();
            output.row(name, format!("{} (beginning, quarters and end)", each.join(", ")));
        }
    }
}

/// The options that `from` was made with, for less text at a lower rate, and over them those of a file.
fn tuning(from: &Path, over: Option<&Path>) -> Result<PretrainConfig> {
    let made = pretrain::options_of(from)?;
    let config = PretrainConfig {
        from: Some(from.to_owned()),
        start: None,
        text: Vec::new(),
        repeat: Default::default(),
        tokens: 1_000_000,
        learning_rate: made.learning_rate / 10.0,
        warm_up_steps: made.warm_up_steps.min(50),
        ..made
    };
    let Some(path) = over else { return Ok(config) };
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let wrong = |e: &dyn std::fmt::Display| Error::format(path, e.to_string());
    let mut all = toml::Table::try_from(config).map_err(|e| wrong(&e))?;
    all.extend(toml::from_str::<toml::Table>(&text).map_err(|e| wrong(&e))?);
    all.try_into().map_err(|e| wrong(&e))
}

/// The options of a file; what it leaves out is as the architecture begins.
fn from_toml(path: &Path, architecture: Option<Kind>) -> Result<PretrainConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let wrong = |e: &dyn std::fmt::Display| Error::format(path, e.to_string());
    let mut given: toml::Table = toml::from_str(&text).map_err(|e| wrong(&e))?;
    let named = match given.get("architecture").and_then(toml::Value::as_str) {
        Some(name) => Some(Kind::parse(name)?),
        None => None,
    };
    let kind = architecture.or(named).unwrap_or_default();
    given.insert("architecture".to_owned(), kind.name().into());
    let mut all = toml::Table::try_from(PretrainConfig::of(kind)).map_err(|e| wrong(&e))?;
    all.extend(given);
    all.try_into().map_err(|e| wrong(&e))
}
