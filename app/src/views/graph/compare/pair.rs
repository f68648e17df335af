//! Two graphs side by side, or one above the other where there is no room: what is one feature is lit in both.

use egui::{Label, RichText, ScrollArea, Ui, UiBuilder, vec2};

use super::{Chosen, Compare, Look};
use crate::data::GraphMarks;
use crate::prompt::graphs::{ComparedGraphs, letter};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::views::graph::canvas::{self, Among, Canvas};
use crate::views::graph::layout::{GraphLayout, STEP};
use crate::widgets::{facts, rule, text};

/// Least width of a graph; where both have less they stand one above the other.
const LEAST: f32 = 260.0;

/// What a layout was made for: the comparison, and what of the graph is seen in which room.
type LayoutKey = (super::GraphsKey, u64, bool, [u32; 2]);

/// Where the nodes of both are.
#[derive(Debug, Default)]
pub struct Pair {
    layouts: [GraphLayout; 2],
    laid_out: [Option<LayoutKey>; 2],
    /// What was brought into sight last.
    revealed: [Option<Chosen>; 2],
}

impl Compare {
    /// Draws both. `before` is what was pointed at in the last frame.
    pub(super) fn graphs(
        &mut self,
        ui: &mut Ui,
        compared: &ComparedGraphs,
        look: &Look<'_>,
        before: Option<u32>,
        scene: &Scene<'_>,
    ) {
        let room = ui.available_rect_before_wrap();
        let gap = space::M;
        let across = room.width() >= 2.0 * LEAST + gap;
        let half = match across {
            true => vec2((room.width() - gap) / 2.0, room.height()),
            false => vec2(room.width(), (room.height() - gap) / 2.0),
        };
        for graph in 0..2 {
            let by = half + vec2(gap, gap);
            let offset = if across { vec2(by.x, 0.0) } else { vec2(0.0, by.y) } * graph as f32;
            let rect = egui::Rect::from_min_size(room.min + offset, half);
            let builder = UiBuilder::new().max_rect(rect).id_salt(("graph", graph));
            ui.scope_builder(builder, |ui| {
                ui.set_clip_rect(rect.intersect(ui.clip_rect()));
                title(ui, compared, graph, scene);
                self.graph(ui, compared, graph, look, before);
            });
        }
        ui.allocate_rect(room, egui::Sense::hover());
    }

    fn graph(
        &mut self,
        ui: &mut Ui,
        compared: &ComparedGraphs,
        graph: usize,
        look: &Look<'_>,
        before: Option<u32>,
    ) {
        let room = ui.available_size() - egui::Vec2::splat(space::M);
        let Some(key) = self.key.clone() else { return };
        let key = (key, look.share.to_bits(), look.errors, [room.x.to_bits(), room.y.to_bits()]);
        let of = &compared.graphs[graph];
        if self.pair.laid_out[graph].as_ref() != Some(&key) {
            let seen = (look.share, look.errors);
            self.pair.layouts[graph] = GraphLayout::new(of, &GraphMarks::default(), seen, room);
            self.pair.laid_out[graph] = Some(key);
        }
        let nodes = |node: u32| compared.nodes[node as usize].nodes[graph].iter().map(|node| *node as usize);
        let chosen: Vec<usize> = match self.chosen {
            Some(Chosen::Node(node)) => nodes(node).collect(),
            Some(Chosen::Edge(edge)) => {
                let edge = &compared.edges[edge as usize];
                nodes(edge.source).chain(nodes(edge.target)).collect()
            }
            None => Vec::new(),
        };
        let hovered: Vec<usize> = before.into_iter().flat_map(nodes).collect();
        let (kept, edge, what) = (self.kept, self.chosen, &compared.of_node[graph]);
        let of_chosen = match edge {
            Some(Chosen::Edge(edge)) if hovered.is_empty() => Some(&compared.edges[edge as usize]),
            _ => None,
        };
        // This is asked of thousands of edges: what is looked up comes last.
        let drawn = |part: &storage::graph::GraphEdgeRow| match of_chosen {
            Some(edge) => {
                what[part.source as usize] == edge.source && what[part.target as usize] == edge.target
            }
            None => {
                let of = || compared.edge_of(graph, part);
                part.kept && of().is_some_and(|of| kept.has(&compared.edges[of as usize]))
            }
        };
        let name = letter(graph);
        let among = Among { letter: &name, common: &compared.common[graph], drawn: &drawn };
        let layout = &self.pair.layouts[graph];
        let canvas = Canvas { graph: of, layout, chosen: &chosen, hovered: &hovered, among: Some(among) };
        let area = ScrollArea::both().id_salt(("compared", graph)).auto_shrink(false).stick_to_right(true);
        let reveal =
            (self.pair.revealed[graph] != edge).then(|| ends(compared, graph, edge, layout)).flatten();
        let touched = area.show(ui, |ui| {
            if let Some(reveal) = reveal {
                ui.scroll_to_rect(reveal.translate(ui.cursor().min.to_vec2()), None);
            }
            canvas.show(ui)
        });
        let touched = touched.inner;
        self.pair.revealed[graph] = edge;
        let what = |node: usize| compared.of_node[graph][node];
        if let Some(node) = touched.hovered {
            self.hovered = Some(what(node));
        }
        if let Some(node) = touched.clicked {
            let node = Chosen::Node(what(node));
            // A second click lets go.
            self.chosen = if self.chosen == Some(node) { None } else { Some(node) };
        }
    }
}

/// Where the strongest part of a chosen edge is drawn.
fn ends(
    compared: &ComparedGraphs,
    graph: usize,
    chosen: Option<Chosen>,
    layout: &GraphLayout,
) -> Option<egui::Rect> {
    let Some(Chosen::Edge(edge)) = chosen else { return None };
    let part = *compared.parts(edge, graph).first()?;
    let (source, target) = (layout.at(part.source as usize), layout.at(part.target as usize));
    let around = |at| egui::Rect::from_center_size(at, egui::Vec2::splat(STEP));
    source.or(target).map(around).map(|rect| target.map_or(rect, |target| rect.union(around(target))))
}

/// Letter, name and text of a graph, and what its signs mean.
fn title(ui: &mut Ui, compared: &ComparedGraphs, graph: usize, scene: &Scene<'_>) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        ui.label(RichText::new(letter(graph)).size(size::HEADING).color(p.strong));
        let name = scene.folder.name_of(&compared.folders[graph]);
        ui.label(RichText::new(rule::middle(&name, 24)).color(p.text)).on_hover_text(name);
        canvas::sign(ui, false);
        facts::caption(ui, "in both");
        canvas::sign(ui, true);
        facts::caption(ui, format!("only in {}", letter(graph)));
    });
    let text = text::in_line(&compared.graphs[graph].record.text);
    ui.add(Label::new(RichText::new(text).size(size::SMALL).color(p.weak)).truncate());
    ui.add_space(space::XS);
}
