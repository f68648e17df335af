//! Principled evaluations (Makelov, Lange and Nanda, ICLR 2025): what a dictionary is worth for a task whose attributes are known.
//!
//! ```text
//! task file ─▶ prompts: train │ test (no combination of values in both) ─▶ the same with one attribute changed
//!                 │                 └─ activation patching at every position ─▶ where to look
//!                 ├─▶ supervised dictionary: E[a] + Σ u, by conditional means         (the ceiling)
//!                 └─▶ the run's dictionary, random rows, permuted decoder ─┬─▶ sufficiency, necessity
//!                                                                          ├─▶ edits of at most k features
//!                                                                          └─▶ F1 of features with values
//! ```
//!
//! Everything is measured at one position of the prompts, at the dictionary's hook: the one at which putting in the values of changed
//! prompts moves the answer most, unless a different one is asked for. The last token before the answer and the names' own tokens
//! are positions.
//!
//! - *Sufficiency*: the mean logit difference with the reconstruction in place, as a share of the untouched one.
//! - *Necessity*: with m the mean over the train prompts, `1 − |LD(m) − LD(m + (a − â))| / |LD(m) − LD(a)|`.
//! - *Sparse controllability*: for a prompt and the same with one attribute changed, at most k features' values are exchanged, chosen
//!   greedily to bring the true activation (not its reconstruction) nearest to that of the changed prompt. The edit agrees if the likeliest
//!   token is that under the true exchange. The supervised edit takes one value's direction out and puts the other's in.
//! - *Interpretability*: for every value the feature of largest F1 on the train prompts, scored on the test prompts. Features with an
//!   F1 of ½ or more per value tell over-splitting; the norms of the supervised directions tell what may be occluded.

mod bench;
mod candidates;
mod edits;
mod figures;
mod file;
mod labels;
mod measure;
mod prompts;
mod sites;
mod supervised;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use file::TaskFile;
pub use storage::task::TaskRecord;

use bench::{Bench, Prediction, stop};
use lm::model::{Hook, LanguageModel};
use measure::{Measure, Seen};
use prompts::{Maker, Prompt, Split};
use storage::Manifest;
use storage::task::{FORMAT, VERSION};

use crate::rows::{ModelChoice, Subject, load_model};
use crate::{Error, Progress, Result};

/// How to evaluate on a task.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// `ioi`, or the path of a task's file.
    pub task: String,
    /// Dataset that says where the model is; that of the run when `None`.
    pub data: Option<PathBuf>,
    /// The model.
    pub model: ModelChoice,
    /// Prompts that supervised dictionaries and labels are made from.
    pub train: usize,
    /// Prompts that everything is measured on.
    pub test: usize,
    /// Position to look at; the one with the largest effect when `None`.
    pub position: Option<String>,
    /// Also patch the residual stream after every block, to find hooks that are worth a dictionary.
    pub sites: bool,
    /// Also write the train prompts here, a JSON line each, for a harvest that a dictionary of this task is trained on.
    pub prompts: Option<PathBuf>,
    /// Also measure random rows and the run's rows in a different order.
    pub controls: bool,
    /// Seed of the prompts and controls.
    pub seed: u64,
}

impl TaskOptions {
    /// What is used where nothing else is asked for.
    pub fn new(task: impl Into<String>) -> Self {
        Self {
            task: task.into(),
            data: None,
            model: ModelChoice::OfTheData,
            train: 600,
            test: 100,
            position: None,
            sites: false,
            prompts: None,
            controls: true,
            seed: 0,
        }
    }
}

/// Evaluates the run or foreign dictionary at `path` on a task. Of a run the result is kept in `RUN/evaluation/task-NAME.json`.
///
/// # Errors
/// A file that is not a task; a transcoder; a dictionary, dataset or model that cannot be read or do not belong together; a model whose
/// tokenizer cuts the task's values; a position that is not there; [`Error::Stopped`].
pub fn run(path: &Path, options: &TaskOptions, progress: &mut dyn Progress) -> Result<TaskRecord> {
    Ok(run_all(&[path.to_owned()], options, progress)?.remove(0))
}

/// Evaluates several dictionaries of one hook on a task, as [`run`] does each: the model reads the prompts once for all of them. Every
/// result is kept when it is there.
///
/// # Errors
/// As [`run`]; no path at all; dictionaries of different hooks or models.
pub fn run_all(
    paths: &[PathBuf],
    options: &TaskOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<TaskRecord>> {
    if options.train < 2 || options.test < 2 {
        return Err(Error::request(
            "a task needs two prompts or more to learn from, and two to be measured on",
        ));
    }
    let first = paths.first().ok_or_else(|| Error::request("a task needs a dictionary to be measured"))?;
    let file = TaskFile::open(&options.task)?;
    let subject = Subject::open(first, options.data.as_deref())?;
    let manifest = subject.dataset.manifest();
    // Each is opened again when it is measured, so that what does not fit is refused before the model runs, and one is in memory at a time.
    for path in paths {
        fits(path, first, manifest, &Subject::open(path, options.data.as_deref())?)?;
    }
    let model = load_model(&options.model, manifest)?.ok_or_else(|| {
        Error::request("a task is a model's, and there is no model")
            .with_remedy("name the model with --model")
    })?;
    let hook: Hook = manifest.hook.clone().unwrap_or_default().parse()?;
    let maker = Maker::new(&file, model.tokenizer(), options.seed)?;
    let (train, test) = prompts(&maker, &file, options, progress)?;
    let bench = Bench::new(&model, hook, &test, &mut |_| stop(progress))?;
    if bench.width != subject.dictionary.d_in {
        return Err(Error::request(format!(
            "{hook} of this model has width {}, the dictionary takes {}",
            bench.width, subject.dictionary.d_in
        )));
    }
    let clean = bench.clean(progress)?;
    let accuracy = accuracy(&clean, progress);
    let logit_difference = clean.iter().map(|p| p.difference).sum::<f64>() / clean.len() as f64;
    let sites = sites::sites(&model, &sites::wanted(&model, hook, options.sites), &maker, &test, progress)?;
    let position = sites::position(&sites, hook, &maker, options.position.as_deref())?;
    let changed = changed(&maker, &test)?;
    let (changed, made_from) = read(&model, (hook, position), &changed, &train, progress)?;
    let seen = Seen { clean, own: bench.activations(position)?, changed, made_from };
    let measure = Measure::new(&bench, &maker, position, [&train, &test], seen, progress)?;
    let ceiling = measure.ceiling(progress)?;
    let each = if options.controls { 3 } else { 1 };
    progress.begin("task", Some((paths.len() * each) as u64), "dictionaries");
    let (mut records, mut done) = (Vec::new(), 0);
    for path in paths {
        let subject = Subject::open(path, options.data.as_deref())?;
        let record = TaskRecord {
            format: FORMAT.to_owned(),
            version: VERSION,
            task: file.name.clone(),
            model: model.id().to_owned(),
            model_sha256: model.sha256().to_owned(),
            hook: hook.to_string(),
            dictionary_sha256: subject.dictionary_sha256.clone(),
            seed: options.seed,
            train_prompts: train.len() as u64,
            test_prompts: test.len() as u64,
            accuracy,
            logit_difference,
            position: maker.positions[position].clone(),
            sites: sites.clone(),
            results: measure.all(&subject.dictionary, &ceiling, options, progress, &mut done)?,
        };
        if subject.is_run {
            record.write(path)?;
        }
        records.push(record);
    }
    progress.end(&format!("{done} dictionaries"));
    Ok(records)
}

/// The activations at a position of the changed prompts, attribute by attribute, and of the train prompts.
fn read(
    model: &LanguageModel,
    (hook, position): (Hook, usize),
    changed: &[Vec<Prompt>],
    train: &[Prompt],
    progress: &mut dyn Progress,
) -> Result<(Vec<Vec<f32>>, Vec<f32>)> {
    let total = train.len() + changed.iter().map(Vec::len).sum::<usize>();
    progress.begin("prompts", Some(total as u64), "prompts");
    let mut done = 0;
    let mut activations = |prompts: &[Prompt]| -> Result<Vec<f32>> {
        let mut count = |n: usize| {
            done += n as u64;
            progress.advance(done, "");
            stop(progress)
        };
        Bench::new(model, hook, prompts, &mut count)?.activations(position)
    };
    let changed = changed.iter().map(|prompts| activations(prompts)).collect::<Result<_>>()?;
    let train = activations(train)?;
    progress.end(&format!("{total} prompts"));
    Ok((changed, train))
}

/// That a dictionary can be measured on a task, next to the first of them.
fn fits(path: &Path, first: &Path, manifest: &Manifest, subject: &Subject) -> Result<()> {
    let dictionary = &subject.dictionary;
    dictionary.needs_its_input("a task")?;
    if dictionary.target.is_some() {
        return Err(Error::request("a transcoder is not evaluated on tasks; give a dictionary"));
    }
    let about = |manifest: &Manifest| {
        (manifest.hook.clone().unwrap_or_default(), manifest.model.sha256.clone(), manifest.d_model)
    };
    let (one, other) = (about(manifest), about(subject.dataset.manifest()));
    if one != other {
        return Err(Error::request(format!(
            "{} is of {} and {} is of {}, not of the same hook of the same model",
            first.display(),
            one.0,
            path.display(),
            other.0
        ))
        .with_remedy("evaluate them in commands of their own"));
    }
    Ok(())
}

/// The prompts to learn from and to measure on; the former are also written where that is asked for.
fn prompts(
    maker: &Maker<'_>,
    file: &TaskFile,
    options: &TaskOptions,
    progress: &mut dyn Progress,
) -> Result<(Vec<Prompt>, Vec<Prompt>)> {
    if maker.left_out > 0 {
        progress.remark(&format!(
            "{} values of `{}` and `{}` are left out: they are several tokens of this model",
            maker.left_out, file.answer, file.instead
        ));
    }
    let train = maker.prompts(Split::Train, options.train)?;
    if let Some(path) = &options.prompts {
        let lines = train.iter().map(|prompt| serde_json::json!({ "text": prompt.text }).to_string() + "\n");
        storage::atomic::write(path, lines.collect::<String>().as_bytes())?;
    }
    Ok((train, maker.prompts(Split::Test, options.test)?))
}

/// The share of prompts that the untouched model solves; a remark where that is little.
fn accuracy(clean: &[Prediction], progress: &mut dyn Progress) -> f64 {
    let right = clean.iter().filter(|p| p.difference > 0.0).count();
    if right * 10 < 8 * clean.len() {
        progress.remark(&format!(
            "the model solves {right} of {} prompts: what it does not do cannot be found in it",
            clean.len()
        ));
    }
    right as f64 / clean.len() as f64
}

/// The prompts with each attribute changed; what counts as the answer stays.
fn changed(maker: &Maker<'_>, prompts: &[Prompt]) -> Result<Vec<Vec<Prompt>>> {
    let one = |attribute: usize| {
        let change = |(number, prompt): (usize, &Prompt)| {
            let other = maker.changed(prompt, attribute, number as u64)?;
            Ok(Prompt { answers: prompt.answers, ..other })
        };
        prompts.iter().enumerate().map(change).collect()
    };
    (0..maker.attributes.len()).map(one).collect()
}
