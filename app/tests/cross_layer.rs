//! A cross-layer transcoder in the window: its features are of all layers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use app::address::Place;
use app::shell::Options;
use common::{click, options, wait_for, wait_for_part, window};
use fixtures::{LAYERS, TRANSCODER_FEATURES};
use storage::graph::{self, GraphNodeRow};
use storage::layers::LayersEvaluation;

fn run(root: &Path) -> std::path::PathBuf {
    root.join("clt")
}

fn open(root: &Path, place: Place) -> egui_kittest::Harness<'static, app::shell::App> {
    window(Options { folder: Some(root.to_owned()), place: Some(place), ..options() })
}

#[test]
fn a_page_says_of_which_layer_a_feature_is() {
    let root = fixtures::cross_layer();
    // Feature 5 of layer 2, whose number is counted through all layers.
    let feature = 2 * TRANSCODER_FEATURES + 5;
    let mut window = open(root, Place::Feature { run: run(root), feature });
    wait_for(&mut window, &format!("Feature {feature}"));
    wait_for_part(&mut window, "blocks.2.hook_mlp_in · feature 5 of the layer");
    // A graph is where such features are looked at, not a prompt.
    wait_for(&mut window, "Trace");
    let table = storage::Run::open(&run(root)).unwrap().features().unwrap().unwrap();
    assert_eq!(table.rows(), u64::from(LAYERS * TRANSCODER_FEATURES));
}

#[test]
fn the_table_has_a_column_for_the_layer() {
    let root = fixtures::cross_layer();
    let mut window = open(root, Place::Features { run: run(root) });
    // Largest first: the last layer's features come to the top.
    click(&mut window, "Sort by layer");
    let last = (LAYERS - 1) * TRANSCODER_FEATURES;
    wait_for(&mut window, &format!("Feature {last}"));
}

#[test]
fn the_evaluation_is_shown_layer_by_layer() {
    let root = fixtures::cross_layer();
    let mut window = open(root, Place::Curves { run: run(root) });
    let evaluation = LayersEvaluation::read(&run(root)).unwrap().unwrap();
    for layer in &evaluation.layers {
        wait_for(&mut window, &format!("{:.3}", layer.fve.unwrap()));
        wait_for(&mut window, &format!("{:.3}", layer.replaced.kl));
    }
    wait_for_part(&mut window, "with the MLP of the layer replaced alone");
    wait_for(&mut window, &format!("{TRANSCODER_FEATURES} in each of {LAYERS} layers"));
}

#[test]
fn a_node_of_a_graph_opens_the_feature_of_its_layer() {
    let root = fixtures::cross_layer();
    let table = storage::row::open::<GraphNodeRow>(&root.join("graph").join(graph::NODES)).unwrap();
    let nodes: Vec<GraphNodeRow> = storage::row::read(&table, storage::Scan::default()).unwrap();
    // One of a later layer, so that its number in the layer is not that in the index.
    let later = nodes.iter().filter(|node| node.kind == graph::FEATURE && node.kept && node.layer > Some(0));
    let node = later.max_by(|a, b| a.influence.total_cmp(&b.influence)).unwrap();
    let name = storage::graph_marks::node_name(node);
    let mut window = open(root, Place::Node { graph: root.join("graph"), node: name });
    let (layer, feature) = (node.layer.unwrap(), node.feature.unwrap());
    wait_for_part(&mut window, "The feature");
    click(&mut window, "Open the feature's page");
    wait_for(&mut window, &format!("Feature {}", layer * TRANSCODER_FEATURES + feature));
    wait_for_part(&mut window, &format!("blocks.{layer}.hook_mlp_in · feature {feature} of the layer"));
}
