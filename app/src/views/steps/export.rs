//! A run for other programs and for browsers.

use std::path::Path;

use egui::Ui;

use super::{choice, field, offer};
use crate::data::{RunEntry, RunInfo};
use crate::training::Job;
use crate::views::Scene;

/// Formats, and what each is for.
const FORMATS: [(&str, &str); 6] = [
    ("html", "Pages of its features for any browser; with a name that ends in .html one file"),
    ("saelens", "SAELens"),
    ("dictionary-learning", "dictionary_learning"),
    ("sparsify", "EleutherAI's sparsify"),
    ("circuit-tracer", "circuit-tracer, for transcoders"),
    ("neuronpedia", "Files that Neuronpedia imports"),
];

/// Formats that show features, which the index has.
const OF_INDEX: [&str; 2] = ["html", "neuronpedia"];

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub struct ExportForm {
    format: &'static str,
    /// As typed; a proposal until then.
    out: Option<String>,
}

impl Default for ExportForm {
    fn default() -> Self {
        Self { format: "html", out: None }
    }
}

impl ExportForm {
    /// Draws the fields and the button.
    pub fn show(&mut self, ui: &mut Ui, run: &RunEntry, info: &RunInfo, scene: &mut Scene<'_>) {
        choice(ui, "format", &FORMATS, &mut self.format);
        let own = run.path.file_name().unwrap_or_default().to_string_lossy();
        let mut out = self.out.clone().unwrap_or_else(|| format!("{own}-{}", self.format));
        let before = out.clone();
        let about = "The folder to make, below the open one or a whole path; an earlier export is replaced, nothing else is";
        field(ui, "export to", "folder", about, &mut out);
        if out != before {
            self.out = Some(out.clone());
        }
        offer(ui, "Export", self.job(&run.path, info, &scene.folder.root.join(out.trim())), scene);
    }

    fn job(&self, run: &Path, info: &RunInfo, out: &Path) -> Result<Job, String> {
        if OF_INDEX.contains(&self.format) && (!info.indexed || info.index_broken) {
            return Err("This format shows features: index the run first.".to_owned());
        }
        if out.file_name().is_none() || out == run || run.starts_with(out) {
            return Err("Enter a folder of its own.".to_owned());
        }
        Ok(Job::export(run, self.format, out))
    }
}
