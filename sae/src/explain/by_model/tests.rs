//! A corpus in which features fire on known words, and servers that know it, invert it, guess, or misbehave.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lm::progress::StopAfter;
use lm::remote::scripted::{Reply, start};
use lm::remote::{Address, ChatOptions};
use serde_json::{Value, json};
use storage::judged::{AnswerLine, ExplanationScoreRow, JudgementRow};
use tempfile::TempDir;

use super::{LanguageModelOptions, LanguageModelSummary, SourceMeans, explain};
use crate::explain::import::{self, ImportOptions};
use crate::features::{IndexOptions, index};
use crate::rows::fixture::{self, header, texts};
use crate::{Error, ModelChoice, Quiet, Result};

/// Features of the planted corpus: on one word; on two words; by chance; too rare.
const FEATURES: usize = 4;

struct Planted {
    folder: TempDir,
}

fn words() -> Vec<String> {
    (0..50)
        .map(|t| {
            format!(" word{}", char::from(b'a' + t / 26).to_string() + &char::from(b'a' + t % 26).to_string())
        })
        .collect()
}

fn planted() -> Planted {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(&[400; 30], 50, 3);
    let (mut values, mut row) = (Vec::new(), 0_u32);
    for text in &texts {
        for token in &text.tokens {
            row += 1;
            let noise = f32::from((row.wrapping_mul(2_654_435_761) >> 20) as u16 % 100) / 100.0;
            let on = [*token == 7, [3, 9].contains(token), noise < 0.02, row == 50];
            values.extend(on.map(|on| if on { 1.0 + noise } else { -1.0 }));
        }
    }
    let data = folder.path().join("data");
    fixture::dataset_of_words(&data, header(FEATURES), &texts, &values, 2, &words());
    fixture::run(&folder.path().join("run"), &fixture::components(FEATURES), &data);
    let options = IndexOptions { model: ModelChoice::Without, map: false, ..IndexOptions::default() };
    index(&folder.path().join("run"), &options, &mut Quiet).unwrap();
    Planted { folder }
}

impl Planted {
    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn explain(&self, address: &str) -> Result<LanguageModelSummary> {
        explain(&self.run(), &options(address), &mut Quiet)
    }

    fn answers(&self) -> Vec<AnswerLine> {
        let path = self.run().join("explanations/m/answers.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn table<R: storage::row::Row>(&self, name: &str) -> Vec<R> {
        let path = self.run().join("explanations/m").join(name);
        storage::row::read(&storage::row::open::<R>(&path).unwrap(), storage::Scan::default()).unwrap()
    }
}

fn options(address: &str) -> LanguageModelOptions {
    let chat = ChatOptions { timeout: Duration::from_secs(2), retries: 1, pause: Duration::from_millis(2) };
    LanguageModelOptions {
        chat,
        window: 16,
        shown: 20,
        tested: 30,
        ..LanguageModelOptions::new(Address::parse(address).unwrap(), "m")
    }
}

/// What is asked.
enum Question<'a> {
    Explain,
    Words,
    /// Whether marks are to be judged, and the passages.
    Judge(bool, Vec<&'a str>),
}

fn question(body: &Value) -> (Question<'_>, &str) {
    let system = body["messages"][0]["content"].as_str().unwrap();
    let user = body["messages"][1]["content"].as_str().unwrap();
    let passages = || user.lines().filter(|line| line.starts_with("Passage ")).collect();
    let question = match system {
        s if s.contains("[EXPLANATION]") => Question::Explain,
        s if s.contains("List the words") => Question::Words,
        s => Question::Judge(s.contains("<<like this>>"), passages()),
    };
    (question, user)
}

fn marked(text: &str) -> Vec<&str> {
    text.split("<<")
        .skip(1)
        .filter_map(|part| part.split_once(">>"))
        .flat_map(|(inside, _)| inside.split_whitespace())
        .collect()
}

/// A reader who finds the words that are marked most often, and judges by them to the letter.
fn knows(body: &Value) -> String {
    let (question, user) = question(body);
    let described: Vec<&str> =
        user.lines().next().unwrap().split([' ', ',', '"']).filter(|word| word.starts_with("word")).collect();
    match question {
        Question::Explain => {
            let mut times: HashMap<&str, usize> = HashMap::new();
            let all = marked(user);
            all.iter().for_each(|word| *times.entry(word).or_default() += 1);
            let mut often: Vec<&str> =
                times.iter().filter(|(_, n)| **n * 5 > all.len()).map(|(word, _)| *word).collect();
            often.sort_unstable();
            format!("They share something.\n[EXPLANATION]: the words {}", often.join(", "))
        }
        Question::Words => json!(described).to_string(),
        Question::Judge(marks, passages) => {
            let fits = |passage: &&str| {
                let words: Vec<&str> =
                    if marks { marked(passage) } else { passage.split_whitespace().collect() };
                u8::from(words.iter().any(|word| described.contains(word)))
            };
            json!(passages.iter().map(fits).collect::<Vec<u8>>()).to_string()
        }
    }
}

fn means<'a>(summary: &'a LanguageModelSummary, source: &str) -> &'a SourceMeans {
    summary.sources.iter().find(|means| means.source == source).unwrap()
}

/// (detection, fuzzing, simulation) of a feature by a source.
fn scores(planted: &Planted, feature: u32, source: &str) -> [Option<f64>; 3] {
    let rows: Vec<ExplanationScoreRow> = planted.table("scores.parquet");
    ["detection", "fuzzing", "simulation"].map(|test| {
        let row = rows.iter().find(|r| r.feature == feature && r.source == source && r.test == test);
        row.and_then(|row| row.value)
    })
}

#[test]
fn who_knows_the_truth_scores_one_and_controls_do_not() {
    let planted = planted();
    let address = start(|body, _| Reply::said(&knows(body))).unwrap();
    let delphi = planted.folder.path().join("delphi");
    let options = LanguageModelOptions { delphi: Some(delphi.clone()), ..options(&address) };
    let summary = explain(&planted.run(), &options, &mut Quiet).unwrap();
    assert_eq!((summary.features, summary.rare, summary.unexplained), (3, 1, 0), "{summary:?}");
    for feature in [0, 1] {
        for source in ["model", "rule", "top tokens"] {
            let [detection, fuzzing, simulation] = scores(&planted, feature, source);
            assert_eq!((detection, fuzzing), (Some(1.0), Some(1.0)), "feature {feature}, {source}");
            // Activations vary and predictions do not: not 1.
            assert!(simulation.unwrap() > 0.95, "feature {feature}, {source}: {simulation:?}");
        }
        for control in ["other feature", "shuffled"] {
            let [detection, fuzzing, simulation] = scores(&planted, feature, control);
            assert!(
                detection.unwrap() < 0.75 && fuzzing.unwrap() < 0.75,
                "{control}: {detection:?} {fuzzing:?}"
            );
            assert!(simulation.is_none_or(|s| s < 0.1), "{control}: {simulation:?}");
        }
    }
    let [detection, ..] = scores(&planted, 2, "model");
    assert!(detection.unwrap() < 0.75, "a feature by chance: {detection:?}");
    let apart =
        summary.differences.iter().find(|d| (d.other, d.test) == ("other feature", "detection")).unwrap();
    assert!(apart.difference.low > 0.0 && apart.features == 3, "{apart:?}");
    assert_eq!(summary.requests as usize, planted.answers().len());
    assert_eq!((summary.prompt_tokens, summary.answer_tokens), (5 * summary.requests, 2 * summary.requests));

    documents_are_parted_before_anything_is_drawn(&planted);

    let kept = storage::explanations::read(&planted.run(), "m").unwrap();
    assert_eq!(kept[0].text, "the words wordah");
    let kinds: Vec<&str> = kept[0].scores.iter().map(|score| score.kind.as_str()).collect();
    assert_eq!((kinds, kept[0].by.as_str()), (vec!["detection", "fuzzing", "correlation"], "m"));

    let read = ImportOptions { file: delphi, ..ImportOptions::default() };
    import::run(&planted.run(), &read, &mut Quiet).unwrap();
    let read = storage::explanations::read(&planted.run(), "delphi").unwrap();
    for (own, read) in kept.iter().zip(&read) {
        assert_eq!((own.feature, &own.text), (read.feature, &read.text));
        assert_eq!(own.scores[..2], read.scores[..], "what delphi's files come to, counted again");
    }
    // A second time everything is known, and nobody is asked.
    let closed = LanguageModelOptions { address: Address::parse("http://127.0.0.1:1").unwrap(), ..options };
    let again = explain(&planted.run(), &closed, &mut Quiet).unwrap();
    assert_eq!((again.requests, &again.sources), (0, &summary.sources));
}

/// No document of a judged passage is one that a prompt for an explanation had text of.
fn documents_are_parted_before_anything_is_drawn(planted: &Planted) {
    let judgements: Vec<JudgementRow> = planted.table("judgements.parquet");
    let text =
        |row: &JudgementRow| row.tokens.iter().map(|t| words()[*t as usize].clone()).collect::<String>();
    let explained: Vec<String> = planted
        .answers()
        .iter()
        .filter(|line| line.text.contains("[EXPLANATION]"))
        .map(|line| {
            line.request["messages"][1]["content"].as_str().unwrap().replace("<<", "").replace(">>", "")
        })
        .collect();
    assert!(!explained.is_empty() && judgements.len() == 3 * 5 * 2 * 60);
    for row in &judgements {
        assert_eq!(row.truth, row.values.iter().any(|value| *value > 0.0));
        assert!(explained.iter().all(|prompt| !prompt.contains(text(row).trim())), "{row:?}");
    }
    let both = |feature: u32, source: &str| -> Vec<(u32, u32)> {
        let of = |r: &&JudgementRow| r.feature == feature && r.source == source;
        judgements.iter().filter(of).map(|r| (r.document, r.start)).collect()
    };
    assert_eq!(both(0, "model"), both(0, "rule"), "the same passages for every source");
    assert_eq!(both(1, "model"), both(1, "shuffled"));
}

#[test]
fn an_inverted_judge_scores_zero_and_a_coin_a_half() {
    let planted = planted();
    let invert = |body: &Value| match question(body).0 {
        Question::Judge(..) => knows(body).replace('1', "x").replace('0', "1").replace('x', "0"),
        _ => knows(body),
    };
    let address = start(move |body, _| Reply::said(&invert(body))).unwrap();
    let summary = planted.explain(&address).unwrap();
    assert_eq!(scores(&planted, 0, "model")[..2], [Some(0.0), Some(0.0)]);
    assert!(means(&summary, "rule").detection.unwrap().value > 0.8, "a rule asks no judge");

    let planted = self::planted();
    // A passage decides its own side: requests come in any order.
    let side = |passage: &str| {
        let hash = passage.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63
    };
    let toss = move |body: &Value| match question(body).0 {
        Question::Judge(_, passages) => {
            json!(passages.iter().map(|passage| side(passage)).collect::<Vec<u64>>()).to_string()
        }
        _ => knows(body),
    };
    let address = start(move |body, _| Reply::said(&toss(body))).unwrap();
    let summary = planted.explain(&address).unwrap();
    let detection = means(&summary, "model").detection.unwrap();
    assert!(
        detection.low < 0.5 && detection.high > 0.5 && (detection.value - 0.5).abs() < 0.12,
        "{detection:?}"
    );
}

#[test]
fn malformed_answers_are_counted_and_count_for_nothing() {
    let planted = planted();
    let mut judged = 0;
    let address = start(move |body, _| {
        if matches!(question(body).0, Question::Judge(..)) {
            judged += 1;
            if judged % 2 == 0 {
                return Reply::said("Certainly! [1, 0");
            }
        }
        Reply::said(&knows(body))
    })
    .unwrap();
    let one =
        LanguageModelOptions { controls: false, features: vec![0], concurrency: 1, ..options(&address) };
    let summary = explain(&planted.run(), &one, &mut Quiet).unwrap();
    let own = means(&summary, "model");
    assert_eq!((own.answered, own.unanswered), (60, 60));
    assert_eq!(own.detection.unwrap().value, 1.0, "those that were answered were right");
    assert_eq!(summary.sources.len(), 2, "no controls");

    let address = start(|_, _| Reply::said("")).unwrap();
    let none = LanguageModelOptions { name: Some("n".into()), ..options(&address) };
    let summary = explain(&planted.run(), &none, &mut Quiet).unwrap();
    assert_eq!((summary.features, summary.unexplained), (0, 3));
    assert_eq!(storage::explanations::read(&planted.run(), "n").unwrap(), []);
}

#[test]
fn a_run_that_was_stopped_or_refused_continues_for_free() {
    let planted = planted();
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let address = start(move |body, _| {
        let mut n = counted.lock().unwrap();
        *n += 1;
        match *n {
            40 => Reply::Status(401, "", "{\"error\":\"no more credit\"}".into()),
            60..63 => Reply::Status(429, "Retry-After: 0.01\r\n", String::new()),
            _ => Reply::said(&knows(body)),
        }
    })
    .unwrap();
    let slow = LanguageModelOptions { concurrency: 1, ..options(&address) };
    let stopped = explain(&planted.run(), &slow, &mut StopAfter::new(12)).unwrap_err();
    assert!(matches!(stopped, Error::Stopped(_)), "{stopped}");
    let kept = planted.answers().len();
    assert!(kept > 0 && !planted.run().join("explanations/m.parquet").exists());
    let refused = explain(&planted.run(), &slow, &mut Quiet).unwrap_err();
    assert!(refused.to_string().contains("no more credit"), "{refused}");
    assert!(planted.answers().len() > kept);
    let before = planted.answers().len() as u64;
    let summary = explain(&planted.run(), &slow, &mut Quiet).unwrap();
    assert_eq!(planted.answers().len() as u64, before + summary.requests);
    assert_eq!(scores(&planted, 0, "model")[..2], [Some(1.0), Some(1.0)]);
    let mut keys: Vec<String> = planted.answers().into_iter().map(|line| line.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), planted.answers().len(), "nothing was paid for twice");
}

#[test]
fn silence_ends_in_an_error_that_says_how_to_continue() {
    let planted = planted();
    let address = start(|_, _| Reply::Silence(Duration::from_secs(3))).unwrap();
    let mut options = options(&address);
    options.chat.timeout = Duration::from_millis(100);
    let error = explain(&planted.run(), &options, &mut Quiet).unwrap_err();
    assert!(
        matches!(error, Error::Network(_)) && error.to_string().contains("give the same command again"),
        "{error}"
    );
}

/// Nothing leaves the machine without consent, and the error tells how much would.
#[test]
fn a_foreign_host_is_not_asked_without_consent() {
    let planted = planted();
    let foreign = options("https://192.0.2.1/v1");
    let error = explain(&planted.run(), &foreign, &mut Quiet).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Request(_)), "{text}");
    for part in ["requests", "tokens", "192.0.2.1", "--yes"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // 6 explanations; 4 sources of 12 + 12 batches; words of 3 sources. Stand-ins make each request a different one.
    assert!(text.contains(&format!("up to {} requests", 6 + 3 * (4 * 24 + 3))), "{text}");
    assert_eq!(planted.answers(), []);
    let wrong = LanguageModelOptions { features: vec![9], ..options("http://127.0.0.1:1") };
    assert!(explain(&planted.run(), &wrong, &mut Quiet).unwrap_err().to_string().contains("feature 9"));
}
