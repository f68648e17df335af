//! The experts of a dataset, one expert, and the way from and to features.

use app::address::Place;
use app::shell::Options;
use egui_kittest::kittest::Queryable as _;

use super::common::{click, options, routed, sample, wait, wait_for, wait_for_part, window};
use super::{Window, at, click_cell, copied, expert, experts, token};

fn here(window: &Window, place: &Place) -> bool {
    window.state().here().as_ref() == Some(place)
}

#[test]
fn a_cell_of_the_load_opens_its_expert_and_the_way_back_is_found() {
    let mut window = at(experts());
    let map = "Expert load of 3 layers and 8 experts";
    wait_for(&mut window, map);
    click_cell(&mut window, map, 68.0, (3, 8), (1, 4));
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
    window.key_press(egui::Key::OpenBracket);
    wait_for(&mut window, "Load of the experts of layer 1");
}

#[test]
fn a_map_is_used_with_the_keyboard() {
    let mut window = at(experts());
    let map = "Expert load of 3 layers and 8 experts";
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
    wait_for(&mut window, "Copy experts of layer 0 as CSV");
    window.get_by_label("Copy experts of layer 0 as CSV").click();
    window.step();
    let csv = copied(&mut window);
    assert!(csv.starts_with("expert,share,against uniform,tokens,mean weight,state\n"), "{csv}");
    assert_eq!(csv.lines().count(), 9);
    let total: u64 = csv.lines().skip(1).map(|l| l.split(',').nth(3).unwrap().parse::<u64>().unwrap()).sum();
    let text = sample::text();
    let tokens: usize = text.documents.iter().map(Vec::len).sum();
    assert_eq!(total, 2 * tokens as u64, "two experts a token");
    wait_for(&mut window, "Copied 9 lines");
}

#[test]
fn every_page_of_the_experts_has_its_map() {
    let mut window = at(experts());
    wait_for(&mut window, "Co-activation");
    click(&mut window, "Co-activation");
    wait_for(&mut window, "Co-activation of 8 experts of layer 0");
    click(&mut window, "Show tokens");
    click(&mut window, "Transitions");
    wait_for(&mut window, "Transitions from layer 0 to layer 1");
    click_cell(&mut window, "Transitions from layer 0 to layer 1", 52.0, (8, 8), (2, 5));
    wait(&mut window, "expert 0:2", |w| here(w, &expert(0, 2)));
    click(&mut window, "Back");
    for _ in 0..2 {
        window.key_press(egui::Key::CloseBracket);
        window.run_steps(2);
    }
    wait_for(&mut window, "Nothing follows layer 2");
    window.key_press(egui::Key::OpenBracket);
    click(&mut window, "Domains");
    wait_for(&mut window, "Domains of the 8 experts of layer 1");
    click(&mut window, "specialised only");
    wait_for(&mut window, "code");
    click(&mut window, "Vocabulary");
    wait_for_part(&mut window, "to the favourite expert");
    window.get_by_label("Copy experts and tokens as JSON").click_accesskit();
    window.step();
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
    let mut window = at(expert(1, routed::CODE));
    wait_for(&mut window, "Expert 3 of layer 1");
    wait_for_part(&mut window, "code · specialised");
    // Its tokens come straight from the routing table.
    wait_for_part(&mut window, "Read on in document 3 at");
    let examples = window.query_all_by_label_contains("Read on in document 3 at").count();
    assert!(examples > 0);
    click(&mut window, "Show strongest");
    wait_for(&mut window, "These are the largest weights.");
    let link = window.query_all_by_label_contains("Read on in document ").next().unwrap();
    link.click_accesskit();
    window.run_steps(3);
    let Some(Place::Token { document, token, .. }) = window.state().here() else {
        panic!("{:?}", window.state().here())
    };
    let tokens = routed::route(&sample::text(), 0);
    let there = tokens.iter().find(|t| t.document == document && t.position == token).unwrap();
    assert!(there.chosen[1].contains(&routed::CODE), "the token that is read on from chose the expert");
}

#[test]
fn the_next_expert_is_one_key_away_and_the_last_says_so() {
    let mut window = at(expert(1, 6));
    wait_for(&mut window, "Expert 6 of layer 1");
    window.key_press(egui::Key::N);
    wait(&mut window, "expert 7", |w| here(w, &expert(1, 7)));
    window.key_press(egui::Key::N);
    wait_for(&mut window, "This is the last expert of layer 1");
    window.key_press(egui::Key::P);
    wait(&mut window, "expert 6", |w| here(w, &expert(1, 6)));
}

#[test]
fn an_expert_that_nobody_chose_is_marked_dead_and_has_no_tokens() {
    let mut window = at(expert(2, routed::DEAD));
    wait_for(&mut window, "dead");
    wait_for(&mut window, "No token of this text chose it.");
}

#[test]
fn features_lead_to_experts_and_back() {
    let feature = Place::Feature { run: routed::run(), feature: routed::CODE_FEATURE };
    let mut window = at(expert(1, routed::CODE));
    wait_for(&mut window, "Go to feature 5");
    window.get_by_label("Go to feature 5").click_accesskit();
    wait(&mut window, "the feature", |w| here(w, &feature));
    wait_for(&mut window, "Weights");
    // The section lies below the fold, and grows when its table has been read.
    for _ in 0..20 {
        scroll_left(&mut window);
        if window.query_by_label("Go to expert 1:3").is_some() {
            break;
        }
    }
    window.get_by_label("Go to expert 1:3").click_accesskit();
    wait(&mut window, "the expert again", |w| here(w, &expert(1, routed::CODE)));
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
    window.get_by_label("Its experts are 0 to 7.");
    let mut window = at(expert(9, 0));
    wait_for(&mut window, "Layer 9 has no experts");
    window.get_by_label("The layers with experts are 0, 1, 2.");
}

#[test]
fn a_dataset_without_routing_or_without_counts_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let text = sample::text();
    routed::dataset(&dir.path().join("plain"), &text, None).unwrap();
    let tokens = routed::route(&text, 0);
    routed::dataset(&dir.path().join("raw"), &text, Some(&tokens)).unwrap();
    let open = |name: &str| {
        let place = Some(Place::Experts { dataset: dir.path().join(name) });
        window(Options { folder: Some(dir.path().into()), place, ..options() })
    };
    let mut plain = open("plain");
    wait_for_part(&mut plain, "has no routing table");
    plain.get_by_label_contains("sae harvest --routing");
    let mut raw = open("raw");
    wait_for_part(&mut raw, "has not been counted yet");
    raw.get_by_label_contains("sae experts");
}

#[test]
fn a_cut_table_takes_its_page_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("moe");
    routed::folder(&root).unwrap();
    let data = root.join("data");
    let cut = |name: &str| {
        let path = data.join("experts").join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    };
    cut("pairs.parquet");
    std::fs::remove_file(data.join("experts/transitions.parquet")).unwrap();
    let place = Some(Place::Experts { dataset: data.clone() });
    let mut window = window(Options { folder: Some(root), place, ..options() });
    wait_for(&mut window, "Expert load of 3 layers and 8 experts");
    click(&mut window, "Co-activation");
    wait_for_part(&mut window, "pairs.parquet");
    window.get_by_label("Try again");
    click(&mut window, "Transitions");
    wait_for_part(&mut window, "transitions.parquet does not exist");
    window.get_by_label_contains("sae experts");
    click(&mut window, "Domains");
    wait_for(&mut window, "Domains of the 8 experts of layer 0");
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
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("moe");
    routed::folder(&root).unwrap();
    let run = root.join("topk");
    std::fs::remove_file(run.join("features/experts.parquet")).unwrap();
    let place = Some(Place::Expert { dataset: root.join("data"), layer: 1, expert: routed::CODE });
    let mut window = window(Options { folder: Some(root), place, ..options() });
    wait_for_part(&mut window, "Not joined yet; run `sae experts --features topk`.");
    wait_for_part(&mut window, "Try the text of document ");
    let link = window.query_all_by_label_contains("Try the text of document ").next().unwrap();
    link.click_accesskit();
    let prompt = Place::Prompt { run, feature: None };
    wait(&mut window, "the prompt", |w| here(w, &prompt));
}
