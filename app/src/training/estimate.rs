//! What a training would need, asked of the program `sae` before it begins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::TrainingJob;
use crate::data::in_sentences;
use crate::load::Problem;

/// What `sae train --dry-run --estimate` says of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Memory, in bytes, while few features are dead.
    pub bytes: u64,
    /// Memory while many are and get help.
    pub bytes_with_help: u64,
    /// Bytes that are free for it, where the system says it.
    pub limit: Option<u64>,
    /// Seconds that its steps take; none for methods with a penalty.
    pub seconds: Option<f64>,
    /// Tokens that it sees.
    pub tokens: u64,
    /// Every option with a value, filled in.
    pub config: BTreeMap<String, String>,
    /// Runs, where the configuration is a sweep.
    pub runs: usize,
}

#[derive(Deserialize)]
struct Answer {
    runs: Vec<Run>,
    peak_bytes: u64,
    peak_bytes_with_help: u64,
    limit_bytes: Option<u64>,
    tokens: u64,
}

#[derive(Deserialize)]
struct Run {
    seconds: Option<f64>,
    config: BTreeMap<String, serde_json::Value>,
}

/// Asks `program`. Where it is `timed` a few steps are, which takes seconds; else the answer has no time and is there at once.
///
/// # Errors
/// The program cannot be started, or refuses the training.
pub fn estimate(program: &PathBuf, job: &TrainingJob, timed: bool) -> Result<Estimate, Problem> {
    let mut command = Command::new(program);
    command.args(super::named(job.arguments())).args(["--dry-run", "--json"]).stdin(Stdio::null());
    if timed {
        command.arg("--estimate");
    }
    let output = command.output().map_err(|error| {
        Problem::new(format!("Cannot start `{}`: {error}.", program.display())).with_remedy(
            "Put the program `sae` next to `sae-app`, or name it as \"program\" in the window's settings.",
        )
    })?;
    let unreadable = || Problem::new("`sae train --dry-run` gave no answer that can be read.");
    if !output.status.success() {
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| unreadable())?;
        let field = |name: &str| answer.get(name).and_then(serde_json::Value::as_str);
        return Err(field("error").map_or_else(unreadable, |error| in_sentences(error, field("remedy"))));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| unreadable())?;
    Ok(read(answer))
}

fn read(answer: Answer) -> Estimate {
    let shown = |value: serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    let runs = answer.runs.len();
    let known = answer.runs.iter().all(|run| run.seconds.is_some());
    let seconds = known.then(|| answer.runs.iter().filter_map(|run| run.seconds).sum());
    let first = answer.runs.into_iter().next().map(|run| run.config).unwrap_or_default();
    Estimate {
        bytes: answer.peak_bytes,
        bytes_with_help: answer.peak_bytes_with_help,
        limit: answer.limit_bytes,
        seconds,
        tokens: answer.tokens,
        config: first.into_iter().filter_map(|(key, value)| Some((key, shown(value)?))).collect(),
        runs,
    }
}
