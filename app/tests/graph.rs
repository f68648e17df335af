//! Attribution graphs in the window.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use app::address::Place;
use app::shell::Options;
use common::pictures::Look;
use common::{click, options, wait, wait_for, wait_for_part, window};
use egui::Theme;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use storage::graph::{self, GraphEdgeRow, GraphNodeRow};

fn place(root: &Path) -> Place {
    Place::Graph { graph: root.join("graph") }
}

fn nodes(root: &Path) -> Vec<GraphNodeRow> {
    let table = storage::row::open::<GraphNodeRow>(&root.join("graph").join(graph::NODES)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

fn edges(root: &Path) -> Vec<GraphEdgeRow> {
    let table = storage::row::open::<GraphEdgeRow>(&root.join("graph").join(graph::EDGES)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

/// A node's token with its blanks visible.
fn shown(node: &GraphNodeRow) -> String {
    node.name.as_deref().unwrap().replace(' ', "·").replace('\n', "↵")
}

/// The feature with the most influence, and its name on the screen.
fn strongest(root: &Path) -> (GraphNodeRow, String) {
    let all = nodes(root).into_iter().filter(|node| node.kind == graph::FEATURE);
    let node = all.max_by(|a, b| a.influence.total_cmp(&b.influence)).unwrap();
    let name = format!(
        "feature {} · layer {} · token {} ‹{}›",
        node.feature.unwrap(),
        node.layer.unwrap(),
        node.position.unwrap(),
        shown(&node)
    );
    (node, name)
}

#[test]
fn a_node_shows_what_it_is_given_and_opens_its_feature() {
    let root = fixtures::circuits();
    let options = Options { folder: Some(root.to_owned()), place: Some(place(root)), ..options() };
    let mut window = window(options);
    let (node, name) = strongest(root);
    wait_for(&mut window, &name);
    // Everything that the record counts is there: all nodes that were kept, at the share that they were kept at.
    let record = graph::Graph::read(&root.join("graph")).unwrap();
    let ends = |node: &GraphNodeRow| node.kind != graph::FEATURE && node.kind != graph::ERROR;
    let rows = nodes(root);
    let kept =
        rows.iter().filter(|node| node.kept && !ends(node)).map(|node| node.cumulative).fold(0.0, f64::max);
    assert!(kept >= record.node_threshold, "the node that reaches the share is kept");
    let expected = rows.iter().filter(|node| ends(node) || node.cumulative <= kept).count();
    wait_for_part(&mut window, &format!("{expected} of {} nodes", record.nodes));
    wait_for_part(&mut window, &format!("replacement {:.3}", record.replacement_score));
    click(&mut window, &name);
    wait_for_part(&mut window, "Is given");
    // The strongest edge into the node stands first, with its weight.
    let all = nodes(root);
    let into = edges(root).into_iter().filter(|edge| edge.target == node.node);
    let first = into.max_by(|a, b| a.weight.abs().total_cmp(&b.weight.abs())).unwrap();
    let source = &all[first.source as usize];
    let line = format!("‹{}›, {:+.3}", shown(source), first.weight);
    let found = window.query_all_by_label_contains(&line).count();
    assert!(found > 0, "{line}");
    click(&mut window, "Open the feature's page");
    wait_for_part(&mut window, &format!("Feature {}", node.feature.unwrap()));
    let run = root.join(format!("transcoder-{}", node.layer.unwrap()));
    assert!(window.query_all_by_label_contains("transcoder-").count() > 0, "{}", run.display());
}

#[test]
fn the_tree_lists_graphs() {
    let root = fixtures::circuits();
    let mut window = window(Options { folder: Some(root.to_owned()), place: None, ..options() });
    // The tree's line, not its name.
    let line =
        |node: &egui_kittest::Node<'_>| node.accesskit_node().role() == egui::accesskit::Role::TreeItem;
    wait(&mut window, "the line of the graph", |h| h.query_all_by_label("graph").any(|node| line(&node)));
    window.query_all_by_label("graph").find(line).unwrap().click();
    window.run_steps(3);
    wait_for_part(&mut window, "share of influence");
    let (_, name) = strongest(root);
    wait_for(&mut window, &name);
    assert!(window.get_by_label(&name).accesskit_node().label().is_some());
}

#[test]
fn a_graph_can_be_opened_by_itself() {
    let root = fixtures::circuits().join("graph");
    let mut window = window(Options { folder: Some(root), place: None, ..options() });
    let (_, name) = strongest(fixtures::circuits());
    wait_for(&mut window, &name);
}

#[test]
fn a_damaged_graph_says_so() {
    let copy = fixtures::copy(fixtures::circuits());
    let root = copy.join("");
    let file = root.join("graph").join(graph::NODES);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let options = Options { folder: Some(root.clone()), place: Some(place(&root)), ..options() };
    wait_for_part(&mut window(options), "The graph cannot be shown");
}

#[test]
fn looks_of_a_graph() {
    let root = fixtures::circuits().to_owned();
    let (_, name) = strongest(&root);
    let look = Look {
        name: "graph",
        place: place(&root),
        folder: root,
        size: [960.0, 560.0],
        themes: &[Theme::Dark, Theme::Light],
        there: &["share of influence"],
    };
    look.take(|window| {
        wait_for(window, &name);
        click(window, &name);
        wait_for_part(window, "Is given");
    });
}
