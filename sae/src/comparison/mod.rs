//! Methods compared: every finished run of a folder on the same held-out documents, means and spread over seeds, as tables, pictures
//! and a page.
//!
//! ```text
//! runs in FOLDER ── gather ──▶ evaluate (each only once) ──▶ rows ── means ──▶ FOLDER/comparison/ (Parquet, SVG, Markdown)
//!                              + controls that are computed (PCA, raw dimensions, random rows, a permuted decoder)
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `gather` | which runs there are, what a group is: runs that differ in their seed alone |
//! | `means` | figures over seeds |
//! | `bootstrap` | intervals over documents |
//! | `differences` | which groups are apart, and how small a difference could have been seen |
//! | `page` | the tables in Markdown |
//! | `plot` | pictures, as SVG |

mod bootstrap;
mod differences;
mod gather;
mod means;
mod page;
mod plot;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use storage::RunRecord;
use storage::comparison::{ComparisonRow, DifferenceRow, MeanRow};

use crate::evaluate::{
    self, BaselineEvaluation, EvaluateOptions, EvaluatedDocumentRow, Extras, WithDocuments,
};
use crate::{Error, Progress, Result};
use bootstrap::{Draws, Run};
use gather::Candidate;

/// Dictionaries that are measured in one pass: what the model does without any is computed once for all of them, and they are all in
/// memory.
const AT_ONCE: usize = 16;

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct CompareOptions {
    /// How each run is evaluated. The dataset is the one that it was trained on.
    pub evaluate: EvaluateOptions,
    /// Leave out the controls that are computed and not trained.
    pub no_pca: bool,
    /// Where the tables go; `FOLDER/comparison` when `None`.
    pub out: Option<PathBuf>,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Where it was written.
    pub out: PathBuf,
    /// A row per dictionary.
    pub runs: Vec<ComparisonRow>,
    /// A row per figure of a group.
    pub means: Vec<MeanRow>,
    /// A row per pair of groups with one hook and k, and figure.
    pub differences: Vec<DifferenceRow>,
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
    let mut measured = Vec::new();
    for pool in gather::pools(&candidates) {
        let (evaluations, baselines) = evaluate_pool(&candidates, &pool, options, progress)?;
        for (&i, (evaluation, by_threshold)) in pool.iter().zip(evaluations) {
            let (candidate, variant) = (&candidates[i], variants[i].as_str());
            let (row, documents) = (gather::row(candidate, variant, &evaluation.0), evaluation.1);
            measured.push(Run { row, documents });
            measured.extend(by_threshold.map(|(evaluation, documents)| Run {
                row: gather::threshold_row(candidate, variant, &evaluation),
                documents,
            }));
        }
        if let Some(&first) = pool.first() {
            let run = |(baseline, documents)| Run {
                row: gather::baseline_row(&candidates[first], &baseline),
                documents,
            };
            measured.extend(baselines.into_iter().map(run));
        }
    }
    measured.sort_by_key(|run| gather::place(&run.row));
    let (means, differences) = figures(&measured, options.evaluate.seed);
    let rows: Vec<ComparisonRow> = measured.into_iter().map(|run| run.row).collect();
    let out = options.out.clone().unwrap_or_else(|| folder.join("comparison"));
    std::fs::create_dir_all(&out).map_err(|e| Error::io(&out, e))?;
    storage::row::write(&out.join("runs.parquet"), &rows)?;
    storage::row::write(&out.join("means.parquet"), &means)?;
    storage::row::write(&out.join("differences.parquet"), &differences)?;
    let page = page::page(&rows, &means, &differences);
    for (name, text) in plot::pictures(&means)?.into_iter().chain([("comparison.md", page)]) {
        storage::atomic::write(&out.join(name), text.as_bytes())?;
    }
    Ok(Comparison { out, runs: rows, means, differences })
}

/// Means with their intervals, and the differences of all pairs of groups with one hook and k.
fn figures(runs: &[Run], seed: u64) -> (Vec<MeanRow>, Vec<DifferenceRow>) {
    let groups: Vec<&[Run]> = runs.chunk_by(|a, b| means::same_group(&a.row, &b.row)).collect();
    let mut draws: BTreeMap<usize, Option<Draws>> = BTreeMap::new();
    let mut all = Vec::new();
    for group in &groups {
        let documents = group[0].documents.len();
        let draws = draws.entry(documents).or_insert_with(|| Draws::new(documents, seed));
        let rows: Vec<ComparisonRow> = group.iter().map(|run| run.row.clone()).collect();
        let mut means = means::means(&rows);
        for mean in means.iter_mut().filter(|mean| bootstrap::FIGURES.contains(&mean.figure.as_str())) {
            let values = draws.as_ref().and_then(|draws| draws.figure(group, &mean.figure));
            if let Some([low, high]) = values.as_deref().map(bootstrap::interval) {
                (mean.data_low, mean.data_high) = (Some(low), Some(high));
            }
        }
        all.extend(means);
    }
    let mut differences = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        for other in &groups[i + 1..] {
            let (a, b) = (&group[0], &other[0]);
            if (&a.row.hook, a.row.k) != (&b.row.hook, b.row.k) {
                continue;
            }
            // Documents are drawn for both at once, so they must be the same ones.
            let same = a
                .documents
                .iter()
                .map(|d| (d.document, d.tokens))
                .eq(b.documents.iter().map(|d| (d.document, d.tokens)));
            let draws = draws.get(&a.documents.len()).and_then(Option::as_ref).filter(|_| same);
            let of = |figure| differences::difference(group, other, figure, draws);
            differences.extend(differences::COMPARED.into_iter().filter_map(of));
        }
    }
    (all, differences)
}

/// A run's evaluation, and that with one threshold if it takes the k best of a token.
type Evaluated = (WithDocuments, Option<WithDocuments>);

/// The evaluations of runs that have one dataset and limit, and of PCA next to them.
fn evaluate_pool(
    candidates: &[Candidate],
    pool: &[usize],
    options: &CompareOptions,
    progress: &mut dyn Progress,
) -> Result<(Vec<Evaluated>, Vec<(BaselineEvaluation, Vec<EvaluatedDocumentRow>)>)> {
    let mut evaluations: Vec<Option<Evaluated>> = Vec::new();
    let limits = pool.iter().filter_map(|&i| candidates[i].record.norm_limit);
    let limit = limits.reduce(f64::min).map(|limit| limit as f32);
    let evaluate = EvaluateOptions { norm_limit: limit, ..options.evaluate.clone() };
    for &i in pool {
        evaluations.push(candidates[i].evaluation(&evaluate)?);
    }
    let (mut pca, mut controls) = (Vec::new(), Vec::new());
    if !options.no_pca {
        pca = pool.iter().map(|&i| candidates[i].record.k).filter(|&k| k > 0).collect();
        pca.sort_unstable();
        pca.dedup();
        let shape = |record: &RunRecord| (record.d_sae, record.k);
        controls = pool.iter().map(|&i| shape(&candidates[i].record)).filter(|&(_, k)| k > 0).collect();
        controls.sort_unstable();
        controls.dedup();
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
        let extras = match n {
            0 => Extras { pca: &pca, controls: &controls, threshold: true, ..Extras::default() },
            _ => Extras { threshold: true, ..Extras::default() },
        };
        let measured = evaluate::many(&runs, extras, &evaluate, progress)?;
        let own = measured.runs.into_iter().zip(measured.documents).zip(measured.by_threshold);
        for (&place, evaluated) in some.iter().zip(own) {
            evaluations[place] = Some(evaluated);
        }
        baselines.extend(measured.baselines.into_iter().zip(measured.baseline_documents));
    }
    Ok((evaluations.into_iter().flatten().collect(), baselines))
}

#[cfg(test)]
mod tests;
