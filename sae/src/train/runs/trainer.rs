//! One run in training: its state, its steps, its log and its checkpoints. Batches are given to it.

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use storage::ExactSearch;
use storage::metrics::{MetricsLog, MetricsRow};

use super::checkpoint::{self, Holds, Record};
use super::schedule::Schedule;
use super::window::{Figures, Window};
use crate::train::config::Resolved;
use crate::train::history::Keeper;
use crate::train::initial;
use crate::train::state::{Parameter, TrainState};
use crate::train::statistics::Statistics;
use crate::train::step::cross_layer::{LayerSteppers, LayerTokens};
use crate::train::step::{StepReport, Stepper, Tokens};
use crate::train::stream::batches::Batch;
use crate::{Error, Result};
use kernels::chance::{Purpose, generator, shuffle};

/// Where a run begins: before its first step, or where a checkpoint was written.
pub struct Start {
    pub state: TrainState,
    /// Of the layers of a cross-layer transcoder after the first; else none.
    pub later: Vec<TrainState>,
    pub record: Record,
}

impl Start {
    /// Before the first step.
    ///
    /// # Errors
    /// If the run is to begin with weights that cannot be read or have a different shape.
    pub fn first(
        resolved: &Resolved,
        epoch_rows: u64,
        statistics: Statistics,
        b_dec: Vec<f32>,
    ) -> Result<Self> {
        let (layers, features, seed) = (resolved.layers, resolved.d_sae, resolved.config.seed);
        let layer = |layer: usize, b_dec: Vec<f32>| {
            let mut state = TrainState::of_layer((layer, layers), features, resolved.d_in, b_dec, seed);
            state.own = Parameter::new(resolved.own_parameters());
            state
        };
        let later = (1..layers).map(|i| layer(i, Vec::new())).collect();
        let mut state = match layers {
            1 => TrainState::new(features, b_dec, seed),
            _ => layer(0, b_dec),
        };
        state.own = Parameter::new(resolved.own_parameters());
        if resolved.sites > 1 {
            state.begin_sites(resolved.sites, resolved.config.seed);
        }
        if resolved.config.skip {
            state.skip = Parameter::new(vec![0.0; state.d * state.d]);
        }
        if let Some(folder) = &resolved.config.from {
            initial::take_weights(&mut state, folder, statistics.input_scale)?;
        }
        let record = Record {
            step: 0,
            position: 0,
            left_out: 0,
            epoch_rows,
            d_in: resolved.d_in,
            d_sae: resolved.d_sae,
            seconds: 0.0,
            counted_from: None,
            exact_search: None,
            statistics,
            holds: Holds::default(),
        };
        Ok(Self { state, later, record })
    }

    /// The newest checkpoint of `run`, if there is one. It must belong to this data and these shapes; the configuration was compared
    /// before.
    ///
    /// # Errors
    /// A checkpoint that is damaged, or of different shapes or numbers of rows.
    pub fn newest(resolved: &Resolved, epoch_rows: u64, run: &Path) -> Result<Option<Self>> {
        // Another machine may have come further.
        storage::bucket::restore(run)?;
        let Some(folder) = checkpoint::newest(run)? else { return Ok(None) };
        let (state, later, record) = checkpoint::read(&folder)?;
        let (ours, theirs) =
            ((resolved.d_in, resolved.d_sae, epoch_rows), (record.d_in, record.d_sae, record.epoch_rows));
        if resolved.layers != record.statistics.layers() {
            let (now, then) = (resolved.layers, record.statistics.layers());
            return Err(Error::format(
                folder,
                format!("the run began with {then} layers, now there are {now}"),
            )
            .with_remedy("continue with the datasets that the run began with, or begin a new run"));
        }
        if ours != theirs {
            return Err(Error::format(
                folder,
                format!("the run began with d_in, d_sae and training rows {theirs:?}, now they are {ours:?}"),
            )
            .with_remedy("continue with the dataset that the run began with, or begin a new run"));
        }
        Ok(Some(Self { state, later, record }))
    }
}

/// Features per token below which a penalty has left nothing: codes that are 0 have no slope that brings them back.
const LEAST_L0: f64 = 1.0;

/// A run in progress.
pub struct Trainer<'a> {
    resolved: &'a Resolved,
    run: &'a Path,
    state: TrainState,
    /// Of the layers of a cross-layer transcoder after the first; else none.
    later: Vec<TrainState>,
    /// What a checkpoint holds besides the state, as of the last step.
    record: Record,
    stepper: Steps,
    schedule: Schedule,
    log: MetricsLog,
    history: Keeper,
    window: Window,
    figures: Figures,
    flushed: Instant,
    /// Gradients in an order of their own, for the control that shuffles them.
    shuffled: Vec<f32>,
    /// Whether it was told that the penalty leaves no codes.
    told_empty: bool,
}

/// What was written for the time after the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    Log,
    /// And the log.
    Checkpoint,
}

/// Does the steps of a run.
enum Steps {
    One(Box<Stepper>),
    /// Of a cross-layer transcoder.
    Layers(LayerSteppers),
}

impl Steps {
    fn new(resolved: &Resolved, statistics: &Statistics) -> Self {
        match resolved.layers {
            1 => Self::One(Box::new(Stepper::new(resolved.step_options(statistics)))),
            _ => Self::Layers(LayerSteppers::new(resolved.layer_options(statistics))),
        }
    }

    fn search_exactly(&mut self) {
        match self {
            Self::One(stepper) => stepper.search_exactly(),
            Self::Layers(layers) => layers.search_exactly(),
        }
    }

    fn step(
        &mut self,
        (state, later): (&mut TrainState, &mut [TrainState]),
        (batch, gradients): (&Batch, &[f32]),
        rate: f64,
    ) -> Result<StepReport> {
        match self {
            Self::One(stepper) => {
                stepper.step(state, Tokens { x: &batch.x, gradients, targets: &batch.targets }, rate)
            }
            Self::Layers(layers) => {
                let mut states: Vec<&mut TrainState> = std::iter::once(state).chain(later).collect();
                let tokens = LayerTokens { x: &inputs(batch), targets: &batch.targets };
                layers.step(&mut states, tokens, rate)
            }
        }
    }
}

/// What each layer reads.
fn inputs(batch: &Batch) -> Vec<&[f32]> {
    std::iter::once(&batch.x).chain(&batch.later).map(Vec::as_slice).collect()
}

impl<'a> Trainer<'a> {
    /// Continues from `start`.
    ///
    /// # Errors
    /// A log or a history in the run's folder that is damaged or cannot be written to.
    pub fn new(resolved: &'a Resolved, run: &'a Path, start: Start) -> Result<Self> {
        let Start { mut state, later, record } = start;
        std::iter::once(&state).chain(&later).for_each(TrainState::use_large_pages);
        let history = Keeper::open(resolved, run, &mut state, record.counted_from)?;
        let resumed = (record.step > 0).then(|| record.step - 1);
        let mut stepper = Steps::new(resolved, &record.statistics);
        if record.exact_search.is_some() {
            stepper.search_exactly();
        }
        Ok(Self {
            stepper,
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
            told_empty: false,
            resolved,
            run,
            state,
            later,
            record,
        })
    }

    /// Before the first step, which `batch` is for.
    fn begin(&mut self, batch: &Batch, threads: &ThreadPool) -> Result<()> {
        // Weights of a run have the norm that suits them.
        let config = &self.resolved.config;
        // Others are kept at the norm that they begin with.
        let free = !config.align_encoder && !config.method.scores_cosines();
        let random = config.from.is_none() && free;
        if let Some(k) = self.resolved.first_k().filter(|_| random) {
            let Self { state, later, .. } = self;
            threads.install(|| match (later.is_empty(), batch.targets.is_empty()) {
                (true, true) => initial::fit_encoder(state, &batch.x, k),
                (true, false) => initial::fit_transcoder(state, &batch.x, &batch.targets, k),
                (false, _) => {
                    let mut states: Vec<&mut TrainState> = std::iter::once(state).chain(later).collect();
                    initial::fit_layers(&mut states, &inputs(batch), &batch.targets, k);
                }
            });
        }
        if self.history.is_due(0) {
            self.history.take(&mut self.state, threads)?;
        }
        Ok(())
    }

    /// Does the step that `batch` is for. Returns what a person should know about it, if there is something.
    ///
    /// # Errors
    /// A loss or a parameter that is not finite, with the step, after a checkpoint; a history or log that
    /// cannot be written.
    pub fn step(&mut self, batch: &Batch, threads: &ThreadPool) -> Result<Option<String>> {
        let began = Instant::now();
        if self.state.step == 0 {
            self.begin(batch, threads)?;
        }
        let rate = self.schedule.rate(self.state.step + 1);
        let Self { stepper, state, later, shuffled, resolved, .. } = self;
        let gradients = gradients(resolved, state.step, batch, shuffled);
        let report = threads.install(|| stepper.step((state, later), (batch, gradients), rate));
        let report = report.map_err(|error| self.with_checkpoint(error))?;
        self.window.add(&report);
        let mut remark = self.check_recall(&report);
        (self.record.position, self.record.left_out) = (batch.position, batch.left_out);
        if self.history.is_due(self.state.step) {
            self.history.take(&mut self.state, threads)?;
        }
        self.spend(began.elapsed());
        let step = self.state.step;
        if step.is_multiple_of(self.resolved.log_every) || self.is_done() {
            self.log_window(rate)?;
            remark = remark.or_else(|| self.check_codes());
        }
        Ok(remark)
    }

    /// Leaves the search among candidates for good if it missed too much at this step. Returns a remark about that.
    fn check_recall(&mut self, report: &StepReport) -> Option<String> {
        let least = self.resolved.least_recall;
        let recall = report.audit.recall().filter(|recall| *recall < least)?;
        let step = self.state.step;
        let reason = format!(
            "at step {step} the search among candidates had {:.2} % of the active pairs, less than {:.2} %",
            100.0 * recall,
            100.0 * least
        );
        self.stepper.search_exactly();
        let remark = format!("{reason}; all pre-activations are computed from here on, which is slower");
        self.record.exact_search = Some(ExactSearch { from_step: step + 1, recall: recall as f32, reason });
        Some(remark)
    }

    /// Once, a remark if the penalty has left next to no codes, by the last logged figures.
    fn check_codes(&mut self) -> Option<String> {
        let (config, step) = (&self.resolved.config, self.state.step);
        let lambda =
            config.sparsity_coefficient.filter(|lambda| config.method.is_penalised() && *lambda > 0.0)?;
        let risen = step >= self.resolved.sparsity_warmup_steps();
        if self.told_empty || !risen || self.figures.l0 >= LEAST_L0 {
            return None;
        }
        self.told_empty = true;
        Some(format!(
            "at step {step} a token has {:.2} features left: λ = {lambda:.3} is too large here, and features that are silent stay so; begin \
             again with a smaller --sparsity-coefficient",
            self.figures.l0
        ))
    }

    /// Counts time that was spent for this run.
    pub fn spend(&mut self, time: Duration) {
        // Whole nanoseconds: a number that JSON brings back as it is.
        self.record.seconds = ((self.record.seconds + time.as_secs_f64()) * 1e9).round() / 1e9;
    }

    /// Keeps what should survive the process: the log every `every`, and a checkpoint where one is due. When the log was written,
    /// `run.json` should be, too.
    ///
    /// # Errors
    /// A log or checkpoint that cannot be written.
    pub fn keep(&mut self, every: Duration) -> Result<Kept> {
        let (step, checkpoints) = (self.state.step, self.resolved.config.checkpoint_every);
        let due = checkpoints > 0 && step.is_multiple_of(checkpoints) && !self.is_done();
        if !due && !self.is_done() && self.flushed.elapsed() < every {
            return Ok(Kept::Nothing);
        }
        // The log first: rows after a checkpoint are dropped on resuming, rows before it are not written again.
        self.flush_log()?;
        if !due {
            return Ok(Kept::Log);
        }
        self.checkpoint()?;
        Ok(Kept::Checkpoint)
    }

    /// Keeps everything, to be resumed later.
    ///
    /// # Errors
    /// A log or checkpoint that cannot be written. The error that it returns otherwise is the
    /// [`Error::Stopped`] to end with.
    pub fn stop(&mut self) -> Result<Error> {
        self.flush_log()?;
        self.checkpoint()?;
        Ok(Error::stopped(format!(
            "training stood at step {} of {}; a checkpoint was written",
            self.state.step, self.resolved.steps
        ))
        .with_remedy("continue with --resume"))
    }

    /// Writes what the log has, whatever happens to the run.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub fn flush_log(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        Ok(self.log.flush()?)
    }

    fn checkpoint(&self) -> Result<()> {
        let record = Record {
            step: self.state.step,
            holds: Holds { whitening: self.record.statistics.whitening.is_some(), ..Holds::of(&self.state) },
            counted_from: self.history.counted_from(),
            ..self.record.clone()
        };
        let states = (&self.state, &*self.later);
        checkpoint::write(self.run, states, &record, self.resolved.config.keep_checkpoints)
    }

    /// The error that ended training, and where to resume from.
    fn with_checkpoint(&self, error: Error) -> Error {
        let Error::Data(mut problem) = error else { return error };
        let newest = checkpoint::newest(self.run).ok().flatten();
        problem.what.push_str(&match newest {
            Some(folder) => format!("; the newest whole checkpoint is {}", folder.display()),
            None => "; there is no checkpoint yet".to_owned(),
        });
        Error::data(problem)
    }

    fn log_window(&mut self, learning_rate: f64) -> Result<()> {
        self.figures = self.window.figures(self.record.seconds);
        let (step, tokens, seconds) = (self.state.step - 1, self.tokens_done(), self.record.seconds);
        let row = MetricsRow { step, tokens, seconds, ..MetricsRow::default() };
        self.log.append(self.figures.row(row, self.features(), learning_rate))?;
        self.window = Window::new(self.record.seconds);
        Ok(())
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.state.step >= self.resolved.steps
    }

    /// One short line for people.
    pub fn note(&self) -> String {
        self.figures.note(self.features())
    }

    /// FVE over the last logged window; not a number before the first.
    pub fn fve(&self) -> f64 {
        if self.log.rows().is_empty() { f64::NAN } else { self.figures.fve }
    }

    /// Parameters as they are now.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// Of the layers of a cross-layer transcoder after the first; else none.
    pub fn later(&self) -> &[TrainState] {
        &self.later
    }

    /// Features of all layers.
    fn features(&self) -> usize {
        self.resolved.d_sae * self.resolved.layers
    }

    /// What was measured before the first step.
    pub fn statistics(&self) -> &Statistics {
        &self.record.statistics
    }

    /// Where the search among candidates was left; none if it was not.
    pub fn exact_search(&self) -> Option<&ExactSearch> {
        self.record.exact_search.as_ref()
    }

    /// Rows of the stream used or left out.
    pub fn position(&self) -> u64 {
        self.record.position
    }

    /// The last logged row.
    pub fn last_row(&self) -> Option<&MetricsRow> {
        self.log.rows().last()
    }

    /// Rows left out because of their norm.
    pub fn left_out(&self) -> u64 {
        self.record.left_out
    }

    /// Training time, summed over resumptions: its own steps, and its part of what it shared with other runs.
    pub fn seconds(&self) -> f64 {
        self.record.seconds
    }

    /// Tokens trained on.
    pub fn tokens_done(&self) -> u64 {
        self.state.step * self.resolved.config.batch as u64
    }
}

/// The gradients that a run scores with at the step after `step`: none, those of the batch, or those in a different order, which is made
/// in `shuffled`.
fn gradients<'a>(resolved: &Resolved, step: u64, batch: &'a Batch, shuffled: &'a mut Vec<f32>) -> &'a [f32] {
    if !resolved.needs_gradients() {
        return &[];
    }
    if !resolved.config.shuffle_gradients {
        return &batch.gradients;
    }
    let d = resolved.d_in;
    let mut tokens: Vec<usize> = (0..batch.gradients.len() / d).collect();
    shuffle(&mut tokens, &mut generator(resolved.config.seed, Purpose::Gradients, step, 0));
    shuffled.clear();
    tokens.into_iter().for_each(|i| shuffled.extend_from_slice(&batch.gradients[i * d..(i + 1) * d]));
    shuffled
}
