//! One run in training: its state, its steps, its log and its checkpoints. Batches are given to it.

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use storage::metrics::{MetricsLog, MetricsRow};

use super::batches::Batch;
use super::checkpoint::{self, Holds, Record};
use super::config::Resolved;
use super::history::Keeper;
use super::initial;
use super::random::{Purpose, generator, shuffle};
use super::schedule::Schedule;
use super::state::{Parameter, TrainState};
use super::statistics::Statistics;
use super::step::{Stepper, Tokens};
use super::window::{Figures, Window};
use crate::{Error, Result};

/// Where a run begins: before its first step, or where a checkpoint was written.
pub(crate) struct Start {
    pub(crate) state: TrainState,
    pub(crate) record: Record,
}

impl Start {
    /// Before the first step.
    pub(crate) fn first(
        resolved: &Resolved,
        epoch_rows: u64,
        statistics: Statistics,
        b_dec: Vec<f32>,
    ) -> Self {
        let mut state = TrainState::new(resolved.d_sae, b_dec, resolved.config.seed);
        state.own = Parameter::new(resolved.own_parameters());
        let record = Record {
            step: 0,
            position: 0,
            left_out: 0,
            epoch_rows,
            d_in: resolved.d_in,
            d_sae: resolved.d_sae,
            seconds: 0.0,
            counted_from: None,
            statistics,
            holds: Holds::default(),
        };
        Self { state, record }
    }

    /// The newest checkpoint of `run`, if there is one. It must belong to this data and these shapes; the configuration was compared
    /// before.
    pub(crate) fn newest(resolved: &Resolved, epoch_rows: u64, run: &Path) -> Result<Option<Self>> {
        let Some(folder) = checkpoint::newest(run)? else { return Ok(None) };
        let (state, record) = checkpoint::read(&folder)?;
        let (ours, theirs) =
            ((resolved.d_in, resolved.d_sae, epoch_rows), (record.d_in, record.d_sae, record.epoch_rows));
        if ours != theirs {
            return Err(Error::format(
                folder,
                format!(
                    "the run began with d_in, d_sae and training rows {theirs:?}, now they are {ours:?}; \
                     go on with the dataset that the run began with, or begin a new run"
                ),
            ));
        }
        Ok(Some(Self { state, record }))
    }
}

/// A run in progress.
pub(crate) struct Trainer<'a> {
    resolved: &'a Resolved,
    run: &'a Path,
    state: TrainState,
    /// What a checkpoint holds beside the state, as of the last step.
    record: Record,
    stepper: Stepper,
    schedule: Schedule,
    log: MetricsLog,
    history: Keeper,
    window: Window,
    figures: Figures,
    flushed: Instant,
    /// Gradients in an order of their own, for the control that shuffles them.
    shuffled: Vec<f32>,
}

impl<'a> Trainer<'a> {
    /// Goes on from `start`.
    pub(crate) fn new(resolved: &'a Resolved, run: &'a Path, start: Start) -> Result<Self> {
        let Start { mut state, record } = start;
        state.use_large_pages();
        let history = Keeper::open(resolved, run, &mut state, record.counted_from)?;
        let resumed = (record.step > 0).then(|| record.step - 1);
        Ok(Self {
            stepper: Stepper::new(resolved.step_options(&record.statistics)),
            schedule: Schedule {
                peak: resolved.learning_rate,
                warmup: resolved.warmup_steps,
                decay: resolved.decay_steps,
                steps: resolved.steps,
            },
            log: MetricsLog::open(&run.join("metrics.parquet"), resumed)?,
            history,
            window: Window::new(record.seconds),
            figures: Figures::default(),
            flushed: Instant::now(),
            shuffled: Vec::new(),
            resolved,
            run,
            state,
            record,
        })
    }

    /// Before the first step, whose batch is `x[B, d]`.
    fn begin(&mut self, x: &[f32], threads: &ThreadPool) -> Result<()> {
        if let Some(k) = self.resolved.first_k() {
            threads.install(|| initial::fit_encoder(&mut self.state, x, k));
        }
        if self.history.is_due(0) {
            self.history.take(&mut self.state, threads)?;
        }
        Ok(())
    }

    /// Does the step that `batch` is for.
    pub(crate) fn step(&mut self, batch: &Batch, threads: &ThreadPool) -> Result<()> {
        let began = Instant::now();
        if self.state.step == 0 {
            self.begin(&batch.x, threads)?;
        }
        let rate = self.schedule.rate(self.state.step + 1);
        let gradients = self.gradients(batch);
        let tokens = Tokens { x: &batch.x, gradients: &gradients };
        let (stepper, state) = (&mut self.stepper, &mut self.state);
        let report = threads.install(|| stepper.step(state, tokens, rate));
        self.give_back(gradients);
        let report = report.map_err(|error| self.with_checkpoint(error))?;
        self.window.add(&report);
        (self.record.position, self.record.left_out) = (batch.position, batch.left_out);
        if self.history.is_due(self.state.step) {
            self.history.take(&mut self.state, threads)?;
        }
        self.spend(began.elapsed());
        let step = self.state.step;
        if step.is_multiple_of(self.resolved.log_every) || self.is_done() {
            self.log_window(rate)?;
        }
        Ok(())
    }

    /// Counts time that was spent for this run.
    pub(crate) fn spend(&mut self, time: Duration) {
        // Whole nanoseconds: a number that JSON brings back as it is.
        self.record.seconds = ((self.record.seconds + time.as_secs_f64()) * 1e9).round() / 1e9;
    }

    /// Keeps what should survive the process: the log every `every`, and a checkpoint where one is due. True when the log was written:
    /// then `run.json` should be, too.
    pub(crate) fn keep(&mut self, every: Duration) -> Result<bool> {
        let (step, checkpoints) = (self.state.step, self.resolved.config.checkpoint_every);
        let due = checkpoints > 0 && step.is_multiple_of(checkpoints) && !self.is_done();
        if !due && !self.is_done() && self.flushed.elapsed() < every {
            return Ok(false);
        }
        // The log first: rows behind a checkpoint are dropped on resuming, rows before it are not written again.
        self.flush_log()?;
        if due {
            self.checkpoint()?;
        }
        Ok(true)
    }

    /// Keeps everything, to go on later.
    pub(crate) fn stop(&mut self) -> Result<Error> {
        self.flush_log()?;
        self.checkpoint()?;
        Ok(Error::stopped(format!(
            "training stood at step {} of {}; a checkpoint was written, go on with --resume",
            self.state.step, self.resolved.steps
        )))
    }

    /// Writes what the log has, whatever happens to the run.
    pub(crate) fn flush_log(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        Ok(self.log.flush()?)
    }

    fn checkpoint(&self) -> Result<()> {
        let record = Record {
            step: self.state.step,
            holds: Holds::of(&self.state),
            counted_from: self.history.counted_from(),
            ..self.record.clone()
        };
        checkpoint::write(self.run, &self.state, &record, self.resolved.config.keep_checkpoints)
    }

    /// The error that ended training, and where to go on from.
    fn with_checkpoint(&self, error: Error) -> Error {
        let Error::Data(problem) = error else { return error };
        let newest = checkpoint::newest(self.run).ok().flatten();
        Error::data(match newest {
            Some(folder) => format!("{problem}; the newest whole checkpoint is {}", folder.display()),
            None => format!("{problem}; there is no checkpoint yet"),
        })
    }

    /// The gradients that this run scores with: none, those of the batch, or those in another order.
    fn gradients<'b>(&mut self, batch: &'b Batch) -> Gradients<'b> {
        if !self.resolved.needs_gradients() {
            return Gradients::Theirs(&[]);
        }
        if !self.resolved.config.shuffle_gradients {
            return Gradients::Theirs(&batch.gradients);
        }
        let d = self.resolved.d_in;
        let mut tokens: Vec<usize> = (0..batch.gradients.len() / d).collect();
        let seed = self.resolved.config.seed;
        shuffle(&mut tokens, &mut generator(seed, Purpose::Gradients, self.state.step, 0));
        let mut own = std::mem::take(&mut self.shuffled);
        own.clear();
        tokens.into_iter().for_each(|i| own.extend_from_slice(&batch.gradients[i * d..(i + 1) * d]));
        Gradients::Own(own)
    }

    fn give_back(&mut self, gradients: Gradients<'_>) {
        if let Gradients::Own(own) = gradients {
            self.shuffled = own;
        }
    }

    fn log_window(&mut self, learning_rate: f64) -> Result<()> {
        self.figures = self.window.figures(self.record.seconds);
        let (step, tokens, seconds) = (self.state.step - 1, self.tokens_done(), self.record.seconds);
        let row = MetricsRow { step, tokens, seconds, ..MetricsRow::default() };
        self.log.append(self.figures.row(row, self.resolved.d_sae, learning_rate))?;
        self.window = Window::new(self.record.seconds);
        Ok(())
    }

    /// Whether all steps are done.
    pub(crate) fn is_done(&self) -> bool {
        self.state.step >= self.resolved.steps
    }

    /// One short line for people.
    pub(crate) fn note(&self) -> String {
        self.figures.note(self.resolved.d_sae)
    }

    /// FVE over the last logged window; not a number before the first.
    pub(crate) fn fve(&self) -> f64 {
        if self.log.rows().is_empty() { f64::NAN } else { self.figures.fve }
    }

    /// Parameters as they are now.
    pub(crate) fn state(&self) -> &TrainState {
        &self.state
    }

    /// What was measured before the first step.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.record.statistics
    }

    /// Rows of the stream used or left out.
    pub(crate) fn position(&self) -> u64 {
        self.record.position
    }

    /// The last logged row.
    pub(crate) fn last_row(&self) -> Option<&MetricsRow> {
        self.log.rows().last()
    }

    /// Rows left out because of their norm.
    pub(crate) fn left_out(&self) -> u64 {
        self.record.left_out
    }

    /// Training time, summed over resumptions: its own steps, and its part of what it shared with other runs.
    pub(crate) fn seconds(&self) -> f64 {
        self.record.seconds
    }

    /// Tokens trained on.
    pub(crate) fn tokens_done(&self) -> u64 {
        self.state.step * self.resolved.config.batch as u64
    }
}

/// Gradients of a batch, or a copy of them.
enum Gradients<'a> {
    Theirs(&'a [f32]),
    Own(Vec<f32>),
}

impl std::ops::Deref for Gradients<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Theirs(gradients) => gradients,
            Self::Own(gradients) => gradients,
        }
    }
}
