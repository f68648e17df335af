//! Names with values: statistics, configuration, manifests.

use egui::{Align, Grid, Label, Layout, RichText, Ui};

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

/// A two-column list: names at the left, values right-aligned in a column of their own, long values elided.
pub fn facts<'a>(ui: &mut Ui, id: &str, rows: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let width = ui.available_width();
    Grid::new(id).num_columns(2).spacing([space::M, space::XS]).min_col_width(0.0).show(ui, |ui| {
        for (name, value) in rows {
            ui.add(Label::new(RichText::new(name).color(palette(ui).weak)).truncate());
            let left = (width - ui.cursor().min.x + ui.min_rect().left()).max(60.0);
            ui.allocate_ui_with_layout(
                egui::vec2(left, ui.spacing().interact_size.y * 0.75),
                Layout::right_to_left(Align::Center),
                |ui| {
                    ui.add(Label::new(RichText::new(value).color(palette(ui).strong)).truncate().selectable(true));
                },
            );
            ui.end_row();
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
