//! The window on a million features and a hundred million activations, in the real files, through the real views, without a display
//! and without a GPU: what a person waits for, and what a frame costs.
//!
//!     cargo bench --bench million -- --folder DIR        # makes DIR (about 4 GB) if it is not there, and keeps it
//!     cargo bench --bench million -- --features 20000    # smaller, in a folder that is removed
//!
//! The folder is made by a process of its own, so that the memory measured is the window's. Figures: docs/performance-window.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "a program for people who measure; it shares code with the tests"
)]

mod drive;
mod made;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use app::address::Place;
use drive::{Frames, SCREEN, Window, line};
use egui::{Key, Modifiers, Pos2, pos2};
use made::{MILLION, Made, Size};

fn main() {
    let mut folder: Option<PathBuf> = None;
    let mut size = MILLION;
    let mut make = false;
    if std::env::args().len() == 1 {
        // `cargo test --benches` starts every benchmark: three gigabytes are not written without being asked for.
        return println!("nothing measured: give --folder DIR or --features N, or start it by `cargo bench`");
    }
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--folder" => folder = Some(PathBuf::from(value())),
            "--features" => {
                let features: u32 = value().parse().expect("a number of features");
                size = Size { features, tokens: (u64::from(features) * 25 / 8) as u32 };
            }
            "--make" => make = true,
            // Cargo passes this to every benchmark.
            "--bench" => {}
            other => panic!("`{other}` is none of --folder DIR and --features N"),
        }
    }
    let kept = folder.clone();
    let temporary = kept.is_none().then(|| tempfile::tempdir().expect("a temporary folder"));
    let root = folder.unwrap_or_else(|| temporary.as_ref().expect("just made").path().join("run"));
    if make {
        return write(&root, size);
    }
    if !root.join(made::RUN).join("run.json").exists() {
        let program = std::env::current_exe().expect("this program");
        let mut maker = Command::new(program);
        maker.args(["--make", "--features", &size.features.to_string(), "--folder"]).arg(&root);
        assert!(maker.status().expect("the maker can be started").success(), "the folder could not be made");
    }
    measure(&root, size);
}

fn write(root: &Path, size: Size) {
    let start = Instant::now();
    let say = |what: String| eprintln!("{:6.1} s  {what}", start.elapsed().as_secs_f64());
    say(format!("making {} features, {} activations", size.features, size.tokens * made::ACTIVE));
    made::write(root, &Made::new(size), &say).expect("the folder can be written");
    say(format!("{} holds {:.2} GB", root.display(), bytes(root) as f64 / 1e9));
}

fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let size = |e: std::fs::DirEntry| {
        if e.path().is_dir() { bytes(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) }
    };
    entries.map(size).sum()
}

/// Forgets what the system has of these files in memory, as after a start of the machine. False where `dd` cannot do it.
fn forget(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).all(|path| {
        if path.is_dir() {
            return forget(&path);
        }
        let of = format!("of={}", path.display());
        let dd = Command::new("dd")
            .args([&of, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"])
            .status();
        dd.is_ok_and(|status| status.success())
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn measure(root: &Path, size: Size) {
    let made = Made::new(size);
    let run = root.join(made::RUN);
    println!(
        "{} features, {} activations, {:.2} GB, {} × {}",
        size.features,
        u64::from(size.tokens) * u64::from(made::ACTIVE),
        bytes(root) as f64 / 1e9,
        SCREEN.x,
        SCREEN.y
    );
    let shown = format!("{} features", app::widgets::format::grouped(u64::from(size.features)));
    // Nothing is explained, so the table begins with the densest features, of which 0 is one.
    let often = app::widgets::format::grouped(made.rows_of(0).len() as u64);
    let open = |what: &str| {
        let start = Instant::now();
        let mut window = Window::open(root, Some(Place::Features { run: run.clone() }));
        window.until("the table", |texts| {
            texts.contains(&shown) && texts.iter().filter(|text| **text == often).count() >= 3
        });
        line(&format!("table of features shown, {what}"), milliseconds(start.elapsed()), "ms", Some(1000.0));
        window.until("tokens in the table", |texts| !texts.iter().any(|t| t == "…"));
        line(&format!("… with its tokens, {what}"), milliseconds(start.elapsed()), "ms", None);
        window
    };
    if forget(root) {
        drop(open("files not in memory"));
    }
    let mut window = open("files in memory");
    window.settle();
    table(&mut window);
    palette(&mut window);
    pages(&mut window, &made);
    map(&mut window, &shown);
    document(&mut window, root);
    line("memory, at most", high_water(), "MB", Some(1500.0));
}

/// Most memory that the process had at once, in 10⁶ bytes.
fn high_water() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0 / 1e6)
}

fn table(window: &mut Window) {
    let middle = pos2(900.0, 600.0);
    window.point(middle);
    window.frame();
    let mut all = Frames::default();
    for lines in [-3.0, -40.0, 3.0, 300.0] {
        for _ in 0..150 {
            window.wheel(lines);
            all.take(window);
        }
    }
    all.report("scrolling the table");
    // A selected row, and pages.
    let mut all = Frames::default();
    for i in 0..200 {
        window.key(Modifiers::NONE, if i % 100 == 50 { Key::End } else { Key::PageDown });
        all.take(window);
    }
    all.report("turning its pages by key");
    let edge = window.find("Search features").expect("the search field").left();
    let mut all = Frames::default();
    drag(window, pos2(248.0, 500.0), 300, |i| pos2(330.0 + 120.0 * (i as f32 * 0.1).sin(), 500.0), &mut all);
    all.report("dragging the panel's edge");
    let now = window.find("Search features").expect("the search field").left();
    assert!((now - edge).abs() > 5.0, "the panel did not move: {edge} → {now}");
    // Brushing a histogram filters a million rows in the background while the table is still being drawn.
    let bars = window.find("Histogram of max").expect("the histogram of max");
    let at = |share: f32| pos2(bars.left() + share * bars.width(), bars.center().y);
    let mut all = Frames::default();
    drag(window, at(0.3), 200, |i| at(0.35 + 0.3 * i as f32 / 200.0), &mut all);
    all.report("brushing a histogram");
    let start = Instant::now();
    window.until("the filtered table", |texts| {
        texts.iter().any(|t| t.contains(" of 1 ") || t.contains(" of 20 "))
    });
    line("… until the table follows", milliseconds(start.elapsed()), "ms", None);
    window.click("Remove filter max");
    for (name, what) in [("Sort by max", "a number"), ("Sort by fires on", "a token")] {
        // From the top, where the rows change only when another order is there.
        window.key(Modifiers::NONE, Key::Home);
        window.settle();
        let before = window.look().to_vec();
        window.click(name);
        let took = window
            .until("another order", |texts| texts != before && !texts.is_empty() && ordered(&before, texts));
        line(&format!("sorting by {what}, until the table follows"), milliseconds(took), "ms", None);
    }
    window.click("Search features");
    let mut all = Frames::default();
    for letter in ["m", "i", "n", "k"] {
        window.write(letter);
        for _ in 0..20 {
            all.take(window);
        }
    }
    all.report("typing into the search");
    let start = Instant::now();
    window.until("what was searched", |texts| {
        texts.iter().any(|t| t.contains(" of 1 ") || t.contains(" of 20 "))
    });
    line("… until the table follows", milliseconds(start.elapsed()), "ms", None);
    window.click("Reset filter");
    window.settle();
}

/// Whether the numbers of the first rows are others than before.
fn ordered(before: &[String], now: &[String]) -> bool {
    let rows = |texts: &[String]| -> Vec<String> {
        texts
            .iter()
            .filter(|t| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit()))
            .take(12)
            .cloned()
            .collect()
    };
    rows(before) != rows(now)
}

/// Presses, moves over `steps` frames along `path`, lets go.
fn drag(window: &mut Window, from: Pos2, steps: usize, path: impl Fn(usize) -> Pos2, all: &mut Frames) {
    window.point(from);
    window.frame();
    window.button(from, true);
    window.frame();
    for i in 0..steps {
        window.point(path(i));
        all.take(window);
    }
    window.button(path(steps - 1), false);
    window.frame();
    window.frame();
}

/// Names of features are searched with every letter; nothing is found, so that all are looked at.
fn palette(window: &mut Window) {
    let mut all = Frames::default();
    window.key(Modifiers::COMMAND, Key::P);
    window.frame();
    window.frame();
    for letter in "quuxquuxquux".chars() {
        window.write(&letter.to_string());
        for _ in 0..5 {
            all.take(window);
        }
    }
    all.report("typing into the palette");
    window.key(Modifiers::NONE, Key::Escape);
    window.settle();
}

fn pages(window: &mut Window, made: &Made) {
    let mut times = Vec::new();
    let mut all = Frames::default();
    let mut turn = 0;
    while times.len() < 20 {
        turn += 1;
        let feature = (made::chance(turn, 777) * f64::from(made.size.features)) as u32;
        if feature < 1000 || made.rows_of(feature).is_empty() {
            continue;
        }
        let title = format!("Feature {feature}");
        window.go(&feature.to_string());
        times.push(milliseconds(
            window.until(&title, |texts| texts.contains(&title) && texts.iter().any(|t| t == "Strongest")),
        ));
        window.point(pos2(1200.0, 700.0));
        for _ in 0..10 {
            window.wheel(-3.0);
            all.take(window);
        }
    }
    times.sort_by(f64::total_cmp);
    line("a feature's page, median of 20", times[10], "ms", Some(100.0));
    line("a feature's page, slowest of 20", times[19], "ms", Some(100.0));
    all.report("reading pages of features");
}

fn map(window: &mut Window, shown: &str) {
    window.go("map of");
    let took = window.until("the map", |texts| texts.iter().any(|t| t.starts_with("coloured by")));
    line("the map shown", milliseconds(took), "ms", None);
    window.settle();
    let middle = window.find("Map of features").expect("the map").center();
    let mut all = Frames::default();
    for i in 0..150 {
        window.point(middle + 300.0 * egui::Vec2::angled(i as f32 * 0.07));
        all.take(window);
    }
    std::mem::take(&mut all).report("pointing at the map");
    drag(window, middle, 200, |i| middle + 250.0 * egui::Vec2::angled(i as f32 * 0.05), &mut all);
    std::mem::take(&mut all).report("dragging the map");
    window.point(middle);
    for i in 0..300 {
        window.wheel(if i < 150 { 2.0 } else { -2.0 });
        all.take(window);
    }
    all.report("zooming the map");
    // Back to the table, for those who come after.
    window.key(Modifiers::COMMAND, Key::Num2);
    window.until("the table", |texts| texts.iter().any(|t| t == shown));
}

fn document(window: &mut Window, root: &Path) {
    window.go(&format!("{}#document=0&token=5", root.join(made::DATASET).display()));
    let start = Instant::now();
    window.until("the text", |texts| {
        texts.iter().any(|t| t.starts_with("document 0 ·")) && !texts.iter().any(|t| t.starts_with("Reading"))
    });
    line("a token in a document, with its features and its row", milliseconds(start.elapsed()), "ms", None);
    window.settle();
    let mut all = Frames::default();
    let read = |window: &mut Window, all: &mut Frames| {
        window.point(pos2(1000.0, 700.0));
        for i in 0..200 {
            window.wheel(if i < 120 { -4.0 } else { 4.0 });
            all.take(window);
        }
    };
    read(window, &mut all);
    std::mem::take(&mut all).report("reading a document");
    window.click("Colour the text by feature");
    window.settle();
    read(window, &mut all);
    std::mem::take(&mut all).report("reading a coloured document");
    for i in 0..120 {
        if i % 4 == 0 {
            window.key(Modifiers::NONE, if i % 40 == 36 { Key::PageDown } else { Key::ArrowRight });
        }
        all.take(window);
    }
    all.report("stepping from token to token");
}
