//! The whole of it: draw, ask, judge, write.

use std::path::Path;
use std::sync::Arc;

use kernels::chance::{Purpose, generator, shuffle};
use lm::remote::{ChatRequest, ChatServer};
use storage::RunRecord;
use storage::judged::folder;

use super::ask::Answers;
use super::consent::{self, Plan};
use super::draw::{Drawn, Pieces};
use super::options::LanguageModelOptions;
use super::prompts::Prompts;
use super::results::{LanguageModelSummary, Results, Wording};
use super::{Source, Test, delphi, parse, predict};
use crate::explain::choose::{Firings, choose};
use crate::explain::claims::{Compiled, Rule, Tally, Tester, TokenTexts};
use crate::explain::counts::Counts;
use crate::explain::run::Index;
use crate::explain::text::{Half, Text};
use crate::{Error, Progress, Result};

/// Where the stream that orders features begins, apart from other controls.
const FEATURES: u64 = 6 << 40;
/// Stands for an explanation that nobody has given yet, where requests are estimated.
const STAND_IN: &str =
    "words about a subject, of about the length that explanations have, which nobody knows before";

/// A feature with what is known of it before anybody is asked.
struct Subject {
    drawn: Drawn,
    /// Its rule, in words and in the language of claims.
    rule: Option<(String, Rule)>,
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
    plan.extend(answers.missing(&work.second(&work.wordings(&answers), true)));
    consent::ask(Plan::of(&plan), options, progress)?;
    if !plan.is_empty() {
        let server = ChatServer::new(options.address.clone(), options.key.clone(), options.chat.clone())?;
        let server = Arc::new(server);
        let missing = answers.missing(&first);
        answers.ask(&server, missing, options.concurrency, "explanations", progress)?;
        let missing = answers.missing(&work.second(&work.wordings(&answers), false));
        answers.ask(&server, missing, options.concurrency, "scores", progress)?;
    }
    let wordings = work.wordings(&answers);
    let tester = Tester { index: &index, text: &text, texts: &texts, seed: options.seed };
    let results = work.results(&wordings, &answers, &tester, progress)?;

    storage::row::write(&folder.join(storage::judged::JUDGEMENTS), &results.judgements)?;
    storage::row::write(&folder.join(storage::judged::SCORES), &results.scores)?;
    if let Some(out) = &options.delphi {
        let hook = RunRecord::read(dir)?.hook;
        let texts = subjects.iter().zip(&wordings);
        let texts =
            texts.filter_map(|(s, wording)| Some((s.drawn.feature, wording.model.clone()?))).collect();
        delphi::write(out, &hook, &texts, &results.judgements, &work.prompts)?;
    }
    let mut rows = results.explanations(&options.model);
    storage::explanations::write(dir, &name, &mut rows)?;
    Ok(results.summary(dir, &name, folder, &wordings, rare, answers.used, options))
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
    fn wordings(&self, answers: &Answers) -> Vec<Wording> {
        let said = |request: ChatRequest| answers.get(&request).and_then(parse::explanation);
        let one = |subject: &Subject| Wording {
            model: said(self.prompts.explain(&subject.drawn.shown)),
            shuffled: said(self.prompts.explain(&subject.drawn.shuffled)),
        };
        self.subjects.iter().map(one).collect()
    }

    /// What a source says of the feature with that index; `None` where it says nothing.
    fn says(&self, wordings: &[Wording], index: usize, source: Source) -> Option<String> {
        match source {
            Source::Model => wordings[index].model.clone(),
            Source::Shuffled => wordings[index].shuffled.clone(),
            Source::OtherFeature => {
                let other = (index + 1) % wordings.len();
                (other != index).then(|| wordings[other].model.clone()).flatten()
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
    fn second(&self, wordings: &[Wording], stand_in: bool) -> Vec<ChatRequest> {
        let mut requests = Vec::new();
        for (index, subject) in self.subjects.iter().enumerate() {
            for source in self.sources().filter(|source| *source != Source::Rule) {
                // Different for every feature and source: equal requests are sent once.
                let in_place = || stand_in.then(|| format!("{STAND_IN} {index} {}", source.name()));
                let Some(text) = self.says(wordings, index, source).or_else(in_place) else { continue };
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
        wordings: &[Wording],
        answers: &Answers,
        tester: &Tester<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Results> {
        let mut results = Results::default();
        progress.begin("simulation", Some(self.subjects.len() as u64), "features");
        for (index, subject) in self.subjects.iter().enumerate() {
            for source in self.sources() {
                let Some(text) = self.says(wordings, index, source) else { continue };
                for test in Test::ALL {
                    let replies = self.replies(subject, source, test, &text, answers)?;
                    results.judged(&subject.drawn, source, test, &text, &replies);
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
