//! A run's folder from its first file to the dictionary.

use std::path::{Path, PathBuf};

use rayon::ThreadPool;
use storage::{Lock, RunRecord, RunStatus};

use super::record;
use super::trainer::Trainer;
use crate::train::config::{Resolved, TrainConfig, keys};
use crate::train::history;
use crate::train::statistics::Statistics;
use crate::train::stream::source::Source;
use crate::train::thresholds::{self, TrainedRun};
use crate::train::{CONFIG_FILE, TrainOutcome};
use crate::{Error, Progress, Result};

/// What to do where a folder already holds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Refuse.
    Never,
    /// Continue it; it must be there.
    Must,
    /// Continue it if it is there.
    May,
}

impl From<bool> for Resume {
    fn from(resume: bool) -> Self {
        if resume { Self::Must } else { Self::Never }
    }
}

/// A run that is to be trained. Its folder is locked.
pub struct Job {
    pub resolved: Resolved,
    pub out: PathBuf,
    pub record: RunRecord,
    /// Whether there may be a checkpoint to resume from.
    pub resumed: bool,
    pub lock: Lock,
}

/// A job, or what came of it when it was done before.
pub enum Entry {
    Job(Box<Job>),
    Finished(Box<TrainOutcome>),
}

impl Job {
    /// Begins or resumes the run in `out`: its folder shows that from here on.
    ///
    /// # Errors
    /// As [`previous_run`]; a folder that a different process is training in, or that cannot be written to.
    pub fn enter(source: &Source, resolved: Resolved, out: &Path, resume: Resume) -> Result<Entry> {
        std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
        let lock = Lock::take(out)?;
        let previous = previous_run(&resolved, out, resume)?;
        if let Some(record) = previous.as_ref().filter(|record| record.status == RunStatus::Finished) {
            // What a process that was killed right at the end left.
            history::clean(out)?;
            return Ok(Entry::Finished(Box::new(record::outcome(record, out, &resolved))));
        }
        let record = record::begin(&resolved, source, previous.as_ref());
        write_config(&resolved.config, out)?;
        record.write(out)?;
        let (out, resumed) = (out.to_owned(), previous.is_some());
        Ok(Entry::Job(Box::new(Self { resolved, out, record, resumed, lock })))
    }
}

/// Brings `run.json` up to date with `trainer`.
///
/// # Errors
/// A `run.json` that cannot be written.
pub fn note(record: &mut RunRecord, trainer: &Trainer<'_>, threads: &ThreadPool, out: &Path) -> Result<()> {
    record::update(record, trainer, threads.current_num_threads());
    Ok(record.write(out)?)
}

/// Fits thresholds where they are needed and writes the dictionary of a run whose last step is done.
///
/// # Errors
/// Rows that thresholds cannot be fitted on or that cannot be read; files that cannot be written; a stop that
/// was asked for.
pub fn finish(
    trainer: &Trainer<'_>,
    (resolved, record, out): (&Resolved, &mut RunRecord, &Path),
    source: &Source,
    threads: &ThreadPool,
    progress: &mut dyn Progress,
) -> Result<TrainOutcome> {
    record::update(record, trainer, threads.current_num_threads());
    record::remarks(record, resolved, source.dataset().manifest()).iter().for_each(|r| progress.remark(r));
    let l0 = trainer.last_row().and_then(|row| row.l0).map_or(f64::NAN, f64::from);
    let trained = TrainedRun {
        resolved,
        state: trainer.state(),
        layer: 0,
        statistics: trainer.statistics(),
        position: trainer.position(),
        l0_training: l0 / resolved.layers as f64,
    };
    if resolved.layers > 1 {
        finish_layers(trainer, (resolved, record, out), &trained, source, threads, progress)?;
    } else {
        let fitted = thresholds::fit(&trained, source, threads, progress)?;
        let fitted = fitted.map(|fitted| {
            record.thresholds = Some(fitted.record);
            fitted.thresholds
        });
        history::finish(resolved, out, threads, progress)?;
        record::dictionary(trainer, resolved, source, fitted).save(out)?;
    }
    let unfinished = std::mem::replace(&mut record.status, RunStatus::Finished);
    if let Err(error) = record.write(out) {
        record.status = unfinished;
        return Err(error.into());
    }
    history::clean(out)?;
    Ok(record::outcome(record, out, resolved))
}

/// The same for a cross-layer transcoder, layer by layer. `first` is its first layer.
fn finish_layers(
    trainer: &Trainer<'_>,
    (resolved, record, out): (&Resolved, &mut RunRecord, &Path),
    first: &TrainedRun<'_>,
    source: &Source,
    threads: &ThreadPool,
    progress: &mut dyn Progress,
) -> Result<()> {
    // A layer's rows are read alone, so its statistics must not speak of others.
    let alone = Statistics { later: Vec::new(), ..first.statistics.clone() };
    let statistics = std::iter::once(&alone).chain(&first.statistics.later);
    let states = std::iter::once(trainer.state()).chain(trainer.later());
    let mut fitted = Vec::new();
    for (layer, (state, statistics)) in states.zip(statistics).enumerate() {
        let of_layer = TrainedRun { state, layer, statistics, ..*first };
        let found = thresholds::fit(&of_layer, source, threads, progress)?;
        fitted.push(found.map(|found| {
            match &mut record.thresholds {
                Some(sum) if layer > 0 => {
                    sum.l0_training += found.record.l0_training;
                    sum.l0_threshold += found.record.l0_threshold;
                }
                thresholds => *thresholds = Some(found.record),
            }
            found.thresholds
        }));
    }
    record::cross_layer(trainer, resolved, source, fitted).save(out)
}

/// The run that is already in `out`, if it may be resumed. One that failed before its first step does not count.
///
/// # Errors
/// A run where none may be, none where one must be; a run that began with a different configuration, and in
/// what it differs.
pub fn previous_run(resolved: &Resolved, out: &Path, resume: Resume) -> Result<Option<RunRecord>> {
    if !out.join(storage::run::FILE).exists() {
        return match resume {
            Resume::Must => Err(Error::request(format!("{} does not hold a run to resume", out.display()))
                .with_remedy("leave --resume out to begin one")),
            _ => Ok(None),
        };
    }
    let record = RunRecord::read(out)?;
    if record.status == RunStatus::Failed && record.step == 0 {
        // It failed before its first step, over its data or its options, and left nothing to lose or to resume.
        return Ok(None);
    }
    if resume == Resume::Never {
        return Err(Error::request(format!(
            "{} already holds a run ({:?}, step {} of {})",
            out.display(),
            record.status,
            record.step,
            record.steps_total
        ))
        .with_remedy("give --resume to continue it, or a different folder"));
    }
    let differences = resolved.config.differences(&read_config(out)?);
    if !differences.is_empty() {
        let error = Error::request(format!(
            "the run in {} began with a different configuration: {}",
            out.display(),
            differences.join(", ")
        ));
        return Err(match record.status {
            // Its learning rate has fallen to 0, and every schedule has ended.
            RunStatus::Finished => error.with_remedy(format!(
                "the run is finished; begin a new one from its weights with --from {} and a different --out",
                out.display()
            )),
            _ => error.with_remedy(format!("resume it with its own {CONFIG_FILE}, or begin a new run")),
        });
    }
    Ok(Some(record))
}

/// The resolved configuration of the run in `out`.
///
/// # Errors
/// As [`read_config_file`].
pub fn read_config(out: &Path) -> Result<TrainConfig> {
    read_config_file(&out.join(CONFIG_FILE))
}

/// Reads a configuration from a file; a name that does not exist is answered with the nearest that does.
///
/// # Errors
/// A file that cannot be read or is not TOML; a name that does not exist; a value of the wrong type.
pub fn read_config_file(path: &Path) -> Result<TrainConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    keys::parse(&text, path)
}

fn write_config(config: &TrainConfig, out: &Path) -> Result<()> {
    let path = out.join(CONFIG_FILE);
    let text = toml::to_string(config).map_err(|e| Error::format(&path, e.to_string()))?;
    Ok(storage::atomic::write(&path, text.as_bytes())?)
}
