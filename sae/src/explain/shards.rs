//! Rules of features by several processes: a shard takes features that follow each other, with about as many activations as the others'.
//! A feature's rule depends on its own activations and on the tokens alone, so any cut gives the same bits.

use std::ops::Range;
use std::path::Path;

use serde_json::json;
use storage::explanations::RuleRow;
use storage::{Run, Scan};

use super::measure::Measured;
use super::run::{ExplainOptions, ExplainSummary, Outcome, Prepared, explanation};
use crate::shards::{Begun, Job, SHARDS, Shard, Work, identity};
use crate::{Error, Progress, Result};

/// Features in a file.
const FEATURES: usize = 4096;

/// Finds rules for the features of `shard`, in `RUN/shards/explain`.
///
/// # Errors
/// As [`super::explain`]; a shard that a different process works on, or that was begun with other input or options.
pub fn explain_shard(
    dir: &Path,
    options: &ExplainOptions,
    shard: Shard,
    progress: &mut dyn Progress,
) -> Result<Work> {
    let prepared = Prepared::open(dir, options, progress)?;
    let features = share(&prepared.index.spans, shard);
    let pieces = vec![format!("features {} to {}", features.start, features.end)];
    let mut working = match job(dir, &prepared, options)?.begin(shard, pieces, progress)? {
        Begun::Done(work) => return Ok(work),
        Begun::Working(working) => working,
    };
    let explainer = prepared.explainer(options);
    progress.begin("rules", Some(features.len() as u64), "features");
    let mut make = |first: usize| {
        let here = first..features.end.min(first + FEATURES);
        let before = first - features.start;
        working.file(&format!("rules-{:05}.parquet", before / FEATURES), |path| {
            let outcomes = explainer.all(&prepared.index, here.clone(), &mut |done| {
                progress.advance((before + done) as u64, "");
                match progress.stop_requested() {
                    true => Err(Error::stopped(
                        "whole files of the shard are kept; give the same command again to continue",
                    )),
                    false => Ok(()),
                }
            })?;
            let rows: Vec<RuleRow> =
                here.clone().zip(outcomes).map(|(feature, outcome)| row(feature, outcome)).collect();
            Ok(storage::row::write(path, &rows)?)
        })?;
        progress.advance((here.end - features.start) as u64, "");
        Ok(())
    };
    let made = features.clone().step_by(FEATURES).try_for_each(&mut make);
    progress.end(&format!("{} features", features.len()));
    working.end(made)
}

/// Makes `RUN/explanations/rules.parquet` of what the shards found, as [`super::explain`] does, and scores the claims that people kept. May be
/// given again.
///
/// # Errors
/// As [`super::explain`]; shards that are not finished, or of other input or options.
pub fn explain_merge(
    dir: &Path,
    options: &ExplainOptions,
    progress: &mut dyn Progress,
) -> Result<ExplainSummary> {
    let prepared = Prepared::open(dir, options, progress)?;
    let shards = job(dir, &prepared, options)?.finished(progress)?;
    let mut outcomes = Vec::with_capacity(prepared.index.spans.len());
    for path in shards.shards.iter().flat_map(|shard| shard.files("rules-")) {
        let table = storage::row::open::<RuleRow>(&path)?;
        for row in storage::row::read::<RuleRow>(&table, Scan::default())? {
            if row.feature as usize != outcomes.len() {
                let problem = format!("has feature {}; expected {}", row.feature, outcomes.len());
                return Err(Error::format(&path, problem));
            }
            outcomes.push(outcome(row).map_err(|problem| Error::format(&path, problem))?);
        }
    }
    let (found, expected) = (outcomes.len(), prepared.index.spans.len());
    if found != expected {
        return Err(Error::data(format!("the shards have {found} features; expected {expected}")));
    }
    let summary = prepared.write(dir, options, outcomes, progress)?;
    shards.merged(false)?;
    Ok(summary)
}

fn job(dir: &Path, prepared: &Prepared, options: &ExplainOptions) -> Result<Job> {
    let mut index = json!(Run::open(dir)?.index()?);
    // Where the dataset lies is not what it is.
    if let Some(index) = index.as_object_mut() {
        index.remove("data");
    }
    let settings = json!({
        "index": index,
        "data": identity(&prepared.index.dataset),
        "least": options.least,
        "firings": options.firings,
        "seed": options.seed,
    });
    Ok(Job::new("explain", dir.join(SHARDS).join("explain"), settings))
}

/// The features whose activations, (first row, rows) each, begin in the shard's part of all.
fn share(spans: &[(u64, u64)], shard: Shard) -> Range<usize> {
    let rows = shard.range(spans.last().map_or(0, |(first, rows)| first + rows));
    let bound = |row: u64| spans.partition_point(|(first, _)| *first < row);
    // Features that never fire come last, too.
    bound(rows.start)..if shard.index + 1 == shard.count { spans.len() } else { bound(rows.end) }
}

const EXPLAINED: &str = "explained";
const UNEXPLAINED: &str = "unexplained";
const RARE: &str = "rare";

fn row(feature: usize, outcome: Outcome) -> RuleRow {
    let row = |outcome: &str| RuleRow {
        feature: feature as u32,
        outcome: outcome.to_owned(),
        ..RuleRow::default()
    };
    match outcome {
        Outcome::Rare => row(RARE),
        Outcome::Unexplained => row(UNEXPLAINED),
        Outcome::Explained(explanation, Measured { precision, recall, f1, correlation }) => {
            RuleRow { text: explanation.text, precision, recall, f1, correlation, ..row(EXPLAINED) }
        }
    }
}

/// # Errors
/// What is wrong with the row.
fn outcome(row: RuleRow) -> std::result::Result<Outcome, String> {
    let RuleRow { feature, outcome, text, precision, recall, f1, correlation } = row;
    match outcome.as_str() {
        RARE => Ok(Outcome::Rare),
        UNEXPLAINED => Ok(Outcome::Unexplained),
        EXPLAINED => {
            let scores = Measured { precision, recall, f1, correlation };
            Ok(Outcome::Explained(explanation(feature, text, &scores), scores))
        }
        other => Err(format!(
            "feature {feature}: the outcome is `{other}`; expected {EXPLAINED}, {UNEXPLAINED} or {RARE}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_all_features_and_about_as_many_activations() {
        let counts: Vec<u64> =
            (0..500).map(|i| if i % 7 == 0 { 0 } else { i * 7919 % 23 }).chain([0, 0]).collect();
        let before = |i: usize| counts[..i].iter().sum::<u64>();
        let spans: Vec<(u64, u64)> = counts.iter().enumerate().map(|(i, n)| (before(i), *n)).collect();
        let all = before(counts.len());
        for count in [1, 2, 3, 7, 600] {
            let mut next = 0;
            for index in 0..count {
                let share = share(&spans, Shard { index, count });
                assert_eq!(share.start, next);
                next = share.end;
                let rows: u64 = share.map(|i| counts[i]).sum();
                assert!(rows.abs_diff(all / count as u64) <= 23, "{rows} of {count}");
            }
            assert_eq!(next, spans.len());
        }
        assert_eq!(share(&[(0, 0), (0, 0)], Shard { index: 1, count: 2 }), 0..2, "nothing fires");
        assert_eq!(share(&[], Shard { index: 0, count: 1 }), 0..0);
    }
}
