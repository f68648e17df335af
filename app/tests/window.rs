//! The window as a person uses it: by the names of what is on the screen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::{FixedPicker, Options};
use common::{
    click, data, facts, finish_reading, options, own_run, root, rows, run, wait, wait_for, wait_for_part,
    window, window_at,
};
use egui_kittest::kittest::Queryable as _;
use fixtures::{FEATURES, damage};
use storage::features::{FeatureRow, FeatureWriter};

fn features() -> Place {
    Place::Features { run: run() }
}

fn feature(feature: u32) -> Place {
    Place::Feature { run: run(), feature }
}

#[test]
fn a_newcomer_is_told_what_to_do_and_opens_a_folder() {
    let mut window = window(options());
    window.run_steps(2);
    wait_for_part(&mut window, "Copy command sae demo");
    click(&mut window, "Open folder…");
    wait_for(&mut window, "Run topk");
    assert!(window.query_by_label_contains("sae demo").is_none());
    wait_for(&mut window, "Run broken");
    assert!(window.query_all_by_label("data").next().is_some());
}

#[test]
fn a_folder_that_is_not_there_is_named_with_the_remedy() {
    let mut window = window(Options { folder: Some("/no/such/folder".into()), ..options() });
    wait_for(&mut window, "/no/such/folder does not exist.");
    wait_for(&mut window, "Check the path.");
}

#[test]
fn an_empty_folder_is_no_failure() {
    let empty = tempfile::tempdir().unwrap();
    let mut window = window(Options { folder: Some(empty.path().into()), ..options() });
    wait_for_part(&mut window, "There are no runs or datasets");
}

#[test]
fn the_curves_and_numbers_of_a_clicked_run_are_shown() {
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run unfinished");
    click(&mut window, "Run unfinished");
    assert_eq!(window.state().here(), Some(Place::Curves { run: root().join("unfinished") }));
    wait_for(&mut window, "Logarithmic Loss");
    wait_for_part(&mut window, "Not evaluated yet");
    click(&mut window, "Run topk");
    let recovered = facts::evaluation_of(&run())["loss_recovered"].as_f64().unwrap();
    wait_for(&mut window, &app::widgets::format::value(recovered));
    wait_for(&mut window, "Logarithmic FVE");
}

#[test]
fn a_damaged_run_is_shown_as_such_and_the_others_work() {
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run broken");
    click(&mut window, "Run broken");
    wait_for_part(&mut window, "run.json");
    click(&mut window, "Run topk");
    wait_for(&mut window, "Logarithmic Loss");
}

#[test]
fn the_table_is_sorted_filtered_and_searched() {
    let mut window = window_at(Some(features()));
    // Of itself what is explained best comes first, then what fires most.
    let listed = facts::listed();
    wait(&mut window, "rows", |w| rows(w).starts_with(&listed[..8]));
    click(&mut window, "Sort by feature");
    wait(&mut window, "the order of numbers", |w| rows(w).starts_with(&[0, 1, 2]));
    click(&mut window, "Sort by feature");
    wait(&mut window, "descending order", |w| rows(w).starts_with(&[FEATURES - 1, FEATURES - 2]));
    click(&mut window, "Sort by max");
    let max = |feature: &u32| facts::features()[*feature as usize].max;
    let all = facts::features().iter().map(|row| row.max);
    let largest = all.fold(0.0, f32::max);
    wait(&mut window, "order by max", |w| {
        let shown: Vec<f32> = rows(w).iter().map(max).collect();
        shown.first() == Some(&largest) && shown.is_sorted_by(|a, b| a >= b)
    });
    click(&mut window, "Sort by feature");
    // The last token of the rule that explains it.
    let rule = &facts::explained().rule;
    let word = format!("explained:{}", rule.rsplit(' ').next().unwrap());
    window.get_by_label("Search features").focus();
    window.run_steps(2);
    window.get_by_label("Search features").type_text(&word);
    wait_for_part(&mut window, " of 256 features");
    wait(&mut window, "the feature of that word", |w| rows(w).contains(&facts::explained().feature));
    click(&mut window, "Reset filter");
    wait_for(&mut window, "256 features");
    click(&mut window, "Hide dead");
    let alive = facts::features().iter().filter(|row| !row.dead).count();
    assert_ne!(alive, FEATURES as usize, "a test of nothing");
    wait_for_part(&mut window, &format!("{alive} of 256 features"));
}

#[test]
fn the_table_is_used_with_the_keyboard() {
    let mut window = window_at(Some(features()));
    let listed = facts::listed();
    wait(&mut window, "rows", |w| rows(w).starts_with(&listed[..8]));
    for _ in 0..3 {
        window.key_press(egui::Key::ArrowDown);
    }
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    wait(&mut window, "the third", |w| w.state().here() == Some(feature(listed[2])));
    window.key_press(egui::Key::N);
    wait(&mut window, "the fourth", |w| w.state().here() == Some(feature(listed[3])));
    window.key_press(egui::Key::Slash);
    wait(&mut window, "the search field", |w| {
        w.state().here() == Some(features())
            && w.query_by_label("Search features").is_some_and(|n| n.is_focused())
    });
}

#[test]
fn a_feature_is_opened_a_neighbour_followed_and_the_way_back_found() {
    let mut window = window_at(Some(features()));
    click(&mut window, "Sort by feature");
    wait_for(&mut window, "Feature 7");
    click(&mut window, "Feature 7");
    wait_for(&mut window, "Nearest decoder rows");
    assert_eq!(window.state().here(), Some(feature(7)));
    finish_reading(&mut window);
    let links = window.query_all_by_label_contains("Go to feature ");
    let first = links.min_by(|a, b| a.rect().top().total_cmp(&b.rect().top())).unwrap();
    first.click_accesskit();
    window.run_steps(4);
    let there = window.state().here();
    assert!(there.is_some() && there != Some(feature(7)), "{there:?}");
    click(&mut window, "Back");
    wait(&mut window, "feature 7 again", |w| w.state().here() == Some(feature(7)));
    click(&mut window, "Forward");
    wait(&mut window, "the neighbour again", |w| w.state().here() == there);
}

#[test]
fn the_value_of_a_token_is_shown_under_the_pointer() {
    let explained = facts::explained();
    let mut window = window_at(Some(feature(explained.feature)));
    wait_for(&mut window, "Strongest");
    let at = common::example(&window, &explained.token).rect().left_top() + egui::vec2(12.0, 8.0);
    window.hover_at(at);
    window.run_steps(8);
    wait_for_part(&mut window, "activation ");
    wait_for_part(&mut window, "position ");
}

#[test]
fn a_feature_that_does_not_exist_says_which_do() {
    let mut window = window_at(Some(feature(5000)));
    wait_for(&mut window, "Its features are 0 to 255.");
}

#[test]
fn a_run_whose_index_is_damaged_opens_and_says_what_is_wrong() {
    let (dir, run) = own_run();
    damage::truncate(&run.join("features/features.parquet"));
    let place = Place::Features { run };
    let mut window = window(Options { folder: Some(dir.path()), place: Some(place), ..options() });
    wait_for_part(&mut window, "cannot be read");
    wait_for_part(&mut window, "features.parquet");
    wait_for(&mut window, "Try again");
    // The command that makes it again is a button, and nothing calls the run well.
    wait_for(&mut window, "Index again");
    wait_for_part(&mut window, "Copy command sae index");
    wait_for(&mut window, "damaged");
}

#[test]
fn a_feature_that_is_not_there_is_answered_with_those_that_are() {
    let mut window = window_at(Some(Place::Feature { run: run(), feature: 99_999 }));
    wait_for(&mut window, "There is no feature 99999");
    let last = FEATURES - 1;
    wait_for_part(&mut window, &format!("Its features are 0 to {last}."));
    assert!(window.query_by_label("Try again").is_none(), "trying again cannot help");
    click(&mut window, &format!("Feature {last}"));
    wait(&mut window, "the last feature", |w| {
        w.state().here() == Some(Place::Feature { run: run(), feature: last })
    });
}

#[test]
fn experts_are_shown_by_kind_of_text_and_layer() {
    let dataset = data();
    let mut window = window_at(Some(Place::Experts { dataset }));
    wait_for(&mut window, "Expert load of 4 layers and 16 experts");
    for _ in 0..3 {
        window.key_press(egui::Key::CloseBracket);
        window.run_steps(2);
    }
    wait_for(&mut window, "Load of the experts of layer 3");
}

#[test]
fn a_document_is_read() {
    let dataset = data();
    let mut window = window_at(Some(Place::Dataset { dataset: dataset.clone(), document: None }));
    wait_for(&mut window, "Document alice.txt");
    click(&mut window, "Document alice.txt");
    wait_for_part(&mut window, "Alice was beginning");
    assert_eq!(window.state().here(), Some(Place::Dataset { dataset, document: Some(0) }));
}

#[test]
fn the_palette_goes_anywhere() {
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run topk");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    wait_for(&mut window, "Palette");
    window.get_by_label("Palette").type_text("23");
    wait_for(&mut window, "Go to feature 23");
    window.key_press(egui::Key::Enter);
    wait(&mut window, "feature 23", |w| {
        // Of the run whose curves are in front.
        w.state().here() == Some(feature(23))
    });
}

#[test]
fn settings_that_can_not_be_written_are_reported_and_not_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let settings = app::shell::SettingsFile::at(blocked.join("window.json"));
    let picker = Box::new(FixedPicker::new(root()));
    let mut window = window(Options { folder: Some(root()), place: None, settings, picker });
    wait_for_part(&mut window, "Cannot");
    wait_for(&mut window, "Run topk");
}

#[test]
fn theme_and_folder_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let file = app::shell::SettingsFile::at(dir.path().join("window.json"));
    let mut window = window(Options { folder: Some(root()), settings: file.clone(), ..options() });
    wait_for(&mut window, "Run topk");
    click(&mut window, "Dark or light");
    wait(&mut window, "the settings", |_| {
        let settings = file.read().0;
        settings.theme == app::theme::Choice::Light && settings.recent == [root()]
    });
}

/// Makes the index of `run` as long as `features`, by its own rows over and over.
fn widen(run: &std::path::Path, features: u32) {
    let own = facts::features();
    let record = storage::RunRecord::read(run).unwrap();
    storage::RunRecord { d_sae: features as usize, ..record }.write(run).unwrap();
    // Examples and all else would have to be as long; without them the table stands alone.
    std::fs::remove_dir_all(run.join("features")).unwrap();
    for folder in ["explanations", "history", "matching"] {
        std::fs::remove_dir_all(run.join(folder)).unwrap();
    }
    std::fs::create_dir(run.join("features")).unwrap();
    let names = ["vocabulary.parquet", "index.json"];
    names.iter().for_each(|name| {
        std::fs::copy(common::run().join("features").join(name), run.join("features").join(name)).unwrap();
    });
    let mut rows = FeatureWriter::create(&run.join("features/features.parquet")).unwrap();
    for feature in 0..features {
        // Lists make the writing long, and the table shows the first of them alone.
        let row = &own[(feature % FEATURES) as usize];
        rows.append(FeatureRow {
            feature,
            fires_on: row.fires_on.iter().take(1).copied().collect(),
            histogram: Vec::new(),
            top_logits: Vec::new(),
            bottom_logits: Vec::new(),
            logit_histogram: Vec::new(),
            neighbours: Vec::new(),
            coactive: Vec::new(),
            label: None,
            ..*row
        })
        .unwrap();
    }
    rows.finish().unwrap();
}

#[test]
fn a_million_features_are_a_table_like_any_other() {
    let (_folder, run) = own_run();
    widen(&run, 1_000_000);
    let place = Some(Place::Features { run: run.clone() });
    let mut window = window(Options { folder: Some(run), place, ..options() });
    wait_for(&mut window, "1 000 000 features");
    click(&mut window, "Sort by density");
    wait(&mut window, "the order", |w| rows(w).first().is_some_and(|f| *f != 0));
    window.key_press(egui::Key::End);
    window.run_steps(8);
    let drawn = rows(&window).len();
    assert!((10..100).contains(&drawn), "{drawn} rows are drawn");
    let start = std::time::Instant::now();
    for _ in 0..20 {
        window.key_press(egui::Key::PageUp);
        window.step();
    }
    let frame = start.elapsed() / 20;
    assert!(frame.as_millis() < 200, "a frame took {frame:?} (unoptimised build)");
}
