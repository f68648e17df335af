//! A graph: nodes, and what each gives each.

use serde::Serialize;

/// What a node is. Layers and positions count from 0; position 0 is the context's first token, BOS where there is one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum NodeKind {
    /// A feature that fires on a token.
    Feature {
        /// Layer of its transcoder.
        layer: usize,
        /// The token.
        position: usize,
        /// The feature.
        feature: u32,
        /// Its activation.
        activation: f32,
    },
    /// What the transcoders of a layer leave of what the MLP writes at a token; all of it where there is none.
    Error {
        /// The layer.
        layer: usize,
        /// The token.
        position: usize,
    },
    /// A token's embedding.
    Token {
        /// The token's place.
        position: usize,
        /// Its id.
        token: u32,
    },
    /// A logit after the last token, from which the mean of all is taken off.
    Logit {
        /// The token that it is of.
        token: u32,
        /// Its probability.
        probability: f32,
    },
    /// Something else that was asked about: a feature, a router's logit, a direction.
    Target {
        /// Its name.
        name: String,
        /// Its weight in the influence of nodes.
        weight: f32,
    },
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// What it is.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// Of a feature its pre-activation without the encoder's bias, of a logit its value less the mean of all, of an
    /// error its norm; what a target's row and the biases add up to.
    pub value: f32,
}

/// An attribution graph. Nodes are in the order features (layer, position, feature), errors (layer, position),
/// tokens, targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// How many of them are features.
    pub features: usize,
    /// How many are errors.
    pub errors: usize,
    /// How many are tokens.
    pub tokens: usize,
    /// What the nodes give each feature and each target, `[features + targets, nodes]`: features first. Nothing goes
    /// into errors and tokens.
    pub weights: Vec<f32>,
    /// Features that fire but were left out, because there were more than were asked for.
    pub left_out: usize,
}

impl Graph {
    /// How many nodes are targets.
    pub fn targets(&self) -> usize {
        self.nodes.len() - self.features - self.errors - self.tokens
    }

    /// The first target's place among the nodes.
    pub fn first_target(&self) -> usize {
        self.features + self.errors + self.tokens
    }

    /// Nodes that others give something: the features, then the targets.
    pub fn receivers(&self) -> impl Iterator<Item = usize> + Clone {
        (0..self.features).chain(self.first_target()..self.nodes.len())
    }

    /// What the nodes give node `node`, `[nodes]`; none for errors and tokens.
    pub fn row(&self, node: usize) -> Option<&[f32]> {
        let n = self.nodes.len();
        let row = match node {
            feature if feature < self.features => feature,
            target if target >= self.first_target() && target < n => target - self.errors - self.tokens,
            _ => return None,
        };
        Some(&self.weights[row * n..(row + 1) * n])
    }

    /// What the nodes give the row of [`Graph::weights`] that is number `row`.
    pub(super) fn receiver(&self, row: usize) -> usize {
        if row < self.features { row } else { row + self.errors + self.tokens }
    }

    /// The weight of a target in the influence of nodes; 0 for other nodes.
    pub fn weight(&self, node: usize) -> f32 {
        match &self.nodes[node].kind {
            NodeKind::Logit { probability, .. } => *probability,
            NodeKind::Target { weight, .. } => *weight,
            _ => 0.0,
        }
    }
}
