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
//! | `stream` | reading rows, in an order of their own, ahead and in bounded memory |
//! | `statistics` | input scale, variance, geometric median: measured once on a sample |
//! | `state` | parameters, moments, silence of features |
//! | `step`, `pairs` | one step of any method: active pairs, errors, gradients |
//! | `thresholds` | after the last step: thresholds of the methods that need a whole batch to select |
//! | `initial` | how long encoder rows are when training begins, or the weights of another run |
//! | `runs` | runs from their first file to the dictionary: folder, loop, log, checkpoints |
//! | `history` | what becomes of each feature: snapshots on the way, tables at the end |
//! | `sweep` | many runs from one file |
//!
//! [`run`] begins or resumes a run, [`resume`] continues one from its folder alone. A run that was killed and resumed has the same
//! final weights, to the bit, as one that was not, for any number of threads.

mod config;
pub mod history;
mod initial;
#[doc(hidden)]
pub mod measure;
mod pairs;
mod runs;
mod state;
mod statistics;
mod step;
mod stream;
pub mod sweep;
mod thresholds;

use std::path::{Path, PathBuf};

use rayon::ThreadPool;
use storage::run::LeftOut;

pub use config::keys::{OPTIONS, OptionValue, TrainOption};
pub use config::{
    AuxLoss, CosineAlpha, FrozenDecoder, InputNormalisation, JumpPenalty, MaxNorm, Method, TrainConfig,
    default_learning_rate,
};
pub use runs::job::read_config_file;

use crate::{Error, Progress, Result};
use config::Resolved;
use runs::group;
use runs::job::{Entry, Job, read_config};
use stream::source::Source;

/// File of the resolved configuration in a run's folder.
pub const CONFIG_FILE: &str = "train.toml";

/// How a run came out.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOutcome {
    /// The run's folder, with the dictionary.
    pub run: PathBuf,
    /// Which features were active.
    pub method: Method,
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
    /// Active features per token, over the last logged window.
    pub l0: f64,
    /// Features that had not fired for `dead_after` tokens when the last step began.
    pub dead: u64,
    /// Those as a share of all features.
    pub dead_share: f64,
    /// Tokens of silence after which a feature counts as dead.
    pub dead_after: u64,
    /// Rows left out because of their norm.
    pub left_out: LeftOut,
    /// γ = ‖μ‖/‖σ‖ of the activations; `None` for runs of earlier versions.
    pub mean_ratio: Option<f64>,
    /// Of `block-choice`, log₂ of the number of codes that it can give, and that of TopK with the same k.
    pub capacity_bits: Option<[f64; 2]>,
    /// Active features per token on held-out tokens by the thresholds that were fitted, for methods that have such.
    pub l0_threshold: Option<f64>,
}

/// Trains a dictionary on the dataset in `data` and keeps the run in `out`.
///
/// With `resume`, continues from the newest checkpoint in `out`; the configuration must then be the one that the run began with (threads,
/// logging and checkpoints may differ). Without, `out` must not hold a run.
///
/// Stopping ([`Progress::stop_requested`]) writes a checkpoint and gives [`Error::Stopped`].
///
/// # Errors
/// A configuration that makes no sense with this dataset; a dataset or checkpoint that cannot be read; an
/// `out` that holds a run already, a different one, or none to resume; a number that is not finite, after a
/// checkpoint; [`Error::Stopped`].
pub fn run(
    config: &TrainConfig,
    data: &Path,
    out: &Path,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<TrainOutcome> {
    let source = Source::open(data, config)?;
    let resolved = source.resolve(config)?;
    run_resolved(&source, resolved, out, resume, progress)
}

fn run_resolved(
    source: &Source,
    resolved: Resolved,
    out: &Path,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<TrainOutcome> {
    let threads = thread_pool(resolved.config.threads)?;
    let mut jobs = match Job::enter(source, resolved, out, resume.into())? {
        Entry::Finished(outcome) => {
            progress.remark(&format!("{} is already finished", out.display()));
            return Ok(*outcome);
        }
        Entry::Job(job) => [*job],
    };
    jobs[0].lock.note().iter().chain(&jobs[0].resolved.remarks()).for_each(|remark| progress.remark(remark));
    let mut outcomes = group::train(source, &mut jobs, &threads, None, progress);
    outcomes.pop().unwrap_or_else(|| Err(Error::request("no run was asked for")))
}

/// Continues the run in `out`, as its `train.toml` says.
///
/// # Errors
/// As [`run`], and a `train.toml` that is missing, damaged or does not say where the data is.
pub fn resume(out: &Path, progress: &mut dyn Progress) -> Result<TrainOutcome> {
    let config = read_config(out)?;
    let data = config.data.clone().ok_or_else(|| {
        Error::format(out.join(CONFIG_FILE), "does not say where the data is")
            .with_remedy("add `data = \"FOLDER\"`")
    })?;
    run(&config, &data, out, true, progress)
}

fn thread_pool(threads: Option<usize>) -> Result<ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .thread_name(|i| format!("train-{i}"))
        .build()
        .map_err(|e| Error::request(format!("cannot start {threads:?} threads: {e}")))
}

#[cfg(test)]
pub(crate) mod tests;
