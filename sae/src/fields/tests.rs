//! Pictures, patches, a dictionary, its fields: with the pipeline that a person uses.

use std::path::Path;

use storage::fields as kept;

use super::*;
use crate::Quiet;
use crate::coding::{self, CodingOptions, LearnOptions};
use crate::interop::images::{self, ImagesConfig};
use kernels::chance::{Purpose, generator, uniform};
use kernels::shrink::Shrinkage;

/// Dead leaves: discs that hide each other, with radii as natural scenes have them. Or points of noise.
fn picture(path: &Path, seed: u64, leaves: bool) {
    const SIDE: u32 = 160;
    let mut rng = generator(seed, Purpose::Samples, 77, 0);
    let mut draw = |range: f64| uniform(&mut rng) * range;
    let mut pixels = vec![128_u8; (SIDE * SIDE) as usize];
    if !leaves {
        pixels.iter_mut().for_each(|pixel| *pixel = draw(255.0) as u8);
    }
    for _ in 0..if leaves { 900 } else { 0 } {
        let (x, y, grey) = (draw(f64::from(SIDE)), draw(f64::from(SIDE)), draw(255.0) as u8);
        let radius = 3.0 / (0.02 + draw(0.98)).sqrt();
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let (px, py) = (f64::from(i as u32 % SIDE), f64::from(i as u32 / SIDE));
            if (px - x).hypot(py - y) < radius {
                *pixel = grey;
            }
        }
    }
    image::GrayImage::from_raw(SIDE, SIDE, pixels).unwrap().save(path).unwrap();
}

fn fields_of(folder: &Path, leaves: bool, sort: SortFields) -> Found {
    let pictures = folder.join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    (0..4).for_each(|i| picture(&pictures.join(format!("{i}.png")), i, leaves));
    let (data, run_dir) = (folder.join("data"), folder.join("run"));
    let config = ImagesConfig { inputs: vec![pictures], patch: 8, patches: 8000, ..ImagesConfig::default() };
    images::run(&config, &data, &mut Quiet).unwrap();
    let learn = LearnOptions {
        kind: Shrinkage::Hard,
        units: 64,
        l0: Some(4.0),
        lambda: None,
        steps: 60,
        batch: 200,
        iterations: 40,
        seed: 1,
    };
    let options = CodingOptions { data, learn, rows: 8000, scored: 500, centre: false };
    coding::run(&options, &run_dir, &mut Quiet).unwrap();
    let options = FieldsOptions { data: None, sort, rows: 2000, seed: 0 };
    run(&run_dir, &options, &mut Quiet).unwrap()
}

#[test]
fn edges_give_localised_oriented_fields_and_noise_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let leaves = fields_of(&folder.path().join("leaves"), true, SortFields::Orientation);
    let noise = fields_of(&folder.path().join("noise"), false, SortFields::Usage);
    println!("{:?}\n{:?}", leaves.fields, noise.fields);
    assert!(leaves.fields.both > 0.4, "{:?}", leaves.fields);
    assert!(noise.fields.both < 0.1, "{:?}", noise.fields);
    let run_dir = folder.path().join("leaves/run");
    let read = kept::Fields::read(&run_dir).unwrap().unwrap();
    // A number in JSON may differ in its last bit.
    assert!((read.both - leaves.fields.both).abs() < 1e-12 && read.rows == leaves.fields.rows);
    assert_eq!(kept::read_rows(&run_dir).unwrap(), leaves.rows);
    let sheet = image::open(&leaves.picture).unwrap();
    // Eight fields of eight pixels across, four points each, and what is between them.
    assert_eq!((sheet.width(), sheet.height()), (8 * 35 + 3, 8 * 35 + 3));
    // The summary's shares are those of the table.
    let both = leaves.rows.iter().filter(|row| row.localised && row.oriented).count();
    assert_eq!(leaves.fields.both, both as f64 / 64.0);
    assert!(leaves.rows.iter().all(|row| (0.0..=1.0).contains(&row.usage)));
    let l0: f64 = leaves.rows.iter().map(|row| row.usage).sum();
    assert!((3.0..6.0).contains(&l0), "{l0}");
}

#[test]
fn rows_that_are_not_grey_patches_are_refused() {
    use crate::rows::fixture;
    let folder = tempfile::tempdir().unwrap();
    let (data, run_dir) = (folder.path().join("data"), folder.path().join("run"));
    let texts = fixture::texts(&[30, 30], 5, 1);
    fixture::dataset(&data, fixture::header(9), &texts, &fixture::activations(60, 9, 1), 1);
    fixture::run(&run_dir, &fixture::dictionary(9, 20, 3, 1), &data);
    let options = FieldsOptions { data: None, sort: SortFields::Feature, rows: 10, seed: 0 };
    let message = run(&run_dir, &options, &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("not patches"), "{message}");
}
