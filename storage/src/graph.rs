//! An attribution graph: a folder with `graph.json`, `nodes.parquet` and `edges.parquet`, which `sae trace` writes.

use std::path::{Path, PathBuf};

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::manifest::ModelRef;
use crate::record::record;
use crate::row::row;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench graph";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The record; it is written last.
pub const FILE: &str = "graph.json";
/// The nodes.
pub const NODES: &str = "nodes.parquet";
/// The edges.
pub const EDGES: &str = "edges.parquet";

/// `kind` of a feature that fires on a token.
pub const FEATURE: &str = "feature";
/// `kind` of what the transcoders leave of an MLP's output.
pub const ERROR: &str = "error";
/// `kind` of a token's embedding.
pub const TOKEN: &str = "token";
/// `kind` of a token's logit.
pub const LOGIT: &str = "logit";
/// `kind` of anything else that was asked about.
pub const TARGET: &str = "target";

row! {
    /// One node. Layers and positions count from 0; position 0 is the first token of the context, BOS where there is one.
    GraphNodeRow {
        /// Number of the node, which edges name: 0, 1, …
        node: u32,
        /// `feature`, `error`, `token`, `logit` or `target`.
        kind: String,
        /// Layer of a feature or an error.
        layer: Option<u32>,
        /// Place of the token that a feature, an error or an embedding is at.
        position: Option<u32>,
        /// Number of the feature in its transcoder.
        feature: Option<u32>,
        /// Token of an embedding or a logit.
        token: Option<u32>,
        /// The token that the node is at or of, or what was asked about, as it is shown.
        name: Option<String>,
        /// Activation of a feature.
        activation: Option<f32>,
        /// Probability of a logit's token, or the weight of what was asked about.
        weight: Option<f32>,
        /// What a target's edges and the biases add up to: of a feature its pre-activation without the encoder's bias, of a
        /// logit its value less the mean of all; of an error and a token the norm of what it writes.
        value: f32,
        /// Influence on the targets: w(Ã + Ã² + …), with the absolute weights into each node as shares Ã and the targets' weights w.
        influence: f64,
        /// Share of all influence that the node and those with more have together.
        cumulative: f64,
        /// Whether pruning keeps it.
        kept: bool,
    }
}

row! {
    /// One edge, sorted by target and source. Edges of weight 0 have no row.
    #[derive(Copy)]
    GraphEdgeRow {
        /// The node that is given something.
        target: u32,
        /// The node that gives it.
        source: u32,
        /// What the source adds to the target's `value`.
        weight: f32,
        /// Whether pruning keeps it.
        kept: bool,
    }
}

record! {
    /// A transcoder of a graph.
    #[derive(Default)]
    GraphTranscoder {
        /// Its layer.
        layer: u64,
        /// Where it was read from.
        source: String,
        /// What it reads.
        hook: String,
        /// Its features.
        d_sae: u64,
        /// Whether it has a linear path past the features.
        skip: bool,
        /// Into how many later layers its features write too.
        later_layers: u64,
    }
}

record! {
    /// `graph.json`.
    Graph {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// The model.
        model: ModelRef,
        /// Its blocks.
        layers: u64,
        /// The text.
        text: String,
        /// Its tokens, with BOS.
        tokens: Vec<u32>,
        /// The same as they are shown.
        shown: Vec<String>,
        /// What was asked about, in words.
        target: String,
        /// The transcoders, by layer. The MLP of a layer without one is an error as a whole.
        transcoders: Vec<GraphTranscoder>,
        /// Whether features and errors of the first token were left out.
        first_token_left_out: bool,
        /// Feature nodes.
        features: u64,
        /// Features that fire but were left out, because there were more than were asked for.
        features_left_out: u64,
        /// All nodes.
        nodes: u64,
        /// All edges.
        edges: u64,
        /// Share of influence that the kept nodes have.
        node_threshold: f64,
        /// Share of scores that the kept edges have.
        edge_threshold: f64,
        /// Nodes that pruning keeps.
        kept_nodes: u64,
        /// Edges that pruning keeps.
        kept_edges: u64,
        /// Influence of tokens over that of tokens and errors: how much of the targets is traced back to the text.
        replacement_score: f64,
        /// Mean share of what goes into a node that does not come from errors, by the nodes' influence.
        completeness_score: f64,
        /// Seconds that it took.
        seconds: f64,
    }
}

impl Graph {
    /// Writes `DIR/graph.json`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) for a file that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        atomic::write_json(&dir.join(FILE), self)
    }

    /// Reads `DIR/graph.json`.
    ///
    /// # Errors
    /// A file that is missing or cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        read_versioned(&dir.join(FILE), FORMAT, VERSION)
    }
}

/// The folders in `dir` that hold a graph, sorted.
pub fn find(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join(FILE).is_file() && !atomic::in_the_making(path))
        .collect();
    found.sort();
    found
}
