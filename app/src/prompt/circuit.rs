//! The model of an attribution graph at work: what the graph says of a change of its features, and what the model does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use sae::picture::escaped;
use sae::trace::{ChangeOptions, GraphModel};
pub use sae::trace::{GivenThrough, NodeChange};

use super::heads::Parts;
use super::{CONTROLS, problem};
use crate::data::graph::AttributionGraph;
use crate::load::Problem;

/// The model and the transcoders of a graph: loaded with the first change, forgotten with the view.
#[derive(Clone, Debug, Default)]
pub struct CircuitEngine(Arc<Mutex<Option<Arc<GraphModel>>>>);

/// A change, as the graph has it and as the model does.
#[derive(Debug)]
pub struct TestedChange {
    /// By how much the value of each node changed, `[nodes]`; none where it is not measured.
    pub measured: Vec<Option<f32>>,
    /// Next tokens with their probabilities before and after, the likeliest before first.
    pub shifts: Vec<(String, f32, f32)>,
    /// KL(before ‖ after) of the next token, nats.
    pub kl: f32,
    /// The same with steps of the same lengths in random directions.
    pub controls: Vec<f32>,
}

/// By how much the value of each node of `graph` changes if its edges say all: `[nodes]`.
pub fn predict(graph: &AttributionGraph, changes: &[NodeChange]) -> Vec<f32> {
    sae::trace::predict(&graph.nodes, &graph.edges, changes)
}

/// The graph's JSON with its marks, for the viewers of other programs.
///
/// # Errors
/// A graph without such a file; marks that cannot be read.
pub fn exported(graph: &std::path::Path) -> Result<Vec<u8>, Problem> {
    sae::trace::with_marks(graph).map(|(bytes, _)| bytes).map_err(problem)
}

impl CircuitEngine {
    /// What the model does when the changes are made. `sources` are the graph's transcoders where they are now.
    ///
    /// # Errors
    /// The model or the transcoders cannot be found or are others than the graph's.
    pub fn change(
        &self,
        graph: &AttributionGraph,
        sources: &[PathBuf],
        changes: &[NodeChange],
        hold_attention: bool,
    ) -> Result<TestedChange, Problem> {
        let model = self.model(graph, sources)?;
        let options = ChangeOptions { hold_attention, controls: CONTROLS, seed: 0 };
        let measured = model.measure(&graph.nodes, changes, options, &mut sae::Quiet).map_err(problem)?;
        let shift = |shift: &sae::prompt::Shift| (model.token_text(shift.token), shift.before, shift.after);
        Ok(TestedChange {
            shifts: measured.shifts.iter().map(shift).collect(),
            measured: measured.changes,
            kl: measured.kl,
            controls: measured.controls,
        })
    }

    /// What heads moved to a node, from which tokens, and what else it reads.
    ///
    /// # Errors
    /// As [`CircuitEngine::change`]; a node that is given nothing.
    pub fn heads(
        &self,
        graph: &AttributionGraph,
        sources: &[PathBuf],
        node: usize,
    ) -> Result<Parts, Problem> {
        let row = graph.nodes.get(node).ok_or_else(|| Problem::new("The graph has no such node."))?;
        self.model(graph, sources)?.heads(&graph.record, row).map_err(problem)
    }

    /// What the graph's nodes give a node through a head of a layer from a token: (layer, head, token).
    ///
    /// # Errors
    /// As [`CircuitEngine::heads`].
    pub fn given(
        &self,
        graph: &AttributionGraph,
        sources: &[PathBuf],
        node: usize,
        (layer, head, source): (usize, usize, usize),
    ) -> Result<GivenThrough, Problem> {
        let model = self.model(graph, sources)?;
        let through = (layer, Some(head), source);
        model.given_through(&graph.record, &graph.nodes, node, through).map_err(problem)
    }

    fn model(&self, graph: &AttributionGraph, sources: &[PathBuf]) -> Result<Arc<GraphModel>, Problem> {
        let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = &*there {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(GraphModel::open(&graph.record, sources).map_err(problem)?);
        *there = Some(Arc::clone(&model));
        Ok(model)
    }
}
