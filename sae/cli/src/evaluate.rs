//! `sae evaluate`: how good a dictionary is.

use clap::Args;

use super::inputs::RunInputs;
use super::{Output, Session};
use sae::evaluate::{self, EvaluateOptions, Evaluation};
use sae::{ModelChoice, Result};

/// Measure a dictionary on held-out documents: reconstruction, and the model's loss with it spliced in
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae evaluate topk --json\n  sae evaluate gpt2-res/blocks.5.hook_resid_pre --data data\n\n\
                  Of a run the numbers are kept in RUN/evaluation; of a dictionary of a different program they are only printed."
)]
pub struct Command {
    /// A run, or a dictionary of a different program: a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    run: String,
    #[command(flatten)]
    inputs: RunInputs,
    /// Also principal components with as many numbers per token
    #[arg(long)]
    pca: bool,
    /// Also, for a dictionary that takes the k best of a token: one threshold with the same L0 instead
    #[arg(long)]
    threshold: bool,
    /// Tokens at most
    #[arg(long)]
    tokens: Option<u64>,
    /// Also documents that were trained on
    #[arg(long)]
    all_documents: bool,
}

/// The choice that `--model` and `--no-model` make.
pub(super) fn choice(model: Option<&str>, no_model: bool, session: &mut Session) -> Result<ModelChoice> {
    Ok(match model {
        _ if no_model => ModelChoice::Without,
        Some(name) => ModelChoice::Source(session.model(name)?),
        None => ModelChoice::OfTheData,
    })
}

/// The lines of an evaluation's table.
pub(super) fn rows(e: &Evaluation, output: &mut Output) {
    let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.4}"));
    output.row("FVE", number(e.fve));
    let spread = format!(" ({} to {} on nine of ten tokens)", e.l0_quantiles[1], e.l0_quantiles[5]);
    output.row("L0", format!("{:.1}{spread}", e.l0));
    let share = 100.0 * e.dead_share;
    output.row(
        "dead",
        format!("{} of {} ({share:.2} %, over {} {} tokens)", e.dead, e.d_sae, e.tokens, e.split),
    );
    output.row(
        "under-used",
        format!("{:.2} % fire less than a tenth as often as the mean feature", 100.0 * e.under_used_share),
    );
    if e.left_out > 0 {
        output.row(
            "left out",
            format!(
                "{} tokens ({:.2} %), because of their norm",
                e.left_out,
                100.0 * e.left_out as f64 / (e.left_out + e.tokens) as f64
            ),
        );
    }
    output.row("cosine", format!("{:.4}", e.cosine));
    output.row("L2 ratio", number(e.l2_ratio));
    output.row("CE clean", number(e.ce_clean));
    output.row("CE reconstructed", number(e.ce_reconstructed));
    output.row("CE zero ablation", number(e.ce_zero));
    output.row("CE mean ablation", number(e.ce_mean));
    output.row("loss recovered", number(e.loss_recovered));
    output.row("KL", number(e.kl));
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary, dataset or model that cannot be found or read, or that do not belong together; an
    /// interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let run = session.source(&self.run)?;
        let options = EvaluateOptions {
            model: self.inputs.model.choice(session)?,
            data: self.inputs.data,
            tokens: self.tokens,
            all_documents: self.all_documents,
            seed: session.seed.unwrap_or_default(),
            ..EvaluateOptions::default()
        };
        if !(self.pca || self.threshold) {
            let evaluation = evaluate::run(&run, &options, &mut session.progress)?;
            let mut output = Output::new(serde_json::json!(evaluation));
            rows(&evaluation, &mut output);
            return Ok(output);
        }
        let asked = (self.pca, self.threshold);
        let measured = evaluate::run_beside(&run, asked, &options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!({
            "run": measured.runs, "by_threshold": measured.by_threshold, "baselines": measured.baselines,
        }));
        measured.runs.iter().for_each(|evaluation| rows(evaluation, &mut output));
        let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.4}"));
        let line = |e: &Evaluation| {
            let (fve, ce, kl) = (number(e.fve), number(e.ce_reconstructed), number(e.kl));
            format!("FVE {fve}, L0 {:.1}, CE {ce}, KL {kl}", e.l0)
        };
        measured.by_threshold.iter().flatten().for_each(|e| output.row("by one threshold", line(e)));
        for beside in &measured.baselines {
            output.row(&format!("{} {}", beside.baseline, beside.k), line(&beside.evaluation));
        }
        Ok(output)
    }
}
