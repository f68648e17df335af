//! Commands that the window runs next to itself: what it would otherwise tell a person to type.
//!
//! A job is the program `sae` with arguments, in a process of its own, as a training is. It writes into the folders that it
//! is about; the window reads them again when the person asks to see what came of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::process::{self, Shared};
use super::{Stage, line, named};
use crate::address::Place;

/// A command to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What it does, in words: `Index topk`.
    pub title: String,
    /// The arguments after `sae`.
    pub arguments: Vec<OsString>,
    /// What is shown of it when it has ended.
    pub outcome: Outcome,
    /// The run that it checks, whose verdict is in its answer.
    checks: Option<PathBuf>,
    /// The run whose dataset it reads, where the record of the run says.
    reads_data_of: Option<PathBuf>,
}

/// What is shown of a job that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The open folder, read again.
    #[default]
    Reload,
    /// A folder that it made, opened.
    Open(PathBuf),
    /// A place in the open folder, which is read again.
    Go(Place),
    /// A file or folder for other programs, whose path is put on the clipboard.
    Path(PathBuf),
}

impl Job {
    fn new(title: String, arguments: &[&str], folders: &[&Path]) -> Self {
        let mut all: Vec<OsString> = arguments.iter().map(Into::into).collect();
        all.extend(folders.iter().map(|folder| folder.as_os_str().to_owned()));
        let outcome = Outcome::default();
        Self { title, arguments: all, outcome, checks: None, reads_data_of: None }
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

    /// Finds which features of a run send tokens to which experts.
    pub fn explain_routers(run: &Path) -> Self {
        Self::with_data(format!("Explain routers by {}", name(run)), &["experts", "explain"], run)
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

    /// Looks at the features of a run as fields of pixels.
    pub fn measure_fields(run: &Path) -> Self {
        Self::with_data(format!("Measure fields of {}", name(run)), &["fields"], run)
    }

    /// Makes the run `out` of a dictionary of a different program.
    pub fn import(source: &Path, out: &Path) -> Self {
        let mut job = Self::new(format!("Import {}", name(source)), &["import", "dictionary"], &[source]);
        job.arguments.extend(["--out".into(), out.as_os_str().to_owned()]);
        Self { outcome: Outcome::Open(out.to_owned()), ..job }
    }

    /// Makes the demo in `folder`, which does not exist yet.
    pub fn demo(folder: &Path) -> Self {
        let job = Self::new("Make the demo".to_owned(), &["demo", "--out"], &[folder]);
        Self { outcome: Outcome::Open(folder.to_owned()), ..job }
    }

    /// Checks whether a run is read as it was meant.
    pub fn check(run: &Path) -> Self {
        let job = Self::with_data(format!("Check {}", name(run)), &["check"], run);
        Self { checks: Some(run.to_owned()), ..job }
    }

    /// Writes a run in the `format` of a different program to `out`.
    pub fn export(run: &Path, format: &str, out: &Path) -> Self {
        let mut job = Self::new(format!("Export {} to {format}", name(run)), &["export"], &[run]);
        job.arguments.extend(["--to".into(), format.into(), "--out".into(), out.as_os_str().to_owned()]);
        Self { outcome: Outcome::Path(out.to_owned()), ..job }
    }

    /// Writes one feature of a run to `out`: a page, or a card.
    pub fn export_feature(run: &Path, feature: u32, format: &str, out: &Path) -> Self {
        let mut job = Self::export(run, format, out);
        job.title = format!("Export feature {feature} of {}", name(run));
        job.arguments.extend(["--features".into(), feature.to_string().into()]);
        job
    }

    /// Probes labelled prompts with runs.
    pub fn probe(job: &ProbeJob) -> Self {
        let runs: Vec<&Path> = job.runs.iter().map(PathBuf::as_path).collect();
        let mut made = Self::new(format!("Probe into {}", name(&job.out)), &["probe"], &runs);
        let arguments = &mut made.arguments;
        arguments.extend(["--sets".into(), job.sets.clone().into_os_string()]);
        let only: Vec<&str> = job.only.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if !only.is_empty() {
            arguments.extend(["--only".into(), only.join(",").into()]);
        }
        if job.setting != "normal" {
            arguments.extend(["--setting".into(), job.setting.into()]);
        }
        arguments.extend(["--out".into(), job.out.clone().into_os_string()]);
        let outcome = Outcome::Go(Place::Probes { probes: job.out.clone() });
        Self { outcome, reads_data_of: job.runs.first().cloned(), ..made }
    }

    /// Traces a prediction through transcoders.
    pub fn trace(job: &TraceJob) -> Self {
        let mut made = Self::new(format!("Trace into {}", name(&job.out)), &["trace"], &[]);
        let arguments = &mut made.arguments;
        if job.model != "default" {
            arguments.extend(["--model".into(), job.model.clone().into()]);
        }
        arguments.push("--transcoders".into());
        arguments.extend(job.transcoders.iter().map(Into::into));
        arguments.extend(["--text".into(), job.text.clone().into()]);
        if !job.target.trim().is_empty() && job.target.trim() != "logits" {
            arguments.extend(["--target".into(), job.target.trim().into()]);
        }
        arguments.extend(["--out".into(), job.out.clone().into_os_string()]);
        Self { outcome: Outcome::Go(Place::Graph { graph: job.out.clone() }), ..made }
    }

    /// The command, to be typed into a terminal.
    pub fn line(&self) -> String {
        line(&self.arguments)
    }
}

/// What labelled prompts are probed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeJob {
    /// The runs.
    pub runs: Vec<PathBuf>,
    /// Folder of labelled prompts.
    pub sets: PathBuf,
    /// Names of the sets, with commas between them; all if empty.
    pub only: String,
    /// `normal`, `scarce`, `imbalanced` or `shifted`.
    pub setting: &'static str,
    /// Folder of the results.
    pub out: PathBuf,
}

/// What is traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceJob {
    /// The model as `sae trace --model` takes it.
    pub model: String,
    /// Runs, or names of the hub.
    pub transcoders: Vec<String>,
    /// The text whose next token is explained.
    pub text: String,
    /// What is explained; the likeliest next tokens if empty.
    pub target: String,
    /// Folder of the graph.
    pub out: PathBuf,
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

    /// What it printed at its end.
    fn answer(&self) -> Option<String> {
        self.shared.answer()
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
    /// What checks said of runs, as they printed it.
    verdicts: HashMap<PathBuf, Arc<str>>,
}

impl Jobs {
    /// Begins a job, unless the same command is at work already; one that has ended gives way to it. `ctx` is woken when it changes.
    pub fn start(&mut self, job: Job, ctx: &egui::Context) {
        if self.running(&job) {
            return;
        }
        self.all.retain(|other| other.job != job);
        let program = self.program.clone().unwrap_or_else(super::beside_the_window);
        let shared = process::start(program, named(job.arguments.clone()), None, ctx);
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
                if let (Some(run), Some(answer)) = (&job.job.checks, job.answer()) {
                    self.verdicts.insert(run.clone(), answer.into());
                }
            }
        }
    }

    /// What the last check of `run` printed.
    pub fn verdict(&self, run: &Path) -> Option<&Arc<str>> {
        self.verdicts.get(run)
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
        assert_eq!(Job::explain_routers(Path::new("topk")).line(), "sae experts explain topk");
        assert_eq!(Job::match_with(Path::new("a"), Path::new("b")).line(), "sae match a b");
        assert_eq!(Job::score_truth(Path::new("topk")).line(), "sae synth score topk");
        assert_eq!(Job::measure_fields(Path::new("hard")).line(), "sae fields hard");
        let import = Job::import(Path::new("gpt2/params.npz"), Path::new("here/params-run"));
        assert_eq!(import.line(), "sae import dictionary gpt2/params.npz --out here/params-run");
        assert_eq!(import.outcome, Outcome::Open("here/params-run".into()));
        assert_eq!(Job::demo(Path::new("x/sae-demo")).outcome, Outcome::Open("x/sae-demo".into()));
        let check = Job::check(Path::new("topk")).told(|_| Some("data".into()));
        assert_eq!(check.line(), "sae check topk --data data");
        let export = Job::export_feature(Path::new("topk"), 7, "card", Path::new("7.svg"));
        assert_eq!(export.line(), "sae export topk --to card --out 7.svg --features 7");
        let probe = ProbeJob {
            runs: vec!["topk".into(), "small".into()],
            sets: "my reviews".into(),
            only: "films, books,".into(),
            setting: "scarce",
            out: "probes".into(),
        };
        assert_eq!(
            Job::probe(&probe).line(),
            "sae probe topk small --sets 'my reviews' --only films,books --setting scarce --out probes"
        );
        let trace = TraceJob {
            model: "default".into(),
            transcoders: vec!["tc0".into(), "tc1".into()],
            text: "It is so".into(),
            target: " ".into(),
            out: "graph".into(),
        };
        let job = Job::trace(&trace);
        assert_eq!(job.line(), "sae trace --transcoders tc0 tc1 --text 'It is so' --out graph");
        assert_eq!(job.outcome, Outcome::Go(Place::Graph { graph: "graph".into() }));
        let other = TraceJob { model: "google/gemma".into(), target: "router:2:5".into(), ..trace };
        assert!(Job::trace(&other).line().starts_with("sae trace --model google/gemma --transcoders tc0"));
        assert!(Job::trace(&other).line().contains(" --target router:2:5 --out"));
    }
}
