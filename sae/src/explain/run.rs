//! The pass over the features: each gets a rule, which is measured and kept if it is good enough.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use storage::explanations::{Explanation, Score};
use storage::feature_activations::{ActivationRow, read_rows};
use storage::schema::{ACTIVATIONS, VOCABULARY};
use storage::{Dataset, Run, TableReader};

use super::choose::{Firings, choose};
use super::claims::{self, Tester, TokenTexts};
use super::counts::Counts;
use super::measure::{Measured, Sums};
use super::text::{Half, Text};
use super::{CLAIMS, RULES};
use crate::rows::{dataset_of, find_dataset, must_be_run};
use crate::{Error, Progress, Result};

/// Activations that are read at a time; a feature's are never parted.
const CHUNK: u64 = 1 << 20;

/// How to explain.
#[derive(Debug, Clone)]
pub struct ExplainOptions {
    /// Dataset; the one that was indexed when `None`.
    pub data: Option<PathBuf>,
    /// Least F1 and least correlation of a rule that is kept, on tokens that it was not made from.
    /// From 0 to 1.
    pub least: f64,
    /// Tokens of each half that a feature must fire on to be given a rule.
    pub firings: u64,
    /// Seed of the choice of documents that rules are made from.
    pub seed: u64,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self { data: None, least: 0.5, firings: 10, seed: 0 }
    }
}

/// What [`explain`] did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainSummary {
    /// The table that was written.
    pub table: PathBuf,
    /// Features of the dictionary.
    pub features: u64,
    /// Features that have a rule.
    pub explained: u64,
    /// Features whose best rule is not good enough.
    pub unexplained: u64,
    /// Features that fired on too few tokens of either half, the dead ones among them.
    pub rare: u64,
    /// Documents that rules were made from.
    pub documents_made: u64,
    /// Tokens of the documents that rules were made from.
    pub tokens_made: u64,
    /// Documents that rules were measured on.
    pub documents_measured: u64,
    /// Tokens of the documents that rules were measured on.
    pub tokens_measured: u64,
    /// Least F1 and correlation that were asked for.
    pub least: f64,
    /// Mean F1 of the rules that were kept; `None` if there are none.
    pub mean_f1: Option<f64>,
    /// Mean correlation of the rules that were kept.
    pub mean_correlation: Option<f64>,
    /// Claims of people that were scored on the same documents.
    pub claims: u64,
    /// The rules with the largest F1.
    pub best: Vec<Best>,
}

/// A rule to be shown with the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Best {
    /// The feature.
    pub feature: u32,
    /// The rule in words.
    pub text: String,
    /// Its F1.
    pub f1: f64,
    /// Its correlation.
    pub correlation: f64,
}

/// Rules that a summary names.
const SHOWN: usize = 10;

/// The result for one feature.
pub(super) enum Outcome {
    Explained(Explanation, Measured),
    Unexplained,
    Rare,
}

/// Finds a rule for every feature of the indexed run in `dir` and writes `RUN/explanations/rules.parquet`,
/// replacing an older one only when all is done.
///
/// # Errors
/// A run without an index, a dataset that is not the indexed one or has no tokens, fewer than two documents,
/// a `least` outside 0 to 1, [`Error::Stopped`].
pub fn explain(dir: &Path, options: &ExplainOptions, progress: &mut dyn Progress) -> Result<ExplainSummary> {
    let prepared = Prepared::open(dir, options, progress)?;
    let explainer = prepared.explainer(options);
    let features = prepared.index.spans.len();
    progress.begin("rules", Some(features as u64), "features");
    let outcomes = explainer.all(&prepared.index, 0..features, &mut |done| {
        progress.advance(done as u64, "");
        match progress.stop_requested() {
            true => Err(Error::stopped("nothing was written; older explanations are kept")),
            false => Ok(()),
        }
    })?;
    let explained = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Explained(..))).count();
    progress.end(&format!("{explained} of {features} features explained"));
    prepared.write(dir, options, outcomes, progress)
}

/// What rules are made from and measured on.
pub(super) struct Prepared {
    pub index: Index,
    text: Text,
    counts: Counts,
}

impl Prepared {
    /// # Errors
    /// As [`explain`].
    pub fn open(dir: &Path, options: &ExplainOptions, progress: &mut dyn Progress) -> Result<Self> {
        if !(0.0..=1.0).contains(&options.least) {
            return Err(Error::request(format!(
                "the least F1 and correlation is {}, expected a number from 0 to 1",
                options.least
            )));
        }
        let index = Index::open(dir, options.data.as_deref())?;
        let text = Text::read(&index.dataset, &index.codes, options.seed, progress)?;
        for half in [Half::Made, Half::Measured] {
            if text.documents(half) == 0 {
                return Err(Error::data(format!(
                    "{}: fewer than two documents were indexed, and rules are made from one half of the documents and measured on the other",
                    dir.display()
                )));
            }
        }
        let counts = Counts::of(&text);
        Ok(Self { index, text, counts })
    }

    pub fn explainer<'a>(&'a self, options: &'a ExplainOptions) -> Explainer<'a> {
        let vocabulary = &self.index.vocabulary;
        Explainer { counts: &self.counts, text: &self.text, vocabulary, options }
    }

    /// Writes the rules of all features, and scores the claims that people kept.
    ///
    /// # Errors
    /// Tables that cannot be read or written.
    pub fn write(
        &self,
        dir: &Path,
        options: &ExplainOptions,
        outcomes: Vec<Outcome>,
        progress: &mut dyn Progress,
    ) -> Result<ExplainSummary> {
        let summary = self.explainer(options).summary(dir, &outcomes);
        let mut kept = Vec::new();
        for outcome in outcomes {
            if let Outcome::Explained(explanation, _) = outcome {
                kept.push(explanation);
            }
        }
        storage::explanations::write(dir, RULES, &mut kept)?;
        let claims = score_claims(dir, &self.index, &self.text, options.seed, progress)?;
        Ok(ExplainSummary { claims, ..summary })
    }
}

/// Scores the claims that people kept, as explanations next to the rules; gives how many.
fn score_claims(
    dir: &Path,
    index: &Index,
    text: &Text,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<u64> {
    let mut claims = storage::claims::read(dir)?;
    claims.retain(|claim| !claim.withdrawn);
    // Where all were withdrawn, what was said of them is replaced as well.
    if claims.is_empty() && !storage::explanations::path(dir, CLAIMS).exists() {
        return Ok(0);
    }
    let texts = TokenTexts::of(index)?;
    let tester = Tester { index, text, texts: &texts, seed };
    let mut rows = claims::explanations(&tester, &claims, progress)?;
    storage::explanations::write(dir, CLAIMS, &mut rows)?;
    Ok(rows.len() as u64)
}

/// The tables that rules are made from.
#[derive(Debug)]
pub(super) struct Index {
    pub dataset: Dataset,
    pub codes: TableReader,
    pub activations: TableReader,
    /// (first row, rows) of each feature in `activations`.
    pub spans: Vec<(u64, u64)>,
    pub vocabulary: Vec<String>,
}

impl Index {
    /// Those of the run in `dir`, with the tokens of `data`, or of the dataset that was indexed.
    pub fn open(dir: &Path, data: Option<&Path>) -> Result<Self> {
        must_be_run(dir, "explanations")?;
        let run = Run::open(dir)?;
        let (Some(features), Some(activations), Some(codes)) =
            (run.features()?, run.activations()?, run.codes()?)
        else {
            return Err(Error::request(format!("{} has no feature index that can be read", dir.display()))
                .with_remedy("make it with `sae index`"));
        };
        let about = run.index()?;
        let data = match (data, &about) {
            (Some(data), _) => data.to_owned(),
            (None, Some(index)) => find_dataset(dir, &index.data, &index.model_sha256, index.hook.as_deref()),
            (None, None) => dataset_of(dir, run.record()),
        };
        let dataset = Dataset::open(&data)?;
        let what = dataset.manifest().rows_are;
        if !what.tokens() {
            return Err(Error::request(format!(
                "{}: rows are {}, and rules are about tokens",
                data.display(),
                what.name()
            )));
        }
        if !dataset.has_table(VOCABULARY) || !dataset.table(ACTIVATIONS)?.has_column(storage::schema::TOKEN) {
            return Err(Error::request(format!("{} has no texts for its tokens", data.display()))
                .with_remedy("import it again with --tokenizer"));
        }
        let vocabulary = storage::vocabulary::read(&dataset.table(VOCABULARY)?)?;
        let columns = storage::features::scalar_columns(&features)?;
        let spans = columns.first_row.into_iter().zip(columns.count).collect();
        Ok(Self { dataset, codes, activations, spans, vocabulary })
    }

    /// Features from `first` on whose activations are read together.
    fn chunk(&self, first: usize) -> Range<usize> {
        let mut end = first + 1;
        let mut rows = self.spans[first].1;
        while let Some((_, more)) = self.spans.get(end).filter(|(_, more)| rows + more <= CHUNK) {
            rows += more;
            end += 1;
        }
        first..end
    }

    /// The activations of each of those features.
    pub fn read(&self, features: Range<usize>) -> Result<Vec<Vec<ActivationRow>>> {
        let rows = self.spans[features.clone()].iter().map(|(_, rows)| rows).sum::<u64>();
        let first = self.spans[features.start].0;
        let mut all = read_rows(&self.activations, first..first + rows)?.into_iter().peekable();
        let of = |feature: usize| {
            std::iter::from_fn(|| all.next_if(|row| row.feature as usize == feature)).collect()
        };
        let found: Vec<Vec<ActivationRow>> = features.clone().map(of).collect();
        match found
            .iter()
            .zip(&self.spans[features])
            .position(|(found, (_, rows))| found.len() as u64 != *rows)
        {
            None => Ok(found),
            Some(_) => Err(Error::data(format!(
                "{}: the activations are not those that the feature table counts",
                self.activations.path().display()
            ))
            .with_remedy("make the index again with `sae index`")),
        }
    }
}

pub(super) struct Explainer<'a> {
    counts: &'a Counts,
    text: &'a Text,
    vocabulary: &'a [String],
    options: &'a ExplainOptions,
}

impl Explainer<'_> {
    /// The outcome of each of `features`; `report` is told how many are done and may end the work.
    ///
    /// # Errors
    /// Tables that cannot be read or do not belong together; what `report` gives.
    pub fn all(
        &self,
        index: &Index,
        features: Range<usize>,
        report: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(features.len());
        while outcomes.len() < features.len() {
            let chunk = index.chunk(features.start + outcomes.len());
            let rows = index.read(chunk.start..chunk.end.min(features.end))?;
            let found: Result<Vec<Outcome>> = rows.par_iter().map(|rows| self.explain(rows)).collect();
            outcomes.extend(found?);
            report(outcomes.len())?;
        }
        Ok(outcomes)
    }

    /// One feature, from all of its activations.
    fn explain(&self, rows: &[ActivationRow]) -> Result<Outcome> {
        let mut made = Vec::new();
        let mut measured = Vec::new();
        for row in rows {
            let place = self.text.at(row.document, row.position).ok_or_else(|| missing(row))?;
            match place.half {
                Half::Made => made.push(place),
                Half::Measured => measured.push((place, f64::from(row.value))),
            }
        }
        if (made.len().min(measured.len()) as u64) < self.options.firings.max(1) {
            return Ok(Outcome::Rare);
        }
        let Some(rule) = choose(&Firings::of(&made), self.counts, self.text.domains.len()) else {
            return Ok(Outcome::Unexplained);
        };
        let mut sums = Sums {
            rows: self.counts.rows(Half::Measured),
            matched: self.counts.matched(&rule, Half::Measured),
            fired: measured.len() as u64,
            ..Sums::default()
        };
        for (place, value) in &measured {
            add(&mut sums, rule.applies(place), *value);
        }
        let scores = sums.scores();
        Ok(match scores.filter(|s| s.f1 >= self.options.least && s.correlation >= self.options.least) {
            Some(scores) => {
                let feature = rows.first().map_or(0, |row| row.feature);
                let text = rule.words(self.vocabulary, &self.text.domains);
                Outcome::Explained(explanation(feature, text, &scores), scores)
            }
            None => Outcome::Unexplained,
        })
    }

    fn summary(&self, dir: &Path, outcomes: &[Outcome]) -> ExplainSummary {
        let scores: Vec<Measured> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Explained(_, scores) => Some(*scores),
                _ => None,
            })
            .collect();
        let mean = |of: fn(&Measured) -> f64| {
            (!scores.is_empty()).then(|| scores.iter().map(of).sum::<f64>() / scores.len() as f64)
        };
        let mut best: Vec<Best> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Explained(explanation, s) => Some(Best {
                    feature: explanation.feature,
                    text: explanation.text.clone(),
                    f1: s.f1,
                    correlation: s.correlation,
                }),
                _ => None,
            })
            .collect();
        best.sort_by(|a, b| b.f1.total_cmp(&a.f1).then(a.feature.cmp(&b.feature)));
        best.truncate(SHOWN);
        let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count() as u64;
        ExplainSummary {
            table: storage::explanations::path(dir, RULES),
            features: outcomes.len() as u64,
            explained: scores.len() as u64,
            unexplained: count(|outcome| matches!(outcome, Outcome::Unexplained)),
            rare: count(|outcome| matches!(outcome, Outcome::Rare)),
            documents_made: self.text.documents(Half::Made) as u64,
            tokens_made: self.counts.rows(Half::Made),
            documents_measured: self.text.documents(Half::Measured) as u64,
            tokens_measured: self.counts.rows(Half::Measured),
            least: self.options.least,
            mean_f1: mean(|s| s.f1),
            mean_correlation: mean(|s| s.correlation),
            claims: 0,
            best,
        }
    }
}

/// Counts a token that the feature fires on with `value`.
pub(super) fn add(sums: &mut Sums, applies: bool, value: f64) {
    sums.activation += value;
    sums.squares += value * value;
    if applies {
        sums.both += 1;
        sums.explained += value;
    }
}

pub(super) fn explanation(feature: u32, text: String, scores: &Measured) -> Explanation {
    let score = |kind: &str, value: f64| Score { kind: kind.to_owned(), value: value as f32 };
    Explanation {
        feature,
        text,
        method: "rule of tokens".to_owned(),
        by: concat!("sae explain ", env!("CARGO_PKG_VERSION")).to_owned(),
        scores: vec![
            score("f1", scores.f1),
            score("precision", scores.precision),
            score("recall", scores.recall),
            score("correlation", scores.correlation),
        ],
    }
}

pub(super) fn missing(row: &ActivationRow) -> Error {
    Error::data(format!(
        "feature {} fires on document {}, position {}, which the dataset does not have",
        row.feature, row.document, row.position
    ))
    .with_remedy("give the dataset that was indexed with --data, or make the index again with `sae index`")
}
