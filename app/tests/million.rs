//! The run that the benchmark measures, in small: what the window shows of it is what the files hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "../benches/million/made.rs"]
#[allow(dead_code, reason = "the benchmark uses all of it")]
mod made;

use std::path::PathBuf;
use std::sync::OnceLock;

use app::address::Place;
use app::shell::Options;
use app::widgets::format;
use common::{click, options, rows, wait, wait_for, wait_for_part, window};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use made::{Made, Size};

const SIZE: Size = Size { features: 20_000, tokens: 8_000 };

fn folder() -> &'static (tempfile::TempDir, Made) {
    static FOLDER: OnceLock<(tempfile::TempDir, Made)> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let made = Made::new(SIZE);
        made::write(&dir.path().join("run"), &made, &|_| {}).unwrap();
        (dir, made)
    })
}

fn root() -> PathBuf {
    folder().0.path().join("run")
}

fn run() -> PathBuf {
    root().join(made::RUN)
}

fn window_at(place: Place) -> egui_kittest::Harness<'static, app::shell::App> {
    window(Options { folder: Some(root()), place: Some(place), ..options() })
}

#[test]
fn both_orders_of_the_activations_hold_the_same_pairs() {
    let made = &folder().1;
    let mut by_row = vec![Vec::new(); SIZE.tokens as usize];
    for feature in 0..SIZE.features {
        let rows = made.rows_of(feature);
        assert!(rows.is_sorted_by(|a, b| a < b), "feature {feature}: {rows:?}");
        rows.into_iter().for_each(|row| by_row[row as usize].push(feature));
    }
    for (row, features) in (0..).zip(by_row) {
        assert_eq!(features, made.features_of(row), "row {row}");
        assert_eq!(features.len(), made::ACTIVE as usize);
    }
    let index = storage::Run::open(&run()).unwrap();
    let activations = index.activations().unwrap().unwrap();
    assert_eq!(activations.rows(), u64::from(SIZE.tokens) * u64::from(made::ACTIVE));
    let columns = storage::features::scalar_columns(&index.features().unwrap().unwrap()).unwrap();
    assert_eq!(columns.count.iter().sum::<u64>(), activations.rows());
    let codes = storage::codes::read(&index.codes().unwrap().unwrap(), 0, 0..9).unwrap();
    for position in 0..9 {
        let (features, values) = codes.at(position).unwrap();
        assert_eq!(features, made.features_of(position));
        for (feature, value) in features.iter().zip(values) {
            let rows = columns.first_row[*feature as usize]..;
            let rows = rows.start..rows.start + columns.count[*feature as usize];
            let own = storage::feature_activations::read_rows(&activations, rows).unwrap();
            let here = own.iter().find(|row| (row.document, row.position) == (0, position)).unwrap();
            assert_eq!((here.feature, here.value), (*feature, *value));
        }
    }
}

#[test]
fn a_long_table_shows_every_row_wherever_it_is_scrolled() {
    let made = &folder().1;
    let mut window = window_at(Place::Features { run: run() });
    wait_for(&mut window, "20 000 features");
    wait(&mut window, "rows", |w| rows(w).len() > 10);
    wait_for_part(&mut window, "Histogram of max");
    click(&mut window, "Sort by tokens");
    let mut counts: Vec<(usize, u32)> = (0..SIZE.features).map(|f| (made.rows_of(f).len(), f)).collect();
    counts.sort_by_key(|(count, feature)| (std::cmp::Reverse(*count), *feature));
    let expected: Vec<u32> = counts.iter().map(|(_, feature)| *feature).collect();
    wait(&mut window, "the densest first", |w| rows(w).starts_with(&expected[..8]));
    let middle = window.get_by_label(&format!("Row of feature {}", expected[4])).rect().center();
    window.hover_at(middle);
    for lines in [-1.0, -7.0, -60.0, -900.0, 33.0] {
        window.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Line,
            delta: egui::vec2(0.0, lines),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Wheel,
            modifiers: egui::Modifiers::NONE,
        });
        for _ in 0..8 {
            window.step();
            let shown = rows(&window);
            let at = expected.iter().position(|f| Some(f) == shown.first()).unwrap();
            assert_eq!(shown, expected[at..at + shown.len()], "no row is left out while it moves");
            assert!(shown.len() > 10);
        }
    }
    assert_ne!(rows(&window).first(), Some(&expected[0]), "it did move");
}

#[test]
fn a_page_says_what_the_activations_say() {
    let made = &folder().1;
    for feature in [17, 4_321, 19_998] {
        let fired = made.rows_of(feature);
        let mut window = window_at(Place::Feature { run: run(), feature });
        wait_for(&mut window, &format!("Feature {feature}"));
        if fired.is_empty() {
            wait_for(&mut window, "dead");
            continue;
        }
        wait_for_part(&mut window, "Strongest");
        let strongest = fired.iter().map(|row| made.value(feature, *row)).fold(0.0, f32::max);
        window.get_all_by_label(&format::value(f64::from(strongest))).next().unwrap();
        let histogram = format!("Activation histogram: {} values in 40 bins", fired.len());
        wait_for(&mut window, &histogram);
    }
}

#[test]
fn a_crowded_map_and_a_coloured_document_are_shown() {
    let mut window = window_at(Place::Map { run: run() });
    wait_for_part(&mut window, "Map of features: ");
    let alive = (0..SIZE.features).filter(|f| !folder().1.rows_of(*f).is_empty()).count();
    wait_for(&mut window, &format!("Map of features: {alive} points"));
    let mut window = window_at(Place::Token { dataset: root().join(made::DATASET), document: 0, token: 5 });
    wait_for_part(&mut window, "document 0 · ");
    // The strongest feature of the token is named in its panel, and colours the text when it is asked to.
    let made = &folder().1;
    let strongest =
        made.features_of(5).into_iter().max_by(|a, b| made.value(*a, 5).total_cmp(&made.value(*b, 5)));
    let name = format!("Colour the text by feature {}", strongest.unwrap());
    wait_for(&mut window, &name);
    click(&mut window, &name);
    wait(&mut window, "colours", |w| {
        w.get_by_label("Colour by features").accesskit_node().toggled().is_some()
    });
}
