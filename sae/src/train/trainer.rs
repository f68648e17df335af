//! The loop: batch, step, log, checkpoint.

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use storage::metrics::{MetricsLog, Row};

use super::batches::{Batch, Batches};
use super::checkpoint::{self, Holds, Record};
use super::config::Resolved;
use super::order::Order;
use super::pools::Pools;
use super::rows::RowSource;
use super::schedule::Schedule;
use super::state::{Parameter, TrainState};
use super::statistics::{self, SAMPLE_ROWS, Statistics};
use super::step::{Stepper, Tokens};
use super::window::{Figures, Window};
use crate::{Error, Progress, Result};

/// Time between two writes of `metrics.parquet`.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// A run in progress: everything between the dataset and the run's folder.
pub(crate) struct Trainer<'a> {
    resolved: &'a Resolved,
    run: &'a Path,
    threads: ThreadPool,
    batches: Batches,
    epoch_rows: u64,
    statistics: Statistics,
    state: TrainState,
    stepper: Stepper,
    schedule: Schedule,
    log: MetricsLog,
    /// Training time before this process.
    seconds_before: f64,
    began: Instant,
    flushed: Instant,
    figures: Figures,
}

impl<'a> Trainer<'a> {
    /// Begins the run in `run`, or goes on from its newest checkpoint if `resume`.
    pub(crate) fn new(
        resolved: &'a Resolved,
        source: Box<dyn RowSource>,
        order: &Order,
        run: &'a Path,
        resume: bool,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let threads = thread_pool(resolved.config.threads)?;
        let found = if resume { checkpoint::newest(run)? } else { None };
        let (state, record, pools) = match found {
            Some(folder) => {
                let (state, record) = checkpoint::read(&folder)?;
                check(resolved, order, &record, &folder)?;
                progress.remark(&format!("going on from step {} of {}", record.step, resolved.steps));
                let pools = Pools::start(source, order, record.position)?;
                (state, record, pools)
            }
            None => {
                let mut pools = Pools::start(source, order, 0)?;
                let mut sample = pools.peek(SAMPLE_ROWS, resolved.d_in)?;
                let config = &resolved.config;
                let (statistics, b_dec) = threads.install(|| {
                    let multiple = config.max_activation_norm_multiple;
                    statistics::measure(&mut sample, resolved.d_in, config.input_normalisation, multiple)
                })?;
                let mut state = TrainState::new(resolved.d_sae, b_dec, config.seed);
                state.own = Parameter::new(resolved.own_parameters());
                (state, Record::first(resolved, order.rows(), statistics), pools)
            }
        };
        let resumed = (record.step > 0).then(|| record.step - 1);
        let log = MetricsLog::open(&run.join("metrics.parquet"), resumed)?;
        let now = Instant::now();
        Ok(Self {
            stepper: Stepper::new(resolved.step_options(&record.statistics)),
            schedule: Schedule {
                peak: resolved.learning_rate,
                warmup: resolved.warmup_steps,
                decay: resolved.decay_steps,
                steps: resolved.steps,
            },
            batches: Batches::new(pools, resolved.d_in, &record.statistics, order.rows(), record.left_out),
            epoch_rows: order.rows(),
            statistics: record.statistics,
            seconds_before: record.seconds,
            began: now,
            flushed: now,
            figures: Figures::default(),
            resolved,
            run,
            threads,
            state,
            log,
        })
    }

    /// Steps until the run is over. Stops between two steps when `progress` says so, with a checkpoint. `keep` is told about every
    /// write of the log, to keep its own record up to date.
    pub(crate) fn train(
        &mut self,
        progress: &mut dyn Progress,
        keep: &mut dyn FnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        let config = &self.resolved.config;
        let (mut batch, mut window) = (Batch::default(), Window::new());
        progress.begin("train", Some(self.tokens_total()), "tokens");
        while self.state.step < self.resolved.steps {
            if progress.stop_requested() {
                self.log.flush()?;
                self.checkpoint()?;
                return Err(Error::Stopped(format!(
                    "training stood at step {} of {}; a checkpoint was written, go on with --resume",
                    self.state.step, self.resolved.steps
                )));
            }
            self.batches.next(&mut batch, config.batch)?;
            let rate = self.schedule.rate(self.state.step + 1);
            let (stepper, state) = (&mut self.stepper, &mut self.state);
            let tokens = Tokens { x: &batch.x, gradients: &batch.gradients };
            let report = self.threads.install(|| stepper.step(state, tokens, rate));
            let report = report.map_err(|error| self.with_checkpoint(error))?;
            window.add(&report);
            let step = self.state.step;
            if step.is_multiple_of(self.resolved.log_every) || step == self.resolved.steps {
                self.log_window(&window, rate)?;
                window = Window::new();
            }
            progress.advance(self.tokens_done(), &self.figures.note(self.resolved.d_sae));
            if config.checkpoint_every > 0
                && step.is_multiple_of(config.checkpoint_every)
                && step < self.resolved.steps
            {
                // The log first: rows behind a checkpoint are dropped on resuming, rows before it are not written again.
                self.flush(keep)?;
                self.checkpoint()?;
            } else if self.flushed.elapsed() >= FLUSH_EVERY {
                self.flush(keep)?;
            }
        }
        self.flush(keep)?;
        progress.end(&format!(
            "trained {} steps: {}",
            self.state.step,
            self.figures.note(self.resolved.d_sae)
        ));
        Ok(())
    }

    /// The error that ended training, and where to go on from.
    fn with_checkpoint(&self, error: Error) -> Error {
        let Error::Data(message) = error else { return error };
        let newest = checkpoint::newest(self.run).ok().flatten();
        Error::data(match newest {
            Some(folder) => format!("{message}; the newest whole checkpoint is {}", folder.display()),
            None => format!("{message}; there is no checkpoint yet"),
        })
    }

    fn log_window(&mut self, window: &Window, learning_rate: f64) -> Result<()> {
        self.figures = window.figures();
        let row = Row::new(self.state.step - 1, self.tokens_done(), self.seconds());
        self.log.append(self.figures.row(row, self.resolved.d_sae, learning_rate))?;
        Ok(())
    }

    fn flush(&mut self, keep: &mut dyn FnMut(&Self) -> Result<()>) -> Result<()> {
        self.log.flush()?;
        self.flushed = Instant::now();
        keep(self)
    }

    /// Writes what the log has, whatever happens to the run.
    pub(crate) fn flush_log(&mut self) -> Result<()> {
        Ok(self.log.flush()?)
    }

    fn checkpoint(&self) -> Result<()> {
        let record = Record {
            step: self.state.step,
            position: self.batches.position(),
            left_out: self.batches.left_out(),
            epoch_rows: self.epoch_rows,
            d_in: self.resolved.d_in,
            d_sae: self.resolved.d_sae,
            seconds: self.seconds(),
            statistics: self.statistics.clone(),
            holds: Holds::of(&self.state),
        };
        checkpoint::write(self.run, &self.state, &record, self.resolved.config.keep_checkpoints)
    }

    /// Parameters as they are now.
    pub(crate) fn state(&self) -> &TrainState {
        &self.state
    }

    /// What was measured before the first step.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The threads to compute with, and the batches that come next.
    pub(crate) fn rest(&mut self) -> (&ThreadPool, &mut Batches) {
        (&self.threads, &mut self.batches)
    }

    /// The last logged row.
    pub(crate) fn last_row(&self) -> Option<&Row> {
        self.log.rows().last()
    }

    /// What activations are multiplied by.
    pub(crate) fn input_scale(&self) -> f32 {
        self.statistics.input_scale
    }

    /// Rows left out because of their norm.
    pub(crate) fn left_out(&self) -> u64 {
        self.batches.left_out()
    }

    /// Training time, summed over resumptions.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds_before + self.began.elapsed().as_secs_f64()
    }

    /// Tokens trained on.
    pub(crate) fn tokens_done(&self) -> u64 {
        self.state.step * self.resolved.config.batch as u64
    }

    /// Tokens of the whole run.
    pub(crate) fn tokens_total(&self) -> u64 {
        self.resolved.steps * self.resolved.config.batch as u64
    }

    /// Threads that are used.
    pub(crate) fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }
}

impl Record {
    /// The record of a run before its first step.
    fn first(resolved: &Resolved, epoch_rows: u64, statistics: Statistics) -> Self {
        Self {
            step: 0,
            position: 0,
            left_out: 0,
            epoch_rows,
            d_in: resolved.d_in,
            d_sae: resolved.d_sae,
            seconds: 0.0,
            statistics,
            holds: Holds::default(),
        }
    }
}

fn thread_pool(threads: Option<usize>) -> Result<ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .thread_name(|i| format!("train-{i}"))
        .build()
        .map_err(|e| Error::request(format!("cannot start {threads:?} threads: {e}")))
}

/// A checkpoint must belong to this data and these shapes; the configuration was compared before.
fn check(resolved: &Resolved, order: &Order, record: &Record, folder: &Path) -> Result<()> {
    let (ours, theirs) =
        ((resolved.d_in, resolved.d_sae, order.rows()), (record.d_in, record.d_sae, record.epoch_rows));
    if ours == theirs {
        return Ok(());
    }
    Err(Error::format(
        folder,
        format!(
            "the run began with d_in, d_sae and training rows {theirs:?}, now they are {ours:?}; \
             go on with the dataset that the run began with, or begin a new run"
        ),
    ))
}
