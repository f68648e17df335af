//! The feature table, the map, the page and what people write on them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::{App, FixedPicker, Options};
use common::{
    click, data, drag, facts, finish_reading, options, own_run, press, root, rows, run, wait, wait_for,
    wait_for_part, window, window_at,
};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use fixtures::{Copied, FEATURES, SMALL_FEATURES, damage};
use storage::explanations::{Explanation, Score};

fn features() -> Place {
    Place::Features { run: run() }
}

fn open(folder: &Copied, place: Place) -> Harness<'static, App> {
    window(Options { folder: Some(folder.path()), place: Some(place), ..options() })
}

fn notes(run: &std::path::Path) -> Vec<storage::notes::Note> {
    storage::notes::read(run).unwrap()
}

/// What nothing was loaded of yet is read through one reader: a page that one run was asked for must not come from the tables of
/// the run that was asked before.
#[test]
fn pages_of_two_runs_are_those_of_each() {
    let small = root().join("variants/small");
    let row = |run: &std::path::Path| {
        let table = storage::Run::open(run).unwrap().features().unwrap().unwrap();
        storage::features::read(&table, 9..10).unwrap().remove(0)
    };
    let (own, other) = (row(&run()), row(&small));
    assert_ne!((own.count, own.max), (other.count, other.max), "a test of nothing");
    let pages = app::data::features::Pages::default();
    for (of, expected) in [(run(), &own), (small.clone(), &other), (run(), &own)] {
        let found = pages.read(&of, 9).unwrap().row;
        assert_eq!((found.count, found.max), (expected.count, expected.max), "{}", of.display());
    }
    // The same before anything of either was loaded.
    let stores = app::stores::Stores::default();
    for (of, expected) in [(&small, &other), (&run(), &own)] {
        assert_eq!(stores.run(of).pages.read(of, 9).unwrap().row.count, expected.count);
    }
}

/// Somebody makes the index again in a terminal: the table and an open page are those of the new one, without anything being pressed.
#[test]
fn an_index_that_is_made_again_is_read_by_itself() {
    let (dir, run) = own_run();
    let options = sae::features::IndexOptions { tokens: Some(400), ..sae::features::IndexOptions::default() };
    damage::truncate(&run.join("features/features.parquet"));
    let mut table = open(&dir, Place::Features { run: run.clone() });
    wait_for(&mut table, "The features cannot be read");
    sae::features::index(&run, &options, &mut sae::Quiet).unwrap();
    wait_for(&mut table, "Search features");
    let mut page = open(&dir, Place::Feature { run: run.clone(), feature: 9 });
    wait_for(&mut page, "Feature 9");
    let indexed = |run: &std::path::Path| {
        let table = storage::Run::open(run).unwrap().features().unwrap().unwrap();
        storage::features::read(&table, 9..10).unwrap().remove(0).count
    };
    let before = indexed(&run);
    sae::features::index(&run, &sae::features::IndexOptions::default(), &mut sae::Quiet).unwrap();
    let after = indexed(&run);
    assert_ne!(before, after, "a test of nothing");
    wait_for(&mut page, &after.to_string());
}

#[test]
fn a_name_and_a_note_are_kept_beside_the_run_and_found_again() {
    let (dir, run) = own_run();
    let page = Place::Feature { run: run.clone(), feature: 9 };
    let mut window = open(&dir, page);
    wait_for(&mut window, "Label");
    window.get_by_label("Label").focus();
    window.run_steps(2);
    window.get_by_label("Label").type_text("lakes and rivers");
    window.run_steps(2);
    window.get_by_label("Note").focus();
    window.run_steps(2);
    window.get_by_label("Note").type_text("only in Walden");
    window.run_steps(2);
    // The bare key of the bookmark is a letter here.
    assert!(!notes(&run).iter().any(|n| n.bookmarked));
    click(&mut window, "Bookmark feature 9");
    wait(&mut window, "the file", |_| {
        notes(&run).first().is_some_and(|n| {
            n.feature == 9 && n.label == "lakes and rivers" && n.text == "only in Walden" && n.bookmarked
        })
    });
    drop(window);

    let mut window = open(&dir, Place::Features { run: run.clone() });
    wait_for(&mut window, "Search features");
    window.get_by_label("Search features").focus();
    window.run_steps(2);
    window.get_by_label("Search features").type_text("note:walden");
    wait(&mut window, "the noted feature", |w| rows(w) == [9]);
    wait_for(&mut window, "lakes and rivers");
    click(&mut window, "Reset filter");
    click(&mut window, "Which features");
    click(&mut window, "Bookmarked");
    wait(&mut window, "the bookmarked feature", |w| rows(w) == [9]);
}

#[test]
fn a_bookmark_is_set_with_a_key_in_the_table() {
    let (dir, run) = own_run();
    let mut window = open(&dir, Place::Features { run: run.clone() });
    wait(&mut window, "rows", |w| rows(w).len() > 3);
    let second = rows(&window)[1];
    window.key_press(egui::Key::ArrowDown);
    window.key_press(egui::Key::ArrowDown);
    window.run_steps(2);
    window.key_press(egui::Key::B);
    wait(&mut window, "the file", |_| notes(&run).iter().any(|n| n.feature == second && n.bookmarked));
    window.key_press(egui::Key::B);
    wait(&mut window, "it is gone again", |_| notes(&run).is_empty());
}

#[test]
fn damaged_notes_are_named_and_left_alone() {
    let (dir, run) = own_run();
    std::fs::write(run.join("notes.json"), "{\"format\": \"sae-workbench notes\"").unwrap();
    let mut window = open(&dir, Place::Feature { run: run.clone(), feature: 3 });
    wait_for_part(&mut window, "notes.json");
    click(&mut window, "Bookmark feature 3");
    window.run_steps(10);
    assert_eq!(
        std::fs::read_to_string(run.join("notes.json")).unwrap(),
        "{\"format\": \"sae-workbench notes\""
    );
}

#[test]
fn dragging_over_a_histogram_filters_and_a_chip_takes_it_away() {
    let mut window = window_at(Some(features()));
    wait_for(&mut window, "256 features");
    wait_for_part(&mut window, "Histogram of max");
    let bars = window.get_by_label_contains("Histogram of max").rect();
    let at = |share: f32| egui::pos2(bars.left() + share * bars.width(), bars.center().y);
    drag(&mut window, &[at(0.6), at(0.8), at(1.0)]);
    wait_for_part(&mut window, " of 256 features");
    let chips = window.query_all_by_label_contains("Remove filter max").count();
    assert_eq!(chips, 1);
    finish_reading(&mut window);
    window.get_by_label_contains("Remove filter max").click();
    wait_for(&mut window, "256 features");
}

#[test]
fn more_columns_can_be_shown() {
    let mut window = window_at(Some(features()));
    wait_for(&mut window, "256 features");
    assert!(window.query_by_label("Sort by bias").is_none());
    click(&mut window, "Columns");
    window.get_by_role_and_label(egui::accesskit::Role::CheckBox, "bias").click();
    window.run_steps(3);
    wait_for(&mut window, "Sort by bias");
}

#[test]
fn the_table_as_it_stands_is_saved() {
    let out = tempfile::tempdir().unwrap();
    let picker = Box::new(FixedPicker::new(out.path()));
    let mut window = window(Options { folder: Some(root()), place: Some(features()), picker, ..options() });
    wait_for(&mut window, "256 features");
    click(&mut window, "Sort by feature");
    // Explanations come last.
    wait_for_part(&mut window, "number 0, as another tool says");
    click(&mut window, "Sort by max");
    window.run_steps(10);
    click(&mut window, "Export…");
    let file = out.path().join("topk-features.csv");
    wait(&mut window, "the file", |_| file.exists());
    wait_for_part(&mut window, "Saved ");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 1 + FEATURES as usize);
    assert_eq!(fields(text.lines().next().unwrap())[8], "max");
    let max: Vec<f32> = text.lines().skip(1).map(|line| fields(line)[8].parse().unwrap()).collect();
    let mut expected: Vec<f32> = facts::features().iter().map(|row| row.max).collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(max, expected);
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[test]
fn a_page_is_saved_as_json() {
    let out = tempfile::tempdir().unwrap();
    let picker = Box::new(FixedPicker::new(out.path()));
    let explained = facts::explained();
    let place = Some(Place::Feature { run: run(), feature: explained.feature });
    let mut window = window(Options { folder: Some(root()), place, picker, ..options() });
    wait_for(&mut window, "Strongest");
    wait_for(&mut window, "Export");
    click(&mut window, "Export");
    click(&mut window, "Page as JSON…");
    let file = out.path().join(format!("topk-feature-{}.json", explained.feature));
    wait(&mut window, "the file", |_| file.exists());
    let page: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(page["feature"], explained.feature);
    let examples = facts::examples_of(&run(), explained.feature);
    let saved = page["examples"].as_array().unwrap();
    assert_eq!(saved.len(), examples.len());
    for (saved, example) in saved.iter().zip(&examples) {
        assert_eq!(saved["value"].as_f64().unwrap() as f32, example.value);
        assert_eq!(saved["texts"].as_array().unwrap().len(), example.tokens.len());
    }
    let word = |text: &serde_json::Value| *text == explained.token.as_str();
    assert!(saved.iter().any(|example| example["texts"].as_array().unwrap().iter().any(word)));
}

#[test]
fn examples_are_shown_once_unless_asked_and_their_document_is_opened() {
    let mut window = window_at(Some(Place::Feature { run: run(), feature: facts::explained().feature }));
    wait_for_part(&mut window, &facts::explained().token);
    // Every text of the fixture is there twice.
    wait_for_part(&mut window, "left out");
    click(&mut window, "repeats");
    assert!(window.query_all_by_label_contains("left out").next().is_none());
    click(&mut window, "Which examples");
    click(&mut window, "random");
    assert!(window.query_by_label("Strongest").is_none());
    wait_for(&mut window, "drawn from all tokens that it fires on");
}

#[test]
fn a_page_without_readable_examples_shows_its_numbers() {
    let (dir, run) = own_run();
    damage::truncate(&run.join("features/examples.parquet"));
    let mut window = open(&dir, Place::Feature { run, feature: 7 });
    wait_for(&mut window, "Nearest decoder rows");
    wait_for_part(&mut window, "examples.parquet");
}

#[test]
fn what_is_surrounded_on_the_map_is_what_the_table_shows() {
    let mut window = window_at(Some(Place::Map { run: run() }));
    wait_for_part(&mut window, "Map of features: ");
    click(&mut window, "Lasso");
    let map = window.get_by_label_contains("Map of features: ").rect();
    let at = |x: f32, y: f32| map.min + egui::vec2(map.width() * x, map.height() * y);
    drag(&mut window, &[at(0.2, 0.2), at(0.5, 0.2), at(0.5, 0.9), at(0.2, 0.9), at(0.2, 0.3)]);
    wait_for_part(&mut window, " selected");
    click(&mut window, "Show in the table");
    wait_for_part(&mut window, " of 256 features");
    wait_for_part(&mut window, "selected on the map");
    assert_eq!(window.state().here(), Some(features()));
}

#[test]
fn a_point_of_the_map_is_opened() {
    let mut window = window_at(Some(Place::Map { run: run() }));
    wait_for_part(&mut window, "Map of features: ");
    window.run_steps(10);
    let map = window.get_by_label_contains("Map of features: ").rect();
    // Somewhere near the middle there is a point within reach.
    for step in 0..400 {
        let at = map.center() + egui::vec2((step % 20) as f32 * 9.0 - 90.0, (step / 20) as f32 * 9.0 - 90.0);
        window.hover_at(at);
        window.run_steps(2);
        if window.query_all_by_label_contains("Feature ").any(|n| n.rect().left() > map.left()) {
            window.drag_at(at);
            window.step();
            window.drop_at(at);
            window.run_steps(4);
            break;
        }
    }
    wait(&mut window, "a page", |w| matches!(w.state().here(), Some(Place::Feature { .. })));
}

#[test]
fn two_dictionaries_are_compared() {
    let nearest = facts::nearest("features.parquet");
    assert_eq!(nearest.len(), FEATURES as usize);
    let mut window = window_at(Some(Place::Matching { run: run(), with: "small".into() }));
    wait_for(&mut window, "Pair of feature 0");
    wait_for_part(&mut window, "Densities of pairs: ");
    wait_for(&mut window, &format!("all {FEATURES}"));
    // A kind shows as many pairs as its button says, down to none.
    for kind in ["matched ", "merged "] {
        let label_of = |node: &egui_kittest::Node<'_>| node.accesskit_node().label().unwrap_or_default();
        finish_reading(&mut window);
        let buttons = window.query_all_by_label_contains(kind);
        let button = buttons.into_iter().find(|node| label_of(node).starts_with(kind)).unwrap();
        let label = label_of(&button);
        let count: usize = label.split_whitespace().nth(1).unwrap().parse().unwrap();
        button.click();
        window.run_steps(4);
        if count == 0 {
            wait_for(&mut window, "No matching feature");
            continue;
        }
        // A long list is drawn in part.
        let drawn = |w: &Harness<'static, App>| common::numbered(w, "Pair of feature ").len();
        wait(&mut window, kind, |w| drawn(w) == count || (drawn(w) > 8 && drawn(w) < count));
    }
    click(&mut window, &format!("all {FEATURES}"));
    click(&mut window, "Pair of feature 0");
    wait_for_part(&mut window, "Activations of feature 0");
    wait_for_part(&mut window, &format!("Activations of feature {}", nearest[0].nearest));
    finish_reading(&mut window);
    window.get_by_role_and_label(egui::accesskit::Role::Button, "Features of small").click();
    window.run_steps(4);
    wait_for(&mut window, &format!("all {SMALL_FEATURES}"));
    wait_for(&mut window, "Pair of feature 0");
}

#[test]
fn an_example_has_an_address() {
    let feature = facts::explained().feature;
    let place = Place::Example { run: run(), feature, example: 9 };
    let mut window = window_at(Some(place.clone()));
    wait_for(&mut window, "Example 9 of the address");
    assert_eq!(window.state().here(), Some(place.clone()));
    let place_of = |w: &Harness<'static, App>| w.get_by_label("Example 9 of the address").rect();
    wait(&mut window, "the example in view", |w| w.ctx.content_rect().contains_rect(place_of(w)));
    window.run_steps(20);
    let examples = place_of(&window);
    // Its own menu gives the same address back.
    let value = app::widgets::format::value(facts::examples_of(&run(), feature)[9].value.into());
    finish_reading(&mut window);
    let here = |node: &egui_kittest::Node<'_>| examples.contains(node.rect().center());
    window.query_all_by_label(&value).find(here).unwrap().click();
    window.run_steps(3);
    window.get_by_label("Copy address of example").click();
    let mut copied = None;
    for _ in 0..6 {
        copied =
            copied.or(window.output().platform_output.commands.iter().find_map(|command| match command {
                egui::OutputCommand::CopyText(text) => Some(text.clone()),
                _ => None,
            }));
        window.step();
    }
    assert_eq!(copied.as_deref(), Some(place.to_string().as_str()));
    // The next feature has no chosen example.
    window.key_press(egui::Key::N);
    let listed = facts::listed();
    let at = listed.iter().position(|other| *other == feature).unwrap();
    let next = Place::Feature { run: run(), feature: listed[at + 1] };
    wait(&mut window, "the next feature", |w| w.state().here().as_ref() == Some(&next));
    let mut window = window_at(Some(Place::Example { run: run(), feature, example: 999 }));
    wait_for(&mut window, &format!("Feature {feature} has no example 999."));
}

#[test]
fn a_feature_s_page_tells_its_history_where_the_run_has_kept_it() {
    let (dir, run) = own_run();
    let history = storage::history::History::open(&run).unwrap().unwrap();
    let record = history.record().clone();
    let events = facts::events(&run);
    let mut window = open(&dir, Place::Feature { run: run.clone(), feature: 7 });
    wait_for(&mut window, "In training");
    let snapshots = record.snapshots.len();
    assert!(snapshots > 4);
    wait_for(&mut window, &format!("History of the feature at {snapshots} snapshots"));
    drop(window);
    let count = app::widgets::format::count;
    let alive = events.iter().find(|e| e.born.is_some() && e.died.is_none()).expect("a feature lives");
    let mut window = open(&dir, Place::Feature { run: run.clone(), feature: alive.feature });
    wait_for_part(&mut window, &format!("First fired at {} tokens.", count(alive.born.unwrap())));
    drop(window);
    let died = events.iter().find(|e| e.died.is_some()).expect("a feature died");
    let mut window = open(&dir, Place::Feature { run: run.clone(), feature: died.feature });
    let (since, silence) = (count(died.died.unwrap()), count(record.dead_after));
    wait_for_part(&mut window, &format!("Dead since {since} tokens: silent for at least {silence} tokens."));
    drop(window);
    // What is damaged is named, and hides nothing else.
    std::fs::write(run.join("history/events.parquet"), b"PAR1").unwrap();
    let mut window = open(&dir, Place::Feature { run: run.clone(), feature: 7 });
    wait_for(&mut window, "Nearest decoder rows");
    wait_for_part(&mut window, "events.parquet");
    drop(window);
    let mut window = open(&dir, Place::Features { run: run.clone() });
    wait(&mut window, "rows", |w| rows(w).len() > 3);
    wait_for_part(&mut window, "events.parquet");
    drop(window);
    std::fs::remove_dir_all(run.join("history")).unwrap();
    let mut window = open(&dir, Place::Feature { run, feature: 7 });
    wait_for(&mut window, "Nearest decoder rows");
    assert!(window.query_by_label("In training").is_none(), "this run has none");
}

#[test]
fn features_are_sorted_and_filtered_by_when_they_were_born() {
    let events = facts::events(&run());
    let born = |feature: u32| events[feature as usize].born;
    let all = || events.iter().filter_map(|e| e.born);
    let (first, last) = (all().min().unwrap(), all().max().unwrap());
    assert!(first < last, "a test of nothing");
    let mut window = window_at(Some(features()));
    wait_for(&mut window, "256 features");
    wait_for_part(&mut window, &format!("Histogram of born: {} features", all().count()));
    click(&mut window, "Columns");
    window.get_by_role_and_label(egui::accesskit::Role::CheckBox, "born").click();
    window.run_steps(3);
    // Its heading may lie beyond the edge of the table.
    press(&mut window, "Sort by born");
    wait(&mut window, "the order", |w| rows(w).first().is_some_and(|top| born(*top) == Some(last)));
    window.get_by_label_contains("Histogram of born").scroll_to_me();
    window.run_steps(10);
    let bars = window.get_by_label_contains("Histogram of born").rect();
    let at = |share: f32| egui::pos2(bars.left() + share * bars.width(), bars.center().y);
    drag(&mut window, &[at(0.9), at(0.95), at(1.0)]);
    wait_for_part(&mut window, " of 256 features");
    assert_eq!(window.query_all_by_label_contains("Remove filter born").count(), 1);
    let youngest = all().filter(|b| *b == last).count();
    wait_for_part(&mut window, &format!("{youngest} of 256 features"));
    wait(&mut window, "the youngest", |w| rows(w).iter().all(|f| born(*f) == Some(last)));
}

fn said(feature: u32, text: &str, scores: &[(&str, f32)]) -> Explanation {
    let scores = scores.iter().map(|(kind, value)| Score { kind: (*kind).into(), value: *value }).collect();
    Explanation { feature, text: text.into(), method: "a method".into(), by: "somebody".into(), scores }
}

#[test]
fn explanations_are_shown_with_their_scores_and_found() {
    let (dir, run) = own_run();
    std::fs::remove_dir_all(run.join("explanations")).unwrap();
    let mut rules = [
        said(9, "on the token ‹·lake›", &[("f1", 0.625), ("precision", 0.5)]),
        said(19, "on the token ‹·pond›", &[("f1", 0.75)]),
    ];
    storage::explanations::write(&run, "rules", &mut rules).unwrap();
    let mut others = [said(9, "waters of all kinds", &[("eleuther_fuzz", 0.875)]), said(9, "no score", &[])];
    storage::explanations::write(&run, "others", &mut others).unwrap();

    let mut window = open(&dir, Place::Feature { run: run.clone(), feature: 9 });
    wait_for(&mut window, "on the token ‹·lake›");
    // The best one stands elsewhere, too, in the place of a label.
    let heading = window.get_by_label("Explanations").rect().top();
    let top = |window: &Harness<'static, App>, label: &str| {
        let tops = window.query_all_by_label(label).map(|node| node.rect().top());
        tops.filter(|top| *top > heading).fold(f32::INFINITY, f32::min)
    };
    let tops = ["waters of all kinds", "on the token ‹·lake›", "no score"].map(|label| top(&window, label));
    assert!(tops.is_sorted(), "the best first: {tops:?}");
    for badge in ["F1 0.62", "precision 0.50", "eleuther_fuzz 0.88"] {
        assert!(window.query_by_label(badge).is_some(), "{badge}");
    }
    drop(window);

    let mut window = open(&dir, Place::Features { run: run.clone() });
    wait_for(&mut window, "waters of all kinds");
    wait_for(&mut window, "on the token ‹·pond›");
    for (text, wanted) in [("explained:token", vec![9, 19]), ("all kinds", vec![9]), ("label:waters", vec![])]
    {
        let field = window.get_by_label("Search features");
        field.focus();
        window.run_steps(2);
        window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
        window.run_steps(1);
        window.get_by_label("Search features").type_text(text);
        wait(&mut window, text, |w| rows(w) == wanted);
    }
    click(&mut window, "Reset filter");
    click(&mut window, "Which features");
    click(&mut window, "With an explanation");
    wait(&mut window, "the explained features", |w| rows(w) == [9, 19]);
}

#[test]
fn without_explanations_a_page_says_how_to_get_some_and_a_damaged_source_is_named() {
    let (dir, run) = own_run();
    std::fs::remove_dir_all(run.join("explanations")).unwrap();
    let mut window = open(&dir, Place::Feature { run: run.clone(), feature: 3 });
    wait_for_part(&mut window, "sae explain ");
    drop(window);
    storage::explanations::write(&run, "rules", &mut [said(5, "five", &[])]).unwrap();
    std::fs::write(storage::explanations::path(&run, "bad"), "no table").unwrap();
    let mut window = open(&dir, Place::Feature { run, feature: 3 });
    wait_for_part(&mut window, "bad.parquet");
    wait_for_part(&mut window, "No rule reached F1 0.5");
}

#[test]
fn the_map_is_coloured_by_kind_and_says_how_many_there_are_of_each() {
    // The domain of most of a feature's strongest examples, straight from the tables.
    let of_run = storage::Run::open(&run()).unwrap();
    let examples = of_run.examples().unwrap().unwrap();
    let documents = storage::Dataset::open(&data()).unwrap().table("documents").unwrap();
    let documents: Vec<storage::documents::DocumentRow> =
        storage::row::read(&documents, storage::Scan::default()).unwrap();
    let mut of_domain = std::collections::BTreeMap::<String, usize>::new();
    for feature in 0..FEATURES {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for example in storage::examples::read(&examples, feature).unwrap() {
            let document = documents.iter().find(|row| row.document == example.document).unwrap();
            if example.interval == 0 && !document.domain.is_empty() {
                *counts.entry(document.domain.clone()).or_default() += 1;
            }
        }
        let most = counts.values().max().copied();
        if let Some((domain, _)) = counts.into_iter().find(|(_, n)| Some(*n) == most) {
            *of_domain.entry(domain).or_default() += 1;
        }
    }
    assert!(of_domain.len() > 1, "a test of nothing: {of_domain:?}");
    let mut window = window_at(Some(Place::Map { run: run() }));
    wait_for_part(&mut window, "Map of features: ");
    click(&mut window, "Coloured by");
    click(&mut window, "domain of its examples");
    for (domain, features) in of_domain {
        wait_for(&mut window, &format!("{domain} {features}"));
    }
    click(&mut window, "Coloured by");
    click(&mut window, "score of its explanation");
    wait_for_part(&mut window, "by rank: half are below");
}
