//! The pinned nodes and the supernodes alone, each a box: the circuit that a person made of a graph.

use std::collections::HashMap;
use std::fmt::Write as _;

use egui::{Align2, FontId, Pos2, Rect, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};
use storage::graph as files;
use storage::graph_marks::node_name;

use super::words::{self, Labels};
use crate::data::GraphMarks;
use crate::data::graph::AttributionGraph;
use crate::prompt::circuit::escaped;
use crate::theme::palette;
use crate::theme::tokens::size;
use crate::widgets::rule;

/// Size of a box.
const BOX: Vec2 = vec2(150.0, 38.0);
/// Least distance between boxes.
const GAP: Vec2 = vec2(18.0, 46.0);
/// Letters of a box's name.
const LETTERS: usize = 24;

/// A pinned node or a supernode.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkedBox {
    /// What it is called.
    pub name: String,
    /// Its nodes.
    pub members: Vec<usize>,
    /// Whether it is a supernode.
    pub supernode: bool,
    /// Where it is.
    pub rect: Rect,
}

/// The marked part of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subgraph {
    /// Its boxes.
    pub boxes: Vec<MarkedBox>,
    /// What the nodes of one box give those of another, summed: from, to, weight; strongest last.
    pub edges: Vec<(usize, usize, f32)>,
    /// All of it.
    pub size: Vec2,
}

impl Subgraph {
    /// Of the marked nodes of `graph` and its likeliest target, at least as large as `room`.
    pub fn new(graph: &AttributionGraph, marks: &GraphMarks, labels: Labels<'_>, room: Vec2) -> Self {
        let numbers: HashMap<String, usize> =
            graph.nodes.iter().enumerate().map(|(number, node)| (node_name(node), number)).collect();
        let known = |names: &[String]| names.iter().filter_map(|name| numbers.get(name).copied()).collect();
        let mut boxes = Vec::new();
        for supernode in &marks.supernodes {
            boxes.push((supernode.name.clone(), known(&supernode.nodes), true));
        }
        let first =
            graph.nodes.iter().position(|node| matches!(node.kind.as_str(), files::LOGIT | files::TARGET));
        let pinned: Vec<usize> = known(&marks.pinned);
        let alone = |node: &usize| marks.supernode_of(&node_name(&graph.nodes[*node])).is_none();
        let target = first.filter(|first| !pinned.contains(first));
        for node in pinned.into_iter().chain(target).filter(alone) {
            boxes.push((words::short(graph, node, labels), vec![node], false));
        }
        boxes.retain(|(_, members, _): &(_, Vec<usize>, _)| !members.is_empty());
        let mut made = Self::placed(graph, boxes, room);
        made.connect(graph);
        made
    }

    /// Rows by layer, tokens lowest and targets highest; in a row by position.
    fn placed(graph: &AttributionGraph, boxes: Vec<(String, Vec<usize>, bool)>, room: Vec2) -> Self {
        let layers = graph.record.layers as f32;
        let height = |node: &usize| {
            let row = &graph.nodes[*node];
            match row.kind.as_str() {
                files::TOKEN => -1.0,
                files::FEATURE | files::ERROR => row.layer.unwrap_or_default() as f32,
                _ => layers,
            }
        };
        let position =
            |node: &usize| graph.nodes[*node].position.map_or(f32::MAX, |position| position as f32);
        let mean =
            |of: &[usize], value: &dyn Fn(&usize) -> f32| of.iter().map(value).sum::<f32>() / of.len() as f32;
        let mut ordered: Vec<(f32, f32, (String, Vec<usize>, bool))> = boxes
            .into_iter()
            .map(|entry| (mean(&entry.1, &height).round(), mean(&entry.1, &position), entry))
            .collect();
        ordered.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let rows: Vec<&[(f32, f32, (String, Vec<usize>, bool))]> =
            ordered.chunk_by(|a, b| a.0 == b.0).collect();
        let most = rows.iter().map(|row| row.len()).max().unwrap_or(0) as f32;
        // Few rows are spread over the pane.
        let rise = (room.y / rows.len().max(1) as f32).clamp(BOX.y + GAP.y, BOX.y + 3.0 * GAP.y);
        let size = vec2((most * (BOX.x + GAP.x)).max(room.x), rise * rows.len() as f32);
        let mut made = Self { size, ..Self::default() };
        for (number, row) in rows.iter().enumerate() {
            let y = size.y - (number as f32 + 0.5) * rise;
            let step = size.x / row.len() as f32;
            for (column, (_, _, (name, members, supernode))) in row.iter().enumerate() {
                let middle = pos2((column as f32 + 0.5) * step, y);
                let rect = Rect::from_center_size(middle, BOX);
                made.boxes.push(MarkedBox {
                    name: name.clone(),
                    members: members.clone(),
                    supernode: *supernode,
                    rect,
                });
            }
        }
        made
    }

    fn connect(&mut self, graph: &AttributionGraph) {
        let mut of_node = vec![None; graph.nodes.len()];
        for (number, one) in self.boxes.iter().enumerate() {
            one.members.iter().for_each(|&member| of_node[member] = Some(number));
        }
        let mut sums: HashMap<(usize, usize), f32> = HashMap::new();
        for edge in &graph.edges {
            if let (Some(from), Some(to)) = (of_node[edge.source as usize], of_node[edge.target as usize])
                && from != to
            {
                *sums.entry((from, to)).or_default() += edge.weight;
            }
        }
        self.edges = sums.into_iter().map(|((from, to), weight)| (from, to, weight)).collect();
        self.edges.sort_by(|a, b| a.2.abs().total_cmp(&b.2.abs()).then((a.0, a.1).cmp(&(b.0, b.1))));
    }

    fn most(&self) -> f32 {
        self.edges.last().map_or(f32::MIN_POSITIVE, |edge| edge.2.abs().max(f32::MIN_POSITIVE))
    }

    /// Where an edge leaves and arrives. Edges of boxes of one row leave at the sides.
    fn ends(&self, from: usize, to: usize) -> (Pos2, Pos2) {
        let (a, b) = (self.boxes[from].rect, self.boxes[to].rect);
        if a.center().y > b.center().y + 1.0 {
            (a.center_top(), b.center_bottom())
        } else if a.center().y + 1.0 < b.center().y {
            (a.center_bottom(), b.center_top())
        } else if a.center().x < b.center().x {
            (a.right_center(), b.left_center())
        } else {
            (a.left_center(), b.right_center())
        }
    }

    /// Draws it; the box that was clicked.
    pub fn show(&self, ui: &mut Ui, graph: &AttributionGraph, chosen: Option<usize>) -> Option<usize> {
        let p = palette(ui);
        let (rect, _) = ui.allocate_exact_size(self.size, Sense::hover());
        let origin = rect.min.to_vec2();
        let small = FontId::proportional(size::SMALL);
        let most = self.most();
        for &(from, to, weight) in &self.edges {
            let (a, b) = self.ends(from, to);
            let strength = weight.abs() / most;
            let colour = if weight < 0.0 { p.negative } else { p.positive };
            let stroke = Stroke::new(0.8 + 3.0 * strength, colour.gamma_multiply(0.35 + 0.6 * strength));
            ui.painter().extend(super::canvas::curve(a + origin, b + origin, stroke, weight < 0.0));
        }
        let mut clicked = None;
        for (number, one) in self.boxes.iter().enumerate() {
            let at = one.rect.translate(origin);
            let marked = chosen.is_some_and(|chosen| one.members.contains(&chosen));
            let response = ui.interact(at, ui.scope_id().with(("box", number)), Sense::click());
            response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, marked, &one.name));
            let ring = if marked || response.hovered() || response.has_focus() {
                Stroke::new(2.0, p.accent)
            } else {
                Stroke::new(1.0, p.line_strong)
            };
            ui.painter().rect(
                at,
                5.0,
                if one.supernode { p.control } else { p.raised },
                ring,
                StrokeKind::Inside,
            );
            let (name, below) = (rule::middle(&one.name, LETTERS), self.below(one, graph));
            let up = if below.is_empty() { 0.0 } else { 7.0 };
            ui.painter().text(
                at.center() - vec2(0.0, up),
                Align2::CENTER_CENTER,
                name,
                small.clone(),
                p.strong,
            );
            ui.painter().text(
                at.center() + vec2(0.0, 8.0),
                Align2::CENTER_CENTER,
                below,
                small.clone(),
                p.weak,
            );
            if response.on_hover_ui(|ui| self.about(ui, number, graph)).clicked() {
                clicked = one.members.first().copied();
            }
        }
        clicked
    }

    /// The small line of a box.
    fn below(&self, one: &MarkedBox, graph: &AttributionGraph) -> String {
        match one.members.as_slice() {
            [node] if one.supernode => {
                words::name(graph, *node).split(" · ").next().unwrap_or_default().to_owned()
            }
            [node] => {
                let row = &graph.nodes[*node];
                let activation = row.activation.map(|activation| format!("activation {activation:.2}"));
                let weight = || row.weight.map(|weight| format!("{weight:.3}"));
                activation.or_else(weight).unwrap_or_default()
            }
            members => format!("{} nodes", members.len()),
        }
    }

    fn about(&self, ui: &mut Ui, number: usize, graph: &AttributionGraph) {
        let one = &self.boxes[number];
        ui.strong(&one.name);
        one.members.iter().take(12).for_each(|member| {
            ui.label(words::name(graph, *member));
        });
        for (from, to, weight) in
            self.edges.iter().rev().filter(|(from, to, _)| [*from, *to].contains(&number)).take(8)
        {
            let other = if *from == number {
                format!("gives {}", self.boxes[*to].name)
            } else {
                format!("from {}", self.boxes[*from].name)
            };
            ui.weak(format!("{other}  {weight:+.3}"));
        }
    }

    /// The same as an SVG picture on white.
    pub fn svg(&self, graph: &AttributionGraph) -> String {
        let Vec2 { x, y } = self.size;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {x:.0} {y:.0}\" width=\"{x:.0}\" height=\"{y:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        let most = self.most();
        for &(from, to, weight) in &self.edges {
            let (a, b) = self.ends(from, to);
            let rise = (a.y - b.y).abs() * 0.4;
            let strength = weight.abs() / most;
            let (colour, dash) =
                if weight < 0.0 { ("#b3261e", " stroke-dasharray=\"5 4\"") } else { ("#1b6e4b", "") };
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "<path d=\"M{:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{:.2}\" \
                 stroke-opacity=\"{:.2}\"{dash}><title>{weight:+.3}</title></path>",
                a.x,
                a.y,
                a.x,
                a.y - rise,
                b.x,
                b.y + rise,
                b.x,
                b.y,
                0.8 + 3.0 * strength,
                0.35 + 0.6 * strength
            );
        }
        for one in &self.boxes {
            let (at, middle) = (one.rect.min, one.rect.center());
            let below = self.below(one, graph);
            let fill = if one.supernode { "#e8edf4" } else { "#fff" };
            let up = if below.is_empty() { 4.0 } else { -2.0 };
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{}\" height=\"{}\" rx=\"5\" fill=\"{fill}\" stroke=\"#667\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#667\" font-size=\"11\">{}</text>",
                at.x,
                at.y,
                BOX.x,
                BOX.y,
                middle.x,
                middle.y + up,
                escaped(&rule::middle(&one.name, LETTERS)),
                middle.x,
                middle.y + 13.0,
                escaped(&below)
            );
        }
        out.push_str("</svg>\n");
        out
    }
}
