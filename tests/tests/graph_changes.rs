//! Features of a graph that are made to fire differently, against a model that is changed by hand; marks of people, in and out.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use candle_core::Tensor;
use lm::model::{Hook, LanguageModel, ModelSource, Site, Tap};
use lm::text::{Contexts, pack};
use sae::Quiet;
use sae::interop::dictionaries::{Content, open_path};
use sae::trace::{ChangeOptions, GraphModel, NodeChange};
use storage::graph::{self, GraphNodeRow};
use storage::graph_marks::{self, MarkEdit, node_name};
use tests::sae;

fn nodes(graph: &Path) -> Vec<GraphNodeRow> {
    let table = storage::row::open::<GraphNodeRow>(&graph.join(graph::NODES)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

/// The strongest feature of a layer that fires at one token, after which the text goes on.
fn feature(nodes: &[GraphNodeRow], layer: u32) -> &GraphNodeRow {
    let of_layer = nodes.iter().filter(|node| node.kind == graph::FEATURE && node.layer == Some(layer));
    of_layer.max_by(|a, b| a.influence.total_cmp(&b.influence)).unwrap()
}

/// Adds a vector to what an MLP writes at a token.
struct Add {
    hook: Hook,
    position: usize,
    step: Vec<f32>,
}

impl Tap for Add {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.hook
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> lm::Result<Option<Tensor>> {
        let d = self.step.len();
        let mut values: Vec<f32> = value.flatten_all()?.to_vec1()?;
        for (i, step) in self.step.iter().enumerate() {
            values[self.position * d + i] += step;
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?))
    }
}

fn contexts(tokens: &[u32]) -> Contexts {
    let documents = [Ok::<_, sae::Error>((0, tokens[1..].to_vec()))];
    pack(documents, tokens.len(), Some(tokens[0]), 1).unwrap().next().unwrap().unwrap()
}

/// The logits after the last token less their mean.
fn logits(model: &LanguageModel, contexts: &Contexts, tap: &mut dyn Tap) -> Vec<f64> {
    let all = model.decoder().forward(contexts, tap).unwrap();
    let last: Vec<f32> = all.get(0).unwrap().get(contexts.len - 1).unwrap().to_vec1().unwrap();
    let mean = last.iter().map(|v| f64::from(*v)).sum::<f64>() / last.len() as f64;
    last.into_iter().map(|v| f64::from(v) - mean).collect()
}

#[test]
fn a_change_does_what_the_same_step_does_by_hand() {
    let root = fixtures::circuits();
    let folder = root.join("graph");
    let record = graph::Graph::read(&folder).unwrap();
    let nodes = nodes(&folder);
    let of_graph = GraphModel::open(&record, &[]).unwrap();
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let contexts = contexts(&record.tokens);
    let clean = logits(&model, &contexts, &mut lm::model::NoTap);
    for layer in [0, 2] {
        let node = feature(&nodes, layer);
        let Content::Dictionary(dictionary) =
            open_path(&root.join(format!("transcoder-{layer}"))).unwrap().content
        else {
            panic!("a transcoder is a dictionary");
        };
        let was = node.activation.unwrap();
        for to in [0.0, -2.0 * was, 3.0 * was] {
            let row = dictionary.decoder_row(node.feature.unwrap() as usize);
            let hook = Hook::new(layer as usize, Site::MlpOut);
            let step = row.iter().map(|w| (to - was) * w).collect();
            let position = node.position.unwrap() as usize;
            let changed = logits(&model, &contexts, &mut Add { hook, position, step });
            let changes = [NodeChange { node: node.node, to }];
            let measured = of_graph.measure(&nodes, &changes, ChangeOptions::default(), &mut Quiet).unwrap();
            let mut seen = 0;
            for target in nodes.iter().filter(|node| node.kind == graph::LOGIT) {
                let token = target.token.unwrap() as usize;
                let by_hand = changed[token] - clean[token];
                let ours = f64::from(measured.changes[target.node as usize].unwrap());
                assert!((by_hand - ours).abs() < 1e-3 * (1.0 + by_hand.abs()), "{by_hand} {ours}");
                seen += 1;
            }
            assert!(seen > 0 && measured.kl > 0.0 && measured.controls.len() == 3);
        }
    }
}

#[test]
fn a_feature_that_stays_changes_nothing_and_one_that_is_held_stays() {
    let folder = fixtures::circuits().join("graph");
    let record = graph::Graph::read(&folder).unwrap();
    let nodes = nodes(&folder);
    let model = GraphModel::open(&record, &[]).unwrap();
    let (low, high) = (feature(&nodes, 0), feature(&nodes, 2));
    let own = |node: &GraphNodeRow| NodeChange { node: node.node, to: node.activation.unwrap() };
    for hold_attention in [false, true] {
        let options = ChangeOptions { hold_attention, ..ChangeOptions::default() };
        let nothing = model.measure(&nodes, &[own(low), own(high)], options, &mut Quiet).unwrap();
        assert!(nothing.kl < 1e-6, "{}", nothing.kl);
        assert!(nothing.changes.iter().flatten().all(|by| by.abs() < 1e-2), "{:?}", nothing.changes);
    }
    // A held feature has its activation whatever comes before it.
    let both = [NodeChange { node: low.node, to: 0.0 }, own(high)];
    let without_upper = model.measure(&nodes, &both[..1], ChangeOptions::default(), &mut Quiet).unwrap();
    let held = model.measure(&nodes, &both, ChangeOptions::default(), &mut Quiet).unwrap();
    assert_ne!(held.kl, without_upper.kl);
    let token = nodes.iter().find(|node| node.kind == graph::TOKEN).unwrap();
    let wrong = [NodeChange { node: token.node, to: 0.0 }];
    let refused = model.measure(&nodes, &wrong, ChangeOptions::default(), &mut Quiet).unwrap_err();
    assert!(refused.to_string().contains("is not a feature"), "{refused}");
}

#[test]
fn marks_outlive_a_trace_and_travel_with_the_graph() {
    let copy = fixtures::copy(fixtures::circuits());
    let at = &copy.path();
    let folder = at.join("graph");
    let nodes = nodes(&folder);
    let (low, high) = (node_name(feature(&nodes, 0)), node_name(feature(&nodes, 2)));
    let logit = node_name(nodes.iter().find(|node| node.kind == graph::LOGIT).unwrap());
    let group = |node: &str| MarkEdit::Group { node: node.to_owned(), supernode: Some("both".to_owned()) };
    let pin = |node: &str| MarkEdit::Pin { node: node.to_owned(), pinned: true };
    let marks =
        graph_marks::change(&folder, &[group(&low), group(&high), pin(&logit), pin("9_9_9")]).unwrap();
    // The program changes the features of a supernode.
    let line = "graph change graph --supernode both --to 0 --json";
    let changed = sae(at, line).ok().json();
    let named: Vec<&str> =
        changed["changes"].as_array().unwrap().iter().map(|one| one["node"].as_str().unwrap()).collect();
    assert_eq!(named, [low.as_str(), high.as_str()]);
    assert!(changed["kl"].as_f64().unwrap() > 0.0 && changed["controls"].as_array().unwrap().len() == 3);
    let seeded = sae(at, "--seed 7 graph change graph --supernode both --to 0 --json").ok().json();
    assert_eq!(seeded["kl"], changed["kl"]);
    assert_ne!(seeded["controls"], changed["controls"], "the directions are drawn by the seed");
    let table = sae(at, &format!("graph change graph --node {low} --times -1 --hold-attention")).ok().stdout;
    assert!(table.contains("KL of the next token") && table.contains("predicted"), "{table}");
    for (arguments, expected) in [
        ("--node 7_7_7 --to 0", "no feature `7_7_7`"),
        ("--supernode none --to 0", "no supernode `none`"),
        (&format!("--node {logit} --to 0"), "no feature"),
    ] {
        sae(at, &format!("graph change graph {arguments}")).refused(2, &[expected]);
    }
    // Out, and in again.
    let exported = sae(at, "graph export graph --out shown.json --json").ok().json();
    assert_eq!(
        (&exported["pinned"], &exported["supernodes"], &exported["missing"]),
        (&1.into(), &1.into(), &1.into())
    );
    sae(at, "graph import shown.json --out again").ok();
    let read = graph_marks::read(&at.join("again")).unwrap();
    assert_eq!((&read.supernodes, &read.pinned[..]), (&marks.supernodes, &marks.pinned[..1]));
    // A graph that is traced again keeps them.
    let line = "trace --transcoders transcoder-0 transcoder-2 --text The-court --out graph";
    sae(at, line).ok();
    assert_eq!(graph_marks::read(&folder).unwrap(), marks);
}
