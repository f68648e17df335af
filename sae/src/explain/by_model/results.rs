//! Everything that was judged, as rows of tables and as a summary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::explanations::{Explanation, Score};
use storage::judged::{ExplanationScoreRow, JudgementRow};

use super::ask::Used;
use super::consent;
use super::draw::Drawn;
use super::options::LanguageModelOptions;
use super::scores::{Interval, Judged, Sheet, difference, mean};
use super::{Source, Test};
use crate::explain::claims::Tally;

/// Features that a summary names.
const SHOWN: usize = 10;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanguageModelSummary {
    /// The explanations.
    pub table: PathBuf,
    /// The folder of answers, judgements and scores.
    pub folder: PathBuf,
    /// The model, as the server knows it.
    pub model: String,
    /// Features that were explained and scored.
    pub features: u64,
    /// Features that were looked at and fire in fewer than two passages of either half.
    pub rare: u64,
    /// Features whose explanation could not be read in the answer.
    pub unexplained: u64,
    /// Requests that were sent now; answers of before were not asked for again.
    pub requests: u64,
    /// Tokens of these requests, as the server counts them.
    pub prompt_tokens: u64,
    /// Tokens of their answers.
    pub answer_tokens: u64,
    /// Answers for which the server did not count tokens.
    pub uncounted: u64,
    /// What that cost, by the given price.
    pub cost: Option<f64>,
    /// Means over features, by source.
    pub sources: Vec<SourceMeans>,
    /// The model's explanations against others, on the same passages.
    pub differences: Vec<Difference>,
    /// The explanations with the largest detection score.
    pub best: Vec<BestExplanation>,
}

/// Means over features.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceMeans {
    /// Whose explanations: `model`, `rule`, `other feature`, `shuffled`, `top tokens`.
    pub source: &'static str,
    /// Whether it is a control.
    pub control: bool,
    /// Features that have such an explanation.
    pub features: u64,
    /// Balanced accuracy of detection, with its interval over documents; chance is 0.5.
    pub detection: Option<Interval>,
    /// Balanced accuracy of fuzzing.
    pub fuzzing: Option<Interval>,
    /// Mean correlation of the simulation, with an interval over features (Student's t).
    pub simulation: Option<Interval>,
    /// Passages that were judged.
    pub answered: u64,
    /// Passages whose answer could not be read.
    pub unanswered: u64,
}

/// The model's explanations less others, of the same features on the same passages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The other source.
    pub other: &'static str,
    /// `detection` or `fuzzing`.
    pub test: &'static str,
    /// Features that have both.
    pub features: u64,
    /// Mean difference of balanced accuracy, with its interval over documents.
    pub difference: Interval,
}

/// An explanation to be shown with the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BestExplanation {
    /// The feature.
    pub feature: u32,
    /// What the model says of it.
    pub text: String,
    /// Balanced accuracy of detection.
    pub detection: f64,
    /// Balanced accuracy of fuzzing.
    pub fuzzing: Option<f64>,
}

/// What the model says of a feature.
#[derive(Debug, Clone, Default)]
pub(super) struct Wording {
    pub model: Option<String>,
    pub shuffled: Option<String>,
}

/// Everything that was judged.
#[derive(Default)]
pub(super) struct Results {
    pub judgements: Vec<JudgementRow>,
    pub scores: Vec<ExplanationScoreRow>,
    sheets: BTreeMap<(Source, Test), BTreeMap<u32, Sheet>>,
    simulations: BTreeMap<Source, Vec<f64>>,
}

impl Results {
    /// Takes the answers to one test of one explanation of a feature.
    pub fn judged(
        &mut self,
        drawn: &Drawn,
        source: Source,
        test: Test,
        text: &str,
        replies: &[Option<bool>],
    ) {
        let feature = drawn.feature;
        let (mut judged, mut unanswered) = (Vec::new(), 0);
        for (passage, answer) in drawn.tested.iter().zip(replies) {
            let truth = passage.tenth >= 0;
            judged.push(Judged { document: passage.document, truth, answer: *answer });
            unanswered += u64::from(answer.is_none());
            let marked = if test == Test::Fuzzing { passage.marked.as_slice() } else { &[] };
            self.judgements.push(JudgementRow {
                feature,
                source: source.name().to_owned(),
                test: test.name().to_owned(),
                document: passage.document,
                start: passage.start,
                tokens: passage.tokens.clone(),
                values: passage.values.clone(),
                marked: marked.iter().map(|at| *at as u32).collect(),
                tenth: passage.tenth,
                truth,
                answer: answer.map(i8::from),
            });
        }
        let sheet = Sheet::new(&judged);
        let score = sheet.balanced();
        self.scores.push(ExplanationScoreRow {
            feature,
            source: source.name().to_owned(),
            text: text.to_owned(),
            test: test.name().to_owned(),
            value: score.map(|score| score.value),
            low: score.map(|score| score.low),
            high: score.map(|score| score.high),
            precision: sheet.all.precision(),
            recall: sheet.all.recall(),
            answered: sheet.all.answered(),
            unanswered,
        });
        self.sheets.entry((source, test)).or_default().insert(feature, sheet);
    }

    /// Takes what a simulation by an explanation came to.
    pub fn simulated(&mut self, feature: u32, source: Source, text: &str, tally: &Tally) {
        let correlation = tally.scores.map(|scores| scores.correlation);
        // What predicts nothing, or everything, explains nothing.
        self.simulations.entry(source).or_default().push(correlation.map_or(0.0, |c| c.value));
        self.scores.push(ExplanationScoreRow {
            feature,
            source: source.name().to_owned(),
            text: text.to_owned(),
            test: "simulation".to_owned(),
            value: correlation.map(|c| c.value),
            low: correlation.map(|c| c.low),
            high: correlation.map(|c| c.high),
            precision: tally.scores.map(|scores| scores.precision.value),
            recall: tally.scores.map(|scores| scores.recall.value),
            answered: tally.tokens,
            unanswered: 0,
        });
    }

    /// The model's explanations with their scores.
    pub fn explanations(&self, model: &str) -> Vec<Explanation> {
        let mut rows: Vec<Explanation> = Vec::new();
        for row in self.scores.iter().filter(|row| row.source == Source::Model.name()) {
            if rows.last().is_none_or(|last| last.feature != row.feature) {
                rows.push(Explanation {
                    feature: row.feature,
                    text: row.text.clone(),
                    method: "language model".to_owned(),
                    by: model.to_owned(),
                    scores: Vec::new(),
                });
            }
            let kind = if row.test == "simulation" { "correlation".to_owned() } else { row.test.clone() };
            if let (Some(value), Some(last)) = (row.value, rows.last_mut()) {
                last.scores.push(Score { kind, value: value as f32 });
            }
        }
        rows
    }

    fn sheets(&self, source: Source, test: Test) -> Vec<&Sheet> {
        self.sheets.get(&(source, test)).into_iter().flat_map(BTreeMap::values).collect()
    }

    fn means(&self, source: Source) -> SourceMeans {
        let sum = |of: fn(&ExplanationScoreRow) -> u64| {
            self.scores
                .iter()
                .filter(|row| row.source == source.name() && row.test != "simulation")
                .map(of)
                .sum()
        };
        SourceMeans {
            source: source.name(),
            control: source.is_control(),
            features: self.sheets(source, Test::Detection).len() as u64,
            detection: mean(&self.sheets(source, Test::Detection)),
            fuzzing: mean(&self.sheets(source, Test::Fuzzing)),
            simulation: self.simulations.get(&source).and_then(|values| over_features(values)),
            answered: sum(|row| row.answered),
            unanswered: sum(|row| row.unanswered),
        }
    }

    fn differences(&self) -> Vec<Difference> {
        let mut all = Vec::new();
        for other in Source::ALL.into_iter().skip(1) {
            for test in Test::ALL {
                let (Some(own), Some(others)) =
                    (self.sheets.get(&(Source::Model, test)), self.sheets.get(&(other, test)))
                else {
                    continue;
                };
                let pairs: Vec<(&Sheet, &Sheet)> = own
                    .iter()
                    .filter_map(|(feature, sheet)| Some((sheet, others.get(feature)?)))
                    .filter(|(a, b)| a.all.balanced().is_some() && b.all.balanced().is_some())
                    .collect();
                if let Some(difference) = difference(&pairs) {
                    let features = pairs.len() as u64;
                    all.push(Difference { other: other.name(), test: test.name(), features, difference });
                }
            }
        }
        all
    }

    fn best(&self) -> Vec<BestExplanation> {
        let of =
            |test: Test| self.scores.iter().filter(move |r| r.source == "model" && r.test == test.name());
        let mut best: Vec<BestExplanation> = of(Test::Detection)
            .filter_map(|row| {
                let fuzzing = of(Test::Fuzzing).find(|other| other.feature == row.feature)?.value;
                Some(BestExplanation {
                    feature: row.feature,
                    text: row.text.clone(),
                    detection: row.value?,
                    fuzzing,
                })
            })
            .collect();
        best.sort_by(|a, b| b.detection.total_cmp(&a.detection).then(a.feature.cmp(&b.feature)));
        best.truncate(SHOWN);
        best
    }

    /// All of it in few numbers.
    pub fn summary(
        &self,
        dir: &Path,
        name: &str,
        folder: PathBuf,
        wordings: &[Wording],
        rare: u64,
        used: Used,
        options: &LanguageModelOptions,
    ) -> LanguageModelSummary {
        LanguageModelSummary {
            table: storage::explanations::path(dir, name),
            folder,
            model: options.model.clone(),
            features: wordings.iter().filter(|wording| wording.model.is_some()).count() as u64,
            rare,
            unexplained: wordings.iter().filter(|wording| wording.model.is_none()).count() as u64,
            requests: used.requests,
            prompt_tokens: used.prompt_tokens,
            answer_tokens: used.answer_tokens,
            uncounted: used.uncounted,
            cost: consent::cost(options.price, used.prompt_tokens, used.answer_tokens),
            sources: Source::ALL
                .into_iter()
                .filter(|source| self.simulations.contains_key(source))
                .map(|source| self.means(source))
                .collect(),
            differences: self.differences(),
            best: self.best(),
        }
    }
}

/// The mean with Student's interval over features.
fn over_features(values: &[f64]) -> Option<Interval> {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return values.first().map(|value| Interval { value: *value, low: -1.0, high: 1.0 });
    }
    let variance = values.iter().map(|v| (v - value) * (v - value)).sum::<f64>() / (n - 1.0);
    let half = kernels::student::quantile(0.975, n - 1.0) * (variance / n).sqrt();
    Some(Interval { value, low: (value - half).max(-1.0), high: (value + half).min(1.0) })
}
