//! Graphs of several texts next to each other in the window.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use app::address::Place;
use app::shell::{App, Options};
use app::widgets::format;
use common::pictures::Look;
use common::{click, finish_reading, options, press, wait, wait_for, wait_for_part, window};
use egui::accesskit::{Role, Toggled};
use egui::{Key, Theme};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use sae::trace::{Merged, merge};
use storage::graph::{self, GraphNodeRow};

type Window = Harness<'static, App>;

fn place(root: &Path) -> Place {
    Place::Graph { graph: root.join("graph") }
}

fn open(root: &Path) -> Window {
    window(Options { folder: Some(root.to_owned()), place: Some(place(root)), ..options() })
}

/// Ticks graphs in the menu.
fn compare(window: &mut Window, others: &[&str]) {
    press(window, "Compare with…");
    for other in others {
        let name = format!("Compare with {other}");
        click(window, &name);
        window.run_steps(3);
    }
    window.key_press(Key::Escape);
    window.run_steps(3);
    wait_for(window, "Export");
    finish_reading(window);
}

fn merged(root: &Path, names: &[&str]) -> Merged {
    let folders: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
    merge(&folders).unwrap()
}

fn nodes(graph: &Path) -> Vec<GraphNodeRow> {
    let table = storage::row::open::<GraphNodeRow>(&graph.join(graph::NODES)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

/// The edges on the screen, from the top.
fn rows(window: &Window) -> Vec<String> {
    let mut found: Vec<(f32, String)> = window
        .query_all_by_role(Role::Row)
        .filter_map(|row| Some((row.rect().top(), row.accesskit_node().label()?)))
        .filter(|(_, name)| name.starts_with("Edge "))
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|(_, name)| name).collect()
}

/// The edge that is chosen.
fn chosen(window: &Window) -> Option<String> {
    let on = |row: &egui_kittest::Node<'_>| row.accesskit_node().toggled() == Some(Toggled::True);
    window.query_all_by_role(Role::Row).find(on)?.accesskit_node().label()
}

fn row_of(edge: &sae::trace::MergedEdge) -> String {
    format!("Edge {} → {}", edge.source, edge.target)
}

#[test]
fn two_graphs_are_compared_edge_by_edge() {
    let root = fixtures::graphs();
    let mut window = open(root);
    compare(&mut window, &["owner"]);
    let merged = merged(root, &["graph", "owner"]);
    let count =
        |wanted: &dyn Fn(&sae::trace::MergedEdge) -> bool| merged.edges.iter().filter(|e| wanted(e)).count();
    let both = count(&|edge| edge.graphs == 2);
    let only = [0, 1].map(|graph| count(&|edge| edge.graphs == 1 && edge.weights[graph].is_some()));
    wait_for(&mut window, &format!("all {}", merged.edges.len()));
    wait_for(&mut window, &format!("kept in both {both}"));
    wait_for(&mut window, &format!("only in A {}", only[0]));
    wait_for(&mut window, &format!("only in B {}", only[1]));
    // The largest difference stands first.
    let mut by_difference: Vec<&sae::trace::MergedEdge> = merged.edges.iter().collect();
    let difference = |edge: &sae::trace::MergedEdge| (edge.whole(1) - edge.whole(0)).abs();
    by_difference.sort_by(|a, b| difference(b).total_cmp(&difference(a)));
    let shown = rows(&window);
    assert!(shown.len() > 3, "{shown:?}");
    assert_eq!(shown[..3], [0, 1, 2].map(|at| row_of(by_difference[at])));
    let first = by_difference[0];
    let signed = format!("{:+.3}", first.whole(1) - first.whole(0)).replace('-', "−");
    assert!(window.query_all_by_label(&signed).next().is_some(), "{signed}");
    click(&mut window, &format!("only in B {}", only[1]));
    finish_reading(&mut window);
    wait_for(&mut window, &format!("{} edges", only[1]));
    let in_b = |name: &String| {
        merged.edges.iter().any(|e| row_of(e) == *name && e.graphs == 1 && e.weights[1].is_some())
    };
    assert!(rows(&window).iter().all(in_b), "{:?}", rows(&window));
}

/// What is compared is part of the place: it stays when everything is read again, and can be copied.
#[test]
fn a_comparison_is_a_place() {
    let root = fixtures::graphs();
    let mut window = open(root);
    compare(&mut window, &["owner"]);
    let here = Place::Compared { graph: root.join("graph"), with: vec![root.join("owner")] };
    wait(&mut window, "the place of the comparison", |w| w.state().here() == Some(here.clone()));
    window.key_press(Key::F5);
    window.run_steps(3);
    wait_for_part(&mut window, "kept in both");
    assert_eq!(window.state().here(), Some(here.clone()));
    let mut again = self::window(Options { folder: Some(root.to_owned()), place: Some(here), ..options() });
    wait_for_part(&mut again, "kept in both");
}

/// A feature that both graphs have, with its strongest node in each.
fn common(root: &Path) -> (GraphNodeRow, GraphNodeRow) {
    let (a, b) = (nodes(&root.join("graph")), nodes(&root.join("owner")));
    let mut found: Vec<(GraphNodeRow, GraphNodeRow)> = Vec::new();
    for own in a.iter().filter(|node| node.kind == graph::FEATURE && node.kept) {
        let same =
            |other: &&GraphNodeRow| other.feature == own.feature && other.layer == own.layer && other.kept;
        let mut others: Vec<&GraphNodeRow> = b.iter().filter(same).collect();
        others.sort_by(|x, y| y.influence.total_cmp(&x.influence));
        found.extend(others.first().map(|other| (own.clone(), (*other).clone())));
    }
    found.into_iter().max_by(|x, y| x.0.influence.total_cmp(&y.0.influence)).unwrap()
}

fn named(letter: &str, node: &GraphNodeRow) -> String {
    let token = node.name.as_deref().unwrap().replace(' ', "·");
    format!(
        "{letter}: feature {} · layer {} · token {} ‹{token}›",
        node.feature.unwrap(),
        node.layer.unwrap(),
        node.position.unwrap()
    )
}

fn is_selected(window: &Window, name: &str) -> bool {
    window.get_by_label(name).accesskit_node().toggled() == Some(Toggled::True)
}

#[test]
fn a_node_is_chosen_in_both_graphs_and_opened_in_the_other() {
    let root = fixtures::graphs();
    let mut window = open(root);
    compare(&mut window, &["owner"]);
    let (own, other) = common(root);
    let (in_a, in_b) = (named("A", &own), named("B", &other));
    click(&mut window, &in_a);
    finish_reading(&mut window);
    assert!(is_selected(&window, &in_a) && is_selected(&window, &in_b));
    // The list has its edges alone.
    let identity = format!("feature {}:{}", own.layer.unwrap(), own.feature.unwrap());
    let shown = rows(&window);
    assert!(!shown.is_empty() && shown.iter().all(|row| row.contains(&identity)), "{shown:?}");
    wait_for_part(&mut window, &format!("activation {:.3}", other.activation.unwrap()));
    window.key_press(Key::Escape);
    window.run_steps(3);
    assert!(!is_selected(&window, &in_a) && !is_selected(&window, &in_b));
    click(&mut window, &in_b);
    let open = format!("Open {in_b}");
    press(&mut window, &open);
    wait(&mut window, "the other graph at that node", |w| {
        let node = storage::graph_marks::node_name(&other);
        w.state().here() == Some(Place::Node { graph: root.join("owner"), node })
    });
    wait_for_part(&mut window, "Is given");
    wait_for(&mut window, &in_b["B: ".len()..]);
}

#[test]
fn the_keyboard_moves_through_the_edges_and_opens_one() {
    let root = fixtures::graphs();
    let mut window = open(root);
    compare(&mut window, &["owner", "long"]);
    let merged = merged(root, &["graph", "owner", "long"]);
    wait_for(&mut window, &format::counted(merged.edges.len() as u64, "edge", "edges"));
    // Those of most graphs first, as in the terminal.
    let shown = rows(&window);
    assert_eq!(shown[..3], [0, 1, 2].map(|at| row_of(&merged.edges[at])));
    for (key, expected) in [(Key::ArrowDown, 0), (Key::ArrowDown, 1), (Key::ArrowDown, 2), (Key::ArrowUp, 1)]
    {
        window.key_press(key);
        window.run_steps(3);
        assert_eq!(chosen(&window), Some(shown[expected].clone()));
    }
    window.key_press(Key::End);
    window.run_steps(6);
    assert_eq!(chosen(&window), Some(row_of(merged.edges.last().unwrap())));
    // The last edge is one of `long` alone.
    let last = merged.edges.last().unwrap();
    assert_eq!((last.graphs, last.weights[2].is_some()), (1, true));
    window.key_press(Key::Enter);
    wait(
        &mut window,
        "the graph that the edge is of",
        |w| matches!(w.state().here(), Some(Place::Node { graph, .. }) if graph == root.join("long")),
    );
}

#[test]
fn many_graphs_are_merged_and_edges_of_few_left_out() {
    let root = fixtures::graphs();
    let mut window = open(root);
    compare(&mut window, &["owner", "long"]);
    let merged = merged(root, &["graph", "owner", "long"]);
    wait_for(&mut window, "of 3 graphs keep it at least");
    let of_graphs = |node: &egui_kittest::Node<'_>| {
        node.accesskit_node().label().is_some_and(|label| label.contains("graphs keep it"))
    };
    window.query_all_by_role(Role::Slider).find(of_graphs).unwrap().focus();
    window.run_steps(2);
    for _ in 0..2 {
        window.key_press(Key::ArrowRight);
        window.run_steps(2);
    }
    let all = merged.edges.iter().filter(|edge| edge.graphs == 3).count();
    assert!(0 < all && all < merged.edges.len());
    wait_for(&mut window, &format!("{all} edges"));
    // What is copied is what is listed.
    press(&mut window, "Export");
    window.get_by_label("Copy as JSON").click();
    let mut copied = None;
    for _ in 0..6 {
        window.step();
        copied =
            copied.or(window.output().platform_output.commands.iter().find_map(|command| match command {
                egui::OutputCommand::CopyText(text) => Some(text.clone()),
                _ => None,
            }));
    }
    let copied: serde_json::Value = serde_json::from_str(&copied.unwrap()).unwrap();
    assert_eq!(copied["edges"].as_array().unwrap().len(), all);
}

#[test]
fn graphs_that_cannot_be_compared_say_why() {
    let root = fixtures::graphs();
    let mut window = open(root);
    press(&mut window, "Compare with…");
    wait_for(&mut window, "Compare with toy");
    for (name, why) in [
        ("toy", "features of different models cannot be compared"),
        ("retrained", "features of different transcoders cannot be compared"),
    ] {
        assert!(
            window.get_by_label(&format!("Compare with {name}")).accesskit_node().is_disabled(),
            "{name}"
        );
        wait_for_part(&mut window, why);
    }
    assert!(!window.get_by_label("Compare with owner").accesskit_node().is_disabled());
}

#[test]
fn a_graph_that_is_damaged_says_so_and_can_be_left_out() {
    let copy = fixtures::copy(fixtures::graphs());
    let root = copy.path();
    let file = root.join("owner").join(graph::EDGES);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let mut window = open(&root);
    press(&mut window, "Compare with…");
    click(&mut window, "Compare with owner");
    wait_for(&mut window, "owner cannot be compared");
    press(&mut window, "All nodes");
    wait_for_part(&mut window, "replacement ");
}

#[test]
fn a_graph_alone_has_nothing_to_be_compared_with() {
    let root = fixtures::graphs().join("graph");
    let mut window = window(Options { folder: Some(root), place: None, ..options() });
    wait_for(&mut window, "Compare with…");
    finish_reading(&mut window);
    assert!(window.get_by_label("Compare with…").accesskit_node().is_disabled());
    click(&mut window, "Compared");
    wait_for(&mut window, "No other graph is chosen");
}

#[test]
fn an_address_leads_to_a_node() {
    let root = fixtures::graphs();
    let (own, _) = common(root);
    let node = storage::graph_marks::node_name(&own);
    let place = Place::Node { graph: root.join("graph"), node };
    let mut window =
        window(Options { folder: Some(root.to_owned()), place: Some(place.clone()), ..options() });
    wait_for_part(&mut window, "Is given");
    assert_eq!(window.state().here(), Some(place));
    // What it fires on stands next to its edges.
    wait_for(&mut window, "The feature");
    wait_for(&mut window, "fires on");
}

#[test]
fn looks_of_compared_graphs() {
    let root = fixtures::graphs().to_owned();
    let look = Look {
        name: "graphs",
        place: place(&root),
        folder: root,
        size: [960.0, 600.0],
        themes: &[Theme::Dark, Theme::Light],
        there: &["share of influence"],
    };
    look.take(|window| {
        compare(window, &["owner"]);
        window.key_press(Key::ArrowDown);
        window.hover_at(egui::pos2(2.0, 2.0));
        window.run_steps(3);
    });
}
