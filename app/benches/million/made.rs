//! A run of any size in the real files: features, activations in both orders, examples, a map, and the dataset that they are of.
//!
//! Everything is a function of the size, so nothing is kept: which features fire on a token and on which tokens a feature fires
//! are answered by the same permutations, forwards and backwards. Hence both orders of the activations are written without a
//! sort, and whoever tests the window can ask what it should show.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, RecordBatch, UInt32Array};
use arrow::datatypes::Int32Type;
use storage::codes::CodesWriter;
use storage::examples::{ExampleRow, ExampleWriter};
use storage::feature_activations::{ActivationRow, ActivationWriter};
use storage::features::{FeatureRow, FeatureWriter};
use storage::{DatasetWriter, Dtype, Layout, Manifest, ModelRef, RunRecord, TextSource, documents, schema};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A number in 0..1 that depends on `a` and `b` alone.
pub fn chance(a: u64, b: u64) -> f64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// How large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Features, alive or dead.
    pub features: u32,
    /// Tokens; each has [`ACTIVE`] features.
    pub tokens: u32,
}

/// A million features and a hundred million activations.
pub const MILLION: Size = Size { features: 1_000_000, tokens: 3_125_000 };

/// Features a token.
pub const ACTIVE: u32 = 32;

/// Features of a million, and how many of a token's features they are: from a few that fire all the time to many that hardly ever do.
/// A token's features of one band are different ones because a band's size is a multiple of its share.
const BANDS: [(u32, u32); 5] = [(100, 2), (2_400, 6), (20_000, 10), (200_000, 10), (700_000, 4)];

/// Words of the vocabulary.
const WORDS: u32 = 32_000;
/// Width of an activation.
const WIDTH: usize = 64;
/// Examples: strongest, of each fifth, random. (`sae index` keeps 20, 5, 5; these keep the files small.)
const EXAMPLES: (usize, usize, usize) = (8, 2, 2);
/// Tokens before and after an example's token, as `sae index` has them.
const AROUND: (u32, u32) = (24, 8);
/// Kinds of documents.
const DOMAINS: [&str; 4] = ["prose", "code", "law", "letters"];

/// Features that share a density.
struct Band {
    /// Place of its first feature among all.
    first: u64,
    features: u64,
    active: u64,
    /// Slots: one for each of its features on each token.
    slots: u64,
    /// For each block of as many slots as there are features, a permutation i ↦ a·i + b, with the inverse of a.
    blocks: Vec<(u64, u64, u64)>,
}

impl Band {
    fn new(first: u64, features: u64, active: u64, tokens: u64, salt: u64) -> Self {
        let slots = tokens * active;
        let block = |m: u64| {
            let random = |n| (chance(m, salt + n) * features as f64) as u64;
            let mut a = random(0).max(1);
            while greatest_common_divisor(a, features) != 1 {
                a = a % features + 1;
            }
            (a, inverse(a, features), random(1))
        };
        Self { first, features, active, slots, blocks: (0..slots.div_ceil(features)).map(block).collect() }
    }

    /// Place of the feature in `slot`.
    fn feature(&self, slot: u64) -> u64 {
        let (a, _, b) = self.blocks[(slot / self.features) as usize];
        self.first + (a * (slot % self.features) + b) % self.features
    }

    /// Tokens of the feature at `place`, ascending: one in each block.
    fn tokens(&self, place: u64) -> impl Iterator<Item = u32> + '_ {
        let place = place - self.first;
        let slot = move |(m, &(_, back, b)): (usize, &(u64, u64, u64))| {
            m as u64 * self.features + (place + self.features - b) % self.features * back % self.features
        };
        self.blocks.iter().enumerate().map(slot).filter(|s| *s < self.slots).map(|s| (s / self.active) as u32)
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The number x with a·x ≡ 1 modulo `n`, for an `a` without a divisor in common with it.
fn inverse(a: u64, n: u64) -> u64 {
    let (mut r, mut s) = ((n as i128, a as i128), (0i128, 1i128));
    while r.1 != 0 {
        let q = r.0 / r.1;
        (r, s) = ((r.1, r.0 - q * r.1), (s.1, s.0 - q * s.1));
    }
    s.0.rem_euclid(n as i128) as u64
}

/// Everything there is to know of a run of some size.
pub struct Made {
    /// How large it is.
    pub size: Size,
    bands: Vec<Band>,
    /// Features are shuffled, so that numbers say nothing of densities: number = place · `step` modulo their count.
    step: u64,
    back: u64,
    /// First row of each document, and the number of rows at the end.
    starts: Vec<u32>,
    /// Token of each row.
    words: Vec<u16>,
}

impl Made {
    /// Makes what all of it follows from.
    pub fn new(size: Size) -> Self {
        let features = u64::from(size.features);
        let mut bands = Vec::new();
        let mut first = 0;
        for (i, (of_million, active)) in BANDS.into_iter().enumerate() {
            let wanted = u64::from(of_million) * features / 1_000_000;
            let active = u64::from(active);
            let count = (wanted / active).max(1) * active;
            bands.push(Band::new(first, count, active, u64::from(size.tokens), 1000 * (i as u64 + 1)));
            first += count;
        }
        assert!(first <= features, "{features} features are too few for these bands");
        let mut step = (features as f64 * 0.618) as u64 | 1;
        while greatest_common_divisor(step, features) != 1 {
            step += 2;
        }
        let words = (0..u64::from(size.tokens)).map(word).collect();
        Self { size, bands, step, back: inverse(step, features), starts: starts(size.tokens), words }
    }

    /// Rows on which `feature` fires, ascending; none for a dead one.
    pub fn rows_of(&self, feature: u32) -> Vec<u32> {
        let place = u64::from(feature) * self.back % u64::from(self.size.features);
        let band = self.bands.iter().find(|band| (band.first..band.first + band.features).contains(&place));
        band.map(|band| band.tokens(place).collect()).unwrap_or_default()
    }

    /// Features that fire on `row`, ascending.
    pub fn features_of(&self, row: u32) -> Vec<u32> {
        let number = |place: u64| (place * self.step % u64::from(self.size.features)) as u32;
        let of = |band: &Band| {
            let slots = u64::from(row) * band.active..(u64::from(row) + 1) * band.active;
            slots.map(|slot| number(band.feature(slot))).collect::<Vec<u32>>()
        };
        let mut features: Vec<u32> = self.bands.iter().flat_map(of).collect();
        features.sort_unstable();
        features
    }

    /// How strongly `feature` fires on a row on which it does.
    pub fn value(&self, feature: u32, row: u32) -> f32 {
        let most = 2.0 + 18.0 * chance(u64::from(feature), 12);
        (most * (0.04 + 0.96 * chance(u64::from(feature), 5000 + u64::from(row)).powi(3))) as f32
    }

    /// The document of `row` and the position in it.
    pub fn place(&self, row: u32) -> (u32, u32) {
        let document = self.starts.partition_point(|start| *start <= row) - 1;
        (document as u32, row - self.starts[document])
    }

    /// Rows of `document`.
    pub fn document(&self, document: u32) -> std::ops::Range<u32> {
        self.starts[document as usize]..self.starts[document as usize + 1]
    }

    /// Number of documents.
    pub fn documents(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// Token of `row`.
    pub fn token(&self, row: u32) -> u32 {
        u32::from(self.words[row as usize])
    }

    /// Text of `token`.
    pub fn text(token: u32) -> String {
        const SYLLABLES: [&str; 16] = [
            "ka", "lo", "min", "ter", "u", "se", "ran", "di", "o", "vel", "ist", "an", "e", "gru", "pa", "ni",
        ];
        let mut rest = token;
        let mut text = if token.is_multiple_of(5) { String::new() } else { " ".to_owned() };
        loop {
            text.push_str(SYLLABLES[(rest % 16) as usize]);
            rest /= 16;
            if rest == 0 {
                return if token.is_multiple_of(97) { text + "\n" } else { text };
            }
        }
    }
}

/// Frequent words are frequent.
fn word(row: u64) -> u16 {
    (f64::from(WORDS).powf(chance(row, 3)) - 1.0) as u16
}

/// The first document is a long one; the others are of a hundred to two thousand tokens.
fn starts(tokens: u32) -> Vec<u32> {
    let mut starts = vec![0];
    let mut at = 0;
    while at < tokens {
        let length = if at == 0 { 20_000 } else { 100 + (chance(u64::from(at), 8) * 1900.0) as u32 };
        at = (at + length.min(tokens / 4 + 1)).min(tokens);
        starts.push(at);
    }
    starts
}

/// Names in the folder.
pub const RUN: &str = "million";
/// Name of the dataset.
pub const DATASET: &str = "data";

/// Writes the folder. `say` is told what is being done.
pub fn write(root: &Path, made: &Made, say: &(dyn Fn(String) + Sync)) -> Result<()> {
    let run = root.join(RUN);
    let index = run.join("features");
    std::fs::create_dir_all(&index)?;
    let tokens: Vec<(String, Vec<u8>)> =
        (0..WORDS).map(Made::text).map(|text| (text.clone(), text.into_bytes())).collect();
    storage::vocabulary::write(&index.join("vocabulary.parquet"), &tokens)?;
    // By token and by feature at the same time: they share nothing.
    std::thread::scope(|scope| -> Result<()> {
        let by_token = scope.spawn(|| -> Result<()> {
            dataset(&root.join(DATASET), made, &tokens)?;
            say("dataset written".to_owned());
            codes(&index, made)?;
            say("codes by token written".to_owned());
            map(&index, made)
        });
        by_feature(&index, made, say)?;
        by_token.join().map_err(|_| "the writer of codes panicked")?
    })?;
    // All that does not grow with the features is as a small real run has it.
    let real = fixtures::sample().join("topk");
    let own = storage::Run::open(&real)?;
    let mut about = own.index()?.ok_or("the fixture has no index")?;
    about.tokens = made.size.tokens.into();
    about.features = made.size.features.into();
    about.data = format!("../{DATASET}");
    about.write(&index)?;
    std::fs::copy(real.join("metrics.parquet"), run.join("metrics.parquet"))?;
    // Last: a folder without it is not a run.
    RunRecord { d_sae: made.size.features as usize, data: format!("../{DATASET}"), ..own.record().clone() }
        .write(&run)?;
    Ok(())
}

/// `features.parquet`, `examples.parquet` and the activations sorted by feature.
fn by_feature(index: &Path, made: &Made, say: &(dyn Fn(String) + Sync)) -> Result<()> {
    let mut features = FeatureWriter::create(&index.join("features.parquet"))?;
    let mut examples = ExampleWriter::create(&index.join("examples.parquet"))?;
    let mut activations = ActivationWriter::create(&index.join("activations-00000.parquet"))?;
    let mut rows = Vec::new();
    for feature in 0..made.size.features {
        let fired: Vec<(u32, f32)> =
            made.rows_of(feature).into_iter().map(|row| (row, made.value(feature, row))).collect();
        features.append(feature_row(feature, &fired, activations.rows(), made))?;
        rows.clear();
        rows.extend(fired.iter().map(|(row, value)| {
            let (document, position) = made.place(*row);
            ActivationRow { feature, document, position, value: *value }
        }));
        activations.append(&rows)?;
        examples_of(feature, &fired, made).into_iter().try_for_each(|row| examples.append(row))?;
        if (feature + 1).is_multiple_of(100_000) {
            say(format!("{} features written", feature + 1));
        }
    }
    features.finish()?;
    examples.finish()?;
    activations.finish()?;
    Ok(())
}

fn feature_row(feature: u32, fired: &[(u32, f32)], first_row: u64, made: &Made) -> FeatureRow {
    let f = u64::from(feature);
    let some = |n: u64, of: u32| (chance(f, n) * f64::from(of)) as u32;
    let row = FeatureRow {
        feature,
        first_row,
        dead: fired.is_empty(),
        bias: -0.4 + 0.3 * chance(f, 1) as f32,
        encoder_norm: 0.9 + 0.4 * chance(f, 2) as f32,
        decoder_norm: 1.0,
        encoder_decoder_cosine: 0.6 + 0.3 * chance(f, 3) as f32,
        histogram: vec![0; storage::features::HISTOGRAM_BINS],
        top_logits: (0..10).map(|i| (some(20 + i, WORDS), 3.1 - 0.21 * i as f32)).collect(),
        bottom_logits: (0..10).map(|i| (some(40 + i, WORDS), -2.2 + 0.14 * i as f32)).collect(),
        logit_histogram: (0..40)
            .map(|bin: i32| (WORDS as f32 * 0.1 * (-((bin - 17) as f32 / 5.0).powi(2)).exp()) as u32)
            .collect(),
        neighbours: (0..8).map(|i| (some(60 + i, made.size.features), 0.71 - 0.05 * i as f32)).collect(),
        ..FeatureRow::default()
    };
    if fired.is_empty() {
        return row;
    }
    let max = fired.iter().map(|(_, value)| *value).fold(0.0, f32::max);
    let bins = row.histogram.len();
    let mut histogram = row.histogram;
    for (_, value) in fired {
        histogram[((value / max * bins as f32).ceil() as usize).clamp(1, bins) - 1] += 1;
    }
    FeatureRow {
        count: fired.len() as u64,
        density: (fired.len() as f64 / f64::from(made.size.tokens)) as f32,
        mean: (fired.iter().map(|(_, v)| f64::from(*v)).sum::<f64>() / fired.len() as f64) as f32,
        max,
        histogram,
        fires_on: fires_on(fired, made),
        coactive: (0..10)
            .map(|i| (some(100 + i, made.size.features), 3 + i as u32, 24.0 / (i + 1) as f32))
            .collect(),
        label: feature.is_multiple_of(10).then(|| format!("about “{}”", Made::text(some(140, WORDS)).trim())),
        ..row
    }
}

/// The ten tokens that a feature fires on most often.
fn fires_on(fired: &[(u32, f32)], made: &Made) -> Vec<(u32, u32)> {
    let mut tokens: Vec<u32> = fired.iter().map(|(row, _)| made.token(*row)).collect();
    tokens.sort_unstable();
    let mut counts: Vec<(u32, u32)> =
        tokens.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect();
    counts.sort_by_key(|(token, count)| (std::cmp::Reverse(*count), *token));
    counts.truncate(10);
    counts
}

/// Examples in the order of the index: by interval and rank.
fn examples_of(feature: u32, fired: &[(u32, f32)], made: &Made) -> Vec<ExampleRow> {
    let (top, per_interval, random) = EXAMPLES;
    let mut order: Vec<usize> = (0..fired.len()).collect();
    order.sort_unstable_by(|a, b| fired[*b].1.total_cmp(&fired[*a].1).then(a.cmp(b)));
    let max = order.first().map_or(0.0, |i| fired[*i].1);
    let mut chosen: Vec<(i8, usize)> = Vec::new();
    let step = (fired.len() / random).max(1);
    chosen.extend((0..fired.len()).step_by(step).take(random).map(|i| (-1, i)));
    chosen.extend(order.iter().take(top).map(|i| (0, *i)));
    for interval in 1..=5i8 {
        let fifth = |value: f32| 5 - ((value / max * 5.0).ceil() as i8 - 1).clamp(0, 4);
        chosen.extend(
            order
                .iter()
                .filter(|i| fifth(fired[**i].1) == interval)
                .take(per_interval)
                .map(|i| (interval, *i)),
        );
    }
    let mut rank = (i8::MIN, 0);
    let example = |(interval, i): (i8, usize)| {
        rank = if rank.0 == interval { (interval, rank.1 + 1) } else { (interval, 0) };
        let (row, value) = fired[i];
        let (document, position) = made.place(row);
        let all = made.document(document);
        let window = row.saturating_sub(AROUND.0).max(all.start)..(row + AROUND.1 + 1).min(all.end);
        let first = fired.partition_point(|(r, _)| *r < window.start);
        let mut values = vec![0.0; window.len()];
        for (r, v) in fired[first..].iter().take_while(|(r, _)| *r < window.end) {
            values[(r - window.start) as usize] = *v;
        }
        ExampleRow {
            feature,
            interval,
            rank: rank.1,
            document,
            position,
            value,
            start: window.start - all.start,
            tokens: window.map(|r| made.token(r)).collect(),
            values,
        }
    };
    chosen.into_iter().map(example).collect()
}

fn codes(index: &Path, made: &Made) -> Result<()> {
    let mut writer = CodesWriter::create(&index.join("codes-00000.parquet"))?;
    for document in 0..made.documents() {
        for (row, position) in made.document(document).zip(0..) {
            let features = made.features_of(row);
            let values: Vec<f32> = features.iter().map(|f| made.value(*f, row)).collect();
            writer.append(document, position, &features, &values)?;
        }
    }
    writer.finish()?;
    Ok(())
}

/// Clusters of all sizes.
fn map(index: &Path, made: &Made) -> Result<()> {
    let alive = (0..made.size.features).filter(|f| !made.rows_of_is_empty(*f));
    let rows: Vec<storage::map::PointRow> = alive
        .map(|feature| {
            let f = u64::from(feature);
            let cluster = (chance(f, 200).powi(2) * 400.0) as u64;
            let centre = [chance(cluster, 201) * 40.0 - 20.0, chance(cluster, 202) * 40.0 - 20.0];
            let spread = |seed| (chance(f, seed) + chance(f, seed + 1) + chance(f, seed + 2) - 1.5) * 3.0;
            storage::map::PointRow {
                feature,
                x: (centre[0] + spread(300)) as f32,
                y: (centre[1] + spread(310)) as f32,
            }
        })
        .collect();
    storage::row::write(&index.join(storage::map::FILE), &rows)?;
    Ok(())
}

impl Made {
    fn rows_of_is_empty(&self, feature: u32) -> bool {
        let place = u64::from(feature) * self.back % u64::from(self.size.features);
        let band = self.bands.iter().find(|band| (band.first..band.first + band.features).contains(&place));
        band.is_none_or(|band| band.tokens(place).next().is_none())
    }
}

/// The dataset: documents, vocabulary, activations.
fn dataset(dir: &Path, made: &Made, tokens: &[(String, Vec<u8>)]) -> Result<()> {
    let model = ModelRef { id: "generated".into(), path: None, sha256: "5e".repeat(32) };
    let mut header = Manifest::new(model, Some(fixtures::HOOK.into()), WIDTH, Dtype::F16);
    header.context_length = 1024;
    header.tokenizer = "tokenizer.json".into();
    header.text = vec![TextSource { path: "generated".into(), bytes: u64::from(made.size.tokens) * 5 }];
    let mut writer = DatasetWriter::begin(dir, header)?;
    let mut committed = Vec::new();
    let rows: Vec<documents::DocumentRow> = (0..made.documents())
        .map(|document| documents::DocumentRow {
            document,
            name: format!("document {document}"),
            source: format!("generated/{document}.txt"),
            domain: DOMAINS[document as usize % DOMAINS.len()].into(),
            held_out: document.is_multiple_of(20),
            first_row: u64::from(made.document(document).start),
            tokens: made.document(document).len() as u32,
        })
        .collect();
    let mut part = writer.next_part(schema::DOCUMENTS, schema::documents(), &Layout::small_table())?;
    part.write(&documents::to_batch(&rows)?)?;
    committed.push((schema::DOCUMENTS.to_owned(), part.finish()?));
    let mut part = writer.next_part(schema::VOCABULARY, schema::vocabulary(), &Layout::small_table())?;
    part.write(&storage::vocabulary::to_batch(tokens)?)?;
    committed.push((schema::VOCABULARY.to_owned(), part.finish()?));
    let shape = schema::activations(WIDTH, Dtype::F16, false);
    let mut part = writer.next_part(schema::ACTIVATIONS, shape.clone(), &Layout::activations())?;
    for first in (0..made.size.tokens).step_by(8192) {
        part.write(&activations(&shape, made, first..(first + 8192).min(made.size.tokens))?)?;
    }
    committed.push((schema::ACTIVATIONS.to_owned(), part.finish()?));
    writer.commit(committed, serde_json::Value::Null)?;
    writer.finish()?;
    Ok(())
}

fn activations(
    shape: &arrow::datatypes::SchemaRef,
    made: &Made,
    rows: std::ops::Range<u32>,
) -> Result<RecordBatch> {
    let numbers = |get: &dyn Fn(u32) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.clone().map(get)))
    };
    let domain = |row| DOMAINS[made.place(row).0 as usize % DOMAINS.len()];
    let domains: DictionaryArray<Int32Type> = rows.clone().map(domain).collect();
    let values: Vec<f32> = (u64::from(rows.start) * WIDTH as u64..u64::from(rows.end) * WIDTH as u64)
        .map(|i| chance(i, 5) as f32 - 0.5)
        .collect();
    let (vectors, _) = storage::vector::column_from_rows(&values, WIDTH, Dtype::F16)?;
    let columns = vec![
        numbers(&|row| made.place(row).0),
        numbers(&|row| made.place(row).1),
        numbers(&|row| made.token(row)),
        Arc::new(domains) as ArrayRef,
        Arc::new(vectors),
    ];
    Ok(RecordBatch::try_new(shape.clone(), columns)?)
}
