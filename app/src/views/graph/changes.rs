//! Features of a graph that are made to fire differently: what the graph predicts, and what the model does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use egui::{DragValue, Grid, Label, Layout, RichText, Role, ScrollArea, Ui, WidgetInfo, vec2};
use storage::graph::{self as files, GraphNodeRow};

use super::words::{self, Labels};
use crate::data::graph::AttributionGraph;
use crate::load::{KeyedRequest, Lane, Workers};
use crate::prompt::circuit::{CircuitEngine, NodeChange, TestedChange, predict};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format, notice, rule, text};

/// Features listed of those that a change moves.
const LISTED: usize = 8;
/// Next tokens that are listed.
const TOKENS: usize = 6;
/// Width of a column of figures.
const COLUMN: f32 = 290.0;

/// What is asked of the model.
type Asked = (Vec<(u32, u32)>, bool);

/// The changes of a graph's features.
#[derive(Debug, Default)]
pub struct Changes {
    /// New activations by node.
    to: BTreeMap<u32, f32>,
    /// Whether attention looks where it looked before.
    hold: bool,
    engine: CircuitEngine,
    predicted: KeyedRequest<Asked, Vec<f32>>,
    tested: KeyedRequest<Asked, TestedChange>,
}

impl Changes {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.to.is_empty()
    }

    /// The graph's model.
    pub fn engine(&self) -> &CircuitEngine {
        &self.engine
    }

    /// The new activation of a node.
    pub fn of(&self, node: usize) -> Option<f32> {
        self.to.get(&(node as u32)).copied()
    }

    /// Sets a node's activation, or leaves it as it is.
    pub fn set(&mut self, node: usize, to: Option<f32>) {
        match to {
            Some(to) => self.to.insert(node as u32, to),
            None => self.to.remove(&(node as u32)),
        };
    }

    fn asked(&self) -> Asked {
        (self.to.iter().map(|(node, to)| (*node, to.to_bits())).collect(), self.hold)
    }

    /// Once per frame: asks what the changes do. `sources` are the transcoders where they are now.
    pub fn logic(&mut self, graph: &Arc<AttributionGraph>, sources: &[PathBuf], workers: &Workers) {
        if self.to.is_empty() {
            return;
        }
        let asked = self.asked();
        let changes: Vec<NodeChange> =
            self.to.iter().map(|(node, to)| NodeChange { node: *node, to: *to }).collect();
        let (of, set) = (Arc::clone(graph), changes.clone());
        self.predicted.want(workers, Lane::Sort, &asked, move || Ok(predict(&of, &set)));
        let (of, engine, sources, hold) =
            (Arc::clone(graph), self.engine.clone(), sources.to_vec(), self.hold);
        self.tested.want(workers, Lane::Model, &asked, move || engine.change(&of, &sources, &changes, hold));
    }

    /// Draws what is changed and what that does; gives a node that is to be chosen.
    pub fn show(&mut self, ui: &mut Ui, graph: &AttributionGraph, labels: Labels<'_>) -> Option<usize> {
        let mut go = None;
        let asked = self.asked();
        ScrollArea::both().id_salt("changes").auto_shrink(false).show(ui, |ui| {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = space::L;
                column(ui, |ui| go = self.list(ui, graph, labels));
                let predicted = self.predicted.get(&asked);
                let tested = self.tested.get(&asked);
                column(ui, |ui| {
                    facts::section(ui, "Next token");
                    match (&tested, self.tested.problem(&asked)) {
                        (_, Some(problem)) => notice::problem_line(ui, problem),
                        (Some(tested), _) => next_token(ui, tested),
                        (None, None) => waiting(ui),
                    }
                });
                column(ui, |ui| {
                    facts::section(ui, "Predicted and measured");
                    if let Some(predicted) = &predicted {
                        let measured = tested.as_deref().map(|tested| &tested.measured[..]);
                        go = self.compared(ui, graph, (predicted, measured), labels).or(go);
                    }
                });
            });
        });
        go
    }

    fn list(&mut self, ui: &mut Ui, graph: &AttributionGraph, labels: Labels<'_>) -> Option<usize> {
        let (mut go, mut gone) = (None, None);
        facts::section(ui, "Changes");
        for (&node, to) in &mut self.to {
            let at = node as usize;
            let name = words::short(graph, at, labels);
            let was = graph.nodes[at].activation.unwrap_or_default();
            ui.horizontal(|ui| {
                let remove = ui.small_button("✕").on_hover_text("Leave this feature as it is");
                remove.widget_info(|| {
                    WidgetInfo::labeled(Role::Button, true, format!("Remove the change of {name}"))
                });
                gone = gone.or(remove.clicked().then_some(node));
                let speed = f64::from(was.abs().max(0.1)) / 100.0;
                let number = ui.add(DragValue::new(to).speed(speed).max_decimals(3));
                number.widget_info(|| {
                    WidgetInfo::labeled(Role::SpinButton, true, format!("New activation of {name}"))
                });
                number.on_hover_text(format!("Activation in the graph: {was:.3}"));
                let link = ui.add(egui::Link::new(RichText::new(&name).size(size::SMALL)));
                if link.on_hover_text(words::name(graph, at)).clicked() {
                    go = Some(at);
                }
            });
        }
        if let Some(node) = gone {
            self.to.remove(&node);
        }
        ui.add_space(space::XS);
        ui.checkbox(&mut self.hold, "attention looks where it looked")
            .on_hover_text("Attention patterns stay as they are without the changes, as in the graph");
        if ui.button("Remove all changes").clicked() {
            self.to.clear();
        }
        go
    }

    /// The targets, then the features that move most.
    fn compared(
        &self,
        ui: &mut Ui,
        graph: &AttributionGraph,
        (predicted, measured): (&[f32], Option<&[Option<f32>]>),
        labels: Labels<'_>,
    ) -> Option<usize> {
        let of = |node: usize| measured.and_then(|measured| measured[node]);
        let target = |row: &GraphNodeRow| matches!(row.kind.as_str(), files::LOGIT | files::TARGET);
        let moved = |node: &usize| predicted[*node] != 0.0 || of(*node).is_some_and(|by| by != 0.0);
        let mut features: Vec<usize> = (0..graph.nodes.len())
            .filter(|node| {
                graph.nodes[*node].kind == files::FEATURE && self.of(*node).is_none() && moved(node)
            })
            .collect();
        let strength = |node: usize| predicted[node].abs().max(of(node).unwrap_or_default().abs());
        features.sort_by(|&a, &b| strength(b).total_cmp(&strength(a)).then(a.cmp(&b)));
        let more = features.len().saturating_sub(LISTED);
        features.truncate(LISTED);
        let targets = (0..graph.nodes.len()).filter(|node| target(&graph.nodes[*node]));
        let mut go = None;
        Grid::new("compared").num_columns(3).spacing(vec2(space::M, 2.0)).show(ui, |ui| {
            facts::caption(ui, "");
            for head in ["graph", "model"] {
                ui.add(Label::new(RichText::new(format!("{head:>8}")).monospace().color(palette(ui).weak)));
            }
            ui.end_row();
            for node in targets.chain(features) {
                let name = words::short(graph, node, labels);
                let link = ui.add(egui::Link::new(RichText::new(shortened(&name)).size(size::SMALL)));
                if link.on_hover_text(words::name(graph, node)).clicked() {
                    go = Some(node);
                }
                number(ui, Some(predicted[node]));
                number(ui, of(node));
                ui.end_row();
            }
        });
        if more > 0 {
            facts::caption(
                ui,
                format!("and {}", format::counted(more as u64, "more feature", "more features")),
            );
        }
        go
    }
}

fn column(ui: &mut Ui, add: impl FnOnce(&mut Ui)) {
    ui.allocate_ui_with_layout(vec2(COLUMN, 0.0), Layout::top_down(egui::Align::Min), |ui| {
        ui.set_width(COLUMN);
        add(ui);
    });
}

/// A change with its sign; a dash where it is not measured.
fn number(ui: &mut Ui, by: Option<f32>) {
    let shown = by.map_or_else(|| "–".to_owned(), |by| format!("{by:+.3}").replace('-', "−"));
    let response = ui.monospace(format!("{shown:>8}"));
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &shown));
}

fn shortened(name: &str) -> String {
    rule::middle(name, 26)
}

fn waiting(ui: &mut Ui) {
    ui.horizontal(|ui| {
        notice::busy(ui, 16.0);
        ui.label(RichText::new("The model is at work…").color(palette(ui).weak));
    });
}

fn next_token(ui: &mut Ui, tested: &TestedChange) {
    let p = palette(ui);
    Grid::new("next token").num_columns(3).spacing(vec2(space::M, 2.0)).show(ui, |ui| {
        for (token, before, after) in tested.shifts.iter().take(TOKENS) {
            ui.add(Label::new(RichText::new(format!("‹{}›", text::in_list(token))).monospace()));
            ui.label(RichText::new(format!("{before:.4}")).color(p.weak));
            ui.label(RichText::new(format!("→ {after:.4}")).color(p.strong));
            ui.end_row();
        }
    });
    ui.add_space(space::XS);
    let controls =
        tested.controls.iter().map(|kl| format::value(f64::from(*kl))).collect::<Vec<_>>().join(", ");
    ui.label(format!("KL {} nats", format::value(f64::from(tested.kl))))
        .on_hover_text("KL(before ‖ after) of the next token");
    facts::caption(ui, format!("random directions of the same length: {controls}"));
}
