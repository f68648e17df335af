//! Experts, documents and tokens in the window, on the text and the model inside the program: by the names of what is on the
//! screen, and in pictures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "../common/mod.rs"]
mod common;

mod documents;
mod experts;
mod looks;
mod models;
mod wide;

use app::address::Place;
use app::shell::{App, Options};
use common::{data, finish_reading, options, root, wait_for, window};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

type Window = Harness<'static, App>;

/// A window with the folder open at `place`.
fn at(place: Place) -> Window {
    window(Options { folder: Some(root()), place: Some(place), ..options() })
}

fn experts() -> Place {
    Place::Experts { dataset: data() }
}

fn expert(layer: u16, expert: u32) -> Place {
    Place::Expert { dataset: data(), layer, expert }
}

fn token(document: u32, token: u32) -> Place {
    Place::Token { dataset: data(), document, token }
}

/// Clicks what copies something, and leaves its frame to [`copied`].
fn copy_by(window: &mut Window, label: &str) {
    wait_for(window, label);
    finish_reading(window);
    window.get_by_label(label).click_accesskit();
    window.step();
}

/// Text that was put on the clipboard in the last frames.
fn copied(window: &mut Window) -> String {
    for _ in 0..6 {
        for command in &window.output().platform_output.commands {
            if let egui::OutputCommand::CopyText(text) = command {
                return text.clone();
            }
        }
        window.step();
    }
    panic!("nothing was copied");
}

/// Clicks the middle of cell (row, column) of the map of this name, whose names take `names` points at the left.
fn click_cell(window: &mut Window, label: &str, names: f32, size: (usize, usize), cell: (usize, usize)) {
    let rect = window.get_by_label(label).rect();
    let wide = (rect.width() - names) / size.1 as f32;
    let tall = (rect.height() - 18.0) / size.0 as f32;
    let place = rect.min + egui::vec2(names + wide * (cell.1 as f32 + 0.5), tall * (cell.0 as f32 + 0.5));
    press_at(window, place);
}

fn press_at(window: &mut Window, place: egui::Pos2) {
    window.hover_at(place);
    window.step();
    for pressed in [true, false] {
        window.event(egui::Event::PointerButton {
            pos: place,
            button: egui::PointerButton::Primary,
            pressed,
            modifiers: egui::Modifiers::NONE,
        });
        window.step();
    }
    window.run_steps(3);
}
