//! Transcoders of several layers in place at once: what the model still predicts when all of their MLPs are replaced.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde::Serialize;
use storage::Dataset;

use super::behaviour::{Behaviour, Replacement};
use super::passes::{batches, collect, counted, stop};
use super::{EvaluateOptions, choose_documents};
use crate::rows::{RowReader, load_model};
use crate::trace::Transcoders;
use crate::{Error, Progress, Result};
use lm::model::{Decoder, Hook, Site, Tap};
use lm::text::Contexts;

/// Tokens whose logits are held at a time.
const CHUNK: usize = 32;

/// Means over tokens, in nats. The transcoders' outputs, zeros or the mean outputs take the place of the MLP's output at every
/// document token of every layer that has a transcoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TogetherEvaluation {
    /// The layers.
    pub layers: Vec<usize>,
    /// Tokens whose prediction was compared.
    pub tokens: u64,
    /// Cross-entropy of the model as it is.
    pub ce_clean: f64,
    /// … with all transcoders in place.
    pub ce_replaced: f64,
    /// … with zeros.
    pub ce_zero: f64,
    /// … with the mean outputs.
    pub ce_mean: f64,
    /// `(ce_zero − ce_replaced) / (ce_zero − ce_clean)`.
    pub loss_recovered: Option<f64>,
    /// KL(clean ‖ replaced).
    pub kl: f64,
    /// Share of the tokens after which the likeliest token stays the same.
    pub agreement: f64,
}

/// Measures `transcoders` together on the chosen documents of the dataset in `data`, whose model runs.
///
/// # Errors
/// A dataset without its model or without held-out documents, transcoders that do not fit the model, cross-layer
/// transcoders that lack a layer in between; [`Error::Stopped`].
pub fn together(
    data: &Path,
    transcoders: &Transcoders,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<TogetherEvaluation> {
    let dataset = Dataset::open(data)?;
    let model = load_model(&options.model, dataset.manifest())?.ok_or_else(|| {
        Error::request("transcoders are measured together in their model, and there is no model")
            .with_remedy("leave --no-model out, or name the model with --model")
    })?;
    transcoders.check(model.config())?;
    let decoder = model.decoder();
    let choice = choose_documents(&dataset, options)?;
    let mut reader = RowReader::new(&dataset, &choice.ranges, options.batch, dataset.manifest().d_model)?;
    let mut documents = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        collect(&batch, &mut documents)?;
    }
    let length = dataset.manifest().context_length;
    let means = means(decoder, transcoders, batches(&model, documents.clone(), length)?)?;
    let zeros: Means = means.iter().map(|(&layer, mean)| (layer, vec![0.0; mean.len()])).collect();
    let (mut behaviour, mut agreed, mut asked, mut done) = (Behaviour::default(), 0_u64, 0_u64, 0);
    progress.begin("evaluate together", Some(choice.tokens), "tokens");
    for contexts in batches(&model, documents, length)? {
        let contexts = contexts?;
        let with = |put: Put<'_>| {
            let mut tap = Replace { transcoders, contexts: &contexts, put, inputs: BTreeMap::new() };
            decoder.residual(&contexts, decoder.config().num_hidden_layers, &mut tap)
        };
        let clean = with(Put::Nothing)?;
        let others = [with(Put::Transcoded)?, with(Put::Constant(&zeros))?, with(Put::Constant(&means))?];
        let places = counted(&contexts);
        behaviour.add(&decoder.compare(&clean, &others, &contexts)?, &Replacement::ALL, &places);
        let (same, all) = agreement(decoder, &clean, &others[0], &places)?;
        (agreed, asked) = (agreed + same, asked + all);
        done += contexts.document_tokens() as u64;
        progress.advance(done, "");
        stop(progress)?;
    }
    let figures = behaviour.figures().ok_or_else(|| {
        Error::data("no evaluated document has two tokens: there is no prediction to compare")
    })?;
    progress.end(&format!("KL {:.4}", figures.kl));
    Ok(TogetherEvaluation {
        layers: transcoders.covered().collect(),
        tokens: figures.tokens,
        ce_clean: figures.ce_clean,
        ce_replaced: figures.ce_reconstructed,
        ce_zero: figures.ce_zero,
        ce_mean: figures.ce_mean,
        loss_recovered: figures.loss_recovered,
        kl: figures.kl,
        agreement: agreed as f64 / asked.max(1) as f64,
    })
}

/// A vector for each layer.
type Means = BTreeMap<usize, Vec<f32>>;

/// The mean output of each replaced MLP over the document tokens.
fn means(
    decoder: &Decoder,
    transcoders: &Transcoders,
    contexts: impl Iterator<Item = Result<Contexts>>,
) -> Result<Means> {
    /// Adds up outputs.
    struct Sum<'a> {
        layers: Vec<usize>,
        contexts: &'a Contexts,
        sums: &'a mut BTreeMap<usize, Vec<f64>>,
    }
    impl Tap for Sum<'_> {
        fn wants(&self, hook: &Hook) -> bool {
            hook.site == Site::MlpOut && self.layers.contains(&hook.layer)
        }
        fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
            let d = value.dim(2)?;
            let values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let sum = self.sums.entry(hook.layer).or_insert_with(|| vec![0.0; d]);
            for (row, _) in
                values.chunks_exact(d).zip(&self.contexts.origin).filter(|(_, origin)| origin.is_some())
            {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            Ok(None)
        }
    }
    let (mut sums, mut tokens) = (BTreeMap::new(), 0_u64);
    for contexts in contexts {
        let contexts = contexts?;
        tokens += contexts.origin.iter().flatten().count() as u64;
        let mut tap = Sum { layers: transcoders.covered().collect(), contexts: &contexts, sums: &mut sums };
        decoder.residual(&contexts, decoder.config().num_hidden_layers, &mut tap)?;
    }
    let mean = |sum: Vec<f64>| sum.into_iter().map(|x| (x / tokens.max(1) as f64) as f32).collect();
    Ok(sums.into_iter().map(|(layer, sum)| (layer, mean(sum))).collect())
}

/// After how many of the places that `counted` marks both predict the same token, and how many these are.
fn agreement(decoder: &Decoder, clean: &Tensor, other: &Tensor, counted: &[bool]) -> Result<(u64, u64)> {
    let (rows, len, d) = clean.dims3()?;
    let flat = |x: &Tensor| x.reshape((1, rows * len, d));
    let (clean, other) = (flat(clean)?, flat(other)?);
    let (mut same, mut all) = (0, 0);
    for first in (0..rows * len).step_by(CHUNK) {
        let n = CHUNK.min(rows * len - first);
        if !counted[first..first + n].contains(&true) {
            continue;
        }
        let best = |x: &Tensor| -> Result<Vec<u32>> {
            let logits = decoder.logits(&x.narrow(1, first, n)?.contiguous()?)?;
            Ok(logits.squeeze(0)?.argmax(1)?.to_vec1()?)
        };
        for ((a, b), _) in
            best(&clean)?.iter().zip(best(&other)?).zip(&counted[first..first + n]).filter(|(_, c)| **c)
        {
            same += u64::from(*a == b);
            all += 1;
        }
    }
    Ok((same, all))
}

/// What stands in place of the MLPs' outputs.
#[derive(Clone, Copy)]
enum Put<'a> {
    Nothing,
    Transcoded,
    Constant(&'a Means),
}

/// Sees what transcoders read, and puts something in the place of what the MLPs write.
struct Replace<'a> {
    transcoders: &'a Transcoders,
    contexts: &'a Contexts,
    put: Put<'a>,
    /// What the transcoders of the layers so far have read, `[places, d]`.
    inputs: BTreeMap<usize, Vec<f32>>,
}

impl Replace<'_> {
    fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.contexts.origin.iter().enumerate().filter(|(_, origin)| origin.is_some()).map(|(i, _)| i)
    }
}

impl Tap for Replace<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        match self.put {
            Put::Nothing => false,
            _ => {
                self.transcoders.reads(hook)
                    || (hook.site == Site::MlpOut && self.transcoders.has(hook.layer))
            }
        }
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let d = value.dim(2)?;
        let mut values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        if self.transcoders.reads(hook) {
            let x = self.places().flat_map(|i| &values[i * d..(i + 1) * d]).copied().collect();
            self.inputs.insert(hook.layer, x);
            return Ok(None);
        }
        let rows = match self.put {
            Put::Nothing => return Ok(None),
            Put::Transcoded => self.transcoders.output(hook.layer, &self.inputs),
            Put::Constant(means) => {
                let mean = means.get(&hook.layer).cloned().unwrap_or_else(|| vec![0.0; d]);
                mean.repeat(self.places().count())
            }
        };
        for (i, row) in self.places().zip(rows.chunks_exact(d)) {
            values[i * d..(i + 1) * d].copy_from_slice(row);
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?.to_dtype(value.dtype())?))
    }
}

/// The dataset that the run or dictionary at `path` is measured on: `data`, or the one that a run names.
///
/// # Errors
/// A dictionary that names none, and no `data`.
pub fn data_of(path: &Path, data: Option<&Path>) -> Result<std::path::PathBuf> {
    crate::rows::Source::open(path)?.data(path, data)
}
