//! A believable folder to look at: a finished run with an index and an evaluation, one that was stopped, one that is
//! damaged, and a dataset with documents and experts. Everything is made with `storage`'s own writers; the same size
//! gives the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, RecordBatch, UInt32Array};
use arrow::datatypes::Int32Type;
use storage::examples::{ExampleRow, ExampleWriter};
use storage::experts::{BalanceRow, ExpertLoadRow};
use storage::explanations::{Explanation, Score};
use storage::features::{FeatureRow, FeatureWriter};
use storage::metrics::{MetricsLog, MetricsRow};
use storage::{
    DatasetWriter, Dtype, Layout, Manifest, ModelRef, RunRecord, RunStatus, TextSource, documents, schema,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where the sample's activations were taken.
pub const HOOK: &str = "blocks.2.hook_resid_post";
const INDEXED: u64 = 1_200_000;

/// Name, kind and text of the documents.
pub const TEXTS: [(&str, &str, &str); 6] = [
    (
        "alice.txt",
        "prose",
        "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, “and what is the use of a book,” thought Alice “without pictures or conversations?”\nSo she was considering in her own mind (as well as she could, for the hot day made her feel very sleepy and stupid), whether the pleasure of making a daisy-chain would be worth the trouble of getting up and picking the daisies, when suddenly a White Rabbit with pink eyes ran close by her.\n",
    ),
    (
        "thoreau.txt",
        "prose",
        "I went to the woods because I wished to live deliberately, to front only the essential facts of life, and see if I could not learn what it had to teach, and not, when I came to die, discover that I had not lived. The forest stood round the pond, and the trees came down to the water; a deep forest, where no axe had been heard for a hundred years.\n",
    ),
    (
        "licence.txt",
        "law",
        "Subject to the terms and conditions of this License, each Contributor hereby grants to You a perpetual, worldwide, non-exclusive, no-charge, royalty-free, irrevocable copyright license to reproduce, prepare Derivative Works of, publicly display, publicly perform, sublicense, and distribute the Work and such Derivative Works in Source or Object form.\n",
    ),
    (
        "merge.rs",
        "code",
        "fn merge(left: &[u32], right: &[u32]) -> Vec<u32> {\n    let mut out = Vec::with_capacity(left.len() + right.len());\n    let (mut i, mut j) = (0, 0);\n    while i < left.len() && j < right.len() {\n        if left[i] <= right[j] { out.push(left[i]); i += 1; } else { out.push(right[j]); j += 1; }\n    }\n    out.extend_from_slice(&left[i..]);\n    out\n}\n",
    ),
    (
        "taugenichts.txt",
        "german",
        "Das Rad an meines Vaters Mühle brauste und rauschte schon wieder recht lustig, der Schnee tröpfelte emsig vom Dache, die Sperlinge zwitscherten und tummelten sich dazwischen; ich saß auf der Türschwelle und wischte mir den Schlaf aus den Augen; mir war so recht wohl in dem warmen Sonnenscheine. Im Wald, im tiefen Wald, sang ein Vogel.\n",
    ),
    (
        "figures.txt",
        "reference",
        "In 1914 the city had 318,000 inhabitants; in 1950 there were 1,021,400. The river is 412 km long and flows through 7 provinces. See also: Table 12.\n",
    ),
];

/// Tokens that stand in no text: bytes that are none, and scripts of all kinds.
const SPECIAL: [&str; 10] =
    ["<s>", "‹e2›", "‹96›", "日本", " 🙂", " العربية", " हिन्दी", "ไทย", " 한국어", "🤖"];

/// The tokens of the sample.
pub struct Text {
    /// Texts of tokens.
    pub vocabulary: Vec<String>,
    /// Tokens of each document.
    pub documents: Vec<Vec<u32>>,
}

/// Cuts the texts into words with the space before them, as byte-level BPE does.
pub fn text() -> Text {
    let mut ids: BTreeMap<String, u32> = BTreeMap::new();
    let mut vocabulary: Vec<String> = SPECIAL.map(Into::into).into();
    let mut documents = Vec::new();
    for (_, _, body) in TEXTS {
        let mut tokens = Vec::new();
        // Each document twice over, so that there is something to read.
        for word in words(body).into_iter().chain(words(body)) {
            let next = vocabulary.len() as u32;
            let id = *ids.entry(word.clone()).or_insert(next);
            if id == next {
                vocabulary.push(word);
            }
            tokens.push(id);
        }
        documents.push(tokens);
    }
    Text { vocabulary, documents }
}

fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut current = String::new();
    for c in text.chars() {
        let begins = !c.is_alphanumeric();
        let ends_other = current.chars().last().is_some_and(|l| !l.is_alphanumeric() && l != ' ');
        if (begins || ends_other) && !current.is_empty() {
            out.push(std::mem::take(&mut current));
        }
        current.push(c);
        // Long words come in pieces.
        if current.chars().count() >= 9 {
            out.push(std::mem::take(&mut current));
        }
    }
    out.extend((!current.is_empty()).then_some(current));
    out
}

/// A number in 0..1 that depends on `a` and `b` only.
pub fn chance(a: u64, b: u64) -> f64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// The whole folder, with `features` features in the finished run.
pub fn folder(root: &Path, features: u32) -> Result<()> {
    let text = text();
    dataset(&root.join("resid2"), &text)?;
    finished_run(&root.join("topk-2k"), features, &text)?;
    map(&root.join("topk-2k"), features, &text)?;
    explanations(&root.join("topk-2k"), features, &text)?;
    finished_run(&root.join("narrow/topk-512"), 512, &text)?;
    comparison(&root.join("topk-2k"), features, &root.join("narrow/topk-512"), 512)?;
    stopped_run(&root.join("mutual-choice-2k"), features)?;
    damaged_run(&root.join("broken"))
}

/// Places in the plane: features about the same kind of word lie together.
pub fn map(run: &Path, features: u32, text: &Text) -> Result<()> {
    let alive = (0..features).filter(|f| !dead(*f));
    let rows: Vec<storage::map::PointRow> = alive
        .map(|feature| {
            let kind = f64::from(main_token(feature, text) % 23);
            let (f, turn) = (u64::from(feature), kind * 2.4);
            let spread = |seed| (chance(f, seed) + chance(f, seed + 1) + chance(f, seed + 2) - 1.5) * 1.4;
            let x = turn.cos() * (2.0 + kind * 0.3) + spread(300);
            let y = turn.sin() * (2.0 + kind * 0.3) + spread(310);
            storage::map::PointRow { feature, x: x as f32, y: y as f32 }
        })
        .collect();
    storage::row::write(&run.join("features").join(storage::map::FILE), &rows)?;
    Ok(())
}

/// Rules for two features in three, and what another tool said of every ninth.
pub fn explanations(run: &Path, features: u32, text: &Text) -> Result<()> {
    let score = |kind: &str, value: f64| Score { kind: kind.into(), value: value as f32 };
    let of = |feature: u32, seed: u64| 0.5 + 0.49 * chance(u64::from(feature), seed);
    let word = |feature: u32| {
        text.vocabulary[main_token(feature, text) as usize].replace(' ', "·").replace('\n', "↵")
    };
    let rule = |feature: u32| {
        let (precision, recall) = (of(feature, 500), of(feature, 501));
        let f1 = 2.0 * precision * recall / (precision + recall);
        Explanation {
            feature,
            text: format!("on the token ‹{}›", word(feature)),
            method: "rule of tokens".into(),
            by: "sae explain 0.1.0".into(),
            scores: vec![
                score("f1", f1),
                score("precision", precision),
                score("recall", recall),
                score("correlation", of(feature, 502)),
            ],
        }
    };
    let other = |feature: u32| Explanation {
        feature,
        text: format!(
            "the word “{}” in descriptions of landscapes and of the seasons",
            word(feature).replace('·', "")
        ),
        method: "oai_token-act-pair".into(),
        by: "a-language-model".into(),
        scores: vec![score("eleuther_fuzz", of(feature, 503) - 0.4)],
    };
    let alive = || (0..features).filter(|feature| !dead(*feature));
    let mut rules: Vec<_> = alive().filter(|feature| feature % 3 != 2).map(rule).collect();
    storage::explanations::write(run, "rules", &mut rules)?;
    let mut others: Vec<_> = alive().filter(|feature| feature % 9 == 7).map(other).collect();
    storage::explanations::write(run, "neuronpedia", &mut others)?;
    Ok(())
}

/// A comparison of two runs: most small features found their like, several large ones share one.
pub fn comparison(run: &Path, features: u32, other: &Path, others: u32) -> Result<()> {
    use storage::matching::{Comparison, FEATURES, FOLDER, NearestRow, OTHERS};
    let folder = run.join(FOLDER).join("topk-512");
    std::fs::create_dir_all(&folder)?;
    let cosine = |f: u32| 0.35 + 0.62 * chance(u64::from(f), 400) as f32;
    // Feature f is nearest to f mod others; the other way the nearest is the alike-est of those.
    let best = |g: u32| {
        (0..features)
            .filter(|f| f % others == g)
            .max_by(|a, b| cosine(*a).total_cmp(&cosine(*b)))
            .unwrap_or(0)
    };
    let bests: Vec<u32> = (0..others).map(best).collect();
    let row = |feature: u32, nearest: u32, cosine: f32, mutual: bool| NearestRow {
        feature,
        nearest,
        cosine,
        second: Some(cosine * 0.6),
        mutual,
    };
    let here: Vec<NearestRow> =
        (0..features).map(|f| row(f, f % others, cosine(f), bests[(f % others) as usize] == f)).collect();
    let there: Vec<NearestRow> =
        (0..others).zip(&bests).map(|(g, best)| row(g, *best, cosine(*best), true)).collect();
    storage::row::write(&folder.join(FEATURES), &here)?;
    storage::row::write(&folder.join(OTHERS), &there)?;
    let mean =
        |rows: &[NearestRow]| rows.iter().map(|r| f64::from(r.cosine)).sum::<f64>() / rows.len() as f64;
    Comparison {
        format: storage::matching::FORMAT.into(),
        version: storage::matching::VERSION,
        run: run.into(),
        other: other.into(),
        features: u64::from(features),
        others: u64::from(others),
        mutual: u64::from(others),
        mean_max_cosine: mean(&here),
        others_mean_max_cosine: mean(&there),
        ..Comparison::default()
    }
    .write(&folder)?;
    Ok(())
}

/// A run whose record cannot be read.
pub fn damaged_run(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    Ok(std::fs::write(
        dir.join("run.json"),
        "{\"format\": \"sae-workbench run\", \"version\": 1, \"status\": ",
    )?)
}

/// The record of a run with `features` features.
pub fn record(method: &str, features: u32, status: RunStatus) -> RunRecord {
    RunRecord {
        status,
        method: method.into(),
        k: 32,
        d_in: 128,
        d_sae: features as usize,
        hook: HOOK.into(),
        model: ModelRef { id: "olmoe-mini".into(), path: None, sha256: "5e".repeat(32) },
        data: "resid2".into(),
        seed: 42,
        threads: 2,
        tokens_total: 4_000_000,
        tokens_done: 4_000_000,
        step: 1953,
        steps_total: 1953,
        wall_seconds: 93.0,
        versions: [("sae".to_owned(), "0.1.0".to_owned())].into(),
        started: "2026-03-01T10:00:00Z".into(),
        updated: "2026-03-01T10:01:33Z".into(),
        input_scale: 0.37,
        last: Some(MetricsRow {
            explained_variance: Some(0.871),
            l0: Some(32.0),
            dead_share: Some(0.021),
            ..MetricsRow::default()
        }),
        ..RunRecord::new()
    }
}

/// Writes curves of `steps` logged steps.
pub fn curves(dir: &Path, steps: u64, quality: f32) -> Result<()> {
    let mut log = MetricsLog::open(&dir.join("metrics.parquet"), None)?;
    for i in 0..steps {
        let t = i as f32 / steps as f32;
        let noise = |n: u64| (chance(i, n) as f32 - 0.5) * 0.02;
        let fvu = (1.0 - quality) + 0.9 * (-9.0 * t).exp() + noise(1) * (1.0 - t);
        let rate = 4e-4 * (t * 20.0).min(1.0) * (5.0 * (1.0 - t)).min(1.0);
        log.append(MetricsRow {
            step: i * 10,
            tokens: (i + 1) * 20_480,
            seconds: i as f64 * 0.46,
            overall_loss: Some(fvu * 31.0 + 0.4),
            mse_loss: Some(fvu * 31.0),
            auxiliary_loss: Some(0.4 + noise(2)),
            explained_variance: Some(1.0 - fvu),
            fvu: Some(fvu),
            l0: Some(32.0 + noise(3) * 10.0),
            dead_features: Some((2000.0 * 0.3 * (t * 6.0).min(1.0) * (-4.0 * t).exp()).round()),
            dead_share: Some(0.3 * (t * 6.0).min(1.0) * (-4.0 * t).exp()),
            learning_rate: Some(rate),
            tokens_per_second: Some(43_000.0 + noise(4) * 2e5),
            ..MetricsRow::default()
        })?;
    }
    Ok(log.flush()?)
}

fn stopped_run(dir: &Path, features: u32) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let whole = record("mutual-choice", features, RunStatus::Stopped);
    RunRecord { tokens_done: 1_600_000, step: 781, wall_seconds: 41.0, ..whole }.write(dir)?;
    curves(dir, 78, 0.85)
}

/// A run with everything: record, curves, configuration, evaluation, index.
pub fn finished_run(dir: &Path, features: u32, text: &Text) -> Result<()> {
    std::fs::create_dir_all(dir.join("features"))?;
    std::fs::create_dir_all(dir.join("evaluation"))?;
    record("topk", features, RunStatus::Finished).write(dir)?;
    curves(dir, 195, 0.88)?;
    std::fs::write(
        dir.join("train.toml"),
        "method = \"topk\"\nk = 32\nfeatures = 2048\nseed = 42\n\n[optimiser]\nlearning_rate = 4e-4\nwarm_up = 0.05\n",
    )?;
    let evaluation = storage::Evaluation {
        tokens: 262_144,
        fve: Some(0.868),
        fvu: Some(0.132),
        l0: 31.94,
        dead_share: 0.0215,
        cosine: 0.932,
        l2_ratio: Some(0.931),
        ce_clean: Some(3.112),
        ce_reconstructed: Some(3.244),
        ce_zero: Some(8.901),
        ce_mean: Some(7.012),
        loss_recovered: Some(0.977),
        kl: Some(0.131),
        ..storage::Evaluation::new()
    };
    evaluation.write(dir, storage::evaluation::CORE)?;
    storage::IndexRecord { tokens: INDEXED, data: "resid2".into(), ..storage::IndexRecord::new() }
        .write(&dir.join("features"))?;
    let tokens: Vec<_> = text.vocabulary.iter().map(|t| (t.clone(), t.as_bytes().to_vec())).collect();
    storage::vocabulary::write(&dir.join("features/vocabulary.parquet"), &tokens)?;
    let mut rows = FeatureWriter::create(&dir.join("features/features.parquet"))?;
    for feature in 0..features {
        rows.append(feature_row(feature, features, text))?;
    }
    rows.finish()?;
    let mut examples = ExampleWriter::create(&dir.join("features/examples.parquet"))?;
    // A million features are for scrolling; examples of the first few thousand are enough.
    for feature in 0..features.min(4000) {
        for row in examples_of(feature, text) {
            examples.append(row)?;
        }
    }
    examples.finish()?;
    Ok(())
}

/// What became of the features of a run in training: most settle in the first half, some die, one in eleven never fires.
pub fn history(run: &Path, features: u32) -> Result<()> {
    use storage::history::{EVENTS, EventsRow, FOLDER, HistoryRecord, HistoryRow, Moment, SNAPSHOTS};
    let folder = run.join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    let total = 4_000_000u64;
    let early = (0..8).rev().map(|i| (total / 12) >> (i + 1));
    let tokens: Vec<u64> = std::iter::once(0).chain(early).chain((1..=12).map(|i| total * i / 12)).collect();
    let (mut rows, mut events) = (Vec::new(), Vec::new());
    for feature in 0..features {
        let f = u64::from(feature);
        let (born, settled) = (1 + (chance(f, 500) * 9.0) as usize, 8 + (chance(f, 501) * 9.0) as usize);
        let (never, dies) = (feature % 11 == 5, feature % 47 == 13);
        for (i, &tokens_here) in tokens.iter().enumerate() {
            let over = if i > 0 { tokens_here - tokens[i - 1] } else { 0 };
            let alive = !never && i >= born && !(dies && i > 15);
            let rate = 0.0014 * (1.0 + 20.0 * (-(i as f64 - born as f64) * 0.6).exp());
            let share = (i as f32 / settled as f32).min(1.0);
            rows.push(HistoryRow {
                feature,
                step: tokens_here / 2048,
                tokens: tokens_here,
                over,
                fired: if alive { (over as f64 * rate).round() as u64 } else { 0 },
                dead: !alive && i > 17,
                moved: (i > 0).then_some(if share < 1.0 { 0.35 / i as f32 } else { 0.002 }),
                cosine_first: Some(1.0 - 0.9 * share),
                cosine_final: Some(if i == 20 { 1.0 } else { 0.08 + 0.9 * share }),
                ..HistoryRow::default()
            });
        }
        let settled =
            (0..=20).find(|i| *i == 20 || 0.08 + 0.9 * (*i as f32 / settled as f32).min(1.0) >= 0.9);
        events.push(EventsRow {
            feature,
            born: (!never).then(|| tokens[born]),
            died: (dies && !never).then(|| tokens[18]),
            revivals: u32::from(feature % 31 == 9),
            settled: settled.map(|i| tokens[i]),
            moved: Some(0.9),
            largest_move: Some(0.35),
            largest_move_at: Some(tokens[1]),
            cosine_first: Some(0.1),
        });
    }
    let mut table = storage::row::RowWriter::create_as(&folder.join(SNAPSHOTS), &Layout::feature_rows())?;
    table.append(&rows)?;
    table.finish()?;
    storage::row::write(&folder.join(EVENTS), &events)?;
    let snapshots = tokens.iter().map(|&tokens| Moment { step: tokens / 2048, tokens }).collect();
    let record = HistoryRecord { snapshots, dead_after: 500_000, same_cosine: 0.9, ..HistoryRecord::new() };
    Ok(record.write(run)?)
}

/// A run with many features and nothing but their numbers: for scrolling.
pub fn wide_run(dir: &Path, features: u32) -> Result<()> {
    std::fs::create_dir_all(dir.join("features"))?;
    record("topk", features, RunStatus::Finished).write(dir)?;
    curves(dir, 20, 0.8)?;
    let words: Vec<_> = ["a", " b", "c"].map(|t| (t.to_owned(), t.as_bytes().to_vec())).into();
    storage::vocabulary::write(&dir.join("features/vocabulary.parquet"), &words)?;
    let mut rows = FeatureWriter::create(&dir.join("features/features.parquet"))?;
    for feature in 0..features {
        let density = chance(u64::from(feature), 4).powi(3);
        let count = (density * INDEXED as f64) as u64;
        let max = if count > 0 { peak(feature) } else { 0.0 };
        rows.append(FeatureRow {
            feature,
            count,
            dead: count == 0,
            density: (count as f64 / INDEXED as f64) as f32,
            mean: max * 0.3,
            max,
            fires_on: if count > 0 { vec![(feature % 3, count as u32)] } else { Vec::new() },
            ..FeatureRow::default()
        })?;
    }
    rows.finish()?;
    let index = storage::IndexRecord { tokens: INDEXED, ..storage::IndexRecord::new() };
    Ok(index.write(&dir.join("features"))?)
}

/// The token that a feature is about.
pub fn main_token(feature: u32, text: &Text) -> u32 {
    if feature == 7 {
        // A feature that is easy to find: the forest.
        return text.vocabulary.iter().position(|t| t == " forest").unwrap_or(5) as u32;
    }
    let words = text.vocabulary.len() as u32;
    let special = SPECIAL.len() as u32;
    special + (chance(u64::from(feature), 11) * f64::from(words - special)) as u32
}

fn dead(feature: u32) -> bool {
    feature % 47 == 13
}

fn peak(feature: u32) -> f32 {
    2.0 + 18.0 * chance(u64::from(feature), 12) as f32
}

fn feature_row(feature: u32, features: u32, text: &Text) -> FeatureRow {
    let f = u64::from(feature);
    let words = text.vocabulary.len() as f64;
    let row = FeatureRow {
        feature,
        dead: dead(feature),
        bias: -0.4 + 0.3 * chance(f, 1) as f32,
        encoder_norm: 0.9 + 0.4 * chance(f, 2) as f32,
        decoder_norm: 1.0,
        encoder_decoder_cosine: 0.6 + 0.3 * chance(f, 3) as f32,
        histogram: vec![0; 40],
        top_logits: (0..10).map(|i| ((chance(f, 20 + i) * words) as u32, 3.1 - 0.21 * i as f32)).collect(),
        bottom_logits: (0..10)
            .map(|i| ((chance(f, 40 + i) * words) as u32, -2.2 + 0.14 * i as f32))
            .collect(),
        logit_histogram: (0..40)
            .map(|bin| (50_000.0 * 0.08 * (-((f64::from(bin) - 16.5) / 5.0).powi(2)).exp()) as u32)
            .collect(),
        neighbours: (0..10)
            .map(|i| ((chance(f, 60 + i) * f64::from(features)) as u32, 0.71 - 0.05 * i as f32))
            .collect(),
        ..FeatureRow::default()
    };
    if dead(feature) {
        return row;
    }
    let density = 10f64.powf(-4.8 + 3.4 * chance(f, 4));
    let count = (density * INDEXED as f64).round().max(1.0) as u64;
    let max = peak(feature);
    FeatureRow {
        count,
        density: (count as f64 / INDEXED as f64) as f32,
        mean: max * (0.12 + 0.2 * chance(f, 5) as f32),
        max,
        histogram: (0..40).map(|bin| (count as f64 * 0.14 * (-0.16 * f64::from(bin)).exp()) as u32).collect(),
        fires_on: (0..12)
            .map(|i| {
                let token =
                    if i == 0 { main_token(feature, text) } else { (chance(f, 80 + i) * words) as u32 };
                (token, (count as f64 * 0.5 / (i + 1) as f64).round() as u32)
            })
            .collect(),
        coactive: (0..10)
            .map(|i| {
                (
                    (chance(f, 100 + i) * f64::from(features)) as u32,
                    (count / (i + 2)) as u32,
                    24.0 / (i + 1) as f32,
                )
            })
            .collect(),
        label: (feature % 6 == 1).then(|| {
            format!("“{}” and words around it", text.vocabulary[main_token(feature, text) as usize].trim())
        }),
        ..row
    }
}

fn examples_of(feature: u32, text: &Text) -> Vec<ExampleRow> {
    if dead(feature) {
        return Vec::new();
    }
    let token = main_token(feature, text);
    let places: Vec<(u32, u32)> = text
        .documents
        .iter()
        .zip(0..)
        .flat_map(|(tokens, d)| {
            tokens.iter().zip(0..).filter(move |(t, _)| **t == token).map(move |(_, p)| (d, p))
        })
        .collect();
    let max = peak(feature);
    let mut rows = Vec::new();
    for (interval, share, wanted) in [
        (0i8, 1.0f32, 5usize),
        (1, 0.88, 3),
        (2, 0.7, 3),
        (3, 0.5, 3),
        (4, 0.3, 3),
        (5, 0.1, 3),
        (-1, 0.25, 4),
    ] {
        for rank in 0..wanted {
            let Some((document, position)) =
                places.get((rank + interval.unsigned_abs() as usize) % places.len().max(1)).copied()
            else {
                break;
            };
            let tokens = &text.documents[document as usize];
            let start = position.saturating_sub(32);
            let end = (position as usize + 33).min(tokens.len());
            let value = max * share * (1.0 - 0.03 * rank as f32);
            let values = (start..end as u32)
                .map(|p| match p {
                    p if p == position => value,
                    p if chance(u64::from(feature) * 131 + u64::from(document), u64::from(p)) < 0.08 => {
                        value * 0.5 * chance(u64::from(p), u64::from(feature)) as f32
                    }
                    _ => 0.0,
                })
                .collect();
            rows.push(ExampleRow {
                feature,
                interval,
                rank: rank as u16,
                document,
                position,
                value,
                start,
                tokens: tokens[start as usize..end].to_vec(),
                values,
            });
        }
    }
    rows
}

/// A dataset with documents, activations of width 4 and the experts' load.
pub fn dataset(dir: &Path, text: &Text) -> Result<()> {
    let model = ModelRef { id: "olmoe-mini".into(), path: None, sha256: "5e".repeat(32) };
    let mut header = Manifest::new(model, Some(HOOK.into()), 4, Dtype::F32);
    header.context_length = 256;
    header.tokenizer = "tokenizer.json".into();
    header.text = vec![TextSource { path: "corpus".into(), bytes: 4_812 }];
    header.left_out = vec!["BOS".into(), "padding".into()];
    let mut writer = DatasetWriter::begin(dir, header)?;
    let mut committed = Vec::new();
    let mut rows = Vec::new();
    let mut first_row = 0;
    for (document, ((name, domain, _), tokens)) in (0..).zip(TEXTS.iter().zip(&text.documents)) {
        rows.push(documents::DocumentRow {
            document,
            name: (*name).into(),
            source: format!("corpus/{name}"),
            domain: (*domain).into(),
            held_out: document % 3 == 2,
            first_row,
            tokens: tokens.len() as u32,
        });
        first_row += tokens.len() as u64;
    }
    let mut write = |writer: &mut DatasetWriter,
                     table: &str,
                     schema,
                     layout: Layout,
                     batch: &RecordBatch|
     -> Result<()> {
        let mut part = writer.next_part(table, schema, &layout)?;
        part.write(batch)?;
        committed.push((table.to_owned(), part.finish()?));
        Ok(())
    };
    write(
        &mut writer,
        schema::DOCUMENTS,
        schema::documents(),
        Layout::small_table(),
        &documents::to_batch(&rows)?,
    )?;
    let tokens: Vec<_> = text.vocabulary.iter().map(|t| (t.clone(), t.as_bytes().to_vec())).collect();
    write(
        &mut writer,
        schema::VOCABULARY,
        schema::vocabulary(),
        Layout::small_table(),
        &storage::vocabulary::to_batch(&tokens)?,
    )?;
    let shape = schema::activations(4, Dtype::F32, false);
    write(
        &mut writer,
        schema::ACTIVATIONS,
        shape.clone(),
        Layout::activations(),
        &activations(shape, text)?,
    )?;
    writer.commit(committed, serde_json::Value::Null)?;
    writer.finish()?;
    experts(&dir.join("experts"))
}

/// Rows of the table of activations.
pub fn activations(shape: arrow::datatypes::SchemaRef, text: &Text) -> Result<RecordBatch> {
    let all = || {
        text.documents
            .iter()
            .zip(0u32..)
            .flat_map(|(tokens, d)| tokens.iter().zip(0u32..).map(move |(t, p)| (d, p, *t)))
    };
    let numbers =
        |get: fn((u32, u32, u32)) -> u32| Arc::new(UInt32Array::from_iter_values(all().map(get))) as ArrayRef;
    let domains: DictionaryArray<Int32Type> = all().map(|(d, ..)| TEXTS[d as usize].1).collect();
    let values: Vec<f32> = (0..all().count() as u64 * 4).map(|i| chance(i, 5) as f32 - 0.5).collect();
    let (vectors, _) = storage::vector::column_from_rows(&values, 4, Dtype::F32)?;
    let columns = vec![
        numbers(|r| r.0),
        numbers(|r| r.1),
        numbers(|r| r.2),
        Arc::new(domains) as ArrayRef,
        Arc::new(vectors),
    ];
    Ok(RecordBatch::try_new(shape, columns)?)
}

fn experts(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let (layers, experts, tokens) = (4u16, 16u16, 1_200_000u64);
    let mut domains: Vec<Option<&str>> = vec![None];
    domains.extend(["prose", "law", "code", "german", "reference"].map(Some));
    let mut load = Vec::new();
    let mut figures = Vec::new();
    for layer in 0..layers {
        for (at, domain) in domains.iter().enumerate() {
            let weight = |e: u16| {
                let common = (2.0 * chance(u64::from(layer), u64::from(e) + 200)).exp();
                let own = if at == 0 {
                    1.0
                } else {
                    (2.4 * chance(at as u64 * 7 + u64::from(layer), u64::from(e)) - 1.2).exp()
                };
                if (layer, e) == (3, 11) { 0.0 } else { common * own }
            };
            let sum: f64 = (0..experts).map(weight).sum();
            let total = if at == 0 { tokens } else { tokens / 5 };
            for expert in 0..experts {
                let share = weight(expert) / sum;
                load.push(ExpertLoadRow {
                    layer,
                    expert,
                    domain: domain.map(Into::into),
                    tokens: (share * total as f64 * 2.0) as u64,
                    share,
                    weight: if share > 0.0 { 0.3 + 0.4 * chance(u64::from(expert), 9) } else { 0.0 },
                });
            }
        }
        let shares: Vec<f64> =
            load.iter().filter(|r| r.layer == layer && r.domain.is_none()).map(|r| r.share).collect();
        let entropy: f64 = shares.iter().filter(|s| **s > 0.0).map(|s| -s * s.ln()).sum();
        let uniform = 1.0 / f64::from(experts);
        let variance: f64 = shares.iter().map(|s| (s / uniform - 1.0).powi(2)).sum::<f64>() * uniform;
        figures.push(BalanceRow {
            layer,
            experts,
            k: Some(2),
            tokens: Some(tokens),
            cv: Some(variance.sqrt()),
            max_violation: Some(shares.iter().copied().fold(0.0, f64::max) / uniform - 1.0),
            gini: Some(0.29),
            load_entropy: Some(entropy),
            effective_experts: Some(entropy.exp()),
            router_entropy: Some(1.9 - 0.1 * f64::from(layer)),
            dead: Some(shares.iter().filter(|s| **s == 0.0).count() as u16),
            ..BalanceRow::default()
        });
    }
    storage::experts::write_load(&dir.join("load.parquet"), &load)?;
    storage::row::write(&dir.join("balance.parquet"), &figures)?;
    Ok(())
}

/// What a dictionary of `heads` attention heads has beside its features: decoder weights by head and sources of the strongest
/// examples. Its directions are not written into the residual stream, so its features have no logits.
pub fn heads(run: &Path, features: u32, heads: usize, text: &Text) -> Result<()> {
    use storage::attention::{ATTRIBUTION, HEADS, HeadsRow, create};
    let hook = "blocks.2.attn.hook_z".into();
    RunRecord { hook, ..record("topk", features, RunStatus::Finished) }.write(run)?;
    let folder = run.join("features");
    let mut rows = FeatureWriter::create(&folder.join("features.parquet"))?;
    let mut weights = create::<HeadsRow>(&folder.join(HEADS))?;
    let mut sources = create(&folder.join(ATTRIBUTION))?;
    for feature in 0..features {
        let (top_logits, bottom_logits, logit_histogram) = Default::default();
        let row = feature_row(feature, features, text);
        rows.append(FeatureRow { top_logits, bottom_logits, logit_histogram, ..row })?;
        let norms: Vec<f32> = (0..heads as u64)
            .map(|h| (2.5 * chance(u64::from(feature) + 1, 700 + h)).exp() as f32 * 0.1)
            .collect();
        let sum: f32 = norms.iter().sum();
        let shares = norms.iter().map(|norm| norm / sum).collect();
        let examples: Vec<ExampleRow> =
            examples_of(feature, text).into_iter().filter(|e| e.interval == 0).collect();
        let rows: Vec<_> = examples.iter().map(|example| sources_of(example, &norms, text)).collect();
        sources.append(&rows)?;
        weights.append(&[HeadsRow { feature, norms, shares }])?;
    }
    rows.finish()?;
    weights.finish()?;
    sources.finish()?;
    Ok(())
}

/// A few tokens give much, most of them little, and all of it adds up to the example's value.
fn sources_of(example: &ExampleRow, norms: &[f32], text: &Text) -> storage::attention::AttributionRow {
    let start = example.position.saturating_sub(40);
    let own = &text.documents[example.document as usize];
    let seed = u64::from(example.feature) * 977 + u64::from(example.document);
    let given = |position: u32| (chance(seed, u64::from(position) + 900).powi(6) - 0.08) as f32;
    let sources: Vec<u32> = (start..=example.position).collect();
    let values: Vec<f32> = sources.iter().map(|position| given(*position)).collect();
    let (value, sum) = (example.value, values.iter().sum::<f32>());
    let (constant, bos, rest) = (-0.1 * value, 0.05 * value, 0.02 * value);
    // The token itself gives whatever is left.
    let left = (value - constant - bos - rest) / 4.0;
    let mut values: Vec<f32> = values.iter().map(|given| given * left).collect();
    if let Some(last) = values.last_mut() {
        *last += 4.0 * left - sum * left;
    }
    let share: f32 = norms.iter().sum();
    storage::attention::AttributionRow {
        feature: example.feature,
        interval: 0,
        rank: example.rank,
        document: example.document,
        position: example.position,
        start,
        pre_activation: value,
        constant,
        bos: Some(bos),
        rest,
        tokens: sources.iter().map(|position| own[*position as usize]).collect(),
        sources,
        values,
        heads: norms.iter().map(|norm| (value - constant) * norm / share).collect(),
    }
}
