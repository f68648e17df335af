//! How good a dictionary is, on documents that it was not trained on.
//!
//! ```text
//! held-out rows of the dataset ── encode, decode ──▶ Reconstruction: FVE, L0, dead, cosine, shrinkage
//!              └── documents' tokens ── contexts ── model ──▶ Behaviour: cross-entropy and KL with x̂, 0 or the mean
//!                                                             in the place of the activations
//! ```

mod behaviour;
mod by_document;
mod cett;
pub(crate) mod controls;
mod geometry;
mod layers;
pub(crate) mod passes;
mod pca;
pub(crate) mod pruned;
mod reconstruction;
mod report;
mod splice;
mod stand_in;
#[cfg(test)]
mod tests;
mod threshold;
mod together;
pub(crate) mod training;
mod transcoder;

use std::path::{Path, PathBuf};

use storage::{Dataset, Manifest};

pub use behaviour::{Behaviour, BehaviourFigures, Replacement};
pub use cett::{PERCENTS, cett};
pub use layers::{is_cross_layer, layers};
pub use pca::Pca;
pub use reconstruction::{Figures, QUANTILES, Reconstruction};
pub(crate) use splice::is_within;
pub use splice::{Energy, Splice, SpliceAt};
pub use storage::evaluation::{
    BY_THRESHOLD, Baseline, BaselineEvaluation, EvaluatedDocumentRow, Evaluation, FORMAT, PRUNED, RECODED,
};
pub use together::{TogetherEvaluation, data_of, together};

use crate::dictionary::recode::{self, Coding};
use crate::dictionary::{Coder, Dictionary, Finish, Selection};
use crate::rows::{Choice, ModelChoice, Subject, choose, documents, is_run, load_model};
use crate::{Error, Progress, Result};
use by_document::ByDocument;
use lm::model::{Compute, Hook, LanguageModel};
use passes::{Setting, View, check_energy, over_contexts, over_rows};

/// How to evaluate.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Dataset; the one that the run was trained on when `None`.
    pub data: Option<PathBuf>,
    /// The model that the dictionary is spliced into.
    pub model: ModelChoice,
    /// In what numbers the model multiplies; those that made the dataset when `None`.
    pub compute: Option<Compute>,
    /// Tokens at most, in whole documents drawn by `seed`; all when `None`.
    pub tokens: Option<u64>,
    /// Rows encoded at a time.
    pub batch: usize,
    /// Also documents that were trained on.
    pub all_documents: bool,
    /// Seed of the choice of documents.
    pub seed: u64,
    /// Norm of an activation above which tokens are left out; the lowest limit that the runs were trained with when `None`.
    pub norm_limit: Option<f32>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            data: None,
            model: ModelChoice::OfTheData,
            compute: None,
            tokens: None,
            batch: 8192,
            all_documents: false,
            seed: 0,
            norm_limit: None,
        }
    }
}

impl EvaluateOptions {
    /// The model, if there is to be one.
    pub(crate) fn load_model(&self, manifest: &Manifest) -> Result<Option<LanguageModel>> {
        let mut model = load_model(&self.model, manifest)?;
        if let (Some(model), Some(compute)) = (&mut model, self.compute) {
            model.set_compute(compute);
        }
        Ok(model)
    }
}

/// Evaluates the run in `run_dir` and writes `RUN/evaluation/core.json`. Of a foreign dictionary nothing is written.
///
/// # Errors
/// As [`many`].
pub fn run(run_dir: &Path, options: &EvaluateOptions, progress: &mut dyn Progress) -> Result<Evaluation> {
    let measured = many(&[run_dir.to_owned()], Extras::default(), options, progress)?;
    measured.runs.into_iter().next().ok_or_else(|| Error::request("there is no run to evaluate"))
}

/// What [`many`] measured.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Of each run.
    pub runs: Vec<Evaluation>,
    /// The documents of each run's evaluation; none of a transcoder.
    pub documents: Vec<Vec<EvaluatedDocumentRow>>,
    /// Of each run that takes the k best of a token, with one threshold instead; `None` for the others, and if it was not asked for.
    pub by_threshold: Vec<Option<WithDocuments>>,
    /// Of each run, with leave-one-out pruning; empty if it was not asked for.
    pub pruned: Vec<WithDocuments>,
    /// Of each run, with codes that were searched for; empty if it was not asked for.
    pub recoded: Vec<WithDocuments>,
    /// Of the baselines.
    pub baselines: Vec<BaselineEvaluation>,
    /// Their documents.
    pub baseline_documents: Vec<Vec<EvaluatedDocumentRow>>,
}

/// An evaluation with what it found on each document.
pub type WithDocuments = (Evaluation, Vec<EvaluatedDocumentRow>);

/// What is measured besides the runs themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Principal components with so many numbers per token.
    pub pca: &'a [usize],
    /// The controls that are computed, for dictionaries of so many features and so many active ones per token: the activation's own
    /// dimensions, random rows, and the first run with its decoder rows permuted.
    pub controls: &'a [(usize, usize)],
    /// Runs that take the k best of a token, selecting by one threshold with the same L0 instead; kept in
    /// `RUN/evaluation/threshold.json`.
    pub threshold: bool,
    /// Runs with leave-one-out pruning, below so many medians of their codes; kept in `RUN/evaluation/pruned.json`.
    pub prune: Option<f64>,
    /// Runs with codes that are searched for from their own; kept in `RUN/evaluation/recoded.json`.
    pub recode: Option<Coding>,
}

/// Evaluates several runs on the same documents: rows are read once, and the model runs once as it is, with zeros and with the mean,
/// then once for every dictionary. Writes `RUN/evaluation/core.json` of each that is a run.
///
/// The runs must have one dataset. Where training left rows out because of their norm, the lowest limit holds for all of them.
///
/// # Errors
/// A run, dataset or model that cannot be read; runs of several datasets; PCA of a transcoder; a model that
/// does not compute what the dataset holds; a reconstruction that is not finite; a stop that was asked for.
pub fn many(
    runs: &[PathBuf],
    extras: Extras<'_>,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<Measured> {
    let subjects = runs.iter().map(|run| Subject::open(run, options.data.as_deref()));
    let subjects = subjects.collect::<Result<Vec<_>>>()?;
    let Some(first) = subjects.first() else { return Ok(Measured::default()) };
    let dataset = &first.dataset;
    if let Some(other) = subjects.iter().find(|subject| subject.dataset.dir() != dataset.dir()) {
        return Err(Error::request(format!(
            "runs of {} and {} cannot be measured in one pass",
            dataset.dir().display(),
            other.dataset.dir().display()
        ))
        .with_remedy("evaluate them one by one"));
    }
    // All on the same tokens: a row that any of them left out of training is left out.
    let limits = subjects.iter().filter_map(|subject| subject.norm_limit);
    let limit = options.norm_limit.or_else(|| limits.reduce(f32::min));
    let mut baselines = Vec::new();
    let computed = !extras.pca.is_empty() || !extras.controls.is_empty();
    if computed && subjects.iter().any(|subject| subject.dictionary.target.is_some()) {
        return Err(Error::request(
            "principal components and other controls of a transcoder's input say nothing about its target",
        )
        .with_remedy("leave --pca out"));
    }
    if computed {
        let (fitted, sample) = Pca::fit(dataset, limit, options.seed, progress)?;
        for &k in extras.pca {
            baselines.extend(Baseline::PCA.map(|baseline| (baseline, k, fitted.dictionary(baseline, k))));
        }
        baselines.extend(computed_controls(extras.controls, &fitted, &sample, first, options.seed));
    }
    let mut thresholds = Vec::new();
    for subject in subjects.iter().filter(|_| extras.threshold) {
        let dictionary = &subject.dictionary;
        thresholds.push(threshold::by_threshold(dictionary, dataset, limit, options.seed, progress)?);
    }
    let mut pruned = Vec::new();
    for subject in subjects.iter().filter(|_| extras.prune.is_some()) {
        let multiple = extras.prune.unwrap_or_default();
        pruned.push(pruned::coder(&subject.dictionary, dataset, multiple, limit, options.seed)?);
    }
    let mut recoders = Vec::new();
    for (subject, coding) in subjects.iter().filter_map(|subject| Some((subject, extras.recode?))) {
        let how = (coding, recode::ITERATIONS);
        recoders.push(training::recoder(&subject.dictionary, dataset, how, limit, options.seed)?);
    }
    let recoded = subjects.iter().zip(&recoders);
    let recoded = recoded.map(|(subject, recoder)| Coder {
        dictionary: &subject.dictionary,
        finish: Finish::Recoded(recoder),
    });
    let dictionaries: Vec<Coder<'_>> = subjects
        .iter()
        .map(|subject| &subject.dictionary)
        .chain(thresholds.iter().flatten())
        .chain(baselines.iter().map(|(.., dictionary)| dictionary))
        .map(Coder::from)
        .chain(pruned)
        .chain(recoded)
        .collect();
    let mut measured = measure(dataset, &dictionaries, limit, options, progress)?;
    let mut found = Measured::default();
    for (evaluated, (subject, run)) in
        measured.split_off(measured.len() - recoders.len()).into_iter().zip(subjects.iter().zip(runs))
    {
        found.recoded.push(keep(subject, run, RECODED, evaluated)?);
    }
    let first_pruned = measured.len() - if extras.prune.is_some() { subjects.len() } else { 0 };
    for (evaluated, (subject, run)) in
        measured.split_off(first_pruned).into_iter().zip(subjects.iter().zip(runs))
    {
        found.pruned.push(keep(subject, run, PRUNED, evaluated)?);
    }
    let mut others = measured.split_off(subjects.len()).into_iter();
    for (dictionary, (subject, run)) in thresholds.iter().zip(subjects.iter().zip(runs)) {
        let evaluated = match dictionary.as_ref().and_then(|_| others.next()) {
            Some(evaluated) => Some(keep(subject, run, BY_THRESHOLD, evaluated)?),
            None => None,
        };
        found.by_threshold.push(evaluated);
    }
    for ((evaluated, subject), run) in measured.into_iter().zip(&subjects).zip(runs) {
        let (evaluation, documents) = keep(subject, run, storage::evaluation::CORE, evaluated)?;
        found.runs.push(evaluation);
        found.documents.push(documents);
    }
    for ((baseline, k, _), (evaluation, documents)) in baselines.into_iter().zip(others) {
        found.baselines.push(BaselineEvaluation { baseline, k, evaluation });
        found.baseline_documents.push(documents);
    }
    Ok(found)
}

/// The controls for dictionaries of `shapes` (features, active ones per token), and `first` with its decoder permuted.
fn computed_controls(
    shapes: &[(usize, usize)],
    fitted: &Pca,
    sample: &[f32],
    first: &Subject,
    seed: u64,
) -> Vec<(Baseline, usize, Dictionary)> {
    let mut made = Vec::new();
    let mut budgets: Vec<usize> = shapes.iter().map(|&(_, k)| k).collect();
    budgets.sort_unstable();
    budgets.dedup();
    for k in budgets {
        made.push((Baseline::RawLargest, k, controls::raw_largest(&fitted.mean, k)));
    }
    for &(features, k) in shapes {
        made.push((Baseline::RandomRows, k, controls::random_rows(&fitted.mean, sample, features, k, seed)));
    }
    if let (false, Selection::TopK(k)) = (shapes.is_empty(), &first.dictionary.selection) {
        made.push((Baseline::PermutedDecoder, *k, controls::permuted(&first.dictionary, seed)));
    }
    made
}

/// Notes which dictionary it is, and writes the evaluation where it belongs if that is a run.
fn keep(
    subject: &Subject,
    run: &Path,
    name: &str,
    (mut evaluation, documents): WithDocuments,
) -> Result<WithDocuments> {
    evaluation.dictionary_sha256.clone_from(&subject.dictionary_sha256);
    if subject.is_run {
        // The documents first: an evaluation without them would be measured again.
        storage::evaluation::write_documents(run, name, &documents)?;
        evaluation.write(run, name)?;
    }
    Ok((evaluation, documents))
}

/// Evaluates the run in `run_dir` and what else is wanted: `pca` with as many numbers per token as the run has features, kept in
/// `RUN/evaluation/pca.json`, and what `extras` asks for.
///
/// # Errors
/// As [`many`].
pub fn run_with_extras(
    run_dir: &Path,
    pca: bool,
    extras: Extras<'_>,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<Measured> {
    let mut numbers = Vec::new();
    if pca {
        // How many that are is known after its own evaluation alone, where a penalty or thresholds decide.
        let alone = EvaluateOptions { model: ModelChoice::Without, ..options.clone() };
        let evaluation = run(run_dir, &alone, progress)?;
        numbers.push((evaluation.l0.round() as usize).max(1));
    }
    let extras = Extras { pca: &numbers, ..extras };
    let measured = many(&[run_dir.to_owned()], extras, options, progress)?;
    if pca && is_run(run_dir) {
        storage::evaluation::write_baselines(run_dir, &measured.baselines)?;
    }
    Ok(measured)
}

/// Measures dictionaries of one width on the chosen documents of `dataset`; transcoders one by one.
fn measure(
    dataset: &Dataset,
    dictionaries: &[Coder<'_>],
    limit: Option<f32>,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<WithDocuments>> {
    if dictionaries.iter().all(|coder| coder.dictionary.target.is_none()) {
        return measure_together(dataset, dictionaries, limit, options, progress);
    }
    let mut evaluations = Vec::new();
    for coder in dictionaries {
        evaluations.extend(match coder.dictionary.target {
            // Its target is not in the dataset, so nothing is kept of single documents.
            Some(_) => {
                vec![(transcoder::measure(dataset, coder.dictionary, limit, options, progress)?, Vec::new())]
            }
            None => measure_together(dataset, &[*coder], limit, options, progress)?,
        });
    }
    Ok(evaluations)
}

/// Measures dictionaries that reconstruct their input, in one pass.
fn measure_together(
    dataset: &Dataset,
    dictionaries: &[Coder<'_>],
    limit: Option<f32>,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<WithDocuments>> {
    let model = options.load_model(dataset.manifest())?;
    let choice = choose_documents(dataset, options)?;
    let view = View { dataset, choice: &choice, dictionaries, limit, contexts: model.is_some() };
    let mut pass = over_rows(&view, options.batch, progress)?;
    let mut evaluations = Vec::new();
    for (coder, sums) in dictionaries.iter().zip(&pass.reconstructions) {
        let dictionary = coder.dictionary;
        let figures = sums.figures().ok_or_else(|| Error::data("there are no rows to evaluate"))?;
        let mut evaluation = provenance(dataset, &choice, options);
        evaluation.compute = named_compute(model.as_ref());
        report::add_reconstruction(&mut evaluation, &figures);
        report::add_geometry(&mut evaluation, &geometry::Geometry::of(dictionary));
        (evaluation.d_sae, evaluation.left_out) = (dictionary.d_sae as u64, pass.left_out);
        let energy = pass.left_out_energy + sums.mean_energy() * sums.rows() as f64;
        evaluation.left_out_mass = (energy > 0.0).then(|| pass.left_out_energy / energy);
        evaluation.norm_limit = limit;
        (evaluation.pruned_below, evaluation.recoded) = (coder.pruned_below(), coder.recoded());
        evaluations.push(evaluation);
    }
    let by_document = std::mem::take(&mut pass.by_document);
    let (Some(model), Some(sums)) = (&model, pass.reconstructions.first()) else {
        return Ok(finish(evaluations, by_document));
    };
    let mut by_document = by_document;
    let hook = hook_of(dataset)?;
    let setting = Setting {
        model,
        hook,
        dictionaries,
        limit,
        mean: &sums.mean(),
        context_length: dataset.manifest().context_length,
    };
    let energy = sums.mean_energy();
    let pass = over_contexts(&setting, pass.documents, &mut by_document, progress)?;
    check_energy(pass.energy, energy, hook)?;
    for (evaluation, behaviour) in evaluations.iter_mut().zip(pass.behaviours()) {
        match behaviour.figures() {
            Some(figures) => report::add_behaviour(evaluation, &figures),
            None => {
                progress.remark("no evaluated document has two tokens: there is no prediction to compare");
                break;
            }
        }
    }
    Ok(finish(evaluations, by_document))
}

fn finish(evaluations: Vec<Evaluation>, by_document: Vec<ByDocument>) -> Vec<WithDocuments> {
    evaluations.into_iter().zip(by_document.into_iter().map(ByDocument::rows)).collect()
}

pub(crate) fn choose_documents(dataset: &Dataset, options: &EvaluateOptions) -> Result<Choice> {
    let all = documents(dataset)?;
    let wanted =
        all.into_iter().filter(|(row, _)| options.all_documents || row.held_out).map(|(_, which)| which);
    let choice = choose(&wanted.collect::<Vec<_>>(), options.tokens, options.seed);
    if choice.tokens == 0 {
        return Err(Error::request(format!(
            "{} has no {}",
            dataset.dir().display(),
            if options.all_documents { "rows" } else { "held-out documents" }
        ))
        .with_remedy(
            "harvest a dataset with held-out documents and give it with --data, or evaluate on what the dictionary was trained on \
             with --all-documents",
        ));
    }
    Ok(choice)
}

/// How many tokens `options` choose of `dataset`.
pub(crate) fn chosen_tokens(dataset: &Dataset, options: &EvaluateOptions) -> Result<u64> {
    Ok(choose_documents(dataset, options)?.tokens)
}

pub(crate) fn hook_of(dataset: &Dataset) -> Result<Hook> {
    let named = dataset.manifest().hook.as_deref().ok_or_else(|| {
        Error::request(format!("{} does not say at which hook it was taken", dataset.dir().display()))
    })?;
    named.parse()
}

/// The numbers that the model multiplies in, where they are not those of single precision.
pub(crate) fn named_compute(model: Option<&LanguageModel>) -> Option<String> {
    model.map(LanguageModel::compute).filter(|compute| !compute.is_f32()).map(|compute| compute.to_string())
}

fn provenance(dataset: &Dataset, choice: &Choice, options: &EvaluateOptions) -> Evaluation {
    let manifest = dataset.manifest();
    Evaluation {
        documents: choice.documents,
        split: if options.all_documents { "all" } else { "held-out" }.to_owned(),
        data: dataset.dir().display().to_string(),
        hook: manifest.hook.clone().unwrap_or_default(),
        context_length: manifest.context_length,
        model: manifest.model.id.clone(),
        model_sha256: manifest.model.sha256.clone(),
        seed: options.seed,
        ..Evaluation::new()
    }
}
