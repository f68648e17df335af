//! What a graph says would happen if some of its features fired differently.

use storage::graph::{FEATURE, GraphEdgeRow, GraphNodeRow};

/// A feature at a token whose activation is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeChange {
    /// Number of its node in the graph.
    pub node: u32,
    /// Its activation from now on, whatever it is given.
    pub to: f32,
}

/// By how much the value of each node changes, `[nodes]`: Δv_t = Σ_s w_ts · Δa_s / a_s, from the changed features upwards.
///
/// An edge's weight is what a feature gives at its activation, so a feature that fires half as much gives half. Attention patterns, the
/// divisors of norms, errors, and which features fire stay as the graph has them; but a feature whose activation would fall below 0 stops
/// at 0. `edges` are sorted by target, as a graph's are, and features come before what they give something.
pub fn predict(nodes: &[GraphNodeRow], edges: &[GraphEdgeRow], changes: &[NodeChange]) -> Vec<f32> {
    let mut change = vec![0.0; nodes.len()];
    // Δa / a of features.
    let mut share = vec![0.0; nodes.len()];
    let mut held = vec![false; nodes.len()];
    for NodeChange { node, to } in changes {
        let node = *node as usize;
        let activation = f64::from(nodes[node].activation.unwrap_or_default());
        held[node] = true;
        change[node] = f64::from(*to) - activation;
        share[node] = if activation == 0.0 { 0.0 } else { change[node] / activation };
    }
    for into in edges.chunk_by(|a, b| a.target == b.target) {
        let target = into[0].target as usize;
        if held[target] {
            continue;
        }
        let given: f64 = into.iter().map(|edge| f64::from(edge.weight) * share[edge.source as usize]).sum();
        let activation = f64::from(nodes[target].activation.unwrap_or_default());
        if nodes[target].kind != FEATURE || activation == 0.0 {
            change[target] = given;
        } else {
            change[target] = given.max(-activation);
            share[target] = change[target] / activation;
        }
    }
    change.into_iter().map(|change| change as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::graph::LOGIT;

    fn feature(node: u32, activation: f32) -> GraphNodeRow {
        GraphNodeRow { node, kind: FEATURE.into(), activation: Some(activation), ..GraphNodeRow::default() }
    }

    fn edge(target: u32, source: u32, weight: f32) -> GraphEdgeRow {
        GraphEdgeRow { target, source, weight, kept: true }
    }

    /// 0 gives 1 and 2 something, 1 gives 2, and all give the logit.
    fn graph() -> (Vec<GraphNodeRow>, Vec<GraphEdgeRow>) {
        let logit = GraphNodeRow { node: 3, kind: LOGIT.into(), ..GraphNodeRow::default() };
        let nodes = vec![feature(0, 2.0), feature(1, 4.0), feature(2, 1.0), logit];
        let edges = [(1, 0, 2.0), (2, 0, 0.5), (2, 1, -1.0), (3, 0, 1.0), (3, 1, 3.0), (3, 2, -2.0)];
        (nodes, edges.map(|(target, source, weight)| edge(target, source, weight)).to_vec())
    }

    #[test]
    fn a_change_flows_along_all_paths() {
        let (nodes, edges) = graph();
        let change = predict(&nodes, &edges, &[NodeChange { node: 0, to: 1.0 }]);
        // Feature 0 gives half: 1 loses 1 of 4, so 2 loses 0.25 and gains 0.25 of what 1 took from it.
        assert_eq!(change, [-1.0, -1.0, 0.0, -0.5 - 0.75]);
    }

    #[test]
    fn a_feature_stops_at_zero_and_a_held_one_stays() {
        let (nodes, edges) = graph();
        let change = predict(&nodes, &edges, &[NodeChange { node: 1, to: 12.0 }]);
        // 1 gives three times as much: 2 would fall by 2, but has only 1.
        assert_eq!(change, [0.0, 8.0, -1.0, 6.0 + 2.0]);
        let held = [NodeChange { node: 1, to: 12.0 }, NodeChange { node: 2, to: 1.0 }];
        assert_eq!(predict(&nodes, &edges, &held), [0.0, 8.0, 0.0, 6.0]);
        assert_eq!(predict(&nodes, &edges, &[]), [0.0; 4]);
    }
}
