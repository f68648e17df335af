//! Nodes and paths in words.

use storage::graph::{self as files, GraphEdgeRow, GraphNodeRow};

use crate::data::graph::AttributionGraph;
use crate::widgets::text;

/// What features are called, by a person, an index or an explanation: of (layer, feature).
pub type Labels<'a> = &'a dyn Fn(u32, u32) -> Option<String>;

/// The token that a node is at or of; an error's row does not name it.
fn token<'a>(graph: &'a AttributionGraph, row: &'a GraphNodeRow) -> &'a str {
    let at = || graph.record.shown.get(row.position? as usize);
    row.name.as_ref().or_else(at).map_or("", String::as_str)
}

/// A token of the graph's text by its place, e.g. `3 ‹·court›`.
pub fn place(graph: &AttributionGraph, place: usize) -> String {
    let shown = graph.record.shown.get(place).map_or("", String::as_str);
    format!("{place} ‹{}›", text::in_list(shown))
}

/// A node in words, e.g. `feature 12 · layer 3 · token 8 ‹·court›`.
pub fn name(graph: &AttributionGraph, node: usize) -> String {
    let row = &graph.nodes[node];
    let token = token(graph, row);
    let shown = format!("‹{}›", text::in_list(token));
    let (layer, position) = (row.layer.unwrap_or_default(), row.position.unwrap_or_default());
    match row.kind.as_str() {
        files::FEATURE => {
            format!("feature {} · layer {layer} · token {position} {shown}", row.feature.unwrap_or_default())
        }
        files::ERROR => format!("error · layer {layer} · token {position} {shown}"),
        files::TOKEN => format!("token {position} {shown}"),
        files::LOGIT => format!("next token {shown}"),
        _ => token.to_owned(),
    }
}

/// A node in a word or two: a feature's label where it has one.
pub fn short(graph: &AttributionGraph, node: usize, labels: Labels<'_>) -> String {
    let row = &graph.nodes[node];
    let token = || format!("‹{}›", text::in_list(token(graph, row)));
    match (row.kind.as_str(), row.layer, row.feature) {
        (files::FEATURE, Some(layer), Some(feature)) => {
            labels(layer, feature).unwrap_or_else(|| format!("{layer}/{feature} at {}", token()))
        }
        (files::ERROR, Some(layer), _) => format!("error of layer {layer} at {}", token()),
        _ => token(),
    }
}

/// The strongest path through a node, from a token or an error to a target: backwards along the edge that gives it most, forwards
/// along that to what it gives most. What takes away is passed over.
pub fn path(graph: &AttributionGraph, node: usize) -> Vec<usize> {
    // A damaged file may lead in a circle.
    let most = graph.nodes.len();
    let stronger =
        |best: Option<&GraphEdgeRow>, edge: &GraphEdgeRow| edge.weight > best.map_or(0.0, |best| best.weight);
    let mut path = vec![node];
    loop {
        let mut best = None;
        for edge in graph.edges_into(path[path.len() - 1]) {
            best = if stronger(best, edge) { Some(edge) } else { best };
        }
        let Some(edge) = best.filter(|_| path.len() < most) else { break };
        path.push(edge.source as usize);
    }
    path.reverse();
    let before = path.len();
    loop {
        let mut best = None;
        for edge in graph.edges_out(path[path.len() - 1]) {
            best = if stronger(best, edge) { Some(edge) } else { best };
        }
        let Some(edge) = best.filter(|_| path.len() < before + most) else { break };
        path.push(edge.target as usize);
    }
    path
}

/// A path as a sentence.
pub fn sentence(graph: &AttributionGraph, path: &[usize], labels: Labels<'_>) -> String {
    path.iter().map(|node| short(graph, *node, labels)).collect::<Vec<_>>().join(" → ")
}
