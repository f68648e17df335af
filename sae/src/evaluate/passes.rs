//! The two passes of an evaluation: over the dataset's rows, and over the model's contexts.

use candle_core::Tensor;
use storage::Dataset;

use super::behaviour::{Behaviour, Replacement};
use super::by_document::ByDocument;
use super::reconstruction::Reconstruction;
use super::splice::{Energy, Splice, SpliceAt, is_within};
use crate::dictionary::Coder;
use crate::rows::{Choice, RowBatch, RowReader};
use crate::{Error, Progress, Result};
use kernels::wide::dot;
use lm::model::ops::Compared;
use lm::model::{Hook, LanguageModel, NoTap, Tap as _};
use lm::text::{Contexts, pack};

/// Tokens of a batch, about.
const TOKENS: usize = 4096;
/// Dictionaries whose final residual streams are held at once.
const TOGETHER: usize = 16;
/// How far the mean energy of the model's activations may be from the dataset's: rounding to f16 moves it by less than a
/// thousandth, another model or another text by more than this.
const ENERGY_TOLERANCE: f64 = 0.01;

/// What the pass over the rows found.
#[derive(Debug)]
pub struct RowPass {
    /// Sums of reconstruction, of each dictionary.
    pub reconstructions: Vec<Reconstruction>,
    /// Tokens of every document, from its first; empty if they were not asked for.
    pub documents: Vec<(u32, Vec<u32>)>,
    /// Sums of each document, of each dictionary.
    pub by_document: Vec<ByDocument>,
    /// Rows whose norm is above the limit.
    pub left_out: u64,
    /// Σ‖x‖² of these rows.
    pub left_out_energy: f64,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The dataset.
    pub dataset: &'a Dataset,
    /// Its rows.
    pub choice: &'a Choice,
    /// The dictionaries, all of one width.
    pub dictionaries: &'a [Coder<'a>],
    /// Norm above which rows are left out.
    pub limit: Option<f32>,
    /// Whether the documents' tokens are kept, for a model.
    pub contexts: bool,
}

/// Reconstructs the chosen rows of the dataset by every dictionary.
///
/// # Errors
/// No dictionary, or one that needs an input that the dataset does not have; rows that cannot be read; a
/// reconstruction that is not finite; a stop that was asked for.
pub fn over_rows(view: &View<'_>, batch: usize, progress: &mut dyn Progress) -> Result<RowPass> {
    let dictionaries = || view.dictionaries.iter().map(|coder| coder.dictionary);
    let Some(d) = dictionaries().next().map(|dictionary| dictionary.d_in) else {
        return Err(Error::request("there is no dictionary to evaluate"));
    };
    dictionaries().try_for_each(|dictionary| dictionary.needs_its_input("the evaluation"))?;
    let mut reader = RowReader::new(view.dataset, &view.choice.ranges, batch, d)?;
    let mut pass = RowPass {
        reconstructions: dictionaries().map(|dictionary| Reconstruction::new(d, dictionary.d_sae)).collect(),
        documents: Vec::new(),
        by_document: vec![ByDocument::default(); view.dictionaries.len()],
        left_out: 0,
        left_out_energy: 0.0,
    };
    let mut encoders: Vec<_> = dictionaries().map(|dictionary| dictionary.encoder()).collect();
    progress.begin("reconstruct", Some(view.choice.tokens), view.dataset.manifest().rows_are.name());
    let mut done = 0;
    while let Some(mut rows) = reader.next_batch()? {
        if view.contexts {
            collect(&rows, &mut pass.documents)?;
        }
        done += rows.len() as u64;
        if view.limit.is_some() {
            leave_out(&mut rows, d, view.limit, &mut pass);
        }
        let all = view.dictionaries.iter().zip(&mut encoders).zip(&mut pass.reconstructions);
        for (((coder, encoder), sums), by_document) in all.zip(&mut pass.by_document) {
            let codes = coder.finish(encoder.encode(&rows.activations), &rows.activations);
            let reconstructed = coder.dictionary.decode_with(&codes, &rows.activations);
            sums.add(&rows.activations, &codes, &reconstructed)?;
            by_document.add_rows(&rows.documents, (&rows.activations, &reconstructed, d), &codes);
            stop(progress)?;
        }
        progress.advance(done, "");
    }
    let fve = |sums: &Reconstruction| sums.figures().and_then(|f| f.fve);
    let summary = match pass.reconstructions.as_slice() {
        [alone] => fve(alone).map_or("no variance".into(), |fve| format!("FVE {fve:.4}")),
        all => format!("{} dictionaries", all.len()),
    };
    progress.end(&summary);
    Ok(pass)
}

/// Takes the rows whose norm is above the limit out of `rows`, and counts them.
fn leave_out(rows: &mut RowBatch, d: usize, limit: Option<f32>, pass: &mut RowPass) {
    let (mut activations, mut documents) = (Vec::with_capacity(rows.activations.len()), Vec::new());
    for (row, &document) in rows.activations.chunks_exact(d).zip(&rows.documents) {
        if is_within(row, limit) {
            activations.extend_from_slice(row);
            documents.push(document);
        } else {
            pass.left_out += 1;
            pass.left_out_energy += dot(row, row);
        }
    }
    (rows.activations, rows.documents) = (activations, documents);
}

/// An error if somebody asked for an end.
///
/// # Errors
/// [`Error::Stopped`].
pub fn stop(progress: &dyn Progress) -> Result<()> {
    if progress.stop_requested() {
        return Err(Error::stopped("the evaluation was not finished; an older one stays as it is"));
    }
    Ok(())
}

/// Documents' tokens, which must be there from the first on: contexts are rebuilt from them.
///
/// # Errors
/// A document whose rows do not follow each other from position 0 on, with both positions.
pub fn collect(rows: &RowBatch, documents: &mut Vec<(u32, Vec<u32>)>) -> Result<()> {
    for i in 0..rows.len() {
        let (document, position) = (rows.documents[i], rows.positions[i]);
        if documents.last().is_none_or(|(last, _)| *last != document) {
            documents.push((document, Vec::new()));
        }
        let Some((_, tokens)) = documents.last_mut() else { continue };
        if tokens.len() as u64 != u64::from(position) {
            return Err(Error::data(format!(
                "document {document}: a row of position {position} where position {} was expected; contexts cannot be \
                 rebuilt from a dataset with gaps",
                tokens.len()
            ))
            .with_remedy("harvest it again, or evaluate without the model"));
        }
        tokens.push(rows.tokens[i]);
    }
    Ok(())
}

/// Where and with what the model is changed.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The model.
    pub model: &'a LanguageModel,
    /// Where the dictionaries' activations come from.
    pub hook: Hook,
    /// The dictionaries.
    pub dictionaries: &'a [Coder<'a>],
    /// Norm above which an activation keeps its value.
    pub limit: Option<f32>,
    /// Mean activation, `[d]`.
    pub mean: &'a [f32],
    /// Tokens per context, BOS counted.
    pub context_length: usize,
}

/// What runs of the model found.
#[derive(Debug, Default)]
pub struct ContextPass {
    /// Of the model as it is, with zeros and with the mean.
    shared: Behaviour,
    /// With the reconstructions of each dictionary.
    own: Vec<Behaviour>,
    /// Of the activations.
    pub energy: Energy,
}

impl ContextPass {
    /// The behaviour with each dictionary.
    pub fn behaviours(self) -> impl Iterator<Item = Behaviour> {
        let shared = self.shared;
        self.own.into_iter().map(move |own| own.with_shared(&shared))
    }
}

/// The documents as batches of contexts, their tokens checked.
///
/// # Errors
/// A context length below 2; of the iterator, a token that is not in the model's vocabulary.
pub fn batches(
    model: &LanguageModel,
    documents: Vec<(u32, Vec<u32>)>,
    context_length: usize,
) -> Result<impl Iterator<Item = Result<Contexts>>> {
    let config = model.config();
    let (bos, size) = (config.bos_token_id, config.vocab_size);
    let rows = (TOKENS / context_length.max(1)).clamp(1, 64);
    let packed = pack(documents.into_iter().map(Ok), context_length, bos, rows)?;
    Ok(packed.map(move |contexts| contexts.and_then(|c| c.check_tokens(size).map(|()| c))))
}

/// Whose predictions are compared. The token that BOS predicts is left out: its context has no activation that was replaced.
pub fn counted(contexts: &Contexts) -> Vec<bool> {
    contexts.origin.iter().map(Option::is_some).collect()
}

/// Runs the model over the documents as it is, with zeros and with the mean, and with every dictionary.
///
/// # Errors
/// As [`batches`]; a model that fails on them; a stop that was asked for.
pub fn over_contexts(
    setting: &Setting<'_>,
    documents: Vec<(u32, Vec<u32>)>,
    by_document: &mut [ByDocument],
    progress: &mut dyn Progress,
) -> Result<ContextPass> {
    let total: usize = documents.iter().map(|(_, tokens)| tokens.len()).sum();
    let mut pass =
        ContextPass { own: vec![Behaviour::default(); setting.dictionaries.len()], ..ContextPass::default() };
    progress.begin("evaluate", Some(total as u64), "tokens");
    let mut done = 0;
    for contexts in batches(setting.model, documents, setting.context_length)? {
        let contexts = contexts?;
        done += contexts.origin.iter().flatten().count() as u64;
        batch(setting, &contexts, &mut pass, by_document, progress)?;
        progress.advance(done, "");
    }
    let recovered = match pass.own.as_slice() {
        [alone] => alone.clone().with_shared(&pass.shared).figures().and_then(|f| f.loss_recovered),
        _ => None,
    };
    progress.end(&match recovered {
        Some(share) => format!("loss recovered {share:.4}"),
        None => format!("{done} tokens"),
    });
    Ok(pass)
}

fn batch(
    setting: &Setting<'_>,
    contexts: &Contexts,
    pass: &mut ContextPass,
    by_document: &mut [ByDocument],
    progress: &mut dyn Progress,
) -> Result<()> {
    let counted = counted(contexts);
    let decoder = setting.model.decoder();
    let (hook, width, limit) = (setting.hook, setting.mean.len(), setting.limit);
    let tap = |splice| SpliceAt { hook, width, contexts, limit, splice, seen: None };
    let mut watching = tap(Splice::Watch(&mut pass.energy));
    let clean = decoder.residual(contexts, decoder.config().num_hidden_layers, &mut watching)?;
    let seen = watching.seen.take();
    let with = |splice| replaced(setting.model, &mut tap(splice), seen.as_ref());
    let zeros = vec![0.0; width];
    let constants = [Replacement::Zero, Replacement::Mean];
    let others = [with(Splice::Constant(&zeros))?, with(Splice::Constant(setting.mean))?];
    pass.shared.add(&decoder.compare(&clean, &others, contexts)?, &constants, &counted);
    let own = pass.own.chunks_mut(TOGETHER).zip(by_document.chunks_mut(TOGETHER));
    for (dictionaries, (own, by_document)) in setting.dictionaries.chunks(TOGETHER).zip(own) {
        let mut others = Vec::new();
        for dictionary in dictionaries {
            others.push(with(Splice::Reconstruct(*dictionary))?);
            stop(progress)?;
        }
        let compared = decoder.compare(&clean, &others, contexts)?;
        for ((own, by_document), other) in own.iter_mut().zip(by_document).zip(compared.others) {
            let alone = Compared { clean: compared.clean.clone(), others: vec![other] };
            own.add(&alone, &[Replacement::Reconstruction], &counted);
            by_document.add_predictions(contexts, &alone, &counted);
        }
    }
    Ok(())
}

/// The final residual stream with a replacement at the hook. What comes before the hook is as it was: where the hook's value is the whole
/// stream, only the blocks after it run.
///
/// # Errors
/// A hook of a different width; a model that fails.
pub fn replaced(model: &LanguageModel, tap: &mut SpliceAt<'_>, seen: Option<&Tensor>) -> Result<Tensor> {
    let (decoder, contexts, hook) = (model.decoder(), tap.contexts, tap.hook);
    let layers = decoder.config().num_hidden_layers;
    match (hook.enters(decoder.config()), seen) {
        (Some(first), Some(value)) => {
            let new = tap.at(&hook, value)?.unwrap_or_else(|| value.clone());
            decoder.through(new, first..layers, contexts, &mut NoTap)
        }
        _ => decoder.residual(contexts, layers, tap),
    }
}

/// The model must compute what the dataset holds, or its loss says nothing about this dictionary.
///
/// # Errors
/// Mean squared norms that differ, with both.
pub fn check_energy(of_model: Energy, of_data: f64, hook: Hook) -> Result<()> {
    let of_model = of_model.sum / (of_model.tokens.max(1)) as f64;
    if (of_model - of_data).abs() <= ENERGY_TOLERANCE * of_data.max(f64::MIN_POSITIVE) {
        return Ok(());
    }
    Err(Error::data(format!(
        "at {hook} the model's activations have mean squared norm {of_model:.6}, the dataset's {of_data:.6}; expected the \
         same"
    ))
    .with_remedy("give the model that the dataset was made with (--model), or harvest again"))
}
