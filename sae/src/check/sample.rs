//! The rows that a dictionary is checked on: of a dataset, or of a model that reads the embedded text.

use candle_core::Tensor;
use storage::Dataset;

use crate::rows::{RowReader, choose, documents};
use crate::{Error, Progress, Result};
use kernels::wide::norm;
use lm::embedded::CORPUS;
use lm::model::{Hook, LanguageModel, NormKind, Site, Tap};
use lm::text::{Contexts, pack};

/// Tokens of a context: long enough for attention to matter, short enough for many documents.
const CONTEXT: usize = 128;
/// Rows of the model's batch.
const BATCH: usize = 8;
/// A row whose norm is above so many times the median is an outlier: the first tokens of a context and BOS, where models put what
/// they do not need, are ten to a thousand times as long as other rows, which differ by two or three times.
pub(super) const OUTLIER: f64 = 10.0;

/// Rows of one hook.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Activations of the tokens of documents, `[n, d]`.
    pub rows: Vec<f32>,
    /// Activations of BOS, `[m, d]`; empty where contexts begin without one, and of a dataset, which leaves them out.
    pub bos: Vec<f32>,
    /// The value at the dictionary's other hook for the same tokens, `[n, d_out]`: what a transcoder reconstructs.
    pub target: Option<Vec<f32>>,
    /// For a hook after a norm: the same rows without the norm's gain (and bias), `[n, d]`.
    pub without_gain: Option<Vec<f32>>,
}

impl Sample {
    /// Leaves out rows whose norm is above `limit`.
    pub fn keep_within(&mut self, limit: Option<f64>, d: usize) {
        let Some(limit) = limit else { return };
        let kept: Vec<bool> = norms(&self.rows, d).iter().map(|norm| *norm <= limit).collect();
        let pick = |rows: &[f32]| -> Vec<f32> {
            let width = rows.len() / kept.len().max(1);
            let rows = rows.chunks_exact(width.max(1)).zip(&kept).filter(|(_, kept)| **kept);
            rows.flat_map(|(row, _)| row).copied().collect()
        };
        self.target = self.target.take().map(|rows| pick(&rows));
        self.without_gain = self.without_gain.take().map(|rows| pick(&rows));
        self.rows = pick(&self.rows);
    }
}

/// `rows[n, d]` without those of outlying norm.
pub(super) fn without_outliers(rows: &[f32], d: usize) -> Vec<f32> {
    let norms = norms(rows, d);
    let limit = outlier_limit(&norms);
    let kept = rows.chunks_exact(d).zip(&norms).filter(|(_, norm)| **norm <= limit);
    kept.flat_map(|(row, _)| row).copied().collect()
}

/// Values of several hooks for the same tokens.
#[derive(Debug)]
pub(super) struct Captured {
    /// The hooks.
    pub hooks: Vec<Hook>,
    /// Of each, the rows of documents' tokens.
    pub rows: Vec<Vec<f32>>,
    /// Of each, the rows of BOS.
    pub bos: Vec<Vec<f32>>,
}

impl Captured {
    /// The rows at `hook`.
    pub fn at(&self, hook: Hook) -> Option<&[f32]> {
        let i = self.hooks.iter().position(|h| *h == hook)?;
        Some(&self.rows[i])
    }
}

/// `tokens` rows at most of `dataset`, in whole documents drawn by `seed`; held-out ones if there are some.
pub(super) fn of_dataset(dataset: &Dataset, d: usize, tokens: u64, seed: u64) -> Result<Sample> {
    let all = documents(dataset)?;
    let held_out: Vec<_> =
        all.iter().filter(|(row, _)| row.held_out).map(|(_, which)| which.clone()).collect();
    let which = match held_out.is_empty() {
        true => all.into_iter().map(|(_, which)| which).collect(),
        false => held_out,
    };
    let choice = choose(&which, Some(tokens), seed);
    let mut reader = RowReader::new(dataset, &choice.ranges, 8192, d)?;
    let mut rows = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        rows.extend(batch.activations);
    }
    if rows.is_empty() {
        return Err(Error::data(format!("{} has no rows", dataset.dir().display())));
    }
    Ok(Sample { rows, ..Sample::default() })
}

/// Runs `model` over held-out documents of the embedded text and keeps what is at `hooks`, for about `tokens` tokens.
pub(super) fn capture(
    model: &LanguageModel,
    hooks: Vec<Hook>,
    tokens: usize,
    progress: &mut dyn Progress,
) -> Result<Captured> {
    let length = CONTEXT.min(model.config().max_position_embeddings);
    let documents = documents_of_text(model, length - usize::from(model.bos().is_some()), tokens)?;
    let total: usize = documents.iter().map(|(_, tokens)| tokens.len()).sum();
    let mut captured =
        Captured { rows: vec![Vec::new(); hooks.len()], bos: vec![Vec::new(); hooks.len()], hooks };
    let last = captured.hooks.iter().map(|hook| hook.layer + 1).max().unwrap_or(0);
    let last = last.min(model.config().num_hidden_layers);
    progress.begin("run the model", Some(total as u64), "tokens");
    let mut done = 0;
    for contexts in pack(documents.into_iter().map(Ok), length, model.bos(), BATCH)? {
        let contexts = contexts?;
        contexts.check_tokens(model.config().vocab_size)?;
        let mut tap = Keep { contexts: &contexts, captured: &mut captured };
        model.decoder().residual(&contexts, last, &mut tap)?;
        done += contexts.document_tokens() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was measured"));
        }
    }
    progress.end(&format!("{done} tokens of the embedded text"));
    Ok(captured)
}

/// Beginnings of held-out documents of the embedded text, the domains in turn, until there are `tokens` tokens.
fn documents_of_text(model: &LanguageModel, length: usize, tokens: usize) -> Result<Vec<(u32, Vec<u32>)>> {
    let mut domains: Vec<_> = CORPUS.iter().map(|(name, bytes)| (*name, held_out_texts(bytes))).collect();
    let (mut chosen, mut found) = (Vec::new(), 0);
    while found < tokens {
        let before = chosen.len();
        for (name, texts) in &mut domains {
            let Some(text) = texts.next().filter(|_| found < tokens) else { continue };
            let text = text.map_err(|e| Error::data(format!("the embedded text {name}: {e}")))?;
            let mut tokens = model.tokenizer().encode_after_bos(&text)?;
            tokens.truncate(length);
            found += tokens.len();
            chosen.push((chosen.len() as u32, tokens));
        }
        if chosen.len() == before {
            break;
        }
    }
    Ok(chosen)
}

#[derive(serde::Deserialize)]
struct Line {
    text: String,
    split: String,
}

fn held_out_texts(bytes: &[u8]) -> impl Iterator<Item = serde_json::Result<String>> {
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(serde_json::from_slice::<Line>);
    lines.filter_map(|line| match line {
        Ok(line) => (line.split == "heldout").then_some(Ok(line.text)),
        Err(error) => Some(Err(error)),
    })
}

/// Copies what is at the wanted hooks.
struct Keep<'a> {
    contexts: &'a Contexts,
    captured: &'a mut Captured,
}

impl Tap for Keep<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        self.captured.hooks.contains(hook)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let Some(i) = self.captured.hooks.iter().position(|h| h == hook) else { return Ok(None) };
        let (_, _, d) = value.dims3()?;
        let values: Vec<f32> = value.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
        for (at, row) in values.chunks_exact(d).enumerate() {
            let begins = self.contexts.origin[at].is_none() && self.contexts.segments[at] != 0;
            let kept = match self.contexts.origin[at] {
                Some(_) => &mut self.captured.rows[i],
                None if begins => &mut self.captured.bos[i],
                None => continue,
            };
            kept.extend_from_slice(row);
        }
        Ok(None)
    }
}

/// The hook before the norm whose output `hook` is, if it is one.
pub(super) fn before_norm(hook: Hook, model: &LanguageModel) -> Option<Hook> {
    let before = Hook::new(hook.layer, Site::ResidMid);
    (hook.site == Site::MlpIn && before.width(model.config()).is_ok()).then_some(before)
}

/// `rows[n, d]` normed without a gain.
pub(super) fn normed(rows: &[f32], d: usize, kind: NormKind) -> Vec<f32> {
    let mut out = rows.to_vec();
    for row in out.chunks_exact_mut(d) {
        if kind == NormKind::Layer {
            centre(row);
        }
        let rms = (norm(row) / (d as f64).sqrt()).max(f64::MIN_POSITIVE);
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / rms) as f32);
    }
    out
}

/// Takes the mean of its components off a row.
pub(super) fn centre(row: &mut [f32]) {
    let mean = row.iter().copied().map(f64::from).sum::<f64>() / row.len() as f64;
    row.iter_mut().for_each(|x| *x = (f64::from(*x) - mean) as f32);
}

/// Norm of each row.
pub(super) fn norms(rows: &[f32], d: usize) -> Vec<f64> {
    rows.chunks_exact(d).map(norm).collect()
}

/// The norm above which a row is an outlier.
pub(super) fn outlier_limit(norms: &[f64]) -> f64 {
    let mut sorted = norms.to_vec();
    sorted.sort_by(f64::total_cmp);
    OUTLIER * sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// γ = ‖μ‖/‖σ‖ of rows: norm of their mean over root mean square of the distance from it.
pub(super) fn mean_ratio(rows: &[f32], d: usize) -> f64 {
    let n = (rows.len() / d).max(1) as f64;
    let mut mean = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) / n);
    }
    let apart: f64 = rows
        .chunks_exact(d)
        .map(|row| row.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>())
        .sum();
    let length = mean.iter().map(|m| m * m).sum::<f64>().sqrt();
    if apart > 0.0 { length / (apart / n).sqrt() } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_and_norm_by_hand() {
        // Mean (3, 4), each row one away from it.
        let rows = [4.0, 4.0, 2.0, 4.0, 3.0, 5.0, 3.0, 3.0];
        assert!((mean_ratio(&rows, 2) - 5.0).abs() < 1e-12);
        let normed = normed(&[3.0, 4.0], 2, NormKind::Rms);
        assert!((normed[0] - 3.0 / 12.5_f32.sqrt()).abs() < 1e-6);
        let layer = super::normed(&[1.0, 3.0], 2, NormKind::Layer);
        assert_eq!(layer, [-1.0, 1.0]);
        assert_eq!(outlier_limit(&[1.0, 2.0, 300.0]), 20.0);
    }

    #[test]
    fn the_embedded_text_gives_held_out_documents_of_every_domain() {
        let model = LanguageModel::load(&lm::model::ModelSource::Default).unwrap();
        let documents = documents_of_text(&model, 100, 1500).unwrap();
        let tokens: usize = documents.iter().map(|(_, tokens)| tokens.len()).sum();
        assert!((1500..1600).contains(&tokens), "{tokens}");
        assert!(documents.len() >= 15 && documents.iter().all(|(_, tokens)| !tokens.is_empty()));
    }
}
