//! Commands that the window runs next to itself: what it would otherwise tell a person to type.
//!
//! A job is the program `sae` with arguments, in a process of its own, as a training is. It writes into the folders that it
//! is about; the window reads them again when the person asks to see what came of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::process::{self, Shared};
use super::{Stage, line};

/// A command to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What it does, in words: `Index topk`.
    pub title: String,
    /// The arguments after `sae`.
    pub arguments: Vec<OsString>,
    /// A folder that it makes and that is to be opened afterwards; else what is open is read again.
    pub opens: Option<PathBuf>,
    /// The run whose dataset it reads, where the record of the run says.
    reads_data_of: Option<PathBuf>,
}

impl Job {
    fn new(title: String, arguments: &[&str], folders: &[&Path]) -> Self {
        let mut all: Vec<OsString> = arguments.iter().map(Into::into).collect();
        all.extend(folders.iter().map(|folder| folder.as_os_str().to_owned()));
        Self { title, arguments: all, opens: None, reads_data_of: None }
    }

    /// As [`Job::new`], of a job that reads the dataset of a run.
    fn with_data(title: String, arguments: &[&str], run: &Path) -> Self {
        Self { reads_data_of: Some(run.to_owned()), ..Self::new(title, arguments, &[run]) }
    }

    /// The same job, told where the dataset of its run lies. `moved` gives the dataset of a run where it is not where the record of the
    /// run says.
    #[must_use]
    pub fn told(mut self, moved: impl FnOnce(&Path) -> Option<PathBuf>) -> Self {
        if let Some(data) = self.reads_data_of.take().and_then(|run| moved(&run)) {
            self.arguments.extend(["--data".into(), data.into_os_string()]);
        }
        self
    }

    /// Builds the feature index of a run.
    pub fn index(run: &Path) -> Self {
        Self::with_data(format!("Index {}", name(run)), &["index"], run)
    }

    /// Evaluates a run on held-out text.
    pub fn evaluate(run: &Path) -> Self {
        Self::with_data(format!("Evaluate {}", name(run)), &["evaluate"], run)
    }

    /// Measures what the encoder of a run loses.
    pub fn audit(run: &Path) -> Self {
        Self::with_data(format!("Audit {}", name(run)), &["audit"], run)
    }

    /// Explains the features of a run by rules.
    pub fn explain(run: &Path) -> Self {
        Self::with_data(format!("Explain {}", name(run)), &["explain"], run)
    }

    /// Lays out the features of a run in a plane.
    pub fn map(run: &Path) -> Self {
        Self::new(format!("Map {}", name(run)), &["map"], &[run])
    }

    /// Joins the features of a run with the experts that its tokens went to.
    pub fn join_experts(run: &Path) -> Self {
        Self::with_data(format!("Join experts of {}", name(run)), &["experts", "--features"], run)
    }

    /// Counts how the experts of a dataset are used.
    pub fn count_experts(dataset: &Path) -> Self {
        Self::new(format!("Count experts of {}", name(dataset)), &["experts"], &[dataset])
    }

    /// Looks for the features of a run in a different one.
    pub fn match_with(run: &Path, other: &Path) -> Self {
        Self::new(format!("Match {} with {}", name(run), name(other)), &["match"], &[run, other])
    }

    /// Scores a run against the made world that its rows come from.
    pub fn score_truth(run: &Path) -> Self {
        Self::new(format!("Score {}", name(run)), &["synth", "score"], &[run])
    }

    /// Makes the run `out` of a dictionary of a different program.
    pub fn import(source: &Path, out: &Path) -> Self {
        let mut job = Self::new(format!("Import {}", name(source)), &["import", "dictionary"], &[source]);
        job.arguments.extend(["--out".into(), out.as_os_str().to_owned()]);
        Self { opens: Some(out.to_owned()), ..job }
    }

    /// Makes the demo in `folder`, which does not exist yet.
    pub fn demo(folder: &Path) -> Self {
        let job = Self::new("Make the demo".to_owned(), &["demo", "--out"], &[folder]);
        Self { opens: Some(folder.to_owned()), ..job }
    }

    /// The command, to be typed into a terminal.
    pub fn line(&self) -> String {
        line(&self.arguments)
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}

/// A job that was begun.
#[derive(Debug)]
pub struct StartedJob {
    /// Tells it from the others.
    pub id: u64,
    /// What it does.
    pub job: Job,
    shared: Arc<Shared>,
    started: Instant,
    took: Option<Duration>,
}

impl StartedJob {
    /// How it stands. A job that was cancelled is [`Stage::Paused`]; what it had not finished is not there.
    pub fn stage(&self) -> Stage {
        self.shared.stage()
    }

    /// Whether its process is there.
    pub fn is_alive(&self) -> bool {
        matches!(self.stage(), Stage::Running | Stage::Pausing)
    }

    /// The last line that it printed.
    pub fn last_line(&self) -> String {
        self.shared.last_line()
    }

    /// How long it has run, or ran.
    pub fn seconds(&self) -> f64 {
        self.took.unwrap_or_else(|| self.started.elapsed()).as_secs_f64()
    }
}

/// The jobs of this window, the newest last.
#[derive(Debug, Default)]
pub struct Jobs {
    /// The program, where it is not next to the window's.
    pub program: Option<PathBuf>,
    all: Vec<StartedJob>,
    next: u64,
}

impl Jobs {
    /// Begins a job, unless the same command is at work already; one that has ended gives way to it. `ctx` is woken when it changes.
    pub fn start(&mut self, job: Job, ctx: &egui::Context) {
        if self.running(&job) {
            return;
        }
        self.all.retain(|other| other.job != job);
        let program = self.program.clone().unwrap_or_else(super::beside_the_window);
        let shared = process::start(program, job.arguments.clone(), None, ctx);
        self.next += 1;
        self.all.push(StartedJob { id: self.next, job, shared, started: Instant::now(), took: None });
    }

    /// Interrupts a job, as Ctrl-C does.
    pub fn cancel(&mut self, id: u64) {
        self.all.iter().filter(|job| job.id == id).for_each(|job| job.shared.pause());
    }

    /// Forgets a job that has ended.
    pub fn dismiss(&mut self, id: u64) {
        self.all.retain(|job| job.id != id || job.is_alive());
    }

    /// Whether this command is at work.
    pub fn running(&self, job: &Job) -> bool {
        self.all.iter().any(|other| other.job == *job && other.is_alive())
    }

    /// All of them.
    pub fn all(&self) -> &[StartedJob] {
        &self.all
    }

    /// Once per frame: notes when a job ended.
    pub fn poll(&mut self) {
        for job in &mut self.all {
            if job.took.is_none() && !job.is_alive() {
                job.took = Some(job.started.elapsed());
            }
        }
    }

    /// Whether a process works.
    pub fn any_alive(&self) -> bool {
        self.all.iter().any(StartedJob::is_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_what_a_person_would_type() {
        assert_eq!(Job::index(Path::new("a run")).line(), "sae index 'a run'");
        let moved = Job::index(Path::new("topk")).told(|run| Some(run.with_file_name("data")));
        assert_eq!(moved.line(), "sae index topk --data data");
        assert_eq!(Job::map(Path::new("topk")).told(|_| Some("data".into())).line(), "sae map topk");
        assert_eq!(Job::join_experts(Path::new("topk")).line(), "sae experts --features topk");
        assert_eq!(Job::match_with(Path::new("a"), Path::new("b")).line(), "sae match a b");
        assert_eq!(Job::score_truth(Path::new("topk")).line(), "sae synth score topk");
        let import = Job::import(Path::new("gpt2/params.npz"), Path::new("here/params-run"));
        assert_eq!(import.line(), "sae import dictionary gpt2/params.npz --out here/params-run");
        assert_eq!(import.opens, Some("here/params-run".into()));
        assert_eq!(Job::demo(Path::new("x/sae-demo")).opens, Some("x/sae-demo".into()));
    }
}
