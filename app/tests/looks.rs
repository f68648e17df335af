//! Pictures: each view alone and small, and few of the whole window.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use app::address::Place;
use common::pictures::{Look, can_draw, draw, settle, whole};
use common::{click, facts, heads_root, root, run, wait_for_part};
use egui::Theme;
use egui_kittest::kittest::Queryable as _;

const DARK: &[Theme] = &[Theme::Dark];
const BOTH: &[Theme] = &[Theme::Dark, Theme::Light];

/// A view of the sample folder.
fn look<'a>(name: &'a str, place: Place, size: [f32; 2], there: &'a [&'a str]) -> Look<'a> {
    Look { name, folder: root(), place, size, themes: DARK, there }
}

#[test]
fn looks_of_the_welcome() {
    whole("welcome", &[Theme::Light], None, None, &["Make the demo"]);
}

#[test]
fn looks_of_the_whole_window() {
    let place = Place::Curves { run: run() };
    whole("runs", DARK, Some(&root()), Some(&place), &["Logarithmic FVE", "Evaluation"]);
}

#[test]
fn looks_of_features() {
    let there = ["256 features", "Sort by score"];
    look("features", Place::Features { run: run() }, [640.0, 400.0], &there).take(|_| {});
}

#[test]
fn looks_of_feature() {
    let explained = facts::explained();
    let place = Place::Feature { run: run(), feature: explained.feature };
    let there = ["Nearest decoder rows", explained.token.as_str()];
    Look { themes: BOTH, ..look("feature", place, [960.0, 560.0], &there) }.take(|_| {});
}

#[test]
fn looks_of_heads() {
    let place = Place::Feature { run: heads_root().join("topk"), feature: facts::of_heads() };
    let there = ["Decoder weight of 4 heads", "by source"];
    Look { folder: heads_root(), ..look("heads", place, [900.0, 560.0], &there) }.take(|window| {
        click(window, "by source");
        wait_for_part(window, "most through");
    });
}

#[test]
fn looks_of_history() {
    let place = Place::Feature { run: run(), feature: facts::explained().feature };
    look("history", place, [640.0, 480.0], &["History of the feature"]).take(|window| {
        window.get_by_label_contains("History of the feature").scroll_to_me();
    });
}

#[test]
fn looks_of_map() {
    // Where the points lie is chaotic: the last bit of an activation moves them.
    let points = "Map of features: ";
    look("map", Place::Map { run: run() }, [640.0, 400.0], &[points]).take_without(Some(points), |_| {});
}

#[test]
fn looks_of_compare() {
    let place = Place::Matching { run: run(), with: "small".into() };
    look("compare", place, [900.0, 480.0], &["Pair of feature 0", "Densities of pairs: "]).take(|_| {});
}

#[test]
fn looks_of_experts() {
    let place = Place::Experts { dataset: root().join("data") };
    look("experts", place, [640.0, 480.0], &["Load of the experts of layer 0"]).take(|_| {});
}

#[test]
fn looks_of_training() {
    if !can_draw() {
        return;
    }
    let mut window = draw(Theme::Dark, egui::vec2(1000.0, 560.0), false, Some(root()), Some(Place::Runs));
    wait_for_part(&mut window, "Logarithmic FVE");
    click(&mut window, "Run unfinished");
    wait_for_part(&mut window, "Resume");
    click(&mut window, "Train");
    wait_for_part(&mut window, "Start training");
    settle(&mut window);
    // The folder's path is in the bar and in the line for a terminal.
    let line = window.get_by_label_contains("sae train --data ").rect();
    window.mask(line.expand(2.0));
    window.mask(egui::Rect::from_min_max(egui::pos2(160.0, 0.0), egui::pos2(920.0, 36.0)));
    window.snapshot("training_dark");
}
