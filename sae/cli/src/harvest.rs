//! `sae harvest`: activations of a model on text.

use std::path::PathBuf;

use clap::Args;
use storage::Dtype;

use super::{Output, Session};
use lm::model::{BosRule, Compute, HookPattern, LanguageModel};
use sae::Progress as _;
use sae::Result;
use sae::harvest::{self, HarvestConfig, Harvested};
use sae::shards::Shard;

/// Read a model's activations on text into a Parquet dataset
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sae harvest --model default --text texts/ --hook blocks.2.hook_resid_post --routing --out data\n\nAn interrupted harvest continues when the same command is given again.\nSeveral machines: give each the same command with --shard 0/8 to 7/8, then sae harvest --merge --out data."
)]
pub struct Command {
    /// A Hugging Face folder, a GGUF file, a name on the hub, or `default` for the embedded model
    #[arg(long, default_value = "default", value_name = "DIR")]
    model: String,
    /// Text files and folders (.txt, .md, .jsonl, .json, .csv, .parquet, .arrow, Hugging Face datasets, also
    /// .gz and .zst)
    #[arg(long, required_unless_present = "merge", num_args = 1.., value_name = "PATH")]
    text: Vec<PathBuf>,
    /// Field or column of the text [default: text, or input_ids (tokens), or messages (chats)]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Of chats, keep only the rows of these roles' messages, e.g. assistant [default: all rows]
    #[arg(long, num_args = 1.., value_name = "ROLE")]
    roles: Vec<String>,
    /// Begin every context with the begin token: auto (as the tokenizer's files configure), always or never
    #[arg(long, default_value = "auto", value_name = "RULE")]
    bos: BosRule,
    /// Where to take activations; with several, each gets its own folder in --out. `blocks.*.hook_mlp_in` is that of every block
    #[arg(long = "hook", value_name = "HOOK")]
    hooks: Vec<HookPattern>,
    /// Folder for the dataset
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also write which experts each token went to
    #[arg(long)]
    routing: bool,
    /// Also write d(sum of next-token cross-entropy)/d(activation)
    #[arg(long)]
    gradients: bool,
    /// Stop after this many tokens
    #[arg(long)]
    tokens: Option<u64>,
    /// Tokens per context, BOS included [default: the model's longest, at most 1024]
    #[arg(long)]
    context_length: Option<usize>,
    /// Type of stored activations: f16 or f32
    #[arg(long, default_value = "f16", value_parser = dtype)]
    dtype: Dtype,
    /// In what numbers the model multiplies with its weights: f32, or bf16 (bfloat16, with sums in f32), which is faster on processors
    /// that have instructions for it
    #[arg(long, default_value = "f32", value_name = "NUMBERS")]
    compute: Compute,
    /// Contexts per batch of the model [default: as many as make about 2048 tokens]
    #[arg(long)]
    batch_rows: Option<usize>,
    /// Harvest part i of n (counted from 0) of the documents; when all n are there, --merge makes one dataset
    /// of them
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Make one dataset of the shards in --out
    #[arg(long, conflicts_with_all = ["shard", "text", "text_column", "roles", "bos", "hooks", "routing", "gradients", "tokens", "context_length", "dtype", "compute", "batch_rows", "held_out"])]
    merge: bool,
    /// Share of the documents to set aside where the text does not say which are held out
    #[arg(long, default_value_t = 0.05)]
    held_out: f64,
}

pub(super) fn dtype(name: &str) -> Result<Dtype, String> {
    match name {
        "f16" => Ok(Dtype::F16),
        "f32" => Ok(Dtype::F32),
        other => Err(format!("`{other}` is neither f16 nor f32")),
    }
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A model or text that cannot be read, a hook that the model does not have, a folder that is taken; an
    /// interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        if self.merge {
            return Ok(output(&harvest::merge(&self.out, &mut session.progress)?));
        }
        let defaults = HarvestConfig::default();
        let source = session.model(&self.model)?;
        let mut model = LanguageModel::load(&source)?;
        model.set_bos(self.bos)?;
        model.set_compute(self.compute);
        if !self.compute.is_native() {
            session.progress.remark(&format!(
                "this processor has no instructions for {}: the harvest takes several times as long as in f32",
                self.compute
            ));
        }
        let blocks = model.config().num_hidden_layers;
        let config = HarvestConfig {
            model: source,
            text: self.text,
            text_column: self.text_column,
            roles: self.roles,
            hooks: self.hooks.into_iter().flat_map(|pattern| pattern.hooks(blocks)).collect(),
            routing: self.routing,
            gradients: self.gradients,
            tokens: self.tokens,
            context_length: self.context_length,
            dtype: self.dtype,
            batch_rows: self.batch_rows,
            held_out_share: self.held_out,
            seed: session.seed.unwrap_or(defaults.seed),
            shard: self.shard,
            ..defaults
        };
        let made = harvest::run(&config, &model, &self.out, &mut session.progress)?;
        Ok(output(&made))
    }
}

fn output(made: &Harvested) -> Output {
    let mut output = Output::new(serde_json::json!(made));
    for dataset in &made.datasets {
        output.row("dataset", dataset.display());
    }
    output.row("rows", made.rows);
    output.row("documents", format!("{}, {} of them held out", made.documents, made.held_out));
    output.row("seconds", format!("{:.1}", made.seconds));
    output
}
