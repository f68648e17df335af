//! A feature of attention heads: the decoder weight of each, and examples shaded by where they come from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::{App, Options};
use common::{click, facts, heads_root, options, run, wait_for, wait_for_part, window, window_at};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use fixtures::damage;

fn page() -> Harness<'static, App> {
    let root = heads_root();
    let place = Some(Place::Feature { run: root.join("topk"), feature: facts::of_heads() });
    window(Options { folder: Some(root), place, ..options() })
}

fn there(window: &Harness<'static, App>, part: &str) -> usize {
    window.query_all_by_label_contains(part).count()
}

#[test]
fn every_head_has_its_weight() {
    let mut window = page();
    wait_for_part(&mut window, "Decoder weight of 4 heads: most in head ");
    let table = storage::Run::open(&heads_root().join("topk")).unwrap().heads().unwrap().unwrap();
    let rows: Vec<storage::attention::HeadsRow> =
        storage::attention::read(&table, facts::of_heads()).unwrap();
    assert_eq!(rows[0].shares.len(), fixtures::HEADS);
    for (head, share) in rows[0].shares.iter().enumerate() {
        let share = app::widgets::format::percent(f64::from(*share));
        wait_for(&mut window, &format!("Head {head}: {share} of the decoder weight"));
    }
}

#[test]
fn examples_are_shaded_by_where_they_come_from() {
    let mut window = page();
    wait_for(&mut window, "by source");
    wait_for(&mut window, "0–20 % of max");
    assert_eq!(there(&window, "most from"), 0);
    click(&mut window, "by source");
    wait_for(&mut window, "takes away");
    // Of each that is shown the words below it, and no group without sources.
    assert!(there(&window, "most from “") > 0);
    assert_eq!(there(&window, "0–20 % of max") + there(&window, "drawn from all tokens"), 0);
    wait_for_part(&mut window, "examples are not shown: the index traced only the strongest");
    click(&mut window, "by activation");
    wait_for(&mut window, "0–20 % of max");
    assert_eq!(there(&window, "most from"), 0);
    // The choice is kept from feature to feature.
    click(&mut window, "by source");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    wait_for(&mut window, "Palette");
    window.get_by_label("Palette").type_text(&(facts::of_heads() + 1).to_string());
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    wait_for(&mut window, &format!("Feature {}", facts::of_heads() + 1));
    wait_for_part(&mut window, "most from “");
}

#[test]
fn a_token_says_what_it_gives() {
    let mut window = page();
    wait_for(&mut window, "by source");
    click(&mut window, "by source");
    wait_for_part(&mut window, "most from “");
    // The line below an example says where it comes from; the example's text is above it.
    let below = window.query_all_by_label_contains("most from “").next().unwrap().rect();
    window.hover_at(below.left_top() + egui::vec2(24.0, -14.0));
    window.run_steps(30);
    wait_for_part(&mut window, "contributes ");
}

#[test]
fn a_dictionary_of_another_place_has_none_of_it() {
    let mut window = window_at(Some(Place::Feature { run: run(), feature: facts::explained().feature }));
    wait_for(&mut window, "0–20 % of max");
    window.run_steps(5);
    assert_eq!(there(&window, "by source") + there(&window, "Decoder weight"), 0);
}

#[test]
fn damaged_tables_are_named_and_hide_nothing_else() {
    let folder = fixtures::copy(&heads_root());
    let run = folder.join("topk");
    for table in ["heads.parquet", "attribution.parquet"] {
        damage::truncate(&run.join("features").join(table));
    }
    let place = Some(Place::Feature { run, feature: facts::of_heads() });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    wait_for(&mut window, "0–20 % of max");
    wait_for_part(&mut window, "heads.parquet");
    wait_for_part(&mut window, "attribution.parquet");
    assert_eq!(there(&window, "by source"), 0);
}
