//! A model as a run: learned from a dataset, stopped and continued, with its W as a dictionary.

use std::path::{Path, PathBuf};
use std::time::Instant;

use storage::clock::now;
use storage::metrics::{self, MetricsLog, MetricsRow};
use storage::truncation::{
    self, FOLDER, FORMAT, PARAMETERS, Truncation, TruncationOptions, TruncationScore, TruncationStepRow,
    VERSION,
};
use storage::{Dataset, Lock, RunRecord, RunStatus};

use super::bars::BarsOptions;
use super::expectation::Score;
use super::learn::{Iteration, Model, ModelOptions};
use super::parameters::{Kind, moments};
use crate::dictionary::weights::{self, Named, Weights};
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};
use crate::rows::{read_whole, subtract};
use crate::{Error, Progress, Result};

/// Seconds after which parameters are kept.
const KEEP_EVERY: f64 = 5.0;

/// What to learn from what.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentOptions {
    /// The dataset.
    pub data: PathBuf,
    /// The model.
    pub model: ModelOptions,
    /// Rows at most, in whole documents drawn by the model's seed.
    pub rows: u64,
    /// Subtract the mean row first.
    pub centre: bool,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// Its record.
    pub truncation: Truncation,
    /// Iterations.
    pub steps: Vec<TruncationStepRow>,
}

/// Learns a model and keeps it as a run in `out`. One that was interrupted continues when it is asked for again, and ends with the same
/// bits.
///
/// # Errors
/// Options that make no sense; a folder with a different or a finished run; rows that cannot be read, do not vary or do not fit into
/// memory; a disk that is full or fails; [`Error::Stopped`].
pub fn run(options: &LatentOptions, out: &Path, progress: &mut dyn Progress) -> Result<Learned> {
    options.model.check()?;
    let dataset = Dataset::open(&options.data)?;
    let mut rows = read_whole(&dataset, false, options.rows, options.model.seed)?;
    let d = dataset.manifest().d_model;
    let offset = if options.centre { moments(&rows, d).0 } else { vec![0.0; d] };
    subtract(&mut rows, &offset);
    let model = Model::new(&options.model, &rows, d)?;
    let mut job = Job::begin(model, options, &dataset, out, (rows.len() / d) as u64)?;
    job.lock.note().iter().for_each(|note| progress.remark(note));
    progress.begin("iterations", Some(options.model.schedule.iterations as u64), "iterations");
    while !job.model.is_done() {
        let iteration = job.model.iterate(&rows)?;
        job.log(&iteration)?;
        let note =
            format!("free energy {:.3}  sigma {:.4}", iteration.free_energy, job.model.parameters.sigma);
        progress.advance(job.model.step as u64, &note);
        if progress.stop_requested() && !job.model.is_done() {
            job.keep(RunStatus::Stopped)?;
            return Err(Error::stopped(format!("{} iterations are kept", job.model.step))
                .with_remedy("give the same command again to continue"));
        }
        if job.kept.elapsed().as_secs_f64() > KEEP_EVERY {
            job.keep(RunStatus::Running)?;
        }
    }
    job.truncation.training = Some(recorded(&job.model.score(&rows)));
    drop(rows);
    let mut held_out = read_whole(&dataset, true, options.rows, options.model.seed)?;
    if !held_out.is_empty() {
        subtract(&mut held_out, &offset);
        job.truncation.held_out = Some(recorded(&job.model.score(&held_out)));
    }
    let bars = BarsOptions::of(&dataset.manifest().settings);
    job.truncation.bars = bars.map(|bars| bars.found(&job.model.parameters));
    dictionary(&job.model, &offset, &dataset, options).save(out)?;
    job.keep(RunStatus::Finished)?;
    progress.end(&format!(
        "free energy {:.4} nats per row",
        job.truncation.training.map_or(f64::NAN, |score| score.free_energy)
    ));
    Ok(Learned { truncation: job.truncation, steps: job.steps })
}

fn recorded(score: &Score) -> TruncationScore {
    let Score { rows, free_energy, fve, fve_map, l0, l0_map } = *score;
    TruncationScore { rows, free_energy, fve, fve_map, l0, l0_map }
}

/// W as a dictionary with rows of norm 1, for analyses that know dictionaries. It has no posterior; its codes are those of matching
/// pursuit, or where codes have either sign, of the largest products.
fn dictionary(model: &Model, offset: &[f64], dataset: &Dataset, options: &LatentOptions) -> Dictionary {
    let p = &model.parameters;
    let (d, active) = (p.d, model.options.active);
    let sign = |h: usize| if p.mean.get(h).is_some_and(|mean| *mean < 0.0) { -1.0 } else { 1.0 };
    let mut w_dec: Vec<f32> = p.w.iter().enumerate().map(|(at, w)| (sign(at / d) * w) as f32).collect();
    w_dec.chunks_exact_mut(d).for_each(kernels::wide::scale_to_unit);
    let signed = matches!(p.kind, Kind::Tsc | Kind::Gsc) || p.values.iter().any(|value| *value < 0.0);
    let selection = if signed {
        Selection::AbsTopK(active)
    } else {
        Selection::MatchingPursuit {
            // What is left may be as long as the noise.
            residual_threshold: (p.sigma * (d as f64).sqrt()) as f32,
            max_iterations: Some(active),
            stop_on_duplicate_support: true,
        }
    };
    let manifest = dataset.manifest();
    Dictionary {
        d_in: d,
        d_sae: p.latents(),
        w_enc: w_dec.clone(),
        b_enc: vec![0.0; p.latents()],
        w_dec,
        b_dec: offset.iter().map(|o| *o as f32).collect(),
        selection,
        prune_below: None,
        normalisation: Normalisation::None,
        target: None,
        info: DictionaryInfo {
            model_name: Some(manifest.model.id.clone()),
            hook_name: manifest.hook.clone(),
            dataset_path: Some(options.data.display().to_string()),
            ..DictionaryInfo::default()
        },
    }
}

/// A run that is learned.
struct Job<'a> {
    model: Model,
    out: &'a Path,
    lock: Lock,
    record: RunRecord,
    truncation: Truncation,
    steps: Vec<TruncationStepRow>,
    log: MetricsLog,
    begun: Instant,
    /// Seconds of earlier attempts.
    before: f64,
    kept: Instant,
}

impl<'a> Job<'a> {
    fn begin(
        mut model: Model,
        options: &LatentOptions,
        dataset: &Dataset,
        out: &'a Path,
        rows: u64,
    ) -> Result<Self> {
        let wanted = options.recorded(&model)?;
        let earlier = Truncation::read(out)?;
        let there = match out.join(storage::run::FILE).exists() {
            true => Some(RunRecord::read(out)?),
            false => None,
        };
        refuse_other(out, earlier.as_ref(), there.as_ref(), &wanted)?;
        let folder = out.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let lock = Lock::take(out)?;
        let mut steps = Vec::new();
        let path = folder.join(PARAMETERS);
        if earlier.is_some() && path.exists() {
            load(&mut model, &path)?;
            steps = truncation::read_steps(out)?;
            steps.retain(|row| row.step < model.step as u64);
        }
        let last = (model.step as u64).checked_sub(1);
        let log = MetricsLog::open(&out.join(metrics::FILE), last)?;
        let record = there.unwrap_or_else(|| record(&model, options, dataset, rows));
        let truncation = Truncation {
            format: FORMAT.to_owned(),
            version: VERSION,
            options: wanted,
            rows,
            ..Truncation::default()
        };
        // First of all, so that what is in the folder from here on is known to be this run's.
        truncation.write(out)?;
        let before = steps.last().map_or(0.0, |row| row.seconds);
        let now = Instant::now();
        let mut job =
            Self { model, out, lock, record, truncation, steps, log, begun: now, before, kept: now };
        job.keep(RunStatus::Running)?;
        Ok(job)
    }

    fn log(&mut self, iteration: &Iteration) -> Result<()> {
        let (model, schedule) = (&self.model, &self.model.options.schedule);
        let (step, p) = (model.step - 1, &model.parameters);
        let seconds = self.before + self.begun.elapsed().as_secs_f64();
        let rate = (0..p.latents()).map(|h| p.rate(h)).sum::<f64>() / p.latents() as f64;
        self.steps.push(TruncationStepRow {
            step: step as u64,
            temperature: schedule.temperature_at(step),
            noise: schedule.noise_at(step),
            rows: iteration.rows,
            free_energy: iteration.free_energy,
            l0: iteration.l0,
            rate,
            sigma: p.sigma,
            seconds,
        });
        let row = MetricsRow {
            step: step as u64,
            tokens: model.step as u64 * self.truncation.rows,
            seconds,
            overall_loss: Some(-iteration.free_energy as f32),
            mse_loss: iteration.error.map(|error| error as f32),
            l0: Some(iteration.l0 as f32),
            ..MetricsRow::default()
        };
        Ok(self.log.append(row)?)
    }

    /// Writes everything: logs before the parameters, so that a run that is killed in between repeats iterations and misses none, and
    /// last of all the record, whose status says that all is whole.
    fn keep(&mut self, status: RunStatus) -> Result<()> {
        let p = &self.model.parameters;
        self.truncation.iterations_done = self.model.step as u64;
        (self.truncation.rates, self.truncation.sigma) = (p.rates.clone(), p.sigma);
        self.record.status = status;
        self.record.step = self.model.step as u64;
        self.record.tokens_done = self.record.step * self.truncation.rows;
        self.record.wall_seconds = self.before + self.begun.elapsed().as_secs_f64();
        self.record.updated = now();
        // Not only where a row was added: the attempt that added it may have failed before it wrote the record.
        self.record.last = self.log.rows().last().copied().or(self.record.last);
        self.record.threads = rayon::current_num_threads();
        truncation::write_steps(self.out, &self.steps)?;
        self.log.flush()?;
        save(&self.model, &self.out.join(FOLDER).join(PARAMETERS))?;
        self.truncation.write(self.out)?;
        self.record.write(self.out)?;
        self.kept = Instant::now();
        Ok(())
    }
}

impl LatentOptions {
    fn recorded(&self, model: &Model) -> Result<TruncationOptions> {
        let ModelOptions { kind, latents, candidates, active, schedule, seed, .. } = &self.model;
        let data = std::path::absolute(&self.data).map_err(|e| Error::io(&self.data, e))?;
        Ok(TruncationOptions {
            model: kind.name().to_owned(),
            data: data.display().to_string(),
            latents: *latents,
            candidates: *candidates,
            active: *active,
            values: model.parameters.values.clone(),
            iterations: schedule.iterations,
            temperature: schedule.temperature,
            noise: schedule.noise,
            cool: schedule.cool,
            cut: schedule.cut,
            rows: self.rows,
            centre: self.centre,
            seed: *seed,
        })
    }
}

/// An error where `out` holds something that these options do not continue.
fn refuse_other(
    out: &Path,
    earlier: Option<&Truncation>,
    record: Option<&RunRecord>,
    wanted: &TruncationOptions,
) -> Result<()> {
    let finished = record.is_some_and(|record| record.status == RunStatus::Finished);
    let problem = match earlier {
        Some(earlier) if earlier.options != *wanted => "holds a model that other options made",
        Some(_) if finished => "holds a finished model",
        None if record.is_some() => "holds a run",
        _ => return Ok(()),
    };
    Err(Error::request(format!("{} {problem}", out.display()))
        .with_remedy("choose a different folder with --out, or remove this one"))
}

fn record(model: &Model, options: &LatentOptions, dataset: &Dataset, rows: u64) -> RunRecord {
    let manifest = dataset.manifest();
    let steps = model.options.schedule.iterations as u64;
    RunRecord {
        method: model.options.kind.name().to_owned(),
        k: model.options.active,
        d_in: model.parameters.d,
        d_sae: model.options.latents,
        hook: manifest.hook.clone().unwrap_or_default(),
        model: manifest.model.clone(),
        data: std::path::absolute(&options.data)
            .unwrap_or_else(|_| options.data.clone())
            .display()
            .to_string(),
        seed: model.options.seed,
        steps_total: steps,
        tokens_total: steps * rows,
        versions: [("sae", env!("CARGO_PKG_VERSION").to_owned()), ("processor", kernels::processor())]
            .map(|(name, version)| (name.to_owned(), version))
            .into(),
        started: now(),
        input_scale: 1.0,
        ..RunRecord::new()
    }
}

fn save(model: &Model, path: &Path) -> Result<()> {
    let p = &model.parameters;
    let (h, step, sigma) = (p.latents(), [model.step as u64], [p.sigma]);
    let mut tensors = vec![
        Named::f64("W", &[h, p.d], &p.w),
        Named::f64("rates", &[p.rates.len()], &p.rates),
        Named::f64("sigma", &[1], &sigma),
        Named::u64("step", &step),
    ];
    if p.kind == Kind::Gsc {
        tensors.push(Named::f64("mean", &[h], &p.mean));
        tensors.push(Named::f64("variance", &[h], &p.variance));
    }
    weights::write(path, &tensors)
}

fn load(model: &mut Model, path: &Path) -> Result<()> {
    let (file, p) = (Weights::read(path)?, &mut model.parameters);
    let h = p.latents();
    p.w = file.wide("W", &[h, p.d])?;
    p.rates = file.wide("rates", &[p.rates.len()])?;
    p.sigma = file.wide("sigma", &[1])?[0];
    if p.kind == Kind::Gsc {
        p.mean = file.wide("mean", &[h])?;
        p.variance = file.wide("variance", &[h])?;
    }
    model.step = file.counts("step", 1)?[0] as usize;
    Ok(())
}
