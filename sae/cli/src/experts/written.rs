//! `sae experts written`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use storage::experts::WrittenRow;

use super::super::inputs::ModelOption;
use crate::{Output, Session};
use sae::Result;
use sae::experts::written::{self, WrittenOptions, WrittenReport};

/// Experts of a layer that are shown in the terminal; the table and `--json` have all of them.
const SHOWN: usize = 16;

/// Tell what experts write: the tokens whose directions in the output matrix give most of their outputs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae experts written data --rank 8\n\n\
    Directions are chosen one after the other for all outputs of an expert at once (simultaneous matching pursuit), and\n\
    compared with as many drawn by chance. Table: DATASET/experts/written.parquet.")]
pub struct Command {
    /// Dataset with a routing table
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,
    #[command(flatten)]
    model: ModelOption,
    /// Tokens to run the model on
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    tokens: u64,
    /// Tokens to name of an expert
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    rank: u64,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dataset without routing, a model that cannot be run or whose experts are not run one by one; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let options = WrittenOptions {
            model: self.model.choice(session)?,
            tokens: self.tokens,
            rank: self.rank as usize,
            seed: session.seed.unwrap_or_default(),
        };
        Ok(shown(&written::written(&self.dataset, &options, &mut session.progress)?))
    }
}

fn shown(found: &WrittenReport) -> Output {
    let mut output = Output::new(json!(found));
    output.row("outputs", format!("of {} tokens", found.tokens));
    let mut layers: Vec<u16> = found.rows.iter().map(|row| row.layer).collect();
    layers.dedup();
    for layer in layers {
        let of_layer: Vec<&WrittenRow> = found.rows.iter().filter(|row| row.layer == layer).collect();
        let experts: Vec<&[&WrittenRow]> = of_layer.chunk_by(|a, b| a.expert == b.expert).collect();
        for rows in experts.iter().take(SHOWN) {
            let Some(last) = rows.last() else { continue };
            let words: Vec<String> = rows
                .iter()
                .map(|row| format!("{}{:?}", if row.coefficient < 0.0 { "−" } else { "" }, row.text))
                .collect();
            output.row(
                &format!("expert {layer}:{}", last.expert),
                format!(
                    "{:.1} % by {} ({:.1} % by as many by chance)",
                    100.0 * last.explained,
                    words.join(" "),
                    100.0 * last.by_chance
                ),
            );
        }
        if experts.len() > SHOWN {
            output.row("", format!("and {} more experts", experts.len() - SHOWN));
        }
    }
    output.row("table", found.table.display());
    output
}
