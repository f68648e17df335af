//! `sae audit`: what an encoder loses.

use clap::Args;

use super::inputs::RunInputs;
use super::{Output, Session};
use lm::model::Compute;
use sae::Result;
use sae::audit::{self, AuditOptions};
use storage::audit::AuditFeatureRow;

/// Features of each list that are printed; the table has all of them.
const SHOWN: usize = 5;

/// Measure what a dictionary's encoder loses: search better codes for the same decoder with as many features per token
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae audit topk\n  sae audit topk --tokens 20000 --json\n  sae audit topk --no-model      # without the loss\n\n\
    Of a run the tables are kept in RUN/audit; docs/known-truth.md says what they mean."
)]
pub struct Command {
    /// A run, or a dictionary of a different program: a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    run: String,
    #[command(flatten)]
    inputs: RunInputs,
    /// In what numbers the model multiplies with its weights: f32 or bf16 [default: as when the dataset was made]
    #[arg(long, value_name = "NUMBERS", conflicts_with = "no_model")]
    compute: Option<Compute>,
    /// Tokens at most
    #[arg(long, default_value_t = 4096)]
    tokens: u64,
    /// Steps of every iterative thresholding
    #[arg(long, default_value_t = 100)]
    iterations: usize,
    /// Also documents that were trained on
    #[arg(long)]
    all_documents: bool,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary or dataset that cannot be found or read, or that do not belong together; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let run = session.source(&self.run)?;
        let options = AuditOptions {
            model: self.inputs.model.choice(session)?,
            data: self.inputs.data,
            compute: self.compute,
            tokens: self.tokens,
            all_documents: self.all_documents,
            seed: session.seed.unwrap_or_default(),
            iterations: self.iterations,
        };
        let audited = audit::run(&run, &options, &mut session.progress)?;
        let a = &audited.audit;
        let (often, seldom) = (most(&audited.features, 1), most(&audited.features, -1));
        let numbers = |rows: &[&AuditFeatureRow]| serde_json::json!(rows);
        let mut output = Output::new(serde_json::json!({
            "audit": a, "codings": audited.codings, "too_often": numbers(&often), "too_seldom": numbers(&seldom),
        }));
        output.row("FVE", format!("{:.4} at L0 {:.1}, over {} {} tokens", a.fve, a.l0, a.tokens, a.split));
        output.row("the best found", format!("{:.4}", a.fve_best));
        output.row(
            "gap",
            format!(
                "{:.4}: {:.4} by the size of codes, {:.4} by the choice of features",
                a.gap, a.gap_of_codes, a.gap_of_choice
            ),
        );
        if let (Some(clean), Some(own), Some(best)) = (a.ce_clean, a.ce, a.ce_best) {
            let figures = format!(
                "{own:.4}, with the best codes {best:.4}, clean {clean:.4}; {} predictions",
                a.predicted_tokens
            );
            output.row("CE", figures);
        }
        for c in &audited.codings {
            let ce = c.ce.map_or_else(String::new, |ce| format!(", CE {ce:.4}"));
            output.row(
                &format!("  {}", c.coding),
                format!(
                    "FVE {:.4}, refitted {:.4}{ce}, L0 {:.1}, {:.1} % of the encoder's features, better on {:.1} % of tokens",
                    c.fve,
                    c.fve_refitted,
                    c.l0,
                    100.0 * c.shared,
                    100.0 * c.better
                ),
            );
        }
        for (name, rows) in [("too often", often), ("too seldom", seldom)] {
            let shown =
                |row: &&AuditFeatureRow| format!("{} ({} for {})", row.feature, row.encoder, row.best);
            output.row(name, rows.iter().map(shown).collect::<Vec<_>>().join(", "));
        }
        Ok(output)
    }
}

/// The features that the encoder takes more often than the best coding (`sign` 1) or less often (−1), the largest difference first.
fn most(features: &[AuditFeatureRow], sign: i64) -> Vec<&AuditFeatureRow> {
    let difference = |row: &AuditFeatureRow| sign * (row.encoder as i64 - row.best as i64);
    let mut rows: Vec<&AuditFeatureRow> = features.iter().filter(|row| difference(row) > 0).collect();
    rows.sort_by_key(|row| (-difference(row), row.feature));
    rows.truncate(SHOWN);
    rows
}
