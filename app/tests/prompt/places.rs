//! How one comes to a prompt, and what is there when there is no model.

use app::address::{Address, Place};
use egui_kittest::kittest::Queryable as _;

use super::at;
use super::common::{click, prompted, wait, wait_for, wait_for_part};

#[test]
fn an_address_a_key_and_the_palette_lead_there() {
    let run = prompted::run();
    let address = format!("{}#prompt", run.display());
    let place = Address::parse(&address).unwrap().place.unwrap();
    assert_eq!(place, Place::Prompt { run: run.clone(), feature: None });
    let mut window = at(place);
    wait_for_part(&mut window, "Type a text and press Enter");

    let mut window = at(Place::Features { run: run.clone() });
    wait_for_part(&mut window, "96 features");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Num4);
    wait_for_part(&mut window, "Type a text and press Enter");

    let mut window = at(Place::Curves { run });
    wait_for(&mut window, "steer");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.run_steps(3);
    window.get_by_label("Palette").type_text("Prompt steer");
    window.run_steps(3);
    window.key_press(egui::Key::Enter);
    wait_for_part(&mut window, "Type a text and press Enter");
}

#[test]
fn an_example_can_be_tried() {
    let mut window = at(Place::Feature { run: prompted::run(), feature: 7 });
    wait_for(&mut window, "14.68");
    // The menu of the first example, right of the facts.
    let examples = window.query_all_by_label_contains(" forest").filter(|node| node.rect().left() > 500.0);
    let first = examples.min_by(|a, b| a.rect().top().total_cmp(&b.rect().top()));
    first.unwrap().click_secondary();
    window.run_steps(4);
    click(&mut window, "Try this text in the prompt");
    wait_for(&mut window, "Remove the change of feature 7");
    let role = egui::accesskit::Role::Document;
    wait(&mut window, "the tokens", |w| w.query_all_by_role(role).next().is_some());
    assert!(window.query_all_by_label_contains(" forest").next().is_some());
}

#[test]
fn the_tree_leads_there() {
    let mut window = at(Place::Runs);
    wait_for(&mut window, "Prompt of steer");
    click(&mut window, "Prompt of steer");
    wait_for_part(&mut window, "Type a text and press Enter");
}

#[test]
fn a_run_without_a_dictionary_says_so_and_the_window_goes_on() {
    let mut window = at(Place::Prompt { run: prompted::without_a_model(), feature: None });
    wait_for(&mut window, "The model of this run cannot be loaded");
    wait_for_part(&mut window, "has no dictionary");
    assert!(window.query_by_label("Try again").is_some());
    click(&mut window, "Prompt of steer");
    wait_for_part(&mut window, "Type a text and press Enter");
}
