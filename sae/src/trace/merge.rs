//! Which edges keep from prompt to prompt: graphs of several texts put together, without regard to positions.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::graph::{self, GraphEdgeRow, GraphNodeRow};

use super::save::read;
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
    /// Its weight in each graph, summed over the positions at which it is kept; none where it is not kept.
    pub weights: Vec<Option<f32>>,
    /// Its weight at the positions at which it is not kept; none where there are no such.
    pub pruned: Vec<Option<f32>>,
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

    /// Its weight in a graph at all positions, whether it is kept there or not; 0 where there is no such edge.
    pub fn whole(&self, graph: usize) -> f32 {
        self.weights[graph].unwrap_or_default() + self.pruned[graph].unwrap_or_default()
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

/// A graph that is to be put together with others.
#[derive(Debug, Clone, Copy)]
pub struct GraphRows<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// What it was made of.
    pub record: &'a graph::Graph,
    /// Its nodes; index = number.
    pub nodes: &'a [GraphNodeRow],
    /// Its edges in any order; those that are not kept may be missing.
    pub edges: &'a [GraphEdgeRow],
}

/// Puts the graphs in `folders` together.
///
/// # Errors
/// Fewer than two, graphs of different models or transcoders, a folder that is not a graph's or whose tables do not belong together.
pub fn merge(folders: &[PathBuf]) -> Result<Merged> {
    if folders.len() < 2 {
        return Err(too_few());
    }
    let read: Vec<_> = folders.iter().map(|folder| read(folder)).collect::<Result<_>>()?;
    let graphs: Vec<GraphRows<'_>> = folders
        .iter()
        .zip(&read)
        .map(|(folder, (record, nodes, edges))| GraphRows { folder, record, nodes, edges })
        .collect();
    merge_rows(&graphs)
}

/// Puts graphs together that were read before.
///
/// # Errors
/// As [`merge`].
pub fn merge_rows(graphs: &[GraphRows<'_>]) -> Result<Merged> {
    let [first, others @ ..] = graphs else { return Err(too_few()) };
    if others.is_empty() {
        return Err(too_few());
    }
    for other in others {
        comparable((first.folder, first.record), (other.folder, other.record))?;
    }
    let mut names = Names::default();
    let of: Vec<Vec<u32>> =
        graphs.iter().map(|graph| graph.nodes.iter().map(|node| names.number(node)).collect()).collect();
    let mut weights: HashMap<(u32, u32), [Vec<Option<f32>>; 2]> = HashMap::new();
    // Only once all kept edges are known is it known which of the others are wanted.
    for kept in [true, false] {
        for (i, graph) in graphs.iter().enumerate() {
            for edge in graph.edges.iter().filter(|edge| edge.kept == kept) {
                let pair = (of_node(graph, &of[i], edge.source)?, of_node(graph, &of[i], edge.target)?);
                if kept {
                    let none = || [vec![None; graphs.len()], vec![None; graphs.len()]];
                    *weights.entry(pair).or_insert_with(none)[0][i].get_or_insert(0.0) += edge.weight;
                } else if let Some([_, pruned]) = weights.get_mut(&pair) {
                    *pruned[i].get_or_insert(0.0) += edge.weight;
                }
            }
        }
    }
    let named = |(pair, weights): ((u32, u32), _)| ((names.of(pair.0), names.of(pair.1)), weights);
    let merged: BTreeMap<(String, String), [Vec<Option<f32>>; 2]> = weights.into_iter().map(named).collect();
    let edge = |((source, target), [weights, pruned]): ((String, String), [Vec<Option<f32>>; 2])| {
        MergedEdge { source, target, graphs: weights.iter().flatten().count(), weights, pruned }
    };
    let mut edges: Vec<MergedEdge> = merged.into_iter().map(edge).collect();
    edges.sort_by(|a, b| {
        let strength = |edge: &MergedEdge| edge.mean().abs();
        b.graphs.cmp(&a.graphs).then(strength(b).total_cmp(&strength(a)))
    });
    let texts = graphs.iter().map(|graph| graph.record.text.clone()).collect();
    Ok(Merged { graphs: graphs.iter().map(|graph| graph.folder.to_owned()).collect(), texts, edges })
}

fn too_few() -> Error {
    Error::request("graphs are compared with each other: name at least two")
}

/// Whether a feature of one graph is the same feature in the other: graphs of one model, through one transcoder in each layer that both
/// have one of.
///
/// # Errors
/// They are not; the message says what differs.
pub fn comparable(first: (&Path, &graph::Graph), other: (&Path, &graph::Graph)) -> Result<()> {
    let ((first, of_first), (other, of_other)) = (first, other);
    if of_first.model.sha256 != of_other.model.sha256 || of_first.model.id != of_other.model.id {
        return Err(Error::request(format!(
            "{} is of `{}`, {} of {}: features of different models cannot be compared",
            first.display(),
            of_first.model.id,
            other.display(),
            if of_first.model.id == of_other.model.id {
                "a model of that name with other weights".to_owned()
            } else {
                format!("`{}`", of_other.model.id)
            }
        )));
    }
    for own in &of_first.transcoders {
        let Some(its) = of_other.transcoders.iter().find(|its| its.layer == own.layer) else { continue };
        // Folders are moved as a whole: the last part of a path stays.
        let called = |source: &str| Path::new(source).file_name().map(ToOwned::to_owned);
        if (called(&own.source), &own.hook, own.d_sae) != (called(&its.source), &its.hook, its.d_sae) {
            return Err(Error::request(format!(
                "{} is traced through `{}` in layer {}, {} through `{}`: features of different transcoders cannot be compared",
                first.display(),
                own.source,
                own.layer,
                other.display(),
                its.source
            )));
        }
    }
    Ok(())
}

fn of_node(graph: &GraphRows<'_>, numbers: &[u32], node: u32) -> Result<u32> {
    numbers.get(node as usize).copied().ok_or_else(|| {
        let what = format!("has an edge of node {node}, of {}", graph.nodes.len());
        Error::format(graph.folder.join(graph::EDGES), what)
            .with_remedy("make the graph again with `sae trace`")
    })
}

/// What nodes are, numbered: a graph has many more edges than nodes.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, node: &GraphNodeRow) -> u32 {
        let name = identity(node);
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            (self.names.len() - 1) as u32
        })
    }

    fn of(&self, number: u32) -> String {
        self.names[number as usize].clone()
    }
}

/// What a node is, without its position: what [`MergedEdge`] names.
pub fn identity(node: &GraphNodeRow) -> String {
    let (layer, shown) = (node.layer.unwrap_or_default(), node.name.clone().unwrap_or_default());
    match node.kind.as_str() {
        graph::FEATURE => format!("feature {layer}:{}", node.feature.unwrap_or_default()),
        graph::ERROR => format!("errors of layer {layer}"),
        graph::TOKEN => format!("token {shown:?}"),
        graph::LOGIT => format!("logit {shown:?}"),
        _ => shown,
    }
}
