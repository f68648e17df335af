//! Attribution graphs against those of circuit-tracer: `graphs/README.md`.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::Value;

use lm::model::{Config, Decoder, Weights};
use lm::text::{Contexts, pack};
use sae::interop::dictionaries::open_path;
use sae::trace::{
    Graph, NodeKind, Prompt, Target, Thresholds, TraceOptions, Transcoders, import, merge, trace,
};
use sae::{Error, Quiet};

fn golden(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs").join(kind)
}

fn decoder(folder: &Path) -> Decoder {
    let path = folder.join("config.json");
    let config = Config::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    Decoder::new(config, Weights::open_safetensors(&folder.join("model.safetensors")).unwrap()).unwrap()
}

fn contexts(tokens: &[u32]) -> Contexts {
    let documents = [Ok::<_, Error>((0, tokens[1..].to_vec()))];
    pack(documents, tokens.len(), Some(tokens[0]), 1).unwrap().next().unwrap().unwrap()
}

fn transcoders(kind: &str) -> Transcoders {
    let path = golden(kind);
    Transcoders::new([(path.clone(), open_path(&path).unwrap())]).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(all) => all.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

fn traced(kind: &str) -> (Graph, Value) {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(golden(kind).join("expected.json")).unwrap()).unwrap();
    let tokens: Vec<u32> = numbers(&expected["prompt_tokens"]).iter().map(|&x| x as u32).collect();
    let options =
        TraceOptions { target: Target::Likeliest { mass: 0.95, most: 4 }, ..TraceOptions::default() };
    let decoder = decoder(&golden("model"));
    (trace(&decoder, &contexts(&tokens), &transcoders(kind), &options, &mut Quiet).unwrap(), expected)
}

#[test]
fn graphs_are_those_of_circuit_tracer() {
    for kind in ["plt", "plt_skip", "clt"] {
        let (graph, expected) = traced(kind);
        let active = numbers(&expected["active_features"]);
        assert_eq!(graph.features * 3, active.len(), "{kind}");
        for ((node, wanted), activation) in
            graph.nodes.iter().zip(active.chunks_exact(3)).zip(numbers(&expected["activations"]))
        {
            let NodeKind::Feature { layer, position, feature, activation: own } = node.kind else {
                panic!("{node:?}")
            };
            assert_eq!([layer as f64, position as f64, f64::from(feature)], *wanted, "{kind}");
            assert!((f64::from(own) - activation).abs() < 1e-5, "{kind}: {own} {activation}");
        }
        let n = graph.nodes.len();
        let adjacency = numbers(&expected["adjacency"]);
        assert_eq!(adjacency.len(), n * n, "{kind}");
        let scale = adjacency.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let mut worst = 0.0f64;
        for (target, row) in adjacency.chunks_exact(n).enumerate() {
            match graph.row(target) {
                None => assert!(row.iter().all(|&x| x == 0.0)),
                Some(own) => {
                    for (own, wanted) in own.iter().zip(row) {
                        worst = worst.max((f64::from(*own) - wanted).abs() / scale);
                    }
                }
            }
        }
        println!("{kind}: {n} nodes, largest difference {worst:.1e} of the largest weight");
        assert!(worst < 1e-5, "{kind}: {worst}");
        let influence = graph.influence();
        for (node, (own, wanted)) in influence.iter().zip(numbers(&expected["node_influence"])).enumerate() {
            assert!((own - wanted).abs() < 1e-5, "{kind}: node {node}: {own} {wanted}");
        }
        let scores = graph.scores();
        assert!(
            (scores.replacement - expected["replacement_score"].as_f64().unwrap()).abs() < 1e-5,
            "{kind}"
        );
        assert!((scores.completeness - expected["completeness"].as_f64().unwrap()).abs() < 1e-5, "{kind}");
        let pruned = graph.prune(Thresholds::default());
        let kept: Vec<f64> = pruned.nodes.iter().map(|&kept| f64::from(u8::from(kept))).collect();
        assert_eq!(kept, numbers(&expected["kept_nodes_at_0p8"]), "{kind}");
        assert_eq!(pruned.edges.len() as f64, expected["n_edges_at_0p98"].as_f64().unwrap(), "{kind}");
    }
}

#[test]
fn graph_files_are_those_of_circuit_tracer() {
    for kind in ["plt", "plt_skip", "clt"] {
        let (graph, expected) = traced(kind);
        let slug = format!("toy-{}", kind.replace('_', "-"));
        let file = golden(kind).join(format!("graph_files/{slug}.json"));
        let wanted: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let prompt = prompt(&expected, slug);
        let pruned = graph.prune(Thresholds::default());
        let own = graph.neuronpedia(&pruned, &prompt, Thresholds::default(), 3);
        // circuit-tracer has one name for the error of layer L and for feature L of layer 0; ours are told apart.
        let own = own.to_string().replace("\"error_", "\"0_");
        same(&serde_json::from_str(&own).unwrap(), &wanted, kind);
    }
}

/// What tells the entries of a list apart.
fn key(entry: &Value) -> (String, f64) {
    let name = format!("{}{}{}{}", entry["node_id"], entry["feature_type"], entry["target"], entry["source"]);
    (name, entry["weight"].as_f64().unwrap_or_default())
}

/// Equal but for rounding, whatever the order of nodes and links.
fn same(own: &Value, wanted: &Value, at: &str) {
    match (own, wanted) {
        (Value::Object(own), Value::Object(wanted)) => {
            assert_eq!(own.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{at}");
            own.iter().for_each(|(key, value)| same(value, &wanted[key], &format!("{at}.{key}")));
        }
        (Value::Array(own), Value::Array(wanted)) => {
            assert_eq!(own.len(), wanted.len(), "{at}");
            let by_name = |list: &[Value]| {
                let mut list = list.to_vec();
                list.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap());
                list
            };
            let named = own.iter().any(Value::is_object);
            let (own, wanted) =
                if named { (by_name(own), by_name(wanted)) } else { (own.clone(), wanted.clone()) };
            own.iter().zip(&wanted).enumerate().for_each(|(i, (a, b))| same(a, b, &format!("{at}[{i}]")));
        }
        (Value::Number(own), Value::Number(wanted)) => {
            let (own, wanted) = (own.as_f64().unwrap(), wanted.as_f64().unwrap());
            assert!((own - wanted).abs() < 1e-4 * (1.0 + wanted.abs()), "{at}: {own} {wanted}");
        }
        _ => assert_eq!(own, wanted, "{at}"),
    }
}

/// The file that circuit-tracer wrote of a graph.
fn graph_file(kind: &str) -> PathBuf {
    golden(kind).join(format!("graph_files/toy-{}.json", kind.replace('_', "-")))
}

/// What the golden graphs are of.
fn prompt(expected: &Value, slug: String) -> Prompt {
    let tokens: Vec<String> = numbers(&expected["prompt_tokens"]).iter().map(|x| x.to_string()).collect();
    let vocabulary = (0..64).map(|token| (token, token.to_string())).collect();
    Prompt { text: tokens.join(" "), tokens, vocabulary, slug, scan: "toy".to_owned() }
}

/// A graph as a file in which, unlike in circuit-tracer's, no two nodes have the same name.
fn own_file(kind: &str, folder: &Path) -> PathBuf {
    let (graph, expected) = traced(kind);
    let prompt = prompt(&expected, format!("own-{}", kind.replace('_', "-")));
    let pruned = graph.prune(Thresholds::default());
    let file = folder.join(format!("{kind}.json"));
    let written = graph.neuronpedia(&pruned, &prompt, Thresholds::default(), 3).to_string();
    std::fs::write(&file, written).unwrap();
    file
}

/// Graphs of files come in, and what is written of them again is what they said: circuit-tracer's own where its names are
/// unambiguous, ours of all kinds.
#[test]
fn graph_files_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let own = ["plt", "plt_skip", "clt"].map(|kind| (kind, own_file(kind, folder.path())));
    for (kind, file) in own.into_iter().chain([("circuit-tracer", graph_file("clt"))]) {
        let out = folder.path().join(kind);
        let record = import(&file, &out).unwrap();
        let wanted: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let count = |name: &str| wanted[name].as_array().unwrap().len() as u64;
        assert_eq!((record.nodes, record.edges), (count("nodes"), count("links")), "{kind}");
        assert_eq!((record.kept_nodes, record.layers), (record.nodes, 3));
        let slug = wanted["metadata"]["slug"].as_str().unwrap();
        let written = std::fs::read(out.join(format!("graph_files/{slug}.json"))).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        let links = |of: &Value| {
            let link = |link: &Value| {
                let name = |end: &str| link[end].as_str().unwrap().replace("error_", "0_");
                (name("source"), name("target"), (link["weight"].as_f64().unwrap() * 1e6).round() as i64)
            };
            let mut links: Vec<_> = of["links"].as_array().unwrap().iter().map(link).collect();
            links.sort();
            links
        };
        assert_eq!(links(&written), links(&wanted), "{kind}");
        let node = |node: &Value| {
            let number = |name: &str| node[name].as_f64().map(|x| (x * 1e5).round() as i64);
            let of = |name: &str| node[name].clone();
            (
                of("node_id").to_string().replace("error_", "0_"),
                of("layer"),
                of("ctx_idx"),
                number("activation"),
            )
        };
        let nodes = |of: &Value| {
            let mut nodes: Vec<_> = of["nodes"].as_array().unwrap().iter().map(node).collect();
            nodes.sort_by_key(|node| node.0.clone());
            nodes
        };
        assert_eq!(nodes(&written), nodes(&wanted), "{kind}");
    }
    // The same graph twice keeps all of its edges; that of other transcoders does not.
    let graphs = ["plt", "plt", "clt"].map(|kind| folder.path().join(kind));
    let merged = merge(&graphs[..2]).unwrap();
    assert!(!merged.edges.is_empty());
    assert!(merged.edges.iter().all(|edge| edge.graphs == 2 && edge.weights[0] == edge.weights[1]));
    let merged = merge(&graphs).unwrap();
    assert!(merged.edges.iter().any(|edge| edge.graphs == 2) && merged.edges.iter().any(|e| e.graphs == 1));
    assert!(merged.edges.is_sorted_by_key(|edge| std::cmp::Reverse(edge.graphs)));
}

#[test]
fn files_that_are_not_graphs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(graph_file("clt")).unwrap();
    for (kind, name) in [("plt", "0_0_5"), ("plt_skip", "0_1_5")] {
        let error = import(&graph_file(kind), &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains(&format!("two nodes of the name `{name}`")), "{error}");
    }
    let refused = |text: String, wanted: &str| {
        let (file, out) = (folder.path().join("graph.json"), folder.path().join("out"));
        std::fs::write(&file, text).unwrap();
        let error = import(&file, &out).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("graph.json"), "{error}");
        assert!(!out.exists(), "something was written");
    };
    refused("{}".to_owned(), "is not a graph of circuit-tracer or Neuronpedia");
    refused(good.replace("\"source\": \"E_0_0\"", "\"source\": \"E_99_0\""), "there is no node `E_99_0`");
    refused(good.replace("cross layer transcoder", "lorsa"), "unknown type `lorsa`");
    refused(good.replace("\"ctx_idx\": 4", "\"ctx_idx\": 44"), "but the prompt has 6 tokens");
    let error = merge(&[golden("plt")]).unwrap_err().to_string();
    assert!(error.contains("at least two"), "{error}");
}
