//! What a check said of a run's dictionary: `sae check`, `sae import dictionary`.

use egui::{CollapsingHeader, Grid, RichText, Ui};
use storage::Check;

use crate::theme::{palette, space, tokens::size};
use crate::words::format;

/// Draws the verdict, and the readings that it was found by.
pub fn show(ui: &mut Ui, check: &Check) {
    let p = palette(ui);
    let colour = if check.judgement.is_good() { p.line } else { p.warning };
    egui::Frame::new()
        .fill(p.ground)
        .stroke(egui::Stroke::new(1.0, colour))
        .corner_radius(crate::theme::tokens::RADIUS)
        .inner_margin(egui::Margin::same(space::S as i8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.label(RichText::new(&check.verdict).size(size::SMALL).color(p.text));
            if let Some(remedy) = &check.remedy {
                ui.label(RichText::new(remedy).size(size::SMALL).color(p.weak));
            }
            if !check.readings.is_empty() {
                CollapsingHeader::new("Readings").id_salt("check").show(ui, |ui| readings(ui, check));
            }
        });
    ui.add_space(space::S);
}

fn readings(ui: &mut Ui, check: &Check) {
    let p = palette(ui);
    Grid::new("readings").num_columns(3).striped(true).show(ui, |ui| {
        for head in ["", "FVE", "L0"] {
            ui.label(RichText::new(head).size(size::SMALL).color(p.weak));
        }
        ui.end_row();
        for reading in &check.readings {
            ui.label(RichText::new(&reading.about).size(size::SMALL).color(p.text));
            let fve = reading.fve.map_or(format::MISSING.to_owned(), |fve| format!("{fve:.3}"));
            for number in [fve, format!("{:.1}", reading.l0)] {
                ui.label(RichText::new(number).size(size::SMALL).color(p.strong));
            }
            ui.end_row();
        }
    });
}
