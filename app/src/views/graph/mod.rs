//! An attribution graph: positions from left to right, layers from bottom to top, and for the chosen node what
//! it is given and what it gives. Nodes are pinned, named and put together as supernodes, which are a picture of their own; features are
//! made to fire differently, and what the graph predicts stands next to what the model does. Graphs of other texts are compared with it.

mod canvas;
mod changes;
mod compare;
mod feature;
mod head;
mod layout;
mod side;
mod subgraph;
mod through;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Frame, Margin, Panel, ScrollArea, Ui};

use super::steps::TraceForm;
use super::{Scene, View};
use crate::address::Place;
use crate::data::graph::{self, AttributionGraph};
use crate::data::{GraphMarks, LayerRun, MarkEdit};
use crate::load::{Lane, Request, Workers};
use crate::stores::{Need, Stores};
use crate::theme::space;
use crate::widgets::side::SidePanel;
use crate::widgets::{notice, rule};
use canvas::Canvas;
use changes::Changes;
use compare::Compare;
use feature::FeatureOfNode;
use layout::GraphLayout;
use side::NodePage;
use storage::graph_marks::node_name;
use subgraph::Subgraph;
use through::Through;

/// What is known of the chosen node.
const NODE: SidePanel = SidePanel { id: "graph node", width: 300.0, range: (220.0, 480.0) };
/// Letters of a feature's name in the graph.
const LETTERS: usize = 40;

/// What the layout was made for.
type LayoutKey = (u64, u64, bool, u64, [u32; 2]);

/// What of a graph is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Shown {
    /// The whole graph, as far as its influence goes.
    #[default]
    All,
    /// The marked nodes alone.
    Marked,
    /// The graph next to others.
    Compared,
}

/// A graph in a pane.
#[derive(Debug)]
pub struct GraphView {
    folder: PathBuf,
    graph: Request<AttributionGraph>,
    /// Share of the influence that the shown nodes have.
    share: f64,
    /// Whether errors are shown.
    errors: bool,
    shown: Shown,
    layout: GraphLayout,
    laid_out: Option<LayoutKey>,
    chosen: Option<usize>,
    /// The name of a node that is to be chosen once the graph is there.
    wanted: Option<String>,
    hovered: Option<usize>,
    page: NodePage,
    feature: FeatureOfNode,
    compare: Compare,
    changes: Changes,
    through: Through,
    /// The runs of the open folder that are the graph's transcoders, by layer.
    runs: Arc<BTreeMap<u32, LayerRun>>,
    /// The graph whose runs they are.
    runs_of: Option<u64>,
    /// A different text to be traced.
    again: TraceForm,
}

impl GraphView {
    /// The graph in `folder`, at `place`.
    pub fn new(folder: &Path, place: &Place) -> Self {
        let mut view = Self {
            folder: folder.to_owned(),
            graph: Request::new(),
            share: 0.8,
            errors: true,
            shown: Shown::default(),
            layout: GraphLayout::default(),
            laid_out: None,
            chosen: None,
            wanted: None,
            hovered: None,
            page: NodePage::default(),
            feature: FeatureOfNode::default(),
            compare: Compare::default(),
            changes: Changes::default(),
            through: Through::default(),
            runs: Arc::default(),
            runs_of: None,
            again: TraceForm::default(),
        };
        view.turn_to(place);
        view
    }

    /// Where the transcoders are now: where the graph was made a source may have been a different path.
    fn sources(&self, graph: &AttributionGraph, scene: &Scene<'_>) -> Vec<PathBuf> {
        let found = |source: &str| scene.folder.find_run(Path::new(source), &self.folder);
        graph
            .record
            .transcoders
            .iter()
            .map(|one| found(&one.source).unwrap_or_else(|| (&one.source).into()))
            .collect()
    }

    /// The feature of a node with the run that it is of, where that is in the open folder.
    fn feature_of(&self, graph: &AttributionGraph, node: usize) -> Option<(PathBuf, u32)> {
        let row = &graph.nodes[node];
        let of_layer = self.runs.get(&row.layer?)?;
        Some((of_layer.run.clone(), of_layer.number(row.feature?)))
    }

    /// Finds the runs of the transcoders and asks for what their features are called.
    fn find_runs(&mut self, graph: &AttributionGraph, scene: &mut Scene<'_>) {
        if self.runs_of == Some(self.graph.version()) {
            return;
        }
        self.runs_of = Some(self.graph.version());
        let run = |one: &storage::graph::GraphTranscoder| {
            let run = scene.folder.find_run(Path::new(&one.source), &self.folder)?;
            let info = scene.folder.run(&run).and_then(|run| run.info.as_ref().ok());
            let layered = info.and_then(|info| info.layered);
            let first = layered.map_or(0, |layered| layered.first(one.layer as u32));
            Some((one.layer as u32, LayerRun { run, first }))
        };
        self.runs = Arc::new(graph.record.transcoders.iter().filter_map(run).collect());
        for of_layer in self.runs.values() {
            scene.load_features(&of_layer.run);
        }
    }
}

/// What the features of a graph are called.
struct FeatureNames<'a> {
    runs: &'a BTreeMap<u32, LayerRun>,
    stores: &'a Stores,
}

impl FeatureNames<'_> {
    /// By a person, else by the index, else by the best explanation.
    fn of(&self, layer: u32, feature: u32) -> Option<String> {
        let of_layer = self.runs.get(&layer)?;
        let (run, feature) = (self.stores.run(&of_layer.run), of_layer.number(feature));
        let notes = run.notes.notes();
        let label = notes.label(feature).or_else(|| run.tokens.value()?.label(feature));
        let explained = || run.explanations.value()?.best(feature);
        Some(rule::short(label.or_else(explained)?, LETTERS))
    }
}

impl View for GraphView {
    fn place(&self) -> Place {
        let graph = self.folder.clone();
        if self.shown == Shown::Compared && !self.compare.others().is_empty() {
            return Place::Compared { graph, with: self.compare.others().to_vec() };
        }
        let chosen = || Some(node_name(&self.graph.value()?.nodes[self.chosen?]));
        match self.wanted.clone().or_else(chosen) {
            Some(node) => Place::Node { graph, node },
            None => Place::Graph { graph },
        }
    }

    fn turn_to(&mut self, place: &Place) {
        match place {
            Place::Node { node, .. } => {
                self.wanted = Some(node.clone());
                self.shown = Shown::All;
            }
            Place::Compared { with, .. } => {
                self.compare.set_others(with);
                self.shown = Shown::Compared;
            }
            Place::Graph { .. } if self.shown == Shown::Compared => self.shown = Shown::All,
            _ => {}
        }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Graph · {}", scene.folder.name_of(&self.folder))
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        if self.graph.untouched() {
            let folder = self.folder.clone();
            self.graph.ask(workers, Lane::Tables, move || graph::read(&folder));
            scene.load(Need::Marks(self.folder.clone()));
        }
        self.graph.poll(workers);
        if let Some(graph) = self.graph.value().map(Arc::clone) {
            self.find_runs(&graph, scene);
            if let Some(wanted) = self.wanted.take() {
                self.chosen = graph.find(&wanted);
            }
            let feature = self.chosen.and_then(|node| self.feature_of(&graph, node));
            self.feature.logic(feature, scene, workers);
            self.compare.logic((&self.folder, &graph), workers);
            if !self.changes.is_empty() || self.through.is_wanted() {
                let sources = self.sources(&graph, scene);
                self.changes.logic(&graph, &sources, workers);
                self.through.logic(self.chosen, &graph, self.changes.engine(), &sources, workers);
            }
        }
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
            match self.shown {
                Shown::Compared => self.compare.let_go(),
                Shown::All | Shown::Marked => self.chosen = None,
            }
        }
        self.hovered = None;
        Frame::new().inner_margin(Margin::same(space::L as i8)).show(ui, |ui| self.draw(ui, &graph, scene));
    }
}

impl GraphView {
    fn draw(&mut self, ui: &mut Ui, graph: &AttributionGraph, scene: &mut Scene<'_>) {
        let (runs, stores) = (Arc::clone(&self.runs), scene.stores);
        let names = FeatureNames { runs: &runs, stores };
        let labels = |layer: u32, feature: u32| names.of(layer, feature);
        let marks = Arc::clone(stores.marks(&self.folder).notes());
        self.head(ui, graph, &marks, &labels, scene);
        if let Some(problem) = stores.marks(&self.folder).problem() {
            notice::problem_line(ui, problem);
        }
        if self.shown == Shown::Compared {
            let look = compare::Look { share: self.share, errors: self.errors, runs: &runs, labels: &labels };
            if let Some(node) = self.compare.show(ui, &look, scene) {
                self.wanted = Some(node);
                self.shown = Shown::All;
            }
            return;
        }
        NODE.show(ui, Frame::side_top_panel(ui.style()), |ui| {
            ScrollArea::vertical()
                .id_salt("node")
                .auto_shrink(false)
                .show(ui, |ui| self.node(ui, graph, &marks, &labels, scene));
        });
        if !self.changes.is_empty() {
            let height = ui.available_height();
            let panel =
                Panel::bottom(egui::Id::unique("graph changes")).frame(Frame::side_top_panel(ui.style()));
            let most = (height - 120.0).max(80.0);
            let chosen = panel.resizable(true).default_size((height * 0.4).min(most)).size_range(60.0..=most);
            let chosen = chosen.show(ui, |ui| {
                ui.take_available_width();
                self.changes.show(ui, graph, &labels)
            });
            self.chosen = chosen.inner.or(self.chosen);
        }
        match self.shown {
            Shown::Marked => self.draw_marked(ui, graph, &marks, &labels),
            _ => self.draw_all(ui, graph, &marks, stores.marks(&self.folder).version()),
        }
    }

    fn draw_all(&mut self, ui: &mut Ui, graph: &AttributionGraph, marks: &GraphMarks, marked: u64) {
        let room = ui.available_size() - egui::Vec2::splat(space::M);
        let size = [room.x.to_bits(), room.y.to_bits()];
        let key = (self.graph.version(), self.share.to_bits(), self.errors, marked, size);
        if self.laid_out != Some(key) {
            self.layout = GraphLayout::new(graph, marks, (self.share, self.errors), room);
            self.laid_out = Some(key);
        }
        // What is explained follows the last token.
        ScrollArea::both().id_salt("all").auto_shrink(false).stick_to_right(true).show(ui, |ui| {
            let (chosen, hovered) = (self.chosen, self.hovered);
            let canvas = Canvas {
                graph,
                layout: &self.layout,
                chosen: chosen.as_slice(),
                hovered: hovered.as_slice(),
                among: None,
            };
            let touched = canvas.show(ui);
            self.choose(touched.clicked);
        });
    }

    fn draw_marked(
        &mut self,
        ui: &mut Ui,
        graph: &AttributionGraph,
        marks: &GraphMarks,
        labels: words::Labels<'_>,
    ) {
        if marks.is_empty() {
            notice::empty(
                ui,
                "Nothing is pinned",
                "Pin nodes of the whole graph, or put them into a supernode.",
            );
            return;
        }
        let room = ui.available_size() - egui::Vec2::splat(space::M);
        let marked = Subgraph::new(graph, marks, labels, room);
        ScrollArea::both().id_salt("marked").auto_shrink(false).show(ui, |ui| {
            let asked = marked.show(ui, graph, self.chosen);
            self.choose(asked);
        });
    }

    /// A second click lets go.
    fn choose(&mut self, asked: Option<usize>) {
        if let Some(node) = asked {
            self.chosen = if self.chosen == Some(node) { None } else { Some(node) };
        }
    }

    fn mark(&self, scene: &mut Scene<'_>, edit: MarkEdit) {
        scene.act(crate::action::Action::Mark { graph: self.folder.clone(), edit });
    }
}
