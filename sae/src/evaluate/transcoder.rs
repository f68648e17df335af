//! Evaluation of a transcoder: it reads the value at one hook and stands in for the value at another.
//!
//! A dataset has its input alone, so the target comes from the model: one pass over the contexts for how much of the target is explained
//! and for its mean, a second one with the transcoder's output, zeros and the mean in the target's place.

use storage::Dataset;

use super::geometry::Geometry;
use super::passes::{batches, check_energy, collect, stop};
use super::splice::{Energy, is_within};
use super::stand_in::{Measured, Stand, StandIn};
use super::{
    EvaluateOptions, Evaluation, Reconstruction, choose_documents, hook_of, named_compute, provenance, report,
};
use crate::dictionary::Dictionary;
use crate::rows::RowReader;
use crate::{Error, Progress, Result};
use kernels::wide::dot;
use lm::model::{Decoder, Hook};
use lm::text::Contexts;

/// Measures the transcoder `dictionary` on the chosen documents of `dataset`, which are rows of its input.
pub(super) fn measure(
    dataset: &Dataset,
    dictionary: &Dictionary,
    limit: Option<f32>,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    let model = options.load_model(dataset.manifest())?.ok_or_else(|| {
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
    let measured = Measured::One { dictionary, from, to, limit };
    let (decoder, length) = (model.decoder(), dataset.manifest().context_length);
    let total: u64 = documents.iter().map(|(_, tokens)| tokens.len() as u64).sum();
    progress.begin("reconstruct", Some(total), "tokens");
    let contexts = batches(&model, documents.clone(), length)?;
    let (sums, seen) = reconstruct(decoder, (measured, dictionary), contexts, (from, to), progress)?;
    let fve = sums.figures().and_then(|f| f.fve);
    progress.end(&fve.map_or("no variance".into(), |fve| format!("FVE of the target {fve:.4}")));
    check_energy(seen, energy / rows.max(1) as f64, from)?;
    let figures = sums.figures().ok_or_else(|| Error::data("there are no rows to evaluate"))?;
    let mut evaluation = provenance(dataset, &choice, options);
    evaluation.compute = named_compute(Some(&model));
    report::add_reconstruction(&mut evaluation, &figures);
    report::add_geometry(&mut evaluation, &Geometry::of(dictionary));
    evaluation.d_sae = dictionary.d_sae as u64;
    evaluation.left_out = choice.tokens.saturating_sub(figures.tokens);
    evaluation.norm_limit = limit;
    evaluation.target = Some(to.to_string());
    progress.begin("evaluate", Some(total), "tokens");
    let means = [(to.layer, sums.mean())].into();
    let contexts = batches(&model, documents, length)?;
    let behaviour = measured.behaviour(decoder, contexts, &means, progress, |_, _, _| Ok(()))?;
    let recovered = behaviour.figures().and_then(|f| f.loss_recovered);
    progress.end(&recovered.map_or(String::new(), |share| format!("loss recovered {share:.4}")));
    match behaviour.figures() {
        Some(figures) => report::add_behaviour(&mut evaluation, &figures),
        None => progress.remark("no evaluated document has two tokens: there is no prediction to compare"),
    }
    Ok(evaluation)
}

/// Those of the rows `x[n, d_in]` and their targets `y[n, d_out]` whose target is within the limit of training.
fn trained_on(dictionary: &Dictionary, x: &[f32], y: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let limit = dictionary.target.as_ref().and_then(|target| target.norm_limit);
    let pairs = x.chunks_exact(dictionary.d_in).zip(y.chunks_exact(dictionary.d_out()));
    let (mut inputs, mut targets) = (Vec::with_capacity(x.len()), Vec::with_capacity(y.len()));
    for (x, y) in pairs.filter(|(_, y)| is_within(y, limit)) {
        inputs.extend_from_slice(x);
        targets.extend_from_slice(y);
    }
    (inputs, targets)
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

/// How well the target is reconstructed, and the energy of the input.
fn reconstruct(
    decoder: &Decoder,
    (measured, dictionary): (Measured<'_>, &Dictionary),
    contexts: impl Iterator<Item = Result<Contexts>>,
    (from, to): (Hook, Hook),
    progress: &mut dyn Progress,
) -> Result<(Reconstruction, Energy)> {
    let mut sums = Reconstruction::new(dictionary.d_out(), dictionary.d_sae);
    let (mut energy, mut encoder) = (Energy::default(), dictionary.encoder());
    let (mut done, last) = (0, from.layer.max(to.layer) + 1);
    for contexts in contexts {
        let contexts = contexts?;
        let mut stand = Stand::new(measured, &contexts, StandIn::Seen);
        decoder.residual(&contexts, last, &mut stand)?;
        let x = stand.inputs.remove(&from.layer).unwrap_or_default();
        let y = stand.outputs.remove(&to.layer).unwrap_or_default();
        energy.sum += dot(&x, &x);
        energy.tokens += (x.len() / dictionary.d_in) as u64;
        let (x, y) = trained_on(dictionary, &x, &y);
        let codes = encoder.encode(&x);
        sums.add(&y, &codes, &dictionary.decode_with(&codes, &x))?;
        done += contexts.document_tokens() as u64;
        progress.advance(done, "");
        stop(progress)?;
    }
    Ok((sums, energy))
}
