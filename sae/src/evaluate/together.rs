//! Transcoders of several layers in place at once: what the model still predicts when all of their MLPs are replaced.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use serde::Serialize;
use storage::Dataset;
use storage::layers::ReplacedEvaluation;

use super::passes::{batches, collect};
use super::stand_in::{Measured, Stand, StandIn, Vectors};
use super::{EvaluateOptions, choose_documents};
use crate::rows::RowReader;
use crate::trace::Transcoders;
use crate::{Error, Progress, Result};
use kernels::reduce;
use lm::model::Decoder;
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
    let model = options.load_model(dataset.manifest())?.ok_or_else(|| {
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
    let measured = Measured::All(transcoders);
    let means = means(decoder, measured, batches(&model, documents.clone(), length)?)?;
    let contexts = batches(&model, documents, length)?;
    progress.begin("evaluate together", Some(choice.tokens), "tokens");
    let (ce_clean, replaced) = replaced(decoder, measured, contexts, &means, progress)?;
    Ok(TogetherEvaluation {
        layers: transcoders.covered().collect(),
        tokens: replaced.tokens,
        ce_clean,
        ce_replaced: replaced.ce_replaced,
        ce_zero: replaced.ce_zero,
        ce_mean: replaced.ce_mean,
        loss_recovered: replaced.loss_recovered,
        kl: replaced.kl,
        agreement: replaced.agreement,
    })
}

/// Cross-entropy of the model as it is, and what it predicts with `measured`, zeros and `means` in place.
///
/// # Errors
/// As [`Measured::behaviour`]; documents without a prediction to compare.
pub(super) fn replaced(
    decoder: &Decoder,
    measured: Measured<'_>,
    contexts: impl Iterator<Item = Result<Contexts>>,
    means: &Vectors,
    progress: &mut dyn Progress,
) -> Result<(f64, ReplacedEvaluation)> {
    let (mut agreed, mut asked) = (0_u64, 0_u64);
    let behaviour = measured.behaviour(decoder, contexts, means, progress, |clean, other, places| {
        let (same, all) = agreement(decoder, clean, other, places)?;
        (agreed, asked) = (agreed + same, asked + all);
        Ok(())
    })?;
    let figures = behaviour.figures().ok_or_else(|| {
        Error::data("no evaluated document has two tokens: there is no prediction to compare")
    })?;
    progress.end(&format!("KL {:.4}", figures.kl));
    let replaced = ReplacedEvaluation {
        tokens: figures.tokens,
        ce_replaced: figures.ce_reconstructed,
        ce_zero: figures.ce_zero,
        ce_mean: figures.ce_mean,
        loss_recovered: figures.loss_recovered,
        kl: figures.kl,
        kl_zero: figures.kl_zero,
        kl_mean: figures.kl_mean,
        agreement: agreed as f64 / asked.max(1) as f64,
    };
    Ok((figures.ce_clean, replaced))
}

/// The mean output of each replaced MLP over the document tokens.
fn means(
    decoder: &Decoder,
    measured: Measured<'_>,
    contexts: impl Iterator<Item = Result<Contexts>>,
) -> Result<Vectors> {
    let (mut sums, mut tokens) = (BTreeMap::<usize, Vec<f64>>::new(), 0_u64);
    for contexts in contexts {
        let contexts = contexts?;
        tokens += contexts.document_tokens() as u64;
        let mut stand = Stand::new(measured, &contexts, StandIn::Seen);
        decoder.residual(&contexts, decoder.config().num_hidden_layers, &mut stand)?;
        for (layer, rows) in stand.outputs {
            let sum = sums.entry(layer).or_insert_with(|| vec![0.0; decoder.config().hidden_size]);
            reduce::add_column_sums(sum, &rows);
        }
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

/// The dataset that the run or dictionary at `path` is measured on: `data`, or the one that a run names.
///
/// # Errors
/// A dictionary that names none, and no `data`.
pub fn data_of(path: &Path, data: Option<&Path>) -> Result<std::path::PathBuf> {
    crate::rows::Source::open(path)?.data(path, data)
}
