//! Pictures of the window in the dark look. Without a graphics adapter (a software one is enough: mesa-vulkan-drivers)
//! they are skipped, and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::{App, Options, Settings, SettingsFile};
use app::theme::Choice;
use common::{builder, options, root, run, wait, wait_for, wait_for_part};
use egui_kittest::Harness;

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

/// A window with the sample open, without what differs from machine to machine.
fn draw(theme: Choice, place: Option<Place>, open: bool) -> Harness<'static, App> {
    let file = tempfile::tempdir().unwrap().keep().join("window.json");
    SettingsFile::at(&file).write(&Settings { theme, ..Settings::default() }).unwrap();
    let folder = open.then(root);
    let options = Options { folder, place, settings: SettingsFile::at(file), ..options() };
    builder().wgpu().build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
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

#[test]
fn welcome() {
    if can_draw() {
        let mut window = draw(Choice::Dark, None, false);
        window.run_steps(4);
        window.snapshot("welcome_dark");
    }
}

fn features(theme: Choice, name: &str) {
    if can_draw() {
        let mut window = draw(theme, Some(Place::Features { run: run() }), true);
        wait_for(&mut window, "2 048 features");
        // The labels come last.
        wait_for_part(&mut window, "“forest”");
        settle(&mut window);
        window.snapshot(name);
    }
}

#[test]
fn features_dark() {
    features(Choice::Dark, "features_dark");
}

fn feature(theme: Choice, name: &str) {
    if can_draw() {
        let mut window = draw(theme, Some(Place::Feature { run: run(), feature: 7 }), true);
        wait_for(&mut window, "Nearest decoder rows");
        wait_for_part(&mut window, " forest");
        settle(&mut window);
        window.snapshot(name);
    }
}

#[test]
fn feature_dark() {
    feature(Choice::Dark, "feature_dark");
}

#[test]
fn experts() {
    if can_draw() {
        let mut window = draw(Choice::Dark, Some(Place::Experts { dataset: root().join("resid2") }), true);
        wait(&mut window, "the map", |w| {
            use egui_kittest::kittest::Queryable as _;
            w.query_by_label("Load of the experts of layer 0").is_some()
        });
        settle(&mut window);
        window.snapshot("experts_dark");
    }
}
