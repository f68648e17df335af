//! Methods compared: every finished run of a folder on the same held-out documents, means and spread over seeds, as tables, pictures
//! and a page.
//!
//! ```text
//! runs in FOLDER ── gather ──▶ evaluate (each only once) ──▶ rows ── means ──▶ FOLDER/comparison/ (Parquet, SVG, Markdown)
//!                              + PCA with as many numbers
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `gather` | which runs there are, what a group is: runs that differ in their seed alone |
//! | `means` | figures over seeds |
//! | `page` | the tables in Markdown |
//! | `plot` | pictures, as SVG |

mod gather;
mod means;
mod page;
mod plot;

use std::path::{Path, PathBuf};

use storage::comparison::{ComparisonRow, MeanRow};

use crate::evaluate::{self, BaselineEvaluation, Beside, EvaluateOptions, Evaluation};
use crate::{Error, Progress, Result};
use gather::Candidate;

/// Dictionaries that are measured in one pass: what the model does without any is computed once for all of them, and they are all in
/// memory.
const AT_ONCE: usize = 16;

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct CompareOptions {
    /// How each run is evaluated. The dataset is the one that it was trained on.
    pub evaluate: EvaluateOptions,
    /// Leave out the baselines that are computed and not trained.
    pub no_pca: bool,
    /// Where the tables go; `FOLDER/comparison` when `None`.
    pub out: Option<PathBuf>,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Where it was written.
    pub out: PathBuf,
    /// A row a dictionary.
    pub runs: Vec<ComparisonRow>,
    /// A row a figure of a group.
    pub means: Vec<MeanRow>,
}

/// Compares the finished runs in `folder`.
///
/// Runs that were evaluated on the same documents before are not evaluated again, so an interrupted comparison resumes where it was.
///
/// # Errors
/// No finished run in `folder`; a run, its dataset or its model that cannot be read; files that cannot be
/// written. A stop that was asked for; evaluations that are done stay.
pub fn run(folder: &Path, options: &CompareOptions, progress: &mut dyn Progress) -> Result<Comparison> {
    let (candidates, unfinished) = gather::find(folder)?;
    if !unfinished.is_empty() {
        progress.remark(&format!(
            "{} runs are left out, because they are not finished or were imported: {}",
            unfinished.len(),
            unfinished.join(", ")
        ));
    }
    if candidates.is_empty() {
        return Err(Error::request(format!(
            "{} holds no finished run; train some first: sae train --config sweep.toml --out {}",
            folder.display(),
            folder.display()
        )));
    }
    let variants = gather::variants(&candidates)?;
    let mut rows = Vec::new();
    for pool in gather::pools(&candidates) {
        let (evaluations, baselines) = evaluate_pool(&candidates, &pool, options, progress)?;
        for (&i, (evaluation, by_threshold)) in pool.iter().zip(&evaluations) {
            let (candidate, variant) = (&candidates[i], variants[i].as_str());
            rows.push(gather::row(candidate, variant, evaluation));
            rows.extend(by_threshold.iter().map(|e| gather::threshold_row(candidate, variant, e)));
        }
        if let Some(&first) = pool.first() {
            rows.extend(baselines.iter().map(|baseline| gather::baseline_row(&candidates[first], baseline)));
        }
    }
    rows.sort_by_key(gather::place);
    let means = means::means(&rows);
    let out = options.out.clone().unwrap_or_else(|| folder.join("comparison"));
    std::fs::create_dir_all(&out).map_err(|e| Error::io(&out, e))?;
    storage::row::write(&out.join("runs.parquet"), &rows)?;
    storage::row::write(&out.join("means.parquet"), &means)?;
    for (name, text) in
        plot::pictures(&means)?.into_iter().chain([("comparison.md", page::page(&rows, &means))])
    {
        storage::atomic::write(&out.join(name), text.as_bytes())?;
    }
    Ok(Comparison { out, runs: rows, means })
}

/// A run's evaluation, and that with one threshold if it takes the k best of a token.
type Evaluated = (Evaluation, Option<Evaluation>);

/// The evaluations of runs that have one dataset and limit, and of PCA next to them.
fn evaluate_pool(
    candidates: &[Candidate],
    pool: &[usize],
    options: &CompareOptions,
    progress: &mut dyn Progress,
) -> Result<(Vec<Evaluated>, Vec<BaselineEvaluation>)> {
    let mut evaluations: Vec<Option<Evaluated>> = Vec::new();
    let limits = pool.iter().filter_map(|&i| candidates[i].record.norm_limit);
    let limit = limits.reduce(f64::min).map(|limit| limit as f32);
    let evaluate = EvaluateOptions { norm_limit: limit, ..options.evaluate.clone() };
    for &i in pool {
        evaluations.push(candidates[i].evaluation(&evaluate)?);
    }
    let mut pca = Vec::new();
    if !options.no_pca {
        pca = pool.iter().map(|&i| candidates[i].record.k).filter(|&k| k > 0).collect();
        pca.sort_unstable();
        pca.dedup();
    }
    // Baselines need one run with them, to know the data: the first is measured again.
    let missing = |(place, evaluation): (usize, &Option<Evaluated>)| {
        (evaluation.is_none() || place == 0 && !pca.is_empty()).then_some(place)
    };
    let places: Vec<usize> = evaluations.iter().enumerate().filter_map(missing).collect();
    let mut baselines = Vec::new();
    for (n, some) in places.chunks(AT_ONCE).enumerate() {
        progress.remark(&format!(
            "evaluating runs {} to {} of {}",
            n * AT_ONCE + 1,
            n * AT_ONCE + some.len(),
            places.len()
        ));
        let runs: Vec<PathBuf> = some.iter().map(|&place| candidates[pool[place]].path.clone()).collect();
        let beside = Beside { pca: if n == 0 { &pca } else { &[] }, threshold: true };
        let measured = evaluate::many(&runs, beside, &evaluate, progress)?;
        for (&place, evaluated) in some.iter().zip(measured.runs.into_iter().zip(measured.by_threshold)) {
            evaluations[place] = Some(evaluated);
        }
        baselines.extend(measured.baselines);
    }
    Ok((evaluations.into_iter().flatten().collect(), baselines))
}

#[cfg(test)]
mod tests;
