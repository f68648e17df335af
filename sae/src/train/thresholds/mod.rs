//! Thresholds for methods that select codes from a whole batch, fitted after the last step with weights that no longer change.
//!
//! A batch is needed to train by mutual or feature choice, but a code must not depend on which other tokens are looked at. So a trained
//! dictionary selects by thresholds that give the same number of codes: z > θ, one θ for mutual choice, θ_i for feature choice.
//!
//! Both are quantiles over tokens that were not trained on: θ is where k codes per token are above it, θ_i where a share m_i/B of the
//! tokens is. The average over batches of the smallest code that was kept, which is the rule for BatchTopK, is right for one θ (an order
//! statistic of B·F numbers hardly varies) but biased for θ_i: the m-th largest of B numbers varies much when m is small, its average lies
//! too high, and a feature with m = 1 would fire at about 0.6 of its rate. Quantiles have no such bias; a test reproduces the figures.
//!
//! Four fifths of the tokens fit, the others show how many codes a token then has. Held-out documents are used if there are any; else
//! training rows that were not used yet; else training rows again, with a remark.

use rayon::ThreadPool;
use rayon::prelude::*;
use storage::run::ThresholdFit;

mod ranked;

use ranked::{Ranked, RankedMemory};

use super::config::{Inference, Resolved};
use super::state::TrainState;
use super::statistics::Statistics;
use super::stream::batches::{Batch, Batches};
use super::stream::source::Source;
use crate::{Error, Progress, Result};
use kernels::encode::{centre, chunk_rows, products};
use kernels::quantile::{Histogram, Largest};

/// Rows encoded at once.
const BLOCK_ROWS: usize = 4096;

/// What thresholds are fitted for.
#[derive(Debug, Clone, Copy)]
pub struct TrainedRun<'a> {
    pub resolved: &'a Resolved,
    pub state: &'a TrainState,
    /// Layer of a cross-layer transcoder, whose state and statistics these are; 0 for anything else.
    pub layer: usize,
    pub statistics: &'a Statistics,
    /// Rows of the stream that were trained on or left out.
    pub position: u64,
    /// Active features per token in training, over the last logged window.
    pub l0_training: f64,
}

/// What was fitted.
#[derive(Debug)]
pub struct FittedThresholds {
    pub thresholds: Thresholds,
    pub record: ThresholdFit,
}

/// Thresholds for scaled activations.
#[derive(Debug, Clone)]
pub struct Thresholds {
    /// `[F]`
    pub each: Vec<f32>,
    /// Of the first guess, where codes are corrected.
    pub first: Option<f32>,
}

/// Fits thresholds for a trained state if the method needs any: on held-out rows, or where no document is held out on the rest of the
/// stream that was trained on.
///
/// # Errors
/// If rows cannot be read, or the work is stopped.
pub fn fit(
    trained: &TrainedRun<'_>,
    source: &Source,
    threads: &ThreadPool,
    progress: &mut dyn Progress,
) -> Result<Option<FittedThresholds>> {
    let TrainedRun { resolved, state, layer, statistics, position, l0_training } = *trained;
    if !resolved.config.method.fits_thresholds() {
        return Ok(None);
    }
    let wanted = resolved.config.threshold_tokens.unwrap_or(1);
    let there = source.held_out_rows();
    let (mut batches, split, rows) = if there > 1 {
        (source.held_out(resolved, (layer, statistics))?, "held-out", there.min(wanted))
    } else {
        let batches = source.training(resolved, (layer, statistics), position)?;
        let unused = source.training_rows().saturating_sub(position);
        if unused >= resolved.config.batch as u64 {
            (batches, "unused", unused.min(wanted))
        } else {
            progress.remark("no document is held out and every row was trained on: thresholds are fitted on training rows");
            (batches, "training", source.training_rows().min(wanted))
        }
    };
    let (check, fitting) = ((rows / 5).max(1), rows - (rows / 5).max(1));
    progress.begin("fit thresholds", Some(rows), "tokens");
    // A transcoder encodes what it is given; its decoder's bias is the target's.
    let subtracted = match statistics.target {
        None => state.b_dec.value.clone(),
        Some(_) => vec![0.0; state.d],
    };
    let mut source = Blocks { batches: &mut batches, batch: Batch::default(), subtracted, done: 0, progress };
    let options = resolved.step_options(statistics);
    let (k, mut ranked, mut first) = (resolved.config.k as f64, Ranked::of(state, &options), None);
    let mut fitted = 0;
    if let Some(step) = options.refine {
        // The first guess has a threshold of its own, and the codes depend on it.
        fitted = (fitting / 2).max(1);
        let threshold = one((state, &ranked), k, fitted, threads, &mut source)?;
        first = Some(threshold);
        ranked = Ranked::Corrected { step, first: threshold };
    }
    let left = fitting.saturating_sub(fitted).max(1);
    let thresholds = match resolved.config.method.inference() {
        Inference::ThresholdEach => {
            let rates = state.budgets.iter().map(|&m| f64::from(m) / resolved.config.batch as f64);
            each(state, &rates.collect::<Vec<_>>(), left, threads, &mut source)?
        }
        _ => {
            vec![one((state, &ranked), k, left, threads, &mut source)?; state.features]
        }
    };
    let l0_threshold = count((state, &ranked), &thresholds, check, threads, &mut source)?;
    progress.end(&format!("L0 {l0_threshold:.2} by threshold, {l0_training:.2} in training"));
    let kind = if resolved.config.method.inference() == Inference::ThresholdEach { "each" } else { "one" };
    let record = ThresholdFit {
        kind: kind.to_owned(),
        split: split.to_owned(),
        tokens: fitting,
        check_tokens: check,
        l0_training,
        l0_threshold,
    };
    Ok(Some(FittedThresholds { thresholds: Thresholds { each: thresholds, first }, record }))
}

/// Rows, a block at a time.
struct Blocks<'a> {
    batches: &'a mut Batches,
    batch: Batch,
    /// `[d]`
    subtracted: Vec<f32>,
    done: u64,
    progress: &'a mut dyn Progress,
}

impl Blocks<'_> {
    /// Calls `visit` with the next `rows` rows, centred, in blocks `[≤ BLOCK_ROWS, d]`.
    fn each(&mut self, rows: u64, mut visit: impl FnMut(&[f32])) -> Result<()> {
        let (mut left, mut centred) = (rows, Vec::new());
        while left > 0 {
            if self.progress.stop_requested() {
                return Err(Error::stopped("training was over but thresholds were not fitted yet")
                    .with_remedy("continue with --resume"));
            }
            let block = left.min(BLOCK_ROWS as u64) as usize;
            self.batches.next(&mut self.batch, block)?;
            centred.resize(self.batch.x.len(), 0.0);
            centre(&mut centred, &self.batch.x, &self.subtracted);
            visit(&centred);
            left -= block as u64;
            self.done += block as u64;
            self.progress.advance(self.done, "");
        }
        Ok(())
    }
}

/// The θ above which there are `k` of the ranked numbers per token.
fn one(
    (state, ranked): (&TrainState, &Ranked),
    k: f64,
    rows: u64,
    threads: &ThreadPool,
    source: &mut Blocks<'_>,
) -> Result<f32> {
    let mut histogram = Histogram::default();
    let width = chunk_rows(state.features) * state.d;
    source.each(rows, |centred| {
        let counted = |(mut histogram, mut memory): (Histogram, RankedMemory), rows: &[f32]| {
            ranked.fill(state, rows, &mut memory);
            histogram.add(&memory.scores);
            (histogram, memory)
        };
        let part = threads.install(|| {
            let parts = centred.par_chunks(width).fold(Default::default, counted);
            parts.map(|(histogram, _)| histogram).reduce(Histogram::default, Histogram::merged)
        });
        histogram = std::mem::take(&mut histogram).merged(part);
    })?;
    Ok(histogram.threshold((k * rows as f64).round() as u64))
}

/// For each feature the θ_i above which it is for a share `rates[i]` of the tokens; for at least one of them.
fn each(
    state: &TrainState,
    rates: &[f64],
    rows: u64,
    threads: &ThreadPool,
    source: &mut Blocks<'_>,
) -> Result<Vec<f32>> {
    let wanted = |rate: &f64| Largest::new(((rate * rows as f64).round() as usize).max(1));
    let mut largest: Vec<Largest> = rates.iter().map(wanted).collect();
    let tile = chunk_rows(BLOCK_ROWS);
    source.each(rows, |centred| {
        let tokens = centred.len() / state.d;
        threads.install(|| {
            (largest.par_chunks_mut(tile), state.w_enc.value.par_chunks(tile * state.d))
                .into_par_iter()
                .enumerate()
                .for_each_init(Vec::new, |z, (i, (largest, encoder))| {
                    products(z, encoder, centred, state.d);
                    let biases = &state.b_enc.value[i * tile..];
                    for ((largest, z), bias) in largest.iter_mut().zip(z.chunks_exact_mut(tokens)).zip(biases)
                    {
                        z.iter_mut().for_each(|z| *z += bias);
                        largest.add(z);
                    }
                });
        });
    })?;
    Ok(largest.into_iter().map(Largest::threshold).collect())
}

/// Codes per token by `thresholds`, mean over the next `rows` rows.
fn count(
    (state, ranked): (&TrainState, &Ranked),
    thresholds: &[f32],
    rows: u64,
    threads: &ThreadPool,
    source: &mut Blocks<'_>,
) -> Result<f64> {
    let mut codes = 0;
    let width = chunk_rows(state.features) * state.d;
    source.each(rows, |centred| {
        let above = |memory: &mut RankedMemory, rows: &[f32]| {
            ranked.fill(state, rows, memory);
            let passes = |(z, threshold): (&f32, &f32)| u64::from(*z > threshold.max(0.0));
            let rows = memory.scores.chunks_exact(state.features);
            rows.flat_map(|z| z.iter().zip(thresholds)).map(passes).sum::<u64>()
        };
        codes +=
            threads.install(|| centred.par_chunks(width).map_init(RankedMemory::default, above).sum::<u64>());
    })?;
    Ok(codes as f64 / rows as f64)
}

#[cfg(test)]
mod tests;
