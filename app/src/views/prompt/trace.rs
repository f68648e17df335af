//! A prediction, traced through transcoders: next to a prompt, or in its place where the run is a transcoder itself.

use egui::{Frame, Label, Margin, RichText, Ui};

use super::{PromptView, Scene};
use crate::theme::{palette, space, tokens::size};
use crate::views::steps;
use crate::widgets::format;
use crate::words::place;

/// Width of the fields at most.
const FORM: f32 = 560.0;

impl PromptView {
    /// The model, if the run is a transcoder: what its features do is seen in a graph.
    pub(super) fn transcoder(&self, scene: &Scene<'_>) -> Option<String> {
        let info = scene.folder.run(&self.run)?.info.as_ref().ok()?;
        info.target_hook.as_ref()?;
        Some(steps::model_of(info))
    }

    /// In place of a prompt: the fields that trace a text through the transcoders of the folder.
    pub(super) fn trace_through(&mut self, ui: &mut Ui, model: &str, scene: &mut Scene<'_>) {
        let found = steps::transcoders_of(scene.folder, &self.run);
        let transcoders: Vec<String> = found.iter().map(|run| place::path(&run.path)).collect();
        let about = format!(
            "A transcoder stands for an MLP: which of its features lead to a prediction is seen in a graph through {}.",
            format::counted(
                transcoders.len() as u64,
                "transcoder of this folder",
                "transcoders of this folder"
            )
        );
        Frame::new().inner_margin(Margin::same(space::L as i8)).show(ui, |ui| {
            ui.set_max_width(FORM);
            ui.label(RichText::new("Trace a prediction").size(size::HEADING).color(palette(ui).strong));
            ui.add(Label::new(RichText::new(about).color(palette(ui).weak)).wrap());
            ui.add_space(space::M);
            self.trace.show(ui, (model, &transcoders), "", scene);
        });
    }

    /// Offers to trace the prediction after the text, where the folder has transcoders of the model.
    pub(super) fn trace(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(info) = scene.folder.run(&self.run).and_then(|run| run.info.as_ref().ok()) else { return };
        let transcoders = steps::transcoders_of(scene.folder, &self.run);
        if transcoders.is_empty() {
            return;
        }
        let transcoders: Vec<String> = transcoders.iter().map(|run| place::path(&run.path)).collect();
        let text = self.sides.get(self.front).map(|side| side.text().to_owned()).unwrap_or_default();
        let model = steps::model_of(info);
        let button = ui.button("Trace…").on_hover_text("Which features lead to the token after the text");
        steps::fields_below(&button, |ui| self.trace.show(ui, (&model, &transcoders), &text, scene));
    }
}
