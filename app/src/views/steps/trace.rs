//! A prediction, traced through the transcoders of the folder.

use std::path::Path;

use egui::Ui;

use super::{field, free_name, inside, offer};
use crate::data::{Folder, RunEntry, RunInfo, Status};
use crate::theme::palette;
use crate::training::{Job, TraceJob};
use crate::views::Scene;

/// What is traced.
#[derive(Clone, Debug, Default)]
pub struct TraceForm {
    /// As typed; what the view proposes until then.
    text: Option<String>,
    target: String,
    /// As typed; a proposal until then.
    out: Option<String>,
}

/// The transcoders of a folder that a graph can be traced through from `run`: a cross-layer transcoder itself; else those that read the same
/// model, one for each hook, the first by name; where there are none, the first cross-layer one.
pub fn transcoders_of<'a>(folder: &'a Folder, run: &Path) -> Vec<&'a RunEntry> {
    let Some((of, Ok(info))) = folder.run(run).map(|entry| (entry, &entry.info)) else { return Vec::new() };
    if info.layered.is_some() {
        return vec![of];
    }
    let (mut hooks, mut found, mut cross_layer): (Vec<&str>, _, _) = (Vec::new(), Vec::new(), None);
    for run in &folder.runs {
        let Ok(other) = &run.info else { continue };
        let usable = other.target_hook.is_some()
            && other.status == Status::Finished
            && other.model_sha256 == info.model_sha256;
        if usable && other.layered.is_some() {
            cross_layer = cross_layer.or(Some(run));
        } else if usable && !hooks.contains(&other.hook.as_str()) {
            hooks.push(&other.hook);
            found.push(run);
        }
    }
    if found.is_empty() { cross_layer.into_iter().collect() } else { found }
}

/// The model of a run as the command takes it.
pub fn model_of(info: &RunInfo) -> String {
    info.model_path.clone().unwrap_or_else(|| info.model.clone())
}

impl TraceForm {
    /// Draws the fields and the button. `proposed` stands in the field for the text until something is typed.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        (model, transcoders): (&str, &[String]),
        proposed: &str,
        scene: &mut Scene<'_>,
    ) {
        let mut text = self.text.clone().unwrap_or_else(|| proposed.to_owned());
        let before = text.clone();
        field(
            ui,
            "text",
            "a text whose next token is explained",
            "The text whose next token is explained",
            &mut text,
        );
        if text != before {
            self.text = Some(text.clone());
        }
        let about =
            "token:TEXT, feature:LAYER:FEATURE[@POSITION], router:LAYER:EXPERT or direction:LAYER:FILE";
        field(ui, "target", "the likeliest next tokens", about, &mut self.target);
        let mut out = self.out.clone().unwrap_or_else(|| free_name(scene.folder, "graph"));
        let before = out.clone();
        field(ui, "graph in", "folder", "A folder inside the open one", &mut out);
        if out != before {
            self.out = Some(out.clone());
        }
        let names: Vec<&str> =
            transcoders.iter().map(|path| path.rsplit(['/', '\\']).next().unwrap_or(path)).collect();
        let with = format!("through {}", names.join(", "));
        ui.add(egui::Label::new(egui::RichText::new(with).color(palette(ui).weak)).truncate());
        let job = if text.trim().is_empty() {
            Err("Enter a text.".to_owned())
        } else if transcoders.is_empty() {
            Err("There are no transcoders of this model in the folder.".to_owned())
        } else {
            inside(scene.folder, &out).map(|out| {
                let (model, transcoders) = (model.to_owned(), transcoders.to_vec());
                Job::trace(&TraceJob { model, transcoders, text, target: self.target.clone(), out })
            })
        };
        offer(ui, "Trace", job, scene);
    }
}
