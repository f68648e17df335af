//! Attribution graphs in the window.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use app::address::Place;
use app::shell::Options;
use common::pictures::Look;
use common::{click, options, press, wait, wait_for, wait_for_part, window};
use egui::Theme;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use storage::graph::{self, GraphEdgeRow, GraphNodeRow};
use storage::graph_marks::{self, MarkEdit, node_name};

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

/// A copy of the folder with the graph, and its window.
fn own_window() -> (fixtures::Copied, egui_kittest::Harness<'static, app::shell::App>) {
    let copy = fixtures::copy(fixtures::circuits());
    let root = copy.path();
    let window = window(Options { folder: Some(root.clone()), place: Some(place(&root)), ..options() });
    (copy, window)
}

#[test]
fn a_node_is_pinned_put_into_a_supernode_and_seen_in_the_marked_graph() {
    let (copy, mut window) = own_window();
    let folder = copy.path().join("graph");
    let (node, name) = strongest(&copy.path());
    click(&mut window, &name);
    press(&mut window, "Pin this node");
    window.get_by_label("Supernode of this node").focus();
    window.run_steps(2);
    window.get_by_label("Supernode of this node").type_text("court words");
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    window.run_steps(2);
    let own = node_name(&node);
    wait(&mut window, "the marks in their file", |_| {
        graph_marks::read(&folder).is_ok_and(|marks| {
            marks.is_pinned(&own) && marks.supernode_of(&own).is_some_and(|of| of.name == "court words")
        })
    });
    click(&mut window, "Marked");
    wait_for_part(&mut window, "1 supernode, 1 pinned node");
    wait_for(&mut window, "court words");
    // Only the supernode and the likeliest target are there.
    assert_eq!(window.query_all_by_label(&name).count(), 1, "the page of the node alone names it");
    press(&mut window, "Dissolve");
    wait_for_part(&mut window, "0 supernodes, 1 pinned node");
    wait(&mut window, "the supernode's end in the file", |_| {
        graph_marks::read(&folder).is_ok_and(|marks| marks.supernodes.is_empty())
    });
    // A different window sees it.
    let options = Options { folder: Some(copy.path()), place: Some(place(&copy.path())), ..options() };
    let mut other = common::window(options);
    click(&mut other, "Marked");
    wait_for_part(&mut other, "0 supernodes, 1 pinned node");
}

#[test]
fn a_feature_that_is_taken_out_shows_what_the_graph_and_the_model_say() {
    let (copy, mut window) = own_window();
    let (node, name) = strongest(&copy.path());
    click(&mut window, &name);
    press(&mut window, "Take out");
    wait_for(&mut window, "Predicted and measured");
    wait_for_part(&mut window, "random directions of the same length: ");
    // The numbers are those of the library.
    let record = graph::Graph::read(&copy.path().join("graph")).unwrap();
    let model = sae::trace::GraphModel::open(&record, &[]).unwrap();
    let changes = [sae::trace::NodeChange { node: node.node, to: 0.0 }];
    let all = nodes(&copy.path());
    let measured =
        model.measure(&all, &changes, sae::trace::ChangeOptions::default(), &mut sae::Quiet).unwrap();
    let logit = all.iter().find(|node| node.kind == graph::LOGIT).unwrap();
    let signed = |by: f32| format!("{by:+.3}").replace('-', "−");
    wait_for(&mut window, &signed(measured.changes[logit.node as usize].unwrap()));
    let predicted = sae::trace::predict(&all, &edges(&copy.path()), &changes);
    wait_for(&mut window, &signed(predicted[logit.node as usize]));
    press(&mut window, "Remove all changes");
    window.run_steps(3);
    assert_eq!(window.query_all_by_label("Predicted and measured").count(), 0);
}

#[test]
fn looks_of_a_changed_graph() {
    let copy = fixtures::copy(fixtures::circuits());
    let root = copy.path();
    let (node, name) = strongest(&root);
    let group = |node: String| MarkEdit::Group { node, supernode: Some("the court".to_owned()) };
    let features = nodes(&root).into_iter().filter(|node| node.kind == graph::FEATURE);
    let mut by_influence: Vec<GraphNodeRow> = features.collect();
    by_influence.sort_by(|a, b| b.influence.total_cmp(&a.influence));
    let mut edits: Vec<MarkEdit> = by_influence[..3].iter().map(|node| group(node_name(node))).collect();
    let pinned = by_influence[3..6].iter().chain(by_influence.iter().rev().take(1)).map(node_name);
    edits.extend(pinned.map(|node| MarkEdit::Pin { node, pinned: true }));
    graph_marks::change(&root.join("graph"), &edits).unwrap();
    assert_eq!(by_influence[0], node);
    let look = Look {
        name: "graph-marked",
        place: place(&root),
        folder: root,
        size: [1280.0, 800.0],
        themes: &[Theme::Dark],
        there: &["share of influence"],
    };
    look.take(|window| {
        click(window, &name);
        press(window, "Take out");
        click(window, "Marked");
        wait_for_part(window, "random directions of the same length: ");
        wait_for(window, "the court");
    });
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

#[test]
fn a_transcoder_offers_a_trace_where_a_dictionary_offers_a_prompt() {
    let root = fixtures::circuits().to_owned();
    let prompt = Place::Prompt { run: root.join("transcoder-2"), feature: None };
    let mut window = window(Options { folder: Some(root), place: Some(prompt), ..options() });
    wait_for(&mut window, "Trace a prediction");
    wait_for_part(&mut window, "through 2 transcoders of this folder");
    assert_eq!(window.query_all_by_label_contains("cannot be loaded").count(), 0);
}

#[test]
fn a_node_shows_through_which_heads_it_is_given_and_by_which_nodes() {
    let root = fixtures::circuits();
    // A feature of a later layer, so that features are below it.
    let later = nodes(root).into_iter().filter(|node| node.kind == graph::FEATURE && node.layer == Some(2));
    let node = later.max_by(|a, b| a.influence.total_cmp(&b.influence)).unwrap();
    let place = Place::Node { graph: root.join("graph"), node: node_name(&node) };
    let mut window = window(Options { folder: Some(root.to_owned()), place: Some(place), ..options() });
    wait_for(&mut window, "Show heads");
    press(&mut window, "Show heads");
    wait_for_part(&mut window, "by source token");

    let record = graph::Graph::read(&root.join("graph")).unwrap();
    let model = sae::trace::GraphModel::open(&record, &[]).unwrap();
    let (layer, head, source, value) = model.heads(&record, &node).unwrap().strongest(1)[0];
    let shown = record.shown[source].replace(' ', "·").replace('\n', "↵");
    let line = format!("{layer}.{head} from {source} ‹{shown}›, {value:+.3}");
    press(&mut window, &line);
    wait_for(&mut window, &format!("Given through head {layer}.{head} from {source} ‹{shown}›"));
    let given =
        model.given_through(&record, &nodes(root), node.node as usize, (layer, Some(head), source)).unwrap();
    let best = given.nodes.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
    wait_for_part(&mut window, "by what has no node in this graph");
    let amount = format!(", {:+.3}", best.1);
    let listed = window.query_all_by_role(egui::accesskit::Role::Button);
    let listed = listed.filter_map(|node| node.accesskit_node().label()).find(|name| name.ends_with(&amount));
    // A click leads to the node that gives it, whose heads are shown at once if it is given anything.
    press(&mut window, &listed.unwrap());
    window.run_steps(3);
    assert!(
        window
            .query_by_label(&format!("Given through head {layer}.{head} from {source} ‹{shown}›"))
            .is_none()
    );
}
