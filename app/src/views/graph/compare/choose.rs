//! Choosing the graphs to compare with: those of the tree, with the reason where one cannot be compared.

use std::path::Path;

use egui::{Button, Checkbox, Label, Popup, PopupCloseBehavior, RichText, Role, ScrollArea, Ui, WidgetInfo};

use super::Compare;
use crate::data::GraphEntry;
use crate::data::graph::AttributionGraph;
use crate::prompt::graphs;
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::{facts, rule, text};

/// Width of the menu.
const WIDTH: f32 = 340.0;
/// Its height at most.
const HEIGHT: f32 = 380.0;

impl Compare {
    /// The button with its menu; whether graphs were chosen.
    pub fn choose(&mut self, ui: &mut Ui, own: (&Path, &AttributionGraph), scene: &Scene<'_>) -> bool {
        let mut chosen = false;
        let others: Vec<&GraphEntry> =
            scene.folder.graphs.iter().filter(|graph| graph.path != own.0).collect();
        let button = ui.add_enabled(!others.is_empty(), Button::new("Compare with…"));
        let button = button
            .on_hover_text("Graphs of other texts, through the same transcoders of the same model")
            .on_disabled_hover_text("There is no other graph in the open folder");
        Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            ui.set_width(WIDTH);
            // The ground of a menu is nearly that of a box without a tick.
            let frame = egui::Stroke::new(1.0, palette(ui).line_strong);
            ui.visuals_mut().widgets.inactive.bg_stroke = frame;
            ScrollArea::vertical().max_height(HEIGHT).show(ui, |ui| {
                for other in others {
                    chosen |= self.entry(ui, own, other);
                }
            });
        });
        chosen
    }

    /// How many graphs there are with this one.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// A graph of the menu; whether it was ticked or the tick taken away.
    fn entry(&mut self, ui: &mut Ui, own: (&Path, &AttributionGraph), other: &GraphEntry) -> bool {
        let refusal = match &other.info {
            Ok(record) => graphs::refusal((own.0, &own.1.record), (&other.path, record)),
            Err(problem) => Some(problem.clone()),
        };
        let mut on = self.others.contains(&other.path);
        // What is compared can always be left out, whatever became of its file.
        let can = refusal.is_none() || on;
        let ticked = ui.add_enabled(can, Checkbox::new(&mut on, rule::middle(&other.name, 44)));
        ticked.widget_info(|| {
            WidgetInfo::selected(Role::CheckBox, can, on, format!("Compare with {}", other.name))
        });
        let changed = ticked.changed();
        ui.indent(&other.path, |ui| match (&refusal, &other.info) {
            (Some(problem), _) => {
                let why = RichText::new(&problem.what).size(size::SMALL).color(palette(ui).warning);
                ui.add(Label::new(why).wrap());
            }
            (None, Ok(record)) => drop(facts::caption(ui, text::in_line(&record.text))),
            (None, Err(_)) => {}
        });
        ui.add_space(space::XS);
        match (changed, on) {
            (true, true) => self.others.push(other.path.clone()),
            (true, false) => self.others.retain(|path| *path != other.path),
            (false, _) => {}
        }
        changed
    }
}
