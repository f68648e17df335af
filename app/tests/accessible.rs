//! What a screen reader is told of each view: every control has a name, and those that are on or off say which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use app::address::Place;
use app::shell::{App, Options};
use common::{
    click, facts, options, places, press, root, run, wait, wait_for, wait_for_part, window, window_at,
};
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{By, NodeT as _, Queryable as _};

/// Roles of things that a person works with.
const CONTROLS: [Role; 12] = [
    Role::Button,
    Role::CheckBox,
    Role::RadioButton,
    Role::ComboBox,
    Role::TextInput,
    Role::MultilineTextInput,
    Role::SearchInput,
    Role::Slider,
    Role::SpinButton,
    Role::Link,
    Role::Tab,
    Role::MenuItem,
];

/// The controls of a window that have no name, by role and place.
fn nameless(window: &Harness<'static, App>) -> Vec<String> {
    let is_control = |node: &egui_kittest::kittest::AccessKitNode<'_>| CONTROLS.contains(&node.role());
    let found = window.query_all(By::new().predicate(is_control));
    let without = found.filter(|node| {
        let node = node.accesskit_node();
        let named = |text: Option<String>| text.is_some_and(|text| !text.trim().is_empty());
        !named(node.label()) && !named(node.value())
    });
    without.map(|node| format!("{:?} at {:?}", node.accesskit_node().role(), node.rect())).collect()
}

/// Boxes to be ticked that do not say whether they are.
fn without_state(window: &Harness<'static, App>) -> Vec<String> {
    let found = window.query_all(By::new().role(Role::CheckBox));
    let without = found.filter(|node| node.accesskit_node().toggled().is_none());
    without.map(|node| format!("{:?} at {:?}", node.accesskit_node().label(), node.rect())).collect()
}

#[test]
fn every_control_of_every_view_has_a_name_and_a_state() {
    let mut failures = Vec::new();
    let mut windows: Vec<_> =
        places(&root()).into_iter().map(|place| (place.to_string(), window_at(Some(place)))).collect();
    let (heads, circuits) = (common::heads_root(), fixtures::circuits().to_owned());
    let of_heads = Place::Feature { run: heads.join("topk"), feature: facts::of_heads() };
    let graph = Place::Graph { graph: circuits.join("graph") };
    for (folder, place) in [(heads, of_heads), (circuits, graph)] {
        let name = place.to_string();
        windows.push((name, window(Options { folder: Some(folder), place: Some(place), ..options() })));
    }
    for (name, mut window) in windows {
        // More than the frame of the window: the view itself is there, and nothing is on its way.
        wait(&mut window, &name, |w| w.query_all(By::new().role(Role::Button)).count() > 8);
        for _ in 0..40 {
            window.step();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        failures.extend(nameless(&window).into_iter().map(|what| format!("{name}: {what} has no name")));
        failures
            .extend(without_state(&window).into_iter().map(|what| format!("{name}: {what} has no state")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_unfolded_has_names_too() {
    let feature = facts::explained().feature;
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run topk");
    click(&mut window, "Train");
    wait_for(&mut window, "Start training");
    let mut failures = nameless(&window);
    // The columns of the table, its groups, and the fields of commands.
    click(&mut window, "group by model · hook · data");
    wait_for_part(&mut window, "Fold group ");
    click(&mut window, "Columns");
    wait_for(&mut window, "As the room allows");
    failures.extend(nameless(&window));
    failures.extend(without_state(&window));
    window.key_press(egui::Key::Escape);
    window.run_steps(3);
    for (fields, button) in [("Export for other programs", "Export"), ("Probe labelled prompts", "Probe")] {
        press(&mut window, fields);
        wait_for(&mut window, button);
    }
    failures.extend(nameless(&window));
    let place = Place::Graph { graph: fixtures::circuits().join("graph") };
    let folder = Some(fixtures::circuits().to_owned());
    let mut window = common::window(Options { folder, place: Some(place), ..options() });
    press(&mut window, "Trace another text…");
    wait_for(&mut window, "target");
    failures.extend(nameless(&window));
    let root = fixtures::graphs();
    let place = Place::Graph { graph: root.join("graph") };
    let folder = Some(root.to_owned());
    let mut window = common::window(Options { folder, place: Some(place), ..options() });
    press(&mut window, "Compare with…");
    press(&mut window, "Compare with owner");
    wait_for(&mut window, "Export");
    failures.extend(nameless(&window));
    failures.extend(without_state(&window));
    let mut window = window_at(Some(Place::Claim { run: run(), feature }));
    // When the claim is tested its lines are other ones.
    wait_for_part(&mut window, "held-back documents, ");
    let is_line = |label: String| label.contains("activation");
    wait(&mut window, "lines", |w| {
        w.query_all_by_role(Role::Row).any(|row| row.accesskit_node().label().is_some_and(is_line))
    });
    let of_line = |row: &egui_kittest::Node<'_>| {
        row.accesskit_node().label().is_some_and(|label| label.contains("activation"))
    };
    let line = window.query_all_by_role(Role::Row).find(of_line).unwrap().accesskit_node().label().unwrap();
    click(&mut window, &line);
    press(&mut window, "Change it here");
    wait_for(&mut window, "KL, nats/token");
    failures.extend(nameless(&window));
    failures.extend(without_state(&window));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
