//! A soak: the window is used for long over a folder that changes meanwhile. It must not grow, must not freeze and must come back to
//! what the folder holds. `SAE_SOAK=MINUTES` for the long form; its figures are in docs/reliability.md.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use app::address::Place;
use app::shell::{App, Options};
use common::{options, root, wait, wait_for, window};
use cpu_time::ThreadTime;
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

/// Turns of the short form.
const TURNS: usize = 60;

/// How many steps took how long, in tenths of milliseconds: as small after hours as after seconds.
#[derive(Default)]
struct Steps(BTreeMap<u128, u64>);

impl Steps {
    fn add(&mut self, time: Duration) {
        *self.0.entry(time.as_micros() / 100).or_default() += 1;
    }

    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The time in milliseconds that this share of the steps does not exceed.
    fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut before = 0;
        let found = self.0.iter().find(|(_, count)| {
            before += **count;
            before >= wanted
        });
        found.map_or(f64::NAN, |(tenths, _)| (*tenths + 1) as f64 / 10.0)
    }
}

/// A window whose steps are timed.
struct Soak {
    window: Harness<'static, App>,
    /// By the clock, and in processor time of the window's thread, which other programs do not lengthen.
    steps: [Steps; 2],
}

impl Soak {
    fn step(&mut self) {
        let (start, worked) = (Instant::now(), ThreadTime::now());
        self.window.step();
        self.steps[0].add(start.elapsed());
        self.steps[1].add(worked.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }

    fn steps(&mut self, count: usize) {
        (0..count).for_each(|_| self.step());
    }

    /// Until nothing is being read, or for this many steps.
    fn rest(&mut self, most: usize) {
        for _ in 0..most {
            self.step();
            if self.window.state().idle() {
                break;
            }
        }
        self.steps(3);
    }

    fn key(&mut self, modifiers: Modifiers, key: Key) {
        self.window.key_press_modifiers(modifiers, key);
        self.step();
    }

    /// Opens a place by its address, as a person does who pastes one.
    fn open(&mut self, place: &Place) {
        self.key(Modifiers::COMMAND, Key::P);
        self.steps(2);
        if let Some(field) = self.window.query_by_label("Palette") {
            field.type_text(&place.to_string());
        }
        self.steps(2);
        self.key(Modifiers::NONE, Key::Enter);
        self.rest(60);
    }

    /// Wheel and keys over whatever is in front.
    fn look_around(&mut self, turn: usize) {
        let at = egui::pos2(500.0 + (turn % 5) as f32 * 150.0, 300.0 + (turn % 7) as f32 * 50.0);
        self.window.hover_at(at);
        for lines in [-3.0, -9.0, 2.0] {
            self.window.event(egui::Event::MouseWheel {
                unit: egui::MouseWheelUnit::Line,
                delta: egui::vec2(0.0, lines),
                phase: egui::TouchPhase::Move,
                source: egui::MouseWheelSource::Wheel,
                modifiers: Modifiers::NONE,
            });
            self.steps(3);
        }
        for key in [Key::N, Key::ArrowDown, Key::ArrowDown, Key::P][..turn % 5].iter().copied() {
            self.key(Modifiers::NONE, key);
        }
        self.rest(40);
    }
}

/// What happens to the folder in a turn: runs come, go, move and break, and all is as it was when eleven turns are over.
fn disturb(folder: &Path, turn: usize) {
    let (run, moved, more) = (folder.join("topk"), folder.join("moved"), folder.join("more"));
    let table = run.join("features/features.parquet");
    let aside = folder.with_extension("away");
    match turn % 11 {
        1 => drop(std::fs::rename(fixtures::copy(&folder.join("later")).path(), &more)),
        2 => std::fs::rename(&run, &moved).unwrap(),
        3 => std::fs::rename(&moved, &run).unwrap(),
        4 => fixtures::damage::truncate(&table),
        5 => drop(std::fs::copy(root().join("topk/features/features.parquet"), &table).unwrap()),
        6 => std::fs::rename(folder, &aside).unwrap(),
        7 => std::fs::rename(&aside, folder).unwrap(),
        8 if more.exists() => std::fs::remove_dir_all(&more).unwrap(),
        _ => {}
    }
}

/// Resident memory in 10⁶ bytes.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / 1e6
}

#[test]
fn a_window_over_a_changing_folder_neither_grows_nor_lies() {
    let minutes = std::env::var("SAE_SOAK").ok().map(|text| text.parse::<u64>().unwrap());
    let copied = fixtures::copy(&root());
    let folder = copied.path();
    // What the turns look at, one after the other.
    let places = common::places(&folder);
    let window = window(Options { folder: Some(folder.clone()), ..options() });
    let mut soak = Soak { window, steps: Default::default() };
    wait_for(&mut soak.window, "Run topk");

    let start = Instant::now();
    let more = |turn: usize| match minutes {
        Some(minutes) => start.elapsed() < Duration::from_secs(minutes * 60),
        None => turn < TURNS,
    };
    let mut memory = Vec::new();
    let mut turn = 0;
    // Twelve places and eleven disturbances: in the long form every place meets every disturbance.
    while more(turn) || turn % 11 != 0 {
        disturb(&folder, turn);
        soak.open(&places[turn * 5 % places.len()]);
        soak.look_around(turn);
        // As many tabs as a person has.
        if turn % 3 == 2 {
            soak.key(Modifiers::COMMAND, Key::W);
        }
        memory.push(resident());
        turn += 1;
    }

    let quarter = memory.len() / 4;
    let most = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let (first, last) = (most(&memory[..2 * quarter]), most(&memory[memory.len() - quarter..]));
    println!(
        "{turn} turns in {:.0} s; resident {first:.0} MB at most in the first half, {last:.0} MB in the last quarter",
        start.elapsed().as_secs_f64()
    );
    for (name, steps) in ["by the clock", "of processor time"].into_iter().zip(&soak.steps) {
        let [median, high, most] = [0.5, 0.999, 1.0].map(|share| steps.quantile(share));
        println!(
            "{} steps, {name}: {median:.1} ms in the median, {high:.1} ms at 99.9 %, {most:.1} ms at most",
            steps.count()
        );
    }
    assert!(last < first * 1.2 + 30.0, "the window grows: {first:.0} MB, then {last:.0} MB");
    // After all of it the window shows what is there.
    soak.open(&Place::Features { run: folder.join("topk") });
    wait(&mut soak.window, "rows of the table", |w| common::rows(w).len() > 3);
}
