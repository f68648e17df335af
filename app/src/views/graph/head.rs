//! What a graph is of, and what of it is shown.

use std::path::PathBuf;

use egui::{Button, Label, RichText, Slider, Ui};

use super::subgraph::Subgraph;
use super::words::Labels;
use super::{GraphView, Scene, Shown};
use crate::action::{Action, Save};
use crate::claims::Bench;
use crate::data::GraphMarks;
use crate::data::graph::AttributionGraph;
use crate::prompt::circuit;
use crate::theme::{palette, space, tokens::size};
use crate::views::steps;
use crate::widgets::{facts, format, text};
use crate::words::place;

/// Room that the slider of the threshold needs.
const SLIDER: f32 = 340.0;
/// Size of a saved picture at least.
const PICTURE: egui::Vec2 = egui::vec2(900.0, 0.0);

impl GraphView {
    pub(super) fn head(
        &mut self,
        ui: &mut Ui,
        graph: &AttributionGraph,
        marks: &GraphMarks,
        labels: Labels<'_>,
        scene: &mut Scene<'_>,
    ) {
        let record = &graph.record;
        let p = palette(ui);
        let text = RichText::new(text::in_line(&record.text)).size(size::HEADING).color(p.strong);
        ui.add(Label::new(text).truncate());
        let left_out = match record.features_left_out {
            0 => String::new(),
            n => format!(" · {} more features fire and are not in the graph", format::grouped(n)),
        };
        let target = if record.target == "logits" { "the likeliest next tokens" } else { &record.target };
        facts::caption(ui, format!("{} · explains {target}{left_out}", record.model.id));
        ui.add_space(space::XS);
        ui.horizontal_wrapped(|ui| {
            for (shown, name, about) in [
                (Shown::All, "All nodes", "The whole graph"),
                (Shown::Marked, "Marked", "The pinned nodes and supernodes alone"),
                (Shown::Compared, "Compared", "This graph next to those of other texts"),
            ] {
                let button = ui.add(Button::selectable(self.shown == shown, name));
                if button.on_hover_text(about).clicked() {
                    self.shown = shown;
                }
            }
            if self.compare.choose(ui, (&self.folder, graph), scene) {
                self.shown = Shown::Compared;
            }
            if self.shown == Shown::Marked {
                return self.save(ui, graph, marks, labels, scene);
            }
            // Of more than two graphs only a list of edges is shown.
            if self.shown == Shown::Compared && self.compare.count() != 2 {
                return;
            }
            let shown = (0..graph.nodes.len()).filter(|&node| graph.is_shown(node, self.share)).count();
            if ui.available_size_before_wrap().x < SLIDER {
                ui.end_row();
            }
            let slider = Slider::new(&mut self.share, 0.3..=1.0).fixed_decimals(2).text("share of influence shown");
            ui.add(slider).on_hover_text("The nodes that have this share of all influence together are shown");
            ui.checkbox(&mut self.errors, "errors")
                .on_hover_text("What the transcoders leave of an MLP's output");
            if self.shown == Shown::Compared {
                return;
            }
            facts::caption(ui, format!("{shown} of {} nodes", format::grouped(record.nodes)));
            let replacement = format!("replacement {:.3}", record.replacement_score);
            facts::caption(ui, replacement).on_hover_text(
                "Influence of tokens over that of tokens and errors: how much of the targets is traced back to the text",
            );
            let completeness = format!("completeness {:.3}", record.completeness_score);
            facts::caption(ui, completeness)
                .on_hover_text("Mean share of what goes into nodes that does not come from errors");
            let button = ui.button("Trace another text…").on_hover_text("Through the same transcoders");
            steps::fields_below(&button, |ui| {
                let model = record.model.path.as_ref().unwrap_or(&record.model.id);
                let sources: Vec<String> =
                    self.sources(graph, scene).iter().map(|source| place::path(source)).collect();
                self.again.show(ui, (model, &sources), &record.text, scene);
            });
            if graph.kept_only {
                facts::caption(ui, "only the edges that pruning kept are shown");
            }
        });
        ui.add_space(space::XS);
    }

    /// Buttons that save the marked part.
    fn save(
        &self,
        ui: &mut Ui,
        graph: &AttributionGraph,
        marks: &GraphMarks,
        labels: Labels<'_>,
        scene: &mut Scene<'_>,
    ) {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let svg = || Subgraph::new(graph, marks, labels, PICTURE).svg(graph);
        ui.add_enabled_ui(!marks.is_empty(), |ui| {
            ui.menu_button("Save…", |ui| {
                if ui.button("Picture (SVG)").clicked() {
                    let svg = svg();
                    let make = move || Ok(svg.clone().into_bytes());
                    scene.act(Action::Save(Save::new(format!("{name}.svg"), make)));
                }
                if ui.button("Picture (PNG)").clicked() {
                    let svg = svg();
                    scene.act(Action::Save(Save::new(format!("{name}.png"), move || Bench::png(&svg))));
                }
                let json = ui.button("Graph with its marks (JSON)");
                if json.on_hover_text("For the viewers of circuit-tracer and Neuronpedia").clicked() {
                    let folder: PathBuf = self.folder.clone();
                    let make = move || circuit::exported(&folder);
                    scene.act(Action::Save(Save::new(format!("{name}.json"), make)));
                }
            });
        });
        let count = |n: usize, one, several| format::counted(n as u64, one, several);
        facts::caption(
            ui,
            format!(
                "{}, {}",
                count(marks.supernodes.len(), "supernode", "supernodes"),
                count(marks.pinned.len(), "pinned node", "pinned nodes")
            ),
        );
    }
}
