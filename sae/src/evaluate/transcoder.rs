//! Evaluation of a transcoder: it reads the value at one hook and stands in for the value at another.
//!
//! A dataset has its input alone, so the target comes from the model: one pass over the contexts for how much of the target is explained
//! and for its mean, a second one with the transcoder's output, zeros and the mean in the target's place.

use candle_core::{DType, Tensor};
use storage::Dataset;

use super::behaviour::{Behaviour, Replacement};
use super::geometry::Geometry;
use super::passes::{batches, check_energy, collect, counted, stop};
use super::splice::{Energy, is_within};
use super::{EvaluateOptions, Evaluation, Reconstruction, choose_documents, hook_of, provenance, report};
use crate::dictionary::Dictionary;
use crate::rows::{RowReader, load_model};
use crate::{Error, Progress, Result};
use kernels::wide::dot;
use lm::model::{Hook, LanguageModel, Tap};
use lm::text::Contexts;

/// Measures the transcoder `dictionary` on the chosen documents of `dataset`, which are rows of its input.
pub(super) fn measure(
    dataset: &Dataset,
    dictionary: &Dictionary,
    limit: Option<f32>,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    let model = load_model(&options.model, dataset.manifest())?.ok_or_else(|| {
        Error::request("a transcoder is measured on what its model computes, and there is no model")
            .with_remedy("leave --no-model out, or name the model with --model")
    })?;
    let (from, to) = (hook_of(dataset)?, target_hook(dictionary)?);
    for (hook, width) in [(from, dictionary.d_in), (to, dictionary.d_out())] {
        let found = hook.width(model.config())?;
        if found != width {
            return Err(Error::request(format!(
                "{hook} of `{}` has width {found}, the transcoder has {width}",
                model.id()
            ))
            .with_remedy("give the model that it was trained on"));
        }
    }
    let choice = choose_documents(dataset, options)?;
    let mut reader = RowReader::new(dataset, &choice.ranges, options.batch, dictionary.d_in)?;
    let (mut documents, mut energy, mut rows) = (Vec::new(), 0.0, 0_u64);
    while let Some(batch) = reader.next_batch()? {
        collect(&batch, &mut documents)?;
        for row in batch.activations.chunks_exact(dictionary.d_in).filter(|row| is_within(row, limit)) {
            energy += dot(row, row);
            rows += 1;
        }
    }
    let run = Run { model: &model, dictionary, from, to, limit };
    let length = dataset.manifest().context_length;
    let (sums, seen) = run.reconstruct(documents.clone(), length, progress)?;
    check_energy(seen, energy / rows.max(1) as f64, from)?;
    let figures = sums.figures().ok_or_else(|| Error::data("there are no rows to evaluate"))?;
    let mut evaluation = provenance(dataset, &choice, options);
    report::add_reconstruction(&mut evaluation, &figures);
    report::add_geometry(&mut evaluation, &Geometry::of(dictionary));
    evaluation.d_sae = dictionary.d_sae as u64;
    evaluation.left_out = choice.tokens.saturating_sub(figures.tokens);
    evaluation.norm_limit = limit;
    evaluation.target = Some(to.to_string());
    let behaviour = run.replace(documents, length, &sums.mean(), progress)?;
    match behaviour.figures() {
        Some(figures) => report::add_behaviour(&mut evaluation, &figures),
        None => progress.remark("no evaluated document has two tokens: there is no prediction to compare"),
    }
    Ok(evaluation)
}

/// The hook whose value `dictionary` reconstructs.
fn target_hook(dictionary: &Dictionary) -> Result<Hook> {
    let hook = dictionary.target.as_ref().and_then(|target| target.hook.as_deref());
    hook.ok_or_else(|| {
        Error::request("the transcoder does not say at which hook its output belongs")
            .with_remedy("its configuration names it (hook_name_out)")
    })?
    .parse()
}

/// A transcoder in its model.
struct Run<'a> {
    model: &'a LanguageModel,
    dictionary: &'a Dictionary,
    from: Hook,
    to: Hook,
    limit: Option<f32>,
}

impl Run<'_> {
    /// How well the target is reconstructed, and the energy of the input.
    fn reconstruct(
        &self,
        documents: Vec<(u32, Vec<u32>)>,
        length: usize,
        progress: &mut dyn Progress,
    ) -> Result<(Reconstruction, Energy)> {
        let mut sums = Reconstruction::new(self.dictionary.d_out(), self.dictionary.d_sae);
        let (mut energy, mut encoder) = (Energy::default(), self.dictionary.encoder());
        let (d, d_out) = (self.dictionary.d_in, self.dictionary.d_out());
        let total = documents.iter().map(|(_, tokens)| tokens.len() as u64).sum();
        progress.begin("reconstruct", Some(total), "tokens");
        let (mut done, last) = (0, self.from.layer.max(self.to.layer) + 1);
        for contexts in batches(self.model, documents, length)? {
            let contexts = contexts?;
            let mut tap = Tapped::new(self, &contexts, Put::Nothing);
            self.model.decoder().residual(&contexts, last, &mut tap)?;
            let Tapped { input, output, .. } = tap;
            let places = self.places(&contexts, &input);
            let x = picked(&input, &places, d);
            energy.sum += dot(&x, &x);
            energy.tokens += places.len() as u64;
            let codes = encoder.encode(&x);
            sums.add(&picked(&output, &places, d_out), &codes, &self.dictionary.decode_with(&codes, &x))?;
            done += contexts.document_tokens() as u64;
            progress.advance(done, "");
            stop(progress)?;
        }
        let fve = sums.figures().and_then(|f| f.fve);
        progress.end(&fve.map_or("no variance".into(), |fve| format!("FVE of the target {fve:.4}")));
        Ok((sums, energy))
    }

    /// What the model predicts with the transcoder's output, zeros and the mean in place of the target.
    fn replace(
        &self,
        documents: Vec<(u32, Vec<u32>)>,
        length: usize,
        mean: &[f32],
        progress: &mut dyn Progress,
    ) -> Result<Behaviour> {
        let total = documents.iter().map(|(_, tokens)| tokens.len() as u64).sum();
        let (decoder, mut behaviour, mut done) = (self.model.decoder(), Behaviour::default(), 0);
        let zeros = vec![0.0; mean.len()];
        progress.begin("evaluate", Some(total), "tokens");
        for contexts in batches(self.model, documents, length)? {
            let contexts = contexts?;
            let with = |put| {
                let mut tap = Tapped::new(self, &contexts, put);
                decoder.residual(&contexts, decoder.config().num_hidden_layers, &mut tap)
            };
            let clean = with(Put::Nothing)?;
            let others = [with(Put::Transcoded)?, with(Put::Constant(&zeros))?, with(Put::Constant(mean))?];
            let compared = decoder.compare(&clean, &others, &contexts)?;
            behaviour.add(&compared, &Replacement::ALL, &counted(&contexts));
            done += contexts.document_tokens() as u64;
            progress.advance(done, "");
            stop(progress)?;
        }
        let recovered = behaviour.figures().and_then(|f| f.loss_recovered);
        progress.end(&recovered.map_or(String::new(), |share| format!("loss recovered {share:.4}")));
        Ok(behaviour)
    }

    /// The document tokens of a batch whose input is within the limit.
    fn places(&self, contexts: &Contexts, input: &[f32]) -> Vec<usize> {
        let d = self.dictionary.d_in;
        let within =
            |i: &usize| contexts.origin[*i].is_some() && is_within(&input[i * d..(i + 1) * d], self.limit);
        (0..contexts.origin.len()).filter(within).collect()
    }
}

/// What stands in place of the target.
#[derive(Clone, Copy)]
enum Put<'a> {
    Nothing,
    Transcoded,
    Constant(&'a [f32]),
}

/// Sees the input and the target, and puts something in the target's place.
struct Tapped<'a> {
    run: &'a Run<'a>,
    contexts: &'a Contexts,
    put: Put<'a>,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl<'a> Tapped<'a> {
    fn new(run: &'a Run<'a>, contexts: &'a Contexts, put: Put<'a>) -> Self {
        Self { run, contexts, put, input: Vec::new(), output: Vec::new() }
    }
}

impl Tap for Tapped<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.run.from || *hook == self.run.to
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let mut values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        if *hook == self.run.from {
            self.input.clone_from(&values);
        }
        if *hook != self.run.to {
            return Ok(None);
        }
        let dictionary = self.run.dictionary;
        let d = dictionary.d_out();
        let places = self.run.places(self.contexts, &self.input);
        match self.put {
            Put::Nothing => {
                self.output = values;
                return Ok(None);
            }
            Put::Transcoded => {
                let x = picked(&self.input, &places, dictionary.d_in);
                let made = dictionary.decode_with(&dictionary.encode(&x), &x);
                for (&i, row) in places.iter().zip(made.chunks_exact(d)) {
                    values[i * d..(i + 1) * d].copy_from_slice(row);
                }
            }
            Put::Constant(vector) => {
                for &i in &places {
                    values[i * d..(i + 1) * d].copy_from_slice(vector);
                }
            }
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?.to_dtype(value.dtype())?))
    }
}

fn picked(values: &[f32], places: &[usize], d: usize) -> Vec<f32> {
    places.iter().flat_map(|&i| &values[i * d..(i + 1) * d]).copied().collect()
}
