//! Texts, their tokens and what fires on them.

use app::address::Place;
use app::shell::Options;
use app::widgets::format;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use sae::prompt::Target;

use super::common::{click, data, options, press, root, run, wait, wait_for, wait_for_part, window};
use super::{TEXT, chosen, listed, prompt, prompter, read};

/// Features of a token by the size of `value`.
fn by(token: usize, codes: &sae::dictionary::Codes, value: &[f32]) -> Vec<u32> {
    let mut order: Vec<usize> = (codes.offsets[token]..codes.offsets[token + 1]).collect();
    order.sort_by(|&a, &b| value[b].abs().total_cmp(&value[a].abs()));
    order.into_iter().map(|i| codes.features[i]).collect()
}

#[test]
fn an_empty_prompt_says_what_to_do() {
    let mut window = prompt(None);
    wait_for_part(&mut window, "Type a text and press Enter");
    wait_for_part(&mut window, "Change a feature to see its effect");
    let model = storage::RunRecord::read(&run()).unwrap().model.id;
    let head = format!("{model} · {} · {} features", fixtures::HOOK, fixtures::FEATURES);
    assert!(window.query_by_label_contains(&head).is_some());
}

#[test]
fn a_tokens_features_are_those_of_the_library_in_every_order() {
    let mut window = chosen(3);
    let prompter = prompter();
    let reading = prompter.read(TEXT).unwrap();
    let wanted = by(3, &reading.codes, &reading.codes.values);
    wait(&mut window, "the features", |w| listed(w) == wanted);
    click(&mut window, "Features by share of maximum");
    let share = |i: usize| {
        let maximum = prompter.maximum(&reading, reading.codes.features[i]).unwrap();
        reading.codes.values[i] / maximum.value
    };
    let shares: Vec<f32> = (0..reading.codes.values.len()).map(share).collect();
    let by_share = by(3, &reading.codes, &shares);
    assert_ne!(by_share, wanted, "a test of nothing");
    wait(&mut window, "the order by share", |w| listed(w) == by_share);
    click(&mut window, "Features by effect on the loss");
    let loss = prompter.attribute(&reading, Target::Loss).unwrap();
    let by_loss = by(3, &reading.codes, &loss.effects);
    assert_ne!(by_loss, wanted, "a test of nothing");
    wait(&mut window, "the order by loss", |w| listed(w) == by_loss);
    click(&mut window, "Features by effect on a logit");
    // Until somebody says of which token, nothing passes for its effect.
    wait_for_part(&mut window, "Type a token above");
    window.get_by_label("Token whose logit is looked at").focus();
    window.run_steps(2);
    window.get_by_label("Token whose logit is looked at").type_text("#40");
    let logit = prompter.attribute(&reading, Target::Logit { token: 40, position: 3 }).unwrap();
    let by_logit = by(3, &reading.codes, &logit.effects);
    wait(&mut window, "the order by logit", |w| listed(w) == by_logit);
    // Where the features are, a token without any has a note.
    window.get_by_label("Token whose logit is looked at").type_text("9999999");
    wait_for_part(&mut window, "There is no token");
}

#[test]
fn a_feature_leads_to_its_page_and_shades_the_text() {
    let mut window = chosen(0);
    wait(&mut window, "the features", |w| !listed(w).is_empty());
    let feature = listed(&window)[0];
    click(&mut window, &format!("Shade by feature {feature}"));
    wait_for(&mut window, &format!("Shade by feature {feature}"));
    click(&mut window, &format!("Go to feature {feature}"));
    wait_for(&mut window, &format!("Feature {feature}"));
    // And back again, with the feature.
    wait_for(&mut window, "Try in prompt");
    click(&mut window, "Try in prompt");
    wait_for(&mut window, &format!("Remove the change of feature {feature}"));
}

#[test]
fn two_prompts_stand_side_by_side() {
    let mut window = prompt(None);
    read(&mut window, "Prompt", TEXT);
    click(&mut window, "Add a second prompt");
    read(&mut window, "Second prompt", "fn main() {");
    let left = window.get_by_role_and_label(egui::accesskit::Role::Document, TEXT).rect();
    let right = window.get_by_role_and_label(egui::accesskit::Role::Document, "fn main() {").rect();
    assert!(left.right() <= right.left() && (left.top() - right.top()).abs() < 1.0, "{left} {right}");
}

#[test]
fn a_text_that_is_too_long_is_refused_where_it_stands() {
    let mut window = prompt(None);
    wait_for(&mut window, "Prompt");
    let long = "the court ".repeat(3000);
    let field = || egui::accesskit::Role::MultilineTextInput;
    wait(&mut window, "the field", |w| w.query_by_role_and_label(field(), "Prompt").is_some());
    window.get_by_role_and_label(field(), "Prompt").focus();
    window.run_steps(2);
    window.get_by_role_and_label(field(), "Prompt").type_text(&long);
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    wait_for_part(&mut window, "at most");
}

#[test]
fn a_tokens_experts_are_those_of_the_library_and_lead_to_their_pages() {
    let mut window = chosen(3);
    let reading = prompter().read(TEXT).unwrap();
    let experts: Vec<(usize, u32, f32)> = reading
        .experts
        .iter()
        .flat_map(|layer| layer.of(3).map(|(expert, weight)| (layer.layer, expert, weight)))
        .collect();
    assert_eq!(experts.len(), 4 * 2, "four layers, two experts per token");
    for (layer, expert, weight) in &experts {
        wait_for(&mut window, &format!("Go to expert {layer}:{expert}"));
        let weight = format::value(f64::from(*weight));
        wait_for(&mut window, &format!("Weight of expert {layer}:{expert}: {weight}"));
    }
    let (layer, expert, _) = experts[0];
    press(&mut window, &format!("Go to expert {layer}:{expert}"));
    let place = Place::Expert { dataset: data(), layer: layer as u16, expert };
    wait(&mut window, "the expert", |w| w.state().here() == Some(place.clone()));
}

#[test]
fn experts_without_a_dataset_are_names() {
    let folder = fixtures::copy(&root());
    for dataset in ["data", "later"] {
        std::fs::remove_dir_all(folder.join(dataset)).unwrap();
    }
    // A run that is alone finds its dataset where its records say; here they say a place that is gone.
    let run = folder.join("topk");
    let gone = "/no/such/data".to_owned();
    storage::RunRecord { data: gone.clone(), ..storage::RunRecord::read(&run).unwrap() }.write(&run).unwrap();
    let features = run.join("features");
    let index = storage::IndexRecord::read(&features).unwrap().unwrap();
    storage::IndexRecord { data: gone, ..index }.write(&features).unwrap();
    let place = Some(Place::Prompt { run, feature: None });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    read(&mut window, "Prompt", TEXT);
    window.key_press(egui::Key::Escape);
    window.run_steps(2);
    window.key_press(egui::Key::ArrowRight);
    window.run_steps(2);
    wait_for_part(&mut window, "Weight of expert 0:");
    assert!(window.query_all_by_label_contains("Go to expert").next().is_none());
}

#[test]
fn features_stand_by_tokens_with_the_loss_under_each() {
    let window = &mut chosen(2);
    let reading = prompter().read(TEXT).unwrap();
    let strongest = |feature: u32| reading.maximum(feature).unwrap();
    let mut fired: Vec<u32> = reading.codes.features.clone();
    fired.sort_by(|a, b| strongest(*b).total_cmp(&strongest(*a)).then(a.cmp(b)));
    fired.dedup();
    let value = format::value(f64::from(strongest(fired[0])));
    let times = reading.activations(fired[0]).iter().filter(|value| **value > 0.0).count();
    let tokens = if times == 1 { "1 token".to_owned() } else { format!("{times} tokens") };
    let row = format!("Feature {} fires on {tokens}, most on ‹", fired[0]);
    wait_for_part(window, &row);
    let label = window.query_all_by_label_contains(&row).next().unwrap().accesskit_node().label().unwrap();
    assert!(label.ends_with(&value), "{label}, {value}");
    wait_for_part(window, "Features by tokens: ");
    wait_for(window, "loss");
    assert!(window.query_by_label("KL after it").is_none(), "nothing is changed");
    click(window, &format!("Change feature {} here", fired[0]));
    wait_for(window, "KL after it");
    wait_for(window, "loss, change");
}

#[test]
fn a_phrase_of_the_text_finds_the_features_that_fire_on_it() {
    let mut window = prompt(None);
    read(&mut window, "Prompt", TEXT);
    let prompter = prompter();
    let reading = prompter.read(TEXT).unwrap();
    wait_for_part(&mut window, "more features");
    window.get_by_label("Find among the features of the text").focus();
    window.run_steps(2);
    window.get_by_label("Find among the features of the text").type_text("COURT held");
    // The tokens that the phrase lies on, by the bytes of all.
    let texts: Vec<&str> = reading.tokens.iter().map(|token| prompter.token_text(*token)).collect();
    let start = texts.concat().find("court held").unwrap();
    let mut at = 0;
    let mut on = Vec::new();
    for (token, text) in texts.iter().enumerate() {
        let (from, to) = (at, at + text.len());
        at = to;
        if from < start + "court held".len() && to > start {
            on.push(token);
        }
    }
    let mut fire: Vec<u32> = on
        .iter()
        .flat_map(|token| {
            let codes = &reading.codes;
            codes.features[codes.offsets[*token]..codes.offsets[token + 1]].to_vec()
        })
        .collect();
    fire.sort_unstable();
    fire.dedup();
    assert!(on.len() > 1 && !fire.is_empty(), "a test of nothing");
    wait_for_part(&mut window, &format!("{} tokens found", on.len()));
    wait_for_part(&mut window, &format!("{} of ", fire.len()));
}
