//! Pictures of the window, dark and light. Without a graphics adapter (a software one is enough: mesa-vulkan-drivers) they
//! are skipped, and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::App;
use common::pictures::{self, can_draw, settle};
use common::{root, run, wait_for_part};
use egui::Theme;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

/// A window at `place` of the sample folder.
fn draw(theme: Theme, place: Option<Place>) -> Harness<'static, App> {
    pictures::draw(theme, place.is_some().then(root), place)
}

/// One picture in each look, taken when everything in `there` is.
fn look(name: &str, place: Option<&Place>, there: &[&str]) {
    if !can_draw() {
        return;
    }
    let mut results = egui_kittest::SnapshotResults::new();
    for (theme, suffix) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let mut window = draw(theme, place.cloned());
        for part in there {
            wait_for_part(&mut window, part);
        }
        settle(&mut window);
        if place.is_none() {
            window.run_steps(4);
        }
        results.add(window.try_snapshot(format!("{name}_{suffix}")));
    }
}

#[test]
fn welcome() {
    look("welcome", None, &["sae demo"]);
}

#[test]
fn runs() {
    look("runs", Some(&Place::Curves { run: run() }), &["Logarithmic FVE", "Loss recovered"]);
}

#[test]
fn features() {
    // The labels come last.
    look(
        "features",
        Some(&Place::Features { run: run() }),
        &["2 048 features", "“forest”", "Histogram of max"],
    );
}

#[test]
fn feature() {
    look("feature", Some(&Place::Feature { run: run(), feature: 7 }), &["Nearest decoder rows", " forest"]);
}

#[test]
fn heads() {
    if !can_draw() {
        return;
    }
    let mut results = egui_kittest::SnapshotResults::new();
    for (theme, suffix) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let root = common::heads_root();
        let place = Place::Feature { run: root.join("heads-512"), feature: 7 };
        let mut window = pictures::draw(theme, Some(root), Some(place));
        wait_for_part(&mut window, "Decoder weight of 12 heads");
        common::click(&mut window, "by source");
        wait_for_part(&mut window, "most through");
        settle(&mut window);
        results.add(window.try_snapshot(format!("heads_{suffix}")));
    }
}

#[test]
fn history() {
    if !can_draw() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("sample");
    let run = root.join("topk-64");
    common::sample::finished_run(&run, 64, &common::sample::text()).unwrap();
    common::sample::history(&run, 64).unwrap();
    let mut results = egui_kittest::SnapshotResults::new();
    for (theme, suffix) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let place = Place::Feature { run: run.clone(), feature: 7 };
        let mut window = pictures::draw(theme, Some(root.clone()), Some(place));
        wait_for_part(&mut window, "History of the feature");
        window.get_by_label_contains("History of the feature").scroll_to_me();
        settle(&mut window);
        results.add(window.try_snapshot(format!("history_{suffix}")));
    }
}

#[test]
fn map() {
    look("map", Some(&Place::Map { run: run() }), &["Map of features: "]);
}

#[test]
fn compare() {
    let place = Place::Matching { run: run(), with: "topk-512".into() };
    look("compare", Some(&place), &["Pair of feature 0", "Densities of pairs: "]);
}

#[test]
fn experts() {
    let place = Place::Experts { dataset: root().join("resid2") };
    look("experts", Some(&place), &["Load of the experts of layer 0"]);
}

#[test]
fn training() {
    if !can_draw() {
        return;
    }
    let mut window = draw(Theme::Dark, Some(Place::Runs));
    wait_for_part(&mut window, "Logarithmic FVE");
    common::click(&mut window, "Run mutual-choice-2k");
    wait_for_part(&mut window, "Resume");
    common::click(&mut window, "Train");
    wait_for_part(&mut window, "Start training");
    settle(&mut window);
    // The folder's path is in the line for a terminal.
    let line = window.get_by_label_contains("sae train --data ").rect();
    window.mask(line.expand(2.0));
    window.snapshot("training_dark");
}
