//! `sae graph change`: features of a graph fire differently; what the graph predicts, and what the model does.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use sae::trace::{self, ChangeOptions, GraphChange, GraphModel, NodeChange};
use sae::{Error, Result};
use storage::graph::{self, GraphNodeRow};
use storage::graph_marks::{self, GraphMarks, node_name};

use crate::{Output, Session};

/// Change features of a graph and compare what it predicts with what the model does
///
/// Features are set to an activation at their token, and the model runs on from there. What the graph predicts flows along its edges; the
/// model's attention, norms and choice of features are free, so both differ where these matter. Steps of the same lengths in random
/// directions stand for comparison.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae graph change dallas --node 2_417_8 --to 0\n  sae graph change dallas --supernode capital --times -1 --hold-attention"
)]
pub(super) struct Change {
    /// Folder of `sae trace`
    #[arg(value_name = "GRAPH")]
    graph: PathBuf,
    /// A feature at a token, as LAYER_FEATURE_POSITION; repeated
    #[arg(long, value_name = "NODE", num_args = 1.., required_unless_present = "supernode")]
    node: Vec<String>,
    /// All features of a supernode that was made in the window; repeated
    #[arg(long, value_name = "NAME", num_args = 1..)]
    supernode: Vec<String>,
    /// Activation that the features are set to; 0 takes them out
    #[arg(
        long,
        value_name = "X",
        required_unless_present = "times",
        conflicts_with = "times",
        allow_negative_numbers = true
    )]
    to: Option<f32>,
    /// What their activations are multiplied by
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    times: Option<f32>,
    /// Let attention look where it looked before the change, as in the graph
    #[arg(long)]
    hold_attention: bool,
    /// Random directions, drawn by --seed
    #[arg(long, default_value_t = 3, value_name = "N")]
    controls: u16,
    /// Transcoders of the graph, where they are not in the place that its record names
    #[arg(long, num_args = 1.., value_name = "RUN")]
    transcoders: Vec<PathBuf>,
    /// Features that are listed (--json has all of them)
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
}

impl Change {
    pub(super) fn run(self, session: &mut Session) -> Result<Output> {
        let (record, nodes, mut edges) = trace::read(&self.graph)?;
        let changes = self.changes(&nodes)?;
        edges.sort_by_key(|edge| (edge.target, edge.source));
        let predicted = trace::predict(&nodes, &edges, &changes);
        let model = GraphModel::open(&record, &self.transcoders)?;
        let seed = session.seed.unwrap_or_default();
        let options = ChangeOptions { hold_attention: self.hold_attention, controls: self.controls, seed };
        let measured = model.measure(&nodes, &changes, options, &mut session.progress)?;
        let mut output = Output::new(json(&nodes, &changes, &predicted, &measured, &model));
        output.row("KL of the next token", format!("{:.4} nats", measured.kl));
        if !measured.controls.is_empty() {
            let shown: Vec<String> = measured.controls.iter().map(|kl| format!("{kl:.4}")).collect();
            output.row("… by random directions", shown.join(", "));
        }
        for shift in measured.shifts.iter().take(5) {
            let name = format!("p({:?})", model.token_text(shift.token));
            output.row(&name, format!("{:.4} → {:.4}", shift.before, shift.after));
        }
        let changed = |node: &u32| changes.iter().any(|change| change.node == *node);
        let mut listed: Vec<u32> = (0..nodes.len() as u32)
            .filter(|node| measured.changes[*node as usize].is_some() && !changed(node))
            .collect();
        let target = |node: u32| nodes[node as usize].kind != graph::FEATURE;
        let size = |node: u32| predicted[node as usize].abs();
        listed.sort_by(|&a, &b| target(b).cmp(&target(a)).then(size(b).total_cmp(&size(a))).then(a.cmp(&b)));
        let targets = listed.iter().filter(|&&node| target(node)).count();
        for &node in listed.iter().take(targets + self.top) {
            let (row, real) = (&nodes[node as usize], measured.changes[node as usize].unwrap_or_default());
            let name = format!("{} {:?}", node_name(row), row.name.as_deref().unwrap_or_default());
            output.row(&name, format!("predicted {:+.4}, measured {real:+.4}", predicted[node as usize]));
        }
        Ok(output)
    }

    /// The nodes that are named, each with its new activation.
    fn changes(&self, nodes: &[GraphNodeRow]) -> Result<Vec<NodeChange>> {
        let marks =
            if self.supernode.is_empty() { GraphMarks::default() } else { graph_marks::read(&self.graph)? };
        let mut names = self.node.clone();
        for name in &self.supernode {
            let supernode =
                marks.supernodes.iter().find(|supernode| supernode.name == *name).ok_or_else(|| {
                    let known: Vec<&str> =
                        marks.supernodes.iter().map(|supernode| supernode.name.as_str()).collect();
                    let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
                    Error::request(format!("the graph has no supernode `{name}`")).with_remedy(known)
                })?;
            names.extend(supernode.nodes.iter().cloned());
        }
        let by_name: HashMap<String, &GraphNodeRow> =
            nodes.iter().map(|node| (node_name(node), node)).collect();
        let mut changes = Vec::new();
        for name in names {
            let node = by_name.get(&name).filter(|node| node.kind == graph::FEATURE).ok_or_else(|| {
                Error::request(format!("the graph has no feature `{name}`")).with_remedy(
                    "name features as LAYER_FEATURE_POSITION, all counted from 0; the window shows them",
                )
            })?;
            let activation = node.activation.unwrap_or_default();
            let to = self.to.unwrap_or(activation * self.times.unwrap_or(1.0));
            changes.push(NodeChange { node: node.node, to });
        }
        changes.sort_by_key(|change| change.node);
        changes.dedup_by_key(|change| change.node);
        Ok(changes)
    }
}

/// Everything that was predicted and measured, by name.
fn json(
    nodes: &[GraphNodeRow],
    changes: &[NodeChange],
    predicted: &[f32],
    measured: &GraphChange,
    model: &GraphModel,
) -> serde_json::Value {
    let name = |node: u32| node_name(&nodes[node as usize]);
    let changed: Vec<_> = changes
        .iter()
        .map(|change| serde_json::json!({ "node": name(change.node), "to": change.to }))
        .collect();
    let compared: Vec<_> = nodes
        .iter()
        .zip(predicted.iter().zip(&measured.changes))
        .filter_map(|(node, (predicted, measured))| {
            let measured = (*measured)?;
            Some(serde_json::json!({ "node": node_name(node), "predicted": predicted, "measured": measured }))
        })
        .collect();
    let shifts: Vec<_> = measured
        .shifts
        .iter()
        .map(|shift| {
            let text = model.token_text(shift.token);
            serde_json::json!({ "token": shift.token, "text": text, "before": shift.before, "after": shift.after })
        })
        .collect();
    serde_json::json!({
        "changes": changed, "kl": measured.kl, "controls": measured.controls, "shifts": shifts, "nodes": compared,
    })
}
