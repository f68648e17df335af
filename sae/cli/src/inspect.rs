//! `sae inspect`: what a model is and where it can be tapped; how a run stands and what became of its features.

use std::path::Path;

use clap::Args;
use storage::history::{HistoryRecord, Quantiles};
use storage::{Imported, RunRecord, RunStatus};

use super::{Output, Session};
use lm::model::config::{BlockConfig, MlpConfig};
use lm::model::{Hook, LanguageModel, Site};
use sae::interop::dictionaries::recognise;
use sae::{Error, Result};

/// Show a model's shape and its hooks, or the state of a run and the history of its features in training
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae inspect default\n  sae inspect run")]
pub struct Command {
    /// A Hugging Face folder, or `default` for the embedded model; or the folder of a run
    model: String,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A run or model that cannot be found or read.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        if Path::new(&self.model).join(storage::run::FILE).is_file() {
            return run(Path::new(&self.model));
        }
        let source = session.model(&self.model)?;
        let model = LanguageModel::load(&source).map_err(|error| dictionary(&self.model).unwrap_or(error))?;
        let config = model.config();
        let hooks = model.decoder().hooks();
        let shapes: Vec<(String, String)> =
            hooks.iter().map(|(hook, width)| (hook.to_string(), shape(*hook, *width))).collect();
        let listed: Vec<_> = hooks
            .iter()
            .zip(&shapes)
            .map(|((_, width), (hook, shape))| serde_json::json!({"hook": hook, "width": width, "shape": shape}))
            .collect();
        let mut output = Output::new(serde_json::json!({
            "model": model.id(), "sha256": model.sha256(), "config": config, "hooks": listed,
        }));
        output.row("model", model.id());
        output.row("sha256", model.sha256());
        output.row("family", &config.model_type);
        output.row("layers", config.num_hidden_layers);
        output.row("d_model", config.hidden_size);
        if let Some((experts, k)) = config.experts() {
            let switched =
                |block: &BlockConfig| matches!(&block.mlp, MlpConfig::Experts(e) if e.router.switched);
            output.row(
                "experts",
                match config.blocks.iter().any(switched) {
                    true => format!("{experts}, each switched on or off for a token"),
                    false => format!("{k} of {experts} per token"),
                },
            );
        }
        output.row("vocabulary", config.vocab_size);
        output.row("context", config.max_position_embeddings);
        for (hook, shape) in &shapes {
            output.row(hook, shape);
        }
        Ok(output)
    }
}

/// The error of somebody who gave a dictionary.
fn dictionary(name: &str) -> Option<Error> {
    let format = recognise(Path::new(name)).ok()?;
    let what = format!("{name} is a dictionary ({}), neither a model nor a run", format.name());
    let remedy =
        format!("`sae check {name}` says what it is; `sae import dictionary {name} --out RUN` makes a run");
    Some(Error::request(what).with_remedy(remedy))
}

/// The state of the run in `dir`.
fn run(dir: &Path) -> Result<Output> {
    let (record, history) = (RunRecord::read(dir)?, HistoryRecord::read(dir)?);
    let count = |n: u64| super::progress::count(n as f64);
    let mut output = Output::new(serde_json::json!({ "run": dir, "record": record, "history": history }));
    output.row("run", dir.display());
    if let Some(imported) = &record.imported {
        return Ok(import(&record, imported, output));
    }
    let status = match record.status {
        RunStatus::Running => "running",
        RunStatus::Finished => "finished",
        RunStatus::Stopped => "stopped",
        RunStatus::Failed => "failed",
    };
    output.row("status", status);
    output.row("method", &record.method);
    hook_and_features(&record, &mut output);
    output.row("tokens", format!("{} of {}", count(record.tokens_done), count(record.tokens_total)));
    let Some(HistoryRecord { snapshots, dead_after, same_cosine, summary, .. }) = history else {
        output.row("history", "none is kept (--history), or training is not over");
        return Ok(output);
    };
    let times = |times: &Quantiles| {
        let [a, b, c, d, e] = [times.q10, times.q25, times.q50, times.q75, times.q90].map(count);
        format!(
            "a tenth by {a}, a quarter by {b}, half by {c}, three quarters by {d}, nine tenths by {e} tokens"
        )
    };
    output.row("history", format!("{} snapshots", snapshots.len()));
    output.row("  never fired", summary.never_fired);
    output
        .row("  dead at the end", format!("{} more, silent for {} tokens", summary.died, count(dead_after)));
    output.row("  revived", summary.revived);
    if let Some(born) = &summary.born {
        output.row("  born", times(born));
    }
    if let Some(settled) = &summary.settled {
        output.row(
            "  settled",
            format!("{} (cosine with the final direction ≥ {same_cosine})", times(settled)),
        );
    }
    if let Some(cosine) = summary.mean_cosine_first {
        output.row("  first · last", format!("cosine {cosine:.3} on average"));
    }
    Ok(output)
}

/// Where it reads and what it has; of a cross-layer transcoder in every layer.
fn hook_and_features(record: &RunRecord, output: &mut Output) {
    output.row("hook", record.hook_in_words());
    let each = record.layers.map(|layers| format!(" in each of {layers} layers")).unwrap_or_default();
    output.row("features", format!("{} of width {}{each}", record.d_sae, record.d_in));
}

/// What there is to say of a dictionary that was not trained here.
fn import(record: &RunRecord, imported: &Imported, mut output: Output) -> Output {
    output.row("imported", format!("{} ({}), {}", imported.source, imported.layout, record.started));
    output.row("selection", &record.method);
    hook_and_features(record, &mut output);
    if let Some(reading) = &imported.reading {
        output.row("reading", reading);
    }
    for decision in &imported.decisions {
        output.row(&format!("  {}", decision.what), format!("{}: {}", decision.value, decision.why));
    }
    for file in &imported.files {
        output.row("file", format!("{}, SHA-256 {}", file.path, file.sha256));
    }
    output
}

/// What the value at a hook is like.
fn shape(hook: Hook, width: usize) -> String {
    match hook.site {
        Site::Pattern => format!("[rows, {width} heads, tokens, tokens]"),
        Site::ExpertIndices => format!("[tokens, {width}], numbers of experts"),
        _ => format!("[tokens, {width}]"),
    }
}
