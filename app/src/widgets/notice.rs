//! The states without data: loading, nothing here, something is wrong.

use egui::{
    Align, Button, Color32, Layout, RichText, Role, Shape, Spinner, Stroke, Ui, WidgetInfo, pos2, vec2,
};

use crate::load::Problem;
use crate::theme::{palette, space, tokens::size};

/// Room for a message in the middle of a pane.
fn centred(ui: &mut Ui, add: impl FnOnce(&mut Ui)) {
    let top = (ui.available_height() * 0.32).clamp(space::L, 240.0);
    ui.add_space(top);
    ui.with_layout(Layout::top_down(Align::Center), |ui| {
        ui.set_max_width(ui.available_width().min(520.0));
        add(ui);
    });
}

/// Something is on its way. `what` ends with `…`.
pub fn loading(ui: &mut Ui, what: &str) {
    centred(ui, |ui| {
        busy(ui, 20.0);
        ui.add_space(space::S);
        ui.label(RichText::new(what).color(palette(ui).weak));
    });
}

/// There is nothing to show, which is not a failure; `how` tells how to get something.
pub fn empty(ui: &mut Ui, what: &str, how: &str) {
    centred(ui, |ui| {
        ui.label(RichText::new(what).size(size::HEADING).color(palette(ui).strong));
        ui.add_space(space::XS);
        ui.label(RichText::new(how).color(palette(ui).weak));
    });
}

/// A failure in the middle of a pane. True when the person wants to try again.
pub fn problem(ui: &mut Ui, title: &str, problem: &Problem) -> bool {
    let mut again = false;
    problem_with(ui, title, problem, |ui| again = ui.add(Button::new("Try again")).clicked());
    again
}

/// A failure in the middle of a pane, with what can be done about it.
pub fn problem_with(ui: &mut Ui, title: &str, problem: &Problem, remedies: impl FnOnce(&mut Ui)) {
    centred(ui, |ui| {
        ui.label(RichText::new(title).size(size::HEADING).color(palette(ui).error));
        ui.add_space(space::XS);
        ui.label(RichText::new(&problem.what).color(palette(ui).text));
        if let Some(remedy) = &problem.remedy {
            ui.label(RichText::new(remedy).color(palette(ui).weak));
        }
        ui.add_space(space::M);
        remedies(ui);
    });
}

/// A failure in one line, for places that still show the previous value.
pub fn problem_line(ui: &mut Ui, problem: &Problem) {
    let p = palette(ui);
    egui::Frame::new()
        .fill(p.raised)
        .stroke(Stroke::new(1.0, p.error))
        .corner_radius(crate::theme::tokens::RADIUS)
        .inner_margin(egui::Margin::symmetric(space::S as i8, space::XS as i8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal_wrapped(|ui| {
                ui.label(RichText::new(&problem.what).color(p.error));
                if let Some(remedy) = &problem.remedy {
                    ui.label(RichText::new(remedy).color(p.weak));
                }
            });
        });
}

/// A sign that something is at work: it turns, unless motion is switched off.
pub fn busy(ui: &mut Ui, points: f32) {
    let p = palette(ui);
    if crate::theme::moves(ui) {
        ui.add(Spinner::new().size(points).color(p.weak));
        return;
    }
    let (rect, response) = ui.allocate_exact_size(vec2(points, points), egui::Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::ProgressIndicator, true, "at work"));
    for i in -1..=1 {
        let dot = rect.center() + vec2(points * 0.3 * i as f32, 0.0);
        ui.painter().circle_filled(dot, points * 0.09, p.weak);
    }
}

/// A small sign that says how something stands; its name is read out and shown on hover. Colour and shape both say it.
pub fn status_dot(ui: &mut Ui, colour: Color32, name: &str) {
    let (rect, response) = ui.allocate_exact_size(vec2(10.0, 10.0), egui::Sense::hover());
    sign(ui, rect.center(), colour, name);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    response.on_hover_text(name);
}

/// Running: a triangle. Stopped: two bars. Silent: a ring. Damaged: a triangle. Failed or not to be read: a cross. All else is well: a disc.
fn sign(ui: &Ui, at: egui::Pos2, colour: Color32, name: &str) {
    let painter = ui.painter();
    let stroke = Stroke::new(1.75, colour);
    match name {
        "running" => {
            let corners = [vec2(-2.5, -3.5), vec2(3.5, 0.0), vec2(-2.5, 3.5)].map(|d| at + d);
            painter.add(Shape::convex_polygon(corners.to_vec(), colour, Stroke::NONE));
        }
        "stopped" | "paused" | "cancelled" => {
            for x in [-2.0, 2.0] {
                painter.vline(at.x + x, at.y - 3.5..=at.y + 3.5, stroke);
            }
        }
        "silent" => {
            painter.circle_stroke(at, 3.0, stroke);
        }
        "damaged" => {
            let corners = [vec2(0.0, -4.5), vec2(4.5, 3.5), vec2(-4.5, 3.5)].map(|d| at + d);
            painter.add(Shape::closed_line(corners.to_vec(), stroke));
        }
        "failed" | "unreadable" | "cannot be opened" => {
            for (a, b) in [(-3.0, 3.0), (3.0, -3.0)] {
                painter.line_segment([pos2(at.x - 3.0, at.y + a), pos2(at.x + 3.0, at.y + b)], stroke);
            }
        }
        _ => {
            painter.circle_filled(at, 3.5, colour);
        }
    }
}
