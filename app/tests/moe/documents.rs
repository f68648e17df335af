//! Reading a dataset: documents, tokens, colours, search.

use app::address::Place;
use app::shell::Options;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use fixtures::damage;

use super::common::{
    click, data, facts, finish_reading, options, press, root, run, wait, wait_for, wait_for_part, window,
};
use super::{Window, at, copied, copy_by, expert, press_at, token};

fn document(document: u32) -> Place {
    Place::Dataset { dataset: data(), document: Some(document) }
}

/// Clicks at the beginning of the text in front.
fn click_text(window: &mut Window, part: &str) {
    let text =
        window.query_all_by_label_contains(part).max_by(|a, b| a.rect().area().total_cmp(&b.rect().area()));
    let place = text.unwrap().rect().left_top() + egui::vec2(6.0, 12.0);
    press_at(window, place);
}

fn here(window: &Window) -> Option<Place> {
    window.state().here()
}

#[test]
fn a_token_shows_its_features_experts_and_row() {
    let mut window = at(document(0));
    wait_for_part(&mut window, "Alice was beginning");
    wait_for(&mut window, "No token chosen");
    click_text(&mut window, "Alice was beginning");
    assert_eq!(here(&window), Some(token(0, 0)));
    let chosen = facts::routing_of(&data())[&(0, 0)].clone();
    let strongest = facts::codes_of(0, 0)[0];
    wait_for(&mut window, &format!("Go to feature {}", strongest.0));
    for (layer, experts) in &chosen {
        for (expert, _) in experts {
            wait_for(&mut window, &format!("Go to expert {layer}:{expert}"));
        }
    }
    wait_for(&mut window, "norm");
    wait_for_part(&mut window, "Values by dimension: 128 values");
    copy_by(&mut window, "Copy this token as JSON");
    let json: serde_json::Value = serde_json::from_str(&copied(&mut window)).unwrap();
    assert_eq!(json["features"][0]["feature"], strongest.0);
    assert_eq!(
        json["routing"][1]["experts"],
        serde_json::json!(chosen[&1].iter().map(|(expert, _)| expert).collect::<Vec<_>>())
    );
    assert_eq!(json["activation"].as_array().unwrap().len(), 128);
    let first = chosen[&0][0].0;
    click(&mut window, &format!("Go to expert 0:{first}"));
    wait(&mut window, "the expert", |w| here(w) == Some(expert(0, first)));
}

#[test]
fn tokens_are_stepped_through_and_the_way_back_leads_out_of_the_text() {
    let mut window = at(document(3));
    wait_for_part(&mut window, "fn merge");
    window.key_press(egui::Key::ArrowRight);
    wait(&mut window, "the first token", |w| here(w) == Some(token(3, 0)));
    for _ in 0..5 {
        window.key_press(egui::Key::ArrowRight);
        window.run_steps(2);
    }
    assert_eq!(here(&window), Some(token(3, 5)));
    window.key_press(egui::Key::ArrowLeft);
    wait(&mut window, "token 4", |w| here(w) == Some(token(3, 4)));
    click(&mut window, "Back");
    wait(&mut window, "the document", |w| here(w) == Some(document(3)));
    click(&mut window, "Forward");
    wait(&mut window, "token 4 again", |w| here(w) == Some(token(3, 4)));
    window.key_press(egui::Key::Escape);
    wait(&mut window, "no token", |w| here(w) == Some(document(3)));
    window.key_press(egui::Key::CloseBracket);
    wait(&mut window, "the next document", |w| here(w) == Some(document(4)));
}

#[test]
fn text_is_coloured_by_experts_and_by_features() {
    let mut window = at(token(3, 10));
    wait_for_part(&mut window, "fn merge");
    wait(&mut window, "the routing", |w| {
        w.query_by_label("Colour by experts").is_some_and(|n| !n.accesskit_node().is_disabled())
    });
    click(&mut window, "Colour by experts");
    wait_for(&mut window, "Layer of the colours");
    click(&mut window, "Layer of the colours");
    window.run_steps(2);
    window.query_all_by_label("layer 1").last().unwrap().click();
    // The token's own expert is among those of the text.
    let first = facts::routing_of(&data())[&(3, 10)][&1][0].0;
    wait_for(&mut window, &format!("Expert 1:{first} alone"));
    click(&mut window, &format!("Expert 1:{first} alone"));
    press(&mut window, &format!("Open expert 1:{first}"));
    wait(&mut window, "the expert", |w| here(w) == Some(expert(1, first)));
    click(&mut window, "Back");
    let feature = facts::codes_of(3, 10)[0].0;
    let colour = format!("Colour the text by feature {feature}");
    wait_for(&mut window, &colour);
    click(&mut window, &colour);
    let remove = format!("Remove colour of feature {feature}");
    wait_for(&mut window, &remove);
    let more = [(feature + 1) % fixtures::FEATURES, (feature + 2) % fixtures::FEATURES];
    window.get_by_label("Add a feature to the colours").focus();
    window.run_steps(2);
    window.get_by_label("Add a feature to the colours").type_text(&more.map(|f| f.to_string()).join(", "));
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    wait_for(&mut window, &format!("Remove colour of feature {}", more[1]));
    click(&mut window, &remove);
    window.run_steps(2);
    assert!(window.query_by_label(&remove).is_none());
}

#[test]
fn a_phrase_is_found_and_gone_to() {
    let mut window = at(document(0));
    wait_for_part(&mut window, "Alice was beginning");
    window.key_press(egui::Key::Slash);
    wait(&mut window, "the field", |w| w.query_by_label("Find in the text").is_some_and(|n| n.is_focused()));
    window.get_by_label("Find in the text").type_text("DEEP FOREST");
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    wait_for_part(&mut window, "2 matches for");
    finish_reading(&mut window);
    let place = window.query_all_by_label_contains("Place in document 1, position ").next().unwrap();
    place.click();
    window.run_steps(3);
    let Some(Place::Token { document: 1, token, .. }) = here(&window) else { panic!("{:?}", here(&window)) };
    let rest: String = facts::words_of(1)[token as usize..].concat();
    assert!(rest.trim_start().starts_with("deep forest"), "{}", &rest[..40]);
    // A whole token, which has its space.
    click(&mut window, "whole token");
    let field = window.get_by_label("Find in the text");
    field.focus();
    window.run_steps(2);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    window.get_by_label("Find in the text").type_text("quuxforest");
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    wait_for_part(&mut window, "No token of the vocabulary reads");
}

#[test]
fn documents_are_narrowed_by_name_and_mark() {
    let mut window = at(Place::Dataset { dataset: data(), document: None });
    wait_for(&mut window, "Document alice.txt");
    click(&mut window, "Only held-out documents");
    wait_for_part(&mut window, "2 of 6 documents");
    assert!(window.query_by_label("Document alice.txt").is_none());
    click(&mut window, "Only held-out documents");
    wait_for_part(&mut window, "6 documents");
    window.get_by_label("Filter documents").focus();
    window.run_steps(2);
    window.get_by_label("Filter documents").type_text("merge");
    wait_for_part(&mut window, "1 of 6 documents");
    click(&mut window, "Document merge.rs");
    wait_for_part(&mut window, "fn merge");
}

#[test]
fn tokens_and_documents_that_are_not_there_are_said_so() {
    let mut window = at(token(0, 99_999));
    wait_for(&mut window, "Document 0 has no token 99999.");
    let mut window = at(document(77));
    wait_for(&mut window, "There is no document 77");
    wait_for(&mut window, "Its documents are 0 to 5.");
}

#[test]
fn what_is_missing_or_damaged_is_said_where_it_would_be() {
    let folder = fixtures::copy(&root());
    // Two indexes of an older version, and a routing table that was overwritten in its middle.
    for run in ["topk", "variants/small"] {
        damage::remove(&folder.join(run).join("features/codes-00000.parquet"));
    }
    damage::overwrite(&folder.join("data/routing-00000.parquet"), 0.75);
    let place = Place::Token { dataset: folder.join("data"), document: 0, token: 3 };
    let mut window = window(Options { folder: Some(folder.path()), place: Some(place), ..options() });
    wait_for_part(&mut window, "Alice was beginning");
    wait_for_part(&mut window, "no table of features by token");
    wait_for_part(&mut window, "routing-00000.parquet");
    wait_for_part(&mut window, "Values by dimension");
}

#[test]
fn a_dataset_of_routing_alone_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("routing");
    fixtures::routing_alone(&dataset);
    let chosen = facts::routing_of(&dataset)[&(3, 2)][&2][0].0;
    let place = Place::Token { dataset, document: 3, token: 2 };
    let mut window = window(Options { folder: Some(dir.path().into()), place: Some(place), ..options() });
    wait_for_part(&mut window, "fn merge");
    wait_for(&mut window, &format!("Go to expert 2:{chosen}"));
    wait_for_part(&mut window, "holds the routing alone");
}

#[test]
fn a_token_leads_to_the_prompt() {
    let mut window = at(token(3, 4));
    wait_for(&mut window, "Try the text up to this token in the prompt");
    click(&mut window, "Try the text up to this token in the prompt");
    let text: String = facts::words_of(3)[..=4].concat();
    wait(&mut window, "the text's tokens", |w| {
        w.query_all_by_role(egui::accesskit::Role::Document)
            .any(|node| node.accesskit_node().label().is_some_and(|label| label.trim() == text.trim()))
    });
    let Some(Place::Prompt { run: of, feature: None }) = here(&window) else { panic!("{:?}", here(&window)) };
    assert_eq!(of, run());
}
