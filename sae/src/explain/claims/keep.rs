//! Claims that are kept, and what `sae explain` makes of them.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use storage::claims::{Claim, ClaimIntervention, ClaimPlace, ClaimScores, merge};
use storage::explanations::{Explanation, Score};

use super::evidence::{ClaimTest, Outcome, TestedPlace, Tester};
use super::rule::Rule;
use super::score::{Estimate, Tally};
use crate::{Error, Progress, Result};

/// Counter-examples of each kind that are kept with a claim.
const COUNTEREXAMPLES: usize = 5;

/// Keeps a claim with its scores, counter-examples and `interventions` in the run in `dir`; gives all claims of the run. `looked` tells
/// whether its author saw the documents that it was measured on.
///
/// # Errors
/// A file of claims that cannot be read or written.
pub fn keep(
    dir: &Path,
    test: &ClaimTest,
    interventions: &[ClaimIntervention],
    by: &str,
    text: &str,
    looked: bool,
) -> Result<Vec<Claim>> {
    let claim = Claim {
        feature: test.feature,
        rule: test.rule.clone(),
        by: by.to_owned(),
        text: text.to_owned(),
        scores: scores(&test.measured, test.seed),
        counterexamples: counterexamples(&test.places),
        interventions: interventions.to_vec(),
        looked,
        withdrawn: false,
        changed: now(),
    };
    Ok(merge(dir, &[claim])?)
}

/// Withdraws a claim of the run in `dir`; gives all claims of the run.
///
/// # Errors
/// A file of claims that cannot be read or written.
pub fn withdraw(dir: &Path, claim: &Claim) -> Result<Vec<Claim>> {
    let gone = Claim { withdrawn: true, changed: now().max(claim.changed), ..claim.clone() };
    Ok(merge(dir, &[gone])?)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn scores(tally: &Tally, seed: u64) -> Option<ClaimScores> {
    let three = |estimate: Estimate| [estimate.value, estimate.low, estimate.high];
    tally.scores.map(|scores| ClaimScores {
        documents: tally.documents,
        tokens: tally.tokens,
        seed,
        hits: tally.hits,
        misses: tally.misses,
        false_alarms: tally.false_alarms,
        precision: three(scores.precision),
        recall: three(scores.recall),
        f1: three(scores.f1),
        correlation: three(scores.correlation),
    })
}

/// The strongest misses and then false alarms, as they come in the text.
fn counterexamples(places: &[TestedPlace]) -> Vec<ClaimPlace> {
    let of = |outcome| places.iter().filter(move |place| place.outcome == outcome);
    let mut misses: Vec<&TestedPlace> = of(Outcome::Miss).collect();
    misses.sort_by(|a, b| b.value.total_cmp(&a.value));
    misses
        .into_iter()
        .take(COUNTEREXAMPLES)
        .chain(of(Outcome::FalseAlarm).take(COUNTEREXAMPLES))
        .map(|place| ClaimPlace { document: place.document, position: place.position, value: place.value })
        .collect()
}

/// Claims as explanations, scored on the documents of the tester's second half. A claim that this run cannot be asked about (its feature or
/// one of its tokens is not there) is remarked on and left out.
pub fn explanations(
    tester: &Tester<'_>,
    claims: &[Claim],
    progress: &mut dyn Progress,
) -> Result<Vec<Explanation>> {
    let mut rows = Vec::with_capacity(claims.len());
    for claim in claims {
        match explanation(tester, claim, progress) {
            Ok(row) => rows.push(row),
            Err(stopped @ Error::Stopped(_)) => return Err(stopped),
            Err(error) => progress.remark(&format!(
                "the claim {} about feature {} was left out: {error}",
                claim.rule, claim.feature
            )),
        }
    }
    Ok(rows)
}

fn explanation(tester: &Tester<'_>, claim: &Claim, progress: &mut dyn Progress) -> Result<Explanation> {
    let rule = Rule::parse(&claim.rule)?;
    let test = tester.test(claim.feature, &rule, progress, &mut |_, _| {})?;
    let score = |kind: &str, value: f64| Score { kind: kind.to_owned(), value: value as f32 };
    let scores = test.measured.scores.map(|scores| {
        vec![
            score("f1", scores.f1.value),
            score("precision", scores.precision.value),
            score("recall", scores.recall.value),
            score("correlation", scores.correlation.value),
        ]
    });
    let words = rule.words();
    Ok(Explanation {
        feature: claim.feature,
        text: if claim.text.is_empty() { words } else { format!("{} ({words})", claim.text) },
        method: "claim".to_owned(),
        by: claim.by.clone(),
        scores: scores.unwrap_or_default(),
    })
}
