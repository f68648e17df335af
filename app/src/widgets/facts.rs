//! Names with values: statistics, configuration, manifests.

use egui::{Align, Label, Layout, RichText, Ui};

use crate::theme::{palette, space, tokens::size};

/// A section's title.
pub fn section(ui: &mut Ui, title: &str) {
    ui.label(RichText::new(title).size(size::HEADING).color(palette(ui).strong));
    ui.add_space(space::XS);
}

/// A caption in small weak type.
pub fn caption(ui: &mut Ui, text: impl Into<String>) -> egui::Response {
    ui.add(Label::new(RichText::new(text).size(size::SMALL).color(palette(ui).weak)).truncate())
}

/// A two-column list: names at the left, values right-aligned, long values elided.
pub fn facts<'a>(ui: &mut Ui, id: &str, rows: impl IntoIterator<Item = (&'a str, &'a str)>) {
    ui.push_id(id, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        for (name, value) in rows {
            let size = egui::vec2(ui.available_width(), 20.0);
            ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
                ui.label(RichText::new(name).color(palette(ui).weak));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let value = RichText::new(value).color(palette(ui).strong);
                    ui.add(Label::new(value).truncate().selectable(true));
                });
            });
        }
    });
}

/// One number with its name below: the head of a page.
pub fn figure(ui: &mut Ui, value: &str, name: &str, hover: &str) {
    let response = ui
        .vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            ui.label(RichText::new(value).size(size::HEADING).color(palette(ui).strong));
            ui.label(RichText::new(name).size(size::SMALL).color(palette(ui).weak));
        })
        .response;
    if !hover.is_empty() {
        response.on_hover_text(hover);
    }
}
