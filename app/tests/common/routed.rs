//! A folder of a mixture-of-experts model: a dataset with routing, everything that is counted of it (by plain loops here), a run
//! with codes by token and its join with the experts, and a second checkpoint to compare with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, Float32Array, Float32Builder, ListBuilder, RecordBatch, UInt16Array, UInt16Builder, UInt32Array,
};
use arrow::datatypes::{DataType, Field};
use storage::codes::CodesWriter;
use storage::documents::{self, DocumentRow};
use storage::experts::{
    AgainstRow, BalanceRow, ExpertLoadRow, FeatureExpertRow, InformationRow, PairRow, SpecialisationRow,
    TransitionRow, VocabularyRow,
};
use storage::{DatasetWriter, Dtype, Layout, Manifest, ModelRef, RunRecord, RunStatus, row, schema};

use super::sample::{self, HOOK, TEXTS, Text, chance};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Layers with experts.
pub const LAYERS: [u16; 3] = [0, 1, 2];
/// Experts of a layer.
pub const EXPERTS: usize = 8;
/// Features of the run.
pub const FEATURES: u32 = 64;
/// The expert of layer 1 that is chosen for code.
pub const CODE: u16 = 3;
/// The feature that fires where that expert is chosen.
pub const CODE_FEATURE: u32 = 5;
/// The expert of layer 2 that is never chosen.
pub const DEAD: u16 = 7;

/// The folder; nothing writes into it.
pub fn root() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        folder(&dir.path().join("moe")).unwrap();
        dir
    });
    dir.path().join("moe")
}

/// The dataset that has everything.
pub fn data() -> PathBuf {
    root().join("data")
}

/// The run on it.
pub fn run() -> PathBuf {
    root().join("topk")
}

/// Writes the folder.
pub fn folder(root: &Path) -> Result<()> {
    let text = sample::text();
    let tokens = route(&text, 0);
    dataset(&root.join("data"), &text, Some(&tokens))?;
    count(&root.join("data/experts"), &tokens)?;
    let later = route(&text, 1);
    dataset(&root.join("later"), &text, Some(&later))?;
    count(&root.join("later/experts"), &later)?;
    row::write(&root.join("data/experts/against.parquet"), &against(&tokens, &later))?;
    joined_run(&root.join("topk"), &text, &tokens)?;
    Ok(())
}

/// A token and what it chose, layer by layer.
#[derive(Clone)]
pub struct Routed {
    pub document: u32,
    pub position: u32,
    pub token: u32,
    pub domain: &'static str,
    pub chosen: [[u16; 2]; LAYERS.len()],
    pub weight: f32,
}

/// The choices of a made-up router: by the token, by its place, and in layer 1 for code always the same.
pub fn route(text: &Text, seed: u64) -> Vec<Routed> {
    let mut all = Vec::new();
    for (document, ((_, domain, _), tokens)) in (0..).zip(TEXTS.iter().zip(&text.documents)) {
        for (position, token) in (0..).zip(tokens) {
            let pick = |layer: u16| {
                let n = if layer == 2 { EXPERTS as u64 - 1 } else { EXPERTS as u64 };
                let by_token =
                    chance(u64::from(*token) + seed * u64::from(layer == 2) * 999, u64::from(layer) + 70);
                let mut first = (by_token * n as f64) as u64;
                if layer == 1 && *domain == "code" {
                    first = CODE.into();
                } else if layer == 1 && first == u64::from(CODE) && position % 8 != 0 {
                    first = 0;
                }
                let step = 1
                    + (chance(u64::from(position) + 31 * u64::from(document), 80 + u64::from(layer))
                        * (n - 1) as f64) as u64;
                let mut second = (first + step) % n;
                if layer == 1 && second == u64::from(CODE) {
                    second = (second + if first == u64::from(CODE) + 1 { 2 } else { 1 }) % n;
                }
                [first as u16, second as u16]
            };
            all.push(Routed {
                document,
                position,
                token: *token,
                domain,
                chosen: LAYERS.map(pick),
                weight: 0.5 + 0.49 * chance(u64::from(*token), u64::from(position) + 7) as f32,
            });
        }
    }
    all
}

/// Documents, vocabulary, activations, and routing where it is given.
pub fn dataset(dir: &Path, text: &Text, tokens: Option<&[Routed]>) -> Result<()> {
    write(dir, text, tokens, true)
}

/// As the routing beside the hooks of one harvest.
pub fn routing_alone(dir: &Path, text: &Text, tokens: &[Routed]) -> Result<()> {
    write(dir, text, Some(tokens), false)
}

fn write(dir: &Path, text: &Text, tokens: Option<&[Routed]>, activations: bool) -> Result<()> {
    let model = ModelRef { id: "olmoe-mini".into(), path: None, sha256: "7a".repeat(32) };
    let hook = activations.then(|| HOOK.to_owned());
    let mut writer = DatasetWriter::begin(dir, Manifest::new(model, hook, 4, Dtype::F32))?;
    let mut first_row = 0;
    let mut rows = Vec::new();
    for (document, ((name, domain, _), tokens)) in (0..).zip(TEXTS.iter().zip(&text.documents)) {
        rows.push(DocumentRow {
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
    let words: Vec<_> = text.vocabulary.iter().map(|t| (t.clone(), t.as_bytes().to_vec())).collect();
    let mut tables = vec![
        (schema::DOCUMENTS, schema::documents(), Layout::small_table(), documents::to_batch(&rows)?),
        (
            schema::VOCABULARY,
            schema::vocabulary(),
            Layout::small_table(),
            storage::vocabulary::to_batch(&words)?,
        ),
    ];
    if activations {
        let shape = schema::activations(4, Dtype::F32, false);
        let rows = sample::activations(shape.clone(), text)?;
        tables.push((schema::ACTIVATIONS, shape, Layout::activations(), rows));
    }
    if let Some(tokens) = tokens {
        tables.push((schema::ROUTING, schema::routing(), Layout::routing(), routing(tokens)?));
    }
    let mut committed = Vec::new();
    for (table, shape, layout, batch) in tables {
        let mut part = writer.next_part(table, shape, &layout)?;
        part.write(&batch)?;
        committed.push((table.to_owned(), part.finish()?));
    }
    writer.commit(committed, serde_json::Value::Null)?;
    writer.finish()?;
    Ok(())
}

fn routing(tokens: &[Routed]) -> Result<RecordBatch> {
    let element = |data_type: DataType| Field::new("element", data_type, false);
    let mut experts = ListBuilder::new(UInt16Builder::new()).with_field(element(DataType::UInt16));
    let mut weights = ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
    let all = || tokens.iter().flat_map(|t| LAYERS.iter().map(move |l| (t, *l)));
    for (token, layer) in all() {
        experts.append_value(token.chosen[usize::from(layer)].map(Some));
        weights.append_value([Some(token.weight), Some(1.0 - token.weight)]);
    }
    let numbers = |get: fn(&Routed) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(all().map(|(t, _)| get(t))))
    };
    let columns: Vec<ArrayRef> = vec![
        numbers(|t| t.document),
        numbers(|t| t.position),
        numbers(|t| t.token),
        Arc::new(UInt16Array::from_iter_values(all().map(|(_, l)| l))),
        Arc::new(experts.finish()),
        Arc::new(weights.finish()),
        Arc::new(Float32Array::from_iter_values(all().map(|(t, _)| 1.2 + 0.3 * t.weight))),
    ];
    Ok(RecordBatch::try_new(schema::routing(), columns)?)
}

fn chose(token: &Routed, layer: u16, expert: u16) -> bool {
    token.chosen[usize::from(layer)].contains(&expert)
}

/// Tokens that pass.
fn tally(tokens: &[Routed], pass: impl Fn(&Routed) -> bool) -> u64 {
    tokens.iter().filter(|t| pass(t)).count() as u64
}

/// The tables of `experts/`, by plain loops.
fn count(dir: &Path, tokens: &[Routed]) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let all = tokens.len() as u64;
    let experts = || 0..EXPERTS as u16;
    let mut domains: Vec<&str> = TEXTS.iter().map(|t| t.1).collect();
    domains.sort_unstable();
    domains.dedup();
    let (mut load, mut layers, mut pairs, mut special, mut information, mut words) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for layer in LAYERS {
        let of = |expert: u16| tally(tokens, |t| chose(t, layer, expert));
        for domain in std::iter::once(None).chain(domains.iter().copied().map(Some)) {
            let in_domain = |t: &Routed| domain.is_none_or(|d| t.domain == d);
            let slots = 2 * tally(tokens, in_domain);
            for expert in experts() {
                let n = tally(tokens, |t| in_domain(t) && chose(t, layer, expert));
                load.push(ExpertLoadRow {
                    layer,
                    expert,
                    domain: domain.map(Into::into),
                    tokens: n,
                    share: n as f64 / slots as f64,
                    weight: if n > 0 { 0.5 } else { 0.0 },
                });
            }
        }
        layers.push(balance(layer, &experts().map(of).collect::<Vec<_>>(), all));
        for a in experts() {
            for b in a + 1..EXPERTS as u16 {
                let both = tally(tokens, |t| chose(t, layer, a) && chose(t, layer, b));
                let share = |n: u64, of: u64| (of > 0).then(|| n as f64 / of as f64);
                pairs.push(PairRow {
                    layer,
                    a,
                    b,
                    count: both,
                    rank_adjacent: both,
                    b_given_a: share(both, of(a)),
                    a_given_b: share(both, of(b)),
                    lift: share(both * all, of(a) * of(b)),
                });
            }
        }
        for expert in experts() {
            let share = |domain: &str| {
                let n = tally(tokens, |t| t.domain == domain && chose(t, layer, expert));
                (n, tally(tokens, |t| t.domain == domain))
            };
            let shares: Vec<f64> =
                domains.iter().map(|d| share(d)).map(|(n, of)| n as f64 / of as f64).collect();
            for (i, domain) in domains.iter().enumerate() {
                let (n, of) = share(domain);
                let rest = (0..domains.len()).filter(|j| *j != i).map(|j| shares[j]).fold(0.0, f64::max);
                special.push(SpecialisationRow {
                    layer,
                    expert,
                    domain: (*domain).into(),
                    count: n,
                    tokens: Some(of),
                    share_of_domain: Some(shares[i]),
                    baseline: Some(2.0 / EXPERTS as f64),
                    share_of_expert: Some(shares[i] / shares.iter().sum::<f64>().max(1e-9)),
                    specialised: n > 0 && shares[i] >= 2.0 * rest,
                });
            }
        }
        information.push(InformationRow {
            layer,
            domains: domains.len() as u16,
            mutual_information: Some(0.21),
            mutual_information_by_chance: Some(0.004),
            domain_entropy: Some(2.1),
            specialised: Some(special.iter().filter(|r| r.layer == layer && r.specialised).count() as u16),
            types: Some(40),
            types_tokens: Some(500),
            vocabulary_top_k: Some(0.8),
            vocabulary_top_k_by_tokens: Some(0.82),
            vocabulary_top_1: Some(0.7),
            vocabulary_top_1_by_tokens: Some(0.75),
        });
        words.extend(vocabulary(layer, tokens));
    }
    storage::experts::write_load(&dir.join("load.parquet"), &load)?;
    row::write(&dir.join("balance.parquet"), &layers)?;
    row::write(&dir.join("pairs.parquet"), &pairs)?;
    row::write(&dir.join("transitions.parquet"), &transitions(tokens))?;
    row::write(&dir.join("specialisation.parquet"), &special)?;
    row::write(&dir.join("information.parquet"), &information)?;
    row::write(&dir.join("vocabulary.parquet"), &words)?;
    Ok(())
}

fn balance(layer: u16, counts: &[u64], tokens: u64) -> BalanceRow {
    let slots: u64 = counts.iter().sum();
    let shares: Vec<f64> = counts.iter().map(|n| *n as f64 / slots as f64).collect();
    let uniform = 1.0 / EXPERTS as f64;
    let entropy: f64 = shares.iter().filter(|s| **s > 0.0).map(|s| -s * s.ln()).sum();
    let variance = shares.iter().map(|s| (s / uniform - 1.0).powi(2)).sum::<f64>() * uniform;
    BalanceRow {
        layer,
        experts: EXPERTS as u16,
        k: Some(2),
        tokens: Some(tokens),
        cv: Some(variance.sqrt()),
        max_violation: Some(shares.iter().copied().fold(0.0, f64::max) / uniform - 1.0),
        gini: Some(0.2),
        load_entropy: Some(entropy / (EXPERTS as f64).ln()),
        effective_experts: Some(entropy.exp()),
        router_entropy: Some(1.4),
        dead: Some(shares.iter().filter(|s| **s < 0.001).count() as u16),
        ..BalanceRow::default()
    }
}

fn transitions(tokens: &[Routed]) -> Vec<TransitionRow> {
    let mut rows = Vec::new();
    for pair in LAYERS.windows(2) {
        for from in 0..EXPERTS as u16 {
            for to in 0..EXPERTS as u16 {
                let (a, b) =
                    (tally(tokens, |t| chose(t, pair[0], from)), tally(tokens, |t| chose(t, pair[1], to)));
                let count = tally(tokens, |t| chose(t, pair[0], from) && chose(t, pair[1], to));
                rows.push(TransitionRow {
                    layer: pair[0],
                    next_layer: pair[1],
                    from,
                    to,
                    count,
                    probability: (a > 0).then(|| count as f64 / (2 * a) as f64),
                    lift: (a * b > 0).then(|| (count * tokens.len() as u64) as f64 / (a * b) as f64),
                });
            }
        }
    }
    rows
}

fn vocabulary(layer: u16, tokens: &[Routed]) -> Vec<VocabularyRow> {
    let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
    tokens.iter().for_each(|t| *seen.entry(t.token).or_default() += 1);
    let mut rows = Vec::new();
    for expert in 0..EXPERTS as u16 {
        let overall = tally(tokens, |t| chose(t, layer, expert)) as f64 / tokens.len() as f64;
        let mut own: Vec<VocabularyRow> = seen
            .iter()
            .filter(|(_, n)| **n >= 10)
            .map(|(token, n)| {
                let count = tally(tokens, |t| t.token == *token && chose(t, layer, expert));
                let share = count as f64 / *n as f64;
                VocabularyRow {
                    layer,
                    expert,
                    token: *token,
                    count,
                    tokens: *n,
                    share,
                    lift: share / overall,
                    ..VocabularyRow::default()
                }
            })
            .filter(|row| row.count > 0)
            .collect();
        own.sort_by(|a, b| b.lift.total_cmp(&a.lift));
        (0..).zip(&mut own).for_each(|(i, row)| row.rank_by_lift = Some(i));
        own.sort_by_key(|row| std::cmp::Reverse(row.count));
        (0..).zip(&mut own).for_each(|(i, row)| row.rank_by_count = Some(i));
        rows.extend(own);
    }
    rows
}

fn against(a: &[Routed], b: &[Routed]) -> Vec<AgainstRow> {
    let row = |layer: u16| {
        let at = |t: &Routed| t.chosen[usize::from(layer)];
        let same: usize =
            a.iter().zip(b).map(|(x, y)| at(x).iter().filter(|e| at(y).contains(e)).count()).sum();
        let first = a.iter().zip(b).filter(|(x, y)| at(x)[0] == at(y)[0]).count();
        AgainstRow {
            layer,
            tokens: a.len() as u64,
            k: 2,
            top_k: Some(same as f64 / 2.0 / a.len() as f64),
            top_1: Some(first as f64 / a.len() as f64),
            by_chance: 2.0 / EXPERTS as f64,
            cv: Some(0.4),
            cv_against: Some(0.5),
        }
    };
    LAYERS.map(row).into()
}

/// Features of a token and their values, ascending by feature.
pub fn codes_of(token: &Routed) -> BTreeMap<u32, f32> {
    let mut codes = BTreeMap::new();
    let value = |a: u64| 0.5 + 6.0 * chance(u64::from(token.token), a) as f32;
    codes.insert(8 + token.token % (FEATURES - 8), value(1));
    codes.insert(8 + (token.token * 7 + token.position) % (FEATURES - 8), value(2));
    if token.chosen[1].contains(&CODE) {
        codes.insert(CODE_FEATURE, 3.0 + token.weight);
    }
    codes
}

fn joined_run(dir: &Path, text: &Text, tokens: &[Routed]) -> Result<()> {
    sample::finished_run(dir, FEATURES, text)?;
    let record = sample::record("topk", FEATURES, RunStatus::Finished);
    let model = ModelRef { sha256: "7a".repeat(32), ..record.model.clone() };
    RunRecord { data: "../data".into(), d_in: 4, model, ..record }.write(dir)?;
    let (tokens_in_all, data) = (tokens.len() as u64, "../data".to_owned());
    storage::IndexRecord { tokens: tokens_in_all, data, ..storage::IndexRecord::new() }
        .write(&dir.join("features"))?;
    let mut codes = CodesWriter::create(&dir.join("features/codes-00000.parquet"))?;
    for token in tokens {
        let (features, values): (Vec<u32>, Vec<f32>) = codes_of(token).into_iter().unzip();
        codes.append(token.document, token.position, &features, &values)?;
    }
    codes.finish()?;
    let mut rows = Vec::new();
    for layer in LAYERS {
        for feature in 0..FEATURES {
            let fires = |t: &Routed| codes_of(t).contains_key(&feature);
            let fired = tally(tokens, fires);
            for expert in 0..EXPERTS as u16 {
                let joint = tally(tokens, |t| fires(t) && chose(t, layer, expert));
                let of_expert = tally(tokens, |t| chose(t, layer, expert));
                if joint == 0 || fired < 10 {
                    continue;
                }
                let is = (feature, layer, expert) == (CODE_FEATURE, 1, CODE);
                let lift = (joint * tokens.len() as u64) as f64 / (fired * of_expert) as f64;
                rows.push(FeatureExpertRow {
                    feature,
                    layer,
                    expert,
                    joint,
                    feature_tokens: fired,
                    expert_tokens: of_expert,
                    tokens: tokens.len() as u64,
                    lift,
                    expert_given_feature: joint as f64 / fired as f64,
                    feature_given_expert: joint as f64 / of_expert as f64,
                    mutual_information: if is {
                        0.6
                    } else {
                        0.01 * chance(u64::from(feature), u64::from(expert))
                    },
                    significant: is || lift > 1.8,
                    lives_in: is,
                    is_feature: is,
                    ..FeatureExpertRow::default()
                });
            }
        }
    }
    row::write(&dir.join("features/experts.parquet"), &rows)?;
    Ok(())
}
