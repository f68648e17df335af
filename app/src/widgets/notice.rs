//! The states without data: loading, nothing here, something is wrong.

use egui::{Align, Button, Layout, RichText, Role, Spinner, Ui, WidgetInfo};

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
        ui.add(Spinner::new().size(20.0).color(palette(ui).weak));
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
    centred(ui, |ui| {
        ui.label(RichText::new(title).size(size::HEADING).color(palette(ui).error));
        ui.add_space(space::XS);
        ui.label(RichText::new(&problem.what).color(palette(ui).text));
        if let Some(remedy) = &problem.remedy {
            ui.label(RichText::new(remedy).color(palette(ui).weak));
        }
        ui.add_space(space::M);
        again = ui.add(Button::new("Try again")).clicked();
    });
    again
}

/// A failure in one line, for places that still show the previous value.
pub fn problem_line(ui: &mut Ui, problem: &Problem) {
    let p = palette(ui);
    egui::Frame::new()
        .fill(p.raised)
        .stroke(egui::Stroke::new(1.0, p.error))
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

/// A small dot that says how something stands; its name is read out and shown on hover.
pub fn status_dot(ui: &mut Ui, colour: egui::Color32, name: &str) {
    let (rect, response) = ui.allocate_exact_size(egui::vec2(10.0, 10.0), egui::Sense::hover());
    ui.painter().circle_filled(rect.center(), 3.5, colour);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    response.on_hover_text(name);
}
