//! One run, next to the curves: what it is, how good it is, how it was made.

use std::path::PathBuf;

use egui::{CollapsingHeader, Label, RichText, Ui};

use super::hints::{Hint, hints};
use super::train;
use crate::action::Action;
use crate::address::Place;
use crate::data::{Metrics, RunEntry, RunInfo, Status};
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::views::Scene;
use crate::views::steps::{self, ExportForm, ProbeForm, TraceForm};
use crate::widgets::{facts, method, notice, rule};
use crate::words::place;

/// Colour of a status.
pub fn colour(ui: &Ui, status: &Status) -> egui::Color32 {
    let p = palette(ui);
    match status {
        Status::Running => p.accent,
        Status::Finished => p.good,
        Status::Stopped | Status::Silent => p.warning,
        Status::Failed => p.error,
    }
}

/// What a status means and what can be done.
pub fn meaning(status: &Status) -> &'static str {
    match status {
        Status::Running => "It is being trained; the curves are updated.",
        Status::Finished => "All steps are done.",
        Status::Stopped => "It was paused; Resume or `sae train --resume` continues it.",
        Status::Silent => {
            "Its record says that it is running, but nothing has been written for a quarter of an hour; Resume or `sae train --resume` continues it."
        }
        Status::Failed => "It ended with an error.",
    }
}

/// Draws the details of `run`.
pub fn show(
    ui: &mut Ui,
    run: &RunEntry,
    metrics: Option<&Metrics>,
    steps: &mut Steps,
    scene: &mut Scene<'_>,
) -> train::Interaction {
    let p = palette(ui);
    rule::name(ui, &run.name, size::HEADING, p.strong);
    let info = match &run.info {
        Ok(info) => info,
        Err(problem) => {
            notice::problem_line(ui, problem);
            return train::Interaction::default();
        }
    };
    ui.horizontal(|ui| {
        notice::status_dot(ui, colour(ui, &info.status), info.status.name());
        let (name, meaning) = match info.imported {
            true => ("imported", "Its dictionary was trained elsewhere, or changed when it was imported: the configuration below says what."),
            false => (info.status.name(), meaning(&info.status)),
        };
        ui.label(RichText::new(name).color(p.weak)).on_hover_text(meaning);
    });
    if let Some(failure) = &info.failure {
        ui.label(RichText::new(failure).color(p.error));
    }
    for gap in &info.gaps {
        notice::problem_line(ui, gap);
    }
    ui.add_space(space::S);
    let asked = train::controls(ui, run, info, scene);
    if info.indexed && ui.button("Open features").clicked() {
        scene.act(Action::Go(Place::Features { run: run.path.clone() }));
    }
    next_steps(ui, run, info, scene);
    ui.add_space(space::M);
    for found in hints(info, metrics) {
        hint(ui, &found);
    }
    let asked_here = scene.jobs.verdict(&run.path).map(|answer| crate::data::run::parse_check(answer));
    match (asked_here, &info.check) {
        (Some(Ok(check)), _) => super::check::show(ui, &check),
        (Some(Err(_)) | None, Some(check)) => super::check::show(ui, check),
        // The list of jobs tells why there is no verdict.
        (Some(Err(_)) | None, None) => {}
    }
    ui.add_space(space::S);
    super::evaluation::show(ui, info);
    super::results::show(ui, info);
    if info.scored {
        if ui.button("Truth against found").clicked() {
            scene.act(Action::Go(Place::Truth { run: run.path.clone() }));
        }
        ui.add_space(space::L);
    }
    if info.fields {
        if ui.button("Fields as pictures").clicked() {
            scene.act(Action::Go(Place::Fields { run: run.path.clone() }));
        }
        ui.add_space(space::L);
    }
    steps.show(ui, run, info, scene);
    facts::section(ui, "Configuration");
    let written = |(name, value): &(String, String)| match name.as_str() {
        "method" => method::name(value).to_owned(),
        _ => value.clone(),
    };
    let values: Vec<String> = info.configuration.iter().map(written).collect();
    let names = info.configuration.iter().map(|(name, _)| name.as_str());
    facts::facts(ui, "configuration", names.zip(values.iter().map(String::as_str)));
    if let Some(toml) = &info.train_toml {
        ui.add_space(space::M);
        CollapsingHeader::new("train.toml").show(ui, |ui| {
            ui.add(Label::new(RichText::new(toml).monospace().size(size::SMALL)).selectable(true).wrap());
        });
    }
    asked
}

/// The fields of commands that have to be told something.
#[derive(Debug, Default)]
pub struct Steps {
    /// The run that they are about.
    of: PathBuf,
    export: ExportForm,
    probe: ProbeForm,
    trace: TraceForm,
}

impl Steps {
    fn show(&mut self, ui: &mut Ui, run: &RunEntry, info: &RunInfo, scene: &mut Scene<'_>) {
        if info.status != Status::Finished {
            return;
        }
        if self.of != run.path {
            // The folder of labelled prompts stays: it is that of many runs.
            let probe = std::mem::take(&mut self.probe);
            *self = Self { of: run.path.clone(), probe, ..Self::default() };
        }
        facts::section(ui, "Commands");
        let folded = |name: &str| CollapsingHeader::new(name).id_salt(("step", name));
        // A cross-layer transcoder's folder is circuit-tracer's layout already, and a probe takes a dictionary of one hook.
        if info.layered.is_none() {
            folded("Export for other programs").show(ui, |ui| self.export.show(ui, run, info, scene));
            folded("Probe labelled prompts").show(ui, |ui| self.probe.show(ui, run, info, scene));
        }
        if info.target_hook.is_some() {
            folded("Trace a prediction").show(ui, |ui| {
                let transcoders = steps::transcoders_of(scene.folder, &run.path);
                let transcoders: Vec<String> = transcoders.iter().map(|run| place::path(&run.path)).collect();
                self.trace.show(ui, (&steps::model_of(info), &transcoders), "", scene);
            });
        }
        ui.add_space(space::L);
    }
}

/// What can be done with a run whose dictionary is there, as buttons; what was done is not offered again.
fn next_steps(ui: &mut Ui, run: &RunEntry, info: &RunInfo, scene: &mut Scene<'_>) {
    if info.status != Status::Finished {
        return;
    }
    ui.add_space(space::XS);
    if !info.indexed || info.index_broken {
        let (name, job) = scene.index_of(&run.path);
        scene.offer(ui, name, job);
    }
    if info.evaluation.is_none() && info.by_layer.is_none() {
        scene.offer(ui, "Evaluate", Job::evaluate(&run.path));
    }
    if info.indexed && !info.index_broken && !info.explained {
        scene.offer(ui, "Explain", Job::explain(&run.path));
    }
    if info.indexed && !info.index_broken && !info.mapped {
        scene.offer(ui, "Make the map", Job::map(&run.path));
    }
    let data = scene.folder.data_of(&run.path).and_then(|data| data.info.as_ref().ok());
    let joins = info.layered.is_none() && !info.joined;
    if info.indexed && !info.index_broken && joins && data.is_some_and(|data| data.has_experts) {
        scene.offer(ui, "Join experts", Job::join_experts(&run.path));
    }
    if info.evaluation.is_some() && info.audit.is_none() {
        scene.offer(ui, "Audit the encoder", Job::audit(&run.path));
    }
    let checked = info.check.is_some() || scene.jobs.verdict(&run.path).is_some();
    scene.offer(ui, if checked { "Check again" } else { "Check" }, Job::check(&run.path));
    let alike = |other: &&RunEntry| {
        let Ok(other_info) = &other.info else { return false };
        other.path != run.path
            && other_info.d_in == info.d_in
            && other_info.layered.is_none()
            && info.layered.is_none()
            && other_info.status == Status::Finished
            && !info.comparisons.iter().any(|with| other.path.ends_with(with))
    };
    let others: Vec<(PathBuf, String)> = scene
        .folder
        .runs
        .iter()
        .filter(alike)
        .map(|other| (other.path.clone(), other.name.clone()))
        .collect();
    if others.is_empty() {
        return;
    }
    ui.menu_button("Match with…", |ui| {
        for (other, name) in &others {
            let job = Job::match_with(&run.path, other);
            let button = ui.add_enabled(!scene.jobs.running(&job), egui::Button::new(name));
            if button.on_hover_text(job.line()).clicked() {
                scene.act(Action::Run(job));
                ui.close();
            }
        }
    });
}

fn hint(ui: &mut Ui, hint: &Hint) {
    let p = palette(ui);
    egui::Frame::new()
        .fill(p.ground)
        .stroke(egui::Stroke::new(1.0, p.warning))
        .corner_radius(crate::theme::tokens::RADIUS)
        .inner_margin(egui::Margin::same(space::S as i8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.label(RichText::new(hint.what).color(p.warning));
            ui.label(RichText::new(&hint.evidence).size(size::SMALL).color(p.text));
            ui.label(RichText::new(hint.remedy).size(size::SMALL).color(p.weak));
        });
    ui.add_space(space::S);
}
