//! How one comes to a prompt, and what is there when there is no model.

use app::address::{Address, Place};
use egui_kittest::kittest::Queryable as _;

use app::shell::Options;
use fixtures::damage;

use super::common::{click, example, facts, options, root, run, wait, wait_for, wait_for_part, window};
use super::{at, changed};

#[test]
fn an_address_a_key_and_the_palette_lead_there() {
    let run = run();
    let address = format!("{}#prompt", run.display());
    let place = Address::parse(&address).unwrap().place.unwrap();
    assert_eq!(place, Place::Prompt { run: run.clone(), feature: None });
    let mut window = at(place);
    wait_for_part(&mut window, "Type a text and press Enter");

    let mut window = at(Place::Features { run: run.clone() });
    wait_for_part(&mut window, "256 features");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Num4);
    wait_for_part(&mut window, "Type a text and press Enter");

    let mut window = at(Place::Curves { run });
    wait_for(&mut window, "Logarithmic FVE");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.run_steps(3);
    window.get_by_label("Palette").type_text("Prompt topk");
    window.run_steps(3);
    window.key_press(egui::Key::Enter);
    wait_for_part(&mut window, "Type a text and press Enter");
}

#[test]
fn an_example_can_be_tried() {
    let mut window = at(Place::Feature { run: run(), feature: changed() });
    wait_for(&mut window, "Strongest");
    let token = facts::explained().token.as_str();
    // The menu of the first example, right of the facts.
    example(&window, token).click_secondary();
    window.run_steps(4);
    click(&mut window, "Try this text in the prompt");
    wait_for(&mut window, &format!("Remove the change of feature {}", changed()));
    let role = egui::accesskit::Role::Document;
    wait(&mut window, "the tokens", |w| w.query_all_by_role(role).next().is_some());
    assert!(window.query_all_by_label_contains(token).next().is_some());
}

#[test]
fn the_tree_leads_there() {
    let mut window = at(Place::Runs);
    wait_for(&mut window, "Prompt of topk");
    click(&mut window, "Prompt of topk");
    wait_for_part(&mut window, "Type a text and press Enter");
}

#[test]
fn a_run_without_a_dictionary_says_so_and_the_window_goes_on() {
    let folder = fixtures::copy(&root());
    let small = folder.join("variants/small");
    for file in ["cfg.json", "sae_weights.safetensors"] {
        damage::remove(&small.join(file));
    }
    let place = Some(Place::Prompt { run: small, feature: None });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    wait_for(&mut window, "The model of this run cannot be loaded");
    wait_for_part(&mut window, "has no dictionary");
    assert!(window.query_by_label("Try again").is_some());
    click(&mut window, "Prompt of topk");
    wait_for_part(&mut window, "Type a text and press Enter");
}
