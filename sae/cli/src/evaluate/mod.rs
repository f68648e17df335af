//! `sae evaluate`: how good a dictionary is.

mod layers;
mod task;

use std::path::{Path, PathBuf};

use clap::Args;

use super::inputs::RunInputs;
use super::{Output, Session};
use lm::model::Compute;
use sae::dictionary::recode::Coding;
use sae::evaluate::{self, EvaluateOptions, Evaluation, Extras, TogetherEvaluation};
use sae::task::TaskOptions;
use sae::trace::Transcoders;
use sae::{Error, Result, saebench};
use storage::cett::{CettRecord, CettSparsity};

/// Measure a dictionary on held-out documents: reconstruction, and the model's loss with it spliced in
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae evaluate topk --json\n  sae evaluate topk --recode pursuit\n  sae evaluate topk --cett\n  sae evaluate topk mutual --task ioi\n  sae evaluate topk --saebench results --probes probes\n  sae evaluate gpt2-res/blocks.5.hook_resid_pre --data data\n  sae evaluate clt      # a cross-layer transcoder: every layer, and all of them in place\n\n\
                  Of a run the numbers are kept in RUN/evaluation; of a dictionary of a different program they are only printed."
)]
pub struct Command {
    /// A run, or a dictionary of a different program: a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub. With --task also
    /// several of one hook, for which the model reads the prompts once
    #[arg(value_name = "SOURCE", required = true)]
    runs: Vec<String>,
    #[command(flatten)]
    inputs: RunInputs,
    /// Also principal components with as many numbers per token
    #[arg(long)]
    pca: bool,
    /// Also, for a TopK dictionary, one threshold with the same L0 in place of the k best per token
    #[arg(long)]
    threshold: bool,
    /// Also with leave-one-out pruning: a feature stays on a token if its best code, the others being as they are, is more than so
    /// many medians of the dictionary's codes [default without a number: 0.4]
    #[arg(long, value_name = "MEDIANS", num_args = 0..=1, require_equals = true, default_missing_value = "0.4")]
    prune: Option<f64>,
    /// Also with codes that are searched for from the dictionary's own, with at most as many features per token: refit (the best sizes
    /// on the same features), pursuit, soft, hard, half, firm, log-sum (iterative thresholding), posterior (the most probable
    /// features), best (the smallest error of all)
    #[arg(long, value_name = "CODING")]
    recode: Option<Coding>,
    /// For a transcoder: also what the model loses with these transcoders of other layers and this one in place at once
    #[arg(long, num_args = 1.., value_name = "SOURCE", conflicts_with_all = ["pca", "threshold", "prune", "recode", "no_model"])]
    together: Vec<String>,
    /// Also how many of the model's neurons and of the dictionary's codes can be left out: at errors of 1 to 20 % (CETT) and at
    /// a growth of the perplexity of 1, 5 and 10 % (CETT-PPL). On about 8,000 tokens unless --tokens says otherwise
    #[arg(long, conflicts_with_all = ["pca", "threshold", "recode", "together", "no_model"])]
    cett: bool,
    /// Instead, on a task whose attributes are known: `ioi`, or a file of templates, values and answer
    #[arg(long, value_name = "TASK", conflicts_with_all = ["cett", "pca", "threshold", "prune", "recode", "together", "saebench", "no_model", "tokens", "all_documents"])]
    task: Option<String>,
    /// With --task: prompts to learn from, and prompts to measure on
    #[arg(long, requires = "task", num_args = 2, value_names = ["TRAIN", "TEST"])]
    task_prompts: Option<Vec<usize>>,
    /// With --task: position to look at, such as `last` or `s 2` [default: where exchanged activations change most]
    #[arg(long, requires = "task")]
    position: Option<String>,
    /// With --task: exchange activations after every block too, to find hooks
    #[arg(long, requires = "task")]
    sites: bool,
    /// With --task: leave out random rows and a permuted decoder
    #[arg(long, requires = "task")]
    no_controls: bool,
    /// With --task: also write the train prompts, to harvest a dataset of the task
    #[arg(long, requires = "task", value_name = "FILE")]
    write_prompts: Option<PathBuf>,
    /// Also write the results as files of SAEBench
    #[arg(long, value_name = "DIR", conflicts_with = "no_model")]
    saebench: Option<PathBuf>,
    /// Also the probes of this folder, which `sae probe` wrote, as files of SAEBench
    #[arg(long, value_name = "DIR", requires = "saebench")]
    probes: Option<PathBuf>,
    /// In what numbers the model multiplies with its weights: f32 or bf16 [default: as when the dataset was made]
    #[arg(long, value_name = "NUMBERS", conflicts_with_all = ["no_model", "task"])]
    compute: Option<Compute>,
    /// Tokens at most
    #[arg(long)]
    tokens: Option<u64>,
    /// Also documents that were trained on
    #[arg(long)]
    all_documents: bool,
}

/// The lines of an evaluation's table.
pub(super) fn rows(e: &Evaluation, output: &mut Output) {
    let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.4}"));
    output.row("FVE", number(e.fve));
    let spread = format!(" ({} to {} on nine of ten tokens)", e.l0_quantiles[1], e.l0_quantiles[5]);
    output.row("L0", format!("{:.1}{spread}", e.l0));
    let percent = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{:.2} %", 100.0 * n));
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
                "{} tokens ({:.2} %), because of their norm; they hold {} of Σ‖x‖²",
                e.left_out,
                100.0 * e.left_out as f64 / (e.left_out + e.tokens) as f64,
                percent(e.left_out_mass)
            ),
        );
    }
    output.row("cosine", format!("{:.4}", e.cosine));
    output.row("L2 ratio", number(e.l2_ratio));
    output.row("reconstruction bias", number(e.relative_reconstruction_bias));
    output.row(
        "frequent features",
        format!(
            "{} fire on more than 1 % of tokens, {} on more than 10 %",
            percent(e.over_1_percent),
            percent(e.over_10_percent)
        ),
    );
    output.row(
        "their firings",
        format!("{} and {} of all", percent(e.firings_over_1_percent), percent(e.firings_over_10_percent)),
    );
    output.row("mean |cosine| of rows", number(e.decoder_cosine));
    output.row(
        "largest cosine",
        format!(
            "{} of decoder rows, {} of encoder rows, on average",
            number(e.max_decoder_cosine),
            number(e.max_encoder_cosine)
        ),
    );
    output.row("γ = ‖mean‖ / ‖spread‖", number(e.mean_to_spread));
    output.row("CE clean", number(e.ce_clean));
    output.row("CE reconstructed", number(e.ce_reconstructed));
    output.row("CE zero ablation", number(e.ce_zero));
    output.row("CE mean ablation", number(e.ce_mean));
    output.row("loss recovered", number(e.loss_recovered));
    output.row("KL", number(e.kl));
}

/// The lines about transcoders that are in place at once.
fn together_rows(e: &TogetherEvaluation, output: &mut Output) {
    let layers = e.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    output.row("together", format!("layers {layers}, {} tokens", e.tokens));
    output.row(
        "  CE replaced",
        format!(
            "{:.4} (clean {:.4}, zeros {:.4}, means {:.4})",
            e.ce_replaced, e.ce_clean, e.ce_zero, e.ce_mean
        ),
    );
    if let Some(share) = e.loss_recovered {
        output.row("  loss recovered", format!("{share:.4}"));
    }
    output.row("  KL", format!("{:.4}", e.kl));
    output.row("  agreement", format!("{:.4} of the likeliest tokens stay", e.agreement));
}

/// The lines about what can be left out.
fn cett_rows(record: &CettRecord, output: &mut Output) {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mut block = |name: &str, of: &CettSparsity| {
        output.row(name, format!("{:.1} per token, {} exactly 0", of.units, percent(of.zero)));
        let errors = of.by_error.iter().map(|p| format!("{} at {}", percent(p.left_out), percent(p.cett)));
        output.row("  left out at a CETT", errors.collect::<Vec<_>>().join(", "));
        for cost in &of.by_loss {
            let kept = of.units * (1.0 - cost.left_out);
            output.row(
                &format!("  left out at PPL +{} %", cost.percent),
                format!(
                    "{} (CETT {:.3}; {kept:.1} stay, CE {:.4}, PPL {:+.2} %)",
                    percent(cost.left_out),
                    cost.cett,
                    cost.ce,
                    100.0 * cost.growth
                ),
            );
        }
    };
    if let Some(neurons) = &record.neurons {
        block("neurons of the model", neurons);
    }
    block("codes of the dictionary", &record.codes);
}

impl Command {
    /// Writes SAEBench's files where they are asked for.
    fn write_saebench(&self, run: &Path, evaluation: &Evaluation, output: &mut Output) -> Result<()> {
        let Some(dir) = &self.saebench else { return Ok(()) };
        output.row("SAEBench", saebench::write_core(run, evaluation, dir)?.display());
        if let Some(probes) = &self.probes {
            let path = saebench::write_sparse_probing(run, &evaluation.dictionary_sha256, probes, dir)?;
            output.row("SAEBench", path.display());
        }
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary, dataset or model that cannot be found or read, or that do not belong together; an
    /// interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        if let Some(name) = &self.task {
            return self.task(name, session);
        }
        let run = match self.runs.as_slice() {
            [run] => session.source(run)?,
            _ => {
                return Err(Error::request("several dictionaries at once are evaluated with --task alone")
                    .with_remedy("evaluate them one at a time, or side by side with `sae compare`"));
            }
        };
        let options = EvaluateOptions {
            model: self.inputs.model.choice(session)?,
            compute: self.compute,
            data: self.inputs.data.clone(),
            tokens: self.tokens,
            all_documents: self.all_documents,
            seed: session.seed.unwrap_or_default(),
            ..EvaluateOptions::default()
        };
        if evaluate::is_cross_layer(&run)? {
            return self.layers(&run, &options, session);
        }
        if self.pca || self.threshold || self.prune.is_some() || self.recode.is_some() {
            return self.with_extras(&run, &options, session);
        }
        let evaluation = evaluate::run(&run, &options, &mut session.progress)?;
        let cett = match self.cett {
            true => Some(evaluate::cett(&run, &options, &mut session.progress)?),
            false => None,
        };
        let together = match self.together.is_empty() {
            true => None,
            false => Some(self.all_together(&run, &options, session)?),
        };
        let mut output = Output::new(match (&cett, &together) {
            (None, None) => serde_json::json!(evaluation),
            (Some(cett), None) => serde_json::json!({ "run": evaluation, "cett": cett }),
            (None, Some(together)) => serde_json::json!({ "run": evaluation, "together": together }),
            (Some(cett), Some(together)) => {
                serde_json::json!({ "run": evaluation, "cett": cett, "together": together })
            }
        });
        rows(&evaluation, &mut output);
        cett.iter().for_each(|record| cett_rows(record, &mut output));
        together.iter().for_each(|together| together_rows(together, &mut output));
        self.write_saebench(&run, &evaluation, &mut output)?;
        Ok(output)
    }

    /// On a task whose attributes are known.
    fn task(&self, name: &str, session: &mut Session) -> Result<Output> {
        let options = self.task_options(name, session)?;
        let paths = self.runs.iter().map(|run| session.source(run)).collect::<Result<Vec<_>>>()?;
        let records = sae::task::run_all(&paths, &options, &mut session.progress)?;
        let named: Vec<_> = self.runs.iter().map(String::as_str).zip(records).collect();
        Ok(task::output(&named))
    }

    fn task_options(&self, name: &str, session: &mut Session) -> Result<TaskOptions> {
        let plain = TaskOptions::new(name);
        let [train, test] = match self.task_prompts.as_deref() {
            Some([train, test]) => [*train, *test],
            _ => [plain.train, plain.test],
        };
        Ok(TaskOptions {
            data: self.inputs.data.clone(),
            model: self.inputs.model.choice(session)?,
            train,
            test,
            position: self.position.clone(),
            sites: self.sites,
            prompts: self.write_prompts.clone(),
            controls: !self.no_controls,
            seed: session.seed.unwrap_or_default(),
            ..plain
        })
    }

    /// What the model loses with the transcoders of several layers in place at once.
    fn all_together(
        &self,
        run: &Path,
        options: &EvaluateOptions,
        session: &mut Session,
    ) -> Result<TogetherEvaluation> {
        let all = self.runs.iter().chain(&self.together);
        let opened = all.map(|name| Ok((session.source(name)?, session.open_dictionary(name)?)));
        let transcoders = Transcoders::new(opened.collect::<Result<Vec<_>>>()?)?;
        let data = evaluate::data_of(run, options.data.as_deref())?;
        evaluate::together(&data, &transcoders, options, &mut session.progress)
    }

    /// With principal components, by one threshold, pruned, or with codes that are searched for.
    fn with_extras(&self, run: &Path, options: &EvaluateOptions, session: &mut Session) -> Result<Output> {
        let (threshold, prune, recode) = (self.threshold, self.prune, self.recode);
        let extras = Extras { threshold, prune, recode, ..Extras::default() };
        let measured = evaluate::run_with_extras(run, self.pca, extras, options, &mut session.progress)?;
        let by_threshold: Vec<_> = measured.by_threshold.iter().map(|e| e.as_ref().map(|(e, _)| e)).collect();
        let pruned: Vec<_> = measured.pruned.iter().map(|(e, _)| e).collect();
        let recoded: Vec<_> = measured.recoded.iter().map(|(e, _)| e).collect();
        let mut output = Output::new(serde_json::json!({
            "run": measured.runs, "by_threshold": by_threshold, "pruned": pruned, "recoded": recoded,
            "baselines": measured.baselines,
        }));
        for evaluation in &measured.runs {
            rows(evaluation, &mut output);
            self.write_saebench(run, evaluation, &mut output)?;
        }
        by_threshold.iter().flatten().for_each(|e| output.row("by one threshold", line(e)));
        for e in pruned {
            let below = e.pruned_below.unwrap_or_default();
            output.row("pruned", format!("{}, dead {}; below {below:.3}", line(e), e.dead));
        }
        for e in recoded {
            output.row(&format!("by {}", e.recoded.as_deref().unwrap_or_default()), line(e));
        }
        for baseline in &measured.baselines {
            output.row(&format!("{} {}", baseline.baseline, baseline.k), line(&baseline.evaluation));
        }
        Ok(output)
    }
}

/// An evaluation in one line.
fn line(e: &Evaluation) -> String {
    let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.4}"));
    let (fve, ce, kl) = (number(e.fve), number(e.ce_reconstructed), number(e.kl));
    format!("FVE {fve}, L0 {:.1}, CE {ce}, KL {kl}", e.l0)
}
