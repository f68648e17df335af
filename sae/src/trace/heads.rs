//! Through which heads a node of a graph is given what it is given, and by which nodes.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use storage::graph::{self, Graph, GraphNodeRow};

use super::attribute::Tracer;
use super::change::GraphModel;
use super::graph::NodeKind;
use super::sources::sources;
use super::target::{Start, Target};
use crate::heads::{Parts, Reader};
use crate::{Error, Result};
use lm::model::Hook;

/// What nodes of a graph give a node through heads of one layer, from one token.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenThrough {
    /// What the heads moved from there: all of it.
    pub whole: f32,
    /// What each node of the graph gives on this way, `[nodes]`.
    pub nodes: Vec<f32>,
    /// What is left: biases, features that are not in the graph, the first token where it was left out.
    pub rest: f32,
}

impl GraphModel {
    /// What a node is given, by head and source token, by MLP, and of the token itself; without what takes another way than from the
    /// stream at the node's token or the values of heads that it sees.
    ///
    /// # Errors
    /// A node that is given nothing (an error, a token); transcoders that do not give the graph's features.
    pub fn heads(&self, record: &Graph, node: &GraphNodeRow) -> Result<Parts> {
        self.reader(record, node)?.parts()
    }

    /// What the nodes of the graph, `nodes`, give `node` through a head of `layer` (all of them if none is named) from token `source`, on
    /// any way that ends in that head.
    ///
    /// # Errors
    /// As [`GraphModel::heads`]; a head or a token that does not exist or that the node does not see.
    pub fn given_through(
        &self,
        record: &Graph,
        nodes: &[GraphNodeRow],
        node: usize,
        (layer, head, source): (usize, Option<usize>, usize),
    ) -> Result<GivenThrough> {
        let row = nodes.get(node).ok_or_else(|| Error::request(format!("the graph has no node {node}")))?;
        let reader = self.reader(record, row)?.through(layer, head, source)?;
        let held = self.held()?;
        let (frozen, d) = (held.frozen(), held.frozen().d_model());
        let mut gradient = vec![0.0; frozen.len() * d];
        gradient[source * d..(source + 1) * d].copy_from_slice(reader.reads());
        let gradient = Tensor::from_vec(gradient, (1, frozen.len(), d), &Device::Cpu)?;
        let all = sources(frozen, self.transcoders(), held.tokens(), record.first_token_left_out)?;
        let tracer = Tracer { frozen, transcoders: self.transcoders(), sources: &all };
        let given = tracer.back_through(layer, gradient)?.pop().unwrap_or_default();
        let of: HashMap<Key, f32> = all
            .nodes
            .iter()
            .zip(&given)
            .filter_map(|(node, &given)| Some((key(&node.kind)?, given)))
            .collect();
        let given =
            |row: &GraphNodeRow| row_key(row).and_then(|key| of.get(&key)).copied().unwrap_or_default();
        let nodes: Vec<f32> = nodes.iter().map(given).collect();
        let sum: f64 = nodes.iter().map(|&given| f64::from(given)).sum();
        Ok(GivenThrough { whole: reader.whole(), rest: (f64::from(reader.whole()) - sum) as f32, nodes })
    }

    fn reader(&self, record: &Graph, node: &GraphNodeRow) -> Result<Reader<'_>> {
        let held = self.held()?;
        let nothing = || Error::request(format!("nothing is given to a node of kind `{}`", node.kind));
        match (node.kind.as_str(), node.layer, node.position, node.feature, node.token) {
            (graph::LOGIT, .., Some(token)) => held.logit(token),
            (graph::FEATURE, Some(layer), Some(position), Some(feature), _) => {
                let (hook, dictionary) = self
                    .transcoders()
                    .dictionary(layer as usize)
                    .ok_or_else(|| Error::request(format!("there is no transcoder of layer {layer}")))?;
                if feature as usize >= dictionary.d_sae {
                    return Err(Error::request(format!(
                        "layer {layer} has no feature {feature}: it has {}",
                        dictionary.d_sae
                    )));
                }
                // Like the node's value without the encoder's bias.
                held.direction(hook, dictionary.encoder_row(feature as usize), position as usize)
            }
            (graph::TARGET, ..) => {
                let model = self.model();
                let target = Target::parse(&record.target, model)?;
                let asked = target.questions(model.decoder(), held.frozen(), self.transcoders())?;
                match asked.into_iter().next().map(|question| question.start) {
                    Some(Start::Read { layer, site, position, vector }) => {
                        held.direction(Hook::new(layer, site), &vector, position)
                    }
                    Some(Start::Logit(token)) => held.logit(token),
                    None => Err(nothing()),
                }
            }
            _ => Err(nothing()),
        }
    }
}

/// What a node that gives something is: kind, layer, position, feature.
type Key = (u8, u32, u32, u32);

fn key(kind: &NodeKind) -> Option<Key> {
    match *kind {
        NodeKind::Feature { layer, position, feature, .. } => {
            Some((0, layer as u32, position as u32, feature))
        }
        NodeKind::Error { layer, position } => Some((1, layer as u32, position as u32, 0)),
        NodeKind::Token { position, .. } => Some((2, 0, position as u32, 0)),
        NodeKind::Logit { .. } | NodeKind::Target { .. } => None,
    }
}

fn row_key(row: &GraphNodeRow) -> Option<Key> {
    match row.kind.as_str() {
        graph::FEATURE => Some((0, row.layer?, row.position?, row.feature?)),
        graph::ERROR => Some((1, row.layer?, row.position?, 0)),
        graph::TOKEN => Some((2, 0, row.position?, 0)),
        _ => None,
    }
}
