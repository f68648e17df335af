use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use storage::schema::activations::{ACTIVATION, X, Y};
use storage::schema::{ACTIVATIONS, DOCUMENTS, WHITENING};
use storage::{Dataset, RowsAre, Scan, documents, vector, whitening};

use super::picture::{Picture, size};
use super::{ImagesConfig, run};
use crate::Quiet;
use crate::whiten::{Moments, apply, zca};

/// Noise smoothed over a few pixels, as a picture: neighbours are alike, like in photographs.
fn smooth(width: u32, height: u32, seed: u64) -> GrayImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let noise: Vec<f32> = (0..width * height).map(|_| rng.random()).collect();
    let at = |x: i64, y: i64| {
        noise[(y.rem_euclid(height.into()) * i64::from(width) + x.rem_euclid(width.into())) as usize]
    };
    GrayImage::from_fn(width, height, |x, y| {
        let near = (-2..=2).flat_map(|dx| (-2..=2).map(move |dy| (dx, dy)));
        let sum: f32 = near.map(|(dx, dy)| at(i64::from(x) + dx, i64::from(y) + dy)).sum();
        Luma([(255.0 * (0.5 + 1.5 * (sum / 25.0 - 0.5))).clamp(0.0, 255.0) as u8])
    })
}

fn rows_of(dataset: &Dataset) -> Vec<f32> {
    let mut rows = Vec::new();
    for batch in dataset.table(ACTIVATIONS).unwrap().scan(Scan::default()).unwrap() {
        vector::fixed_size_rows(&batch.unwrap(), ACTIVATION, &mut rows).unwrap();
    }
    rows
}

/// The largest element of the covariance of `rows` minus the identity, by plain sums.
fn from_identity(rows: &[f32], d: usize) -> f64 {
    let n = (rows.len() / d) as f64;
    let mean = |i: usize| rows.iter().skip(i).step_by(d).map(|x| f64::from(*x)).sum::<f64>() / n;
    let means: Vec<f64> = (0..d).map(mean).collect();
    let mut worst = 0f64;
    for i in 0..d {
        for j in 0..=i {
            let products =
                rows.chunks_exact(d).map(|r| (f64::from(r[i]) - means[i]) * (f64::from(r[j]) - means[j]));
            let target = f64::from(u8::from(i == j));
            worst = worst.max((products.sum::<f64>() / n - target).abs());
        }
    }
    worst
}

#[test]
fn whitened_rows_have_the_identity_as_covariance() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let d = 12;
    let mix: Vec<f32> = (0..d * d).map(|_| rng.random::<f32>() - 0.5).collect();
    let mut draw = |n: usize| -> Vec<f32> {
        let mut rows = Vec::new();
        for _ in 0..n {
            // Sums of uniform numbers, mixed, around 2.
            let source: Vec<f32> = (0..d).map(|_| rng.random::<f32>() + rng.random::<f32>() - 1.0).collect();
            rows.extend((0..d).map(|i| 2.0 + (0..d).map(|j| mix[i * d + j] * source[j]).sum::<f32>()));
        }
        rows
    };
    let (mut known, mut new) = (draw(40_000), draw(40_000));
    let mut moments = Moments::new(d);
    known.chunks(999 * d).for_each(|rows| moments.add(rows));
    let (mean, covariance) = moments.finish();
    assert!(mean.iter().all(|m| (m - 2.0).abs() < 0.02));
    let whitening = zca(&mean, &covariance, 1e-9, || false).unwrap();
    let before = new.clone();
    apply(&whitening, &mut known);
    apply(&whitening, &mut new);
    assert!(from_identity(&known, d) < 1e-3, "{}", from_identity(&known, d));
    // Of other rows up to chance: an element of a covariance over n rows deviates by about 1/√n = 0.005, the
    // diagonal by less.
    assert!(from_identity(&new, d) < 0.03, "{}", from_identity(&new, d));
    // And back.
    for (row, old) in new.chunks_exact(d).zip(before.chunks_exact(d)) {
        for (i, old) in old.iter().enumerate() {
            let back = whitening.mean[i] + (0..d).map(|j| whitening.restore[i * d + j] * row[j]).sum::<f32>();
            assert!((back - old).abs() < 1e-3);
        }
    }
}

#[test]
fn pictures_become_a_dataset_that_says_how_to_undo_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("pictures")).unwrap();
    for seed in 0..4 {
        smooth(90, 70, seed).save(at.join(format!("pictures/{seed}.png"))).unwrap();
    }
    let config = ImagesConfig {
        inputs: vec![at.join("pictures")],
        patch: 4,
        patches: 6000,
        held_out_share: 0.2,
        ..ImagesConfig::default()
    };
    let made = run(&config, &at.join("data"), &mut Quiet).unwrap();
    assert_eq!((made.rows, made.documents, made.held_out, made.d_model), (6000, 8, 4, 16));
    let dataset = Dataset::open(&at.join("data")).unwrap();
    assert_eq!(dataset.manifest().rows_are, RowsAre::Patches);
    let all = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
    let rows = rows_of(&dataset);
    let of = |held_out: bool| -> Vec<f32> {
        let chosen = all.iter().filter(|d| d.held_out == held_out);
        chosen.flat_map(|d| rows[d.first_row as usize * 16..][..d.tokens as usize * 16].to_vec()).collect()
    };
    assert!(from_identity(&of(false), 16) < 1e-2, "{}", from_identity(&of(false), 16));
    assert!(from_identity(&of(true), 16) < 0.35, "{}", from_identity(&of(true), 16));

    // Undone, a row is the pixels of its place.
    let w = whitening::read(&dataset.table(WHITENING).unwrap()).unwrap();
    let table = dataset.table(ACTIVATIONS).unwrap();
    let mut places: Vec<(u32, u32)> = Vec::new();
    for batch in table.columns(&[X, Y]).unwrap() {
        let batch = batch.unwrap();
        let column = |name| {
            storage::column::primitive::<arrow::datatypes::UInt32Type>(&batch, name)
                .unwrap()
                .values()
                .to_vec()
        };
        places.extend(column(X).into_iter().zip(column(Y)));
    }
    for document in &all {
        let picture = Picture::open(Path::new(&document.source), false).unwrap();
        let row = document.first_row as usize;
        let (x, y) = places[row];
        let mut pixels = Vec::new();
        picture.patch(x as usize, y as usize, 4, &mut pixels);
        for (i, pixel) in pixels.iter().enumerate() {
            let back = w.mean[i] + (0..16).map(|j| w.restore[i * 16 + j] * rows[row * 16 + j]).sum::<f32>();
            assert!((back - pixel).abs() < 1e-4, "{back} {pixel}");
        }
    }
}

#[test]
fn colours_are_three_numbers_a_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.jpg");
    let colours = RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, 128]));
    colours.save(&path).unwrap();
    let picture = Picture::open(&path, true).unwrap();
    assert_eq!((picture.width, picture.height, picture.channels, picture.pixels.len()), (40, 30, 3, 3600));
    let at = |x: usize, y: usize, c: usize| picture.pixels[(y * 40 + x) * 3 + c];
    // JPEG is about right.
    assert!((at(20, 10, 0) - 120.0 / 255.0).abs() < 0.03 && (at(20, 10, 1) - 80.0 / 255.0).abs() < 0.03);
    let grey = Picture::open(&path, false).unwrap();
    let expected = 0.2126 * at(20, 10, 0) + 0.7152 * at(20, 10, 1) + 0.0722 * at(20, 10, 2);
    assert!((grey.pixels[10 * 40 + 20] - expected).abs() < 1e-6);
    let config = ImagesConfig {
        inputs: vec![path],
        patch: 3,
        patches: 300,
        colour: true,
        whiten: false,
        ..ImagesConfig::default()
    };
    let made = run(&config, &folder.path().join("data"), &mut Quiet).unwrap();
    assert_eq!((made.d_model, made.rows), (27, 300));
    let rows = rows_of(&Dataset::open(&folder.path().join("data")).unwrap());
    assert!(rows.iter().all(|x| (0.0..=1.0).contains(x)));
}

#[test]
fn what_is_wrong_with_pictures_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let error = |inputs: &str, patch: usize| {
        let config =
            ImagesConfig { inputs: vec![at.join(inputs)], patch, patches: 50, ..ImagesConfig::default() };
        run(&config, &at.join("out"), &mut Quiet).unwrap_err().to_string()
    };
    assert!(error("nowhere", 4).contains("nowhere"));
    std::fs::create_dir(at.join("empty")).unwrap();
    assert!(error("empty", 4).contains("no .png"));
    std::fs::write(at.join("text.png"), "no picture").unwrap();
    assert!(error("text.png", 4).contains("text.png: is not a PNG or JPEG file"));
    GrayImage::from_pixel(50, 50, Luma([99])).save(at.join("grey.png")).unwrap();
    assert!(error("grey.png", 4).contains("a covariance needs more"));
    assert!(error("grey.png", 1).contains("4 to 4096"));
    // A header that promises more than its file can hold.
    let mut bytes = std::fs::read(at.join("grey.png")).unwrap();
    bytes[16..24].copy_from_slice(&[0, 0, 0x70, 0, 0, 0, 0x20, 0]);
    std::fs::write(at.join("huge.png"), &bytes).unwrap();
    let message = size(&at.join("huge.png")).unwrap_err().to_string();
    assert!(message.contains("huge.png"), "{message}");
}
