//! Graphs of several texts next to each other: what is the same in them, which edges keep, and how much their weights differ. The numbers
//! are those of `sae graph merge`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sae::trace::{self, GraphRows, Merged, MergedEdge};
use storage::graph::{self as files, Graph, GraphEdgeRow};

use super::problem;
use crate::data::export;
use crate::data::graph::AttributionGraph;
use crate::load::Problem;

/// What nodes are, wherever in their texts they are: a feature, a token's text, the errors of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedNode {
    /// As `sae graph merge` names it.
    pub name: String,
    /// Layer and number of a feature.
    pub feature: Option<(u32, u32)>,
    /// Its nodes in each graph, those with the most influence first.
    pub nodes: Vec<Vec<u32>>,
}

/// An edge that pruning keeps in some graph.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedEdge {
    /// What gives, as a place in [`ComparedGraphs::nodes`].
    pub source: u32,
    /// What is given something.
    pub target: u32,
    /// Its weights.
    pub merged: MergedEdge,
}

impl ComparedEdge {
    /// Whether pruning keeps it in a graph.
    pub fn is_kept(&self, graph: usize) -> bool {
        self.merged.weights[graph].is_some()
    }

    /// The weight in the second graph less that in the first, at all positions: what pruning keeps says too little where it cuts just
    /// above one of both.
    pub fn difference(&self) -> f32 {
        self.merged.whole(1) - self.merged.whole(0)
    }
}

/// Several graphs of one model and the same transcoders.
#[derive(Debug)]
pub struct ComparedGraphs {
    /// Their folders.
    pub folders: Vec<PathBuf>,
    /// The graphs.
    pub graphs: Vec<Arc<AttributionGraph>>,
    /// What their nodes are.
    pub nodes: Vec<ComparedNode>,
    /// For each graph and node what it is, as a place in `nodes`.
    pub of_node: Vec<Vec<u32>>,
    /// For each graph and node whether every graph has what it is.
    pub common: Vec<Vec<bool>>,
    /// The edges that pruning keeps in some graph, in the order of `sae graph merge`.
    pub edges: Vec<ComparedEdge>,
    /// The largest difference of two graphs, without its sign; 0 of more graphs.
    pub largest_difference: f32,
    /// How many of them are kept in exactly so many graphs, from 0.
    pub counts: Vec<usize>,
    /// How many are kept in each graph alone.
    pub alone: Vec<usize>,
    /// Their places by source and target.
    places: HashMap<(u32, u32), u32>,
}

/// Why `other` cannot be compared with `first`, if so.
pub fn refusal(first: (&Path, &Graph), other: (&Path, &Graph)) -> Option<Problem> {
    trace::comparable(first, other).err().map(problem)
}

/// Puts graphs together.
///
/// # Errors
/// Fewer than two, graphs of different models or transcoders.
pub fn compare(read: Vec<(PathBuf, Arc<AttributionGraph>)>) -> Result<ComparedGraphs, Problem> {
    let rows: Vec<GraphRows<'_>> = read
        .iter()
        .map(|(folder, graph)| GraphRows {
            folder,
            record: &graph.record,
            nodes: &graph.nodes,
            edges: &graph.edges,
        })
        .collect();
    let merged = trace::merge_rows(&rows).map_err(problem)?;
    let (folders, graphs): (Vec<PathBuf>, Vec<Arc<AttributionGraph>>) = read.into_iter().unzip();
    let (nodes, of_node, numbers) = named(&graphs);
    let edges: Vec<ComparedEdge> = merged
        .edges
        .into_iter()
        .map(|merged| ComparedEdge {
            source: numbers[&merged.source],
            target: numbers[&merged.target],
            merged,
        })
        .collect();
    let places = edges.iter().zip(0..).map(|(edge, place)| ((edge.source, edge.target), place)).collect();
    let everywhere: Vec<bool> =
        nodes.iter().map(|node| node.nodes.iter().all(|own| !own.is_empty())).collect();
    let common =
        of_node.iter().map(|of| of.iter().map(|node| everywhere[*node as usize]).collect()).collect();
    let (mut counts, mut alone) = (vec![0; graphs.len() + 1], vec![0; graphs.len()]);
    for edge in &edges {
        counts[edge.merged.graphs] += 1;
        if let (1, Some(only)) = (edge.merged.graphs, (0..graphs.len()).find(|graph| edge.is_kept(*graph))) {
            alone[only] += 1;
        }
    }
    let differences = edges.iter().filter(|_| graphs.len() == 2).map(|edge| edge.difference().abs());
    let largest_difference = differences.fold(0.0, f32::max);
    Ok(ComparedGraphs {
        folders,
        graphs,
        nodes,
        of_node,
        common,
        edges,
        largest_difference,
        counts,
        alone,
        places,
    })
}

/// What the nodes of all graphs are, for each graph and node which of these, and their places by name.
fn named(graphs: &[Arc<AttributionGraph>]) -> (Vec<ComparedNode>, Vec<Vec<u32>>, HashMap<String, u32>) {
    let (mut nodes, mut of_node, mut numbers) = (Vec::<ComparedNode>::new(), Vec::new(), HashMap::new());
    for (at, graph) in graphs.iter().enumerate() {
        let mut of_graph = Vec::with_capacity(graph.nodes.len());
        for row in &graph.nodes {
            let number = *numbers.entry(trace::identity(row)).or_insert_with_key(|name: &String| {
                let feature = row.layer.zip(row.feature).filter(|_| row.kind == files::FEATURE);
                nodes.push(ComparedNode {
                    name: name.clone(),
                    feature,
                    nodes: vec![Vec::new(); graphs.len()],
                });
                (nodes.len() - 1) as u32
            });
            nodes[number as usize].nodes[at].push(row.node);
            of_graph.push(number);
        }
        of_node.push(of_graph);
    }
    for node in &mut nodes {
        for (own, graph) in node.nodes.iter_mut().zip(graphs) {
            let influence = |node: &u32| graph.nodes[*node as usize].influence;
            own.sort_by(|a, b| influence(b).total_cmp(&influence(a)).then(a.cmp(b)));
        }
    }
    (nodes, of_node, numbers)
}

impl ComparedGraphs {
    /// The largest activation of a feature over the positions of a graph at which it fires.
    pub fn activation(&self, node: u32, graph: usize) -> Option<f32> {
        let own = self.nodes[node as usize].nodes[graph].iter();
        own.filter_map(|node| self.graphs[graph].nodes[*node as usize].activation).max_by(f32::total_cmp)
    }

    /// The most influence that it has at a position of a graph.
    pub fn influence(&self, node: u32, graph: usize) -> Option<f64> {
        let first = self.nodes[node as usize].nodes[graph].first()?;
        Some(self.graphs[graph].nodes[*first as usize].influence)
    }

    /// One of its nodes, with the graph that it is in.
    pub fn one_of(&self, node: u32) -> Option<(usize, usize)> {
        let nodes = self.nodes[node as usize].nodes.iter().enumerate();
        nodes.filter_map(|(graph, own)| Some((graph, *own.first()? as usize))).next()
    }

    /// The graph in which an edge is strongest, of those that keep it.
    pub fn strongest(&self, edge: u32) -> Option<usize> {
        let weights = self.edges[edge as usize].merged.weights.iter().enumerate();
        let kept = weights.filter_map(|(graph, weight)| Some((graph, weight.as_ref()?.abs())));
        kept.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(graph, _)| graph)
    }

    /// The compared edge that an edge of a graph is part of.
    pub fn edge_of(&self, graph: usize, edge: &GraphEdgeRow) -> Option<u32> {
        let of = &self.of_node[graph];
        self.places.get(&(of[edge.source as usize], of[edge.target as usize])).copied()
    }

    /// The edges of a graph that are summed up in `edge`: those that pruning keeps, then the others, strongest first.
    pub fn parts(&self, edge: u32, graph: usize) -> Vec<GraphEdgeRow> {
        let (edge, of) = (&self.edges[edge as usize], &self.of_node[graph]);
        let own: &AttributionGraph = &self.graphs[graph];
        let targets = &self.nodes[edge.target as usize].nodes[graph];
        let into = targets.iter().flat_map(|target| own.into(*target as usize));
        let mut parts: Vec<GraphEdgeRow> =
            into.filter(|part| of[part.source as usize] == edge.source).collect();
        parts.sort_by(|a, b| b.kept.cmp(&a.kept).then(b.weight.abs().total_cmp(&a.weight.abs())));
        parts
    }

    /// How many edges there are of these.
    pub fn count(&self, kept: KeptIn) -> usize {
        match kept {
            KeptIn::Least(least) => self.counts[least.min(self.counts.len())..].iter().sum(),
            KeptIn::Only(graph) => self.alone[graph],
        }
    }

    /// Whether some graph was so large that only the edges that pruning kept were read.
    pub fn kept_only(&self) -> bool {
        self.graphs.iter().any(|graph| graph.kept_only)
    }
}

/// What graphs are called where several are shown: `A`, `B`, …
pub fn letter(graph: usize) -> String {
    match u8::try_from(graph).ok().filter(|at| *at < 26) {
        Some(at) => char::from(b'A' + at).to_string(),
        None => format!("{}", graph + 1),
    }
}

/// Which edges of a comparison are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptIn {
    /// Those of at least so many graphs.
    Least(usize),
    /// Those that pruning keeps in this graph alone.
    Only(usize),
}

impl KeptIn {
    /// Whether an edge is one of them.
    pub fn has(self, edge: &ComparedEdge) -> bool {
        match self {
            Self::Least(least) => edge.merged.graphs >= least,
            Self::Only(graph) => edge.merged.graphs == 1 && edge.is_kept(graph),
        }
    }
}

/// What the list of edges is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeKey {
    /// The name of what gives.
    Source,
    /// The name of what is given something.
    Target,
    /// In how many graphs it is kept, then the mean weight.
    Graphs,
    /// Its weight in a graph.
    Weight(usize),
    /// The weight in the second graph less that in the first.
    Difference,
    /// The largest activation of what gives.
    SourceActivation,
    /// The largest activation of what is given something.
    TargetActivation,
}

/// What is listed, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeList {
    /// In which graphs.
    pub kept: KeptIn,
    /// Those of this node alone.
    pub of: Option<u32>,
    /// By what, largest first?
    pub sort: (EdgeKey, bool),
}

/// The places of the edges that are listed, in their order. Numbers are ordered by size without their sign; what is missing comes last.
pub fn list(compared: &ComparedGraphs, list: EdgeList) -> Vec<u32> {
    let wanted = |edge: &ComparedEdge| {
        list.kept.has(edge) && list.of.is_none_or(|node| [edge.source, edge.target].contains(&node))
    };
    let places = compared.edges.iter().zip(0u32..).filter(|(edge, _)| wanted(edge)).map(|(_, place)| place);
    let mut places: Vec<u32> = places.collect();
    let edge = |place: &u32| &compared.edges[*place as usize];
    let (key, down) = list.sort;
    let largest = |node: u32| {
        (0..compared.graphs.len()).filter_map(|graph| compared.activation(node, graph)).max_by(f32::total_cmp)
    };
    let number = |place: &u32| -> Option<f32> {
        let edge = edge(place);
        match key {
            EdgeKey::Weight(graph) => edge.merged.weights[graph].map(f32::abs),
            EdgeKey::Difference => Some(edge.difference().abs()),
            EdgeKey::SourceActivation => largest(edge.source),
            EdgeKey::TargetActivation => largest(edge.target),
            EdgeKey::Source | EdgeKey::Target | EdgeKey::Graphs => None,
        }
    };
    let turned = |order: std::cmp::Ordering| if down { order.reverse() } else { order };
    match key {
        // The edges are in this order as they are.
        EdgeKey::Graphs if down => {}
        EdgeKey::Graphs => places.reverse(),
        EdgeKey::Source | EdgeKey::Target => {
            let name = |place: &u32| {
                let node = if key == EdgeKey::Source { edge(place).source } else { edge(place).target };
                &compared.nodes[node as usize].name
            };
            places.sort_by(|a, b| turned(name(a).cmp(name(b))));
        }
        _ => {
            let mut keyed: Vec<(Option<f32>, u32)> =
                places.iter().map(|place| (number(place), *place)).collect();
            keyed.sort_by(|(a, _), (b, _)| match (a, b) {
                (Some(a), Some(b)) => turned(a.total_cmp(b)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
            places = keyed.into_iter().map(|(_, place)| place).collect();
        }
    }
    places
}

/// The listed edges as `sae graph merge --json` writes them.
pub fn json(compared: &ComparedGraphs, listed: &[u32]) -> String {
    let merged = Merged {
        graphs: compared.folders.clone(),
        texts: compared.graphs.iter().map(|graph| graph.record.text.clone()).collect(),
        edges: listed.iter().map(|place| compared.edges[*place as usize].merged.clone()).collect(),
    };
    // Writing to a string cannot fail.
    serde_json::to_string_pretty(&merged).unwrap_or_default()
}

/// The listed edges as comma-separated values: for each graph the weight where it is kept, that where it is pruned, and the largest
/// activations of both ends.
pub fn csv(compared: &ComparedGraphs, listed: &[u32]) -> String {
    let mut head = vec!["source".to_owned(), "target".to_owned(), "graphs".to_owned()];
    for (graph, folder) in compared.folders.iter().enumerate() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let columns = ["weight", "pruned", "source activation", "target activation"];
        head.extend(columns.map(|column| format!("{column} {} {name}", letter(graph))));
    }
    let mut text = String::new();
    export::line(&mut text, &head);
    let number = |value: Option<f32>| value.map_or_else(String::new, |value| value.to_string());
    for edge in listed.iter().map(|place| &compared.edges[*place as usize]) {
        let merged = &edge.merged;
        let mut cells = vec![merged.source.clone(), merged.target.clone(), merged.graphs.to_string()];
        for graph in 0..compared.graphs.len() {
            let activations = [edge.source, edge.target].map(|node| compared.activation(node, graph));
            let values = [merged.weights[graph], merged.pruned[graph], activations[0], activations[1]];
            cells.extend(values.map(number));
        }
        export::line(&mut text, &cells);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::data::graph::read;

    fn folders(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| fixtures::graphs().join(name)).collect()
    }

    fn compared(names: &[&str]) -> ComparedGraphs {
        let read =
            folders(names).into_iter().map(|folder| (folder.clone(), Arc::new(read(&folder).unwrap())));
        compare(read.collect()).unwrap()
    }

    #[test]
    fn edges_are_those_of_sae_graph_merge() {
        for names in [&["graph", "owner"][..], &["graph", "owner", "long"]] {
            let compared = compared(names);
            let merged = trace::merge(&folders(names)).unwrap();
            assert!(!merged.edges.is_empty());
            let own: Vec<&MergedEdge> = compared.edges.iter().map(|edge| &edge.merged).collect();
            assert_eq!(own, merged.edges.iter().collect::<Vec<_>>());
            for edge in &compared.edges {
                let ends = [edge.source, edge.target].map(|node| &compared.nodes[node as usize].name);
                assert_eq!(ends, [&edge.merged.source, &edge.merged.target]);
            }
        }
    }

    #[test]
    fn the_parts_of_an_edge_add_up_to_its_weight() {
        let compared = compared(&["graph", "owner", "long"]);
        let mut several = 0;
        for (edge, place) in compared.edges.iter().zip(0..) {
            for graph in 0..3 {
                let parts = compared.parts(place, graph);
                for (kept, weight) in [(true, edge.merged.weights[graph]), (false, edge.merged.pruned[graph])]
                {
                    let of: Vec<f32> = parts.iter().filter(|p| p.kept == kept).map(|p| p.weight).collect();
                    assert_eq!(of.is_empty(), weight.is_none(), "{edge:?} in {graph}: {parts:?}");
                    let difference = of.iter().sum::<f32>() - weight.unwrap_or_default();
                    assert!(difference.abs() < 1e-4, "{edge:?} in {graph}: {parts:?}");
                }
                assert!(parts.iter().all(|part| compared.edge_of(graph, part) == Some(place)));
                several += usize::from(parts.len() > 1);
            }
        }
        assert!(several > 0, "no edge is at several positions");
    }

    #[test]
    fn nodes_know_where_they_are() {
        let compared = compared(&["graph", "owner"]);
        for (graph, of_node) in compared.of_node.iter().enumerate() {
            assert_eq!(of_node.len(), compared.graphs[graph].nodes.len());
            for (row, what) in compared.graphs[graph].nodes.iter().zip(of_node) {
                let node = &compared.nodes[*what as usize];
                assert_eq!(node.name, trace::identity(row));
                assert!(node.nodes[graph].contains(&row.node));
                assert!(compared.activation(*what, graph) >= row.activation);
            }
        }
        for (graph, common) in compared.common.iter().enumerate() {
            let names = |graph: usize| -> std::collections::HashSet<String> {
                compared.graphs[graph].nodes.iter().map(trace::identity).collect()
            };
            let other = names(1 - graph);
            for (row, common) in compared.graphs[graph].nodes.iter().zip(common) {
                assert_eq!(*common, other.contains(&trace::identity(row)));
            }
            assert!(common.contains(&true) && common.contains(&false));
        }
    }

    #[test]
    fn the_list_is_filtered_and_ordered() {
        let compared = compared(&["graph", "owner"]);
        let all = compared.edges.len();
        let with = |kept, sort| list(&compared, EdgeList { kept, of: None, sort });
        let by = (EdgeKey::Difference, true);
        let counts = [KeptIn::Least(2), KeptIn::Only(0), KeptIn::Only(1)].map(|kept| with(kept, by).len());
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert_eq!(
            counts,
            [KeptIn::Least(2), KeptIn::Only(0), KeptIn::Only(1)].map(|kept| compared.count(kept))
        );
        assert_eq!(compared.count(KeptIn::Least(1)), all);
        assert_eq!(counts.iter().sum::<usize>(), all);
        let edge = |place: u32| &compared.edges[place as usize];
        let largest = with(KeptIn::Least(1), by);
        assert!(largest.is_sorted_by(|a, b| edge(*a).difference().abs() >= edge(*b).difference().abs()));
        let kept: Vec<u32> = (0..all as u32).collect();
        assert_eq!(with(KeptIn::Least(1), (EdgeKey::Graphs, true)), kept);
        for down in [true, false] {
            let weights: Vec<Option<f32>> = with(KeptIn::Least(1), (EdgeKey::Weight(0), down))
                .into_iter()
                .map(|place| edge(place).merged.weights[0])
                .collect();
            let there = weights.iter().take_while(|weight| weight.is_some()).count();
            assert!(weights[there..].iter().all(Option::is_none), "what is missing comes last");
        }
        let node = edge(largest[0]).source;
        let of = list(&compared, EdgeList { kept: KeptIn::Least(1), of: Some(node), sort: by });
        assert!(!of.is_empty() && of.len() < all);
        assert!(of.iter().all(|place| edge(*place).source == node || edge(*place).target == node));
    }

    #[test]
    fn graphs_of_other_models_and_transcoders_are_refused_with_the_reason() {
        let record = |name: &str| Graph::read(&fixtures::graphs().join(name)).unwrap();
        let why = |name: &str| {
            let paths = folders(&["graph", name]);
            refusal((&paths[0], &record("graph")), (&paths[1], &record(name))).map(|problem| problem.what)
        };
        assert_eq!(why("owner"), None);
        assert!(why("toy").unwrap().contains("features of different models cannot be compared"));
        let transcoders = why("retrained").unwrap();
        assert!(
            transcoders.contains("retrained-2") && transcoders.contains("of different transcoders"),
            "{transcoders}"
        );
    }

    #[test]
    fn what_is_copied_is_what_the_terminal_prints() {
        let names = ["graph", "owner", "long"];
        let compared = compared(&names);
        let all: Vec<u32> = (0..compared.edges.len() as u32).collect();
        let merged = serde_json::to_string_pretty(&trace::merge(&folders(&names)).unwrap()).unwrap();
        assert!(json(&compared, &all) == merged);
        let text = csv(&compared, &all[..2]);
        assert_eq!(text.lines().count(), 3);
        let head = text.lines().next().unwrap();
        assert!(head.starts_with("source,target,graphs,weight A graph,pruned A graph,"), "{head}");
        // Names of tokens have quotes.
        let quoted =
            all.iter().find(|place| compared.edges[**place as usize].merged.source.contains('"')).unwrap();
        let row = csv(&compared, &[*quoted]).lines().nth(1).unwrap().to_owned();
        assert!(row.starts_with("\"token \"\""), "{row}");
    }

    #[test]
    fn graphs_have_letters() {
        assert_eq!((letter(0), letter(25), letter(26)), ("A".to_owned(), "Z".to_owned(), "27".to_owned()));
    }
}
