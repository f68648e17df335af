//! Training from the window, and every other job: the program `sae` as a process of its own, told the same as
//! in a terminal.
//!
//! Neither takes the other with it: the trainer has its own process group and writes into files, so it
//! continues when the window is closed or falls; and what becomes of the trainer is a value that a thread
//! keeps for the window. To pause is to interrupt it, as Ctrl-C does: it writes a checkpoint and ends. The
//! curves come from the run's folder, as for any run that is being trained.

mod estimate;
mod jobs;
mod process;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use estimate::{Estimate, estimate};
pub use jobs::{Job, Jobs, Outcome, ProbeJob, StartedJob, TraceJob};
use process::Shared;

use crate::load::Problem;
use crate::words::place;

/// What is to be trained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingJob {
    /// Folder of the run.
    pub out: PathBuf,
    /// The dataset; the one that the configuration names when `None`.
    pub data: Option<PathBuf>,
    /// The configuration, as `sae train --config` takes it; the defaults, or the run's own, when `None`.
    pub config: Option<PathBuf>,
    /// Options that come before those of the configuration, as `--k 64` without its dashes.
    pub options: Vec<(&'static str, String)>,
    /// Whether to resume an existing run.
    pub resume: bool,
}

impl TrainingJob {
    /// The arguments after `sae`.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["train".into()];
        for (name, path) in
            [("--config", &self.config), ("--data", &self.data), ("--out", &Some(self.out.clone()))]
        {
            if let Some(path) = path {
                arguments.extend([name.into(), path.into()]);
            }
        }
        for (name, value) in &self.options {
            arguments.extend([format!("--{name}").into(), value.into()]);
        }
        if self.resume {
            arguments.push("--resume".into());
        }
        arguments
    }

    /// The same, to be typed into a terminal.
    pub fn line(&self) -> String {
        line(&self.arguments())
    }
}

/// A command as it is typed into a terminal.
fn line(arguments: &[OsString]) -> String {
    let mut line = String::from("sae");
    for argument in arguments {
        let text = place::text(&argument.to_string_lossy());
        let plain = |c: char| c.is_alphanumeric() || "-_./,:=+".contains(c);
        line.push(' ');
        if !text.is_empty() && text.chars().all(plain) {
            line += &text;
        } else {
            line += &format!("'{}'", text.replace('\'', r"'\''"));
        }
    }
    line
}

/// Arguments with addresses in place of the paths of copies: the program works on the same copies, and uploads what it made.
fn named(arguments: Vec<OsString>) -> Vec<OsString> {
    let named = |argument: OsString| match argument.to_str() {
        Some(text) => place::text(text).into(),
        None => argument,
    };
    arguments.into_iter().map(named).collect()
}

/// How a training stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The process works.
    Running,
    /// It was interrupted and writes its checkpoint.
    Pausing,
    /// It wrote a checkpoint and ended.
    Paused,
    /// It came to its end.
    Finished,
    /// It ended otherwise, or was never begun.
    Failed(Problem),
}

/// A training that this window began, or pauses.
#[derive(Debug)]
pub struct Training {
    /// What was asked for.
    pub job: TrainingJob,
    shared: Arc<Shared>,
}

impl Training {
    /// How it stands.
    pub fn stage(&self) -> Stage {
        self.shared.stage()
    }

    fn pause(&mut self) {
        self.shared.pause();
    }

    /// Whether its process is there.
    pub fn is_alive(&self) -> bool {
        matches!(self.stage(), Stage::Running | Stage::Pausing)
    }

    /// The last line that it printed.
    pub fn last_line(&self) -> String {
        self.shared.last_line()
    }
}

/// The trainings that this window began, one a folder.
#[derive(Debug, Default)]
pub struct Trainings {
    /// The program, where it is not next to the window's.
    pub program: Option<PathBuf>,
    all: Vec<Training>,
}

impl Trainings {
    /// Begins a training, in the place of one of the same folder that has ended. `ctx` is woken when it
    /// changes.
    pub fn start(&mut self, job: TrainingJob, ctx: &egui::Context) {
        if self.of(&job.out).is_some_and(Training::is_alive) {
            return;
        }
        self.all.retain(|training| training.job.out != job.out);
        let program = self.program.clone().unwrap_or_else(beside_the_window);
        let shared = process::start(program, named(job.arguments()), Some(job.out.clone()), ctx);
        self.all.push(Training { job, shared });
    }

    /// Pauses the training of the run in `out`, if this window started it.
    pub fn pause(&mut self, out: &Path) {
        if let Some(training) = self.all.iter_mut().find(|training| training.job.out == out) {
            training.pause();
        }
    }

    /// Pauses a training that this window did not start: `process` trains the run in `out`.
    pub fn pause_other(&mut self, out: &Path, process: u32, ctx: &egui::Context) {
        self.all.retain(|training| training.job.out != out);
        let job = TrainingJob { out: out.to_owned(), resume: true, ..TrainingJob::default() };
        let shared = process::pause_other(process, out, ctx);
        self.all.push(Training { job, shared });
    }

    /// The training of the run in `out`.
    pub fn of(&self, out: &Path) -> Option<&Training> {
        self.all.iter().find(|training| training.job.out == out)
    }

    /// All of them, the newest last.
    pub fn all(&self) -> &[Training] {
        &self.all
    }

    /// Forgets the training of `out`, unless its process is still there.
    pub fn dismiss(&mut self, out: &Path) {
        self.all.retain(|training| training.job.out != out || training.is_alive());
    }

    /// Whether a process works.
    pub fn any_alive(&self) -> bool {
        self.all.iter().any(Training::is_alive)
    }
}

/// `sae` in the folder of this program; as the system finds it where it is not there.
pub fn beside_the_window() -> PathBuf {
    let name = format!("sae{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().map(|window| window.with_file_name(&name));
    beside.filter(|program| program.exists()).unwrap_or_else(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_what_a_person_would_type() {
        let job = TrainingJob {
            out: "runs/it's new".into(),
            data: Some("/data".into()),
            config: Some("sweep.toml".into()),
            options: vec![("k", "64".into())],
            resume: true,
        };
        assert_eq!(
            job.line(),
            r"sae train --config sweep.toml --data /data --out 'runs/it'\''s new' --k 64 --resume"
        );
        let plain = TrainingJob { out: job.out, ..TrainingJob::default() };
        assert_eq!(plain.arguments(), ["train", "--out", "runs/it's new"]);
    }
}
