//! A graph on disk.

use std::path::Path;

use serde_json::json;
use storage::graph::{self, GraphEdgeRow, GraphNodeRow, GraphTranscoder};
use storage::graph_marks::{self, GraphMarks};
use storage::{ModelRef, atomic};

use super::graph::{Graph, Node, NodeKind};
use super::influence::{Pruned, Thresholds};
use super::neuronpedia::Prompt;
use super::transcoders::Transcoders;
use crate::partial::Partial;
use crate::{Error, Result};
use lm::model::Hook;

/// What a graph was made of, for its record.
#[derive(Debug, Clone)]
pub struct GraphSubject {
    /// The model.
    pub model: ModelRef,
    /// Its blocks.
    pub layers: usize,
    /// The tokens, with BOS.
    pub tokens: Vec<u32>,
    /// What was asked about, in words.
    pub target: String,
    /// Whether features and errors of the first token were left out.
    pub first_token_left_out: bool,
    /// Seconds that it took.
    pub seconds: f64,
    /// What is marked in it from the start; where this is nothing, the marks of the graph that is replaced are kept.
    pub marks: GraphMarks,
}

/// The folder of a graph with what other programs show.
pub(super) const SHOWN: &str = "graph_files";

/// Whether a graph may be written to `dir`: it is not there, is empty, or holds a graph and nothing else, for the folder is replaced
/// as a whole.
///
/// # Errors
/// A folder with something else in it.
pub fn may_be_written(dir: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(dir, error)),
    };
    for entry in entries {
        let name = entry.map_err(|e| Error::io(dir, e))?.file_name();
        let name = name.to_string_lossy();
        let own =
            [graph::FILE, graph::NODES, graph::EDGES, graph_marks::FILE, graph_marks::LOCK, SHOWN, ".lock"];
        if !own.contains(&&*name) {
            let shown = dir.display();
            return Err(Error::request(format!("{shown} holds `{name}`, which is not part of a graph"))
                .with_remedy("give a new folder with --out"));
        }
    }
    Ok(())
}

impl Graph {
    /// Writes the graph, pruned at `thresholds`, to folder `dir`; a graph that is there is replaced when the new one is whole.
    ///
    /// # Errors
    /// [`may_be_written`]; a file that cannot be written.
    pub fn save(
        &self,
        dir: &Path,
        subject: &GraphSubject,
        transcoders: &Transcoders,
        prompt: &Prompt,
        thresholds: Thresholds,
    ) -> Result<graph::Graph> {
        let pruned = self.prune(thresholds);
        self.write_pruned(dir, subject, transcoders.records(), prompt, thresholds, &pruned)
    }

    /// The same of a graph that was pruned already, through `transcoders`.
    pub(super) fn write_pruned(
        &self,
        dir: &Path,
        subject: &GraphSubject,
        transcoders: Vec<GraphTranscoder>,
        prompt: &Prompt,
        thresholds: Thresholds,
        pruned: &Pruned,
    ) -> Result<graph::Graph> {
        may_be_written(dir)?;
        let partial = Partial::begin(dir)?;
        let dir = partial.folder();
        let files = dir.join(SHOWN);
        std::fs::create_dir_all(&files).map_err(|e| Error::io(&files, e))?;
        match subject.marks.is_empty() {
            true => partial.keep_file(graph_marks::FILE)?,
            false => graph_marks::write(dir, &subject.marks)?,
        }
        let scores = self.scores();
        storage::row::write(&dir.join(graph::NODES), &self.node_rows(pruned, prompt))?;
        let edges = self.edge_rows(pruned);
        storage::row::write(&dir.join(graph::EDGES), &edges)?;
        let shown = self.neuronpedia(pruned, prompt, thresholds, subject.layers);
        atomic::write_json(&files.join(format!("{}.json", prompt.slug)), &shown)?;
        let list = json!({ "graphs": [self.metadata(prompt, thresholds)] });
        atomic::write_json(&files.join("graph-metadata.json"), &list)?;
        let record = graph::Graph {
            format: graph::FORMAT.to_owned(),
            version: graph::VERSION,
            model: subject.model.clone(),
            layers: subject.layers as u64,
            text: prompt.text.clone(),
            tokens: subject.tokens.clone(),
            shown: prompt.tokens.clone(),
            target: subject.target.clone(),
            transcoders,
            first_token_left_out: subject.first_token_left_out,
            features: self.features as u64,
            features_left_out: self.left_out as u64,
            nodes: self.nodes.len() as u64,
            edges: edges.len() as u64,
            node_threshold: thresholds.nodes,
            edge_threshold: thresholds.edges,
            kept_nodes: pruned.nodes.iter().filter(|kept| **kept).count() as u64,
            kept_edges: pruned.edges.len() as u64,
            replacement_score: scores.replacement,
            completeness_score: scores.completeness,
            seconds: subject.seconds,
        };
        record.write(dir)?;
        partial.publish()?;
        Ok(record)
    }

    fn node_rows(&self, pruned: &Pruned, prompt: &Prompt) -> Vec<GraphNodeRow> {
        let influence = self.influence();
        let row = |(i, node): (usize, &Node)| GraphNodeRow {
            node: i as u32,
            value: node.value,
            influence: influence[i],
            cumulative: pruned.cumulative[i],
            kept: pruned.nodes[i],
            ..of_kind(&node.kind, prompt)
        };
        self.nodes.iter().enumerate().map(row).collect()
    }

    fn edge_rows(&self, pruned: &Pruned) -> Vec<GraphEdgeRow> {
        let mut kept = pruned.edges.iter().map(|&(target, source, _)| (target, source)).peekable();
        let mut edges = Vec::new();
        for target in self.receivers() {
            let row = self.row(target).unwrap_or_default();
            for (source, &weight) in row.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                let (target, source) = (target as u32, source as u32);
                // Both are by target and source.
                let kept = kept.next_if_eq(&(target, source)).is_some();
                edges.push(GraphEdgeRow { target, source, weight, kept });
            }
        }
        edges
    }
}

/// The row of a node, with the token that it is at or of as it is shown.
fn of_kind(kind: &NodeKind, prompt: &Prompt) -> GraphNodeRow {
    let name = match kind {
        NodeKind::Feature { position, .. } | NodeKind::Token { position, .. } => prompt.tokens.get(*position),
        NodeKind::Logit { token, .. } => prompt.vocabulary.get(token),
        NodeKind::Target { name, .. } => Some(name),
        NodeKind::Error { .. } => None,
    };
    GraphNodeRow { name: name.cloned(), ..bare(kind) }
}

/// What a node is, without texts of tokens.
pub(super) fn bare(kind: &NodeKind) -> GraphNodeRow {
    let number = |n: usize| Some(n as u32);
    let (kind, row) = match kind {
        NodeKind::Feature { layer, position, feature, activation } => {
            let (layer, position, feature) = (number(*layer), number(*position), Some(*feature));
            let activation = Some(*activation);
            (graph::FEATURE, GraphNodeRow { layer, position, feature, activation, ..GraphNodeRow::default() })
        }
        NodeKind::Error { layer, position } => {
            let (layer, position) = (number(*layer), number(*position));
            (graph::ERROR, GraphNodeRow { layer, position, ..GraphNodeRow::default() })
        }
        NodeKind::Token { position, token } => {
            let (position, token) = (number(*position), Some(*token));
            (graph::TOKEN, GraphNodeRow { position, token, ..GraphNodeRow::default() })
        }
        NodeKind::Logit { token, probability } => {
            let (token, weight) = (Some(*token), Some(*probability));
            (graph::LOGIT, GraphNodeRow { token, weight, ..GraphNodeRow::default() })
        }
        NodeKind::Target { name, weight } => {
            let (name, weight) = (Some(name.clone()), Some(*weight));
            (graph::TARGET, GraphNodeRow { name, weight, ..GraphNodeRow::default() })
        }
    };
    GraphNodeRow { kind: kind.to_owned(), ..row }
}

impl Transcoders {
    /// What a graph's record says of them.
    fn records(&self) -> Vec<GraphTranscoder> {
        let of = |(&layer, transcoder): (&usize, &super::transcoders::LayerTranscoder)| GraphTranscoder {
            layer: layer as u64,
            source: transcoder.from.display().to_string(),
            hook: Hook::new(layer, transcoder.site).to_string(),
            d_sae: transcoder.dictionary.d_sae as u64,
            skip: transcoder.skip().is_some(),
            later_layers: transcoder.later.len() as u64,
        };
        self.layers.iter().map(of).collect()
    }
}

/// The record, the nodes and the edges of the graph in `dir`.
///
/// # Errors
/// A folder without a graph, tables that cannot be read.
pub fn read(dir: &Path) -> Result<(graph::Graph, Vec<GraphNodeRow>, Vec<GraphEdgeRow>)> {
    let record = graph::Graph::read(dir)?;
    let table = storage::row::open::<GraphNodeRow>(&dir.join(graph::NODES))?;
    let nodes = storage::row::read(&table, storage::Scan::default())?;
    let table = storage::row::open::<GraphEdgeRow>(&dir.join(graph::EDGES))?;
    Ok((record, nodes, storage::row::read(&table, storage::Scan::default())?))
}
