//! The panel next to the curves: which models are drawn, what they reach on held-out text, and the options of the one
//! that is looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use egui::{Grid, Label, RichText, Role, Ui, WidgetInfo};

use crate::data::ModelEntry;
use crate::data::pretraining::ModelInfo;
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::{facts, format};

/// All models of the folder; a tick draws the curves of a model with those of `own`.
pub fn models(ui: &mut Ui, own: &Path, with: &mut Vec<PathBuf>, scene: &Scene<'_>) {
    let p = palette(ui);
    let all = &scene.folder.models;
    with.retain(|path| all.iter().any(|model| model.path == *path));
    if all.len() < 2 {
        return;
    }
    facts::section(ui, "Drawn");
    for model in all {
        let place =
            std::iter::once(own).chain(with.iter().map(PathBuf::as_path)).position(|path| path == model.path);
        let mut drawn = place.is_some();
        ui.horizontal(|ui| {
            // As many as there are colours.
            let free = model.path != own && model.info.is_ok() && (drawn || with.len() + 1 < p.series.len());
            let name = RichText::new(&model.name);
            let tick = ui.add_enabled(free, egui::Checkbox::new(&mut drawn, name));
            let label = format!("Draw {}", model.name);
            tick.widget_info(|| WidgetInfo::selected(Role::CheckBox, free, drawn, &label));
            if tick.changed() {
                match drawn {
                    true => with.push(model.path.clone()),
                    false => with.retain(|path| *path != model.path),
                }
            }
            if let Some(place) = place {
                ui.label(RichText::new("■").color(p.curve(place)));
            }
        });
    }
    ui.add_space(space::M);
}

/// Bits per byte of the held-out documents of each domain, a column for each of the models that are drawn.
pub fn held_out(ui: &mut Ui, shown: &[&ModelEntry]) {
    let p = palette(ui);
    let scores =
        |model: &ModelEntry| Some(model.info.as_ref().ok()?.record.as_ref()?.result.held_out.clone());
    let all: Vec<_> = shown.iter().map(|model| scores(model)).collect();
    let domains: BTreeSet<String> = all.iter().flatten().flat_map(|scores| scores.keys().cloned()).collect();
    if domains.is_empty() {
        return;
    }
    facts::section(ui, "Held-out text, bits per byte");
    Grid::new("held out").num_columns(1 + shown.len()).spacing([space::M, 2.0]).striped(true).show(
        ui,
        |ui| {
            ui.label("");
            for (i, model) in shown.iter().enumerate() {
                ui.label(RichText::new("■").color(p.curve(i))).on_hover_text(&model.name);
            }
            ui.end_row();
            for domain in &domains {
                let named = if domain.is_empty() { "all" } else { domain };
                ui.add(Label::new(RichText::new(named).color(p.text)).extend());
                let of: Vec<Option<f64>> =
                    all.iter().map(|scores| Some(scores.as_ref()?.get(domain)?.bits_per_byte)).collect();
                let least = of.iter().flatten().copied().fold(f64::INFINITY, f64::min);
                for bits in of {
                    let best = shown.len() > 1 && bits == Some(least);
                    let text = bits.map_or_else(|| format::MISSING.to_owned(), |bits| format!("{bits:.3}"));
                    ui.label(RichText::new(text).size(size::SMALL).color(if best {
                        p.strong
                    } else {
                        p.text
                    }));
                }
                ui.end_row();
            }
        },
    );
    ui.add_space(space::M);
}

/// Of modules that are switched: how often each is on.
pub fn density(ui: &mut Ui, info: &ModelInfo) {
    let Some(record) = info.record.as_ref().filter(|record| !record.result.density.is_empty()) else {
        return;
    };
    facts::section(ui, "Modules that are on");
    let rows: Vec<(String, String)> = record
        .result
        .density
        .iter()
        .map(|(layer, shares)| {
            let shares: Vec<String> = shares.iter().map(|share| format::percent(*share)).collect();
            (format!("layer {layer}"), shares.join("  "))
        })
        .collect();
    facts::facts(ui, "density", rows.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    ui.add_space(space::M);
}

/// All options of the training.
pub fn options(ui: &mut Ui, info: &ModelInfo) {
    let rows = info.options();
    if !rows.is_empty() {
        facts::section(ui, "Options");
        facts::facts(ui, "options", rows.iter().map(|(name, value)| (*name, value.as_str())));
    }
}
