//! Joined datasets, crosscoders on them, and what they find, against definitions and planted differences.

use std::path::{Path, PathBuf};

use storage::difference::{Difference, FeatureDifference};
use storage::{Dataset, Scan, schema, vector};

use super::scaling::{Rows, Sums};
use super::*;
use crate::dictionary::Dictionary;
use crate::rows::fixture::{self, Text, header, texts};
use crate::train::{Method, TrainConfig, run};
use crate::{Error, Quiet};
use kernels::chance::{Purpose, generator, normal, uniform};
use lm::progress::StopAfter;

// Of whole vectors of the processor, so that both halves of a row are computed alike.
const D: usize = 16;

fn directions(count: usize, stream: u64) -> Vec<Vec<f32>> {
    let mut rng = generator(19, Purpose::Samples, stream, 0);
    let mut row = || {
        let row: Vec<f32> = (0..D).map(|_| normal(&mut rng)).collect();
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(|x| x / norm).collect()
    };
    (0..count).map(|_| row()).collect()
}

/// What both models have, what only the second has, and what it has in a different direction.
struct Planted {
    texts: Vec<Text>,
    a: Vec<f32>,
    b: Vec<f32>,
}

const SHARED: usize = 12;
const EXCLUSIVE_TO_B: usize = 3;
const TURNED: usize = 3;

fn planted() -> Planted {
    let texts = texts(&[50; 100], 50, 3);
    let rows = 50 * 100;
    let (first, second) = (directions(SHARED + EXCLUSIVE_TO_B + TURNED, 1), directions(TURNED, 2));
    let mut rng = generator(23, Purpose::Samples, 3, 0);
    let (mut a, mut b) = (vec![0.3; rows * D], vec![0.3; rows * D]);
    for (a, b) in a.chunks_exact_mut(D).zip(b.chunks_exact_mut(D)) {
        for (i, direction) in first.iter().enumerate() {
            if uniform(&mut rng) > 0.12 {
                continue;
            }
            let strength = 1.0 + uniform(&mut rng) as f32;
            let add = |row: &mut [f32], along: &[f32]| {
                row.iter_mut().zip(along).for_each(|(x, u)| *x += strength * u);
            };
            let only_b = (SHARED..SHARED + EXCLUSIVE_TO_B).contains(&i);
            if !only_b {
                add(a, direction);
            }
            let turned = i.checked_sub(SHARED + EXCLUSIVE_TO_B);
            add(b, turned.map_or(direction, |i| &second[i]));
        }
        for x in a.iter_mut().chain(b) {
            *x += 0.02 * normal(&mut rng);
        }
    }
    Planted { texts, a, b }
}

fn write(folder: &Path, name: &str, texts: &[Text], values: &[f32]) -> PathBuf {
    write_with(folder, name, texts, values, serde_json::json!({}))
}

fn write_with(
    folder: &Path,
    name: &str,
    texts: &[Text],
    values: &[f32],
    settings: serde_json::Value,
) -> PathBuf {
    let path = folder.join(name);
    let mut header = header(D);
    header.model.id = name.to_owned();
    header.settings = settings;
    fixture::dataset(&path, header, texts, values, 2);
    path
}

fn trained(data: &Path, out: &Path) -> Dictionary {
    let config = TrainConfig {
        method: Method::MutualChoice,
        d_sae: Some(32),
        k: 3,
        batch: 250,
        tokens: Some(300_000),
        learning_rate: Some(3e-3),
        input_normalisation: crate::train::InputNormalisation::MeanSquare,
        ..TrainConfig::default()
    };
    run(&config, data, out, false, &mut Quiet).unwrap();
    Dictionary::load(out).unwrap()
}

fn read(dataset: &Path) -> (Vec<f32>, Vec<u32>) {
    let dataset = Dataset::open(dataset).unwrap();
    let table = dataset.table(schema::ACTIVATIONS).unwrap();
    let (mut values, mut tokens) = (Vec::new(), Vec::new());
    for batch in table.scan(Scan::default()).unwrap() {
        let batch = batch.unwrap();
        vector::fixed_size_rows(&batch, "activation", &mut values).unwrap();
        tokens.extend_from_slice(
            storage::column::primitive::<arrow::datatypes::UInt32Type>(&batch, "token").unwrap().values(),
        );
    }
    (values, tokens)
}

#[test]
fn a_joined_row_is_both_rows_scaled_to_vary_alike() {
    let folder = tempfile::tempdir().unwrap();
    let Planted { texts, a, b } = planted();
    let larger: Vec<f32> = b.iter().map(|x| 50.0 * x).collect();
    let data = [write(folder.path(), "a", &texts, &a), write(folder.path(), "b", &texts, &larger)];
    let out = folder.path().join("ab");
    // A join that was stopped continues.
    assert!(matches!(join(&data, &out, &mut StopAfter::new(2)), Err(Error::Stopped(_))));
    let joined = join(&data, &out, &mut Quiet).unwrap();
    let manifest = Dataset::open(&out).unwrap().manifest().clone();
    assert_eq!((manifest.d_model, manifest.hook, manifest.rows), (2 * D, None, 5000));
    assert_eq!(manifest.model.id, "a + b");
    let (values, tokens) = read(&out);
    assert_eq!(tokens, texts.iter().flat_map(|text| text.tokens.clone()).collect::<Vec<_>>());
    let scales = [joined.sites[0].scale, joined.sites[1].scale];
    for (i, row) in values.chunks_exact(2 * D).enumerate() {
        for c in 0..D {
            assert_eq!(row[c], a[i * D + c] * scales[0]);
            assert_eq!(row[D + c], larger[i * D + c] * scales[1]);
        }
    }
    // Both halves vary alike.
    let spread = |half: usize| {
        (0..D)
            .map(|c| {
                let column: Vec<f64> =
                    values.chunks_exact(2 * D).map(|row| f64::from(row[half * D + c])).collect();
                let mean = column.iter().sum::<f64>() / column.len() as f64;
                column.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
            })
            .sum::<f64>()
    };
    assert!((spread(0) / spread(1) - 1.0).abs() < 1e-4);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Planted { mut texts, a, b } = planted();
    let one = write(folder.path(), "one", &texts, &a);
    let refused = |data: &[PathBuf], name: &str| {
        let error = join(data, &folder.path().join(name), &mut Quiet).unwrap_err();
        assert!(error.remedy().is_some(), "{error}");
        error.to_string()
    };
    assert!(refused(std::slice::from_ref(&one), "x").contains("at least two"));
    texts[7].tokens[3] += 1;
    let other = write(folder.path(), "other", &texts, &b);
    assert!(refused(&[one.clone(), other], "x2").contains("row 353 is token"));
    texts[7].held_out = !texts[7].held_out;
    let third = write(folder.path(), "third", &texts, &b);
    assert!(refused(&[one.clone(), third], "x3").contains("do not hold the same tokens"));
    // What the model multiplied in is kept where it is the same, and analyses follow it.
    let half = |name, values| {
        write_with(folder.path(), name, &planted().texts, values, serde_json::json!({ "compute": "bf16" }))
    };
    let halves = [half("half", &a), half("half2", &b)];
    let message = refused(&[one.clone(), halves[0].clone()], "x5");
    assert!(message.contains("in f32") && message.contains("in bf16"), "{message}");
    let joined = folder.path().join("halves");
    join(&halves, &joined, &mut Quiet).unwrap();
    assert_eq!(Dataset::open(&joined).unwrap().manifest().settings["compute"], "bf16");
    let constant = write(folder.path(), "constant", &planted().texts, &vec![2.0; a.len()]);
    assert!(refused(&[one, constant], "x4").contains("do not vary"));
}

/// The same model twice: every feature is alike at both sites, to the bit.
#[test]
fn the_same_model_twice_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Planted { texts, a, .. } = planted();
    let data = [write(folder.path(), "a", &texts, &a), write(folder.path(), "again", &texts, &a)];
    let (joined, out) = (folder.path().join("aa"), folder.path().join("run"));
    join(&data, &joined, &mut Quiet).unwrap();
    let dictionary = trained(&joined, &out);
    for row in dictionary.w_dec.chunks_exact(2 * D) {
        assert_eq!(row[..D], row[D..]);
        let norms: f32 = row.chunks_exact(D).map(|part| part.iter().map(|w| w * w).sum::<f32>().sqrt()).sum();
        assert!((norms - 1.0).abs() < 1e-5, "norms add up to {norms}");
    }
    let (place, record, features) =
        difference(&out, None, &DifferenceOptions::default(), &mut Quiet).unwrap();
    assert!(features.iter().all(|feature| feature.relative_norm == 0.5));
    assert!(record.classes.keys().all(|class| ["shared", "silent"].contains(&class.as_str())), "{record:?}");
    assert!(record.sites.iter().all(|site| site.fve.unwrap() > 0.7), "{record:?}");
    // A number that was read from JSON may be off by its last bit.
    let kept = Difference::read(&place).unwrap();
    assert_eq!((kept.tokens, &kept.sha256, &kept.classes), (record.tokens, &record.sha256, &record.classes));
    let table = storage::row::open::<FeatureDifference>(&place.join("features.parquet")).unwrap();
    assert_eq!(storage::row::read::<FeatureDifference>(&table, Scan::default()).unwrap(), features);
}

/// Features that only the second model has, and some that it has in a different direction, are found as what they are.
#[test]
fn planted_differences_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let Planted { texts, a, b } = planted();
    let data = [write(folder.path(), "a", &texts, &a), write(folder.path(), "b", &texts, &b)];
    let (joined, out) = (folder.path().join("ab"), folder.path().join("run"));
    join(&data, &joined, &mut Quiet).unwrap();
    let dictionary = trained(&joined, &out);
    let (_, record, features) = difference(&out, None, &DifferenceOptions::default(), &mut Quiet).unwrap();
    let (first, second) = (directions(SHARED + EXCLUSIVE_TO_B + TURNED, 1), directions(TURNED, 2));
    let cosine =
        |x: &[f32], y: &[f32]| kernels::wide::dot(x, y) / (kernels::wide::norm(x) * kernels::wide::norm(y));
    // The feature whose row at B lies nearest to a planted direction.
    let nearest = |direction: &[f32]| {
        let near = |f: usize| cosine(&dictionary.decoder_row(f)[D..], direction);
        (0..dictionary.d_sae).max_by(|&x, &y| near(x).total_cmp(&near(y))).map(|f| (f, near(f))).unwrap()
    };
    let mut right = 0;
    for (i, direction) in first.iter().enumerate() {
        let (wanted, direction) = match i {
            _ if i < SHARED => ("shared", direction),
            _ if i < SHARED + EXCLUSIVE_TO_B => ("exclusive", direction),
            _ => ("rotated", &second[i - SHARED - EXCLUSIVE_TO_B]),
        };
        let (feature, near) = nearest(direction);
        if near > 0.9 && features[feature].class == wanted {
            right += 1;
            if wanted == "exclusive" {
                assert!(features[feature].relative_norm > 0.9, "{:?}", features[feature]);
            }
        }
    }
    assert!(right >= 15, "{right} of 18 planted directions were found as what they are: {record:?}");
    let exclusive: Vec<_> = features.iter().filter(|feature| feature.class == "exclusive").collect();
    assert!(exclusive.len() >= 2 && exclusive.len() <= 5, "{exclusive:?}");
    assert!(exclusive.iter().all(|feature| feature.relative_norm > 0.9), "only B has any");
}

/// β of the definition by least squares over a grid, and the golden relative norms of the specification.
#[test]
fn latent_scaling_is_least_squares() {
    let rows = [
        ([[1.0, 0.0], [0.0, 1.0]], 0.5),
        ([[0.0, 2.0], [0.5, 0.0]], 0.125),
        ([[1.0, 1.0], [2.0, 0.0]], 0.646_446_6),
    ];
    for ([a, b], wanted) in rows {
        assert!((Rows::of(&a, &b).relative() - wanted).abs() < 1e-6);
    }
    let mut rng = generator(5, Purpose::Samples, 9, 0);
    let (a, b) = ([0.05_f32, -0.02, 0.01], [0.6_f32, 0.1, -0.4]);
    let rows = Rows::of(&a, &b);
    assert_eq!(rows.stronger, 1);
    let n = 40;
    let codes: Vec<f64> = (0..n).map(|_| uniform(&mut rng) * 2.0).collect();
    let mut noise = || (0..3 * n).map(|_| normal(&mut rng)).collect::<Vec<f32>>();
    let (errors, made) = ([noise(), noise()], [noise(), noise()]);
    let mut sums = Sums { fired: n as u64, squares: codes.iter().map(|f| f * f).sum(), ..Sums::default() };
    for site in 0..2 {
        for (i, f) in codes.iter().enumerate() {
            sums.errors[site] += f * kernels::wide::dot(&b, &errors[site][3 * i..3 * i + 3]);
            sums.reconstructions[site] += f * kernels::wide::dot(&b, &made[site][3 * i..3 * i + 3]);
        }
    }
    // The parabola through three values of Σ‖β f w − r‖² has its least at β.
    let beta = |r: &dyn Fn(usize, usize) -> f64| {
        let value = |beta: f64| -> f64 {
            let at = |i: usize, c: usize| (beta * codes[i] * f64::from(b[c]) - r(i, c)).powi(2);
            (0..n).flat_map(|i| (0..3).map(move |c| (i, c))).map(|(i, c)| at(i, c)).sum()
        };
        let (low, middle, high) = (value(-1.0), value(0.0), value(1.0));
        (low - high) / (2.0 * (low - 2.0 * middle + high))
    };
    let error = [0, 1].map(|site| {
        let own = if site == 0 { a } else { b };
        beta(&|i, c| f64::from(errors[site][3 * i + c]) + codes[i] * f64::from(own[c]))
    });
    let reconstruction = [0, 1].map(|site| beta(&|i, c| f64::from(made[site][3 * i + c])));
    let [found, other] = rows.ratios(&sums);
    assert!((found.unwrap() - error[0] / error[1]).abs() < 1e-4, "{found:?} {error:?}");
    match other {
        Some(other) => assert!((other - reconstruction[0] / reconstruction[1]).abs() < 1e-4),
        None => assert!(reconstruction[1] <= 0.0),
    }
}

/// A row that is 0 at a site proves nothing where the error or other features have it.
#[test]
fn what_only_looks_exclusive_is_named() {
    let rows = Rows::of(&[0.0, 0.0], &[1.0, 0.0]);
    let sums = |error: f64, made: f64| Sums {
        fired: 10,
        squares: 4.0,
        errors: [error, 0.0],
        reconstructions: [made, 4.0],
    };
    assert_eq!(rows.class(&sums(0.1, 0.1)), "exclusive");
    assert_eq!(rows.class(&sums(3.0, 0.1)), "shrunken");
    assert_eq!(rows.class(&sums(0.1, 3.0)), "decoupled");
    assert_eq!(rows.class(&Sums::default()), "silent");
    let rotated = Rows::of(&[0.0, 1.0], &[1.0, 0.0]);
    assert_eq!(rotated.class(&sums(0.0, 0.0)), "rotated");
}

#[test]
fn crosscoders_refuse_what_makes_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let Planted { texts, a, b } = planted();
    let data = [write(folder.path(), "a", &texts, &a), write(folder.path(), "b", &texts, &b)];
    let joined = folder.path().join("ab");
    join(&data, &joined, &mut Quiet).unwrap();
    let error =
        join(&[joined.clone(), data[0].clone()], &folder.path().join("again"), &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("joined already"), "{error}");
    let config = TrainConfig {
        freeze_decoder: Some(crate::train::FrozenDecoder::Random),
        d_sae: Some(16),
        k: 2,
        ..TrainConfig::default()
    };
    let error = run(&config, &joined, &folder.path().join("run"), false, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("freeze_decoder is given, but the dataset is joined"), "{error}");
    let plain = folder.path().join("plain");
    let config =
        TrainConfig { d_sae: Some(16), k: 2, tokens: Some(2000), batch: 100, ..TrainConfig::default() };
    run(&config, &data[0], &plain, false, &mut Quiet).unwrap();
    let error = difference(&plain, None, &DifferenceOptions::default(), &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("is not a joined dataset"), "{error}");
}
