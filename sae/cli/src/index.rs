//! `sae index`: the tables that the window shows features from.

use std::path::Path;

use clap::Args;

use super::inputs::RunInputs;
use super::kept::Kept;
use super::shards::{self, Part, Sharded};
use super::{Output, Session};
use sae::Result;
use sae::features::{self, IndexOptions};
use storage::IndexRecord;

/// Find out what a dictionary's features do: statistics, examples, logits, neighbours
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae index topk --tokens 2000000\n  sae index gpt2-res/blocks.5.hook_resid_pre --data data --out gpt2-5\n\nSeveral machines: give each the same command with --shard 0/8 to 7/8, then one with --merge (docs/scale-out.md). A shard that was interrupted continues when its command is given again."
)]
pub struct Command {
    /// A run; with --out also a dictionary of a different program (a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub)
    #[arg(value_name = "SOURCE")]
    run: String,
    #[command(flatten)]
    kept: Kept,
    #[command(flatten)]
    inputs: RunInputs,
    /// Tokens at most, in whole documents; each takes 8 bytes of memory
    #[arg(long)]
    tokens: Option<u64>,
    /// Take the logits through this Jacobian lens, made by `sae lens`, instead of along the direct path
    #[arg(long, value_name = "DIR")]
    lens: Option<std::path::PathBuf>,
    /// Leave the map of the features out; `sae map` makes it later
    #[arg(long)]
    no_map: bool,
    /// Strongest examples of a feature that are traced to the tokens they come from, in dictionaries of attention heads
    /// (attn.hook_z); 0 for none [default: 20]
    #[arg(long, value_name = "N")]
    sources_of: Option<usize>,
    #[command(flatten)]
    sharded: Sharded,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary, dataset or model that cannot be found or read, or that do not belong together; files
    /// that cannot be written; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let part = self.sharded.part_of_run(self.kept.makes())?;
        let run = self.kept.source(&self.run, self.inputs.data.as_deref(), session)?;
        let defaults = IndexOptions::default();
        let options = IndexOptions {
            model: self.inputs.model.choice(session)?,
            data: self.inputs.data,
            lens: self.lens,
            tokens: self.tokens,
            map: !self.no_map,
            sources_of: self.sources_of.unwrap_or(defaults.sources_of),
            ..defaults
        };
        let progress = &mut session.progress;
        let summary = match part {
            Part::Whole => features::index(&run, &options, progress)?,
            Part::Merge => features::index_merge(&run, &options, progress)?,
            Part::Shard(shard) => {
                return Ok(shards::finished(features::index_shard(&run, &options, shard, progress)?));
            }
        };
        Ok(indexed(&run, &summary))
    }
}

fn indexed(run: &Path, summary: &IndexRecord) -> Output {
    let mut output = Output::new(serde_json::json!(summary));
    output.row("index", run.join("features").display());
    output.row("features", format!("{}, {} of them dead", summary.features, summary.dead));
    output.row("tokens", format!("{} of {} documents", summary.tokens, summary.documents));
    output.row("activations", summary.activations);
    output.row("logits", &summary.logits);
    if summary.heads > 0 {
        output.row("heads", format!("{}, decoder weight of each", summary.heads));
    }
    match &summary.attribution {
        Some(about) if summary.attributed > 0 => {
            output.row("sources", format!("{} examples, {about}", summary.attributed));
        }
        Some(why) => output.row("sources", format!("none: {why}")),
        None => {}
    }
    output
}
