//! `sae experts explain`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use storage::experts::RouterRow;

use super::super::inputs::choice;
use super::number;
use crate::{Output, Session};
use sae::Result;
use sae::experts::explain::{self, ExplainRoutersOptions, RouterLayer, RoutersExplained};

/// Experts of a layer that are shown in the terminal; the tables and `--json` have all of them.
const SHOWN: usize = 8;

/// Explain routers by features: which send tokens to which expert, and how well they tell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae experts explain topk                      a run, on the data it was trained on\n  \
    sae experts explain owner/name --data data --out found   a dictionary of others\n\n\
    Predictors are made from documents that are not held out and measured on those that are (without such, on a half\n\
    drawn by --seed). Tables: features/routers.parquet, router_experts.parquet, router_features.parquet."
)]
pub struct Command {
    /// Run, or dictionary in any form that is read
    #[arg(value_name = "RUN|SOURCE")]
    dictionary: PathBuf,
    /// Dataset of activations [default: the run's]
    #[arg(long, value_name = "DATASET")]
    data: Option<PathBuf>,
    /// Dataset with the routing of the same tokens [default: that of the activations, or routing/ next to it]
    #[arg(long, value_name = "DATASET")]
    routing: Option<PathBuf>,
    /// Layers to explain, e.g. 1,2 [default: all]
    #[arg(long, value_delimiter = ',', value_name = "L")]
    layers: Option<Vec<u16>>,
    /// Most tokens to use, in whole documents
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    tokens: u64,
    /// Folder of the dataset's model, if it has moved; it is run for the direct shares
    #[arg(long, value_name = "DIR")]
    model: Option<String>,
    /// Leave out the direct shares, which need the model
    #[arg(long, conflicts_with = "model")]
    no_model: bool,
    /// Folder for the tables [default: the run]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let options = ExplainRoutersOptions {
            data: self.data,
            routing: self.routing,
            layers: self.layers,
            tokens: self.tokens,
            seed: session.seed.unwrap_or_default(),
            model: choice(self.model.as_deref(), self.no_model, session)?,
            out: self.out,
            ..ExplainRoutersOptions::default()
        };
        let found = explain::explain(&self.dictionary, &options, &mut session.progress)?;
        Ok(output(&found, &explain::about(&self.dictionary)?))
    }
}

fn output(found: &RoutersExplained, about: &HashMap<u32, String>) -> Output {
    let mut output = Output::new(json!(found));
    output.row("features at", &found.hook);
    let whose = if found.held_out { "held-out documents" } else { "the other half of the documents" };
    output.row(
        "tokens",
        format!("predictors made from {}, measured on {} of {whose}", found.made, found.measured),
    );
    for layer in &found.layers {
        output.row(&format!("layer {}, recall", layer.layer), recalls(layer));
        let mut experts: Vec<_> = layer.experts.iter().filter(|row| row.tokens > 0).collect();
        experts.sort_by(|a, b| b.tokens.cmp(&a.tokens).then(a.expert.cmp(&b.expert)));
        for row in experts.iter().take(SHOWN) {
            let union = row.union_size.map_or_else(|| "more than 64".to_owned(), |n| n.to_string());
            output.row(
                &format!("  expert {}:{}", row.layer, row.expert),
                format!(
                    "recall {} (token alone {}), union size {union}, direct {}; {}",
                    number(row.recall, 2),
                    number(row.recall_unigram, 2),
                    number(row.direct_share, 2),
                    explain::in_words(layer, row.expert, about)
                ),
            );
        }
        let ruled = experts.iter().filter(|row| row.rule_f1.is_some_and(|f1| f1 >= explain::RULED)).count();
        output.row(
            "  ruled by tokens",
            format!("{ruled} of {} experts (F1 {} or more)", experts.len(), explain::RULED),
        );
        if experts.len() > SHOWN {
            output.row("", format!("and {} more experts", experts.len() - SHOWN));
        }
    }
    output.row("tables", found.folder.join("features").display());
    output
}

/// The predictors of a layer in one line.
fn recalls(layer: &RouterLayer) -> String {
    let name = |row: &RouterRow| match (row.predictor.as_str(), row.features) {
        ("features", Some(m)) => format!("{m} features"),
        ("features", None) => "all features".to_owned(),
        (name, _) => name.to_owned(),
    };
    let shown = |row: &&RouterRow| !matches!(row.features, Some(2 | 8 | 32));
    let one = |row: &RouterRow| format!("{} {:.3}", name(row), row.recall);
    layer.predictors.iter().filter(shown).map(one).collect::<Vec<_>>().join(", ")
}
