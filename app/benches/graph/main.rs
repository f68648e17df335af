//! What a frame of an attribution graph costs: hundreds of nodes and thousands of edges, of a text that the real pipeline traces through
//! transcoders of the embedded model, drawn by the real window without a display and without a GPU.
//!
//!     cargo bench --bench graph
//!     cargo test --bench graph -- --tokens 96      # the same in the dev profile; a text of so many words
//!
//! Figures: docs/performance-window.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "a program for people who measure; it shares code with the other benchmark"
)]

#[path = "../million/drive.rs"]
mod drive;

use std::path::Path;

use app::address::Place;
use drive::{Frames, SCREEN, Window};
use egui::{Pos2, Rect, pos2, vec2};
use sae::interop::dictionaries::open_path;
use sae::trace::Transcoders;

/// Words of the text.
const WORDS: usize = 96;

fn main() {
    let mut words = WORDS;
    if std::env::args().len() == 1 {
        // `cargo test --benches` starts every benchmark.
        return println!("nothing measured: give --tokens N, or start it by `cargo bench`");
    }
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--tokens" => words = args.next().and_then(|n| n.parse().ok()).expect("a number of words"),
            // Cargo passes this to every benchmark.
            "--bench" => {}
            other => panic!("`{other}` is not --tokens N"),
        }
    }
    let copy = fixtures::copy(fixtures::circuits());
    let root = copy.path();
    trace(&root, words);
    let record = storage::graph::Graph::read(&root.join("many")).expect("just traced");
    println!(
        "{} tokens, {} nodes, {} edges, {} of them kept by pruning, {} × {}",
        record.tokens.len(),
        record.nodes,
        record.edges,
        record.kept_edges,
        SCREEN.x,
        SCREEN.y
    );
    let mut window = Window::open(&root, Some(Place::Graph { graph: root.join("many") }));
    window.until("the graph", |texts| texts.iter().any(|text| text.starts_with("replacement")));
    show_all(&mut window);
    one(&mut window);
    two(&mut window);
}

/// A graph of a text of so many words, and one of half of it.
fn trace(root: &Path, words: usize) {
    let open = |name: &str| (root.join(name), open_path(&root.join(name)).expect("a transcoder"));
    let transcoders = Transcoders::new([open("transcoder-0"), open("transcoder-2")]).expect("two layers");
    let text: Vec<&str> = fixtures::TEXTS.iter().flat_map(|text| text.2.split_whitespace()).collect();
    for (name, words) in [("many", words), ("half", words / 2)] {
        let text = text[..words.min(text.len())].join(" ");
        fixtures::trace_text(&transcoders, &text, &root.join(name)).expect("a text that can be traced");
    }
}

/// The rail of the slider: its number and its text are at its right.
fn slider(window: &mut Window) -> Rect {
    let text = window.find_text("share of influence").expect("the slider's text");
    Rect::from_min_max(pos2(text.left() - 175.0, text.top()), pos2(text.left() - 60.0, text.bottom()))
}

/// Draws the slider to its end, so that every node is shown.
fn show_all(window: &mut Window) {
    let slider = slider(window);
    let (from, to) = (slider.center(), pos2(slider.right() + 20.0, slider.center().y));
    window.point(from);
    window.frame();
    window.button(from, true);
    window.frame();
    window.point(to);
    window.frame();
    window.button(to, false);
    window.settle();
    let shown = window.look().iter().find(|text| text.contains(" of ") && text.ends_with(" nodes")).cloned();
    println!("shown: {}", shown.unwrap_or_default());
}

/// The nodes that can be seen between `left` and `right`: those that are scrolled out lie under the tree and the panels.
fn nodes(window: &mut Window, prefix: &str, (left, right): (f32, f32)) -> Vec<Pos2> {
    let seen = Rect::from_min_max(pos2(left, 240.0), pos2(right, 600.0));
    let mut found: Vec<Pos2> = Vec::new();
    for (name, rect) in window.places() {
        if name.starts_with(prefix) && name.contains("· layer") && seen.contains(rect.center()) {
            found.push(rect.center());
        }
    }
    let all = window.names().iter().filter(|name| name.starts_with(prefix)).count();
    assert!(found.len() > 20, "of {all} nodes {} can be seen", found.len());
    found
}

fn one(window: &mut Window) {
    let nodes = nodes(window, "feature ", (400.0, 1500.0));
    let mut frames = Frames::default();
    for at in nodes.iter().cycle().step_by(3).take(300) {
        window.point(*at);
        frames.take(window);
    }
    frames.report("pointing at nodes");
    let mut frames = Frames::default();
    for at in nodes.iter().cycle().step_by(5).take(60) {
        window.point(*at);
        for pressed in [true, false] {
            window.button(*at, pressed);
            frames.take(window);
        }
        frames.take(window);
    }
    frames.report("choosing nodes");
    window.key(egui::Modifiers::NONE, egui::Key::Escape);
    window.point(nodes[0]);
    window.settle();
    let mut frames = Frames::default();
    for i in 0..240 {
        window.scroll(vec2(if i / 60 % 2 == 0 { 2.0 } else { -2.0 }, 0.0));
        frames.take(window);
    }
    frames.report("scrolling with a node lit");
    let slider = slider(window);
    let mut frames = Frames::default();
    let at = |i: usize| pos2(slider.left() + slider.width() * (i % 60) as f32 / 60.0, slider.center().y);
    window.point(at(0));
    frames.take(window);
    window.button(at(0), true);
    for i in 0..240 {
        window.point(at(i));
        frames.take(window);
    }
    window.button(at(59), false);
    window.frame();
    frames.report("moving the threshold");
}

fn two(window: &mut Window) {
    window.click("Compare with…");
    window.until("the menu", |texts| texts.iter().any(|text| text == "half"));
    window.click("Compare with half");
    window.key(egui::Modifiers::NONE, egui::Key::Escape);
    window.until("the edges", |texts| texts.iter().any(|text| text.starts_with("kept in both")));
    window.settle();
    let nodes = nodes(window, "A: feature ", (400.0, 880.0));
    let mut frames = Frames::default();
    for at in nodes.iter().cycle().take(120) {
        window.point(*at);
        frames.take(window);
    }
    frames.report("two graphs: pointing at nodes");
    let mut frames = Frames::default();
    window.point(pos2(SCREEN.x / 2.0, SCREEN.y - 120.0));
    for i in 0..240 {
        window.wheel(if i / 60 % 2 == 0 { -2.0 } else { 2.0 });
        frames.take(window);
    }
    frames.report("two graphs: scrolling the edges");
    let mut frames = Frames::default();
    for _ in 0..240 {
        window.key(egui::Modifiers::NONE, egui::Key::ArrowDown);
        frames.take(window);
    }
    frames.report("two graphs: from edge to edge");
}
