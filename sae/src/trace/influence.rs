//! How much of the targets goes through each node, and which nodes and edges are enough.

use std::collections::BTreeMap;

use super::graph::{Graph, NodeKind};

/// Rows are divided by the sum of their absolute values, but not by less than this.
const LEAST: f64 = 1e-10;

/// What is kept of a graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Share of all influence that the kept nodes have.
    pub nodes: f64,
    /// Share of all scores that the kept edges have.
    pub edges: f64,
}

impl Default for Thresholds {
    /// circuit-tracer's.
    fn default() -> Self {
        Self { nodes: 0.8, edges: 0.98 }
    }
}

/// A graph's nodes and edges that are enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// For each node whether it is kept.
    pub nodes: Vec<bool>,
    /// For each node the share of all influence that it and those with more have together.
    pub cumulative: Vec<f64>,
    /// The edges kept: target, source and weight, by target and source.
    pub edges: Vec<(u32, u32, f32)>,
}

/// How much of a graph is explained by features and not by errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Influence of tokens over that of tokens and errors: how much of the targets is traced back to the text.
    pub replacement: f64,
    /// Mean share of what goes into a node that does not come from errors, by the nodes' influence.
    pub completeness: f64,
}

/// Weights of a graph as shares of each row.
struct Shares {
    n: usize,
    /// As [`Graph::weights`], each row of sum 1.
    rows: Vec<f64>,
    /// The node of each row.
    nodes: Vec<usize>,
}

impl Shares {
    /// Of `weights`, absolute.
    fn new(n: usize, nodes: Vec<usize>, weights: impl Iterator<Item = f64>) -> Self {
        let mut rows: Vec<f64> = weights.map(f64::abs).collect();
        for row in rows.chunks_exact_mut(n) {
            let sum = row.iter().sum::<f64>().max(LEAST);
            row.iter_mut().for_each(|share| *share /= sum);
        }
        Self { n, rows, nodes }
    }

    fn of(graph: &Graph) -> Self {
        let weights = graph.weights.iter().map(|&weight| f64::from(weight));
        Self::new(graph.nodes.len(), graph.receivers().collect(), weights)
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.rows[row * self.n..(row + 1) * self.n]
    }

    /// w(Ã + Ã² + …): what flows through every node, with weight `weights` from the targets. A row gives only to rows
    /// before it or to nodes without a row, so that one pass from the last row to the first is the whole series.
    fn influence(&self, weights: &[f64]) -> Vec<f64> {
        let mut influence = vec![0.0; self.n];
        for (row, &node) in self.nodes.iter().enumerate().rev() {
            let through = influence[node] + weights[node];
            if through != 0.0 {
                influence.iter_mut().zip(self.row(row)).for_each(|(sum, share)| *sum += through * share);
            }
        }
        influence
    }
}

/// The influence of the nodes as far as rows are known: those of the targets, and of some features.
pub(super) fn estimate(
    n: usize,
    answers: &[Vec<f32>],
    weights: &[f32],
    rows: &BTreeMap<usize, Vec<f32>>,
) -> Vec<f64> {
    // Targets have no column of their own yet.
    let width = n + answers.len();
    let nodes = rows.keys().copied().chain(n..width).collect();
    let padded = |row: &Vec<f32>| {
        let numbers: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        numbers.into_iter().chain(std::iter::repeat_n(0.0, answers.len()))
    };
    let shares = Shares::new(width, nodes, rows.values().chain(answers).flat_map(padded));
    let mut start = vec![0.0; width];
    start[n..].iter_mut().zip(weights).for_each(|(start, &weight)| *start = f64::from(weight));
    let mut influence = shares.influence(&start);
    influence.truncate(n);
    influence
}

/// The smallest value that is among the largest ones which have `share` of the sum together.
fn threshold(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.filter(|&value| value > 0.0).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let total: f64 = sorted.iter().sum();
    let mut sum = 0.0;
    for &value in &sorted {
        sum += value;
        if sum >= share * total {
            return value;
        }
    }
    sorted.last().copied().unwrap_or(f64::INFINITY)
}

impl Graph {
    fn start(&self) -> Vec<f64> {
        (0..self.nodes.len()).map(|node| f64::from(self.weight(node))).collect()
    }

    /// The influence of every node on the targets, `[nodes]`: with rows as shares Ã and targets weighted by their
    /// probability w, w(Ã + Ã² + …). Targets have none.
    pub fn influence(&self) -> Vec<f64> {
        Shares::of(self).influence(&self.start())
    }

    /// How much of the graph is explained.
    pub fn scores(&self) -> Scores {
        let (shares, start) = (Shares::of(self), self.start());
        let influence = shares.influence(&start);
        let is_error = |node: usize| matches!(self.nodes[node].kind, NodeKind::Error { .. });
        let sum = |from: usize, count: usize| influence[from..from + count].iter().sum::<f64>();
        let (errors, tokens) =
            (sum(self.features, self.errors), sum(self.features + self.errors, self.tokens));
        // Errors and tokens, which nothing goes into, come from no error.
        let (mut good, mut all) = (errors + tokens, errors + tokens);
        for (row, &node) in shares.nodes.iter().enumerate() {
            let through = influence[node] + start[node];
            let from_errors: f64 =
                shares.row(row).iter().enumerate().filter(|(s, _)| is_error(*s)).map(|(_, x)| x).sum();
            good += through * (1.0 - from_errors);
            all += through;
        }
        Scores { replacement: tokens / (tokens + errors), completeness: good / all }
    }

    /// The nodes and edges that are enough; tokens and targets are always kept.
    pub fn prune(&self, thresholds: Thresholds) -> Pruned {
        let start = self.start();
        let influence = Shares::of(self).influence(&start);
        let least = threshold(influence.iter().copied(), thresholds.nodes);
        let mut nodes: Vec<bool> = influence.iter().map(|&x| x >= least).collect();
        nodes[self.features + self.errors..].fill(true);
        let mut edges = self.prune_edges(&nodes, &start, thresholds.edges);
        self.drop_loose_ends(&mut nodes, &mut edges);
        Pruned { nodes, cumulative: cumulative(&influence), edges }
    }

    /// The edges between kept nodes that are enough: Ã of what is left, times what goes through the target.
    fn prune_edges(&self, nodes: &[bool], start: &[f64], share: f64) -> Vec<(u32, u32, f32)> {
        let n = self.nodes.len();
        let kept = |row: usize, source: usize| nodes[self.receiver(row)] && nodes[source];
        let left = self
            .weights
            .iter()
            .enumerate()
            .map(|(i, &weight)| if kept(i / n, i % n) { f64::from(weight) } else { 0.0 });
        let mut shares = Shares::new(n, self.receivers().collect(), left);
        let influence = shares.influence(start);
        for (row, &node) in shares.nodes.iter().enumerate() {
            let through = influence[node] + start[node];
            shares.rows[row * n..(row + 1) * n].iter_mut().for_each(|score| *score *= through);
        }
        let least = threshold(shares.rows.iter().copied(), share);
        let enough = shares.rows.iter().enumerate().filter(|(_, score)| **score >= least && **score > 0.0);
        enough.map(|(i, _)| (self.receiver(i / n) as u32, (i % n) as u32, self.weights[i])).collect()
    }

    /// Drops features that nothing goes into or out of and errors that nothing goes out of, until none is left.
    fn drop_loose_ends(&self, nodes: &mut [bool], edges: &mut Vec<(u32, u32, f32)>) {
        loop {
            let (mut into, mut out) = (vec![false; nodes.len()], vec![false; nodes.len()]);
            for &(target, source, _) in edges.iter() {
                into[target as usize] = true;
                out[source as usize] = true;
            }
            let mut dropped = false;
            for node in 0..self.features + self.errors {
                let loose = !out[node] || (node < self.features && !into[node]);
                if nodes[node] && loose {
                    nodes[node] = false;
                    dropped = true;
                }
            }
            if !dropped {
                return;
            }
            edges.retain(|&(target, source, _)| nodes[target as usize] && nodes[source as usize]);
        }
    }
}

/// For each node the share of the sum that it and those with more have.
fn cumulative(influence: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..influence.len()).collect();
    order.sort_by(|&a, &b| influence[b].total_cmp(&influence[a]));
    let total: f64 = influence.iter().sum::<f64>().max(LEAST);
    let mut shares = vec![0.0; influence.len()];
    let mut sum = 0.0;
    for node in order {
        sum += influence[node];
        shares[node] = sum / total;
    }
    shares
}
