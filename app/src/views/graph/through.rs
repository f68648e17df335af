//! Through which heads the chosen node is given what it is given, and by which nodes.

use std::path::PathBuf;
use std::sync::Arc;

use egui::Ui;

use super::words;
use crate::data::graph::AttributionGraph;
use crate::load::{KeyedRequest, Lane, Workers};
use crate::prompt::circuit::{CircuitEngine, GivenThrough};
use crate::prompt::heads::Parts;
use crate::theme::space;
use crate::widgets::heads::Moved;
use crate::widgets::{bars, facts, format, heads, notice};
use storage::graph as files;

/// Nodes that are listed.
const LISTED: usize = 20;

/// The section of a node's page.
#[derive(Debug, Default)]
pub struct Through {
    /// Whether a person wants it: the model is loaded for it.
    wanted: bool,
    /// The node, and the head and source that are looked at.
    of: Option<(usize, Option<Moved>)>,
    parts: KeyedRequest<usize, Parts>,
    given: KeyedRequest<(usize, Moved), GivenThrough>,
}

impl Through {
    /// Whether the model is needed for it.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Once per frame: asks for what is looked at. `sources` are the transcoders where they are now.
    pub fn logic(
        &mut self,
        chosen: Option<usize>,
        graph: &Arc<AttributionGraph>,
        engine: &CircuitEngine,
        sources: &[PathBuf],
        workers: &Workers,
    ) {
        if self.of.map(|of| of.0) != chosen {
            self.of = chosen.map(|node| (node, None));
        }
        let Some((node, moved)) = self.of.filter(|of| self.wanted && is_given(graph, of.0)) else { return };
        let (of, with, at) = (Arc::clone(graph), engine.clone(), sources.to_vec());
        self.parts.want(workers, Lane::Model, &node, move || with.heads(&of, &at, node));
        if let Some(moved) = moved {
            let (of, with, at) = (Arc::clone(graph), engine.clone(), sources.to_vec());
            self.given.want(workers, Lane::Model, &(node, moved), move || with.given(&of, &at, node, moved));
        }
    }

    /// Draws it; gives a node that is to be chosen.
    pub fn show(&mut self, ui: &mut Ui, graph: &AttributionGraph, node: usize) -> Option<usize> {
        if !is_given(graph, node) {
            return None;
        }
        ui.add_space(space::S);
        facts::section(ui, "Through heads");
        if !self.wanted {
            let button = ui.button("Show heads");
            let hover =
                "What each attention head moved to this node, from which token. Loads the graph's model";
            self.wanted = button.on_hover_text(hover).clicked();
            return None;
        }
        if let Some(problem) = self.parts.problem(&node) {
            notice::problem_line(ui, problem);
            return None;
        }
        let Some(parts) = self.parts.get(&node) else {
            notice::busy(ui, 16.0);
            return None;
        };
        let name = |place: usize| words::place(graph, place);
        if let Some(moved) = heads::show(ui, &parts, &name) {
            self.of = Some((node, Some(moved)));
        }
        let (_, moved) = self.of.filter(|of| of.0 == node)?;
        self.nodes(ui, graph, (node, moved?))
    }

    /// The nodes that give something through a head from a token.
    fn nodes(&self, ui: &mut Ui, graph: &AttributionGraph, asked: (usize, Moved)) -> Option<usize> {
        let (layer, head, source) = asked.1;
        ui.add_space(space::S);
        facts::section(
            ui,
            &format!("Given through head {layer}.{head} from {}", words::place(graph, source)),
        );
        if let Some(problem) = self.given.problem(&asked) {
            notice::problem_line(ui, problem);
            return None;
        }
        let Some(given) = self.given.get(&asked) else {
            notice::busy(ui, 16.0);
            return None;
        };
        let number = |x: f32| format::signed(f64::from(x));
        facts::caption(
            ui,
            format!(
                "{} in all, {} by what has no node in this graph",
                number(given.whole),
                number(given.rest)
            ),
        );
        let mut nodes: Vec<(usize, f32)> =
            given.nodes.iter().copied().enumerate().filter(|(_, given)| *given != 0.0).collect();
        nodes.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        let most = nodes.first().map_or(1.0, |first| first.1.abs());
        let mut go = None;
        for (node, given) in nodes.into_iter().take(LISTED) {
            if bars::signed_line(ui, &words::name(graph, node), given, most).clicked() {
                go = Some(node);
            }
        }
        go
    }
}

/// Whether anything is given to a node.
fn is_given(graph: &AttributionGraph, node: usize) -> bool {
    graph
        .nodes
        .get(node)
        .is_some_and(|row| [files::FEATURE, files::LOGIT, files::TARGET].contains(&row.kind.as_str()))
}
