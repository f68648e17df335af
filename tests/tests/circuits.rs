//! From text to a graph as a user does it: two hooks in one pass, transcoders, what the model loses with them, a graph.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use serde_json::Value;
use storage::graph::{self, GraphEdgeRow, GraphNodeRow};
use tests::sae;

/// One word of several tokens: the program is given words.
const TEXT: &str = "The-court-held-that-the-statute-was";

/// Harvests the MLPs of layers 0 and 2 of the embedded model and trains a transcoder for each.
fn transcoders(folder: &Path) {
    fixtures::write_text(&folder.join("text.jsonl"));
    let hooks = "--hook blocks.0.hook_mlp_in --hook blocks.0.hook_mlp_out --hook blocks.2.hook_mlp_in --hook blocks.2.hook_mlp_out";
    sae(folder, &format!("harvest --text text.jsonl --out data --dtype f32 {hooks}")).ok();
    for layer in [0, 2] {
        let (data, target) =
            (format!("data/blocks.{layer}.hook_mlp_in"), format!("data/blocks.{layer}.hook_mlp_out"));
        let options = "--d-sae 64 --k 8 --batch 256 --tokens 50000";
        sae(folder, &format!("train --data {data} --target {target} {options} --out t{layer}")).ok();
    }
}

/// Draws the graph: kept features as circles, the strongest first, called what a note calls them; targets and tokens in boxes.
fn pictures(at: &Path, nodes: &[GraphNodeRow]) {
    let mut kept: Vec<&GraphNodeRow> =
        nodes.iter().filter(|node| node.kept && node.kind == graph::FEATURE).collect();
    kept.sort_by(|a, b| b.influence.total_cmp(&a.influence).then(a.node.cmp(&b.node)));
    let (layer, feature) = (kept[0].layer.unwrap(), kept[0].feature.unwrap());
    let run = at.join(format!("t{layer}"));
    storage::notes::change(&run, &[(feature, &|note| note.label = "courts & <law>".to_owned())]).unwrap();
    sae(at, "graph picture graph --nodes 5 --out graph.svg").ok();
    let svg = std::fs::read_to_string(at.join("graph.svg")).unwrap();
    assert_eq!(svg.matches("<circle").count(), kept.len().min(5));
    assert!(svg.contains(">courts &amp; &lt;law&gt;</text>"), "{svg}");
    let boxes =
        nodes.iter().filter(|node| node.kind == graph::TOKEN || node.kept && node.kind == graph::LOGIT);
    assert_eq!(svg.matches("rx=\"4\"").count(), boxes.count());
    sae(at, "graph picture graph --errors --out graph.png").ok();
    let png = std::fs::read(at.join("graph.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    sae(at, "graph picture graph --out graph.pdf").refused(2, &["let --out end in .svg or .png"]);
    assert!(!at.join("graph.pdf").exists());
}

/// Harvests the MLPs of all layers of the embedded model and trains a cross-layer transcoder of them.
fn cross_layer(folder: &Path) {
    fixtures::write_text(&folder.join("text.jsonl"));
    let hooks = "--hook blocks.*.hook_mlp_in --hook blocks.*.hook_mlp_out";
    sae(folder, &format!("harvest --text text.jsonl --out data --dtype f32 {hooks}")).ok();
    for layer in 0..4 {
        for side in ["in", "out"] {
            assert!(folder.join(format!("data/blocks.{layer}.hook_mlp_{side}/dataset.json")).exists());
        }
    }
    let options = "--method batch-topk --d-sae 64 --k 8 --batch 256 --tokens 50000";
    let trained = sae(folder, &format!("train --cross-layer --data data {options} --out clt --json")).ok();
    let l0 = trained.json()["l0"].as_f64().unwrap();
    assert!((l0 - 32.0).abs() < 1.0, "{l0} of 4 layers with 8 each");
}

fn nodes(graph: &Path) -> Vec<GraphNodeRow> {
    let table = storage::row::open::<GraphNodeRow>(&graph.join(graph::NODES)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

fn edges(graph: &Path) -> Vec<GraphEdgeRow> {
    let table = storage::row::open::<GraphEdgeRow>(&graph.join(graph::EDGES)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

#[test]
fn a_graph_is_traced_through_transcoders_trained_here() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    transcoders(at);
    let evaluated = sae(at, "evaluate t2 --together t0 --tokens 2000 --json").ok().json();
    let together = &evaluated["together"];
    assert_eq!(together["layers"], serde_json::json!([0, 2]));
    let number = |name: &str| together[name].as_f64().unwrap();
    assert!(number("ce_clean") < number("ce_replaced") && number("ce_replaced") < number("ce_zero"));
    assert!((0.0..=1.0).contains(&number("agreement")) && number("kl") > 0.0);
    let traced = sae(at, &format!("trace --transcoders t0 t2 --text {TEXT} --out graph --json")).ok().json();
    let record = graph::Graph::read(&at.join("graph")).unwrap();
    assert_eq!(serde_json::to_value(&record).unwrap(), traced["record"]);
    assert_eq!((record.layers, record.transcoders.len()), (4, 2));
    let (nodes, edges) = (nodes(&at.join("graph")), edges(&at.join("graph")));
    assert_eq!((nodes.len() as u64, edges.len() as u64), (record.nodes, record.edges));
    assert_eq!(nodes.iter().filter(|node| node.kept).count() as u64, record.kept_nodes);
    assert_eq!(edges.iter().filter(|edge| edge.kept).count() as u64, record.kept_edges);
    // Nothing comes from a later layer, and nothing goes into errors and tokens.
    for edge in &edges {
        let (target, source) = (&nodes[edge.target as usize], &nodes[edge.source as usize]);
        assert!([graph::FEATURE, graph::LOGIT].contains(&target.kind.as_str()), "{target:?}");
        if let (Some(to), Some(from)) = (target.layer, source.layer) {
            assert!(from < to, "{source:?} → {target:?}");
        }
    }
    let file = at.join("graph/graph_files/graph.json");
    let shown: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(shown["nodes"].as_array().unwrap().len() as u64, record.kept_nodes);
    assert_eq!(shown["links"].as_array().unwrap().len() as u64, record.kept_edges);
    pictures(at, &nodes);
    // Again, over the old one; of a router; with few features.
    let line = format!(
        "trace --transcoders t0 t2 --text {TEXT} --target router:2:5 --max-features 20 --out graph --json"
    );
    let router = sae(at, &line).ok().json();
    assert_eq!(router["record"]["features"], 20);
    assert!(router["record"]["features_left_out"].as_u64().unwrap() > 0);
    refused(at);
}

#[test]
fn a_cross_layer_transcoder_is_trained_evaluated_and_traced() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    cross_layer(at);
    let planned = sae(at, "train --cross-layer --data data --d-sae 64 --k 8 --out no --dry-run --json").ok();
    let bytes = |plan: &Value| plan["peak_bytes"].as_u64().unwrap();
    let larger = sae(at, "train --cross-layer --data data --d-sae 4096 --k 8 --out no --dry-run --json").ok();
    // A value and two moments of 4 encoders and 10 decoders, 128 wide.
    let grown = bytes(&larger.json()) - bytes(&planned.json());
    assert!(grown > 12 * 14 * 128 * (4096 - 64), "{grown}");
    assert!(!at.join("no").exists());
    let evaluated = sae(at, "evaluate clt --all-documents --json").ok().json();
    assert_eq!(storage::layers::LayersEvaluation::read(&at.join("clt")).unwrap().unwrap().layers.len(), 4);
    let number = |value: &Value, name: &str| value[name].as_f64().unwrap();
    let clean = number(&evaluated, "ce_clean");
    let all = &evaluated["together"];
    for layer in evaluated["layers"].as_array().unwrap() {
        assert!(number(layer, "fve") > 0.1 && number(layer, "l0") > 4.0, "{layer}");
        let alone = &layer["replaced"];
        assert!(number(alone, "kl") > 0.0 && number(alone, "kl") < number(all, "kl"), "{layer}");
        assert!(number(alone, "ce_replaced") < number(alone, "ce_zero"), "{layer}");
    }
    assert!(clean < number(all, "ce_replaced") && number(all, "ce_replaced") < number(all, "ce_mean"));
    assert!((0.0..=1.0).contains(&number(all, "agreement")));

    sae(at, &format!("trace --transcoders clt --text {TEXT} --out graph")).ok();
    let record = graph::Graph::read(&at.join("graph")).unwrap();
    assert_eq!(record.transcoders.iter().map(|t| t.later_layers).collect::<Vec<_>>(), [3, 2, 1, 0]);
    let (nodes, edges) = (nodes(&at.join("graph")), edges(&at.join("graph")));
    // Before the first MLP there are tokens alone, and no bias: what they give is all that a feature there has.
    let first: Vec<&GraphNodeRow> =
        nodes.iter().filter(|node| node.kind == graph::FEATURE && node.layer == Some(0)).collect();
    assert!(first.len() > 5);
    for node in first {
        let given: f32 = edges.iter().filter(|edge| edge.target == node.node).map(|edge| edge.weight).sum();
        assert!((given - node.value).abs() < 1e-3 * (1.0 + node.value.abs()), "{given} {node:?}");
    }
    let leaps = edges.iter().any(|edge| {
        let (from, to) = (&nodes[edge.source as usize], &nodes[edge.target as usize]);
        from.kind == graph::FEATURE && from.layer == Some(0) && to.layer == Some(3)
    });
    assert!(leaps, "features of the first layer reach the last one");

    indexed(at, &nodes);

    for (line, expected) in [
        ("export clt --to saelens --out e", "is a cross-layer transcoder of 4 layers"),
        ("prompt clt --text court", "is a cross-layer transcoder of 4 layers"),
        ("evaluate clt --pca", "--pca is given, but clt is a cross-layer transcoder"),
        ("evaluate clt --cett", "--cett is given, but clt is a cross-layer transcoder"),
        (
            "train --cross-layer --data data/blocks.0.hook_mlp_in --out x",
            "no dataset of blocks.0.hook_mlp_in",
        ),
        ("train --cross-layer --data data --method gated --out x", "method gated is given"),
    ] {
        sae(at, line).refused(2, &[expected]);
    }
    assert!(!at.join("x").exists() && !at.join("e").exists());
}

/// The index numbers features through all layers, and whatever shows a feature of the graph finds it there.
fn indexed(at: &Path, nodes: &[GraphNodeRow]) {
    let index = sae(at, "index clt --json").ok().json();
    assert_eq!((index["features"].as_u64(), index["tokens"].as_u64() > Some(1000)), (Some(4 * 64), true));
    assert!(
        index["logits"].as_str().unwrap().starts_with("sum of the decoder rows to all layers"),
        "{index}"
    );
    let found = sae(at, "find clt the --json").ok().json();
    assert!(!found["found"]["features"].as_array().unwrap().is_empty(), "{found}");
    sae(at, "explain clt --least 0.1").ok();
    sae(at, "map clt").ok();
    sae(at, "export clt --to html --out pages").ok();
    assert!(at.join("pages/index.html").exists());
    let later = nodes.iter().filter(|node| node.kind == graph::FEATURE && node.kept && node.layer > Some(0));
    let node = later.max_by(|a, b| a.influence.total_cmp(&b.influence)).unwrap();
    let number = 64 * node.layer.unwrap() + node.feature.unwrap();
    let label = "of a later layer".to_owned();
    storage::notes::change(&at.join("clt"), &[(number, &move |note| note.label.clone_from(&label))]).unwrap();
    sae(at, "graph picture graph --out graph.svg").ok();
    let svg = std::fs::read_to_string(at.join("graph.svg")).unwrap();
    assert!(svg.contains(">of a later layer</text>"), "{svg}");
}

fn refused(at: &Path) {
    std::fs::create_dir(at.join("full")).unwrap();
    std::fs::write(at.join("full/thesis.tex"), "years of work").unwrap();
    for (arguments, expected) in [
        ("t0 t0 --out g", "both transcoders of layer 0"),
        ("t0 --out full", "which is not part of a graph"),
        ("t0 --target frog --out g", "`frog` is not a target"),
        ("t0 --target router:2:99 --out g", "no expert 99"),
        ("t0 --target feature:1:3 --out g", "no transcoder of layer 1"),
    ] {
        sae(at, &format!("trace --text {TEXT} --transcoders {arguments}")).refused(2, &[expected]);
        assert!(!at.join("g").exists());
    }
    assert!(at.join("full/thesis.tex").exists());
}
