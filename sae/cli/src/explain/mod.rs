//! `sae explain`: explanations of features, by rules of tokens, by a language model, or imported from other tools.

mod by_model;

use std::path::PathBuf;

use clap::Args;

use super::kept::Indexed;
use super::shards::{self, Part, Sharded};
use super::{Output, Session};
use by_model::ByModel;
use sae::explain::import::{self, ImportOptions};
use sae::explain::{self, ExplainOptions};
use sae::{Error, Result};

/// Explain an indexed run's features by rules of tokens, or with --url by a language model, with scores on
/// documents that the explanations were not made from
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae explain topk\n  sae explain topk --import batch-0.jsonl\n  \
    sae explain topk --url http://127.0.0.1:8080 --model qwen3-8b --number 50\n  \
    sae explain topk --url https://openrouter.ai/api/v1 --model vendor/name --key-env OPENROUTER_API_KEY --yes\n  \
    sae explain gpt2-res/blocks.5.hook_resid_pre --data data --out gpt2-5\n\nSeveral machines: give each the same command with --shard 0/8 to \
    7/8, then one with --merge (docs/scale-out.md). Shards are for rules; a server of a language model is asked by one process, with --concurrency.")]
pub struct Command {
    /// Indexed run (see `sae index`); with --out also a dictionary of a different program (a folder, a file, or
    /// OWNER/NAME[@REVISION][/PATH] of the hub)
    #[arg(value_name = "SOURCE")]
    run: String,
    /// Dataset to explain on [default: the one that was indexed]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Least F1 and least correlation of a rule that is kept
    #[arg(long, default_value_t = ExplainOptions::default().least, value_name = "SHARE")]
    least: f64,
    /// Import another tool's explanations instead: Neuronpedia's export (.jsonl, .json), delphi's folder of results, or feature,
    /// text, score, method, author (.jsonl, .csv)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "least"])]
    import: Option<PathBuf>,
    /// Name of the imported source, or of the language model's; a source of the same name is replaced [default: the file's
    /// name, the model's name]
    #[arg(long)]
    name: Option<String>,
    /// Layer, source id or hook to take from an export of several
    #[arg(long, requires = "import", value_name = "ID")]
    layer: Option<String>,
    #[command(flatten)]
    indexed: Indexed,
    #[command(flatten)]
    by_model: ByModel,
    #[command(flatten)]
    sharded: Sharded,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A run without an index, a dataset or a file of explanations that cannot be read; an interruption.
    pub fn run(mut self, session: &mut Session) -> Result<Output> {
        let part = self.sharded.part_of_run(self.indexed.makes())?;
        if !matches!(part, Part::Whole) && (self.by_model.is_wanted() || self.import.is_some()) {
            return Err(Error::request("--shard and --merge are for rules, not for --url and --import"));
        }
        if self.by_model.is_wanted() {
            let model = self.indexed.take_model();
            let options = self.by_model.options(model, self.name, self.data.clone(), session)?;
            let run = self.indexed.run(&self.run, self.data.as_deref(), true, session)?;
            return by_model::run(&run, &options, session);
        }
        if self.name.is_some() && self.import.is_none() {
            return Err(Error::request("--name is for --import and --url"));
        }
        let run = self.indexed.run(&self.run, self.data.as_deref(), true, session)?;
        if let Some(file) = self.import {
            let options = ImportOptions { file, name: self.name, layer: self.layer };
            return Ok(imported(&import::run(&run, &options, &mut session.progress)?));
        }
        let options = ExplainOptions {
            data: self.data,
            least: self.least,
            seed: session.seed.unwrap_or(0),
            ..ExplainOptions::default()
        };
        let progress = &mut session.progress;
        Ok(match part {
            Part::Whole => explained(&explain::explain(&run, &options, progress)?),
            Part::Merge => explained(&explain::explain_merge(&run, &options, progress)?),
            Part::Shard(shard) => shards::finished(explain::explain_shard(&run, &options, shard, progress)?),
        })
    }
}

fn explained(summary: &explain::ExplainSummary) -> Output {
    let mut output = Output::new(serde_json::json!(summary));
    output.row("explanations", summary.table.display());
    output.row(
        "features",
        format!(
            "{} of {} explained; {} have no rule with F1 and correlation ≥ {}, {} fire too rarely",
            summary.explained, summary.features, summary.unexplained, summary.least, summary.rare
        ),
    );
    output
        .row("made from", format!("{} tokens of {} documents", summary.tokens_made, summary.documents_made));
    output.row(
        "measured on",
        format!("{} tokens of {} other documents", summary.tokens_measured, summary.documents_measured),
    );
    if summary.claims > 0 {
        output.row("claims", format!("{} of people, scored on the same documents", summary.claims));
    }
    if let (Some(f1), Some(correlation)) = (summary.mean_f1, summary.mean_correlation) {
        output.row("mean F1", format!("{f1:.3}"));
        output.row("mean correlation", format!("{correlation:.3}"));
    }
    for best in &summary.best {
        output.row(
            &format!("feature {}", best.feature),
            format!("{} (F1 {:.3}, correlation {:.3})", best.text, best.f1, best.correlation),
        );
    }
    output
}

fn imported(summary: &import::Imported) -> Output {
    let mut output = Output::new(serde_json::json!(summary));
    output.row("explanations", summary.table.display());
    output.row("format", summary.format);
    output.row("read", format!("{} of {} features", summary.explanations, summary.features));
    if summary.empty > 0 {
        output.row("left out", format!("{} without a text", summary.empty));
    }
    if summary.others > 0 {
        output.row("left out", format!("{} of other layers", summary.others));
    }
    output
}
