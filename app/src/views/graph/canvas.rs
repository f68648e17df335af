//! Drawing a graph.

use egui::epaint::PathShape;
use egui::{
    Align2, Color32, FontId, Pos2, Rect, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, vec2,
};
use storage::graph::{self as files, GraphEdgeRow};

use super::layout::{GraphLayout, MARGIN, STEP};
use super::words;
use crate::data::graph::AttributionGraph;
use crate::theme::palette;
use crate::theme::tokens::{Palette, size};
use crate::widgets::text;

/// Edges drawn while no node is chosen.
const STRONGEST: usize = 400;
/// Edges drawn of a chosen node, in each direction.
const OF_NODE: usize = 200;
/// Nodes of one feature whose edges are drawn.
const NODES: usize = 16;
/// The colour of what one graph alone has, of those of curves.
const ALONE: usize = 3;
/// Radius of a node.
const RADIUS: f32 = 5.0;

/// A graph to be drawn.
pub struct Canvas<'a> {
    /// The graph.
    pub graph: &'a AttributionGraph,
    /// Where its nodes are.
    pub layout: &'a GraphLayout,
    /// The chosen nodes: of several graphs, all that are one feature.
    pub chosen: &'a [usize],
    /// Nodes that are pointed at elsewhere.
    pub hovered: &'a [usize],
    /// What it has to do with other graphs, where it is drawn with them.
    pub among: Option<Among<'a>>,
}

/// A graph among others.
pub struct Among<'a> {
    /// What it is called there.
    pub letter: &'a str,
    /// For each node whether every graph has it.
    pub common: &'a [bool],
    /// Which edges are drawn.
    pub drawn: &'a dyn Fn(&GraphEdgeRow) -> bool,
}

/// What a person did on a canvas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// The node that was clicked.
    pub clicked: Option<usize>,
    /// The node under the pointer, or else the one that has the keyboard.
    pub hovered: Option<usize>,
}

impl Canvas<'_> {
    /// Draws it.
    pub fn show(&self, ui: &mut Ui) -> Touched {
        let p = palette(ui);
        let (rect, _) = ui.allocate_exact_size(self.layout.size, Sense::hover());
        let origin = rect.min.to_vec2();
        self.bands(ui, rect);
        let focused = ui.memory(|memory| memory.focused());
        let id = |ui: &Ui, node: usize| ui.scope_id().with(("node", node));
        let with_focus = focused.and_then(|focused| {
            self.layout.nodes.iter().map(|(node, _)| *node).find(|node| id(ui, *node) == focused)
        });
        let under = self.pointed(ui, origin).or(with_focus);
        let own = under.map(|node| [node]);
        let lit = own.as_ref().map_or(self.hovered, <[usize; 1]>::as_slice);
        self.edges(ui, origin, if lit.is_empty() { self.chosen } else { lit }, p);
        if let Some(node) = lit.first() {
            self.path(ui, origin, *node, p);
        }
        // Below the nodes: none is covered where it is scrolled to a name.
        self.names(ui, rect);
        let mut clicked = None;
        for &(node, at) in &self.layout.nodes {
            let (at, marked) = (at + origin, self.chosen.contains(&node));
            let shape = if self.graph.is_end(node) {
                self.layout.text_box(self.graph, node, at)
            } else {
                Rect::from_center_size(at, Vec2::splat(STEP - 1.0))
            };
            let response = ui.interact(shape, id(ui, node), Sense::click());
            response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, marked, self.name(node)));
            if ui.is_rect_visible(shape) {
                self.draw(ui, node, shape, marked || lit.contains(&node), p);
            }
            if response.on_hover_ui(|ui| self.about(ui, node)).clicked() {
                clicked = Some(node);
            }
        }
        Touched { clicked, hovered: under }
    }

    /// What a node is called: with the graph's letter where there are others.
    fn name(&self, node: usize) -> String {
        let name = words::name(self.graph, node);
        match &self.among {
            Some(among) => format!("{}: {name}", among.letter),
            None => name,
        }
    }

    fn about(&self, ui: &mut Ui, node: usize) {
        let row = &self.graph.nodes[node];
        ui.label(self.name(node));
        ui.label(match row.activation {
            Some(activation) => format!("activation {activation:.3} · influence {:.4}", row.influence),
            None => format!("influence {:.4}", row.influence),
        });
        if let Some(among) = &self.among {
            ui.weak(match among.common[node] {
                true => "in both graphs".to_owned(),
                false => format!("in {} alone", among.letter),
            });
        }
    }

    /// The node under the pointer.
    fn pointed(&self, ui: &Ui, origin: Vec2) -> Option<usize> {
        let pointer = ui.ctx().pointer_hover_pos().filter(|pointer| ui.clip_rect().contains(*pointer))?;
        let near = |(node, at): &&(usize, Pos2)| match self.graph.is_end(*node) {
            true => self.layout.text_box(self.graph, *node, *at + origin).contains(pointer),
            false => (*at + origin).distance(pointer) < STEP / 2.0,
        };
        self.layout.nodes.iter().find(near).map(|(node, _)| *node)
    }

    /// Lines of layers and between columns.
    fn bands(&self, ui: &Ui, rect: Rect) {
        let p = palette(ui);
        let painter = ui.painter();
        for &y in &self.layout.layers {
            let line = [rect.min + vec2(MARGIN, y), Pos2::new(rect.max.x, rect.min.y + y)];
            painter.line_segment(line, Stroke::new(1.0, p.stripe));
        }
        for &(left, _) in self.layout.columns.iter().skip(1) {
            let x = rect.min.x + left;
            let line = [Pos2::new(x, rect.min.y), Pos2::new(x, rect.max.y)];
            painter.line_segment(line, Stroke::new(1.0, p.line));
        }
    }

    /// Names of layers: at the left of what is seen, wherever it is scrolled to.
    fn names(&self, ui: &Ui, rect: Rect) {
        let (p, painter, left) = (palette(ui), ui.painter(), ui.clip_rect().left());
        let scrolled = left - rect.left() > 1.0;
        for (layer, &y) in self.layout.layers.iter().enumerate() {
            let transcoders = &self.graph.record.transcoders;
            let covered = transcoders.iter().any(|transcoder| transcoder.layer == layer as u64);
            let colour = if covered { p.text } else { p.weak };
            let font = FontId::proportional(size::SMALL);
            let galley = painter.layout_no_wrap(format!("layer {layer}"), font, colour);
            let right = rect.left().max(left - 8.0) + MARGIN - 10.0;
            let at = Pos2::new(right - galley.size().x, rect.top() + y - galley.size().y / 2.0);
            if scrolled {
                let ground = Rect::from_min_size(at, galley.size()).expand2(vec2(4.0, 1.0));
                painter.rect_filled(ground, 2.0, p.ground.gamma_multiply(0.85));
            }
            painter.galley(at, galley, colour);
        }
    }

    /// Whether an edge can be seen: both of its ends are, and it is not left out.
    fn is_drawn(&self, edge: &GraphEdgeRow) -> bool {
        let place = &self.layout.place;
        place[edge.target as usize].is_some()
            && place[edge.source as usize].is_some()
            && self.among.as_ref().is_none_or(|among| (among.drawn)(edge))
    }

    /// The edges of these nodes; of none the strongest of all.
    fn drawn(&self, of: &[usize]) -> Vec<GraphEdgeRow> {
        let drawn = |edge: &GraphEdgeRow| self.is_drawn(edge);
        if of.is_empty() {
            let strongest = self.graph.strongest.iter().map(|place| self.graph.edges[*place as usize]);
            return strongest.filter(drawn).take(STRONGEST).collect();
        }
        let mut edges = Vec::new();
        for &node in of.iter().take(NODES) {
            let into = self.graph.edges_into(node).iter().copied().filter(drawn).collect();
            edges.extend(strongest(into, OF_NODE));
            edges.extend(strongest(self.graph.edges_out(node).copied().filter(drawn).collect(), OF_NODE));
        }
        if of.len() > 1 { strongest(edges, 2 * OF_NODE) } else { edges }
    }

    fn edges(&self, ui: &Ui, origin: Vec2, of: &[usize], p: &Palette) {
        let drawn = self.drawn(of);
        let most = drawn.iter().map(|edge| edge.weight.abs()).fold(f32::MIN_POSITIVE, f32::max);
        for edge in &drawn {
            let (Some(from), Some(to)) =
                (self.layout.at(edge.source as usize), self.layout.at(edge.target as usize))
            else {
                continue;
            };
            let strength = edge.weight.abs() / most;
            let colour = if edge.weight < 0.0 { p.negative } else { p.positive };
            let shown = if of.is_empty() { 0.12 + 0.4 * strength } else { 0.35 + 0.6 * strength };
            let stroke = Stroke::new(0.6 + 2.4 * strength, colour.gamma_multiply(shown));
            ui.painter().extend(curve(from + origin, to + origin, stroke, edge.weight < 0.0));
        }
    }

    /// The strongest path through a node, from step to step of those that can be seen.
    fn path(&self, ui: &Ui, origin: Vec2, node: usize, p: &Palette) {
        let path = words::path(self.graph, node);
        let places: Vec<Pos2> = path.into_iter().filter_map(|node| self.layout.at(node)).collect();
        for step in places.windows(2) {
            let stroke = Stroke::new(2.0, p.accent);
            ui.painter().extend(curve(step[0] + origin, step[1] + origin, stroke, false));
        }
    }

    fn draw(&self, ui: &Ui, node: usize, shape: Rect, lit: bool, p: &Palette) {
        let row = &self.graph.nodes[node];
        let painter = ui.painter();
        let alone = self.among.as_ref().is_some_and(|among| !among.common[node]);
        let ring = if lit {
            Stroke::new(2.0, p.accent)
        } else if alone {
            Stroke::new(1.75, p.curve(ALONE))
        } else {
            Stroke::new(1.0, p.line_strong)
        };
        // What one graph alone has is hollow.
        let fill = |colour| if alone { p.ground } else { colour };
        let at = shape.center();
        match row.kind.as_str() {
            files::FEATURE => {
                painter.circle(at, RADIUS, fill(p.activation), ring);
            }
            files::ERROR => {
                let corners = [vec2(0.0, -RADIUS), vec2(RADIUS, 0.0), vec2(0.0, RADIUS), vec2(-RADIUS, 0.0)];
                let points = corners.iter().map(|corner| at + *corner).collect();
                painter.add(Shape::Path(PathShape::convex_polygon(points, fill(p.control), ring)));
            }
            _ if alone && !lit => {
                painter.rect_filled(shape, 3.0, p.ground);
                let frame = shape.shrink(1.0);
                let corners = [
                    frame.left_top(),
                    frame.right_top(),
                    frame.right_bottom(),
                    frame.left_bottom(),
                    frame.left_top(),
                ];
                painter.extend(Shape::dashed_line(&corners, ring, 4.0, 3.0));
                self.words(ui, node, shape, p);
            }
            _ => {
                painter.rect(shape, 3.0, fill(p.raised), ring, StrokeKind::Inside);
                self.words(ui, node, shape, p);
            }
        }
    }

    /// The text of a token or a target.
    fn words(&self, ui: &Ui, node: usize, shape: Rect, p: &Palette) {
        let (row, painter, at) = (&self.graph.nodes[node], ui.painter(), shape.center());
        let name = row.name.as_deref().unwrap_or_default();
        let weight = row.weight.map(|weight| format!("{weight:.3}"));
        let up = if weight.is_some() { 7.0 } else { 0.0 };
        let mut job = egui::text::LayoutJob::simple_singleline(
            text::in_list(name),
            FontId::monospace(size::SMALL),
            p.text,
        );
        job.wrap = egui::text::TextWrapping::truncate_at_width(shape.width() - 6.0);
        let galley = painter.layout_job(job);
        painter.galley(at - galley.size() / 2.0 - vec2(0.0, up), galley, p.text);
        if let Some(weight) = weight {
            let small = FontId::proportional(size::SMALL);
            painter.text(at + vec2(0.0, 8.0), Align2::CENTER_CENTER, weight, small, p.weak);
        }
    }
}

/// The strongest edges, at most so many. There may be many more than are drawn, so not all are put in order.
fn strongest(mut edges: Vec<GraphEdgeRow>, most: usize) -> Vec<GraphEdgeRow> {
    let by_strength = |a: &GraphEdgeRow, b: &GraphEdgeRow| b.weight.abs().total_cmp(&a.weight.abs());
    if edges.len() > most {
        edges.select_nth_unstable_by(most, by_strength);
        edges.truncate(most);
    }
    edges.sort_by(by_strength);
    edges
}

/// A sign for what both graphs have, or for what one has alone, as nodes are drawn.
pub fn sign(ui: &mut Ui, alone: bool) {
    let p = palette(ui);
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(12.0), Sense::hover());
    let (fill, ring) = match alone {
        true => (p.ground, Stroke::new(1.75, p.curve(ALONE))),
        false => (p.activation, Stroke::new(1.0, p.line_strong)),
    };
    ui.painter().circle(rect.center(), RADIUS, fill, ring);
}

/// A curve that leaves upwards and arrives from below; what takes away is dashed.
pub fn curve(from: Pos2, to: Pos2, stroke: Stroke, dashed: bool) -> Vec<Shape> {
    let rise = vec2(0.0, (from.y - to.y).abs() * 0.4);
    let curve = egui::epaint::CubicBezierShape::from_points_stroke(
        [from, from - rise, to + rise, to],
        false,
        Color32::TRANSPARENT,
        stroke,
    );
    match dashed {
        false => vec![Shape::CubicBezier(curve)],
        true => {
            let points: Vec<Pos2> = (0..=16).map(|i| curve.sample(i as f32 / 16.0)).collect();
            Shape::dashed_line(&points, stroke, 5.0, 4.0)
        }
    }
}
