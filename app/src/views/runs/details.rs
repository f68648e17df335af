//! One run beside the curves: what it is, how good it is, how it was made.

use egui::{CollapsingHeader, Label, RichText, Ui};

use super::hints::{Hint, hints};
use super::train;
use crate::address::Place;
use crate::data::{Evaluation, Metrics, RunEntry, RunInfo, Status};
use crate::theme::{palette, space, tokens::size};
use crate::views::{Action, Scene};
use crate::widgets::{facts, format, notice};

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
        Status::Running => "It is being trained; the curves follow.",
        Status::Finished => "All steps are done.",
        Status::Stopped => "It was stopped; Resume or `sae train --resume` goes on.",
        Status::Silent => {
            "It says that it runs, but nothing was written for a quarter of an hour; Resume or `sae train --resume` goes on."
        }
        Status::Failed => "It ended with an error.",
    }
}

/// Draws the details of `run`.
pub fn show(ui: &mut Ui, run: &RunEntry, metrics: Option<&Metrics>, scene: &mut Scene<'_>) -> train::Asked {
    let p = palette(ui);
    ui.add(Label::new(RichText::new(&run.name).size(size::HEADING).color(p.strong)).truncate());
    let info = match &run.info {
        Ok(info) => info,
        Err(problem) => {
            notice::problem_line(ui, problem);
            return train::Asked::default();
        }
    };
    ui.horizontal(|ui| {
        notice::status_dot(ui, colour(ui, &info.status), info.status.name());
        ui.label(RichText::new(info.status.name()).color(p.weak)).on_hover_text(meaning(&info.status));
    });
    if let Some(failure) = &info.failure {
        ui.label(RichText::new(failure).color(p.error));
    }
    for gap in &info.gaps {
        notice::problem_line(ui, gap);
    }
    ui.add_space(space::S);
    let asked = train::controls(ui, run, info, scene);
    let open = ui.add_enabled(info.indexed, egui::Button::new("Open features"));
    if open.on_disabled_hover_text("This run has no feature index; `sae index` makes it").clicked() {
        scene.act(Action::Go(Place::Features { run: run.path.clone() }));
    }
    ui.add_space(space::M);
    for found in hints(info, metrics) {
        hint(ui, &found);
    }
    ui.add_space(space::S);
    evaluation(ui, info);
    facts::section(ui, "Configuration");
    facts::facts(ui, "configuration", info.configuration.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    if let Some(toml) = &info.train_toml {
        ui.add_space(space::M);
        CollapsingHeader::new("train.toml").show(ui, |ui| {
            ui.add(Label::new(RichText::new(toml).monospace().size(size::SMALL)).selectable(true).wrap());
        });
    }
    asked
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

/// A figure of the evaluation: its name, the number, how it is written.
type Figure = (&'static str, fn(&Evaluation) -> Option<f64>, fn(f64) -> String);

fn count(number: f64) -> String {
    format::grouped(number.max(0.0) as u64)
}

const FIGURES: [Figure; 22] = [
    ("FVE", |e| e.fve, format::value),
    ("FVU", |e| e.fvu, format::value),
    ("NMSE", |e| e.nmse, format::value),
    ("L0", |e| Some(e.l0), format::value),
    ("L0, standard deviation", |e| Some(e.l0_sd), format::value),
    ("L1", |e| Some(e.l1), format::value),
    ("dead features", |e| Some(e.dead as f64), count),
    ("dead", |e| Some(e.dead_share), format::percent),
    ("under-used", |e| Some(e.under_used_share), format::percent),
    ("cosine", |e| Some(e.cosine), format::value),
    ("L2 ratio ‖x̂‖ / ‖x‖", |e| e.l2_ratio, format::value),
    ("reconstruction bias", |e| e.relative_reconstruction_bias, format::value),
    ("CE, clean", |e| e.ce_clean, format::value),
    ("CE, reconstructed", |e| e.ce_reconstructed, format::value),
    ("CE, zero ablation", |e| e.ce_zero, format::value),
    ("CE, mean ablation", |e| e.ce_mean, format::value),
    ("loss recovered", |e| e.loss_recovered, format::value),
    ("KL divergence", |e| e.kl, format::value),
    ("KL score", |e| e.kl_score, format::value),
    ("tokens", |e| Some(e.tokens as f64), count),
    ("tokens left out", |e| Some(e.left_out as f64), count),
    ("documents", |e| Some(e.documents as f64), count),
];

fn evaluation(ui: &mut Ui, info: &RunInfo) {
    facts::section(ui, "Evaluation");
    match &info.evaluation {
        None => drop(facts::caption(ui, "Not evaluated yet; `sae evaluate` does it.")),
        Some(evaluation) => {
            let row = |(name, get, text): &Figure| Some((*name, text(get(evaluation)?)));
            let rows: Vec<(&str, String)> = FIGURES.iter().filter_map(row).collect();
            facts::facts(ui, "evaluation", rows.iter().map(|(name, text)| (*name, text.as_str())));
        }
    }
    ui.add_space(space::L);
}
