//! The experts of a dataset, one expert, and the way from and to features.

use app::address::Place;
use app::shell::Options;
use egui_kittest::kittest::Queryable as _;

use fixtures::damage;
use sae::experts::explain::{self, ExplainRoutersOptions};
use sae::experts::written::{self, WrittenOptions};

use super::common::{
    click, data, facts, finish_reading, options, press, root, run, wait, wait_for, wait_for_part, window,
};
use super::{Window, at, click_cell, copied, copy_by, expert, experts, token};

fn here(window: &Window, place: &Place) -> bool {
    window.state().here().as_ref() == Some(place)
}

#[test]
fn a_cell_of_the_load_opens_its_expert_and_the_way_back_is_found() {
    let mut window = at(experts());
    let map = "Expert load of 4 layers and 16 experts";
    wait_for(&mut window, map);
    click_cell(&mut window, map, 68.0, (4, 16), (1, 4));
    wait(&mut window, "expert 1:4", |w| here(w, &expert(1, 4)));
    wait_for(&mut window, "Expert 4 of layer 1");
    click(&mut window, "Back");
    wait(&mut window, "the experts", |w| here(w, &experts()));
}

#[test]
fn layers_are_stepped_through_with_the_keyboard() {
    let mut window = at(experts());
    wait_for(&mut window, "Load of the experts of layer 0");
    window.key_press(egui::Key::CloseBracket);
    wait_for(&mut window, "Load of the experts of layer 1");
    window.key_press(egui::Key::CloseBracket);
    wait_for(&mut window, "Load of the experts of layer 2");
    window.key_press(egui::Key::CloseBracket);
    wait_for(&mut window, "Load of the experts of layer 3");
    window.key_press(egui::Key::OpenBracket);
    wait_for(&mut window, "Load of the experts of layer 2");
}

#[test]
fn a_map_is_used_with_the_keyboard() {
    let mut window = at(experts());
    let map = "Expert load of 4 layers and 16 experts";
    wait_for(&mut window, map);
    window.get_by_label(map).focus();
    window.run_steps(2);
    for key in [egui::Key::ArrowDown, egui::Key::ArrowRight, egui::Key::ArrowRight] {
        window.key_press(key);
        window.step();
    }
    window.key_press(egui::Key::Enter);
    wait(&mut window, "expert 1:2", |w| here(w, &expert(1, 2)));
}

#[test]
fn numbers_of_a_layer_are_copied() {
    let mut window = at(experts());
    copy_by(&mut window, "Copy experts of layer 0 as CSV");
    let csv = copied(&mut window);
    assert!(csv.starts_with("expert,share,against uniform,tokens,mean weight,state\n"), "{csv}");
    assert_eq!(csv.lines().count(), 17);
    let total: u64 = csv.lines().skip(1).map(|l| l.split(',').nth(3).unwrap().parse::<u64>().unwrap()).sum();
    let tokens = facts::routing_of(&data()).len() as u64;
    assert_eq!(total, 2 * tokens, "two experts per token");
    wait_for(&mut window, "Copied 17 lines");
}

#[test]
fn every_page_of_the_experts_has_its_map() {
    let mut window = at(experts());
    wait_for(&mut window, "Co-activation");
    click(&mut window, "Co-activation");
    wait_for(&mut window, "Co-activation of 16 experts of layer 0");
    click(&mut window, "Show tokens");
    click(&mut window, "Transitions");
    wait_for(&mut window, "Transitions from layer 0 to layer 1");
    click_cell(&mut window, "Transitions from layer 0 to layer 1", 52.0, (16, 16), (2, 5));
    wait(&mut window, "expert 0:2", |w| here(w, &expert(0, 2)));
    click(&mut window, "Back");
    for _ in 0..3 {
        window.key_press(egui::Key::CloseBracket);
        window.run_steps(2);
    }
    wait_for(&mut window, "Nothing follows layer 3");
    window.key_press(egui::Key::OpenBracket);
    click(&mut window, "Domains");
    wait_for(&mut window, "Domains of the 16 experts of layer 2");
    click(&mut window, "specialised only");
    wait_for(&mut window, "code");
    click(&mut window, "Vocabulary");
    wait_for_part(&mut window, "to the favourite expert");
    copy_by(&mut window, "Copy experts and tokens as JSON");
    let json: serde_json::Value = serde_json::from_str(&copied(&mut window)).unwrap();
    assert!(json[0]["count"].as_u64().unwrap() <= json[0]["tokens"].as_u64().unwrap());
}

#[test]
fn two_checkpoints_are_compared() {
    let mut window = at(experts());
    wait_for(&mut window, "Compare");
    click(&mut window, "Compare");
    wait_for(&mut window, "Agreement of the routers, token by token");
    click(&mut window, "Compare with");
    window.run_steps(2);
    window.query_all_by_label("later").last().unwrap().click();
    wait_for(&mut window, "Load of layer 0 in two datasets");
    click(&mut window, "Show by load");
    wait_for(&mut window, "Layers of both");
}

#[test]
fn an_expert_says_what_it_is_for_and_shows_its_tokens() {
    let (layer, number, domain) = facts::specialised();
    let mut window = at(expert(layer, number));
    wait_for(&mut window, &format!("Expert {number} of layer {layer}"));
    wait_for_part(&mut window, &format!("{domain} · specialised"));
    // Its tokens come straight from the routing table.
    wait_for_part(&mut window, "Read on in document ");
    click(&mut window, "Show strongest");
    wait_for(&mut window, "These are the largest weights.");
    finish_reading(&mut window);
    let link = window.query_all_by_label_contains("Read on in document ").next().unwrap();
    link.click_accesskit();
    window.run_steps(3);
    let Some(Place::Token { document, token, .. }) = window.state().here() else {
        panic!("{:?}", window.state().here())
    };
    let chosen = &facts::routing_of(&data())[&(document, token)][&layer];
    assert!(
        chosen.iter().any(|(expert, _)| *expert == number),
        "the token that is read on from chose the expert"
    );
}

#[test]
fn the_next_expert_is_one_key_away_and_the_last_says_so() {
    let mut window = at(expert(1, 14));
    wait_for(&mut window, "Expert 14 of layer 1");
    window.key_press(egui::Key::N);
    wait(&mut window, "expert 15", |w| here(w, &expert(1, 15)));
    window.key_press(egui::Key::N);
    wait_for(&mut window, "This is the last expert of layer 1");
    window.key_press(egui::Key::P);
    wait(&mut window, "expert 14", |w| here(w, &expert(1, 14)));
}

#[test]
fn an_expert_that_nobody_chose_is_marked_dead_and_has_no_tokens() {
    // Of so few tokens some experts are chosen by none.
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("short");
    fixtures::short_data(&dataset);
    let load = facts::load_of(&dataset);
    let unused = load.iter().find(|row| row.domain.is_none() && row.tokens == 0).expect("an unused expert");
    let place = Some(Place::Expert { dataset, layer: unused.layer, expert: unused.expert });
    let mut window = window(Options { folder: Some(folder.path().into()), place, ..options() });
    wait_for(&mut window, "dead");
    wait_for(&mut window, "No token of this text chose it.");
}

#[test]
fn features_lead_to_experts_and_back() {
    let (number, layer, home) = facts::at_home();
    let feature = Place::Feature { run: run(), feature: number };
    let mut window = at(expert(layer, home));
    let link = format!("Go to feature {number}");
    press(&mut window, &link);
    wait(&mut window, "the feature", |w| here(w, &feature));
    wait_for(&mut window, "Weights");
    // The section lies below the fold, and grows when its table has been read.
    let back = format!("Go to expert {layer}:{home}");
    for _ in 0..20 {
        scroll_left(&mut window);
        if window.query_by_label(&back).is_some() {
            break;
        }
    }
    press(&mut window, &back);
    wait(&mut window, "the expert again", |w| here(w, &expert(layer, home)));
}

/// What the library finds of an expert is on its page; the feature that it names leads back to it.
#[test]
fn an_expert_says_what_sends_tokens_to_it_and_a_feature_whom_it_calls() {
    let folder = fixtures::copy(&root());
    let (dataset, run) = (folder.join("data"), folder.join("topk"));
    let routers = ExplainRoutersOptions { data: Some(dataset.clone()), ..ExplainRoutersOptions::default() };
    let found = explain::explain(&run, &routers, &mut sae::Quiet).unwrap();
    let outputs = WrittenOptions { model: sae::ModelChoice::default(), tokens: 500, rank: 3, seed: 0 };
    let wrote = written::written(&dataset, &outputs, &mut sae::Quiet).unwrap();
    let rows = found.layers.iter().flat_map(|layer| &layer.features);
    let sender = rows.max_by(|a, b| a.correlation.total_cmp(&b.correlation)).unwrap();
    let place = Place::Expert { dataset, layer: sender.layer, expert: sender.expert };
    let mut window = window(Options { folder: Some(folder.path()), place: Some(place.clone()), ..options() });
    wait_for_part(&mut window, &format!("Tokens come where these features fire: {} (", sender.feature));
    wait_for_part(&mut window, "On other documents all features predict ");
    scroll_to(&mut window, "What it writes");
    let first =
        wrote.rows.iter().find(|row| (row.layer, row.expert) == (sender.layer, sender.expert)).unwrap();
    assert!(window.query_all_by_label_contains(first.text.trim()).next().is_some(), "{first:?}");
    let link = format!("Go to feature {}", sender.feature);
    finish_reading(&mut window);
    window.query_all_by_label(&link).next().unwrap().click_accesskit();
    let feature = Place::Feature { run, feature: sender.feature };
    wait(&mut window, "the feature", |w| here(w, &feature));
    wait_for(&mut window, "Weights");
    scroll_to(&mut window, "Experts that it calls");
    let back = format!("Go to expert {}:{}", sender.layer, sender.expert);
    scroll_to(&mut window, &back);
    finish_reading(&mut window);
    window.query_all_by_label(&back).last().unwrap().click_accesskit();
    wait(&mut window, "the expert again", |w| here(w, &place));
}

/// Scrolls the left column until something of this name is there.
fn scroll_to(window: &mut Window, label: &str) {
    for _ in 0..20 {
        if window.query_all_by_label(label).next().is_some() {
            return;
        }
        scroll_left(window);
    }
    panic!("`{label}` is not on the page");
}

/// Scrolls the left column of a page down.
fn scroll_left(window: &mut Window) {
    window.hover_at(egui::pos2(400.0, 500.0));
    window.step();
    for _ in 0..24 {
        window.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: egui::vec2(0.0, -400.0),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Wheel,
            modifiers: egui::Modifiers::NONE,
        });
        window.step();
    }
    window.run_steps(12);
}

#[test]
fn experts_and_layers_that_are_not_there_are_named_with_those_that_are() {
    let mut window = at(expert(1, 99));
    wait_for(&mut window, "Layer 1 has no expert 99");
    wait_for(&mut window, "Its experts are 0 to 15.");
    let mut window = at(expert(9, 0));
    wait_for(&mut window, "Layer 9 has no experts");
    wait_for(&mut window, "The layers with experts are 0, 1, 2, 3.");
}

#[test]
fn a_dataset_without_routing_or_without_counts_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fixtures::data_without_routing(&dir.path().join("plain"));
    fixtures::uncounted_data(&dir.path().join("raw"));
    let open = |name: &str| {
        let place = Some(Place::Experts { dataset: dir.path().join(name) });
        window(Options { folder: Some(dir.path().into()), place, ..options() })
    };
    let mut plain = open("plain");
    wait_for_part(&mut plain, "has no routing table");
    wait_for_part(&mut plain, "sae harvest --routing");
    let mut raw = open("raw");
    wait_for_part(&mut raw, "has not been counted yet");
    wait_for(&mut raw, "Count experts");
    wait_for_part(&mut raw, "Copy command sae experts ");
}

#[test]
fn a_cut_table_takes_its_page_alone() {
    let folder = fixtures::copy(&root());
    let tables = folder.join("data/experts");
    damage::truncate(&tables.join("pairs.parquet"));
    damage::remove(&tables.join("transitions.parquet"));
    let place = Some(Place::Experts { dataset: folder.join("data") });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    wait_for(&mut window, "Expert load of 4 layers and 16 experts");
    click(&mut window, "Co-activation");
    wait_for_part(&mut window, "pairs.parquet");
    wait_for(&mut window, "Try again");
    click(&mut window, "Transitions");
    wait_for_part(&mut window, "transitions.parquet does not exist");
    wait_for_part(&mut window, "sae experts");
    click(&mut window, "Domains");
    wait_for(&mut window, "Domains of the 16 experts of layer 0");
}

#[test]
fn places_of_experts_and_tokens_are_typed_into_the_palette() {
    let mut window = at(experts());
    wait_for(&mut window, "Load of the experts of layer 0");
    for place in [expert(2, 1), token(3, 17)] {
        window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
        wait_for(&mut window, "Palette");
        window.get_by_label("Palette").type_text(&place.to_string());
        window.run_steps(2);
        window.key_press(egui::Key::Enter);
        wait(&mut window, "the place", |w| here(w, &place));
    }
}

#[test]
fn an_experts_token_is_tried_in_the_prompt_and_what_was_not_joined_is_no_failure() {
    let folder = fixtures::copy(&root());
    let run = folder.join("topk");
    damage::remove(&run.join("features/experts.parquet"));
    // The only run that could be asked.
    std::fs::remove_dir_all(folder.join("variants")).unwrap();
    let place = Some(Place::Expert { dataset: folder.join("data"), layer: 1, expert: 3 });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    wait_for(&mut window, "Join experts");
    wait_for_part(&mut window, "Copy command sae experts --features ");
    wait_for_part(&mut window, "Try the text of document ");
    finish_reading(&mut window);
    let link = window.query_all_by_label_contains("Try the text of document ").next().unwrap();
    link.click_accesskit();
    let prompt = Place::Prompt { run, feature: None };
    wait(&mut window, "the prompt", |w| here(w, &prompt));
}
