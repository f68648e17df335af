//! Fields in the window: patches of pictures, a dictionary, what `sae fields` measured of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use app::address::Place;
use app::shell::{App, Options};
use common::{click, options, wait, wait_for, wait_for_part, window};
use egui::Key;
use egui::accesskit::{Role, Toggled};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use sae::Quiet;
use sae::coding::{self, CodingOptions, LearnOptions, Shrinkage};
use sae::fields::{FieldsOptions, SortFields};
use sae::interop::images::{self, ImagesConfig};
use storage::fields::{self as files, FieldRow};

type Window = Harness<'static, App>;

/// A folder with patches `data` of striped pictures, and `run` of 25 units with its fields.
fn measured(root: &Path) {
    let pictures = root.join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    for (i, angle) in [0.3_f64, 1.1, 1.9, 2.7].into_iter().enumerate() {
        let wave = |x: u32, y: u32| (f64::from(x) * angle.cos() + f64::from(y) * angle.sin()) * 0.9;
        let grey = |x, y| image::Luma([(127.0 + 120.0 * (wave(x, y) + wave(y, x) * 0.2).sin()) as u8]);
        image::GrayImage::from_fn(96, 96, grey).save(pictures.join(format!("{i}.png"))).unwrap();
    }
    let (data, run) = (root.join("data"), root.join("run"));
    let config = ImagesConfig { inputs: vec![pictures], patch: 6, patches: 3000, ..ImagesConfig::default() };
    images::run(&config, &data, &mut Quiet).unwrap();
    let learn = LearnOptions {
        kind: Shrinkage::Hard,
        units: 25,
        l0: Some(3.0),
        lambda: None,
        steps: 20,
        batch: 100,
        iterations: 20,
        seed: 1,
    };
    let options = CodingOptions { data, learn, rows: 3000, scored: 200, centre: false };
    coding::run(&options, &run, &mut Quiet).unwrap();
    let options = FieldsOptions { data: None, sort: SortFields::Feature, rows: 1000, seed: 0 };
    sae::fields::run(&run, &options, &mut Quiet).unwrap();
}

/// Numbers of the fields on screen, from left to right and downwards.
fn on_screen(window: &Window) -> Vec<u32> {
    let mut found: Vec<(i64, i64, u32)> = window
        .query_all_by_role(Role::Button)
        .filter_map(|field| {
            let label = field.accesskit_node().label()?;
            let (number, _) = label.strip_prefix("Field ")?.split_once(':')?;
            let at = field.rect().min;
            Some((at.y as i64, at.x as i64, number.parse().ok()?))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, _, number)| number).collect()
}

/// Waits until exactly `features` are there, in this order.
fn shows(window: &mut Window, features: &[u32], what: &str) {
    wait(window, &format!("fields {what}: {features:?}"), |window| on_screen(window) == features);
}

fn by(rows: &[FieldRow], key: impl Fn(&FieldRow) -> f64) -> Vec<u32> {
    let mut rows: Vec<&FieldRow> = rows.iter().collect();
    rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
    rows.into_iter().map(|row| row.feature).collect()
}

#[test]
fn fields_are_looked_at_in_the_orders_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    measured(folder.path());
    let run = folder.path().join("run");
    let rows = files::read_rows(&run).unwrap();
    let mut window = window(Options { folder: Some(folder.path().to_owned()), ..options() });
    wait_for(&mut window, "Fields of run");
    assert!(
        window.query_by_label("Prompt of run").is_none(),
        "no text can be read through patches of pictures"
    );
    click(&mut window, "Fields of run");
    wait_for_part(&mut window, "25 features of 6 × 6 pixels");

    let orientation = |row: &FieldRow| row.orientation + if row.oriented { 0.0 } else { 1000.0 };
    shows(&mut window, &by(&rows, orientation), "by orientation");
    for (name, key) in [
        ("use", (|row| -row.usage) as fn(&FieldRow) -> f64),
        ("frequency", |row| row.frequency),
        ("number", |row| f64::from(row.feature)),
    ] {
        click(&mut window, "Order");
        window.run_steps(3);
        click(&mut window, name);
        shows(&mut window, &by(&rows, key), name);
    }

    // A kind alone; pressed again, all.
    let both: Vec<u32> =
        rows.iter().filter(|row| row.localised && row.oriented).map(|row| row.feature).collect();
    let oriented: Vec<u32> =
        rows.iter().filter(|row| !row.localised && row.oriented).map(|row| row.feature).collect();
    assert!(!oriented.is_empty(), "stripes are oriented and everywhere");
    for (name, of) in [("localised and oriented", both), ("only oriented", oriented)] {
        let button = format!("{name} {}", of.len());
        click(&mut window, &button);
        shows(&mut window, &of, name);
        click(&mut window, &button);
        shows(&mut window, &by(&rows, |row| f64::from(row.feature)), "all");
    }

    // The keyboard: to the third field; what the panel says of it is what the file holds.
    window.key_press(Key::ArrowRight);
    window.run_steps(2);
    window.key_press(Key::ArrowRight);
    window.key_press(Key::ArrowRight);
    window.run_steps(4);
    wait_for_part(&mut window, "Feature 2");
    let chosen = window
        .query_all_by_role(Role::Button)
        .find(|field| field.accesskit_node().label().is_some_and(|label| label.starts_with("Field 2:")));
    assert_eq!(chosen.unwrap().accesskit_node().toggled(), Some(Toggled::True));
    wait_for(&mut window, &format!("{:.3} cycles per pixel", rows[2].frequency));
    wait_for(&mut window, &format!("{:.0}°", rows[2].orientation));
}

#[test]
fn fields_that_are_missing_or_of_a_different_dictionary_are_named() {
    let folder = tempfile::tempdir().unwrap();
    measured(folder.path());
    let run = folder.path().join("run");
    let place = || Some(Place::Fields { run: run.clone() });
    let open = || window(Options { folder: Some(folder.path().to_owned()), place: place(), ..options() });

    // The table of half of the features, as a different dictionary has them.
    let rows = files::read_rows(&run).unwrap();
    files::write_rows(&run.join(files::FOLDER), &rows[..12]).unwrap();
    let mut damaged = open();
    wait_for(&mut damaged, "The fields cannot be shown");
    wait_for_part(&mut damaged, "has 12 fields of 36 pixels, the dictionary 25 rows of 36 numbers");

    std::fs::remove_dir_all(run.join(files::FOLDER)).unwrap();
    let mut missing = open();
    wait_for(&mut missing, "The fields cannot be shown");
    wait_for_part(&mut missing, "sae fields");
    wait_for(&mut missing, "Measure the fields");
}
