//! A corpus in which the true rules are known, and everything counted again the plain way.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use storage::Run;
use storage::explanations::{Explanation, read};
use tempfile::TempDir;

use super::choose::{Candidate, Firings, MAX_NAMES, NAME_PENALTY, best_set, choose};
use super::counts::Counts;
use super::rule::Rule;
use super::text::{Half, Place, START, Text};
use super::{ExplainOptions, ExplainSummary, RULES, explain};
use crate::features::{IndexOptions, index};
use crate::rows::fixture::{self, header, texts};
use crate::{ModelChoice, Quiet, Result};
use lm::progress::StopAfter;

/// Features of the planted corpus.
const FEATURES: usize = 12;

/// What is planted, by feature; the last two say chance and the number of tokens so far.
fn fires(feature: usize, place: &Row, chance: f32, so_far: usize) -> bool {
    let Row { token, before, domain, .. } = *place;
    match feature {
        0 => token == 7,
        1 => [3, 9, 14].contains(&token),
        2 => before == Some(5),
        3 => [1, 2].contains(&token) && before.is_some_and(|b| [4, 6].contains(&b)),
        4 => domain == "code",
        5 => chance < 0.05,
        6 => chance < 0.5,
        8 => before.is_none(),
        9 => {
            if token == 8 {
                chance < 0.9
            } else {
                chance < 0.003
            }
        }
        10 => token == 11 && so_far < 200,
        11 => true,
        _ => false,
    }
}

#[derive(Debug, Clone, Copy)]
struct Row {
    document: u32,
    position: u32,
    token: u32,
    before: Option<u32>,
    domain: &'static str,
}

struct Planted {
    folder: TempDir,
    rows: Vec<Row>,
    /// Activations `[rows, FEATURES]`, negative where nothing fires.
    values: Vec<f32>,
}

/// 40 documents, indexed.
fn planted() -> Planted {
    let folder = tempfile::tempdir().unwrap();
    let lengths: Vec<usize> = (0..40).map(|i| 90 + i * 3).collect();
    let texts = texts(&lengths, 20, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for (document, text) in texts.iter().enumerate() {
        for (position, &token) in text.tokens.iter().enumerate() {
            let before = position.checked_sub(1).map(|p| text.tokens[p]);
            let row = Row {
                document: 10 + document as u32,
                position: position as u32,
                token,
                before,
                domain: text.domain,
            };
            for feature in 0..FEATURES {
                let (chance, strength) = (rng.random::<f32>(), 0.5 + 3.0 * rng.random::<f32>());
                values.push(if fires(feature, &row, chance, rows.len()) { strength } else { -1.0 });
            }
            rows.push(row);
        }
    }
    let data = folder.path().join("data");
    fixture::dataset(&data, header(FEATURES), &texts, &values, 3);
    fixture::run(&folder.path().join("run"), &fixture::components(FEATURES), &data);
    let options = IndexOptions { model: ModelChoice::Without, map: false, ..IndexOptions::default() };
    index(&folder.path().join("run"), &options, &mut Quiet).unwrap();
    Planted { folder, rows, values }
}

impl Planted {
    fn run(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    fn explain(&self, options: &ExplainOptions) -> Result<ExplainSummary> {
        explain(&self.run(), options, &mut Quiet)
    }

    fn said(&self) -> Vec<Explanation> {
        read(&self.run(), RULES).unwrap()
    }

    fn text(&self) -> Text {
        let run = Run::open(&self.run()).unwrap();
        let dataset = storage::Dataset::open(&self.folder.path().join("data")).unwrap();
        Text::read(&dataset, &run.codes().unwrap().unwrap(), 0, &mut Quiet).unwrap()
    }
}

#[test]
fn planted_rules_are_found_and_chance_gets_none() {
    let planted = planted();
    let summary = planted.explain(&ExplainOptions::default()).unwrap();
    let said = planted.said();
    let words: Vec<(u32, &str)> = said.iter().map(|e| (e.feature, e.text.as_str())).collect();
    // Names come in the order of how often the feature fires on them, which is a matter of the draw.
    let sorted = |text: &str| {
        let mut names: Vec<String> =
            text.split('‹').skip(1).map(|n| n.split('›').next().unwrap().to_owned()).collect();
        names.sort();
        names.join(" ")
    };
    let find = |feature: u32| words.iter().find(|w| w.0 == feature).map_or("nothing", |w| w.1);
    assert_eq!(find(0), "on the token ‹w7›");
    assert!(find(1).starts_with("on one of the tokens ") && sorted(find(1)) == "w14 w3 w9", "{}", find(1));
    assert_eq!(find(2), "after ‹w5›");
    assert!(find(3).contains(" after ") && sorted(find(3)) == "w1 w2 w4 w6", "{}", find(3));
    assert_eq!(find(4), "in texts of the domain ‹code›");
    assert_eq!(find(8), "at the beginning of a text");
    assert_eq!(find(9), "on the token ‹w8›");
    assert_eq!(words.len(), 7, "by chance (5, 6), dead (7), rare (10) and always (11) get none: {words:?}");
    assert_eq!((summary.explained, summary.unexplained, summary.rare, summary.features), (7, 3, 2, 12));
    assert!(said.iter().all(|e| e.method == "rule of tokens" && e.by.starts_with("sae explain")));
    assert_eq!(summary.best.len(), 7);
}

/// Scores again: from the planted rows, by the definitions, with means and deviations instead of sums.
#[test]
fn scores_are_those_of_the_other_half() {
    let planted = planted();
    planted.explain(&ExplainOptions { least: 0.0, ..ExplainOptions::default() }).unwrap();
    let text = planted.text();
    let measured: Vec<usize> = (0..planted.rows.len())
        .filter(|i| {
            text.at(planted.rows[*i].document, planted.rows[*i].position).unwrap().half == Half::Measured
        })
        .collect();
    assert!((0.45..0.55).contains(&(measured.len() as f64 / planted.rows.len() as f64)));
    let said = planted.said();
    for (feature, applies) in [
        (0u32, (|r| r.token == 7) as fn(&Row) -> bool),
        (2, |r| r.before == Some(5)),
        (3, |r| [1, 2].contains(&r.token) && r.before.is_some_and(|b| [4, 6].contains(&b))),
        (4, |r| r.domain == "code"),
        (8, |r| r.before.is_none()),
        (9, |r| r.token == 8),
    ] {
        let a: Vec<f64> = measured
            .iter()
            .map(|i| f64::from(planted.values[i * FEATURES + feature as usize].max(0.0)))
            .collect();
        let m: Vec<f64> = measured.iter().map(|i| f64::from(u8::from(applies(&planted.rows[*i])))).collect();
        let count = |of: &dyn Fn(usize) -> bool| (0..a.len()).filter(|i| of(*i)).count() as f64;
        let (matched, fired) = (count(&|i| m[i] > 0.0), count(&|i| a[i] > 0.0));
        let both = count(&|i| m[i] > 0.0 && a[i] > 0.0);
        let (precision, recall) = (both / matched, both / fired);
        // The simulated activation is the mean of those matched.
        let level = a.iter().zip(&m).map(|(a, m)| a * m).sum::<f64>() / matched;
        let simulated: Vec<f64> = m.iter().map(|m| m * level).collect();
        let expected = [
            ("f1", 2.0 * precision * recall / (precision + recall)),
            ("precision", precision),
            ("recall", recall),
            ("correlation", pearson(&a, &simulated)),
        ];
        let found = &said.iter().find(|e| e.feature == feature).unwrap().scores;
        assert_eq!(found.len(), 4);
        for ((kind, expected), found) in expected.into_iter().zip(found) {
            assert!(
                found.kind == kind && (f64::from(found.value) - expected).abs() < 1e-5,
                "{feature}: {found:?}, {expected}"
            );
        }
    }
}

fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let of = |f: &dyn Fn(usize) -> f64| (0..x.len()).map(f).sum::<f64>();
    let covariance = of(&|i| (x[i] - mx) * (y[i] - my));
    covariance / (of(&|i| (x[i] - mx).powi(2)) * of(&|i| (y[i] - my).powi(2))).sqrt()
}

/// Every set of at most that many candidates, tried.
fn exhaustive(candidates: &[Candidate], fired: u64, most: usize) -> f64 {
    (1u32..1 << candidates.len())
        .filter(|set| set.count_ones() as usize <= most)
        .map(|set| {
            let of = |f: fn(&Candidate) -> u64| {
                candidates
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| set >> i & 1 == 1)
                    .map(|(_, a)| f(a))
                    .sum::<u64>() as f64
            };
            2.0 * of(|a| a.hits) / (fired as f64 + of(|a| a.rows))
                - NAME_PENALTY * f64::from(set.count_ones() - 1)
        })
        .fold(f64::MIN, f64::max)
}

#[test]
fn sets_are_the_best_there_are() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut sizes = [0; MAX_NAMES + 1];
    for case in 0..300 {
        let candidates: Vec<Candidate> = (0..rng.random_range(1..11))
            .map(|name| {
                let rows = rng.random_range(1..60);
                Candidate { name, hits: rng.random_range(1..=rows), rows }
            })
            .collect();
        let fired = candidates.iter().map(|a| a.hits).sum::<u64>() + rng.random_range(0..80);
        let most = rng.random_range(1..=MAX_NAMES);
        let found = best_set(&candidates, fired, most).unwrap();
        let best = exhaustive(&candidates, fired, most);
        assert!((found.score - best).abs() < 1e-12, "case {case}: {found:?}, but {best} is possible");
        assert!(found.names.len() <= most);
        sizes[found.names.len()] += 1;
    }
    assert!(sizes.iter().filter(|n| **n > 0).count() > 4, "cases of many sizes: {sizes:?}");
    assert_eq!(best_set(&[], 5, 3), None);
}

/// A few tokens of a few kinds: all pairs of sets can be tried.
#[test]
fn a_chosen_rule_is_as_good_as_trying_all_of_them() {
    let planted = planted();
    let (text, mut equal) = (planted.text(), 0);
    let counts = Counts::of(&text);
    let places: Vec<Place> = text.places().filter(|p| p.half == Half::Made).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let cases = 12;
    for _ in 0..cases {
        // It fires mostly on some tokens after some tokens, of five that are looked at.
        let draw =
            |rng: &mut ChaCha8Rng| -> Vec<u32> { (0..5).filter(|_| rng.random::<f32>() < 0.5).collect() };
        let (on, behind) = (draw(&mut rng), draw(&mut rng));
        let fired: Vec<Place> = places
            .iter()
            .filter(|p| p.token < 5 && p.before < 5)
            .filter(|p| {
                rng.random::<f32>()
                    < if on.contains(&p.token) && behind.contains(&p.before) { 0.9 } else { 0.1 }
            })
            .copied()
            .collect();
        let rule = choose(&Firings::of(&fired), &counts, 2).unwrap();
        let score = |rule: &Rule| {
            let matched = places.iter().filter(|p| rule.applies(p)).count();
            let both = fired.iter().filter(|p| rule.applies(p)).count();
            assert_eq!(matched as u64, counts.matched(rule, Half::Made));
            let names = match rule {
                Rule::Domains(domains) => domains.len(),
                Rule::Tokens { tokens, before } => tokens.len() + before.len(),
            };
            2.0 * both as f64 / (matched + fired.len()) as f64 - NAME_PENALTY * (names as f64 - 1.0)
        };
        let set = |bits: u32| (0..5).filter(|i| bits >> i & 1 == 1).collect::<Vec<u32>>();
        let all = (1..1u32 << 10).map(|bits| Rule::Tokens { tokens: set(bits & 31), before: set(bits >> 5) });
        let best = all.map(|rule| score(&rule)).fold(f64::MIN, f64::max);
        let found = score(&rule);
        assert!(found <= best + 1e-12 && found > best - 0.05, "{rule:?}: {found}, but {best} is possible");
        equal += usize::from((found - best).abs() < 1e-12);
    }
    assert!(equal * 4 >= cases * 3, "the climb finds the best rule nearly always: {equal} of {cases}");
}

#[test]
fn threads_and_repetition_change_nothing_and_a_seed_does() {
    let planted = planted();
    let table = storage::explanations::path(&planted.run(), RULES);
    let made = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| planted.explain(&ExplainOptions { seed, ..ExplainOptions::default() }).unwrap());
        std::fs::read(&table).unwrap()
    };
    let first = made(1, 0);
    assert_eq!(first, made(3, 0));
    assert_ne!(first, made(1, 1), "other halves, other scores");
}

#[test]
fn what_is_stopped_or_wrong_leaves_the_old_rules() {
    let planted = planted();
    planted.explain(&ExplainOptions::default()).unwrap();
    let before = planted.said();
    let error = explain(&planted.run(), &ExplainOptions::default(), &mut StopAfter::new(1)).unwrap_err();
    assert!(matches!(error, crate::Error::Stopped(_)), "{error}");
    let other = planted.folder.path().join("other");
    let shorter = texts(&[30; 40], 20, 3);
    fixture::dataset(&other, header(FEATURES), &shorter, &vec![-1.0; 30 * 40 * FEATURES], 1);
    let options = ExplainOptions { data: Some(other), ..ExplainOptions::default() };
    let message = planted.explain(&options).unwrap_err().to_string();
    assert!(
        message.contains("document 10 does not have the 90 rows") && message.contains("--data"),
        "{message}"
    );
    let options = ExplainOptions { least: 1.5, ..ExplainOptions::default() };
    assert!(planted.explain(&options).unwrap_err().to_string().contains("is 1.5, expected"));
    assert_eq!(planted.said(), before);
    std::fs::remove_dir_all(planted.run().join("features")).unwrap();
    let message = planted.explain(&ExplainOptions::default()).unwrap_err().to_string();
    assert!(message.contains("sae index"), "{message}");
}

#[test]
fn a_new_index_keeps_explanations() {
    let planted = planted();
    planted.explain(&ExplainOptions::default()).unwrap();
    let before = planted.said();
    let options = IndexOptions { model: ModelChoice::Without, map: false, ..IndexOptions::default() };
    index(&planted.run(), &options, &mut Quiet).unwrap();
    assert_eq!(planted.said(), before);
}

/// An index of part of the tokens cuts its last document.
#[test]
fn part_of_the_documents() {
    let planted = planted();
    let options = IndexOptions {
        model: ModelChoice::Without,
        map: false,
        tokens: Some(2000),
        ..IndexOptions::default()
    };
    index(&planted.run(), &options, &mut Quiet).unwrap();
    let summary = planted.explain(&ExplainOptions::default()).unwrap();
    assert_eq!(summary.tokens_made + summary.tokens_measured, 2000);
    assert!(planted.said().iter().any(|e| e.text == "on the token ‹w7›"));
}

#[test]
fn pairs_are_counted_as_one_would() {
    let planted = planted();
    let text = planted.text();
    let counts = Counts::of(&text);
    let halves: Vec<Half> =
        planted.rows.iter().map(|r| text.at(r.document, r.position).unwrap().half).collect();
    for half in [Half::Made, Half::Measured] {
        let count = |of: &dyn Fn(&Row) -> bool| {
            planted.rows.iter().zip(&halves).filter(|(row, h)| **h == half && of(row)).count() as u64
        };
        assert_eq!(counts.before(START, half), count(&|r| r.before.is_none()));
        for a in 0..20 {
            assert_eq!(counts.token(a, half), count(&|r| r.token == a));
            assert_eq!(counts.before(a, half), count(&|r| r.before == Some(a)));
            for b in 0..20 {
                assert_eq!(counts.pair(a, b, half), count(&|r| r.token == a && r.before == Some(b)));
            }
        }
        assert_eq!((counts.token(77, half), counts.pair(77, 1, half), counts.before(77, half)), (0, 0, 0));
    }
}
