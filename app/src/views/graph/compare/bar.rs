//! Above the list of edges: which are listed, and how the list is taken elsewhere.

use std::sync::Arc;

use egui::{Button, Popup, RichText, Role, Slider, Ui, WidgetInfo};

use super::{Chosen, Compare, Look, name};
use crate::action::{Action, Save};
use crate::prompt::graphs::{self, ComparedGraphs, KeptIn, letter};
use crate::theme::{palette, tokens::size};
use crate::views::Scene;
use crate::widgets::{facts, format, rule};

/// Makes a text of the listed edges.
type Exporter = fn(&ComparedGraphs, &[u32]) -> String;

impl Compare {
    /// Which edges, how many these are, and buttons for the list.
    pub(super) fn bar(
        &mut self,
        ui: &mut Ui,
        compared: &Arc<ComparedGraphs>,
        listed: &Arc<Vec<u32>>,
        look: &Look<'_>,
        scene: &mut Scene<'_>,
    ) {
        ui.horizontal_wrapped(|ui| {
            facts::section(ui, "Edges");
            match compared.graphs.len() {
                2 => self.of_two(ui, compared),
                n => self.of_many(ui, n),
            }
            if let Some(Chosen::Node(node)) = self.chosen {
                let of = rule::middle(&name(compared, node, look.labels), 30);
                let button = ui.add(Button::new(format!("of {of}  ✕")).selected(true));
                button.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Edges of every node"));
                if button.on_hover_text("Only the edges of the chosen node are listed").clicked() {
                    self.chosen = None;
                }
            }
            let count = format::counted(listed.len() as u64, "edge", "edges");
            ui.label(RichText::new(count).size(size::SMALL).color(palette(ui).weak));
            export(ui, compared, listed, scene);
            if compared.kept_only() {
                facts::caption(ui, "only the edges that pruning kept were read").on_hover_text(
                    "Of graphs with so many edges nothing is known of those that pruning did not keep",
                );
            }
        });
    }

    /// Kept in both, or in one alone.
    fn of_two(&mut self, ui: &mut Ui, compared: &ComparedGraphs) {
        let choices = [
            (KeptIn::Least(1), "all".to_owned(), "Edges that pruning keeps in some graph"),
            (KeptIn::Least(2), "kept in both".to_owned(), "Edges that pruning keeps in both graphs"),
            (KeptIn::Only(0), "only in A".to_owned(), "Edges that pruning keeps in A and not in B"),
            (KeptIn::Only(1), "only in B".to_owned(), "Edges that pruning keeps in B and not in A"),
        ];
        for (kept, text, about) in choices {
            let text = format!("{text} {}", format::grouped(compared.count(kept) as u64));
            if ui.add(Button::new(text).selected(self.kept == kept)).on_hover_text(about).clicked() {
                self.kept = kept;
            }
        }
    }

    /// Kept in so many graphs.
    fn of_many(&mut self, ui: &mut Ui, all: usize) {
        let mut least = match self.kept {
            KeptIn::Least(least) => least,
            KeptIn::Only(_) => 1,
        };
        let slider = Slider::new(&mut least, 1..=all).text(format!("of {all} graphs keep it at least"));
        ui.add(slider).on_hover_text("Edges that pruning keeps in fewer graphs are left out");
        self.kept = KeptIn::Least(least);
    }
}

fn export(ui: &mut Ui, compared: &Arc<ComparedGraphs>, listed: &Arc<Vec<u32>>, scene: &mut Scene<'_>) {
    let button = ui.add_enabled(!listed.is_empty(), Button::new("Export"));
    let button = button.on_hover_text("Save or copy the listed edges, in their order");
    let formats: [(&str, &str, Exporter); 2] = [("CSV", "csv", graphs::csv), ("JSON", "json", graphs::json)];
    let names: Vec<String> = compared
        .folders
        .iter()
        .map(|folder| folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    // Names of files are not endless.
    let name = match names.as_slice() {
        [first, second] => format!("{first}-{second}"),
        [first, others @ ..] => format!("{first}-and-{}", others.len()),
        [] => letter(0),
    };
    Popup::menu(&button).show(|ui| {
        for (format, end, make) in formats {
            if ui.button(format!("Copy as {format}")).clicked() {
                scene.act(Action::Copy(make(compared, listed)));
                ui.close();
            }
            if ui.button(format!("Save as {format}…")).clicked() {
                let (compared, listed) = (Arc::clone(compared), Arc::clone(listed));
                let make = move || Ok(make(&compared, &listed).into_bytes());
                scene.act(Action::Save(Save::new(format!("{name}-edges.{end}"), make)));
                ui.close();
            }
        }
    });
}
