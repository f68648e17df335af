//! Training the runs of a sweep.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::ThreadPool;
use storage::sweep::SweepRow;
use storage::{Lock, RunRecord};

use super::file::{self, NamedConfig};
use super::plan::{Plan, PlannedRun, Wave, of_run};
use super::{SWEEP_FILE, TABLE};
use crate::train::runs::board::Board;
use crate::train::runs::job::{Entry, Job, Resume, previous_run};
use crate::train::{TrainConfig, TrainOutcome, group, thread_pool};
use crate::{Error, Progress, Result};

/// A run of a sweep and what came of it.
#[derive(Debug, Clone)]
pub struct SweptRun {
    /// Its folder in the sweep's.
    pub name: String,
    /// Its configuration, with everything filled in.
    pub config: TrainConfig,
    /// What came of it; the message of the error that ended it. `None` if it was not begun.
    pub outcome: Option<Result<TrainOutcome, String>>,
    /// Whether it was stopped and can be resumed.
    pub stopped: bool,
}

/// How a sweep came out.
#[derive(Debug, Clone)]
pub struct SweepOutcome {
    /// The sweep's folder.
    pub out: PathBuf,
    /// Its runs, in the order of the file.
    pub runs: Vec<SweptRun>,
    /// Wall time of this process.
    pub seconds: f64,
}

impl SweepOutcome {
    /// What to tell of the runs that failed; `None` if none did.
    pub fn failures(&self) -> Option<String> {
        let failed: Vec<String> = self
            .runs
            .iter()
            .filter_map(|run| match &run.outcome {
                Some(Err(message)) => Some(format!("{}: {message}", run.name)),
                _ => None,
            })
            .collect();
        let n = self.runs.len();
        (!failed.is_empty())
            .then(|| format!("{} of {n} runs failed\n  {}", failed.len(), failed.join("\n  ")))
    }
}

/// The runs that the sweep in `out` was begun with.
///
/// # Errors
/// As [`read_file`](super::read_file), of `OUT/sweep.toml`.
pub fn read_out(out: &Path) -> Result<Vec<NamedConfig>> {
    file::read_file(&out.join(SWEEP_FILE))
}

/// Trains the runs of `plan`, each in a folder of its name in `out`, and writes `OUT/sweep.parquet`.
///
/// With `resume`, runs that are finished stay as they are, those that were begun are resumed from their newest checkpoints, and others are
/// begun. Without, `out` must not hold a sweep.
///
/// A run that fails does not end the others: see [`SweepOutcome::failures`]. Stopping writes a checkpoint of every run that is
/// being trained and gives [`Error::Stopped`].
///
/// # Errors
/// An `out` that holds a sweep already, or none to resume; a run in it that began with a different
/// configuration; files that cannot be written; [`Error::Stopped`].
pub fn run(plan: &Plan, out: &Path, resume: bool, progress: &mut dyn Progress) -> Result<SweepOutcome> {
    if begun_files(out) && !resume {
        return Err(Error::request(format!("{} already holds a sweep", out.display()))
            .with_remedy("give --resume to continue it, or a different folder"));
    }
    if resume && !begun_files(out) {
        return Err(Error::request(format!("{} does not hold a sweep to resume", out.display()))
            .with_remedy("leave --resume out to begin one"));
    }
    // Whatever can be refused is refused before hours go by.
    let may = if resume { Resume::May } else { Resume::Never };
    for planned in &plan.runs {
        previous_run(&planned.resolved, &out.join(&planned.name), may)
            .map_err(|error| of_run(&planned.name, error))?;
    }
    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let lock = Lock::take(out)?;
    lock.note().iter().for_each(|note| progress.remark(note));
    write_runs(&plan.runs, &out.join(SWEEP_FILE))?;
    train_all(&mut Sweep::new(plan, out, may)?, plan, progress, true)
}

/// Whether `out` holds a sweep.
pub(super) fn begun_files(out: &Path) -> bool {
    out.join(SWEEP_FILE).exists()
}

/// Trains what is not finished, wave by wave; with `table`, `sweep.parquet` tells after each.
pub(super) fn train_all(
    sweep: &mut Sweep<'_>,
    plan: &Plan,
    progress: &mut dyn Progress,
    table: bool,
) -> Result<SweepOutcome> {
    progress.begin("train", Some(plan.tokens()), "tokens");
    let mut stopped = false;
    for wave in &plan.waves {
        if progress.stop_requested() {
            stopped = true;
            break;
        }
        sweep.train(plan, wave, progress)?;
        if table {
            sweep.write_table()?;
        }
        stopped = sweep.runs.iter().any(|run| run.stopped);
        if stopped {
            break;
        }
    }
    let finished = sweep.runs.iter().filter(|run| matches!(run.outcome, Some(Ok(_)))).count();
    let summary = format!("{finished} of {} runs are finished", sweep.runs.len());
    progress.end(&summary);
    if stopped {
        return Err(Error::stopped(format!(
            "{summary}; checkpoints of the others were written, continue with {}",
            if table { "--resume" } else { "the same command" }
        )));
    }
    Ok(sweep.outcome())
}

fn not_begun(planned: &PlannedRun) -> SweptRun {
    SweptRun { name: planned.name.clone(), config: planned.config().clone(), outcome: None, stopped: false }
}

/// A sweep that is being trained, or put together of what is trained.
pub(super) struct Sweep<'a> {
    began: Instant,
    out: &'a Path,
    runs: Vec<SweptRun>,
    board: Board,
    threads: ThreadPool,
    may: Resume,
}

impl<'a> Sweep<'a> {
    /// The runs of `plan`, none of them looked at yet.
    pub(super) fn new(plan: &Plan, out: &'a Path, may: Resume) -> Result<Self> {
        Ok(Self {
            began: Instant::now(),
            out,
            runs: plan.runs.iter().map(not_begun).collect(),
            board: Board::new(plan.runs.iter().map(|run| run.name.clone())),
            threads: thread_pool(plan.runs.first().and_then(|run| run.resolved.config.threads))?,
            may,
        })
    }

    /// How it came out so far.
    pub(super) fn outcome(&self) -> SweepOutcome {
        let seconds = self.began.elapsed().as_secs_f64();
        SweepOutcome { out: self.out.to_owned(), runs: self.runs.clone(), seconds }
    }

    /// Writes `sweep.toml` and `sweep.parquet`.
    pub(super) fn write(&self, plan: &Plan) -> Result<()> {
        self.write_table()?;
        write_runs(&plan.runs, &self.out.join(SWEEP_FILE))
    }

    /// Trains the runs of `wave` that are not finished.
    fn train(&mut self, plan: &Plan, wave: &Wave, progress: &mut dyn Progress) -> Result<()> {
        let (mut jobs, mut going) = (Vec::new(), Vec::new());
        let Some(source) = wave.runs.first().map(|&i| &plan.sources[plan.runs[i].source]) else {
            return Ok(());
        };
        for &i in &wave.runs {
            let planned = &plan.runs[i];
            let folder = self.out.join(&planned.name);
            match Job::enter(source, planned.resolved.clone(), &folder, self.may)? {
                Entry::Finished(outcome) => self.settle(i, planned, Ok(*outcome)),
                Entry::Job(job) => {
                    jobs.push(*job);
                    going.push(i);
                }
            }
        }
        remark(&jobs, progress);
        self.board.turn_to(going.clone());
        let results = group::train(source, &mut jobs, &self.threads, Some(&mut self.board), progress);
        for (i, result) in going.into_iter().zip(results) {
            self.settle(i, &plan.runs[i], result);
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, i: usize, planned: &PlannedRun, result: Result<TrainOutcome>) {
        let run = &mut self.runs[i];
        match result {
            Ok(outcome) => {
                self.board.settle(i, planned.tokens(), outcome.fve);
                run.outcome = Some(Ok(outcome));
            }
            Err(Error::Stopped(_)) => run.stopped = true,
            Err(error) => run.outcome = Some(Err(error.to_string())),
        }
    }

    fn write_table(&self) -> Result<()> {
        let rows: Vec<SweepRow> = self.runs.iter().map(|run| row(self.out, run)).collect();
        storage::row::write(&self.out.join(TABLE), &rows)?;
        Ok(())
    }
}

/// A remark about several runs is made once.
fn remark(jobs: &[Job], progress: &mut dyn Progress) {
    let mut said: Vec<String> = Vec::new();
    for remark in jobs.iter().flat_map(|job| job.resolved.remarks()) {
        if !said.contains(&remark) {
            progress.remark(&remark);
            said.push(remark);
        }
    }
}

/// A run as a row of `sweep.parquet`.
fn row(out: &Path, run: &SweptRun) -> SweepRow {
    let record = RunRecord::read(&out.join(&run.name)).ok();
    let outcome = run.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    let number = |of: fn(&TrainOutcome) -> f64| outcome.map(of).filter(|value| value.is_finite());
    let count = |of: fn(&TrainOutcome) -> u64| outcome.map(of);
    let config = &run.config;
    SweepRow {
        run: run.name.clone(),
        status: match (&run.outcome, run.stopped) {
            (Some(Ok(_)), _) => "finished",
            (Some(Err(_)), _) => "failed",
            (None, true) => "stopped",
            (None, false) => "not begun",
        }
        .to_owned(),
        error: run.outcome.as_ref().and_then(|outcome| outcome.as_ref().err().cloned()),
        method: config.method.name().to_owned(),
        k: if config.method.is_penalised() { 0 } else { config.k as u64 },
        d_sae: config.d_sae.unwrap_or(0) as u64,
        seed: config.seed,
        data_seed: config.order_seed(),
        hook: record.map(|record| record.hook).unwrap_or_default(),
        data: config.data.as_ref().map(|data| data.display().to_string()).unwrap_or_default(),
        config: serde_json::to_string(config).unwrap_or_default(),
        steps: count(|o| o.steps),
        tokens: count(|o| o.tokens),
        seconds: number(|o| o.seconds),
        loss: number(|o| o.loss),
        fve: number(|o| o.fve),
        l0: number(|o| o.l0),
        dead: count(|o| o.dead),
        dead_share: number(|o| o.dead_share),
        dead_after: count(|o| o.dead_after),
        left_out: count(|o| o.left_out.rows),
        l0_threshold: number(|o| o.l0_threshold.unwrap_or(f64::NAN)),
    }
}

/// Writes every run with all its options: a sweep that needs no base and no lists.
fn write_runs(runs: &[PlannedRun], path: &Path) -> Result<()> {
    let problem = |e: toml::ser::Error| Error::format(path, e.to_string());
    let mut text = String::new();
    for run in runs {
        let mut table = toml::Table::try_from(run.config()).map_err(problem)?;
        table.insert("name".to_owned(), run.name.clone().into());
        text.push_str(&format!("[[run]]\n{}\n", toml::to_string(&table).map_err(problem)?));
    }
    Ok(storage::atomic::write(path, text.as_bytes())?)
}
