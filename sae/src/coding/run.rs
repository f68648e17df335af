//! A dictionary of sparse coding as a run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use storage::clock::now;
use storage::coding::{BINS, CodingScore, FORMAT, SparseCoding, VERSION};
use storage::metrics::{self, MetricsLog, MetricsRow};
use storage::{Dataset, RunRecord, RunStatus};

use super::infer::Coder;
use super::learn::{CodingModel, LearnOptions};
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};
use crate::partial::Partial;
use crate::rows::{read_whole, subtract};
use crate::{Error, Progress, Result};
use kernels::reduce::sum_of_squares;

/// Steps of inference, and of refitting, when rows are scored, and the relative change at which they end.
const TO_ITS_END: (usize, f64) = (1000, 1e-5);
/// Steps of refitting.
const REFITTING: usize = 300;
/// Batches between rows of the log.
const LOG_EVERY: usize = 10;

/// What to learn from what.
#[derive(Debug, Clone, PartialEq)]
pub struct CodingOptions {
    /// The dataset.
    pub data: PathBuf,
    /// How.
    pub learn: LearnOptions,
    /// Rows at most, in whole documents drawn by the seed.
    pub rows: u64,
    /// Rows that are scored, at most.
    pub scored: u64,
    /// Subtract the mean row first.
    pub centre: bool,
}

/// Learns a dictionary and makes it a run in `out`, with its figures in `out/coding`. Nothing is kept of one that is stopped.
///
/// # Errors
/// Options that make no sense; a folder that is taken; rows that cannot be read, are all 0 or do not fit into memory; a disk that is full
/// or fails; [`Error::Stopped`].
pub fn run(options: &CodingOptions, out: &Path, progress: &mut dyn Progress) -> Result<SparseCoding> {
    options.learn.check()?;
    if out.exists() {
        return Err(Error::request(format!("{} is there already", out.display()))
            .with_remedy("choose a different folder with --out, or remove this one"));
    }
    let partial = Partial::begin(out)?;
    partial.note().iter().for_each(|note| progress.remark(note));
    let dataset = Dataset::open(&options.data)?;
    let d = dataset.manifest().d_model;
    let mut x = read_whole(&dataset, false, options.rows, options.learn.seed)?;
    let offset = if options.centre { mean(&x, d) } else { vec![0.0; d] };
    subtract(&mut x, &offset);
    let began = Instant::now();
    let mut model = CodingModel::new(&options.learn, &x, d)?;
    let last = learn(&mut model, &x, partial.folder(), progress)?;
    let seconds = began.elapsed().as_secs_f64();
    progress.begin("score", None, "rows");
    let scored = (options.scored as usize).min(x.len() / d) * d;
    let training = score(&model, &x[..scored]);
    let rows = (x.len() / d) as u64;
    drop(x);
    let mut held_out = read_whole(&dataset, true, options.scored, options.learn.seed)?;
    subtract(&mut held_out, &offset);
    let held_out = (!held_out.is_empty()).then(|| score(&model, &held_out));
    let coding = recorded(options, &model, rows, seconds, training, held_out)?;
    dictionary(&model, &offset, &coding, &dataset, options).save(partial.folder())?;
    coding.write(partial.folder())?;
    run_record(&coding, &dataset, d, last).write(partial.folder())?;
    partial.publish()?;
    progress.end(&format!(
        "FVE {:.4} at L0 {:.2}",
        coding.training.fve.unwrap_or(f64::NAN),
        coding.training.l0
    ));
    Ok(coding)
}

/// All batches; returns the last row of the log.
fn learn(
    model: &mut CodingModel,
    x: &[f32],
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<MetricsRow> {
    let (steps, began) = (model.options.steps, Instant::now());
    let mut log = MetricsLog::open(&folder.join(metrics::FILE), None)?;
    let mut last = MetricsRow::default();
    progress.begin("batches", Some(steps as u64), "batches");
    for step in 0..steps {
        let figures = model.learn(x);
        if step % LOG_EVERY == 0 || step + 1 == steps {
            last = MetricsRow {
                step: step as u64,
                tokens: ((step + 1) * model.options.batch) as u64,
                seconds: began.elapsed().as_secs_f64(),
                mse_loss: Some(figures.error as f32),
                l0: Some(figures.l0 as f32),
                ..MetricsRow::default()
            };
            log.append(last)?;
        }
        progress.advance(step as u64 + 1, &format!("error {:.3}  L0 {:.2}", figures.error, figures.l0));
        if progress.stop_requested() && step + 1 < steps {
            return Err(Error::stopped("nothing is kept"));
        }
    }
    log.flush()?;
    progress.end("");
    Ok(last)
}

fn mean(rows: &[f32], d: usize) -> Vec<f64> {
    let mut mean = vec![0.0; d];
    kernels::reduce::add_column_sums(&mut mean, rows);
    mean.iter_mut().for_each(|m| *m /= (rows.len() / d) as f64);
    mean
}

/// How well the model codes `x[n, d]`.
pub(super) fn score(model: &CodingModel, x: &[f32]) -> CodingScore {
    let (d, units) = (model.d, model.options.units);
    let coder = Coder::new(&model.rows, d);
    let n = (x.len() / d) as f64;
    let means = mean(x, d);
    let total: f64 = x
        .chunks_exact(d)
        .flat_map(|row| row.iter().zip(&means))
        .map(|(x, m)| (f64::from(*x) - m).powi(2))
        .sum();
    let explained = |codes: &[f32]| {
        let mut error = coder.decode(codes);
        error.iter_mut().zip(x).for_each(|(e, x)| *e -= x);
        (total > 0.0).then(|| 1.0 - sum_of_squares(&error) / total)
    };
    let mut codes = coder.infer(x, model.penalty(), TO_ITS_END.0, TO_ITS_END.1);
    let fve = explained(&codes);
    let sizes: Vec<f64> = codes.iter().filter(|c| **c != 0.0).map(|c| f64::from(c.abs())).collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    let mut histogram = vec![0; BINS];
    for size in &sizes {
        histogram[((size / largest * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let mut used = vec![false; units];
    for row in codes.chunks_exact(units) {
        used.iter_mut().zip(row).for_each(|(used, code)| *used |= *code != 0.0);
    }
    let moment = |power: i32| sizes.iter().map(|s| s.powi(power)).sum::<f64>() / (n * units as f64);
    let kurtosis = moment(4) / moment(2).powi(2);
    coder.refit(x, &mut codes, REFITTING);
    CodingScore {
        rows: n as u64,
        l0: sizes.len() as f64 / n,
        fve,
        fve_refitted: explained(&codes),
        unused: used.iter().filter(|used| !**used).count() as u64,
        mean_code: sizes.iter().sum::<f64>() / sizes.len().max(1) as f64,
        kurtosis: if kurtosis.is_finite() { kurtosis } else { 0.0 },
        histogram,
        largest,
    }
}

fn recorded(
    options: &CodingOptions,
    model: &CodingModel,
    rows: u64,
    seconds: f64,
    training: CodingScore,
    held_out: Option<CodingScore>,
) -> Result<SparseCoding> {
    let LearnOptions { kind, units, l0, steps, batch, iterations, seed, .. } = options.learn;
    let data = std::path::absolute(&options.data).map_err(|e| Error::io(&options.data, e))?;
    Ok(SparseCoding {
        format: FORMAT.to_owned(),
        version: VERSION,
        penalty: kind.name().to_owned(),
        data: data.display().to_string(),
        units,
        wanted_l0: l0,
        lambda: model.lambda,
        step_size: Coder::new(&model.rows, model.d).step,
        steps: steps as u64,
        batch: batch as u64,
        iterations: iterations as u64,
        rows,
        centre: options.centre,
        seed,
        seconds,
        training,
        held_out,
    })
}

/// Φ as a dictionary, for analyses that know dictionaries: there codes are the largest products, as many as rows have units on average.
fn dictionary(
    model: &CodingModel,
    offset: &[f64],
    coding: &SparseCoding,
    dataset: &Dataset,
    options: &CodingOptions,
) -> Dictionary {
    let (manifest, units) = (dataset.manifest(), model.options.units);
    Dictionary {
        d_in: model.d,
        d_sae: units,
        w_enc: model.rows.clone(),
        b_enc: vec![0.0; units],
        w_dec: model.rows.clone(),
        b_dec: offset.iter().map(|o| *o as f32).collect(),
        selection: Selection::AbsTopK((coding.training.l0.round() as usize).clamp(1, units)),
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

fn run_record(coding: &SparseCoding, dataset: &Dataset, d: usize, last: MetricsRow) -> RunRecord {
    let manifest = dataset.manifest();
    RunRecord {
        status: RunStatus::Finished,
        method: format!("sparse coding, {}", coding.penalty),
        k: coding.training.l0.round() as usize,
        d_in: d,
        d_sae: coding.units,
        hook: manifest.hook.clone().unwrap_or_default(),
        model: manifest.model.clone(),
        data: coding.data.clone(),
        seed: coding.seed,
        step: coding.steps,
        steps_total: coding.steps,
        tokens_done: coding.steps * coding.batch,
        tokens_total: coding.steps * coding.batch,
        wall_seconds: coding.seconds,
        threads: rayon::current_num_threads(),
        versions: [("sae", env!("CARGO_PKG_VERSION").to_owned()), ("processor", kernels::processor())]
            .map(|(name, version)| (name.to_owned(), version))
            .into(),
        started: now(),
        updated: now(),
        last: Some(last),
        input_scale: 1.0,
        ..RunRecord::new()
    }
}
