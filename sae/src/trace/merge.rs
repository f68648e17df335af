//! Which edges keep from prompt to prompt: graphs of several texts put together, without regard to positions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::graph::{self, GraphEdgeRow, GraphNodeRow};

use crate::{Error, Result};

/// An edge between what two nodes are, wherever in their texts they are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MergedEdge {
    /// What gives: `feature LAYER:NUMBER`, `errors of layer L`, `token "x"`.
    pub source: String,
    /// What is given something: a feature, `logit "x"` or what was asked about.
    pub target: String,
    /// Graphs in which pruning keeps it.
    pub graphs: usize,
    /// Its weight in each graph, summed over positions; none where it is not kept.
    pub weights: Vec<Option<f32>>,
}

impl MergedEdge {
    /// Mean weight of the graphs that keep it.
    pub fn mean(&self) -> f64 {
        let kept: Vec<f64> = self.weights.iter().flatten().map(|weight| f64::from(*weight)).collect();
        kept.iter().sum::<f64>() / kept.len().max(1) as f64
    }

    /// Whether its weight has one sign in all graphs that keep it.
    pub fn is_consistent(&self) -> bool {
        let mut kept = self.weights.iter().flatten();
        let Some(first) = kept.next() else { return true };
        kept.all(|weight| (*weight > 0.0) == (*first > 0.0))
    }
}

/// Several graphs put together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Merged {
    /// Their folders.
    pub graphs: Vec<PathBuf>,
    /// Their texts.
    pub texts: Vec<String>,
    /// Edges that pruning keeps in some graph: those in most graphs first, then the strongest.
    pub edges: Vec<MergedEdge>,
}

/// Puts the graphs in `folders` together.
///
/// # Errors
/// Fewer than two, graphs of different models, a folder that is not a graph's or whose tables do not belong together.
pub fn merge(folders: &[PathBuf]) -> Result<Merged> {
    if folders.len() < 2 {
        return Err(Error::request("graphs are compared with each other: name at least two"));
    }
    let mut merged: BTreeMap<(String, String), Vec<Option<f32>>> = BTreeMap::new();
    let (mut texts, mut first): (Vec<String>, Option<graph::Graph>) = (Vec::new(), None);
    for (i, folder) in folders.iter().enumerate() {
        let record = graph::Graph::read(folder)?;
        match &first {
            Some(first) if first.model.sha256 != record.model.sha256 || first.model.id != record.model.id => {
                return Err(Error::request(format!(
                    "{} is of `{}`, {} of `{}`: features of different models cannot be compared",
                    folders[0].display(),
                    first.model.id,
                    folder.display(),
                    record.model.id
                )));
            }
            _ => {}
        }
        for (source, target, weight) in edges(folder)? {
            let weights = merged.entry((source, target)).or_insert_with(|| vec![None; folders.len()]);
            let sum = weights[i].get_or_insert(0.0);
            *sum += weight;
        }
        texts.push(record.text.clone());
        first.get_or_insert(record);
    }
    let edge = |((source, target), weights): ((String, String), Vec<Option<f32>>)| MergedEdge {
        source,
        target,
        graphs: weights.iter().flatten().count(),
        weights,
    };
    let mut edges: Vec<MergedEdge> = merged.into_iter().map(edge).collect();
    edges.sort_by(|a, b| {
        let strength = |edge: &MergedEdge| edge.mean().abs();
        b.graphs.cmp(&a.graphs).then(strength(b).total_cmp(&strength(a)))
    });
    Ok(Merged { graphs: folders.to_vec(), texts, edges })
}

/// The kept edges of a graph: what gives, what is given, how much.
fn edges(folder: &Path) -> Result<Vec<(String, String, f32)>> {
    let read = |file: &str| folder.join(file);
    let table = storage::row::open::<GraphNodeRow>(&read(graph::NODES))?;
    let nodes: Vec<GraphNodeRow> = storage::row::read(&table, storage::Scan::default())?;
    let table = storage::row::open::<GraphEdgeRow>(&read(graph::EDGES))?;
    let edges: Vec<GraphEdgeRow> = storage::row::read(&table, storage::Scan::default())?;
    let names: Vec<String> = nodes.iter().map(name).collect();
    let of = |node: u32| {
        names.get(node as usize).cloned().ok_or_else(|| {
            Error::format(read(graph::EDGES), format!("has an edge of node {node}, of {}", names.len()))
                .with_remedy("make the graph again with `sae trace`")
        })
    };
    let kept = edges.iter().filter(|edge| edge.kept);
    kept.map(|edge| Ok((of(edge.source)?, of(edge.target)?, edge.weight))).collect()
}

/// What a node is, without its position.
fn name(node: &GraphNodeRow) -> String {
    let (layer, shown) = (node.layer.unwrap_or_default(), node.name.clone().unwrap_or_default());
    match node.kind.as_str() {
        graph::FEATURE => format!("feature {layer}:{}", node.feature.unwrap_or_default()),
        graph::ERROR => format!("errors of layer {layer}"),
        graph::TOKEN => format!("token {shown:?}"),
        graph::LOGIT => format!("logit {shown:?}"),
        _ => shown,
    }
}
