//! Pictures of the window, dark and light. Without a graphics adapter (a software one is enough: mesa-vulkan-drivers) they
//! are skipped, and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::{App, Options, Settings, SettingsFile};
use app::theme::Choice;
use common::{builder, options, root, run, wait_for_part};
use egui::Theme;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

/// Whether pictures can be made here; the reason is printed when they can not.
fn can_draw() -> bool {
    let attempt = std::panic::catch_unwind(|| {
        let mut harness = Harness::builder().with_size([8.0, 8.0]).wgpu().build_ui(|ui| drop(ui.label("x")));
        harness.render().is_ok()
    });
    let can = attempt.unwrap_or(false);
    if !can {
        println!("SKIPPED: no graphics adapter; install mesa-vulkan-drivers to compare pictures");
    }
    can
}

/// A window at `place` of the sample folder, without what differs from machine to machine.
fn draw(theme: Theme, place: Option<Place>) -> Harness<'static, App> {
    let file = tempfile::tempdir().unwrap().keep().join("window.json");
    let choice = if theme == Theme::Dark { Choice::Dark } else { Choice::Light };
    SettingsFile::at(&file).write(&Settings { theme: choice, ..Settings::default() }).unwrap();
    let folder = place.is_some().then(root);
    let options = Options { folder, place, settings: SettingsFile::at(file), ..options() };
    // The harness puts its own theme on after the window has chosen one, so it must be told too.
    builder().with_theme(theme).wgpu().build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
}

/// The path of the sample is a new one each time, and so are pictures of it.
fn hide_path(window: &mut Harness<'static, App>) {
    window.mask(egui::Rect::from_min_max(egui::pos2(160.0, 0.0), egui::pos2(1200.0, 36.0)));
}

fn settle(window: &mut Harness<'static, App>) {
    for _ in 0..20 {
        window.step();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    hide_path(window);
}

/// One picture in each look, taken when everything in `there` is.
fn pictures(name: &str, place: Option<&Place>, there: &[&str]) {
    if !can_draw() {
        return;
    }
    let mut results = egui_kittest::SnapshotResults::new();
    for (theme, look) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let mut window = draw(theme, place.cloned());
        for part in there {
            wait_for_part(&mut window, part);
        }
        settle(&mut window);
        if place.is_none() {
            window.run_steps(4);
        }
        results.add(window.try_snapshot(format!("{name}_{look}")));
    }
}

#[test]
fn welcome() {
    pictures("welcome", None, &["sae demo"]);
}

#[test]
fn runs() {
    pictures("runs", Some(&Place::Curves { run: run() }), &["Logarithmic FVE", "loss_recovered"]);
}

#[test]
fn features() {
    // The labels come last.
    pictures(
        "features",
        Some(&Place::Features { run: run() }),
        &["2 048 features", "“forest”", "Histogram of max"],
    );
}

#[test]
fn feature() {
    pictures(
        "feature",
        Some(&Place::Feature { run: run(), feature: 7 }),
        &["Nearest decoder rows", " forest"],
    );
}

#[test]
fn map() {
    pictures("map", Some(&Place::Map { run: run() }), &["Map of features: "]);
}

#[test]
fn compare() {
    let place = Place::Compare { run: run(), with: "topk-512".into() };
    pictures("compare", Some(&place), &["Pair of feature 0", "Densities of pairs: "]);
}

#[test]
fn experts() {
    let place = Place::Experts { dataset: root().join("resid2") };
    pictures("experts", Some(&place), &["Load of the experts of layer 0"]);
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
