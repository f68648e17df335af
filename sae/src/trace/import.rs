//! Graphs that other tools wrote: the JSON of circuit-tracer and Neuronpedia, made a folder.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use storage::{ModelRef, graph};

use super::graph::{Graph, Node, NodeKind};
use super::influence::{Pruned, Thresholds};
use super::neuronpedia::Prompt;
use super::save::GraphSubject;
use crate::{Error, Result};

/// A graph file.
#[derive(Deserialize)]
struct File {
    metadata: Metadata,
    nodes: Vec<FileNode>,
    links: Vec<Link>,
    /// What a viewer was told to show.
    #[serde(default, rename = "qParams")]
    parameters: serde_json::Value,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    slug: String,
    #[serde(default)]
    scan: String,
    #[serde(default)]
    prompt: String,
    prompt_tokens: Vec<String>,
    #[serde(default)]
    node_threshold: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct FileNode {
    pub node_id: String,
    /// Text, or a number.
    layer: serde_json::Value,
    ctx_idx: usize,
    feature_type: String,
    #[serde(default)]
    token_prob: Option<f32>,
    #[serde(default)]
    clerp: Option<String>,
    #[serde(default)]
    influence: Option<f64>,
    #[serde(default)]
    activation: Option<f32>,
}

#[derive(Deserialize)]
struct Link {
    source: String,
    target: String,
    weight: f32,
}

/// Types of nodes that are features. Everybody's graphs have the first, whatever the transcoders are.
const FEATURES: [&str; 3] = ["cross layer transcoder", "per layer transcoder", "transcoder"];

/// Layers of a model at most: exported names of features are numbers that are made of the layer's.
const MOST_LAYERS: usize = 1 << 16;

/// Weights of a graph at most, 4 GiB: every pair of nodes has a place, so a small file could ask for much memory.
const MOST_WEIGHTS: usize = 1 << 30;

/// Makes a graph's folder in `out` of the graph file at `path`. A file has only what pruning kept: everything in it is kept, shares of
/// influence are the file's, and influence, scores and nodes' values are those of its own edges.
///
/// # Errors
/// A file that cannot be read or is not a graph; a node of an unknown type or whose name says nothing, an edge of a node that is not there
/// or that leads back; a folder that holds something else. Nothing is written then.
pub fn import(path: &Path, out: &Path) -> Result<graph::Graph> {
    super::save::may_be_written(out)?;
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| {
        Error::format(path, format!("is not a graph of circuit-tracer or Neuronpedia: {e}"))
            .with_remedy("give the JSON of one graph: it has metadata, nodes and links")
    })?;
    let read = Read::of(file, path)?;
    read.graph.write_pruned(out, &read.subject, Vec::new(), &read.prompt, read.thresholds, &read.pruned)
}

/// The error of a file in which two nodes have one name: which of them an edge belongs to is unknown.
fn ambiguous(path: &Path, nodes: &[(NodeKind, &FileNode)]) -> Error {
    let mut seen = HashSet::new();
    let twice = nodes.iter().find(|(_, node)| !seen.insert(node.node_id.as_str()));
    let name = twice.map_or("", |(_, node)| node.node_id.as_str());
    Error::format(path, format!("has two nodes of the name `{name}`, so its edges cannot be told apart")).with_remedy(
        "trace the prompt with `sae trace`: circuit-tracer gives the error of layer L and feature L of layer 0 the same name",
    )
}

/// A file as a graph.
struct Read {
    graph: Graph,
    pruned: Pruned,
    prompt: Prompt,
    subject: GraphSubject,
    thresholds: Thresholds,
}

impl Read {
    fn of(file: File, path: &Path) -> Result<Self> {
        let nodes = sorted(&file, path)?;
        let mut graph = without_edges(&nodes, path)?;
        let edges = edges(&file.links, &nodes, &mut graph, path)?;
        let pruned = Pruned {
            nodes: vec![true; nodes.len()],
            cumulative: nodes.iter().map(|(_, node)| node.influence.unwrap_or_default()).collect(),
            edges,
        };
        let subject = GraphSubject {
            model: ModelRef { id: file.metadata.scan.clone(), path: None, sha256: String::new() },
            layers: nodes.iter().map(|(kind, node)| layers_below(kind, node)).max().unwrap_or_default(),
            tokens: prompt_ids(&graph, file.metadata.prompt_tokens.len()),
            target: "logits".to_owned(),
            first_token_left_out: false,
            seconds: 0.0,
            marks: super::marks::of_file(&file.parameters, &nodes),
        };
        let vocabulary = words(&nodes);
        let Metadata { slug, scan, prompt, prompt_tokens, node_threshold } = file.metadata;
        let slug = if slug.is_empty() { "graph".to_owned() } else { plain(&slug) };
        let prompt = Prompt { text: prompt, tokens: prompt_tokens, vocabulary, slug, scan };
        let default = Thresholds::default();
        let thresholds = Thresholds { nodes: node_threshold.unwrap_or(default.nodes), ..default };
        Ok(Self { graph, pruned, prompt, subject, thresholds })
    }
}

/// The nodes of a file with what they are, in the order of a graph.
fn sorted<'a>(file: &'a File, path: &Path) -> Result<Vec<(NodeKind, &'a FileNode)>> {
    let wrong = |what: String| Error::format(path, what);
    let tokens = file.metadata.prompt_tokens.len();
    let mut nodes = Vec::with_capacity(file.nodes.len());
    for node in &file.nodes {
        if node.ctx_idx >= tokens {
            let (name, at) = (&node.node_id, node.ctx_idx);
            return Err(wrong(format!("node `{name}` is at token {at}, but the prompt has {tokens} tokens")));
        }
        nodes.push((kind_of(node).map_err(wrong)?, node));
    }
    nodes.sort_by_key(|(kind, _)| order(kind));
    Ok(nodes)
}

/// The graph of these nodes, all weights 0.
fn without_edges(nodes: &[(NodeKind, &FileNode)], path: &Path) -> Result<Graph> {
    let count = |is: fn(&NodeKind) -> bool| nodes.iter().filter(|(kind, _)| is(kind)).count();
    let mut graph = Graph {
        nodes: nodes.iter().map(|(kind, _)| Node { kind: kind.clone(), value: 0.0 }).collect(),
        features: count(|kind| matches!(kind, NodeKind::Feature { .. })),
        errors: count(|kind| matches!(kind, NodeKind::Error { .. })),
        tokens: count(|kind| matches!(kind, NodeKind::Token { .. })),
        weights: Vec::new(),
        left_out: 0,
    };
    let weights = (graph.features + graph.targets()) * nodes.len();
    if weights > MOST_WEIGHTS {
        let what = format!("has {} nodes, whose weights would take {} GiB", nodes.len(), weights >> 28);
        return Err(Error::format(path, what).with_remedy("give a graph that was pruned further"));
    }
    graph.weights = vec![0.0; weights];
    Ok(graph)
}

/// Puts the edges into the graph; (target, source, weight), in the order of the nodes.
fn edges(
    links: &[Link],
    nodes: &[(NodeKind, &FileNode)],
    graph: &mut Graph,
    path: &Path,
) -> Result<Vec<(u32, u32, f32)>> {
    let wrong = |what: String| Error::format(path, what);
    let numbers: HashMap<&str, usize> =
        nodes.iter().enumerate().map(|(i, (_, node))| (node.node_id.as_str(), i)).collect();
    if numbers.len() < nodes.len() {
        return Err(ambiguous(path, nodes));
    }
    let mut edges = Vec::with_capacity(links.len());
    for Link { source, target, weight } in links {
        let number = |name: &str| {
            numbers.get(name).copied().ok_or_else(|| {
                wrong(format!("has an edge from `{source}` to `{target}`, but there is no node `{name}`"))
            })
        };
        let (from, to) = (number(source)?, number(target)?);
        if !weight.is_finite() {
            return Err(wrong(format!("the edge from `{source}` to `{target}` has the weight {weight}")));
        }
        let (features, first_target) = (graph.features, graph.first_target());
        // Features come before errors and tokens, which have no inputs, and before targets, which have no outputs.
        let forward = to < features && (from < to || from >= features) && from < first_target;
        let asked = to >= first_target && from < first_target;
        if !(forward || asked) {
            return Err(wrong(format!("the edge from `{source}` to `{target}` does not lead forward")));
        }
        let row = if to < features { to } else { to - graph.errors - graph.tokens };
        graph.weights[row * nodes.len() + from] = *weight;
        graph.nodes[to].value += weight;
        edges.push((to as u32, from as u32, *weight));
    }
    edges.sort_by_key(|&(target, source, _)| (target, source));
    Ok(edges)
}

/// How many layers a model has at least that has this node; logits are above the last layer.
fn layers_below(kind: &NodeKind, node: &FileNode) -> usize {
    match kind {
        NodeKind::Feature { layer, .. } | NodeKind::Error { layer, .. } => layer.saturating_add(1),
        NodeKind::Logit { .. } => layer_of(node).unwrap_or_default().saturating_sub(1),
        _ => 0,
    }
}

/// The logits' tokens as they are shown.
fn words(nodes: &[(NodeKind, &FileNode)]) -> HashMap<u32, String> {
    let word = |(kind, node): &(NodeKind, &FileNode)| match kind {
        NodeKind::Logit { token, .. } => {
            Some((*token, said(node.clerp.as_deref().unwrap_or_default(), *token)))
        }
        _ => None,
    };
    nodes.iter().filter_map(word).collect()
}

/// The numbers of the prompt's tokens; none if pruning removed the node of one of them.
fn prompt_ids(graph: &Graph, tokens: usize) -> Vec<u32> {
    let of = |node: &Node| match node.kind {
        NodeKind::Token { position, token } => Some((position, token)),
        _ => None,
    };
    let known: HashMap<usize, u32> = graph.nodes.iter().filter_map(of).collect();
    (0..tokens).map(|position| known.get(&position).copied()).collect::<Option<_>>().unwrap_or_default()
}

/// A name that is a name of a file.
fn plain(slug: &str) -> String {
    slug.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// The place of a node in a graph: features by layer, errors, tokens, targets.
fn order(kind: &NodeKind) -> (u8, usize, usize, u32) {
    match kind {
        NodeKind::Feature { layer, position, feature, .. } => (0, *layer, *position, *feature),
        NodeKind::Error { layer, position } => (1, *layer, *position, 0),
        NodeKind::Token { position, token } => (2, *position, 0, *token),
        // The likeliest first, as they are traced.
        NodeKind::Logit { token, probability } => (3, usize::MAX - (probability * 1e9) as usize, 0, *token),
        NodeKind::Target { .. } => (3, 0, 0, 0),
    }
}

fn layer_of(node: &FileNode) -> Option<usize> {
    let layer = match &node.layer {
        serde_json::Value::String(layer) => layer.parse().ok(),
        other => other.as_u64().map(|layer| layer as usize),
    };
    layer.filter(|layer| *layer <= MOST_LAYERS)
}

pub(super) fn kind_of(node: &FileNode) -> Result<NodeKind, String> {
    let name = &node.node_id;
    let parts: Vec<&str> = name.split('_').collect();
    let number = |i: usize| parts.get(i).and_then(|part| part.parse::<u32>().ok());
    let unclear = || format!("the name of node `{name}` ({}) does not say what it is", node.feature_type);
    match node.feature_type.as_str() {
        kind if FEATURES.contains(&kind) => Ok(NodeKind::Feature {
            layer: layer_of(node).ok_or_else(unclear)?,
            position: node.ctx_idx,
            feature: number(1).filter(|_| parts.len() == 3).ok_or_else(unclear)?,
            activation: node.activation.unwrap_or_default(),
        }),
        "mlp reconstruction error" => {
            Ok(NodeKind::Error { layer: layer_of(node).ok_or_else(unclear)?, position: node.ctx_idx })
        }
        "embedding" => Ok(NodeKind::Token { position: node.ctx_idx, token: number(1).ok_or_else(unclear)? }),
        "logit" => Ok(NodeKind::Logit {
            token: number(1).ok_or_else(unclear)?,
            probability: node.token_prob.unwrap_or_default(),
        }),
        other => Err(format!(
            "node `{name}` is of the unknown type `{other}`; known are {}, mlp reconstruction error, embedding and logit",
            FEATURES.join(", ")
        )),
    }
}

/// The token of `Output "x" (p=0.038)`, or the whole text.
fn said(clerp: &str, token: u32) -> String {
    let quoted = clerp.strip_prefix("Output \"").and_then(|rest| rest.rsplit_once("\" (p="));
    match (quoted, clerp) {
        (Some((word, _)), _) => word.to_owned(),
        (None, "") => token.to_string(),
        (None, whole) => whole.to_owned(),
    }
}
