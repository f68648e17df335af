//! `sae import`: activations that were computed elsewhere, and patches of pictures.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use storage::{Dtype, ModelRef};

use super::{Output, Session, import_dictionary};
use lm::model::ModelSource;
use sae::interop::activations::{self, ImportConfig, Imported, Plan};
use sae::interop::images::{self, ImagesConfig};
use sae::{Error, Progress as _, Result};

const EXAMPLES: &str = "\
Examples:
  sae import acts.npy --out data                                   # [rows, d] or [sequences, tokens, d]; f2, f4, f8
  sae import acts.npy --tokens ids.npy --tokenizer gpt2/ --model gpt2 --hook blocks.6.hook_resid_post --out data
  sae import acts.safetensors --column layer6 --out data           # a tensor; tokens, documents, positions, a mask with it
  sae import cached/ --tokenizer pythia/ --out data                # SAELens's cached activations (Arrow)
  sae import shards/ --dry-run --out data                          # Parquet: a column of lists, or dim_0, dim_1, …
  sae import --images photographs/ --patch 16 --patches 100000 --out patches

Then: sae train --data data …, sae index RUN --no-model, sae evaluate RUN --no-model.
Rows that an attention_mask marks as padding are left out; the test and validation splits of a DatasetDict are held out.
Rows without tokens stay without: the index and the window show where they are, not text.
An interrupted import continues when the same command is given again.";

/// Make a dataset of activations computed elsewhere (.npy, .safetensors, Arrow, Feather, Parquet) or of patches of pictures; with
/// `dictionary`, a run of a dictionary that a different program trained
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Command {
    #[command(subcommand)]
    what: Option<ImportKind>,
    #[command(flatten)]
    rows: Rows,
}

#[derive(Debug, Subcommand)]
enum ImportKind {
    Dictionary(import_dictionary::Command),
}

#[derive(Debug, Args)]
struct Rows {
    /// Files of one kind, in the order of their rows, or folders of them
    #[arg(value_name = "PATH", required_unless_present = "images")]
    inputs: Vec<PathBuf>,
    /// Folder for the dataset
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
    /// Show what would be read, and stop
    #[arg(long)]
    dry_run: bool,
    /// Column or tensor of the activations; for one column per dimension, the name before the number
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Column or tensor of the tokens, for .npy a file; `none` to leave them out [default: token, token_ids, input_ids, …]
    #[arg(long, value_name = "NAME")]
    tokens: Option<String>,
    /// Column or tensor of the documents; `none` to leave them out [default: document, doc_id, sample_id, …]
    #[arg(long, value_name = "NAME")]
    document_column: Option<String>,
    /// Column or tensor of the positions; `none` to leave them out [default: position, token_pos, pos]
    #[arg(long, value_name = "NAME")]
    position_column: Option<String>,
    /// Column or tensor, for .npy a file, that is 0 where a row is padding; `none` to keep all [default: attention_mask]
    #[arg(long, value_name = "NAME")]
    mask_column: Option<String>,
    /// Rows per document where the files do not tell documents apart [default: 256, fewer for few rows]
    #[arg(long, value_name = "ROWS")]
    rows_per_document: Option<u64>,
    /// The model that made the activations: if its weights are here they are noted, so that `sae evaluate` can splice; else a name
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Where they were taken, a TransformerLens name [default: the column's name if it is one]
    #[arg(long)]
    hook: Option<String>,
    /// Text of the tokens: a tokenizer.json or a folder with one
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Type of stored activations: f16 or f32 [default: that of the files; f32 for f64, bf16 and pictures]
    #[arg(long, value_parser = super::harvest::dtype)]
    dtype: Option<Dtype>,
    /// Stop after this many rows
    #[arg(long)]
    rows: Option<u64>,
    /// Share of the documents, or of each picture's height, to set aside
    #[arg(long, default_value_t = 0.05)]
    held_out: f64,
    /// PNG and JPEG files, or folders of them: patches become rows
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["inputs", "column", "tokens", "tokenizer", "dry_run"])]
    images: Vec<PathBuf>,
    /// Pixels of a patch's side [default: 16]
    #[arg(long, value_name = "PIXELS")]
    patch: Option<usize>,
    /// Patches to take [default: 100000]
    #[arg(long)]
    patches: Option<usize>,
    /// Red, green and blue instead of grey
    #[arg(long)]
    colour: bool,
    /// Leave out patches whose pixels (0 to 1) deviate by less [default: 0.02]
    #[arg(long, value_name = "DEVIATION")]
    flat: Option<f32>,
    /// Components below this share of the mean variance are not amplified further by whitening [default: 0.001]
    #[arg(long, value_name = "SHARE")]
    floor: Option<f64>,
    /// Store patches as they are
    #[arg(long)]
    no_whitening: bool,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// As [`activations::run`], [`images::run`] and [`sae::imported::run`].
    pub fn run(self, session: &mut Session) -> Result<Output> {
        match self.what {
            Some(ImportKind::Dictionary(command)) => command.run(session),
            None => self.rows.run(session),
        }
    }
}

impl Rows {
    fn run(self, session: &mut Session) -> Result<Output> {
        let out = self.out.clone().ok_or_else(|| Error::request("--out names the folder for the dataset"))?;
        if !self.images.is_empty() {
            let config = self.images(session);
            return Ok(made(&images::run(&config, &out, &mut session.progress)?));
        }
        // clap's `requires` gives way where the two exclude each other, so it cannot say this.
        let of_pictures = [
            ("--patch", self.patch.is_some()),
            ("--patches", self.patches.is_some()),
            ("--colour", self.colour),
            ("--flat", self.flat.is_some()),
            ("--floor", self.floor.is_some()),
            ("--no-whitening", self.no_whitening),
        ];
        if let Some((option, _)) = of_pictures.iter().find(|(_, given)| *given) {
            return Err(
                Error::request(format!("{option} is about pictures")).with_remedy("name them with --images")
            );
        }
        let config = self.activations(session)?;
        if self.dry_run {
            return Ok(planned(&activations::plan(&config)?));
        }
        Ok(made(&activations::run(&config, &out, &mut session.progress)?))
    }

    fn images(&self, session: &Session) -> ImagesConfig {
        let defaults = ImagesConfig::default();
        ImagesConfig {
            inputs: self.images.clone(),
            patch: self.patch.unwrap_or(defaults.patch),
            patches: self.patches.unwrap_or(defaults.patches),
            colour: self.colour,
            flat: self.flat.unwrap_or(defaults.flat),
            whiten: !self.no_whitening,
            floor: self.floor.unwrap_or(defaults.floor),
            dtype: self.dtype.unwrap_or(defaults.dtype),
            held_out_share: self.held_out,
            seed: session.seed.unwrap_or(defaults.seed),
        }
    }

    fn activations(&self, session: &mut Session) -> Result<ImportConfig> {
        let defaults = ImportConfig::default();
        Ok(ImportConfig {
            inputs: self.inputs.clone(),
            column: self.column.clone(),
            tokens: self.tokens.clone(),
            documents: self.document_column.clone(),
            positions: self.position_column.clone(),
            mask: self.mask_column.clone(),
            rows_per_document: self.rows_per_document,
            model: self.model.as_deref().map_or(Ok(defaults.model), |name| model(name, session))?,
            hook: self.hook.clone(),
            tokenizer: self.tokenizer.clone(),
            dtype: self.dtype,
            rows: self.rows,
            held_out_share: self.held_out,
            seed: session.seed.unwrap_or(defaults.seed),
            ..ImportConfig::default()
        })
    }
}

/// What is noted of the model: weights if it is on this machine, else its name alone.
fn model(name: &str, session: &mut Session) -> Result<ModelRef> {
    let source = ModelSource::parse(name);
    match source.sha256() {
        Ok(sha256) => Ok(ModelRef { id: source.id(), path: Some(source.lasting()?), sha256 }),
        Err(Error::Request(_)) => {
            session.progress.remark(&format!("{name} is not on this machine: its name alone is noted"));
            Ok(ModelRef { id: name.to_owned(), ..ModelRef::default() })
        }
        Err(error) => Err(error),
    }
}

fn made(made: &Imported) -> Output {
    let mut output = Output::new(serde_json::json!(made));
    output.row("dataset", made.dataset.display());
    output.row("rows", format!("{} {} of {} numbers", made.rows, made.rows_are.name(), made.d_model));
    output.row("documents", format!("{}, {} of them held out", made.documents, made.held_out));
    output
}

fn planned(plan: &Plan) -> Output {
    let unknown = || "not known before they are read".to_owned();
    let mut output = Output::new(serde_json::json!(plan));
    output.row("files", plan.files.len());
    output.row("reads", &plan.reads);
    output.row("rows", plan.rows.map_or_else(unknown, |rows| rows.to_string()));
    output.row("tokens", if plan.tokens { "yes" } else { "no: rows stay without text" });
    output.row("documents", &plan.documents);
    output.row("hook", plan.hook.as_deref().unwrap_or("not known; --hook names it"));
    let size = |bytes: u64| format!("{:.1} MB before compression", bytes as f64 / 1e6);
    output.row("disk", plan.bytes.map_or_else(unknown, size));
    plan.notes.iter().for_each(|note| output.row("note", note));
    output
}
