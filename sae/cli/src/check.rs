//! `sae check`: a dictionary explained before a number is believed.

use std::path::PathBuf;

use clap::Args;
use storage::Check;
use storage::check::{CheckHook, CheckReading, Judgement, Spread};

use super::{Output, Session};
use lm::model::Hook;
use sae::check::{self, CheckOptions};
use sae::{Error, Result};

/// Hooks that are shown; `--json` has all.
const HOOKS: usize = 3;

/// Show what a dictionary is, and whether it is read as it was meant: what it explains as documented and under likely misreadings
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae check run\n  sae check gpt2-res/blocks.5.hook_resid_pre --model gpt2\n  \
                  sae check google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71 --data data\n\n\
                  The exit status is 1 if the dictionary should not be used as it was read (docs/check.md)."
)]
pub struct Command {
    /// A run, or a dictionary of a different program: a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    source: String,
    #[command(flatten)]
    measure: Measure,
}

/// What a check measures on and how it reads.
#[derive(Debug, Args)]
pub(super) struct Measure {
    /// Dataset to measure on [default: the one that a run names]
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(super) data: Option<PathBuf>,
    /// Model to measure on, with the text inside this program
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,
    /// Where the dictionary belongs, a TransformerLens name [default: as its files say]
    #[arg(long)]
    pub(super) hook: Option<Hook>,
    /// Use this reading in place of the documented one; `sae check` lists them
    #[arg(long, value_name = "ID")]
    pub(super) reading: Option<String>,
    /// Leave out rows whose norm is above this [default: the run's limit]
    #[arg(long, value_name = "NORM")]
    pub(super) norm_limit: Option<f64>,
    /// Tokens to measure on
    #[arg(long, default_value_t = CheckOptions::default().tokens)]
    tokens: u64,
}

impl Measure {
    /// The options of the library.
    pub(super) fn options(self, session: &mut Session) -> Result<CheckOptions> {
        if self.norm_limit.is_some_and(|limit| !(limit > 0.0 && limit.is_finite())) {
            return Err(Error::request("--norm-limit must be a positive number"));
        }
        let model = self.model.as_deref().map(|name| session.model(name)).transpose()?;
        Ok(CheckOptions {
            data: self.data,
            model,
            hook: self.hook,
            reading: self.reading,
            norm_limit: self.norm_limit,
            tokens: self.tokens,
            seed: session.seed.unwrap_or_default(),
        })
    }
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary, dataset or model that cannot be found or read; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let opened = session.open_dictionary(&self.source)?;
        let mut options = self.measure.options(session)?;
        check::complete(&mut options, std::path::Path::new(&self.source), &opened);
        let checked = check::check(&self.source, opened, &options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(checked.check));
        rows(&checked.check, &mut output);
        if !checked.check.judgement.is_good() {
            output.failed(failure(&checked.check));
        }
        Ok(output)
    }
}

/// The error for a dictionary that should not be used.
pub(super) fn failure(check: &Check) -> String {
    let what = match check.judgement {
        Judgement::Misread => "is not read as it was meant",
        Judgement::Elsewhere => "belongs to a different hook",
        Judgement::Rows => "is measured on rows that it was not made for",
        Judgement::Sparsity => "does not have the published sparsity",
        _ => "does not belong to these activations",
    };
    format!("{} {what}", check.source)
}

/// The lines of a check's table.
pub(super) fn rows(check: &Check, output: &mut Output) {
    facts(check, output);
    for decision in &check.decisions {
        output.row(&format!("  {}", decision.what), format!("{}: {}", decision.value, decision.why));
    }
    if let Some(rows) = &check.rows {
        let from = match &rows.data {
            Some(data) => format!("of {data}"),
            None => format!("of the embedded text through {}", rows.model),
        };
        let hook = if rows.hook.is_empty() { String::new() } else { format!(" at {}", rows.hook) };
        let long = match rows.outliers {
            0 => String::new(),
            n => format!(", {n} of outlying norm"),
        };
        output.row("rows", format!("{} tokens {from}{hook}", rows.tokens));
        output.row("", format!("mean norm {:.3}, γ {:.2}{long}", rows.mean_norm, rows.mean_ratio));
    }
    if !check.readings.is_empty() {
        output.row("reading", format!("{:>9}  {:>8}  {:>8}", "FVE", "L0", "silent"));
        check
            .readings
            .iter()
            .for_each(|reading| output.row(&format!("  {}", reading.about), figures(reading)));
    }
    layers(check, output);
    hooks(check, output);
    output.row("verdict", &check.verdict);
    if let Some(remedy) = &check.remedy {
        output.row("remedy", remedy);
    }
}

fn facts(check: &Check, output: &mut Output) {
    output.row("dictionary", format!("{} ({})", check.source, check.layout));
    output.row("model", check.model.as_deref().unwrap_or("its files do not say"));
    let hook = check.hook.as_deref().unwrap_or("its files do not say");
    match &check.hook_out {
        Some(out) => output.row("hook", format!("{hook} → {out}")),
        None => output.row("hook", hook),
    }
    if check.d_in == 0 {
        return;
    }
    let width = match check.d_in == check.d_out {
        true => format!("{}", check.d_in),
        false => format!("{} → {}", check.d_in, check.d_out),
    };
    if !check.layers.is_empty() {
        let layers = check.layers.len();
        output.row("features", format!("{} of width {width}, in {layers} layers together", check.d_sae));
        return;
    }
    output.row("features", format!("{} of width {width}, {}", check.d_sae, check.selection));
    output.row("encoder norms", spread(&check.encoder_norms));
    output.row("decoder norms", spread(&check.decoder_norms));
    if let Some(thresholds) = &check.thresholds {
        output.row("thresholds", spread(thresholds));
    }
    if !check.alpha_tenths.is_empty() {
        let tenths = check.alpha_tenths.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        output.row("α by tenths", format!("{tenths} features from 0 (cosine) to 1 (inner product)"));
    }
    let pre_bias = match check.pre_bias {
        true => "subtracted before encoding",
        false => "not subtracted before encoding",
    };
    output.row("decoder bias", format!("norm {:.3}, {pre_bias}", check.bias_norm));
    let scale =
        if check.input_scale == 1.0 { "none".to_owned() } else { format!("× {:.5}", check.input_scale) };
    let besides = match check.normalisation.as_str() {
        "none" | "" => String::new(),
        name => format!(", {name}"),
    };
    output.row("input scale", format!("{scale}{besides}"));
    // Of the k best it says nothing new.
    if let Some(l0) = check.published_l0.filter(|_| !check.selection.contains("topk")) {
        output.row("published L0", l0);
    }
}

fn spread(spread: &Spread) -> String {
    format!("median {:.3}, {:.3} to {:.3}", spread.median, spread.low, spread.high)
}

fn figures(reading: &CheckReading) -> String {
    let silent = format!("{:.1} %", 100.0 * reading.dead_share);
    format!("{:>9}  {:>8.1}  {silent:>8}  {}", fve(reading.fve), reading.l0, reading.id)
}

fn fve(fve: Option<f64>) -> String {
    match fve {
        None => "–".to_owned(),
        Some(fve) if fve.abs() < 1000.0 => format!("{fve:.4}"),
        Some(fve) => format!("{fve:.1e}"),
    }
}

fn layers(check: &Check, output: &mut Output) {
    if check.layers.is_empty() {
        return;
    }
    output.row("layer", format!("{:>9}  {:>8}  {:>8}", "FVE", "L0", "silent"));
    for layer in &check.layers {
        let number = |n: Option<f64>, digits: usize| n.map_or("–".to_owned(), |n| format!("{n:.digits$}"));
        let silent = layer.dead_share.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        let l0 = number(layer.l0, 1);
        let home = match layer.home {
            Some(home) => format!("  explains layer {home}: FVE {}", fve(layer.home_fve)),
            None => String::new(),
        };
        let figures = format!("{:>9}  {l0:>8}  {silent:>8}{home}", fve(layer.fve));
        output.row(&format!("  {}", layer.layer), figures);
    }
}

/// The hooks at which it explains most, and its own.
fn hooks(check: &Check, output: &mut Output) {
    if check.hooks.is_empty() {
        return;
    }
    output.row("elsewhere", format!("{:>9}  {:>8}  of {} hooks, the best", "FVE", "L0", check.hooks.len()));
    let is_own = |hook: &CheckHook| Some(&hook.hook) == check.hook.as_ref();
    let shown = check.hooks.iter().enumerate().filter(|(i, hook)| *i < HOOKS || is_own(hook));
    for (_, hook) in shown {
        let own = if is_own(hook) { "  its own" } else { "" };
        output.row(&format!("  {}", hook.hook), format!("{:>9}  {:>8.1}{own}", fve(hook.fve), hook.l0));
    }
}
