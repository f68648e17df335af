//! Graphs that other tools wrote: the JSON of circuit-tracer and Neuronpedia, made a folder.

use std::collections::{BTreeMap, HashMap};
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
struct FileNode {
    node_id: String,
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
        let wrong = |what: String| Error::format(path, what);
        let mut nodes: Vec<(NodeKind, &FileNode)> = Vec::with_capacity(file.nodes.len());
        let mut words: BTreeMap<u32, String> = BTreeMap::new();
        let last = file.metadata.prompt_tokens.len();
        let mut layers = 0;
        for node in &file.nodes {
            let kind = kind_of(node).map_err(wrong)?;
            match &kind {
                NodeKind::Feature { layer, .. } | NodeKind::Error { layer, .. } => {
                    layers = layers.max(layer + 1);
                }
                NodeKind::Logit { token, .. } => {
                    words.insert(*token, said(node.clerp.as_deref().unwrap_or_default(), *token));
                    // Logits are on the floor above the last layer.
                    layers = layers.max(layer_of(node).unwrap_or_default().saturating_sub(1));
                }
                _ => {}
            }
            if node.ctx_idx >= last {
                return Err(wrong(format!(
                    "node `{}` is at token {}, but the prompt has {last} tokens",
                    node.node_id, node.ctx_idx
                )));
            }
            nodes.push((kind, node));
        }
        nodes.sort_by_key(|(kind, _)| order(kind));
        let count = |is: fn(&NodeKind) -> bool| nodes.iter().filter(|(kind, _)| is(kind)).count();
        let features = count(|kind| matches!(kind, NodeKind::Feature { .. }));
        let errors = count(|kind| matches!(kind, NodeKind::Error { .. }));
        let tokens = count(|kind| matches!(kind, NodeKind::Token { .. }));
        let numbers: HashMap<&str, usize> =
            nodes.iter().enumerate().map(|(i, (_, node))| (node.node_id.as_str(), i)).collect();
        if numbers.len() < nodes.len() {
            return Err(wrong("has two nodes of one name".to_owned()));
        }
        let n = nodes.len();
        let mut graph = Graph {
            nodes: nodes.iter().map(|(kind, _)| Node { kind: kind.clone(), value: 0.0 }).collect(),
            features,
            errors,
            tokens,
            weights: Vec::new(),
            left_out: 0,
        };
        graph.weights = vec![0.0; (features + graph.targets()) * n];
        let mut edges = Vec::with_capacity(file.links.len());
        for Link { source, target, weight } in &file.links {
            let number = |name: &str| {
                numbers.get(name).copied().ok_or_else(|| {
                    wrong(format!("has an edge from `{source}` to `{target}`, but there is no node `{name}`"))
                })
            };
            let (from, to) = (number(source)?, number(target)?);
            if !weight.is_finite() {
                return Err(wrong(format!("the edge from `{source}` to `{target}` has the weight {weight}")));
            }
            let place = if to < features { to } else { to.wrapping_sub(errors + tokens) };
            let forward = to < features && (from < to || from >= features) && from < graph.first_target();
            let asked = to >= graph.first_target() && from < graph.first_target();
            if !(forward || asked) {
                return Err(wrong(format!("the edge from `{source}` to `{target}` does not lead forward")));
            }
            graph.weights[place * n + from] = *weight;
            graph.nodes[to].value += weight;
            edges.push((to as u32, from as u32, *weight));
        }
        edges.sort_by_key(|&(target, source, _)| (target, source));
        let pruned = Pruned {
            nodes: vec![true; n],
            cumulative: nodes.iter().map(|(_, node)| node.influence.unwrap_or_default()).collect(),
            edges,
        };
        let thresholds = Thresholds {
            nodes: file.metadata.node_threshold.unwrap_or(Thresholds::default().nodes),
            ..Thresholds::default()
        };
        let most = words.keys().next_back().map_or(0, |token| *token as usize + 1);
        let mut vocabulary = vec![String::new(); most];
        words.into_iter().for_each(|(token, word)| vocabulary[token as usize] = word);
        let ids: Vec<Option<u32>> = (0..last)
            .map(|position| {
                graph.nodes.iter().find_map(|node| match node.kind {
                    NodeKind::Token { position: at, token } if at == position => Some(token),
                    _ => None,
                })
            })
            .collect();
        let subject = GraphSubject {
            model: ModelRef { id: file.metadata.scan.clone(), path: None, sha256: String::new() },
            layers,
            // Tokens that pruning removed are not in the file: then none is known by number.
            tokens: ids.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default(),
            target: "logits".to_owned(),
            first_token_left_out: false,
            seconds: 0.0,
        };
        let slug =
            if file.metadata.slug.is_empty() { "graph".to_owned() } else { plain(&file.metadata.slug) };
        let prompt = Prompt {
            text: file.metadata.prompt,
            tokens: file.metadata.prompt_tokens,
            vocabulary,
            slug,
            scan: file.metadata.scan,
        };
        Ok(Self { graph, pruned, prompt, subject, thresholds })
    }
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
    match &node.layer {
        serde_json::Value::String(layer) => layer.parse().ok(),
        other => other.as_u64().map(|layer| layer as usize),
    }
}

fn kind_of(node: &FileNode) -> Result<NodeKind, String> {
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
