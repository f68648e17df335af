//! A graph next to others: two are drawn side by side, and of any number the edges are listed with their weight in each.

mod bar;
mod choose;
mod pair;
mod side;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Frame, Key as Keyboard, Panel, Ui};
use storage::graph as files;

use super::words::Labels;
use crate::data::LayerRun;
use crate::data::graph::{self, AttributionGraph};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::prompt::graphs::{self, ComparedGraphs, EdgeKey, EdgeList, KeptIn};
use crate::views::Scene;
use crate::widgets::side::SidePanel;
use crate::widgets::{notice, text};
use pair::Pair;

/// What is known of the chosen node or edge.
const SIDE: SidePanel = SidePanel { id: "graphs compared", width: 320.0, range: (220.0, 560.0) };
/// Share of the height that the list of edges takes at first, below two graphs.
const BELOW: f32 = 0.42;

/// The graphs in their order, with the versions of what was read of them.
type GraphsKey = (Vec<PathBuf>, Vec<u64>);

/// What is looked at closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    /// What nodes are, as a place in [`ComparedGraphs::nodes`].
    Node(u32),
    /// A place in [`ComparedGraphs::edges`].
    Edge(u32),
}

/// What the whole view knows.
pub struct Look<'a> {
    /// Share of the influence that the shown nodes have.
    pub share: f64,
    /// Whether errors are shown.
    pub errors: bool,
    /// The runs of the transcoders, by layer.
    pub runs: &'a BTreeMap<u32, LayerRun>,
    /// What features are called.
    pub labels: Labels<'a>,
}

/// The graphs that a graph is compared with.
#[derive(Debug)]
pub struct Compare {
    /// The others, in the order in which they were chosen.
    others: Vec<PathBuf>,
    read: BTreeMap<PathBuf, Request<AttributionGraph>>,
    /// What was compared last.
    key: Option<GraphsKey>,
    compared: KeyedRequest<GraphsKey, ComparedGraphs>,
    kept: KeptIn,
    /// By what the edges are ordered; as is usual for so many graphs if nobody asked.
    sort: Option<(EdgeKey, bool)>,
    listed: KeyedRequest<(GraphsKey, EdgeList), Vec<u32>>,
    chosen: Option<Chosen>,
    /// What is pointed at, in a graph or in a list.
    hovered: Option<u32>,
    pair: Pair,
    /// A line of the table to be brought into sight.
    scroll_to: Option<u64>,
    page_rows: usize,
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            others: Vec::new(),
            read: BTreeMap::new(),
            key: None,
            compared: KeyedRequest::default(),
            kept: KeptIn::Least(1),
            sort: None,
            listed: KeyedRequest::default(),
            chosen: None,
            hovered: None,
            pair: Pair::default(),
            scroll_to: None,
            page_rows: 0,
        }
    }
}

impl Compare {
    /// The other graphs.
    pub fn others(&self) -> &[PathBuf] {
        &self.others
    }

    /// Compares with `others`.
    pub fn set_others(&mut self, others: &[PathBuf]) {
        self.others = others.to_vec();
    }

    /// Once per frame: reads the other graphs, compares all, and lists their edges.
    pub fn logic(&mut self, (folder, own): (&Path, &Arc<AttributionGraph>), workers: &Workers) {
        if self.others.is_empty() {
            return;
        }
        for other in &self.others {
            let request = self.read.entry(other.clone()).or_default();
            if request.untouched() {
                let folder = other.clone();
                request.ask(workers, Lane::Tables, move || graph::read(&folder));
            }
            request.poll(workers);
        }
        let read: Option<Vec<(PathBuf, Arc<AttributionGraph>)>> = self
            .others
            .iter()
            .map(|other| Some((other.clone(), Arc::clone(self.read.get(other)?.value()?))))
            .collect();
        let Some(read) = read else { return };
        let folders = std::iter::once(folder.to_owned()).chain(self.others.iter().cloned()).collect();
        let versions = self.others.iter().map(|other| self.read[other].version()).collect();
        let key: GraphsKey = (folders, versions);
        if self.key.as_ref() != Some(&key) {
            // Places of nodes and edges are those of one comparison.
            (self.chosen, self.hovered) = (None, None);
            self.listed = KeyedRequest::default();
            (self.kept, self.sort) = (KeptIn::Least(1), None);
            self.key = Some(key.clone());
        }
        let all = std::iter::once((folder.to_owned(), Arc::clone(own))).chain(read).collect();
        self.compared.want(workers, Lane::Sort, &key, move || graphs::compare(all));
        if let Some(compared) = self.compared.get(&key) {
            let list = self.list(&compared);
            self.listed.want(workers, Lane::Sort, &(key, list), move || Ok(graphs::list(&compared, list)));
        }
    }

    fn list(&self, compared: &ComparedGraphs) -> EdgeList {
        let usual = if compared.graphs.len() == 2 { EdgeKey::Difference } else { EdgeKey::Graphs };
        let of = match self.chosen {
            Some(Chosen::Node(node)) => Some(node),
            _ => None,
        };
        EdgeList { kept: self.kept, of, sort: self.sort.unwrap_or((usual, true)) }
    }

    /// Lets go of what is chosen.
    pub fn let_go(&mut self) {
        self.chosen = None;
    }

    /// Draws all of it; the name of a node that the graph of this pane is to be shown at.
    pub fn show(&mut self, ui: &mut Ui, look: &Look<'_>, scene: &mut Scene<'_>) -> Option<String> {
        if self.others.is_empty() {
            notice::empty(
                ui,
                "No other graph is chosen",
                "Choose graphs of other texts under “Compare with…” above: two are drawn side by side, and of any number the edges are listed.",
            );
            return None;
        }
        let failed = self.others.iter().find_map(|other| {
            let problem = self.read.get(other)?.problem()?;
            Some((other.clone(), problem.clone()))
        });
        if let Some((other, problem)) = failed {
            let title = format!("{} cannot be compared", scene.folder.name_of(&other));
            if notice::problem(ui, &title, &problem) {
                self.read.remove(&other);
            }
            return None;
        }
        if let Some(problem) = self.key.as_ref().and_then(|key| self.compared.problem(key)) {
            if notice::problem(ui, "These graphs cannot be compared", &problem.clone()) {
                self.compared.again();
            }
            return None;
        }
        let Some(compared) = self.key.as_ref().and_then(|key| self.compared.get(key)) else {
            notice::loading(ui, "Comparing the graphs…");
            return None;
        };
        self.page(ui, &compared, look, scene)
    }

    fn page(
        &mut self,
        ui: &mut Ui,
        compared: &Arc<ComparedGraphs>,
        look: &Look<'_>,
        scene: &mut Scene<'_>,
    ) -> Option<String> {
        let list = self.list(compared);
        let listed = self.key.clone().and_then(|key| self.listed.get(&(key, list)));
        // The list before it stays until the next is there.
        let Some(listed) = listed.or_else(|| self.listed.last()) else {
            notice::loading(ui, "Comparing the graphs…");
            return None;
        };
        let mut open = self.keyboard(ui, compared, &listed);
        let before = std::mem::take(&mut self.hovered);
        let (mut asked, mut shown) = (None, None);
        let frame = Frame::side_top_panel(ui.style());
        if compared.graphs.len() == 2 {
            let height = ui.available_height();
            let most = (height - 120.0).max(80.0);
            let panel = Panel::bottom(egui::Id::unique("compared edges")).frame(frame).resizable(true);
            let panel = panel.default_size((height * BELOW).min(most)).size_range(80.0..=most);
            panel.show(ui, |ui| {
                ui.take_available_space();
                shown = self.edges(ui, compared, &listed, look, scene);
            });
            SIDE.show(ui, frame, |ui| asked = self.side(ui, compared, look, scene));
            self.graphs(ui, compared, look, before, scene);
        } else {
            SIDE.show(ui, frame, |ui| asked = self.side(ui, compared, look, scene));
            shown = self.edges(ui, compared, &listed, look, scene);
        }
        open = shown.or(open);
        let open = open.and_then(|edge| {
            let graph = compared.strongest(edge)?;
            let part = *compared.parts(edge, graph).first()?;
            Some((graph, part.target as usize))
        });
        asked.or(open).and_then(|at| self.open(compared, at, scene))
    }

    /// The list of edges with its bar; the edge that is to be opened.
    fn edges(
        &mut self,
        ui: &mut Ui,
        compared: &Arc<ComparedGraphs>,
        listed: &Arc<Vec<u32>>,
        look: &Look<'_>,
        scene: &mut Scene<'_>,
    ) -> Option<u32> {
        self.bar(ui, compared, listed, look, scene);
        self.table(ui, compared, listed, look)
    }

    /// Goes to a node of a graph; its name where it is of this pane's.
    fn open(
        &self,
        compared: &ComparedGraphs,
        (graph, node): (usize, usize),
        scene: &mut Scene<'_>,
    ) -> Option<String> {
        let name = storage::graph_marks::node_name(&compared.graphs[graph].nodes[node]);
        if graph == 0 {
            return Some(name);
        }
        scene.go(crate::address::Place::Node { graph: compared.folders[graph].clone(), node: name });
        None
    }

    /// Arrows move through the list; the edge that Enter opens.
    fn keyboard(&mut self, ui: &Ui, compared: &ComparedGraphs, listed: &[u32]) -> Option<u32> {
        if ui.memory(|memory| memory.focused()).is_some() || listed.is_empty() {
            return None;
        }
        let chosen = match self.chosen {
            Some(Chosen::Edge(edge)) => Some(edge).filter(|edge| (*edge as usize) < compared.edges.len()),
            _ => None,
        };
        let pressed =
            |key| ui.input(|input| if input.modifiers.any() { 0 } else { input.num_presses(key) as i64 });
        if pressed(Keyboard::Enter) > 0 {
            return chosen;
        }
        let (page, last) = (self.page_rows.max(2) as i64 - 1, listed.len() as i64 - 1);
        let at = chosen.and_then(|edge| listed.iter().position(|other| *other == edge)).map(|at| at as i64);
        // A slow frame has several presses.
        let by = pressed(Keyboard::ArrowDown) - pressed(Keyboard::ArrowUp)
            + page * (pressed(Keyboard::PageDown) - pressed(Keyboard::PageUp));
        let to = match (by, at) {
            (0, _) if pressed(Keyboard::Home) > 0 => 0,
            (0, _) if pressed(Keyboard::End) > 0 => last,
            (0, _) => return None,
            // Without a chosen edge the first is where the first key leads.
            (by, at) => at.unwrap_or(-1) + by,
        };
        let to = to.clamp(0, last);
        self.chosen = listed.get(to as usize).map(|edge| Chosen::Edge(*edge));
        self.scroll_to = Some(to as u64);
        None
    }
}

/// What nodes are, in words: a feature with its label where it has one.
fn name(compared: &ComparedGraphs, node: u32, labels: Labels<'_>) -> String {
    let Some((graph, one)) = compared.one_of(node) else { return String::new() };
    let row = &compared.graphs[graph].nodes[one];
    let token = || format!("‹{}›", text::in_list(row.name.as_deref().unwrap_or_default()));
    match (row.kind.as_str(), row.layer, row.feature) {
        (files::FEATURE, Some(layer), Some(feature)) => match labels(layer, feature) {
            Some(label) => format!("{layer}/{feature} {label}"),
            None => format!("feature {layer}/{feature}"),
        },
        (files::ERROR, Some(layer), _) => format!("errors of layer {layer}"),
        (files::TOKEN, ..) => format!("token {}", token()),
        (files::LOGIT, ..) => format!("next token {}", token()),
        _ => row.name.clone().unwrap_or_default(),
    }
}
