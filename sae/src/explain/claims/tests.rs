//! Claims on a corpus in which it is known where everything fires, each counted again one token at a time.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::*;
use crate::explain::{CLAIMS, ExplainOptions, explain};
use crate::features::{IndexOptions, index};
use crate::rows::fixture::{self, Text, header, texts};
use crate::{Error, ModelChoice, Quiet};
use lm::progress::StopAfter;
use storage::claims::ClaimIntervention;

const FEATURES: usize = 4;

struct Corpus {
    folder: TempDir,
    texts: Vec<Text>,
    /// Activations `[rows, FEATURES]`, negative where nothing fires.
    values: Vec<f32>,
}

/// Feature 0 fires on token 7 and now and then elsewhere, 1 within three tokens after token 5, 2 never, 3 by chance.
fn corpus() -> Corpus {
    let folder = tempfile::tempdir().unwrap();
    let lengths: Vec<usize> = (0..30).map(|i| 60 + i * 5).collect();
    let texts = texts(&lengths, 20, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut values = Vec::new();
    for text in &texts {
        for (i, token) in text.tokens.iter().enumerate() {
            let near = text.tokens[i.saturating_sub(3)..i].contains(&5);
            let fires = [*token == 7 || rng.random::<f32>() < 0.02, near, false, rng.random::<f32>() < 0.1];
            values.extend(fires.map(|fires| if fires { 0.5 + rng.random::<f32>() } else { -1.0 }));
        }
    }
    let (data, run) = (folder.path().join("data"), folder.path().join("run"));
    fixture::dataset(&data, header(FEATURES), &texts, &values, 3);
    fixture::run(&run, &fixture::components(FEATURES), &data);
    let options = IndexOptions { model: ModelChoice::Without, map: false, ..IndexOptions::default() };
    index(&run, &options, &mut Quiet).unwrap();
    Corpus { folder, texts, values }
}

impl Corpus {
    fn run(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    fn evidence(&self) -> Evidence {
        Evidence::open(&self.run(), &EvidenceOptions::default(), &mut Quiet).unwrap()
    }
}

/// What a rule can look at.
#[derive(Clone, Copy)]
struct At<'a> {
    text: &'a Text,
    document: u32,
    position: usize,
}

/// Whether a rule applies, by its definition and one token at a time.
fn applies(rule: &Rule, at: At<'_>) -> bool {
    let token = |position: usize| format!("w{}", at.text.tokens[position]);
    let named = |names: &[Name], position: usize| {
        names.iter().any(|name| match name {
            Name::Exact(text) => *text == token(position),
            Name::Like(text) => text.to_lowercase() == token(position),
        })
    };
    match rule {
        Rule::Not(rule) => !applies(rule, at),
        Rule::All(parts) => parts.iter().all(|part| applies(part, at)),
        Rule::Any(parts) => parts.iter().any(|part| applies(part, at)),
        Rule::Is(condition) => match condition {
            Condition::Token(names) => named(names, at.position),
            Condition::Near { side, within, names } => (0..at.text.tokens.len()).any(|other| {
                let distance = other.abs_diff(at.position);
                let right_side = match side {
                    Side::Earlier => other < at.position,
                    Side::Later => other > at.position,
                    Side::Either => other != at.position,
                };
                right_side && distance <= *within as usize && named(names, other)
            }),
            Condition::Domain(names) => names.iter().any(|name| name == at.text.domain),
            Condition::TokenMatches(pattern) => {
                regex::Regex::new(pattern).unwrap().is_match(&token(at.position))
            }
            Condition::TextMatches(pattern) => {
                let all: Vec<String> = (0..at.text.tokens.len()).map(token).collect();
                let start: usize = all[..at.position].iter().map(String::len).sum();
                let end = start + all[at.position].len();
                let found = regex::Regex::new(pattern).unwrap();
                found.find_iter(&all.concat()).any(|m| m.start() < end && m.end() > start)
            }
            Condition::Documents(first, last) => (*first..=*last).contains(&at.document),
            Condition::Position(first, last) => (*first..=*last).contains(&(at.position as u32)),
        },
    }
}

const RULES: [&str; 14] = [
    "token w7",
    "token \"w7\" W3 and not after w1",
    "within 3 after w5",
    "within 4 before w2 w9",
    "within 2 of w11",
    "domain code",
    "not domain code and (token w1 or before w2)",
    "token /^w1[0-3]$/",
    "text /w1w/",
    "text /5w(?:2|3)w/ or token w0",
    "documents 12-20 and token w7",
    "position 0-5",
    "not (token w7 or not within 9 of w7)",
    "token w7 or within 3 after w5 and not token w5",
];

#[test]
fn every_rule_applies_where_its_definition_holds() {
    let corpus = corpus();
    let evidence = corpus.evidence();
    for rule in RULES {
        let rule = Rule::parse(rule).unwrap();
        for feature in [0u32, 1, 3] {
            let test = evidence.test(feature, &rule, &mut Quiet, &mut |_, _| {}).unwrap();
            let mut expected = Vec::new();
            let mut row = 0;
            for (document, text) in (10..).zip(&corpus.texts) {
                for position in 0..text.tokens.len() {
                    let value = corpus.values[row * FEATURES + feature as usize].max(0.0);
                    row += 1;
                    let outcome = match (value > 0.0, applies(&rule, At { text, document, position })) {
                        (true, true) => Outcome::Hit,
                        (true, false) => Outcome::Miss,
                        (false, true) => Outcome::FalseAlarm,
                        (false, false) => continue,
                    };
                    expected.push((document, position as u32, value, outcome));
                }
            }
            let found: Vec<_> =
                test.places.iter().map(|p| (p.document, p.position, p.value, p.outcome)).collect();
            assert_eq!(found, expected, "{rule} of feature {feature}");
            let count = |outcome, measured| {
                test.places.iter().filter(|p| p.outcome == outcome && p.measured == measured).count() as u64
            };
            for (tally, measured) in [(&test.measured, true), (&test.made, false)] {
                assert_eq!(tally.hits, count(Outcome::Hit, measured));
                assert_eq!(tally.misses, count(Outcome::Miss, measured));
                assert_eq!(tally.false_alarms, count(Outcome::FalseAlarm, measured));
            }
            assert_eq!((test.measured.tokens + test.made.tokens) as usize, row);
        }
    }
}

/// Scores and their intervals again, from lists of numbers and with every document really left out.
#[test]
fn scores_are_those_of_the_documents_that_it_was_not_made_from() {
    let corpus = corpus();
    let rule = Rule::parse("token w7").unwrap();
    let test = corpus.evidence().test(0, &rule, &mut Quiet, &mut |_, _| {}).unwrap();
    let measured: std::collections::BTreeSet<u32> =
        test.places.iter().filter(|p| p.measured).map(|p| p.document).collect();
    assert_eq!(measured.len() as u64, test.measured.documents, "every document has a token 7");
    let mut rows: Vec<(u32, f64, f64)> = Vec::new();
    let mut row = 0;
    for (document, text) in (10..).zip(&corpus.texts) {
        for token in &text.tokens {
            let value = f64::from(corpus.values[row * FEATURES].max(0.0));
            row += 1;
            if measured.contains(&document) {
                rows.push((document, value, f64::from(u8::from(*token == 7))));
            }
        }
    }
    let scores = |without: Option<u32>| {
        let kept: Vec<(f64, f64)> =
            rows.iter().filter(|r| Some(r.0) != without).map(|r| (r.1, r.2)).collect();
        let count = |of: &dyn Fn(&(f64, f64)) -> bool| kept.iter().filter(|r| of(r)).count() as f64;
        let both = count(&|r| r.0 > 0.0 && r.1 > 0.0);
        let (precision, recall) = (both / count(&|r| r.1 > 0.0), both / count(&|r| r.0 > 0.0));
        let n = kept.len() as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| kept.iter().map(of).sum::<f64>() / n;
        let (a, m) = (mean(&|r| r.0), mean(&|r| r.1));
        let covariance = mean(&|r| (r.0 - a) * (r.1 - m));
        let deviations = (mean(&|r| (r.0 - a).powi(2)) * mean(&|r| (r.1 - m).powi(2))).sqrt();
        [precision, recall, 2.0 * precision * recall / (precision + recall), covariance / deviations]
    };
    let all = scores(None);
    let found = test.measured.scores.unwrap();
    let found = [found.precision, found.recall, found.f1, found.correlation];
    for (found, expected) in found.iter().zip(all) {
        assert!((found.value - expected).abs() < 1e-6, "{found:?}, {expected}");
        assert!(found.low < found.value && (found.value < found.high || found.value == 1.0));
    }
    let left: Vec<f64> = measured.iter().map(|document| scores(Some(*document))[1]).collect();
    let n = left.len() as f64;
    let variance = (n - 1.0) / n * left.iter().map(|recall| (recall - all[1]).powi(2)).sum::<f64>();
    // No more than the tokens that there are.
    let fired = rows.iter().filter(|row| row.1 > 0.0).count() as f64;
    let worth = (all[1] * (1.0 - all[1]) / variance).min(fired);
    // Wilson's interval as the roots of (p − x)² = z² x (1 − x) / n.
    let z2 = 1.96f64.powi(2) / worth;
    let root = |sign: f64| {
        let (b, c) = (2.0 * all[1] + z2, all[1] * all[1]);
        (b + sign * (b * b - 4.0 * (1.0 + z2) * c).sqrt()) / (2.0 * (1.0 + z2))
    };
    assert!((found[1].low - root(-1.0)).abs() < 1e-3, "{:?}, {}", found[1], root(-1.0));
    assert!((found[1].high - root(1.0)).abs() < 1e-3, "{:?}, {}", found[1], root(1.0));
}

#[test]
fn threads_change_nothing_and_a_stop_is_obeyed() {
    let corpus = corpus();
    let evidence = corpus.evidence();
    let rule = Rule::parse("token w7 or text /w1w/").unwrap();
    let tested = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| evidence.test(0, &rule, &mut Quiet, &mut |_, _| {}).unwrap())
    };
    assert_eq!(tested(1), tested(3));
    let stopped = evidence.test(0, &rule, &mut StopAfter::new(0), &mut |_, _| {});
    assert!(matches!(stopped, Err(Error::Stopped(_))));
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_reason() {
    let evidence = corpus().evidence();
    let error = |feature, rule: &str| {
        let rule = Rule::parse(rule).unwrap();
        evidence.test(feature, &rule, &mut Quiet, &mut |_, _| {}).unwrap_err().to_string()
    };
    assert!(error(0, "token court").contains("no token reads court"));
    assert!(error(0, "domain legal").contains("code, prose"));
    assert!(error(99, "token w1").contains("feature 99 is not there, expected 0 to 3"));
    let dead = evidence.test(2, &Rule::parse("token w1").unwrap(), &mut Quiet, &mut |_, _| {}).unwrap();
    assert_eq!((dead.measured.scores, dead.measured.hits), (None, 0));
}

#[test]
fn kept_claims_are_scored_as_explanations_until_they_are_withdrawn() {
    let corpus = corpus();
    let test =
        corpus.evidence().test(0, &Rule::parse("token w7").unwrap(), &mut Quiet, &mut |_, _| {}).unwrap();
    let kept = keep(&corpus.run(), &test, &[], "ann", "the seventh word", false).unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].scores.unwrap().f1[0] > 0.5 && !kept[0].counterexamples.is_empty());
    // A claim that this vocabulary cannot express does not hinder the others.
    let foreign = storage::claims::Claim { rule: "token court".into(), by: "bob".into(), ..kept[0].clone() };
    storage::claims::merge(&corpus.run(), &[foreign]).unwrap();
    let summary = explain(&corpus.run(), &ExplainOptions::default(), &mut Quiet).unwrap();
    assert_eq!(summary.claims, 1);
    let said = storage::explanations::read(&corpus.run(), CLAIMS).unwrap();
    assert_eq!(
        (said.len(), said[0].text.as_str(), said[0].by.as_str()),
        (1, "the seventh word (on ‹w7›)", "ann")
    );
    let f1 = said[0].scores.iter().find(|score| score.kind == "f1").unwrap().value;
    assert!((f64::from(f1) - test.measured.scores.unwrap().f1.value).abs() < 1e-6, "the same documents");
    for claim in storage::claims::read(&corpus.run()).unwrap() {
        withdraw(&corpus.run(), &claim).unwrap();
    }
    explain(&corpus.run(), &ExplainOptions::default(), &mut Quiet).unwrap();
    assert!(storage::explanations::read(&corpus.run(), CLAIMS).unwrap().is_empty());
}

#[test]
fn figures_show_the_scores_and_are_well_formed() {
    let corpus = corpus();
    let evidence = corpus.evidence();
    let rule = Rule::parse("token w7 or text /w1<?w/").unwrap();
    let test = evidence.test(0, &rule, &mut Quiet, &mut |_, _| {}).unwrap();
    let place = test.places.iter().find(|place| place.outcome == Outcome::Miss).unwrap();
    let text = evidence.context(place.document, place.position, 5).unwrap();
    let shown: Vec<String> =
        corpus.texts[place.document as usize - 10].tokens.iter().map(|t| format!("w{t}")).collect();
    assert_eq!(text[1], shown[place.position as usize]);
    assert!(shown.concat().contains(&text.concat()));
    let line = Line {
        document: "a|b & <c>".into(),
        position: place.position,
        value: place.value,
        outcome: place.outcome,
        text,
    };
    let words = rule.words();
    let lines = [line];
    let interventions = [ClaimIntervention {
        document: 3,
        position: 4,
        change: "ablate 7 | <b>".into(),
        tokens: 9,
        kl: 0.25,
        random_kl: Some([0.5, 0.125, 0.75]),
        loss: Some([2.0, 2.5]),
        random_loss: None,
        draws: 3,
    }];
    let figure = Figure {
        of: "run · model",
        words: &words,
        test: &test,
        lines: &lines,
        interventions: &interventions,
    };
    let markdown = figure.markdown();
    let f1 = test.measured.scores.unwrap().f1.value;
    assert!(markdown.contains(&format!("| F1 | {f1:.3} |")) && markdown.contains("a\\|b"), "{markdown}");
    let row = "| ablate 7 \\| \\<b> | 3 4 | 0.25000 | 0.50000 (0.12500 to 0.75000) | 2.0000 → 2.5000 | – |";
    assert!(markdown.contains(row), "{markdown}");
    let svg = figure.svg();
    let document = well_formed(&svg);
    assert!(document.contains("ablate 7 | &lt;b&gt;") && document.contains("loss 2.000 → 2.500"), "{svg}");
    let without = Figure { interventions: &[], ..figure };
    assert!(!without.svg().contains("random directions") && !without.markdown().contains("| change |"));
    assert!(document.contains("a|b &amp; &lt;c&gt;") && svg.contains(&format!("{f1:.3}")), "{svg}");
}

/// Checks that tags are closed in order and that no bare `<` or `&` stands in a text; gives the document back.
fn well_formed(svg: &str) -> &str {
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag that ends");
        assert!(!text.contains('>'));
        let entities = ["amp;", "lt;", "gt;", "quot;"];
        assert!(text.split('&').skip(1).all(|rest| entities.iter().any(|entity| rest.starts_with(entity))));
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, true) => {}
            (false, false) => open.push(name),
        }
    }
    assert!(open.is_empty());
    svg
}
