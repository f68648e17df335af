//! Commands that the window runs for a person: checks, exports, probes and graphs, with the real program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use app::address::Place;
use app::shell::{App, Options, SettingsFile};
use common::{finish_reading, options, own_run, press, program, wait, wait_for, wait_for_part, window};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

type Window = Harness<'static, App>;

/// A window that runs this program.
fn open(program: &Path, folder: &Path, place: Place) -> Window {
    let settings = tempfile::tempdir().unwrap().keep().join("window.json");
    std::fs::write(&settings, serde_json::json!({ "program": program }).to_string()).unwrap();
    let settings = SettingsFile::at(settings);
    window(Options { folder: Some(folder.to_owned()), place: Some(place), settings, ..options() })
}

fn type_into(window: &mut Window, field: &str, text: &str) {
    use egui::accesskit::Role::TextInput;
    wait_for(window, field);
    window.get_by_role_and_label(TextInput, field).focus();
    window.run_steps(2);
    window.get_by_role_and_label(TextInput, field).type_text(text);
    window.run_steps(3);
}

fn copied(window: &mut Window, button: &str) -> Option<String> {
    wait_for(window, button);
    finish_reading(window);
    window.get_by_label(button).click_accesskit();
    for _ in 0..8 {
        window.step();
        let commands = &window.output().platform_output.commands;
        let text = commands.iter().find_map(|command| match command {
            egui::OutputCommand::CopyText(text) => Some(text.clone()),
            _ => None,
        });
        if text.is_some() {
            return text;
        }
    }
    None
}

#[test]
fn a_run_is_checked_and_its_page_says_the_verdict() {
    let Some(program) = program("checks from the window") else { return };
    let (folder, run) = own_run();
    let told = Command::new(&program)
        .args(["check", "--json", "--quiet"])
        .arg(&run)
        .arg("--data")
        .arg(folder.join("data"))
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let verdict = told["verdict"].as_str().unwrap().to_owned();
    let mut window = open(&program, &folder.path(), Place::Curves { run: run.clone() });
    press(&mut window, "Check");
    wait_for(&mut window, "Dismiss Check topk");
    wait_for(&mut window, &verdict);
    wait_for(&mut window, "Check again");
    assert!(!run.join("check.json").exists(), "to look changes nothing");
}

#[test]
fn a_run_is_exported_and_the_path_is_on_the_clipboard() {
    let Some(program) = program("exports from the window") else { return };
    let (folder, run) = own_run();
    let mut window = open(&program, &folder.path(), Place::Curves { run });
    press(&mut window, "Export for other programs");
    press(&mut window, "Export");
    let button = "Copy path Export topk to html";
    let path = copied(&mut window, button).expect("a path on the clipboard");
    assert_eq!(PathBuf::from(&path), folder.join("topk-html"));
    assert!(folder.join("topk-html/index.html").exists());
    assert!(window.query_by_label(button).is_none());
}

#[test]
fn a_feature_is_exported_as_a_card() {
    let Some(program) = program("a card from the window") else { return };
    let (folder, run) = own_run();
    let feature = common::facts::explained().feature;
    let mut window = open(&program, &folder.path(), Place::Feature { run, feature });
    wait_for(&mut window, "Strongest");
    press(&mut window, "Export");
    press(&mut window, "Card as SVG");
    wait_for(&mut window, &format!("Copy path Export feature {feature} of topk"));
    let card = std::fs::read_to_string(folder.join(format!("topk-feature-{feature}.svg"))).unwrap();
    assert!(card.contains("<svg"));
}

#[test]
fn labelled_prompts_are_probed_and_shown() {
    let Some(program) = program("probes from the window") else { return };
    let (folder, run) = own_run();
    let sets = folder.join("reviews");
    std::fs::create_dir(&sets).unwrap();
    let mut lines = String::from("prompt,target\n");
    for i in 0..60 {
        let (what, target) = [("The license is granted", 1), ("The river runs through the forest", 0)][i % 2];
        lines += &format!("{what} number {i},{target}\n");
    }
    std::fs::write(sets.join("licences.csv"), lines).unwrap();
    let mut window = open(&program, &folder.path(), Place::Curves { run });
    press(&mut window, "Probe labelled prompts");
    wait_for(&mut window, "Enter the folder of labelled prompts.");
    type_into(&mut window, "labelled prompts", "reviews");
    press(&mut window, "Probe");
    wait_for(&mut window, "Show Probe into probes");
    press(&mut window, "Show Probe into probes");
    let place = Place::Probes { probes: folder.join("probes") };
    wait(&mut window, "the probes", |w| w.state().here() == Some(place.clone()));
    wait_for(&mut window, "Which features know it");
}

#[test]
fn a_folder_without_prompts_is_refused_in_words() {
    let Some(program) = program("refusals in the window") else { return };
    let (folder, run) = own_run();
    let mut window = open(&program, &folder.path(), Place::Curves { run });
    press(&mut window, "Probe labelled prompts");
    type_into(&mut window, "labelled prompts", "nowhere");
    press(&mut window, "Probe");
    wait_for(&mut window, "Dismiss Probe into probes");
    wait_for_part(&mut window, "nowhere");
}

#[test]
fn a_prediction_is_traced_and_its_graph_opened() {
    let Some(program) = program("graphs from the window") else { return };
    let folder = fixtures::copy(fixtures::circuits());
    let mut window = open(&program, &folder.path(), Place::Graph { graph: folder.join("graph") });
    wait_for_part(&mut window, "The license is granted to you");
    press(&mut window, "Trace another text…");
    wait_for(&mut window, "text");
    let text = window.get_by_role_and_label(egui::accesskit::Role::TextInput, "text");
    let text = text.accesskit_node().value();
    assert_eq!(text.as_deref(), Some("The license is granted to you"));
    finish_reading(&mut window);
    // In the tree, transcoders have a line of that name.
    let button = window.get_by_role_and_label(egui::accesskit::Role::Button, "Trace");
    button.click_accesskit();
    window.run_steps(3);
    wait_for(&mut window, "Show Trace into graph-2");
    press(&mut window, "Show Trace into graph-2");
    let place = Place::Graph { graph: folder.join("graph-2") };
    wait(&mut window, "the graph", |w| w.state().here() == Some(place.clone()));
    // A transcoder's page offers the same.
    let run = folder.join("transcoder-0");
    let mut window = open(&program, &folder.path(), Place::Curves { run });
    press(&mut window, "Trace a prediction");
    wait_for(&mut window, "Enter a text.");
    type_into(&mut window, "text", "It is so ordered");
    wait_for_part(&mut window, "Copy command sae trace --transcoders ");
}
