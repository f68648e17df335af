//! `sae pretrain`: a small mixture-of-experts language model from text.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use lm::pretrain::{self, PretrainConfig};
use sae::{Error, Result};

/// Train a small mixture-of-experts language model on text
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sae pretrain --text text/ --tokens 20000000 --repeat legal=3 --out small-moe"
)]
pub struct Command {
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
        output.row("parameters", result.parameters);
        output.row("tokens", result.tokens);
        for (domain, score) in &result.held_out {
            output.row(&format!("bits/byte {domain}"), format!("{:.3}", score.bits_per_byte));
        }
        Ok(output)
    }

    fn config(&self, session: &Session) -> Result<PretrainConfig> {
        let mut config = match &self.config {
            None => PretrainConfig::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
                toml::from_str(&text).map_err(|e| Error::format(path, e.to_string()))?
            }
        };
        if !self.text.is_empty() {
            config.text.clone_from(&self.text);
        }
        config.tokens = self.tokens.unwrap_or(config.tokens);
        config.seed = session.seed.unwrap_or(config.seed);
        config.repeat.extend(self.repeat.iter().cloned());
        Ok(config)
    }
}
