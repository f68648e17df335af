//! How well a claim describes a feature, and how sure that is.

use serde::Serialize;

use crate::explain::measure::Sums;

/// The quantile of the normal distribution for intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A figure with its interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure, over all documents.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Scores of a claim.
///
/// Intervals are of 95 % over documents, not over tokens, which come in documents that are alike inside: the variance of each figure is that
/// of the jackknife that leaves out one document at a time. For the shares it gives the number of independent tokens that would have that
/// variance, and the interval is Wilson's (1927) for so many; where the share is 0 or 1 and the variance 0, the number of documents
/// that have any such token stands for it. For the correlation it is taken of artanh.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Of the tokens that the claim applies to, the share that the feature fires on.
    pub precision: Estimate,
    /// Of the tokens that the feature fires on, the share that the claim applies to.
    pub recall: Estimate,
    /// 2 · precision · recall / (precision + recall).
    pub f1: Estimate,
    /// Pearson's correlation of the activation with what the claim predicts, over all tokens.
    pub correlation: Estimate,
}

/// What was counted in a set of documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Documents.
    pub documents: u64,
    /// Tokens.
    pub tokens: u64,
    /// Tokens that the claim applies to and the feature fires on.
    pub hits: u64,
    /// Tokens that the feature fires on and the claim does not apply to.
    pub misses: u64,
    /// Tokens that the claim applies to and the feature does not fire on.
    pub false_alarms: u64,
    /// The scores; `None` where they do not exist: the claim applies to no token or to all, or the feature never fires.
    pub scores: Option<Scores>,
    /// Mean activation of the tokens that the claim applies to, which is what it predicts for them.
    pub predicted: f64,
}

impl Tally {
    /// Of documents with these sums.
    pub fn of(documents: &[Sums]) -> Self {
        let mut all = Sums::default();
        documents.iter().for_each(|document| all.add(document));
        Self {
            documents: documents.len() as u64,
            tokens: all.rows,
            hits: all.both,
            misses: all.fired - all.both,
            false_alarms: all.matched - all.both,
            scores: scores(&all, documents),
            predicted: if all.matched == 0 { 0.0 } else { all.explained / all.matched as f64 },
        }
    }
}

fn scores(all: &Sums, documents: &[Sums]) -> Option<Scores> {
    let value = all.scores()?;
    // The correlation of what is left without each document; `None` where it does not exist without it.
    let without = |document: &Sums| all.without(document).scores();
    let mut spread = [0.0; 4];
    let mut left = 0.0;
    for other in documents.iter().filter_map(without) {
        let differences = [
            other.precision - value.precision,
            other.recall - value.recall,
            other.f1 - value.f1,
            other.correlation.clamp(-LIMIT, LIMIT).atanh() - value.correlation.clamp(-LIMIT, LIMIT).atanh(),
        ];
        spread.iter_mut().zip(differences).for_each(|(spread, d)| *spread += d * d);
        left += 1.0;
    }
    // One document says nothing of others.
    let variance = |i: usize| if left < 2.0 { f64::INFINITY } else { spread[i] * (left - 1.0) / left };
    let with = |has: fn(&Sums) -> u64| documents.iter().filter(|document| has(document) > 0).count() as f64;
    let share = |i: usize, value: f64, tokens: u64, clusters: f64| {
        wilson(value, effective(value, variance(i), tokens as f64, clusters))
    };
    Some(Scores {
        precision: share(0, value.precision, all.matched, with(|s| s.matched)),
        recall: share(1, value.recall, all.fired, with(|s| s.fired)),
        f1: share(2, value.f1, all.matched + all.fired, with(|s| s.matched + s.fired)),
        correlation: correlation(value.correlation, variance(3)),
    })
}

/// The interval of a share of `value` with this variance over documents: Wilson's for as many independent `draws` as have that variance;
/// where the variance is 0, for `clusters`, the number of documents that have any.
pub fn interval_of_share(value: f64, variance: f64, draws: f64, clusters: f64) -> (f64, f64) {
    let estimate = wilson(value, effective(value, variance, draws, clusters));
    (estimate.low, estimate.high)
}

/// artanh has no value at 1.
const LIMIT: f64 = 1.0 - 1e-12;

/// How many independent tokens a share of `value` with this variance is worth: at most `tokens`.
fn effective(value: f64, variance: f64, tokens: f64, clusters: f64) -> f64 {
    let binomial = value * (1.0 - value);
    match variance {
        v if v.is_infinite() => 0.0,
        v if v <= 0.0 || binomial <= 0.0 => clusters.min(tokens),
        v => (binomial / v).min(tokens),
    }
}

/// Wilson's interval for a share of `value` of `n` draws.
fn wilson(value: f64, n: f64) -> Estimate {
    if n <= 0.0 {
        return Estimate { value, low: 0.0, high: 1.0 };
    }
    let z2 = Z * Z / n;
    let centre = (value + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (value * (1.0 - value) / n + z2 / (4.0 * n)).sqrt();
    Estimate { value, low: (centre - half).max(0.0).min(value), high: (centre + half).min(1.0).max(value) }
}

fn correlation(value: f64, variance: f64) -> Estimate {
    if variance.is_infinite() {
        return Estimate { value, low: -1.0, high: 1.0 };
    }
    let (at, half) = (value.clamp(-LIMIT, LIMIT).atanh(), Z * variance.sqrt());
    Estimate { value, low: (at - half).tanh().min(value), high: (at + half).tanh().max(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents of one token each, alike and independent, are what the textbook's interval is about.
    #[test]
    fn intervals_of_independent_tokens_are_wilsons() {
        let one = |matched: bool, fired: bool| Sums {
            rows: 3,
            matched: matched.into(),
            fired: fired.into(),
            both: (matched && fired).into(),
            activation: f64::from(u8::from(fired)),
            squares: f64::from(u8::from(fired)),
            explained: f64::from(u8::from(matched && fired)),
        };
        let documents: Vec<Sums> = (0..400).map(|i| one(i % 2 == 0, i % 10 < 7)).collect();
        let tally = Tally::of(&documents);
        assert_eq!((tally.hits, tally.misses, tally.false_alarms, tally.tokens), (160, 120, 40, 1200));
        let precision = tally.scores.unwrap().precision;
        assert!((precision.value - 0.8).abs() < 1e-12);
        // Wilson for 160 of 200: 0.7391 to 0.8496.
        assert!(
            (precision.low - 0.7391).abs() < 2e-3 && (precision.high - 0.8496).abs() < 2e-3,
            "{precision:?}"
        );
    }

    #[test]
    fn alike_documents_are_worth_fewer_tokens() {
        let documents: Vec<Sums> = (0..40)
            .map(|i| {
                let both = if i % 2 == 0 { 10 } else { 0 };
                let value = both as f64;
                Sums {
                    rows: 100,
                    matched: 10,
                    fired: both,
                    both,
                    activation: value,
                    squares: value,
                    explained: value,
                }
            })
            .collect();
        let precision = Tally::of(&documents).scores.unwrap().precision;
        let width = precision.high - precision.low;
        // 40 draws of a half: ± 0.148; 400 would be ± 0.049.
        assert!((0.25..0.35).contains(&width), "{precision:?}");
    }

    #[test]
    fn one_document_says_nothing_and_a_perfect_claim_is_not_certain() {
        let sums =
            Sums { rows: 100, matched: 4, fired: 4, both: 4, activation: 8.0, squares: 16.0, explained: 8.0 };
        let one = Tally::of(&[sums]).scores.unwrap();
        assert_eq!((one.f1.low, one.f1.high, one.f1.value), (0.0, 1.0, 1.0));
        let ten = Tally::of(&[sums; 10]).scores.unwrap();
        assert!(
            ten.precision.low > 0.6 && ten.precision.low < 0.8,
            "10 of 10 documents: {:?}",
            ten.precision
        );
        assert_eq!(Tally::of(&[Sums { rows: 9, ..Sums::default() }]).scores, None);
    }
}
