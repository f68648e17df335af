//! The experts that a feature's tokens go to: a section of the feature's page.

use std::path::Path;

use egui::{RichText, Ui};
use storage::experts::RouterFeatureRow;

use crate::action::Action;
use crate::address::Place;
use crate::data::FeatureExpertRow;
use crate::load::KeyedRequest;
use crate::theme::{palette, space};
use crate::training::Job;
use crate::views::Scene;
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{facts, format, notice};

/// Draws the section of `feature` of `run` where its dataset has experts. `experts` is what is loaded for the
/// feature in front; `None` inside where features and experts are not joined.
pub fn show(
    ui: &mut Ui,
    run: &Path,
    feature: u32,
    experts: &KeyedRequest<u32, Option<Vec<FeatureExpertRow>>>,
    scene: &mut Scene<'_>,
) {
    let Some(data) = scene.folder.data_of(run) else { return };
    let (dataset, has_experts) = (data.path.clone(), data.info.as_ref().is_ok_and(|info| info.has_experts));
    let rows = experts.get(&feature);
    let heading = |ui: &mut Ui| {
        ui.add_space(space::L);
        facts::section(ui, "Experts");
    };
    let say = |ui: &mut Ui, text: String| ui.label(RichText::new(text).color(palette(ui).weak));
    if let Some(problem) = experts.problem(&feature) {
        heading(ui);
        return notice::problem_line(ui, problem);
    }
    match rows.as_deref() {
        // Only models with experts have something to miss.
        None => {}
        Some(None) if !has_experts => {}
        Some(None) => {
            heading(ui);
            say(ui, "The features are not joined with the experts yet.".to_owned());
            scene.offer(ui, "Join experts", Job::join_experts(run));
        }
        Some(Some(rows)) if rows.is_empty() => {
            heading(ui);
            say(ui, "It fired too rarely to tell which experts its tokens are routed to.".to_owned());
        }
        Some(Some(rows)) => {
            ui.add_space(space::L);
            table(ui, rows, &dataset, scene);
        }
    }
}

/// Draws the experts that a feature calls, where `sae experts explain` has asked which features tell most of experts and this
/// is one of them.
pub fn calls(
    ui: &mut Ui,
    run: &Path,
    feature: u32,
    calls: &KeyedRequest<u32, Option<Vec<RouterFeatureRow>>>,
    scene: &mut Scene<'_>,
) {
    let Some(dataset) = scene.folder.data_of(run).map(|data| data.path.clone()) else { return };
    if let Some(problem) = calls.problem(&feature) {
        ui.add_space(space::L);
        facts::section(ui, CALLS);
        return notice::problem_line(ui, problem);
    }
    let found = calls.get(&feature);
    let Some(rows) = found.as_deref().and_then(Option::as_ref).filter(|rows| !rows.is_empty()) else {
        return;
    };
    let columns = [
        column("layer", 52.0, "The block"),
        column("expert", 60.0, "The expert; the feature is among the 64 that tell most of it"),
        column("place", 52.0, "Place among the features of the expert, by correlation; 1 tells most"),
        column(
            "correlation",
            92.0,
            "Of the feature's code and the expert being chosen; below 0 where the feature keeps tokens away",
        ),
        column(
            "logit",
            72.0,
            "What one unit of the code adds to the router's logit through its row, before the norm divides; nothing is fitted",
        ),
    ];
    let cell = |row: usize, column: usize| {
        let row = &rows[row];
        match column {
            0 => Cell::Count(u64::from(row.layer)),
            1 => Cell::Link(u64::from(row.expert), format!("Go to expert {}:{}", row.layer, row.expert)),
            2 => Cell::Count(u64::from(row.rank) + 1),
            3 => Cell::Value(row.correlation),
            _ => Cell::value(row.direct),
        }
    };
    let sheet = Sheet {
        id: "calls of feature",
        columns: &columns,
        rows: rows.len(),
        cell: &cell,
        most: 12,
        marked: None,
    };
    ui.add_space(space::L);
    let asked = ui.push_id("calls", |ui| sheet.show_titled(ui, CALLS, "")).inner;
    if let Some(row) = asked.clicked.and_then(|(row, _)| rows.get(row)) {
        scene.go(Place::Expert { dataset, layer: row.layer, expert: row.expert });
    }
    if let Some(text) = asked.copied {
        scene.act(Action::Copy(text));
    }
}

/// The title of the section of experts that a feature calls.
const CALLS: &str = "Experts that it calls";

/// Of each layer the experts with the highest lift; those that its tokens avoid say less.
fn table(ui: &mut Ui, rows: &[FeatureExpertRow], dataset: &Path, scene: &mut Scene<'_>) {
    let columns = [
        column("layer", 52.0, "The block"),
        column("expert", 60.0, "The expert; ○ the feature lies within it, ● the feature defines it"),
        column("P(e | f)", 84.0, "Of the feature's tokens, how many chose the expert"),
        column("lift", 64.0, "Compared with chance: 1 if feature and expert were independent"),
        column(
            "",
            72.0,
            "○ the feature lies within the expert, ● the feature defines the expert; “chance?” where the join is not significant",
        ),
    ];
    let state = |row: &FeatureExpertRow| match (row.is_feature, row.lives_in, row.significant) {
        (true, ..) => "● defines",
        (_, true, _) => "○ within",
        (.., false) => "chance?",
        _ => "",
    };
    let cell = |row: usize, column: usize| {
        let row = &rows[row];
        match column {
            0 => Cell::Count(u64::from(row.layer)),
            1 => Cell::Link(u64::from(row.expert), format!("Go to expert {}:{}", row.layer, row.expert)),
            2 => Cell::Share(row.expert_given_feature),
            3 => Cell::Times(row.lift),
            _ => Cell::Text(state(row).to_owned()),
        }
    };
    let sheet = Sheet {
        id: "experts of feature",
        columns: &columns,
        rows: rows.len(),
        cell: &cell,
        most: 12,
        marked: None,
    };
    let tokens = rows.first().map_or(0, |row| row.feature_tokens);
    let caption = format!("over {} of its tokens", format::grouped(tokens));
    let asked = ui.push_id("experts", |ui| sheet.show_titled(ui, "Experts", &caption)).inner;
    if let Some(row) = asked.clicked.and_then(|(row, _)| rows.get(row)) {
        scene.go(Place::Expert { dataset: dataset.to_owned(), layer: row.layer, expert: row.expert });
    }
    if let Some(text) = asked.copied {
        scene.act(Action::Copy(text));
    }
}
