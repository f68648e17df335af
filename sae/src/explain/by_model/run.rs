//! The whole of it: draw, ask, judge, write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::chance::{Purpose, generator, shuffle};
use lm::remote::{ChatRequest, ChatServer};
use serde::Serialize;
use storage::RunRecord;
use storage::explanations::{Explanation, Score};
use storage::judged::{ExplanationScoreRow, JudgementRow, folder};

use super::ask::{Answers, Used};
use super::consent::{self, Plan};
use super::draw::{Drawn, Pieces};
use super::options::LanguageModelOptions;
use super::prompts::Prompts;
use super::scores::{Interval, Judged, Sheet, difference, mean};
use super::{Source, Test, delphi, parse, predict};
use crate::explain::choose::{Firings, choose};
use crate::explain::claims::{Compiled, Rule, Tally, Tester, TokenTexts};
use crate::explain::counts::Counts;
use crate::explain::run::Index;
use crate::explain::text::{Half, Text};
use crate::{Error, Progress, Result};

/// Where the stream that orders features begins, apart from other controls.
const FEATURES: u64 = 6 << 40;
/// Features that a summary names.
const SHOWN: usize = 10;
/// Stands for an explanation that nobody has given yet, where requests are estimated.
const STAND_IN: &str =
    "words about a subject, of about the length that explanations have, which nobody knows before";

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

/// A feature with what is known of it before anybody is asked.
struct Subject {
    drawn: Drawn,
    /// Its rule, in words and in the language of claims.
    rule: Option<(String, Rule)>,
}

/// What the model says of a feature.
#[derive(Debug, Clone, Default)]
struct Told {
    model: Option<String>,
    shuffled: Option<String>,
}

/// Explains features of the indexed run in `dir` by a language model, scores the explanations and writes
/// `RUN/explanations/NAME.parquet` and the folder `NAME` next to it.
///
/// # Errors
/// A run without an index or a dataset that is not the indexed one; fewer than two documents; features that are not there or of which
/// none fires often enough; no consent to send to the host; what the server refuses or fails at; [`Error::Stopped`]. What has been
/// answered is kept in every case.
pub fn explain(
    dir: &Path,
    options: &LanguageModelOptions,
    progress: &mut dyn Progress,
) -> Result<LanguageModelSummary> {
    options.check()?;
    let name = options.source_name()?;
    let index = Index::open(dir, options.data.as_deref())?;
    let text = Text::read(&index.dataset, &index.codes, options.seed, progress)?;
    if [Half::Made, Half::Measured].iter().any(|half| text.documents(*half) == 0) {
        return Err(Error::data(format!(
            "{}: fewer than two documents were indexed, and explanations are made from one half of the documents and scored on the other",
            dir.display()
        )));
    }
    let texts = TokenTexts::of(&index)?;
    let (subjects, rare) = subjects(&index, &text, &texts, options, progress)?;
    let folder = folder(dir, &name);
    let mut answers = Answers::open(&folder)?;
    let work = Work {
        options,
        text: &text,
        texts: &texts,
        subjects: &subjects,
        prompts: Prompts { options, texts: &texts },
    };

    let first = work.first();
    let mut plan = answers.missing(&first);
    plan.extend(answers.missing(&work.second(&work.told(&answers), true)));
    consent::ask(Plan::of(&plan), options, progress)?;
    if !plan.is_empty() {
        let server = ChatServer::new(options.address.clone(), options.key.clone(), options.chat.clone())?;
        let server = Arc::new(server);
        let missing = answers.missing(&first);
        answers.ask(&server, missing, options.concurrency, "explanations", progress)?;
        let missing = answers.missing(&work.second(&work.told(&answers), false));
        answers.ask(&server, missing, options.concurrency, "scores", progress)?;
    }
    let told = work.told(&answers);
    let tester = Tester { index: &index, text: &text, texts: &texts, seed: options.seed };
    let results = work.results(&told, &answers, &tester, progress)?;

    storage::row::write(&folder.join(storage::judged::JUDGEMENTS), &results.judgements)?;
    storage::row::write(&folder.join(storage::judged::SCORES), &results.scores)?;
    if let Some(out) = &options.delphi {
        let hook = RunRecord::read(dir)?.hook;
        let texts = subjects.iter().zip(&told);
        let texts = texts.filter_map(|(s, told)| Some((s.drawn.feature, told.model.clone()?))).collect();
        delphi::write(out, &hook, &texts, &results.judgements, &work.prompts)?;
    }
    let mut rows = results.explanations(&options.model);
    storage::explanations::write(dir, &name, &mut rows)?;
    Ok(results.summary(dir, &name, folder, &told, rare, answers.used, options))
}

/// The features to explain, ascending, and how many were passed over.
fn subjects(
    index: &Index,
    text: &Text,
    texts: &TokenTexts,
    options: &LanguageModelOptions,
    progress: &mut dyn Progress,
) -> Result<(Vec<Subject>, u64)> {
    let features = index.spans.len();
    if let Some(wrong) = options.features.iter().find(|feature| **feature as usize >= features) {
        return Err(Error::request(format!(
            "feature {wrong} is not there, expected 0 to {}",
            features.saturating_sub(1)
        )));
    }
    let mut order = options.features.clone();
    if order.is_empty() {
        order = (0..features as u32).filter(|feature| index.spans[*feature as usize].1 > 0).collect();
        shuffle(&mut order, &mut generator(options.seed, Purpose::Controls, FEATURES, 0));
    }
    order.dedup();
    let wanted = if options.features.is_empty() { options.number } else { order.len() };
    let (pieces, counts) = (Pieces::new(text, options.window), Counts::of(text));
    let (mut found, mut rare) = (Vec::new(), 0);
    progress.begin("passages", Some(wanted as u64), "features");
    for feature in order {
        if found.len() == wanted {
            break;
        }
        let at = feature as usize;
        let rows = index.read(at..at + 1)?.pop().unwrap_or_default();
        let Some(drawn) = pieces.draw(text, &rows, options)? else {
            rare += 1;
            continue;
        };
        let made: Vec<_> = rows
            .iter()
            .filter_map(|row| text.at(row.document, row.position))
            .filter(|place| place.half == Half::Made)
            .collect();
        let rule = choose(&Firings::of(&made), &counts, text.domains.len());
        let rule = rule.and_then(|rule| {
            Some((
                rule.words(&index.vocabulary, &text.domains),
                predict::of_rule(&rule, texts, &text.domains)?,
            ))
        });
        found.push(Subject { drawn, rule });
        progress.advance(found.len() as u64, "");
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was sent"));
        }
    }
    if found.is_empty() {
        return Err(Error::data(format!(
            "none of {rare} features fires in two passages of each half of the documents"
        ))
        .with_remedy("index more text, or name different features"));
    }
    found.sort_by_key(|subject| subject.drawn.feature);
    found.dedup_by_key(|subject| subject.drawn.feature);
    progress.end(&format!("{} features", found.len()));
    Ok((found, rare))
}

struct Work<'a> {
    options: &'a LanguageModelOptions,
    text: &'a Text,
    texts: &'a TokenTexts,
    subjects: &'a [Subject],
    prompts: Prompts<'a>,
}

impl Work<'_> {
    fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        Source::ALL.into_iter().filter(|source| self.options.controls || !source.is_control())
    }

    /// Requests for explanations.
    fn first(&self) -> Vec<ChatRequest> {
        let one = |subject: &Subject| {
            let shuffled = self.options.controls.then(|| self.prompts.explain(&subject.drawn.shuffled));
            std::iter::once(self.prompts.explain(&subject.drawn.shown)).chain(shuffled)
        };
        self.subjects.iter().flat_map(one).collect()
    }

    /// What has been answered to them.
    fn told(&self, answers: &Answers) -> Vec<Told> {
        let said = |request: ChatRequest| answers.get(&request).and_then(parse::explanation);
        let one = |subject: &Subject| Told {
            model: said(self.prompts.explain(&subject.drawn.shown)),
            shuffled: said(self.prompts.explain(&subject.drawn.shuffled)),
        };
        self.subjects.iter().map(one).collect()
    }

    /// What a source says of the feature with that index; `None` where it says nothing.
    fn says(&self, told: &[Told], index: usize, source: Source) -> Option<String> {
        match source {
            Source::Model => told[index].model.clone(),
            Source::Shuffled => told[index].shuffled.clone(),
            Source::OtherFeature => {
                let other = (index + 1) % told.len();
                (other != index).then(|| told[other].model.clone()).flatten()
            }
            Source::Rule => self.subjects[index].rule.as_ref().map(|(words, _)| words.clone()),
            Source::TopTokens => {
                let one = |token: &u32| serde_json::json!(self.prompts.text(&[*token])).to_string();
                let listed: Vec<String> = self.subjects[index].drawn.top.iter().map(one).collect();
                Some(format!("these tokens: {}", listed.join(", ")))
            }
        }
    }

    /// Requests for judgements and words. Where nothing was said yet, `stand_in` puts something in its place, to tell how long they will be.
    fn second(&self, told: &[Told], stand_in: bool) -> Vec<ChatRequest> {
        let mut requests = Vec::new();
        for (index, subject) in self.subjects.iter().enumerate() {
            for source in self.sources().filter(|source| *source != Source::Rule) {
                // Different for every feature and source: equal requests are sent once.
                let in_place = || stand_in.then(|| format!("{STAND_IN} {index} {}", source.name()));
                let Some(text) = self.says(told, index, source).or_else(in_place) else { continue };
                for test in Test::ALL {
                    let batches = subject.drawn.tested.chunks(self.options.batch);
                    requests.extend(batches.map(|batch| self.prompts.judge(test, &text, batch)));
                }
                if source != Source::TopTokens {
                    requests.push(self.prompts.words(&text));
                }
            }
        }
        requests
    }

    /// All judgements and scores.
    fn results(
        &self,
        told: &[Told],
        answers: &Answers,
        tester: &Tester<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Results> {
        let mut results = Results::default();
        progress.begin("simulation", Some(self.subjects.len() as u64), "features");
        for (index, subject) in self.subjects.iter().enumerate() {
            for source in self.sources() {
                let Some(text) = self.says(told, index, source) else { continue };
                for test in Test::ALL {
                    let replies = self.replies(subject, source, test, &text, answers)?;
                    results.judged(subject, source, test, &text, &replies);
                }
                let rule = match source {
                    Source::Rule => subject.rule.as_ref().map(|(_, rule)| rule.clone()),
                    Source::TopTokens => predict::of_tokens(&subject.drawn.top, self.texts),
                    _ => {
                        let words = answers.get(&self.prompts.words(&text)).and_then(parse::words);
                        words.and_then(|words| predict::of_words(&words))
                    }
                };
                let tally = match rule {
                    Some(rule) => predict::simulate(tester, subject.drawn.feature, &rule, progress)?,
                    None => Tally::default(),
                };
                results.simulated(subject.drawn.feature, source, &text, &tally);
            }
            progress.advance(index as u64 + 1, "");
        }
        progress.end(&format!("{} scores", results.scores.len()));
        Ok(results)
    }

    /// An answer for every passage.
    fn replies(
        &self,
        subject: &Subject,
        source: Source,
        test: Test,
        text: &str,
        answers: &Answers,
    ) -> Result<Vec<Option<bool>>> {
        let passages = &subject.drawn.tested;
        if source == Source::Rule {
            let Some((_, rule)) = &subject.rule else { return Ok(vec![None; passages.len()]) };
            let compiled = Compiled::of(rule, self.texts, &self.text.domains)?;
            let found = predict::answers(&compiled, test, passages, self.text, self.texts);
            return Ok(found.into_iter().map(Some).collect());
        }
        let of_batch = |batch: &[super::draw::Passage]| {
            let request = self.prompts.judge(test, text, batch);
            let read = answers.get(&request).and_then(|text| parse::answers(text, batch.len()));
            read.map_or_else(|| vec![None; batch.len()], |read| read.into_iter().map(Some).collect())
        };
        Ok(passages.chunks(self.options.batch).flat_map(of_batch).collect())
    }
}

/// Everything that was judged.
#[derive(Default)]
struct Results {
    judgements: Vec<JudgementRow>,
    scores: Vec<ExplanationScoreRow>,
    sheets: BTreeMap<(Source, Test), BTreeMap<u32, Sheet>>,
    simulations: BTreeMap<Source, Vec<f64>>,
}

impl Results {
    fn judged(
        &mut self,
        subject: &Subject,
        source: Source,
        test: Test,
        text: &str,
        replies: &[Option<bool>],
    ) {
        let feature = subject.drawn.feature;
        let (mut judged, mut unanswered) = (Vec::new(), 0);
        for (passage, answer) in subject.drawn.tested.iter().zip(replies) {
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

    fn simulated(&mut self, feature: u32, source: Source, text: &str, tally: &Tally) {
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
    fn explanations(&self, model: &str) -> Vec<Explanation> {
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

    fn summary(
        &self,
        dir: &Path,
        name: &str,
        folder: PathBuf,
        told: &[Told],
        rare: u64,
        used: Used,
        options: &LanguageModelOptions,
    ) -> LanguageModelSummary {
        LanguageModelSummary {
            table: storage::explanations::path(dir, name),
            folder,
            model: options.model.clone(),
            features: told.iter().filter(|told| told.model.is_some()).count() as u64,
            rare,
            unexplained: told.iter().filter(|told| told.model.is_none()).count() as u64,
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
