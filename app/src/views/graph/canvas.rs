//! Drawing a graph.

use egui::epaint::PathShape;
use egui::{
    Align2, Color32, FontId, Pos2, Rect, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, vec2,
};
use storage::graph::{self as files, GraphEdgeRow};

use super::layout::{GraphLayout, MARGIN, STEP};
use crate::data::graph::AttributionGraph;
use crate::theme::palette;
use crate::theme::tokens::{Palette, size};
use crate::widgets::text;

/// Edges drawn while no node is chosen.
const STRONGEST: usize = 400;
/// Edges drawn of a chosen node, in each direction.
const OF_NODE: usize = 200;
/// Radius of a node.
const RADIUS: f32 = 5.0;

/// Draws the graph; the node that was clicked.
pub fn show(
    ui: &mut Ui,
    graph: &AttributionGraph,
    layout: &GraphLayout,
    chosen: Option<usize>,
    hovered: Option<usize>,
) -> Option<usize> {
    let p = palette(ui);
    let (rect, _) = ui.allocate_exact_size(layout.size, Sense::hover());
    let origin = rect.min.to_vec2();
    bands(ui, graph, layout, rect);
    let under = pointed(ui, graph, layout, origin).or(hovered);
    edges(ui, graph, layout, origin, under.or(chosen), p);
    let mut clicked = None;
    for &(node, at) in &layout.nodes {
        let (at, marked) = (at + origin, chosen == Some(node));
        let shape = if graph.is_end(node) {
            layout.text_box(graph, node, at)
        } else {
            Rect::from_center_size(at, Vec2::splat(STEP - 1.0))
        };
        let response = ui.interact(shape, ui.scope_id().with(("node", node)), Sense::click());
        let name = super::words::name(graph, node);
        response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, marked, &name));
        draw(ui, graph, node, shape, marked, under == Some(node) || response.has_focus(), p);
        let row = &graph.nodes[node];
        let hover = match row.activation {
            Some(activation) => {
                format!("{name}\nactivation {activation:.3} · influence {:.4}", row.influence)
            }
            None => format!("{name}\ninfluence {:.4}", row.influence),
        };
        if response.on_hover_text(hover).clicked() {
            clicked = Some(node);
        }
    }
    clicked
}

/// The node under the pointer.
fn pointed(ui: &Ui, graph: &AttributionGraph, layout: &GraphLayout, origin: Vec2) -> Option<usize> {
    let pointer = ui.ctx().pointer_hover_pos().filter(|pointer| ui.clip_rect().contains(*pointer))?;
    let near = |(node, at): &&(usize, Pos2)| match graph.is_end(*node) {
        true => layout.text_box(graph, *node, *at + origin).contains(pointer),
        false => (*at + origin).distance(pointer) < STEP / 2.0,
    };
    layout.nodes.iter().find(near).map(|(node, _)| *node)
}

/// Names of layers and lines between columns.
fn bands(ui: &Ui, graph: &AttributionGraph, layout: &GraphLayout, rect: Rect) {
    let p = palette(ui);
    let painter = ui.painter();
    let small = FontId::proportional(size::SMALL);
    for (layer, &y) in layout.layers.iter().enumerate() {
        let at = rect.min + vec2(MARGIN - 10.0, y);
        let covered = graph.record.transcoders.iter().any(|transcoder| transcoder.layer == layer as u64);
        let colour = if covered { p.text } else { p.weak };
        painter.text(at, Align2::RIGHT_CENTER, format!("layer {layer}"), small.clone(), colour);
        let line = [rect.min + vec2(MARGIN, y), Pos2::new(rect.max.x, rect.min.y + y)];
        painter.line_segment(line, Stroke::new(1.0, p.stripe));
    }
    for &(left, _) in layout.columns.iter().skip(1) {
        let x = rect.min.x + left;
        painter.line_segment([Pos2::new(x, rect.min.y), Pos2::new(x, rect.max.y)], Stroke::new(1.0, p.line));
    }
}

fn edges(
    ui: &Ui,
    graph: &AttributionGraph,
    layout: &GraphLayout,
    origin: Vec2,
    of: Option<usize>,
    p: &Palette,
) {
    let both_shown = |edge: &GraphEdgeRow| {
        layout.place[edge.target as usize].is_some() && layout.place[edge.source as usize].is_some()
    };
    let chosen: Vec<GraphEdgeRow> = match of {
        Some(node) => {
            let into = graph.into(node).into_iter().filter(both_shown).take(OF_NODE);
            into.chain(graph.out_of(node).into_iter().filter(both_shown).take(OF_NODE)).collect()
        }
        None => {
            let mut all: Vec<GraphEdgeRow> =
                graph.edges.iter().filter(|edge| edge.kept && both_shown(edge)).copied().collect();
            if all.len() > STRONGEST {
                all.select_nth_unstable_by(STRONGEST, |a, b| b.weight.abs().total_cmp(&a.weight.abs()));
                all.truncate(STRONGEST);
            }
            all
        }
    };
    let most = chosen.iter().map(|edge| edge.weight.abs()).fold(f32::MIN_POSITIVE, f32::max);
    for edge in &chosen {
        let (Some(from), Some(to)) = (layout.at(edge.source as usize), layout.at(edge.target as usize))
        else {
            continue;
        };
        let strength = edge.weight.abs() / most;
        let colour = if edge.weight < 0.0 { p.negative } else { p.positive };
        let colour =
            colour.gamma_multiply(if of.is_some() { 0.35 + 0.6 * strength } else { 0.12 + 0.4 * strength });
        let stroke = Stroke::new(0.6 + 2.4 * strength, colour);
        ui.painter().extend(curve(from + origin, to + origin, stroke, edge.weight < 0.0));
    }
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

fn draw(ui: &Ui, graph: &AttributionGraph, node: usize, shape: Rect, marked: bool, lit: bool, p: &Palette) {
    let row = &graph.nodes[node];
    let painter = ui.painter();
    let ring = if marked || lit { Stroke::new(2.0, p.accent) } else { Stroke::new(1.0, p.line_strong) };
    let at = shape.center();
    match row.kind.as_str() {
        files::FEATURE => {
            painter.circle(at, RADIUS, p.activation, ring);
        }
        files::ERROR => {
            let corners = [vec2(0.0, -RADIUS), vec2(RADIUS, 0.0), vec2(0.0, RADIUS), vec2(-RADIUS, 0.0)];
            let points = corners.iter().map(|corner| at + *corner).collect();
            painter.add(Shape::Path(PathShape::convex_polygon(points, p.control, ring)));
        }
        _ => {
            painter.rect(shape, 3.0, p.raised, ring, StrokeKind::Inside);
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
}
