//! How tokens are shared among the experts: layer × expert at a glance, one layer in detail.

mod heatmap;
mod layer;

use std::path::{Path, PathBuf};

use egui::{ComboBox, Frame, Margin, RichText, ScrollArea, Ui};

use super::{Scene, View};
use crate::address::Place;
use crate::data::ExpertUsage;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, notice};

/// The experts of one dataset.
#[derive(Debug)]
pub struct ExpertsView {
    dataset: PathBuf,
    /// 0 = all text, then the domains.
    domain: usize,
    layer: usize,
}

impl ExpertsView {
    /// The experts of `dataset`.
    pub fn new(dataset: &Path) -> Self {
        Self { dataset: dataset.to_owned(), domain: 0, layer: 0 }
    }

    fn page(&mut self, ui: &mut Ui, usage: &ExpertUsage) {
        let p = palette(ui);
        self.domain = self.domain.min(usage.domains.len());
        self.layer = self.layer.min(usage.layers.len().saturating_sub(1));
        ui.horizontal(|ui| {
            ui.label(RichText::new("Expert load").size(size::TITLE).color(p.strong));
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| self.domains(ui, usage));
        });
        facts::caption(
            ui,
            "Each cell is an expert's share of its layer's slots against a uniform share. Click a layer for detail.",
        );
        ui.add_space(space::M);
        if let Some(layer) = heatmap::show(ui, usage, self.domain, self.layer) {
            self.layer = layer;
        }
        ui.add_space(space::L);
        if let Some(layer) = usage.layers.get(self.layer) {
            layer::show(ui, layer, self.domain, self.domain_name(usage));
        }
        ui.add_space(space::L);
        layer::table(ui, usage, &mut self.layer);
    }

    fn domains(&mut self, ui: &mut Ui, usage: &ExpertUsage) {
        let shown = self.domain_name(usage).to_owned();
        let combo = ComboBox::from_id_salt("domain").selected_text(shown).width(160.0);
        let response = combo.show_ui(ui, |ui| {
            ui.selectable_value(&mut self.domain, 0, "All text");
            for (i, name) in usage.domains.iter().enumerate() {
                ui.selectable_value(&mut self.domain, i + 1, name);
            }
        });
        response
            .response
            .widget_info(|| egui::WidgetInfo::labeled(egui::Role::ComboBox, true, "Kind of text"));
    }

    fn domain_name<'a>(&self, usage: &'a ExpertUsage) -> &'a str {
        self.domain.checked_sub(1).and_then(|i| usage.domains.get(i)).map_or("All text", String::as_str)
    }
}

impl View for ExpertsView {
    fn place(&self) -> Place {
        Place::Experts { dataset: self.dataset.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Experts · {}", scene.folder.name_of(&self.dataset))
    }

    fn turn_to(&mut self, _place: &Place) {}

    fn logic(&mut self, scene: &mut Scene<'_>) {
        let workers = scene.workers;
        let store = scene.stores.dataset(&self.dataset);
        if store.experts.untouched() {
            store.ask_experts(workers);
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let store = scene.stores.dataset(&self.dataset);
        if let Some(problem) = store.experts.problem() {
            if notice::problem(ui, "The experts' load can not be read", problem) {
                store.ask_experts(scene.workers);
            }
            return;
        }
        let Some(usage) = store.experts.value().cloned() else {
            return notice::loading(ui, "Reading the experts' load…");
        };
        if usage.layers.is_empty() {
            return notice::empty(ui, "No layers", "The table holds no layer with experts.");
        }
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
                self.page(ui, &usage);
            });
        });
    }
}
