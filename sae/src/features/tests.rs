//! The whole index against dense, naive computations of every column.

use std::path::Path;

use storage::examples::ExampleRow;
use storage::feature_activations::ActivationRow;
use storage::features::FeatureRow;
use storage::features::HISTOGRAM_BINS as BINS;
use storage::{Dataset, Run, Scan};

use super::*;
use crate::Quiet;
use crate::rows::ModelChoice;
use crate::rows::fixture::{self, Text};
use lm::model::ModelSource;
use lm::progress::StopAfter;

const FEATURES: usize = 37;

struct World {
    folder: tempfile::TempDir,
    texts: Vec<Text>,
    activations: Vec<f32>,
    dictionary: crate::dictionary::Dictionary,
    unembedding: Vec<f32>,
}

impl World {
    /// Random activations of a small model's width, a random dictionary in which feature 5 never fires.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = fixture::model(&folder.path().join("model"));
        let d = model.config().hidden_size;
        let texts = fixture::texts(&[120, 1, 77, 200, 33], 23, 3);
        let activations = fixture::activations(431, d, 4);
        let mut head = fixture::header(d);
        head.model = fixture::model_ref(&model);
        fixture::dataset(&folder.path().join("data"), head, &texts, &activations, 3);
        let mut dictionary = fixture::dictionary(d, FEATURES, 4, 9);
        dictionary.b_enc[5] = -1e6;
        // Features 1 and 2 are the same direction in different lengths.
        let one: Vec<f32> = dictionary.decoder_row(1).iter().map(|v| v * 3.0).collect();
        dictionary.w_dec[2 * d..3 * d].copy_from_slice(&one);
        fixture::run(&folder.path().join("run"), &dictionary, &folder.path().join("data"));
        let unembedding = model.unembedding().unwrap().flatten_all().unwrap().to_vec1().unwrap();
        Self { folder, texts, activations, dictionary, unembedding }
    }

    fn run(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    /// (document, position, token) of every row.
    fn places(&self) -> Vec<(u32, u32, u32)> {
        let of = |(i, text): (usize, &Text)| {
            let row = move |(p, &t): (usize, &u32)| (10 + i as u32, p as u32, t);
            text.tokens.iter().enumerate().map(row).collect::<Vec<_>>()
        };
        self.texts.iter().enumerate().flat_map(of).collect()
    }

    /// Codes `[rows][F]`, dense.
    fn dense(&self) -> Vec<Vec<f32>> {
        let codes = self.dictionary.encode(&self.activations);
        (0..codes.rows())
            .map(|i| {
                let mut row = vec![0.0; FEATURES];
                let (features, values) = codes.row(i);
                features.iter().zip(values).for_each(|(&f, &v)| row[f as usize] = v);
                row
            })
            .collect()
    }
}

fn options() -> IndexOptions {
    let examples = ExampleOptions { top: 6, before: 5, after: 3, seed: 8, ..ExampleOptions::default() };
    IndexOptions { batch: 64, examples, ..IndexOptions::default() }
}

fn tables(run: &Path) -> (Vec<FeatureRow>, Vec<ActivationRow>, Vec<ExampleRow>) {
    let run = Run::open(run).unwrap();
    let (features, activations) = (run.features().unwrap().unwrap(), run.activations().unwrap().unwrap());
    let examples = run.examples().unwrap().unwrap();
    let examples =
        (0..FEATURES as u32).flat_map(|f| storage::examples::read(&examples, f).unwrap()).collect();
    (
        storage::features::read(&features, 0..features.rows()).unwrap(),
        storage::feature_activations::read_rows(&activations, 0..activations.rows()).unwrap(),
        examples,
    )
}

fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn close(a: f32, b: f64) -> bool {
    (f64::from(a) - b).abs() <= 1e-4 * (1.0 + b.abs())
}

/// Names and numbers of a list; where scores tie but for rounding, only the scores must agree.
fn assert_list(found: &[(u32, f32)], expected: &[(u32, f64)], of: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((id, value), (_, best)) in found.iter().zip(expected) {
        assert!(close(*value, *best) && close(*value, of[*id as usize]), "{what}: {found:?}, {expected:?}");
    }
}

#[test]
fn codes_by_token_are_those_of_every_row() {
    let world = World::new();
    index(&world.run(), &options(), &mut Quiet).unwrap();
    let codes = Run::open(&world.run()).unwrap().codes().unwrap().unwrap();
    let mut dense = world.dense().into_iter();
    for (i, text) in world.texts.iter().enumerate() {
        let found = storage::codes::read(&codes, 10 + i as u32, 0..u32::MAX).unwrap();
        assert_eq!(found.positions.len(), text.tokens.len());
        for position in 0..text.tokens.len() as u32 {
            let (features, values) = found.at(position).unwrap();
            let mut row = vec![0.0; FEATURES];
            features.iter().zip(values).for_each(|(&f, &v)| row[f as usize] = v);
            assert_eq!(row, dense.next().unwrap());
        }
    }
    assert_eq!(dense.next(), None);
}

#[test]
fn every_column_as_by_brute_force() {
    let world = World::new();
    let summary = index(&world.run(), &options(), &mut Quiet).unwrap();
    let (rows, activations, examples) = tables(&world.run());
    let (dense, places) = (world.dense(), world.places());
    let total = places.len();
    let fired = |f: usize| (0..total).filter(|&r| dense[r][f] > 0.0).collect::<Vec<_>>();

    let expected: Vec<ActivationRow> = (0..FEATURES)
        .flat_map(|f| fired(f).into_iter().map(move |r| (f, r)))
        .map(|(f, r)| ActivationRow {
            feature: f as u32,
            document: places[r].0,
            position: places[r].1,
            value: dense[r][f],
        })
        .collect();
    assert_eq!(activations, expected);
    assert_eq!(rows.len(), FEATURES);
    assert_eq!((summary.tokens, summary.documents, summary.features), (431, 5, FEATURES as u64));
    assert_eq!(summary.activations, activations.len() as u64);
    assert_eq!(summary.dead, rows.iter().filter(|row| row.dead).count() as u64);
    assert!(rows[5].dead);

    let d = world.dictionary.d_in;
    let mut first_row = 0;
    for (f, row) in rows.iter().enumerate() {
        let rows_of = fired(f);
        let values: Vec<f32> = rows_of.iter().map(|&r| dense[r][f]).collect();
        let max = values.iter().copied().fold(0.0, f32::max);
        let count = values.len();
        assert_eq!((row.feature, row.count, row.first_row), (f as u32, count as u64, first_row));
        first_row += count as u64;
        assert_eq!((row.dead, row.max, row.label.clone()), (count == 0, max, None));
        assert!(close(row.density, count as f64 / 431.0));
        assert!(close(row.mean, values.iter().map(|&v| f64::from(v)).sum::<f64>() / count.max(1) as f64));

        let mut histogram = vec![0; BINS];
        for &v in &values {
            let inside = |bin: &usize| {
                let edge = |b: usize| f64::from(max) * b as f64 / BINS as f64;
                f64::from(v) > edge(*bin) && (f64::from(v) <= edge(bin + 1) || *bin == BINS - 1)
            };
            histogram[(0..BINS).find(inside).unwrap()] += 1;
        }
        assert_eq!(row.histogram, histogram, "feature {f}");

        let (encoder, decoder) = (world.dictionary.encoder_row(f), world.dictionary.decoder_row(f));
        let (a, b) = (wide_dot(encoder, encoder).sqrt(), wide_dot(decoder, decoder).sqrt());
        assert!(close(row.encoder_norm, a) && close(row.decoder_norm, b));
        assert!(close(row.encoder_decoder_cosine, wide_dot(encoder, decoder) / (a * b)));
        assert_eq!(row.bias, world.dictionary.b_enc[f]);

        let mut on: Vec<(u32, u32)> = (0..23)
            .map(|t| (t, rows_of.iter().filter(|&&r| places[r].2 == t).count() as u32))
            .filter(|(_, n)| *n > 0)
            .collect();
        on.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        on.truncate(10);
        assert_eq!(row.fires_on, on);

        let logits: Vec<f64> = world.unembedding.chunks(d).map(|u| wide_dot(decoder, u)).collect();
        let mut order: Vec<(u32, f64)> = logits.iter().enumerate().map(|(t, &l)| (t as u32, l)).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_list(&row.top_logits, &order[..10], &logits, "top logits");
        order.reverse();
        assert_list(&row.bottom_logits, &order[..10], &logits, "bottom logits");
        assert_eq!(row.logit_histogram.iter().map(|n| *n as usize).sum::<usize>(), logits.len());
        assert_eq!(row.logit_histogram.len(), BINS);

        let cosines: Vec<f64> = (0..FEATURES)
            .map(|o| {
                let other = world.dictionary.decoder_row(o);
                wide_dot(decoder, other) / (b * wide_dot(other, other).sqrt())
            })
            .collect();
        let mut order: Vec<(u32, f64)> =
            cosines.iter().enumerate().filter(|(o, _)| *o != f).map(|(o, &c)| (o as u32, c)).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_list(&row.neighbours, &order[..8], &cosines, "neighbours");

        let mut partners: Vec<(u32, u32, f64)> = (0..FEATURES)
            .filter(|&o| o != f)
            .map(|o| {
                let both = rows_of.iter().filter(|&&r| dense[r][o] > 0.0).count();
                let lift = both as f64 * 431.0 / (count * fired(o).len()) as f64;
                (o as u32, both as u32, lift)
            })
            .filter(|(_, n, lift)| *n > 0 && *lift > 1.0)
            .collect();
        let worth = |p: &(u32, u32, f64)| f64::from(p.1) * p.2.ln();
        partners.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(a.0.cmp(&b.0)));
        partners.truncate(8);
        let partners: Vec<(u32, u32, f32)> =
            partners.into_iter().map(|(o, n, lift)| (o, n, lift as f32)).collect();
        assert_eq!(row.coactive, partners, "feature {f}");
    }
    // The planted pair: the same direction, and nothing is its own neighbour.
    assert_eq!((rows[1].neighbours[0].0, rows[2].neighbours[0].0), (2, 1));

    for example in &examples {
        let f = example.feature as usize;
        let row = places.iter().position(|p| (p.0, p.1) == (example.document, example.position)).unwrap();
        assert_eq!(example.value, dense[row][f]);
        let length = world.texts[example.document as usize - 10].tokens.len() as u32;
        let (start, end) = (example.position.saturating_sub(5), (example.position + 4).min(length));
        assert_eq!((example.start, example.tokens.len() as u32), (start, end - start));
        let first = row - (example.position - start) as usize;
        for (i, (&token, &value)) in example.tokens.iter().zip(&example.values).enumerate() {
            assert_eq!((token, value), (places[first + i].2, dense[first + i][f]));
        }
    }
    for (f, row) in rows.iter().enumerate() {
        let of =
            |interval: i8| examples.iter().filter(move |e| e.feature as usize == f && e.interval == interval);
        assert_eq!(of(0).next().map_or(0.0, |e| e.value), row.max, "the strongest comes first");
        assert_eq!(of(RANDOM).count(), (row.count as usize).min(5));
        for interval in 1..=5i8 {
            let (low, high) = (
                row.max * f32::from(5 - interval as u8) / 5.0,
                row.max * f32::from(6 - interval as u8) / 5.0,
            );
            assert!(of(interval).all(|e| e.value > low * 0.9999 && e.value <= high * 1.0001));
        }
    }
    let read = |name: &str| std::fs::read(world.run().join("features").join(name));
    assert!(read("vocabulary.parquet").is_ok() && read("index.json").is_ok());
    assert_eq!(std::fs::read_dir(world.run().join("features")).unwrap().count(), 8, "nothing else is left");
}

/// Same bytes for any number of threads.
#[test]
fn threads_change_no_byte() {
    let world = World::new();
    let files = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| index(&world.run(), &options(), &mut Quiet)).unwrap();
        ["features.parquet", "activations-00000.parquet", "examples.parquet", "map.parquet", "index.json"]
            .map(|name| std::fs::read(world.run().join("features").join(name)).unwrap())
    };
    let first = files(1);
    assert!(first == files(3) && first == files(2));
}

#[test]
fn a_limit_and_no_model() {
    let world = World::new();
    let options = IndexOptions { tokens: Some(100), model: ModelChoice::Without, ..options() };
    let summary = index(&world.run(), &options, &mut Quiet).unwrap();
    assert_eq!(summary.tokens, 100);
    let (rows, ..) = tables(&world.run());
    assert!(rows.iter().all(|row| row.top_logits.is_empty() && row.count <= 100));
    assert!(summary.logits.contains("no model"));
}

#[test]
fn an_interrupted_index_leaves_the_old_one() {
    let world = World::new();
    assert!(index(&world.run(), &options(), &mut StopAfter::new(3)).is_err());
    assert!(!world.run().join("features").exists() && !world.run().join("features.partial").exists());
    index(&world.run(), &options(), &mut Quiet).unwrap();
    let before = tables(&world.run());
    assert!(index(&world.run(), &options(), &mut StopAfter::new(8)).is_err());
    assert_eq!(tables(&world.run()), before);
}

/// What the window offers where an index cannot be read.
#[test]
fn a_damaged_index_is_made_again() {
    let world = World::new();
    index(&world.run(), &options(), &mut Quiet).unwrap();
    let before = tables(&world.run());
    let path = world.run().join("features/features.parquet");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    index(&world.run(), &options(), &mut Quiet).unwrap();
    assert_eq!(tables(&world.run()), before);
}

/// Labels are somebody's work: a new index keeps them.
#[test]
fn labels_survive() {
    let world = World::new();
    index(&world.run(), &options(), &mut Quiet).unwrap();
    let (mut rows, ..) = tables(&world.run());
    rows[7].label = Some("closing brackets".into());
    let path = world.run().join("features/features.parquet");
    let mut writer = storage::features::FeatureWriter::create(&path).unwrap();
    rows.into_iter().for_each(|row| writer.append(row).unwrap());
    writer.finish().unwrap();
    index(&world.run(), &options(), &mut Quiet).unwrap();
    let (rows, ..) = tables(&world.run());
    assert_eq!(rows[7].label.as_deref(), Some("closing brackets"));
    assert_eq!(rows.iter().filter(|row| row.label.is_some()).count(), 1);
}

#[test]
fn a_foreign_model_is_refused() {
    let world = World::new();
    let data = world.folder.path().join("other");
    let head = fixture::header(world.dictionary.d_in);
    fixture::dataset(&data, head, &world.texts, &world.activations, 1);
    assert_eq!(
        Dataset::open(&data).unwrap().table("activations").unwrap().scan(Scan::default()).unwrap().count(),
        1
    );
    let model = ModelChoice::Source(ModelSource::Folder(world.folder.path().join("model")));
    let options = IndexOptions { data: Some(data), model, ..options() };
    let message = index(&world.run(), &options, &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("was made with `fixture`"), "{message}");
}

#[test]
fn a_search_finds_what_fires_on_every_word() {
    let world = World::new();
    index(&world.run(), &options(), &mut Quiet).unwrap();
    let run = Run::open(&world.run()).unwrap();
    let (dense, places) = (world.dense(), world.places());
    let vocabulary = storage::vocabulary::read(&run.vocabulary().unwrap().unwrap()).unwrap();
    let (a, b) = (places[0].2, places.iter().map(|place| place.2).find(|t| *t != places[0].2).unwrap());
    let on = |token: u32, f: usize| {
        let rows: Vec<usize> = (0..places.len()).filter(|row| places[*row].2 == token).collect();
        (rows.iter().filter(|row| dense[**row][f] > 0.0).count() as u64, rows.len() as u64)
    };
    let text = |token: u32| vocabulary[token as usize].clone();

    let one = find(&world.run(), &format!("\"{}\"", text(a)), usize::MAX).unwrap();
    assert_eq!((one.words.clone(), one.gap.clone()), (vec![vec![text(a)]], None));
    let mut counts = vec![(0, 0); FEATURES];
    for found in &one.features {
        if let FoundBy::FiresOn { count, occurrences, share, .. } = found.by {
            assert!((share - count as f64 / occurrences as f64).abs() < 1e-12);
            counts[found.feature as usize] = (count, occurrences);
        }
    }
    for (f, (count, occurrences)) in counts.into_iter().enumerate() {
        let expected = on(a, f);
        assert_eq!(count, expected.0, "feature {f}");
        assert!(count == 0 || occurrences == expected.1, "feature {f}");
    }
    // The order: of two that fire on the token, the one that fires more there and less elsewhere comes first.
    let worth = |found: &FoundFeature| match found.by {
        FoundBy::FiresOn { share, .. } => {
            let fired = dense.iter().filter(|row| row[found.feature as usize] > 0.0).count();
            share * (share * places.len() as f64 / fired as f64).ln().max(0.0)
        }
        _ => -1.0,
    };
    assert!(one.features.windows(2).all(|pair| worth(&pair[0]) >= worth(&pair[1]) - 1e-6));

    let (a, b) = (text(a), text(b));
    if [&a, &b].iter().all(|word| !word.trim().is_empty() && !word.trim().contains(char::is_whitespace)) {
        let both = find(&world.run(), &format!("{a} {b}"), usize::MAX).unwrap();
        let fires = |found: &FoundFeatures| {
            let firing = found.features.iter().filter(|one| matches!(one.by, FoundBy::FiresOn { .. }));
            firing.map(|one| one.feature).collect::<std::collections::BTreeSet<_>>()
        };
        let (first, second) =
            (find(&world.run(), &a, usize::MAX).unwrap(), find(&world.run(), &b, usize::MAX).unwrap());
        assert_eq!(fires(&both), &fires(&first) & &fires(&second));
        // What is counted is one of the two words, and it is named.
        let of = |found: &FoundFeatures, feature: u32| {
            found.features.iter().find_map(|one| match one.by {
                FoundBy::FiresOn { word, count, occurrences, .. } if one.feature == feature => {
                    Some((word, count, occurrences))
                }
                _ => None,
            })
        };
        for feature in fires(&both) {
            let (word, count, occurrences) = of(&both, feature).unwrap();
            let alone = of(if word == 0 { &first } else { &second }, feature).unwrap();
            assert_eq!((0, count, occurrences), alone, "feature {feature}");
        }
    }
}

#[test]
fn a_search_of_an_older_index_says_what_to_run() {
    let world = World::new();
    index(&world.run(), &options(), &mut Quiet).unwrap();
    std::fs::remove_file(world.run().join("features").join(storage::token_features::FILE)).unwrap();
    let run = Run::open(&world.run()).unwrap();
    let vocabulary = storage::vocabulary::read(&run.vocabulary().unwrap().unwrap()).unwrap();
    let text = format!("\"{}\"", vocabulary[world.places()[0].2 as usize]);
    let found = find(&world.run(), &text, 9).unwrap();
    assert!(found.gap.is_some_and(|gap| gap.contains("sae index")));
}

/// Shards of two files of codes each, one of them stopped again and again; the last has all features.
#[test]
fn shards_are_stopped_continued_and_merged_to_the_same_bytes() {
    use crate::shards::{SHARDS, Shard};
    let world = World::new();
    let options = IndexOptions { batch: 4, tokens: Some(417), ..options() };
    let summary = index(&world.run(), &options, &mut Quiet).unwrap();
    let bytes = || -> std::collections::BTreeMap<_, _> {
        let files =
            std::fs::read_dir(world.run().join("features")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let whole = bytes();
    std::fs::remove_dir_all(world.run().join("features")).unwrap();
    let shard = |index: usize, stop: u64| {
        index_shard(&world.run(), &options, Shard { index, count: 3 }, &mut StopAfter::new(stop))
    };
    shard(2, 1_000_000).unwrap();
    let mut stops = 0;
    let done = loop {
        match shard(1, 30 + stops) {
            Ok(work) => break work,
            Err(error) => assert!(matches!(error, crate::Error::Stopped(_)), "{error}"),
        }
        stops += 1;
        assert!(index_merge(&world.run(), &options, &mut Quiet).is_err());
    };
    assert!(stops > 0 && done.starts == stops + 1, "{stops} stops: {done:?}");
    let names =
        |work: &crate::shards::Work| work.files.iter().map(|part| part.file.clone()).collect::<Vec<_>>();
    assert_eq!(names(&done), ["codes-00000.parquet", "codes-00001.parquet"]);
    assert_eq!(done.pieces[0], "rows 140 to 280 of those chosen");
    shard(0, 1_000_000).unwrap();
    assert_eq!(index_merge(&world.run(), &options, &mut Quiet).unwrap(), summary);
    let merged = bytes();
    let differ: Vec<_> = whole.keys().filter(|path| merged.get(*path) != whole.get(*path)).collect();
    assert!(whole.len() == merged.len() && differ.is_empty(), "{differ:?}");
    assert!(world.run().join(SHARDS).exists());
}
