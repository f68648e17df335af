//! The JSON that circuit-tracer writes and Neuronpedia shows.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::graph::{Graph, NodeKind};
use super::influence::{Pruned, Thresholds};

/// What a graph is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Its tokens as they are shown, with BOS.
    pub tokens: Vec<String>,
    /// Tokens as they are shown, at least those of the logits.
    pub vocabulary: HashMap<u32, String>,
    /// A name for files.
    pub slug: String,
    /// The model, as the viewer is to look features up.
    pub scan: String,
}

impl Graph {
    /// The `metadata` of a graph file, which `graph-metadata.json` lists too.
    pub fn metadata(&self, prompt: &Prompt, thresholds: Thresholds) -> Value {
        json!({
            "slug": prompt.slug,
            "scan": prompt.scan,
            "transcoder_list": [],
            "prompt_tokens": prompt.tokens,
            "prompt": prompt.text,
            "node_threshold": thresholds.nodes,
            "schema_version": 1,
        })
    }

    /// The kept nodes and edges as a graph file of `layers` blocks. The names of nodes are circuit-tracer's; its `0_L_P` for
    /// the error of layer L at token P is also the name of layer 0's feature L, so where that feature is kept too the error
    /// is called `error_L_P`.
    pub fn neuronpedia(
        &self,
        pruned: &Pruned,
        prompt: &Prompt,
        thresholds: Thresholds,
        layers: usize,
    ) -> Value {
        let names = self.names(pruned, layers);
        let kept = (0..self.nodes.len()).filter(|&node| pruned.nodes[node]);
        let nodes: Vec<Value> =
            kept.map(|node| self.entry(node, pruned, prompt, &names[node], layers)).collect();
        let link = |&(target, source, weight): &(u32, u32, f32)| json!({ "source": names[source as usize], "target": names[target as usize], "weight": weight });
        let links: Vec<Value> = pruned.edges.iter().map(link).collect();
        json!({
            "metadata": self.metadata(prompt, thresholds),
            "qParams": { "pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": "" },
            "nodes": nodes,
            "links": links,
        })
    }

    fn names(&self, pruned: &Pruned, layers: usize) -> Vec<String> {
        let of_layer_0 =
            self.nodes[..self.features].iter().enumerate().filter(|(node, _)| pruned.nodes[*node]);
        let taken: std::collections::HashSet<(usize, usize)> = of_layer_0
            .filter_map(|(_, node)| match node.kind {
                NodeKind::Feature { layer: 0, position, feature, .. } => Some((feature as usize, position)),
                _ => None,
            })
            .collect();
        let last = self.tokens.saturating_sub(1);
        let first = self.first_target();
        let name = |(node, of): (usize, &super::graph::Node)| match &of.kind {
            NodeKind::Feature { layer, position, feature, .. } => format!("{layer}_{feature}_{position}"),
            NodeKind::Error { layer, position } if taken.contains(&(*layer, *position)) => {
                format!("error_{layer}_{position}")
            }
            NodeKind::Error { layer, position } => format!("0_{layer}_{position}"),
            NodeKind::Token { position, token } => format!("E_{token}_{position}"),
            NodeKind::Logit { token, .. } => format!("{}_{token}_{last}", layers + 1),
            NodeKind::Target { .. } => format!("{}_{}_{last}", layers + 1, node - first),
        };
        self.nodes.iter().enumerate().map(name).collect()
    }

    fn entry(&self, node: usize, pruned: &Pruned, prompt: &Prompt, name: &str, layers: usize) -> Value {
        let last = self.tokens.saturating_sub(1);
        let first = self.first_target();
        let mut entry = json!({
            "node_id": name,
            "token_prob": 0.0,
            "is_target_logit": node == first,
            "run_idx": 0,
            "reverse_ctx_idx": 0,
            "clerp": "",
            "influence": pruned.cumulative[node],
            "activation": null,
        });
        let output = (layers + 1).to_string();
        let (feature, layer, position, kind, short) = match &self.nodes[node].kind {
            NodeKind::Feature { layer, position, feature, activation } => {
                entry["activation"] = json!(activation);
                // Cantor's pairing of layer and feature.
                let (l, i) = (*layer as u64, u64::from(*feature));
                let paired = (l + i) * (l + i + 1) / 2 + i;
                // Everybody's graphs have this type, whatever the transcoders are.
                let kind = "cross layer transcoder";
                (json!(paired), layer.to_string(), *position, kind, format!("{layer}_{feature}-0"))
            }
            NodeKind::Error { layer, position } => {
                let kind = "mlp reconstruction error";
                (json!(-1), layer.to_string(), *position, kind, format!("{layer}_{position}-0"))
            }
            NodeKind::Token { position, token } => {
                (json!(position), "E".to_owned(), *position, "embedding", format!("E_{token}-{position}"))
            }
            NodeKind::Logit { token, probability } => {
                let shown = prompt.vocabulary.get(token).map_or_else(|| token.to_string(), Clone::clone);
                entry["token_prob"] = json!(probability);
                entry["clerp"] = json!(format!("Output \"{shown}\" (p={probability:.3})"));
                entry["influence"] = Value::Null;
                (json!(token), output, last, "logit", format!("L_{token}-{last}"))
            }
            NodeKind::Target { name, .. } => {
                entry["clerp"] = json!(name);
                entry["influence"] = Value::Null;
                (json!(node - first), output, last, "logit", format!("L_{}-{last}", node - first))
            }
        };
        entry["feature"] = feature;
        entry["layer"] = json!(layer);
        entry["ctx_idx"] = json!(position);
        entry["feature_type"] = json!(kind);
        entry["jsNodeId"] = json!(short);
        entry
    }
}
