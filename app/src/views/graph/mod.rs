//! An attribution graph: positions from left to right, layers from bottom to top, and for the chosen node what
//! it is given and what it gives.

mod canvas;
mod layout;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Frame, Margin, RichText, ScrollArea, Sense, Slider, Ui, WidgetInfo};
use storage::graph::{self as files, GraphEdgeRow};

use super::steps::{self, TraceForm};
use super::{Scene, View};
use crate::address::Place;
use crate::data::graph::{self, AttributionGraph};
use crate::load::{Lane, Request, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, format, notice, table, text};
use crate::words::place;
use layout::GraphLayout;

/// Edges listed of a node.
const LISTED: usize = 30;
/// What is known of the chosen node.
const NODE: SidePanel = SidePanel { id: "graph node", width: 300.0, range: (220.0, 480.0) };
/// Height of a line of the list.
const LINE: f32 = 22.0;

/// What the layout was made for.
type LayoutKey = (u64, u64, bool, [u32; 2]);

/// A graph in a pane.
#[derive(Debug)]
pub struct GraphView {
    folder: PathBuf,
    graph: Request<AttributionGraph>,
    /// Share of the influence that the shown nodes have.
    share: f64,
    /// Whether errors are shown.
    errors: bool,
    layout: GraphLayout,
    laid_out: Option<LayoutKey>,
    chosen: Option<usize>,
    hovered: Option<usize>,
    /// A different text to be traced.
    again: TraceForm,
}

impl GraphView {
    /// The graph in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            graph: Request::new(),
            share: 0.8,
            errors: true,
            layout: GraphLayout::default(),
            laid_out: None,
            chosen: None,
            hovered: None,
            again: TraceForm::default(),
        }
    }

    fn head(&mut self, ui: &mut Ui, graph: &AttributionGraph, scene: &mut Scene<'_>) {
        let record = &graph.record;
        let p = palette(ui);
        ui.label(RichText::new(record.text.replace('\n', " ")).size(size::HEADING).color(p.strong));
        let left_out = match record.features_left_out {
            0 => String::new(),
            n => format!(" · {} more features fire and are not in the graph", format::grouped(n)),
        };
        let target = if record.target == "logits" { "the likeliest next tokens" } else { &record.target };
        facts::caption(ui, format!("{} · explains {target}{left_out}", record.model.id));
        ui.add_space(space::XS);
        ui.horizontal_wrapped(|ui| {
            let shown = (0..graph.nodes.len()).filter(|&node| graph.is_shown(node, self.share)).count();
            let slider = Slider::new(&mut self.share, 0.3..=1.0).fixed_decimals(2).text("share of influence shown");
            ui.add(slider).on_hover_text("The nodes that have this share of all influence together are shown");
            ui.checkbox(&mut self.errors, "errors")
                .on_hover_text("What the transcoders leave of an MLP's output");
            facts::caption(ui, format!("{shown} of {} nodes", format::grouped(record.nodes)));
            let replacement = format!("replacement {:.3}", record.replacement_score);
            facts::caption(ui, replacement).on_hover_text(
                "Influence of tokens over that of tokens and errors: how much of the targets is traced back to the text",
            );
            let completeness = format!("completeness {:.3}", record.completeness_score);
            facts::caption(ui, completeness)
                .on_hover_text("Mean share of what goes into nodes that does not come from errors");
            let button = ui.button("Trace another text…").on_hover_text("Through the same transcoders");
            steps::fields_below(&button, |ui| {
                let model = record.model.path.as_ref().unwrap_or(&record.model.id);
                // Where the graph was made a source may have been a different path.
                let found = |source: &String| {
                    let run = scene.folder.find_run(Path::new(source), &self.folder);
                    run.map_or_else(|| source.clone(), |run| place::path(&run))
                };
                let sources: Vec<String> = record.transcoders.iter().map(|one| found(&one.source)).collect();
                self.again.show(ui, (model, &sources), &record.text, scene);
            });
            if graph.kept_only {
                facts::caption(ui, "only the edges that pruning kept are shown");
            }
        });
        ui.add_space(space::XS);
    }

    /// The page of the chosen node.
    fn side(&mut self, ui: &mut Ui, graph: &AttributionGraph, scene: &mut Scene<'_>) {
        let Some(node) = self.chosen else {
            notice::empty(ui, "No node chosen", "Click a node to see what it is given and what it gives.");
            return;
        };
        let row = &graph.nodes[node];
        ui.add(
            egui::Label::new(RichText::new(name(graph, node)).size(size::HEADING).color(palette(ui).strong))
                .wrap(),
        );
        let activation = row.activation.map(|a| format!("{a:.3}"));
        let weight = row.weight.map(|w| format!("{w:.3}"));
        let (value, influence) = (format!("{:.3}", row.value), format!("{:.4}", row.influence));
        let mut rows = vec![("value", value.as_str()), ("influence", influence.as_str())];
        if let Some(activation) = &activation {
            rows.insert(0, ("activation", activation));
        }
        if let Some(weight) = &weight {
            rows.insert(0, (if row.kind == files::LOGIT { "probability" } else { "weight" }, weight));
        }
        facts::facts(ui, "node", rows);
        if let (Some(feature), Some(run)) = (row.feature, self.run_of(graph, node, scene))
            && ui.button("Open the feature's page").clicked()
        {
            scene.go(Place::Feature { run, feature });
        }
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            self.list(ui, graph, "Is given", &graph.into(node), |edge| edge.source);
            self.list(ui, graph, "Gives", &graph.out_of(node), |edge| edge.target);
        });
    }

    fn list(
        &mut self,
        ui: &mut Ui,
        graph: &AttributionGraph,
        title: &str,
        edges: &[GraphEdgeRow],
        other: impl Fn(&GraphEdgeRow) -> u32,
    ) {
        ui.add_space(space::S);
        facts::section(ui, title);
        let shown = edges.len().min(LISTED);
        match edges.len() {
            0 => facts::caption(ui, "nothing"),
            n if n > shown => {
                facts::caption(ui, format!("the {shown} strongest of {}", format::grouped(n as u64)))
            }
            n => facts::caption(ui, format!("{n}")),
        };
        let most = edges.first().map_or(1.0, |edge| edge.weight.abs());
        let mut go = None;
        for edge in &edges[..shown] {
            let node = other(edge) as usize;
            let response = edge_line(ui, &name(graph, node), edge.weight, most);
            if response.hovered() {
                self.hovered = Some(node);
            }
            if response.clicked() {
                go = Some(node);
            }
        }
        self.chosen = go.or(self.chosen);
    }

    /// The run that a feature's transcoder is, where it is in the open folder.
    fn run_of(&self, graph: &AttributionGraph, node: usize, scene: &Scene<'_>) -> Option<PathBuf> {
        let layer = u64::from(graph.nodes[node].layer?);
        let transcoder = graph.record.transcoders.iter().find(|transcoder| transcoder.layer == layer)?;
        scene.folder.find_run(Path::new(&transcoder.source), &self.folder)
    }
}

/// A node in words, e.g. `feature 12 · layer 3 · token 8 ‹·court›`.
fn name(graph: &AttributionGraph, node: usize) -> String {
    let row = &graph.nodes[node];
    let token = row.name.as_deref().unwrap_or_default();
    let shown = format!("‹{}›", text::in_list(token));
    let (layer, position) = (row.layer.unwrap_or_default(), row.position.unwrap_or_default());
    match row.kind.as_str() {
        files::FEATURE => {
            format!("feature {} · layer {layer} · token {position} {shown}", row.feature.unwrap_or_default())
        }
        files::ERROR => format!("error · layer {layer} · token {position} {shown}"),
        files::TOKEN => format!("token {position} {shown}"),
        files::LOGIT => format!("next token {shown}"),
        _ => token.to_owned(),
    }
}

/// One edge of a list: the node at its other end, a bar, the weight.
fn edge_line(ui: &mut Ui, name: &str, weight: f32, most: f32) -> egui::Response {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(egui::vec2(ui.available_width(), LINE), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, format!("{name}, {weight:+.3}")));
    if response.hovered() {
        table::row_ground(ui, rect, false, true);
    }
    let colour = if weight < 0.0 { p.negative } else { p.positive };
    let width = 44.0 * (weight.abs() / most.max(f32::MIN_POSITIVE)).min(1.0);
    let bar = egui::Rect::from_min_size(rect.right_center() - egui::vec2(width, 4.0), egui::vec2(width, 8.0));
    let painter = ui.painter();
    painter.rect_filled(bar, 1.0, colour);
    let small = egui::FontId::proportional(size::SMALL);
    let number = rect.right_center() - egui::vec2(50.0, 0.0);
    painter.text(number, egui::Align2::RIGHT_CENTER, format!("{weight:+.3}"), small.clone(), p.strong);
    let room = rect.width() - 112.0;
    let mut job = egui::text::LayoutJob::simple_singleline(name.to_owned(), small, p.text);
    job.wrap = egui::text::TextWrapping::truncate_at_width(room);
    let galley = painter.layout_job(job);
    painter.galley(rect.left_center() - egui::vec2(0.0, galley.size().y / 2.0), galley, p.text);
    response.on_hover_text(name)
}

impl View for GraphView {
    fn place(&self) -> Place {
        Place::Graph { graph: self.folder.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Graph · {}", scene.folder.name_of(&self.folder))
    }

    fn logic(&mut self, _: &mut Scene<'_>, workers: &Workers) {
        if self.graph.untouched() {
            let folder = self.folder.clone();
            self.graph.ask(workers, Lane::Tables, move || graph::read(&folder));
        }
        self.graph.poll(workers);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(graph) = self.graph.value().map(Arc::clone) else {
            match self.graph.problem() {
                Some(problem) => {
                    if notice::problem(ui, "The graph cannot be shown", &problem.clone()) {
                        self.graph = Request::new();
                    }
                }
                None => notice::loading(ui, "Reading the graph…"),
            }
            return;
        };
        if ui.input(|input| input.key_pressed(egui::Key::Escape)) {
            self.chosen = None;
        }
        self.hovered = None;
        Frame::new().inner_margin(Margin::same(space::L as i8)).show(ui, |ui| self.page(ui, &graph, scene));
    }
}

impl GraphView {
    fn page(&mut self, ui: &mut Ui, graph: &AttributionGraph, scene: &mut Scene<'_>) {
        self.head(ui, graph, scene);
        NODE.show(ui, Frame::side_top_panel(ui.style()), |ui| {
            ScrollArea::vertical()
                .id_salt("node")
                .auto_shrink(false)
                .show(ui, |ui| self.side(ui, graph, scene));
        });
        let room = ui.available_size() - egui::Vec2::splat(space::M);
        let key =
            (self.graph.version(), self.share.to_bits(), self.errors, [room.x.to_bits(), room.y.to_bits()]);
        if self.laid_out != Some(key) {
            self.layout = GraphLayout::new(graph, self.share, self.errors, room);
            self.laid_out = Some(key);
        }
        // What is explained follows the last token.
        ScrollArea::both().auto_shrink(false).stick_to_right(true).show(ui, |ui| {
            let asked = canvas::show(ui, graph, &self.layout, self.chosen, self.hovered);
            if let Some(node) = asked {
                self.chosen = if self.chosen == Some(node) { None } else { Some(node) };
            }
        });
    }
}
