//! Training: a dataset of activations in, a run with a dictionary out.
//!
//! ```text
//! documents that are not held out ── order ──▶ pools ──▶ batches [B, d] ── step ──▶ state ──▶ RUN/
//!    (storage)              (seed, epoch)   (a thread)   (scaled)      (kernels)            metrics, checkpoints, dictionary
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `config` | `train.toml`, its defaults, what makes no sense |
//! | `order`, `random` | which row comes when: a pure function of (seed, epoch, pool) |
//! | `rows`, `dataset_rows`, `pools`, `batches` | reading rows, ahead and in bounded memory |
//! | `statistics` | input scale, variance, geometric median: measured once on a sample |
//! | `state` | parameters, moments, silence of features |
//! | `step`, `matches` | one step of any method: matches, errors, gradients |
//! | `thresholds` | after the last step: thresholds of the methods that need a whole batch to select |
//! | `schedule` | learning rate |
//! | `trainer`, `window` | the loop and what it logs |
//! | `checkpoint`, `record`, `clock` | what is kept |
//!
//! [`run`] begins or resumes a run, [`resume`] goes on with one from its folder alone. A run that was killed and resumed has the same
//! final weights, to the bit, as one that was not, for any number of threads.

mod batches;
mod checkpoint;
mod clock;
mod config;
mod dataset_rows;
mod matches;
#[doc(hidden)]
pub mod measure;
mod order;
mod pools;
mod random;
mod record;
mod rows;
mod schedule;
mod state;
mod statistics;
mod step;
mod thresholds;
mod trainer;
mod window;

use std::path::{Path, PathBuf};

use storage::{Dataset, Lock, RunRecord, RunStatus};

pub use config::{AuxLoss, InputNormalisation, JumpPenalty, Method, TrainConfig, default_learning_rate};

use crate::{Error, Progress, Result};
use config::Resolved;
use dataset_rows::DatasetRows;
use order::Order;
use trainer::Trainer;

/// File of the resolved configuration in a run's folder.
pub const CONFIG_FILE: &str = "train.toml";

/// How a run came out.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOutcome {
    /// The run's folder, with the dictionary.
    pub run: PathBuf,
    /// Steps done.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Training time, summed over resumptions.
    pub seconds: f64,
    /// Loss, mean over the last logged window.
    pub loss: f64,
    /// Centred fraction of variance explained, over the last logged window of training rows.
    pub fve: f64,
    /// Active features a token, over the last logged window.
    pub l0: f64,
    /// Features that had not fired for `dead_after` tokens when the last step began.
    pub dead: u64,
    /// Those as a share of all features.
    pub dead_share: f64,
    /// Tokens of silence after which a feature counts as dead.
    pub dead_after: u64,
    /// Rows left out because of their norm.
    pub left_out: u64,
    /// Active features a token on held-out tokens by the thresholds that were fitted, for methods that have such.
    pub l0_threshold: Option<f64>,
}

/// Trains a dictionary on the dataset in `data` and keeps the run in `out`.
///
/// With `resume`, goes on from the newest checkpoint in `out`; the configuration must then be the one that the run began with (threads,
/// logging and checkpoints may differ). Without, `out` must not hold a run.
///
/// Stopping ([`Progress::stop_requested`]) writes a checkpoint and gives [`Error::Stopped`].
pub fn run(
    config: &TrainConfig,
    data: &Path,
    out: &Path,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<TrainOutcome> {
    let dataset = Dataset::open(data)?;
    let rows = DatasetRows::open(&dataset)?;
    let ranges = rows.training_ranges();
    let training_rows = ranges.iter().map(|range| range.end - range.start).sum();
    if training_rows == 0 {
        return Err(Error::request(format!(
            "{} has no rows to train on: it is empty or all its documents are held out",
            data.display()
        )));
    }
    let mut config = config.clone();
    config.data = Some(std::path::absolute(data).map_err(|e| Error::io(data, e))?);
    let resolved = config.resolve(dataset.manifest().d_model, training_rows)?;
    let held_out = rows.clone();
    let rows = if resolved.needs_gradients() { rows.with_gradients(config.method.name())? } else { rows };
    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let _lock = Lock::take(out)?;
    let previous = previous_run(&resolved, out, resume)?;
    if let Some(record) = previous.as_ref().filter(|record| record.status == RunStatus::Finished) {
        progress.remark(&format!("{} is already finished", out.display()));
        return Ok(record::outcome(record, out, &resolved));
    }
    let order = Order::new(&ranges, resolved.config.block_rows, resolved.pool_rows, resolved.config.seed);
    let mut record = record::begin(&resolved, dataset.manifest(), previous.as_ref());
    write_config(&resolved.config, out)?;
    record.write(out)?;
    resolved.remarks().iter().for_each(|remark| progress.remark(remark));
    let result =
        Trainer::new(&resolved, Box::new(rows), &order, out, resume, progress).and_then(|mut trainer| {
            finish(&mut trainer, &resolved, (&dataset, held_out), &mut record, out, progress)
        });
    if let Err(error) = &result {
        record::end_with(&mut record, error);
        // The disk may be what failed: the first error is the one to tell.
        let _ = record.write(out);
    }
    result
}

/// Goes on with the run in `out`, as its `train.toml` says.
pub fn resume(out: &Path, progress: &mut dyn Progress) -> Result<TrainOutcome> {
    let config = read_config(out)?;
    let data = config.data.clone().ok_or_else(|| {
        Error::format(out.join(CONFIG_FILE), "does not say where the data is; add `data = \"FOLDER\"`")
    })?;
    run(&config, &data, out, true, progress)
}

/// Trains to the end and writes the dictionary.
fn finish(
    trainer: &mut Trainer<'_>,
    resolved: &Resolved,
    (dataset, held_out): (&Dataset, DatasetRows),
    record: &mut RunRecord,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<TrainOutcome> {
    let trained = trainer.train(progress, &mut |trainer| {
        record::update(record, trainer);
        Ok(record.write(out)?)
    });
    record::update(record, trainer);
    if let Err(error) = trained {
        // What was logged until then helps to see why.
        let _ = trainer.flush_log();
        return Err(error);
    }
    if trainer.left_out() > 0 {
        progress.remark(&format!("{} rows were left out because of their norm", trainer.left_out()));
    }
    let fitted = thresholds::fit(trainer, resolved, held_out, progress)?;
    let fitted = fitted.map(|fitted| {
        record.thresholds = Some(fitted.record);
        fitted.thresholds
    });
    record::dictionary(trainer, resolved, dataset, fitted).save(out)?;
    record.status = RunStatus::Finished;
    record.write(out)?;
    Ok(record::outcome(record, out, resolved))
}

/// The run that is already in `out`, if it may be gone on with.
fn previous_run(resolved: &Resolved, out: &Path, resume: bool) -> Result<Option<RunRecord>> {
    if !out.join(storage::run::FILE).exists() {
        return if resume {
            Err(Error::request(format!(
                "{} holds no run to resume; leave --resume out to begin one",
                out.display()
            )))
        } else {
            Ok(None)
        };
    }
    let record = RunRecord::read(out)?;
    if !resume {
        return Err(Error::request(format!(
            "{} already holds a run ({:?}, step {} of {}); give --resume to go on with it, or another folder",
            out.display(),
            record.status,
            record.step,
            record.steps_total
        )));
    }
    let differences = resolved.config.differences(&read_config(out)?);
    if !differences.is_empty() {
        return Err(Error::request(format!(
            "the run in {} began with another configuration: {}; resume it with its own {CONFIG_FILE}, or begin a new run",
            out.display(),
            differences.join("; ")
        )));
    }
    Ok(Some(record))
}

fn read_config(out: &Path) -> Result<TrainConfig> {
    let path = out.join(CONFIG_FILE);
    read_config_file(&path)
}

/// Reads a configuration from a file; a name that does not exist is answered with the nearest that does.
pub fn read_config_file(path: &Path) -> Result<TrainConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    config::keys::parse(&text, path)
}

fn write_config(config: &TrainConfig, out: &Path) -> Result<()> {
    let path = out.join(CONFIG_FILE);
    let text = toml::to_string(config).map_err(|e| Error::format(&path, e.to_string()))?;
    Ok(storage::atomic::write(&path, text.as_bytes())?)
}

#[cfg(test)]
mod method_tests;
#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
