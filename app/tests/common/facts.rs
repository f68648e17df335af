//! What the files of the fixtures say, read without the window: tests compare the screen with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use arrow::datatypes::UInt32Type;
use storage::examples::ExampleRow;
use storage::experts::{ExpertLoadRow, FeatureExpertRow, SpecialisationRow};
use storage::features::FeatureRow;
use storage::history::{EventsRow, History};
use storage::matching::NearestRow;
use storage::routing::Choices;
use storage::row::Row;
use storage::schema::{ACTIVATIONS, DOCUMENT, ROUTING, TOKEN};
use storage::{Dataset, Run, Scan, codes, column, row};

use super::{data, run};

/// All features of a run.
pub fn features_of(run: &Path) -> Vec<FeatureRow> {
    let table = Run::open(run).unwrap().features().unwrap().unwrap();
    storage::features::read(&table, 0..table.rows()).unwrap()
}

/// All features of the run that has everything.
pub fn features() -> &'static [FeatureRow] {
    static FEATURES: OnceLock<Vec<FeatureRow>> = OnceLock::new();
    FEATURES.get_or_init(|| features_of(&run()))
}

/// The features of the run that has everything as its table lists them of itself.
pub fn listed() -> Vec<u32> {
    listed_of(&run(), features())
}

/// The features of `run` as its table lists them of itself: by the score of their best explanation, then by density.
pub fn listed_of(run: &Path, features: &[FeatureRow]) -> Vec<u32> {
    let mut best: BTreeMap<u32, f32> = BTreeMap::new();
    for source in storage::explanations::sources(run).unwrap() {
        for said in storage::explanations::read(run, &source).unwrap() {
            let f1 = said.scores.iter().find(|score| score.kind == "f1").map(|score| score.value);
            let score = f1.or_else(|| said.scores.iter().map(|score| score.value).reduce(f32::max));
            if let Some(score) = score {
                let known = best.entry(said.feature).or_insert(score);
                *known = known.max(score);
            }
        }
    }
    assert!(!best.is_empty(), "nothing is explained");
    let mut all: Vec<&FeatureRow> = features.iter().collect();
    let score = |row: &FeatureRow| best.get(&row.feature).copied().unwrap_or(-1.0);
    // Stable: equal ones stay in the order of their numbers.
    all.sort_by(|a, b| score(b).total_cmp(&score(a)).then(b.density.total_cmp(&a.density)));
    all.into_iter().map(|row| row.feature).collect()
}

/// `evaluation/core.json` of `run`.
pub fn evaluation_of(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("evaluation/core.json")).unwrap()).unwrap()
}

/// Examples of a feature of `run`, in the order of the file.
pub fn examples_of(run: &Path, feature: u32) -> Vec<ExampleRow> {
    storage::examples::read(&Run::open(run).unwrap().examples().unwrap().unwrap(), feature).unwrap()
}

/// Texts of tokens.
pub fn vocabulary() -> &'static [String] {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        storage::vocabulary::read(&Run::open(&run()).unwrap().vocabulary().unwrap().unwrap()).unwrap()
    })
}

/// A feature that a good rule of one token explains, so that there is much to see on its page.
pub struct Explained {
    /// Its number; the next one fires, too.
    pub feature: u32,
    /// What `sae explain` says of it.
    pub rule: String,
    /// The token that it fires on most often, a word with a space before it.
    pub token: String,
}

/// The feature that tests look at.
pub fn explained() -> &'static Explained {
    static FOUND: OnceLock<Explained> = OnceLock::new();
    FOUND.get_or_init(|| {
        let rules = storage::explanations::read(&run(), "rules").unwrap();
        let all = features();
        let word = |feature: u32| {
            let (token, _) = *all[feature as usize].fires_on.first()?;
            let text = &vocabulary()[token as usize];
            let word = text.strip_prefix(' ')?;
            (word.len() > 1 && word.chars().all(char::is_alphabetic)).then(|| text.clone())
        };
        let next_fires = |feature: u32| all.get(feature as usize + 1).is_some_and(|next| !next.dead);
        let fits = |feature: u32| next_fires(feature) && examples_of(&run(), feature).len() > 12;
        let of_words = rules.iter().filter(|rule| fits(rule.feature));
        let of_words = of_words.filter_map(|rule| Some((rule, word(rule.feature)?)));
        let best = of_words.max_by(|a, b| a.0.scores[0].value.total_cmp(&b.0.scores[0].value));
        let (rule, token) = best.expect("a feature with a rule fires on a word");
        Explained { feature: rule.feature, rule: rule.text.clone(), token }
    })
}

/// The feature of attention heads that tests look at: it and the next one have sources, and examples without.
pub fn of_heads() -> u32 {
    let run = super::heads_root().join("topk");
    let table = Run::open(&run).unwrap().attribution().unwrap().unwrap();
    let traced = |feature: u32| {
        let rows: Vec<storage::attention::AttributionRow> =
            storage::attention::read(&table, feature).unwrap();
        rows.len()
    };
    let fits = |f: &u32| {
        traced(*f) > 2 && traced(*f + 1) > 2 && examples_of(&run, *f).iter().any(|e| e.interval == 5)
    };
    (0..fixtures::HEAD_FEATURES - 1).find(fits).expect("two features in a row with sources")
}

/// Tokens of a document of `dataset`.
pub fn tokens_of(dataset: &Path, document: u32) -> Vec<u32> {
    let mut tokens = Vec::new();
    let dataset = Dataset::open(dataset).unwrap();
    for batch in dataset.table(ACTIVATIONS).unwrap().columns(&[DOCUMENT, TOKEN]).unwrap() {
        let batch = batch.unwrap();
        let numbers = |name: &str| column::primitive::<UInt32Type>(&batch, name).unwrap().values().to_vec();
        let both = numbers(DOCUMENT).into_iter().zip(numbers(TOKEN));
        tokens.extend(both.filter(|(of, _)| *of == document).map(|(_, token)| token));
    }
    tokens
}

/// The text of a document, token by token.
pub fn words_of(document: u32) -> Vec<&'static str> {
    let words = vocabulary();
    tokens_of(&data(), document).into_iter().map(|token| words[token as usize].as_str()).collect()
}

/// What a token chose: layer → experts and weights, the strongest first.
pub type Chosen = BTreeMap<u16, Vec<(u32, f32)>>;

/// All choices of `dataset` by (document, position).
pub fn routing_of(dataset: &Path) -> BTreeMap<(u32, u32), Chosen> {
    let table = Dataset::open(dataset).unwrap().table(ROUTING).unwrap();
    let mut all: BTreeMap<(u32, u32), Chosen> = BTreeMap::new();
    for batch in table.columns(&storage::routing::COLUMNS).unwrap() {
        let batch = batch.unwrap();
        for choice in Choices::of(&batch).unwrap().iter() {
            let experts = choice.experts.iter().copied().zip(choice.weights.iter().copied());
            all.entry((choice.document, choice.position))
                .or_default()
                .insert(choice.layer, experts.collect());
        }
    }
    all
}

/// Features and values of a token of the run that has everything, the strongest first.
pub fn codes_of(document: u32, position: u32) -> Vec<(u32, f32)> {
    let table = Run::open(&run()).unwrap().codes().unwrap().unwrap();
    let read = codes::read(&table, document, position..position + 1).unwrap();
    let (features, values) = read.at(position).unwrap();
    let mut all: Vec<(u32, f32)> = features.iter().copied().zip(values.iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// Load of the experts of `dataset`.
pub fn load_of(dataset: &Path) -> Vec<ExpertLoadRow> {
    let path = dataset.join("experts/load.parquet");
    all(&path)
}

fn all<R: Row>(path: &Path) -> Vec<R> {
    row::read(&row::open::<R>(path).unwrap(), Scan::default()).unwrap()
}

/// What became of every feature of a run in training.
pub fn events(run: &Path) -> Vec<EventsRow> {
    row::read(History::open(run).unwrap().unwrap().events(), Scan::default()).unwrap()
}

/// The nearest features of the comparison with `small`, in the order of `file`.
pub fn nearest(file: &str) -> Vec<NearestRow> {
    all(&run().join("matching/small").join(file))
}

/// The most specialised expert of all layers: layer, expert, domain.
pub fn specialised() -> (u16, u32, String) {
    let rows: Vec<SpecialisationRow> = all(&data().join("experts/specialisation.parquet"));
    let best = rows.iter().filter(|row| row.specialised);
    let best = best.max_by(|a, b| a.count.cmp(&b.count)).expect("an expert is specialised");
    (best.layer, best.expert, best.domain.clone())
}

/// The feature that lives in an expert with the highest lift: feature, layer, expert.
pub fn at_home() -> (u32, u16, u32) {
    let rows: Vec<FeatureExpertRow> = all(&run().join("features/experts.parquet"));
    let best = rows.iter().filter(|row| row.lives_in).max_by(|a, b| a.lift.total_cmp(&b.lift));
    let best = best.expect("a feature lives in an expert");
    (best.feature, best.layer, best.expert)
}
