//! A feature of attention heads: the decoder weight of each, and examples shaded by where they come from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::{App, Options};
use common::{click, heads_root, options, run, sample, wait_for, wait_for_part, window, window_at};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

fn page(feature: u32) -> Harness<'static, App> {
    let root = heads_root();
    let place = Some(Place::Feature { run: root.join("heads-512"), feature });
    window(Options { folder: Some(root), place, ..options() })
}

fn there(window: &Harness<'static, App>, part: &str) -> usize {
    window.query_all_by_label_contains(part).count()
}

#[test]
fn every_head_has_its_weight() {
    let mut window = page(7);
    wait_for_part(&mut window, "Decoder weight of 12 heads: most in head ");
    let table = storage::Run::open(&heads_root().join("heads-512")).unwrap().heads().unwrap().unwrap();
    let rows: Vec<storage::attention::HeadsRow> = storage::attention::read(&table, 7).unwrap();
    for (head, share) in rows[0].shares.iter().enumerate() {
        let share = app::widgets::format::percent(f64::from(*share));
        window.get_by_label(&format!("Head {head}: {share} of the decoder weight"));
    }
}

#[test]
fn examples_are_shaded_by_where_they_come_from() {
    let mut window = page(7);
    wait_for(&mut window, "by source");
    wait_for(&mut window, "Lowest fifth");
    assert_eq!(there(&window, "most from"), 0);
    click(&mut window, "by source");
    wait_for(&mut window, "takes away");
    // Of each that is shown the words below it, and no group without sources.
    assert!(there(&window, "most from “") > 0);
    assert_eq!(there(&window, "Lowest fifth") + there(&window, "drawn from all tokens"), 0);
    wait_for_part(&mut window, "examples are not shown: the index traced the strongest");
    click(&mut window, "by activation");
    wait_for(&mut window, "Lowest fifth");
    assert_eq!(there(&window, "most from"), 0);
    // The choice is kept from feature to feature.
    click(&mut window, "by source");
    window.key_press(egui::Key::N);
    window.run_steps(3);
    wait_for(&mut window, "Feature 8");
    wait_for_part(&mut window, "most from “");
}

#[test]
fn a_token_says_what_it_gives() {
    let mut window = page(7);
    wait_for(&mut window, "by source");
    click(&mut window, "by source");
    let first = window.query_all_by_label_contains(" forest").next().unwrap().rect();
    window.hover_at(first.left_top() + egui::vec2(24.0, 10.0));
    window.run_steps(30);
    wait_for_part(&mut window, "contributes ");
}

#[test]
fn a_dictionary_of_another_place_has_none_of_it() {
    let mut window = window_at(Some(Place::Feature { run: run(), feature: 7 }));
    wait_for(&mut window, "Lowest fifth");
    window.run_steps(5);
    assert_eq!(there(&window, "by source") + there(&window, "Decoder weight"), 0);
}

#[test]
fn damaged_tables_are_named_and_hide_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (run, text) = (dir.path().join("own"), sample::text());
    sample::finished_run(&run, 64, &text).unwrap();
    sample::heads(&run, 64, 4, &text).unwrap();
    for table in ["heads.parquet", "attribution.parquet"] {
        let path = run.join("features").join(table);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let place = Some(Place::Feature { run, feature: 7 });
    let mut window = window(Options { folder: Some(dir.path().into()), place, ..options() });
    wait_for(&mut window, "Lowest fifth");
    wait_for_part(&mut window, "heads.parquet");
    wait_for_part(&mut window, "attribution.parquet");
    assert_eq!(there(&window, "by source"), 0);
}
