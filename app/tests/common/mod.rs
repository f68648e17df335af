//! What the tests of the window share: a sample folder, made once a process, and a window to drive.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod pictures;
pub mod prompted;
pub mod routed;
pub mod sample;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use app::address::Place;
use app::shell::{App, FixedPicker, Options, SettingsFile};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, HarnessBuilder};

/// The sample folder; nothing writes into it.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            // A fixed name: it is part of the pictures.
            sample::folder(&dir.path().join("sample"), 2048).unwrap();
            dir
        })
        .path()
}

/// The folder to open.
pub fn root() -> PathBuf {
    folder().join("sample")
}

/// The run that has everything.
pub fn run() -> PathBuf {
    root().join("topk-2k")
}

/// A folder with a dictionary of attention heads; nothing writes into it.
pub fn heads_root() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (run, text) = (dir.path().join("sample/heads-512"), sample::text());
        sample::finished_run(&run, 512, &text).unwrap();
        sample::heads(&run, 512, 12, &text).unwrap();
        dir
    });
    folder.path().join("sample")
}

/// Options of a window that remembers nothing and picks the sample folder.
pub fn options() -> Options {
    Options {
        folder: None,
        place: None,
        settings: SettingsFile::nowhere(),
        picker: Box::new(FixedPicker::new(root())),
    }
}

/// A window of 1280 × 800.
pub fn window(options: Options) -> Harness<'static, App> {
    builder().build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
}

/// The window that all tests use.
pub fn builder() -> HarnessBuilder<App> {
    Harness::builder().with_size([1280.0, 800.0]).with_max_steps(64)
}

/// A window with the sample folder open at `place`.
pub fn window_at(place: Option<Place>) -> Harness<'static, App> {
    window(Options { folder: Some(root()), place, ..options() })
}

/// Steps until `done`; fails with what was waited for.
pub fn wait(harness: &mut Harness<'static, App>, what: &str, done: impl Fn(&Harness<'static, App>) -> bool) {
    let start = Instant::now();
    loop {
        harness.step();
        if done(harness) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Steps until a widget of this name is there.
pub fn wait_for(harness: &mut Harness<'static, App>, label: &str) {
    wait(harness, label, |h| h.query_all_by_label(label).next().is_some());
}

/// Steps until a widget whose name contains `part` is there.
pub fn wait_for_part(harness: &mut Harness<'static, App>, part: &str) {
    wait(harness, part, |h| h.query_all_by_label_contains(part).next().is_some());
}

/// Drags with the mouse through these points.
pub fn drag(harness: &mut Harness<'static, App>, path: &[egui::Pos2]) {
    harness.hover_at(path[0]);
    harness.step();
    harness.drag_at(path[0]);
    harness.step();
    for at in &path[1..] {
        harness.hover_at(*at);
        harness.step();
    }
    harness.drop_at(path[path.len() - 1]);
    harness.run_steps(4);
}

/// Clicks the widget of this name and takes a few steps.
pub fn click(harness: &mut Harness<'static, App>, label: &str) {
    harness.get_by_label(label).click();
    harness.run_steps(3);
}

/// The numbers behind `prefix` in names on the screen, from the top.
pub fn numbered(harness: &Harness<'static, App>, prefix: &str) -> Vec<u32> {
    let mut found: Vec<(f32, u32)> = harness
        .query_all_by_label_contains(prefix)
        .filter_map(|node| {
            let label = node.accesskit_node().label()?;
            Some((node.rect().top(), label.strip_prefix(prefix)?.parse().ok()?))
        })
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|(_, number)| number).collect()
}

/// The features of the rows on the screen, from the top.
pub fn rows(harness: &Harness<'static, App>) -> Vec<u32> {
    numbered(harness, "Row of feature ")
}
