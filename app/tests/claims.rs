//! A claim about a feature in the window: made, tested, looked at, kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::path::Path;

use app::address::Place;
use app::shell::{App, Options};
use common::{
    click, data, facts, finish_reading, options, own_run, press, root, run, wait, wait_for, wait_for_part,
    window, window_at,
};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use storage::Run;

fn at(folder: &Path, run: &Path, feature: u32) -> Harness<'static, App> {
    let place = Place::Claim { run: run.to_owned(), feature };
    window(Options { folder: Some(folder.to_owned()), place: Some(place), ..options() })
}

/// Where `feature` of the sample fires, and where `token` stands: (document, position), counted from the files.
fn fires(feature: u32) -> HashSet<(u32, u32)> {
    let table = Run::open(&run()).unwrap().activations().unwrap().unwrap();
    let all = storage::feature_activations::read(&table, feature).unwrap();
    all.into_iter().map(|row| (row.document, row.position)).collect()
}

fn stands(token: &str) -> HashSet<(u32, u32)> {
    let vocabulary = facts::vocabulary();
    let documents = storage::documents::read(
        &storage::Dataset::open(&data()).unwrap().table(storage::schema::DOCUMENTS).unwrap(),
    )
    .unwrap();
    let mut found = HashSet::new();
    for document in 0..documents.len() as u32 {
        for (id, position) in facts::tokens_of(&data(), document).into_iter().zip(0..) {
            if vocabulary[id as usize] == token {
                found.insert((document, position));
            }
        }
    }
    found
}

/// The numbers after the signs of hits, misses and false alarms in the bar of the list.
fn counts(window: &Harness<'static, App>) -> Option<[u64; 3]> {
    let of = |name: &str| {
        let node = window.query_all_by_label_contains(name).find_map(|node| node.accesskit_node().label())?;
        let digits: String =
            node.rsplit(' ').take_while(|part| part.chars().all(|c| c.is_ascii_digit())).collect();
        digits.parse().ok()
    };
    Some([of("✓ hits ")?, of("○ misses ")?, of("× false alarms ")?])
}

/// Types a rule in place of the one that is there.
fn claim(window: &mut Harness<'static, App>, rule: &str) {
    wait_for(window, "Rule of the claim");
    wait(window, "a first rule", |w| {
        w.get_by_label("Rule of the claim").accesskit_node().value().is_some_and(|value| !value.is_empty())
    });
    window.get_by_label("Rule of the claim").focus();
    window.run_steps(2);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    window.get_by_label("Rule of the claim").type_text(rule);
    window.run_steps(2);
    // Until then the scores are those of the rule before.
    finish_reading(window);
}

#[test]
fn a_claim_is_counted_over_every_activation_in_the_data() {
    let facts::Explained { feature, token, .. } = facts::explained();
    let (fired, there) = (fires(*feature), stands(token));
    let mut window = at(&root(), &run(), *feature);
    claim(&mut window, &format!("token {}", sae::explain::claims::quoted(token)));
    wait_for_part(&mut window, "held-back documents, ");
    wait(&mut window, "the counts", |w| counts(w).is_some());
    let shown = counts(&window).unwrap();
    click(&mut window, "held-back documents");
    wait(&mut window, "the counts of the other half", |w| counts(w).is_some_and(|other| other != shown));
    let other = counts(&window).unwrap();
    let all: Vec<u64> = shown.iter().zip(other).map(|(a, b)| a + b).collect();
    let expected = [
        fired.intersection(&there).count(),
        fired.difference(&there).count(),
        there.difference(&fired).count(),
    ];
    assert_eq!(all, expected.map(|n| n as u64), "hits, misses and false alarms of both halves");
    wait_for(&mut window, "looked at");
}

#[test]
fn the_rule_is_edited_by_chips_and_what_is_no_rule_is_said() {
    let feature = facts::explained().feature;
    let mut window = at(&root(), &run(), feature);
    claim(&mut window, "token /a/ and position 0-900");
    wait_for(&mut window, "Condition: at positions 0 to 900");
    click(&mut window, "and: change to or");
    let rule = |w: &Harness<'static, App>| w.get_by_label("Rule of the claim").accesskit_node().value();
    assert_eq!(rule(&window).unwrap(), "token /a/ or position 0-900");
    click(&mut window, "Remove on tokens with /a/");
    assert_eq!(rule(&window).unwrap(), "position 0-900");
    claim(&mut window, "token /a/ and");
    wait_for_part(&mut window, "the rule ends, expected a condition");
    claim(&mut window, "token nosuchtokenatall");
    wait_for_part(&mut window, "o token reads nosuchtokenatall");
}

#[test]
fn a_kept_claim_is_in_the_run_and_can_be_withdrawn() {
    let (folder, run) = own_run();
    let feature = facts::explained().feature;
    let mut window = at(&folder.path(), &run, feature);
    claim(&mut window, "position 0-3");
    wait(&mut window, "the counts", |w| counts(w).is_some());
    wait(&mut window, "Keep", |w| !w.get_by_label("Keep").accesskit_node().is_disabled());
    click(&mut window, "Keep");
    click(&mut window, "Keep claim");
    wait_for(&mut window, "Kept claim: at positions 0 to 3");
    let kept = storage::claims::read(&run).unwrap();
    assert_eq!((kept.len(), kept[0].feature, kept[0].rule.as_str()), (1, feature, "position 0-3"));
    assert!(!kept[0].looked && kept[0].scores.is_some());
    click(&mut window, "Withdraw position 0-3");
    wait(&mut window, "no claim", |w| w.query_by_label("Kept claim: at positions 0 to 3").is_none());
    assert!(storage::claims::read(&run).unwrap()[0].withdrawn);
}

#[test]
fn the_claim_of_a_feature_is_one_click_from_its_page() {
    let feature = facts::explained().feature;
    let mut window = window_at(Some(Place::Feature { run: run(), feature }));
    wait_for_part(&mut window, "Examples");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Num5);
    wait_for(&mut window, &format!("Where does feature {feature} fire?"));
}

/// The library's own answer: the feature is ablated in the context in which the data has this place.
fn ablated(feature: u32, (document, position): (u32, u32)) -> (sae::prompt::Effect, f32) {
    let prompter = sae::prompt::Prompter::open(&run(), None, &sae::ModelChoice::OfTheData).unwrap();
    let tokens = facts::tokens_of(&data(), document);
    let begin = usize::from(prompter.model().config().bos_token_id.is_some());
    let room = storage::Dataset::open(&data()).unwrap().manifest().context_length - begin;
    let start = position as usize / room * room;
    let end = tokens.len().min(start + room).min(position as usize + 17);
    let reading = prompter.read_tokens(&tokens[start..end]).unwrap();
    let edit = sae::prompt::Edit::Ablate;
    let change = sae::prompt::Change { feature, edit, at: sae::prompt::Scope::Everywhere };
    let plan = prompter.plan(&reading, &[change]).unwrap();
    let effect = prompter.effect(&reading, &plan, (3, 0), &mut sae::Quiet).unwrap();
    (effect, reading.activations(feature)[position as usize - start])
}

#[test]
fn the_consequence_of_the_chosen_line_is_measured_in_its_own_context_and_kept() {
    let (folder, own) = own_run();
    let feature = facts::explained().feature;
    let mut window = at(&folder.path(), &own, feature);
    claim(&mut window, "position 0-3");
    wait(&mut window, "the counts", |w| counts(w).is_some());
    let strongest = |w: &Harness<'static, App>| {
        let rows = w.query_all_by_role(egui::accesskit::Role::Row);
        rows.filter(|row| row.accesskit_node().label().is_some_and(|l| l.contains("activation")))
            .map(|row| row.accesskit_node().label().unwrap())
            .next()
    };
    wait(&mut window, "lines", |w| strongest(w).is_some());
    // The list is sorted anew when the whole test is done.
    wait(&mut window, "rest", |w| w.state().idle());
    window.run_steps(3);
    let line = strongest(&window).unwrap();
    click(&mut window, &line);
    press(&mut window, "Change it here");
    wait_for(&mut window, "KL, nats/token");
    press(&mut window, "Add to claim");
    wait_for(&mut window, &format!("Remove: ablate {feature}"));
    click(&mut window, "Keep");
    click(&mut window, "Keep claim");
    wait_for(&mut window, "Kept claim: at positions 0 to 3");
    let kept = storage::claims::read(&own).unwrap();
    let [one] = &kept[0].interventions[..] else { panic!("{:?}", kept[0].interventions) };
    assert_eq!((one.change.as_str(), one.draws), (format!("ablate {feature}").as_str(), 3));
    let (expected, value) = ablated(feature, (one.document, one.position));
    assert!((one.kl - expected.after.mean_kl()).abs() < 1e-9, "{} {}", one.kl, expected.after.mean_kl());
    let control = expected.control_kl().unwrap();
    assert!((one.random_kl.unwrap()[0] - control.mean).abs() < 1e-9);
    assert!((one.loss.unwrap()[1] - expected.after.mean_loss().unwrap()).abs() < 1e-9);
    // What the model computes here is what the index holds.
    let table = Run::open(&own).unwrap().activations().unwrap().unwrap();
    let rows = storage::feature_activations::read(&table, feature).unwrap();
    let indexed =
        rows.iter().find(|row| (row.document, row.position) == (one.document, one.position)).unwrap();
    assert!(
        (indexed.value - value).abs() <= 0.02 * indexed.value,
        "{} in the index, {value} here",
        indexed.value
    );
}

#[test]
fn the_feature_is_looked_for_in_the_other_runs_by_direction_and_by_firing() {
    let feature = facts::explained().feature;
    let mut window = window_at(Some(Place::Claim { run: run(), feature }));
    press(&mut window, "The feature elsewhere");
    wait_for_part(&mut window, "Look for it in ");
    let button = window.get_by_label_contains("Look for it in ").accesskit_node().label().unwrap();
    press(&mut window, &button);
    let expected =
        sae::matching::elsewhere(&run(), feature, &root().join("variants/small"), 3, &mut sae::Quiet)
            .unwrap();
    let best = expected.counterparts.first().unwrap();
    wait_for(&mut window, &format!("Go to feature {} of variants/small", best.feature));
    wait_for_part(&mut window, &format!("{:.3}", best.cosine.unwrap()));
    press(&mut window, &format!("Go to feature {} of variants/small", best.feature));
    let there = Place::Feature { run: root().join("variants/small"), feature: best.feature };
    wait(&mut window, "the page there", |w| w.state().here() == Some(there.clone()));
}
