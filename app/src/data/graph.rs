//! An attribution graph as the window holds it: nodes, and edges by the node that they go into or come from.

use std::path::Path;

use storage::Scan;
use storage::graph::{self as files, GraphEdgeRow, GraphNodeRow};

use super::problem;
use crate::load::Problem;

/// Edges up to which all are read; of larger graphs those that pruning kept.
const ALL_EDGES: u64 = 3_000_000;

/// A graph.
#[derive(Debug)]
pub struct AttributionGraph {
    /// What it was made of.
    pub record: files::Graph,
    /// Its nodes; index = number.
    pub nodes: Vec<GraphNodeRow>,
    /// Its edges, by target and source.
    pub edges: Vec<GraphEdgeRow>,
    /// For each node the edges that come from it, as places in `edges`.
    pub out: Vec<Vec<u32>>,
    /// The edges that pruning kept as places in `edges`, strongest first.
    pub strongest: Vec<u32>,
    /// Whether only the edges that pruning kept were read.
    pub kept_only: bool,
    /// The shares of influence that its nodes reach, ascending.
    reached: Vec<f64>,
}

impl AttributionGraph {
    /// Whether a node is always shown: a token or a target.
    pub fn is_end(&self, node: usize) -> bool {
        !matches!(self.nodes[node].kind.as_str(), files::FEATURE | files::ERROR)
    }

    /// Whether a node is shown when nodes with `share` of the influence are. The one with which the share is reached is one of them,
    /// as when a graph is made.
    pub fn is_shown(&self, node: usize, share: f64) -> bool {
        let at = self.reached.partition_point(|reached| *reached < share);
        let most = self.reached.get(at).copied().unwrap_or(share);
        self.is_end(node) || self.nodes[node].cumulative <= most
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| storage::graph_marks::node_name(node) == name)
    }

    /// The edges that go into a node, by source.
    pub fn edges_into(&self, node: usize) -> &[GraphEdgeRow] {
        let first = self.edges.partition_point(|edge| (edge.target as usize) < node);
        let of_node = &self.edges[first..];
        &of_node[..of_node.partition_point(|edge| edge.target as usize == node)]
    }

    /// The edges that come from a node, by target.
    pub fn edges_out(&self, node: usize) -> impl Iterator<Item = &GraphEdgeRow> {
        self.out[node].iter().map(|&edge| &self.edges[edge as usize])
    }

    /// The edges that go into a node, strongest first.
    pub fn into(&self, node: usize) -> Vec<GraphEdgeRow> {
        by_strength(self.edges_into(node).to_vec())
    }

    /// The edges that come from a node, strongest first.
    pub fn out_of(&self, node: usize) -> Vec<GraphEdgeRow> {
        by_strength(self.edges_out(node).copied().collect())
    }
}

fn by_strength(mut edges: Vec<GraphEdgeRow>) -> Vec<GraphEdgeRow> {
    edges.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
    edges
}

/// Reads the graph in `dir`.
///
/// # Errors
/// Files that are missing or cannot be read; a node out of order, an edge between nodes that are not there.
pub fn read(dir: &Path) -> Result<AttributionGraph, Problem> {
    let record = files::Graph::read(dir).map_err(problem)?;
    let (nodes_path, edges_path) = (dir.join(files::NODES), dir.join(files::EDGES));
    let table = storage::row::open::<GraphNodeRow>(&nodes_path).map_err(problem)?;
    let nodes: Vec<GraphNodeRow> = storage::row::read(&table, Scan::default()).map_err(problem)?;
    let damaged =
        |what: String| Err(Problem::new(what).with_remedy("Make the graph again with `sae trace`."));
    if let Some(at) = nodes.iter().zip(0..).position(|(node, number)| node.node != number) {
        return damaged(format!("{}: row {at} holds node {}.", nodes_path.display(), nodes[at].node));
    }
    let table = storage::row::open::<GraphEdgeRow>(&edges_path).map_err(problem)?;
    let mut edges: Vec<GraphEdgeRow> = storage::row::read(&table, Scan::default()).map_err(problem)?;
    let kept_only = record.edges > ALL_EDGES;
    if kept_only {
        edges.retain(|edge| edge.kept);
    }
    let strange = |edge: &&GraphEdgeRow| edge.target.max(edge.source) as usize >= nodes.len();
    if let Some(edge) = edges.iter().find(strange) {
        let what =
            format!("an edge from {} to {}, but there are {} nodes", edge.source, edge.target, nodes.len());
        return damaged(format!("{}: {what}.", edges_path.display()));
    }
    edges.sort_by_key(|edge| (edge.target, edge.source));
    let mut out = vec![Vec::new(); nodes.len()];
    for (edge, place) in edges.iter().zip(0..) {
        out[edge.source as usize].push(place);
    }
    let mut strongest: Vec<u32> =
        edges.iter().zip(0..).filter(|(edge, _)| edge.kept).map(|(_, place)| place).collect();
    let strength = |place: &u32| edges[*place as usize].weight.abs();
    strongest.sort_by(|a, b| strength(b).total_cmp(&strength(a)).then(a.cmp(b)));
    let mut reached: Vec<f64> = nodes.iter().map(|node| node.cumulative).collect();
    reached.sort_by(f64::total_cmp);
    Ok(AttributionGraph { record, nodes, edges, out, strongest, kept_only, reached })
}
