//! Prompts in the window, with the model inside the program: by the names of what is on the screen and against the library's own
//! answers, and in pictures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "../common/mod.rs"]
mod common;

mod back;
mod changes;
mod explained;
mod looks;
mod places;
mod reading;

use app::address::Place;
use app::shell::{App, Options};
use common::{facts, options, root, run, wait, window};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use sae::ModelChoice;
use sae::prompt::Prompter;

type Window = Harness<'static, App>;

const TEXT: &str = "The court held that the";

/// A window with the prompt of the run open.
fn prompt(feature: Option<u32>) -> Window {
    at(Place::Prompt { run: run(), feature })
}

fn at(place: Place) -> Window {
    window(Options { folder: Some(root()), place: Some(place), ..options() })
}

/// The library's own answers, to compare with.
fn prompter() -> Prompter {
    Prompter::open(&run(), None, &ModelChoice::OfTheData).unwrap()
}

/// The feature whose changes are looked at.
fn changed() -> u32 {
    facts::explained().feature
}

/// Types `text` into the field of this name and presses Enter.
fn read(window: &mut Window, field: &str, text: &str) {
    let role = egui::accesskit::Role::MultilineTextInput;
    wait(window, field, |w| w.query_by_role_and_label(role, field).is_some());
    window.get_by_role_and_label(role, field).focus();
    window.run_steps(2);
    window.get_by_role_and_label(role, field).type_text(text);
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    window.run_steps(2);
    let tokens = text.to_owned();
    wait(window, "the tokens", |w| {
        w.query_all_by_role(egui::accesskit::Role::Document)
            .any(|node| node.accesskit_node().label().is_some_and(|label| label == tokens))
    });
}

/// A window that has read [`TEXT`], token `token` chosen with the keys.
fn chosen(token: usize) -> Window {
    let mut window = prompt(None);
    read(&mut window, "Prompt", TEXT);
    window.key_press(egui::Key::Escape);
    window.run_steps(2);
    for _ in 0..=token {
        window.key_press(egui::Key::ArrowRight);
        window.run_steps(2);
    }
    window.run_steps(2);
    window
}

/// The features of the token's list, from the top.
fn listed(window: &Window) -> Vec<u32> {
    common::numbered(window, "Go to feature ")
}

/// Where the slider of `feature`'s strength stands.
fn strength(window: &Window, feature: u32) -> f32 {
    let name = format!("Strength of feature {feature}");
    let slider = window.get_by_label(&name);
    slider.accesskit_node().numeric_value().unwrap() as f32
}

/// Presses the arrow key on the strength of `feature` so many times.
fn slide(window: &mut Window, feature: u32, keys: usize) {
    let name = format!("Strength of feature {feature}");
    window.get_by_label(&name).focus();
    window.run_steps(2);
    for _ in 0..keys {
        window.key_press(egui::Key::ArrowRight);
        window.run_steps(1);
    }
    window.run_steps(3);
}
