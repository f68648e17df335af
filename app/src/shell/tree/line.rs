//! One line of the tree, and the signs in it.

use egui::{Align2, FontId, Pos2, Rect, RichText, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::action::Action;
use crate::address::Place;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, notice, rule, table};

/// Height of a line.
pub const LINE: f32 = 26.0;
/// Width under which a line with a sign has no room for a number.
const NARROW: f32 = 200.0;
/// Width of the sign at the end of a line.
const SIGN: f32 = 16.0;

/// A line that leads to a place.
pub struct Line<'a> {
    /// What is shown.
    pub label: &'a str,
    /// What a screen reader is told.
    pub name: &'a str,
    /// What stands at its end.
    pub right: &'a str,
    /// A sign before it: its colour and its name.
    pub dot: Option<(egui::Color32, &'a str)>,
    pub indent: f32,
    pub hover: &'a str,
    /// Whether room is left at its end for a sign.
    pub signed: bool,
}

/// Draws a line; where it was drawn.
pub fn show(
    ui: &mut Ui,
    line: &Line<'_>,
    here: Option<&Place>,
    place: Place,
    actions: &mut Vec<Action>,
) -> Rect {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), LINE), Sense::click());
    let chosen = here.is_some_and(|here| is_of(here, &place));
    response.widget_info(|| WidgetInfo::selected(Role::TreeItem, true, chosen, line.name));
    if chosen || response.hovered() {
        table::row_ground(ui, rect, chosen, response.hovered());
    }
    let end = space::M + if line.signed { SIGN - space::XS } else { 0.0 };
    let inner = Rect::from_min_max(rect.min + vec2(space::M + line.indent, 0.0), rect.max - vec2(end, 0.0));
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner).layout(layout), |ui| {
        ui.spacing_mut().item_spacing.x = space::S;
        if let Some((colour, name)) = line.dot {
            notice::status_dot(ui, colour, name);
        }
        let colour = if chosen || line.dot.is_some() { p.strong } else { p.text };
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            // In a narrow tree the name is worth more than its number.
            let room = !line.signed || rect.width() >= NARROW;
            if room && !line.right.is_empty() {
                ui.label(RichText::new(line.right).size(size::SMALL).color(p.weak));
            }
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                rule::name(ui, line.label, size::BODY, colour);
            });
        });
    });
    if response.on_hover_text(line.hover).clicked() {
        actions.push(Action::Go(place));
    }
    rect
}

/// Whether a line to `place` is the one of where the person is.
fn is_of(here: &Place, place: &Place) -> bool {
    match (here, place) {
        (Place::Feature { run, .. } | Place::Example { run, .. }, Place::Features { run: other })
        | (Place::Prompt { run, .. }, Place::Prompt { run: other, .. }) => run == other,
        (
            Place::Dataset { dataset, .. } | Place::Token { dataset, .. },
            Place::Dataset { dataset: other, .. },
        )
        | (Place::Expert { dataset, .. }, Place::Experts { dataset: other }) => dataset == other,
        (Place::Node { graph, .. } | Place::Compared { graph, .. }, Place::Graph { graph: other }) => {
            graph == other
        }
        (here, place) => here == place,
    }
}

/// A heading with how many things are below it.
pub fn heading(ui: &mut Ui, name: &str, count: usize) {
    ui.horizontal(|ui| {
        ui.add_space(space::M);
        ui.label(RichText::new(name).size(size::SMALL).strong().color(palette(ui).weak));
        ui.label(RichText::new(count.to_string()).size(size::SMALL).color(palette(ui).weak));
    });
    ui.add_space(space::XS);
}

/// Words where there is nothing.
pub fn hint(ui: &mut Ui, text: &str) {
    ui.horizontal(|ui| {
        ui.add_space(space::M);
        facts::caption(ui, text);
    });
}

/// The line of a folder; true when it is to be folded or unfolded.
pub fn folder(ui: &mut Ui, (label, path): (&str, &str), count: usize, open: bool, indent: f32) -> bool {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), LINE), Sense::click());
    let said = format!("{} folder {path}", if open { "Fold" } else { "Unfold" });
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &said));
    if response.hovered() {
        table::row_ground(ui, rect, false, true);
    }
    triangle(ui, pos2(rect.left() + indent + space::M * 0.5, rect.center().y), open, response.hovered());
    let inner = Rect::from_min_max(rect.min + vec2(space::M + indent, 0.0), rect.max - vec2(space::M, 0.0));
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner).layout(layout), |ui| {
        ui.label(RichText::new(count.to_string()).size(size::SMALL).color(p.weak));
        ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
            rule::name(ui, label, size::BODY, p.text);
        });
    });
    response.on_hover_text(path).clicked()
}

/// The sign before a run that unfolds it; true when it was clicked.
pub fn fold_sign(ui: &mut Ui, line: Rect, indent: f32, open: bool, name: &str) -> bool {
    let rect = Rect::from_min_size(line.left_top() + vec2(indent, 0.0), vec2(space::M, LINE));
    let response = ui.interact(rect, ui.scope_id().with(("fold", name)), Sense::click());
    let said = format!("{} {name}", if open { "Fold" } else { "Unfold" });
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &said));
    triangle(ui, rect.center(), open, response.hovered());
    response.on_hover_text("Features, map and prompt of this run").clicked()
}

fn triangle(ui: &Ui, at: Pos2, open: bool, hovered: bool) {
    let p = palette(ui);
    let sign = if open { "⏷" } else { "⏵" };
    let colour = if hovered { p.strong } else { p.weak };
    ui.painter().text(at, Align2::CENTER_CENTER, sign, FontId::proportional(size::SMALL), colour);
}

/// The pin at the end of the line of a run, drawn where it is pinned or the pointer is on the line; true when it was clicked.
pub fn pin(ui: &mut Ui, line: Rect, pinned: bool, name: &str) -> bool {
    let rect = Rect::from_min_max(pos2(line.right() - SIGN - space::XS, line.top()), line.right_bottom());
    let response = ui.interact(rect, ui.scope_id().with(("pin", name)), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, pinned, format!("Pin {name}")));
    let p = palette(ui);
    let near = ui.rect_contains_pointer(line) || response.has_focus();
    if pinned || near {
        let colour = if response.hovered() || response.has_focus() { p.strong } else { p.weak };
        draw_pin(ui, rect.center(), colour, pinned);
    }
    let about = if pinned { "Take it from the top of the tree" } else { "Keep it at the top of the tree" };
    response.on_hover_text(about).clicked()
}

/// A drawing pin from the side: head, plate and needle.
fn draw_pin(ui: &Ui, at: Pos2, colour: egui::Color32, filled: bool) {
    let painter = ui.painter();
    let stroke = Stroke::new(1.2, colour);
    let head = Rect::from_center_size(at + vec2(0.0, -2.5), vec2(4.5, 5.0));
    if filled {
        painter.rect_filled(head, 1.0, colour);
    }
    painter.add(Shape::rect_stroke(head, 1.0, stroke, egui::StrokeKind::Middle));
    painter.hline(at.x - 4.5..=at.x + 4.5, at.y + 0.8, stroke);
    painter.vline(at.x, at.y + 0.8..=at.y + 6.0, stroke);
}
