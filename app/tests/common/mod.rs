//! What the tests of the window share: the fixtures, what their files say, and a window to drive.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod facts;
pub mod pictures;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use app::address::Place;
use app::shell::{App, FixedPicker, Options, SettingsFile};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, HarnessBuilder};

/// The folder to open; nothing writes into it.
pub fn root() -> PathBuf {
    fixtures::sample().to_owned()
}

/// The run that has everything.
pub fn run() -> PathBuf {
    root().join("topk")
}

/// The dataset that has everything.
pub fn data() -> PathBuf {
    root().join("data")
}

/// A folder with a dictionary of attention heads; nothing writes into it.
pub fn heads_root() -> PathBuf {
    fixtures::heads().to_owned()
}

/// A place of every view of runs and datasets, in a folder like [`root`].
pub fn places(folder: &Path) -> Vec<Place> {
    let (run, data) = (folder.join("topk"), folder.join("data"));
    let feature = facts::explained().feature;
    vec![
        Place::Runs,
        Place::Curves { run: run.clone() },
        Place::Features { run: run.clone() },
        Place::Feature { run: run.clone(), feature },
        Place::Map { run: run.clone() },
        Place::Claim { run: run.clone(), feature },
        Place::Matching { run: run.clone(), with: "small".into() },
        Place::Prompt { run, feature: Some(feature) },
        Place::Dataset { dataset: data.clone(), document: Some(0) },
        Place::Token { dataset: data.clone(), document: 0, token: 3 },
        Place::Experts { dataset: data.clone() },
        Place::Expert { dataset: data, layer: 0, expert: 1 },
    ]
}

/// A copy of the folder and its run that has everything, for tests that write.
pub fn own_run() -> (fixtures::Copied, PathBuf) {
    let folder = fixtures::copy(&root());
    let run = folder.join("topk");
    (folder, run)
}

/// The program `sae` that is built with the workspace; where it is not, `what` is reported as skipped.
pub fn program(what: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/TEST
    let program = test.ancestors().nth(2)?.join(format!("sae{}", std::env::consts::EXE_SUFFIX));
    let built = program.exists();
    if !built {
        fixtures::skip(what, &format!("{} is not built; build the whole workspace", program.display()));
    }
    built.then_some(program)
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
pub fn wait(
    harness: &mut Harness<'static, App>,
    what: &str,
    mut done: impl FnMut(&Harness<'static, App>) -> bool,
) {
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

/// The topmost text with `part` on the right of the page of a feature, where its examples are.
pub fn example<'a>(harness: &'a Harness<'static, App>, part: &'a str) -> egui_kittest::Node<'a> {
    let drawn = harness
        .query_all_by_label_contains(part)
        .filter(|node| node.accesskit_node().bounding_box().is_some() && node.rect().left() > 500.0)
        // Tab and head say what the feature fires on, too.
        .filter(|node| node.rect().top() > 205.0);
    drawn.min_by(|a, b| a.rect().top().total_cmp(&b.rect().top())).expect("an example")
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

/// Steps until nothing is being read and what was read is drawn. What arrives between the frames of a press moves widgets or gives
/// them a different identity, and the press reaches nobody.
pub fn finish_reading(harness: &mut Harness<'static, App>) {
    let mut still = 0;
    wait(harness, "all that is being read", |h| {
        still = if h.state().idle() { still + 1 } else { 0 };
        still >= 4
    });
}

/// As [`click`], also where the widget lies below what is seen of a scrolled panel.
pub fn press(harness: &mut Harness<'static, App>, label: &str) {
    wait_for(harness, label);
    finish_reading(harness);
    harness.get_by_label(label).click_accesskit();
    harness.run_steps(3);
}

/// Waits for the widget of this name, which may depend on a file that is being read, clicks it and takes a few steps.
pub fn click(harness: &mut Harness<'static, App>, label: &str) {
    wait_for(harness, label);
    finish_reading(harness);
    harness.get_by_label(label).click();
    harness.run_steps(3);
}

/// The numbers after `prefix` in names on the screen, from the top.
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

/// A program that notes how it was called, unless for what a training would need, and then runs `body` with the run's folder in `$out`.
#[cfg(unix)]
pub fn stand_in(dir: &Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join("stand-in");
    let arguments = dir.join("arguments");
    // A shell cannot trap what was ignored when it began, as interrupts are in the background of a script.
    let shell = match cfg!(target_os = "linux") {
        true => "/usr/bin/env -S --default-signal=INT sh",
        false => "/bin/sh",
    };
    let script = format!(
        "#!{shell}\ncase \" $* \" in *\" --dry-run \"*) exit 1;; esac\nprintf '%s\\n' \"$*\" >> '{}'\nwhile [ $# -gt 0 ]; do [ \"$1\" = --out ] && out=$2; shift; done\n{body}\n",
        arguments.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// How the stand-in was called.
pub fn arguments(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("arguments")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}
