//! The frame around the views: palette, tabs, live runs, hints, trade-off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::Options;
use common::{click, options, root, run, sample, wait, wait_for, wait_for_part, window, window_at};
use egui_kittest::kittest::Queryable as _;
use storage::RunStatus;

#[test]
fn a_feature_is_found_by_its_name_in_the_palette() {
    let mut window = window_at(Some(Place::Features { run: run() }));
    wait_for_part(&mut window, "“forest”");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.run_steps(3);
    window.get_by_label("Palette").type_text("forest");
    window.run_steps(3);
    window.key_press(egui::Key::Enter);
    wait(&mut window, "feature 7", |w| w.state().here() == Some(Place::Feature { run: run(), feature: 7 }));
}

#[test]
fn every_command_is_in_the_palette() {
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run topk-2k");
    for command in app::shell::Command::ALL {
        window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
        window.run_steps(2);
        window.get_by_label("Palette").type_text(command.name());
        window.run_steps(2);
        assert!(
            window.query_all_by_label(command.name()).next().is_some(),
            "{} is not offered",
            command.name()
        );
        window.key_press(egui::Key::Escape);
        window.run_steps(2);
    }
}

#[test]
fn a_place_is_shown_twice_and_tabs_are_turned_with_keys() {
    let mut window = window_at(Some(Place::Feature { run: run(), feature: 7 }));
    wait_for(&mut window, "Nearest decoder rows");
    let count = |w: &egui_kittest::Harness<'static, app::shell::App>| {
        w.query_all_by_label("Nearest decoder rows").count()
    };
    assert_eq!(count(&window), 1);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Backslash);
    wait(&mut window, "a second page", |w| count(w) == 2);
    window.key_press(egui::Key::N);
    wait(&mut window, "the right one turned", |w| {
        let shown = |label: &str| w.query_all_by_label(label).count();
        (shown("Bookmark feature 7"), shown("Bookmark feature 8")) == (1, 1)
    });
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::W);
    wait(&mut window, "one page", |w| count(w) == 1);

    let mut window = window_at(None);
    wait_for(&mut window, "Run topk-2k");
    assert_eq!(window.state().here(), Some(Place::Curves { run: root().join("narrow/topk-512") }));
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::PageDown);
    window.run_steps(3);
    assert!(matches!(window.state().here(), Some(Place::Features { .. })), "{:?}", window.state().here());
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::PageUp);
    window.run_steps(3);
    assert!(matches!(window.state().here(), Some(Place::Runs | Place::Curves { .. })));
}

#[test]
fn a_run_that_is_trained_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("live");
    std::fs::create_dir(&run).unwrap();
    sample::record("topk", 2048, RunStatus::Running).write(&run).unwrap();
    sample::curves(&run, 10, 0.5).unwrap();
    let place = Some(Place::Curves { run: run.clone() });
    let mut window = window(Options { folder: Some(dir.path().into()), place, ..options() });
    wait_for(&mut window, "Logarithmic FVE");
    wait_for(&mut window, "live");
    let shown = |w: &egui_kittest::Harness<'static, app::shell::App>| {
        let texts = w.query_all_by_label_contains("0.");
        texts.filter_map(|n| egui_kittest::kittest::NodeT::accesskit_node(&n).value()).collect::<Vec<_>>()
    };
    let before = shown(&window);
    // The resolution of file times.
    std::thread::sleep(std::time::Duration::from_millis(20));
    sample::curves(&run, 60, 0.9).unwrap();
    wait(&mut window, "the newer numbers", |w| shown(w) != before);
}

#[test]
fn quality_over_sparsity_is_shown_for_all_runs() {
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run topk-2k");
    click(&mut window, "Trade-off");
    wait_for(&mut window, "Loss recovered");
    window.get_by_label("3 runs");
    click(&mut window, "Curves");
    wait_for(&mut window, "Logarithmic FVE");
}

#[test]
fn a_run_with_many_dead_features_gets_a_hint_with_its_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("ill");
    std::fs::create_dir(&run).unwrap();
    let mut record = sample::record("topk", 2048, RunStatus::Finished);
    record.last.insert("sparsity/dead_share".into(), 0.42);
    record.write(&run).unwrap();
    sample::curves(&run, 30, 0.9).unwrap();
    let place = Some(Place::Curves { run });
    let mut window = window(Options { folder: Some(dir.path().into()), place, ..options() });
    wait_for(&mut window, "Many features are dead");
    window.get_by_label_contains("42.0 % are dead");
}

#[derive(Debug)]
struct Dropped(std::path::PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("a folder has no bytes".into())
    }
}

#[test]
fn a_folder_that_is_dropped_on_the_window_is_opened() {
    let mut window = window(options());
    window.run_steps(2);
    window.input_mut().dropped_files.push(std::sync::Arc::new(Dropped(root())));
    window.step();
    wait_for(&mut window, "Run topk-2k");
}

#[test]
fn a_training_is_begun_from_the_palette() {
    let mut window = window_at(Some(Place::Features { run: run() }));
    wait_for_part(&mut window, "2 048 features");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.run_steps(3);
    window.get_by_label("Palette").type_text("Train…");
    window.run_steps(3);
    window.key_press(egui::Key::Enter);
    wait_for(&mut window, "Start training");
}
