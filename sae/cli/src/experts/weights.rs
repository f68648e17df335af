//! `sae experts weights` and `sae experts cells`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use storage::dataset::MANIFEST;
use storage::experts::SimilarityRow;

use super::super::inputs::ModelOption;
use super::number;
use crate::{Output, Session};
use lm::model::{LanguageModel, ModelSource};
use sae::experts::weights::{self, Cells, WeightsReport};
use sae::{Error, Result};

/// Compare a model's experts by their weights: router rows, duplicates, expected sparsity
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae experts weights default     cosines and duplicates, from weights alone\n  \
    sae experts weights data        the dataset's model; for ReLU experts also their sparsity on its tokens"
)]
pub struct Command {
    /// Model, or dataset with a routing table whose model is compared
    #[arg(value_name = "MODEL|DATASET")]
    input: PathBuf,
    #[command(flatten)]
    model: ModelOption,
    /// Tokens to count active units on
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    tokens: u64,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dataset or model that cannot be read; `--model` where the input is a model; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let seed = session.seed.unwrap_or_default();
        if is_dataset(&self.input) {
            let choice = self.model.choice(session)?;
            let report = weights::of_dataset(&self.input, &choice, self.tokens, seed, &mut session.progress)?;
            let mut output = table(&report);
            output.row("tables", self.input.join("experts").display());
            return Ok(output);
        }
        if self.model.is_given() {
            return Err(Error::request("--model is for a dataset; a model is given alone"));
        }
        let model = LanguageModel::load(&ModelSource::parse(&self.input.display().to_string()))?;
        Ok(table(&weights::of_model(&model, seed, &mut session.progress)?))
    }
}

/// The correlation from which on an expert counts as found again.
const AGAIN: f64 = 0.5;

fn is_dataset(path: &Path) -> bool {
    path.join(MANIFEST).exists() || path.join("routing").join(MANIFEST).exists()
}

fn table(report: &WeightsReport) -> Output {
    let mut output = Output::new(json!(report));
    let mut layers: Vec<u16> = report.similarity.iter().map(|row| row.layer).collect();
    layers.dedup();
    for layer in layers {
        let rows: Vec<&SimilarityRow> = report.similarity.iter().filter(|row| row.layer == layer).collect();
        output.row(&format!("layer {layer}"), format!("{} pairs", rows.len()));
        let line = |of: fn(&SimilarityRow) -> Option<f64>| spread(&rows, of);
        output.row("  router cosine", line(|row| row.router_cosine));
        output.row("  weights cosine", line(|row| row.weights_cosine));
        output.row("  output cosine", line(|row| row.output_cosine));
        let twins: Vec<String> =
            rows.iter().filter(|row| row.duplicate).map(|row| format!("{} = {}", row.a, row.b)).collect();
        let twins = if twins.is_empty() { "none".to_owned() } else { twins.join(", ") };
        output
            .row("  duplicates", format!("{twins} (cosine of weights or outputs ≥ {})", weights::DUPLICATE));
        let active: Vec<_> = report.sparsity.iter().filter(|row| row.layer == layer).collect();
        if !active.is_empty() {
            let mean = |of: fn(&storage::experts::SparsityRow) -> f64| {
                active.iter().map(|row| of(row)).sum::<f64>() / active.len() as f64
            };
            output.row(
                "  active units",
                format!(
                    "expected {:.4}, measured {:.4}, error {:.4} per token; mean over {} experts",
                    mean(|row| row.expected),
                    mean(|row| row.measured),
                    mean(|row| row.error),
                    active.len()
                ),
            );
        }
    }
    report.gaps.iter().for_each(|gap| output.row("not known", gap));
    output
}

/// Lowest, highest and mean cosine, and the pair with the highest.
fn spread(rows: &[&SimilarityRow], of: fn(&SimilarityRow) -> Option<f64>) -> String {
    let known: Vec<(f64, &SimilarityRow)> = rows.iter().filter_map(|row| Some((of(row)?, *row))).collect();
    let Some((most, row)) = known.iter().max_by(|a, b| a.0.total_cmp(&b.0)) else { return "–".to_owned() };
    let least = known.iter().map(|(cosine, _)| *cosine).reduce(f64::min);
    let mean = known.iter().map(|(cosine, _)| cosine).sum::<f64>() / known.len() as f64;
    format!("{} to {most:.3} (experts {} and {}), mean {mean:.3}", number(least, 3), row.a, row.b)
}

/// Find which experts or features of a reference are missed, matched or split in another model or run
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae experts cells topk-wide topk       features of `topk` among those of `topk-wide`\n  \
    sae experts cells model-sft model      experts of `model` among those of `model-sft`, by weights\n  \
    sae experts cells data-2 data-1        experts in two routing tables of the same text, by the tokens that choose\n  \
                                           them: also of models that began with different seeds"
)]
pub struct CellsCommand {
    /// Run, model, or dataset with a routing table to compare
    other: PathBuf,
    /// Run, model or dataset whose features or experts define the cells
    reference: PathBuf,
}

impl CellsCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary and a model, which cannot be compared; files that cannot be read; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let is_run = |path: &Path| path.join("sae_weights.safetensors").exists();
        if is_dataset(&self.other) && is_dataset(&self.reference) {
            let found = weights::cells_of_choices(&self.other, &self.reference, &mut session.progress)?;
            let mut output = cells(&found, "experts");
            let again = found.cells.iter().filter(|c| c.best_cosine.is_some_and(|phi| phi >= AGAIN)).count();
            output.row("found again", format!("{again}: correlation of choices of {AGAIN} or more"));
            return Ok(output);
        }
        let (of, found) = match (is_run(&self.other), is_run(&self.reference)) {
            (true, true) => {
                ("features", weights::cells_of_features(&self.other, &self.reference, &mut session.progress)?)
            }
            (false, false) => {
                let load =
                    |path: &Path| LanguageModel::load(&ModelSource::parse(&path.display().to_string()));
                let (other, reference) = (load(&self.other)?, load(&self.reference)?);
                let seed = session.seed.unwrap_or_default();
                ("experts", weights::cells_of_experts(&other, &reference, seed, &mut session.progress)?)
            }
            (of_other, _) => {
                let (run, model) =
                    if of_other { (&self.other, &self.reference) } else { (&self.reference, &self.other) };
                return Err(Error::request(format!(
                    "{} is a dictionary, {} is not",
                    run.display(),
                    model.display()
                ))
                .with_remedy("give two runs (to compare features), two models or two datasets with routing (to compare experts)"));
            }
        };
        Ok(cells(&found, of))
    }
}

fn cells(found: &Cells, of: &str) -> Output {
    let mut output = Output::new(json!(found));
    let all = found.cells.len();
    output.row(&format!("{of} of the reference"), all);
    output.row("missed", format!("{}: nearest to none of the other set", found.missed));
    output.row("matched", format!("{}: nearest to exactly one", found.matched));
    output.row(
        "split",
        format!(
            "{}: nearest to two or more, at most {}",
            found.split,
            found.cells.iter().map(|c| c.size).max().unwrap_or(0)
        ),
    );
    let cosines: Vec<f64> = found.cells.iter().filter_map(|cell| cell.best_cosine).collect();
    if !cosines.is_empty() {
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        output.row(
            "nearest",
            format!("mean cosine {mean:.3} over the {} cells that are not empty", cosines.len()),
        );
    }
    if found.left_out > 0 {
        output.row("left out", format!("{} of both sets have no direction", found.left_out));
    }
    output
}
