//! `sae experts units`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::number;
use crate::{Output, Session};
use lm::model::LanguageModel;
use lm::text;
use sae::Progress as _;
use sae::experts::units::{self, ONE_IN, UnitsLayer, UnitsOptions, UnitsReport};
use sae::{Error, Result};

/// Tell which hidden units and experts of a model, dense or a mixture, a rule that names tokens explains
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae experts units default --text texts/ --tokens 100000\n  \
    sae experts units relu --text texts/ --out relu     … and keep F1 of every unit in relu/units.parquet\n\n\
    A unit fires at the one of a hundred tokens where it is strongest; rules are made from documents that are not held\n\
    out and measured on those that are (without such, on a half drawn by --seed). Explained: F1 of 0.8 or more.")]
pub struct Command {
    /// A Hugging Face folder, a GGUF file, a name on the hub, or `default` for the embedded model
    #[arg(value_name = "MODEL")]
    model: String,
    /// Text files and folders, as for harvest
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    text: Vec<PathBuf>,
    /// Most tokens to use, in whole documents
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    tokens: u64,
    /// Tokens per context, BOS included [default: what the model was made for, at most 1024]
    #[arg(long)]
    context_length: Option<usize>,
    /// Folder for units.parquet
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A model or text that cannot be read, too few documents; a folder that cannot be written; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let model = LanguageModel::load(&session.model(&self.model)?)?;
        let longest = model.config().max_position_embeddings;
        let context_length = self.context_length.unwrap_or(longest.min(1024));
        if !(2..=longest).contains(&context_length) {
            return Err(Error::request(format!(
                "the context length is {context_length}; expected 2 to {longest}"
            )));
        }
        let mut texts = text::texts(&self.text, &text::TextOptions::default())?;
        texts.notes().iter().for_each(|note| session.progress.remark(note));
        let documents = texts.by_ref().collect::<Result<Vec<_>>>()?;
        texts.report().remarks().iter().for_each(|remark| session.progress.remark(remark));
        let options =
            UnitsOptions { tokens: self.tokens, context_length, seed: session.seed.unwrap_or_default() };
        let found = units::units(&model, &documents, options, &mut session.progress)?;
        let mut output = shown(&found);
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
            let table = out.join("units.parquet");
            storage::row::write(&table, &found.rows)?;
            output.row("table", table.display());
        }
        Ok(output)
    }
}

fn shown(found: &UnitsReport) -> Output {
    let mut output = Output::new(json!(found));
    let whose = if found.held_out { "held-out documents" } else { "the other half of the documents" };
    output.row(
        "tokens",
        format!(
            "rules made from {}, measured on {} of {whose}; a unit fires at one of {ONE_IN}",
            found.made, found.measured
        ),
    );
    let share = |ruled: u64, of: u64| match of {
        0 => "–".to_owned(),
        _ => format!("{ruled} of {of} ({:.1} %)", 100.0 * ruled as f64 / of as f64),
    };
    for UnitsLayer { layer, units, units_ruled, units_f1, density, experts, experts_ruled, experts_f1 } in
        &found.layers
    {
        if *units > 0 {
            output.row(
                &format!("layer {layer}, units"),
                format!(
                    "{} explained, mean F1 {}, not 0 at {} of the tokens",
                    share(*units_ruled, *units),
                    number(*units_f1, 3),
                    number(*density, 3)
                ),
            );
        }
        if *experts > 0 {
            output.row(
                &format!("layer {layer}, experts"),
                format!("{} explained, mean F1 {}", share(*experts_ruled, *experts), number(*experts_f1, 3)),
            );
        }
    }
    output
}
