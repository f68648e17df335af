//! Tokens that are like a token, by the features that they share and by their activations, and how far the two agree
//! (`storage::similar` has the measures and the passes).
//!
//! ```text
//! run's codes by token ──▶ nearest by shared features ─┐
//! dataset's activations ─▶ nearest by cosine ──────────┴▶ overlap of the lists, rank correlation
//! ```

mod context;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use arrow::datatypes::UInt32Type;
use serde::Serialize;
use storage::schema::{DOCUMENT, POSITION};
use storage::similar::{self as measures, Near, Overlap, Query, SimilarTokens};
use storage::{Dataset, Run, TableReader, column};

use crate::rows::{dataset_of, must_be_run};
use crate::{Error, Progress, Result};
use context::Contexts;
use kernels::chance::{Purpose, below, generator};

/// Tokens on which rank correlations are measured, at most.
const RANKED: u64 = 1 << 20;
/// Of how many queries at a time codes and cosines of ranked tokens are kept, at most, times [`RANKED`].
const RANKED_OF_MANY: u64 = 1 << 23;

/// What is looked for.
#[derive(Debug, Clone)]
pub struct SimilarOptions {
    /// The dataset; by default the one that the run was indexed on.
    pub data: Option<PathBuf>,
    /// Neighbours of each list.
    pub k: usize,
    /// Whether the decoder's bias, which the encoder subtracts, is subtracted from activations before their cosine.
    pub centre: bool,
    /// Tokens shown before a neighbour.
    pub before: u32,
}

/// A token near another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimilarToken {
    /// Its document.
    pub document: u32,
    /// Its position there.
    pub position: u32,
    /// By the list's measure.
    pub score: f64,
    /// Whether it is in the list of the other kind, too.
    pub in_both: bool,
    /// The text before it; empty where rows are not tokens.
    pub before: String,
    /// Its own text.
    pub token: String,
}

/// How far two lists agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AgreementOf {
    /// How codes are compared: `shared`, `jaccard` or `weighted`.
    pub by: &'static str,
    /// Share of the k nearest by activation that are among the k nearest by codes.
    pub overlap: Option<f64>,
    /// Rank correlation with the cosine.
    pub spearman: Option<f64>,
}

/// What is near one token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimilarTo {
    /// The token itself.
    pub token: SimilarToken,
    /// Features that fire on it.
    pub features: usize,
    /// The nearest by number of shared features.
    pub by_shared: Vec<SimilarToken>,
    /// By Jaccard.
    pub by_jaccard: Vec<SimilarToken>,
    /// By weighted Jaccard.
    pub by_weighted: Vec<SimilarToken>,
    /// By cosine of activations.
    pub by_activation: Vec<SimilarToken>,
    /// How far they agree.
    pub agreement: Vec<AgreementOf>,
    /// Tokens that were looked at.
    pub tokens: u64,
}

/// How far codes and activations agree about neighbours, over many tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeanAgreement {
    /// How codes are compared.
    pub by: &'static str,
    /// Mean share of the k nearest by activation that are among the k nearest by codes.
    pub overlap: f64,
    /// Its standard error over the tokens.
    pub overlap_error: f64,
    /// Mean rank correlation.
    pub spearman: f64,
    /// Its standard error over the tokens.
    pub spearman_error: f64,
    /// Tokens of which it is the mean.
    pub queries: usize,
}

/// A run's codes by token with its dataset.
struct Indexed {
    dataset: Dataset,
    codes: TableReader,
    centre: Vec<f32>,
    run: Run,
}

impl Indexed {
    fn open(run_dir: &Path, options: &SimilarOptions) -> Result<Self> {
        if options.k == 0 {
            return Err(Error::request("k is 0; it must be at least 1"));
        }
        must_be_run(run_dir, "an index")?;
        let run = Run::open(run_dir)?;
        let again = || format!("run `sae index {}`", run_dir.display());
        let (Some(codes), Some(index)) = (run.codes()?, run.index()?) else {
            return Err(Error::request(format!("{} has no index of codes by token", run_dir.display()))
                .with_remedy(again()));
        };
        if index.dictionary_sha256 != crate::rows::weights_sha256(run_dir)? {
            return Err(Error::request(format!("{}: the index is of different weights", run_dir.display()))
                .with_remedy(again()));
        }
        let folder = options.data.clone().unwrap_or_else(|| dataset_of(run_dir, run.record()));
        let dataset = Dataset::open(&folder)?;
        let centre = match options.centre {
            true => crate::dictionary::Dictionary::load(run_dir)?.subtracted().into_owned(),
            false => Vec::new(),
        };
        Ok(Self { dataset, codes, centre, run })
    }

    /// What is near each of `queries`.
    fn search(&self, queries: &[Query], k: usize, progress: &mut dyn Progress) -> Result<Vec<SimilarTokens>> {
        let ranked = RANKED.min(RANKED_OF_MANY / (queries.len() as u64).max(1)).max(1);
        let options = measures::SimilarOptions { k, centre: &self.centre, ranked };
        progress.begin("compare", Some(2 * self.codes.rows()), "rows");
        let mut advance = |done, _| {
            progress.advance(done, "");
            !progress.stop_requested()
        };
        let found = measures::similar(&self.dataset, &self.codes, queries, options, &mut advance)?;
        progress.end("");
        found.ok_or_else(|| Error::stopped("nothing was found yet"))
    }
}

/// What is near the token at `place` (document, position) of the run in `run_dir`.
///
/// # Errors
/// A run without an index, a token that was not indexed, tables that cannot be read, [`Error::Stopped`].
pub fn to_token(
    run_dir: &Path,
    place: (u32, u32),
    options: &SimilarOptions,
    progress: &mut dyn Progress,
) -> Result<SimilarTo> {
    let indexed = Indexed::open(run_dir, options)?;
    let query = measures::read_query(&indexed.dataset, &indexed.codes, place)?;
    let found = indexed.search(std::slice::from_ref(&query), options.k, progress)?;
    let found = found.into_iter().next().unwrap_or_default();
    let contexts = Contexts::open(&indexed.run, &indexed.dataset, options.before)?;
    let shown = |list: &[Near], other: &[Near]| -> Result<Vec<SimilarToken>> {
        let both = |near: &Near| other.iter().any(|o| o.place() == near.place());
        list.iter().map(|near| contexts.show(near, both(near))).collect()
    };
    let [shared, jaccard, weighted] = &found.by_codes;
    let own = Near { document: place.0, position: place.1, score: 1.0 };
    Ok(SimilarTo {
        token: contexts.show(&own, true)?,
        features: query.features.len(),
        by_shared: shown(shared, &found.by_activation)?,
        by_jaccard: shown(jaccard, &found.by_activation)?,
        by_weighted: shown(weighted, &found.by_activation)?,
        by_activation: shown(&found.by_activation, jaccard)?,
        agreement: Overlap::ALL
            .iter()
            .zip(found.agreement)
            .map(|(by, a)| AgreementOf { by: by.name(), overlap: a.overlap, spearman: a.spearman })
            .collect(),
        tokens: indexed.codes.rows(),
    })
}

/// How far codes and activations agree over `queries` tokens that `seed` draws among the indexed ones.
///
/// # Errors
/// As [`to_token`].
pub fn over_tokens(
    run_dir: &Path,
    queries: usize,
    seed: u64,
    options: &SimilarOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<MeanAgreement>> {
    let indexed = Indexed::open(run_dir, options)?;
    let places = draw(&indexed.codes, queries, seed)?;
    let read = |place: &(u32, u32)| measures::read_query(&indexed.dataset, &indexed.codes, *place);
    let queries = places.iter().map(read).collect::<storage::Result<Vec<_>>>()?;
    let found = indexed.search(&queries, options.k, progress)?;
    let over = |which: usize, by: &Overlap| {
        let of = |value: fn(&measures::Agreement) -> Option<f64>| -> Vec<f64> {
            found.iter().filter_map(|one| value(&one.agreement[which])).collect()
        };
        let (overlap, overlap_error) = mean(&of(|a| a.overlap));
        let (spearman, spearman_error) = mean(&of(|a| a.spearman));
        MeanAgreement {
            by: by.name(),
            overlap,
            overlap_error,
            spearman,
            spearman_error,
            queries: found.len(),
        }
    };
    Ok(Overlap::ALL.iter().enumerate().map(|(i, by)| over(i, by)).collect())
}

/// Mean and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

/// Places of `n` different indexed tokens.
fn draw(codes: &TableReader, n: usize, seed: u64) -> Result<Vec<(u32, u32)>> {
    let rows = codes.rows();
    let mut rng = generator(seed, Purpose::Controls, 1 << 40, 0);
    let mut chosen = std::collections::BTreeSet::new();
    while chosen.len() < n.min(rows as usize) {
        chosen.insert(below(rows as usize, &mut rng) as u64);
    }
    let ranges: Vec<_> = chosen.into_iter().map(|row| row..row + 1).collect();
    let mut places = Vec::with_capacity(ranges.len());
    for batch in codes.take(&ranges, &[DOCUMENT, POSITION])? {
        let documents = column::primitive::<UInt32Type>(&batch, DOCUMENT)?.values();
        let positions = column::primitive::<UInt32Type>(&batch, POSITION)?.values();
        places.extend(documents.iter().copied().zip(positions.iter().copied()));
    }
    Ok(places)
}
