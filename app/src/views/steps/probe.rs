//! Labelled prompts, probed with the features of runs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use egui::{RichText, Ui};

use super::{choice, field, free_name, inside, offer};
use crate::data::{RunEntry, RunInfo, Status};
use crate::theme::{palette, space, tokens::size};
use crate::training::{Job, ProbeJob};
use crate::views::Scene;

const SETTINGS: [(&str, &str); 4] = [
    ("normal", "Up to 1024 prompts to train on, half of them positive"),
    ("scarce", "2 to 1024 prompts"),
    ("imbalanced", "Shares of positives from 0.05 to 0.95"),
    ("shifted", "Tested on prompts of a different distribution (files NAME_OOD)"),
];

/// What is probed.
#[derive(Clone, Debug)]
pub struct ProbeForm {
    sets: String,
    only: String,
    setting: &'static str,
    /// Other runs that are probed with it.
    others: BTreeSet<PathBuf>,
    /// As typed; a proposal until then.
    out: Option<String>,
}

impl Default for ProbeForm {
    fn default() -> Self {
        Self {
            sets: String::new(),
            only: String::new(),
            setting: "normal",
            others: BTreeSet::new(),
            out: None,
        }
    }
}

impl ProbeForm {
    /// Draws the fields and the button.
    pub fn show(&mut self, ui: &mut Ui, run: &RunEntry, info: &RunInfo, scene: &mut Scene<'_>) {
        let about = "A folder of .csv or .jsonl files, each with a column `prompt` or `text` and a column `target` or `label` of two \
                     values, or the folder of the package sae-probes";
        field(ui, "labelled prompts", "folder, below the open one or a whole path", about, &mut self.sets);
        let about = "Names of the sets, with commas between them";
        field(ui, "only these sets", "all", about, &mut self.only);
        choice(ui, "setting", &SETTINGS, &mut self.setting);
        self.with_others(ui, run, info, scene);
        let mut out = self.out.clone().unwrap_or_else(|| free_name(scene.folder, "probes"));
        let before = out.clone();
        field(
            ui,
            "results in",
            "folder",
            "A folder inside the open one; one that is not finished is resumed",
            &mut out,
        );
        if out != before {
            self.out = Some(out.clone());
        }
        let job = self.job(run, &out, scene);
        offer(ui, "Probe", job, scene);
    }

    /// Other dictionaries of the model: the model runs once for all.
    fn with_others(&mut self, ui: &mut Ui, run: &RunEntry, info: &RunInfo, scene: &Scene<'_>) {
        let alike = |other: &&RunEntry| {
            let same = |of: &RunInfo| of.model_sha256 == info.model_sha256 && of.status == Status::Finished;
            other.path != run.path && other.info.as_ref().is_ok_and(same)
        };
        let others: Vec<&RunEntry> = scene.folder.runs.iter().filter(alike).collect();
        self.others.retain(|path| others.iter().any(|other| other.path == *path));
        if others.is_empty() {
            return;
        }
        let title = match self.others.len() {
            0 => "with other runs…".to_owned(),
            n => format!("with {n} other runs"),
        };
        ui.menu_button(RichText::new(title).size(size::SMALL).color(palette(ui).text), |ui| {
            for other in others {
                let mut on = self.others.contains(&other.path);
                if ui.checkbox(&mut on, &other.name).changed() && !self.others.remove(&other.path) {
                    self.others.insert(other.path.clone());
                }
            }
        });
        ui.add_space(space::XS);
    }

    fn job(&self, run: &RunEntry, out: &str, scene: &Scene<'_>) -> Result<Job, String> {
        let sets = self.sets.trim();
        if sets.is_empty() {
            return Err("Enter the folder of labelled prompts.".to_owned());
        }
        let out = inside(scene.folder, out)?;
        Ok(Job::probe(&ProbeJob {
            runs: std::iter::once(&run.path).chain(&self.others).cloned().collect(),
            sets: scene.folder.root.join(sets),
            only: self.only.clone(),
            setting: self.setting,
            out,
        }))
    }
}
