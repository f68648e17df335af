//! What other measurements say of a run: what its encoder loses, and what it is worth for tasks that are known.

use egui::{Label, RichText, Ui};

use crate::data::run::{TaskFigure, TaskRecord, TaskResult};
use crate::data::{Audit, RunInfo};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format};

/// Draws the sections that there are.
pub fn show(ui: &mut Ui, info: &RunInfo) {
    if let Some(audit) = &info.audit {
        show_audit(ui, audit);
        ui.add_space(space::L);
    }
    for task in &info.tasks {
        show_task(ui, task);
        ui.add_space(space::L);
    }
}

fn small(ui: &mut Ui, words: String) {
    ui.add(Label::new(RichText::new(words).size(size::SMALL).color(palette(ui).weak)).wrap());
}

fn lines(ui: &mut Ui, id: &str, rows: &[(String, String)]) {
    facts::facts(ui, id, rows.iter().map(|(name, value)| (name.as_str(), value.as_str())));
}

fn show_audit(ui: &mut Ui, audit: &Audit) {
    facts::section(ui, "Audit of the encoder");
    let quality = |x: f64| format!("{x:.3}");
    let mut rows = vec![
        ("FVE of its codes", quality(audit.fve)),
        ("FVE of the best codes found", quality(audit.fve_best)),
        ("Amortisation gap", quality(audit.gap)),
        ("… of the codes' size", quality(audit.gap_of_codes)),
        ("… of the choice of features", quality(audit.gap_of_choice)),
    ];
    if let (Some(clean), Some(own), Some(best)) = (audit.ce_clean, audit.ce, audit.ce_best) {
        rows.push(("CE of the model", quality(clean)));
        rows.push(("… with its codes", quality(own)));
        rows.push(("… with the best codes found", quality(best)));
    }
    let rows: Vec<(String, String)> =
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    lines(ui, "audit", &rows);
    small(
        ui,
        format!(
            "over {} tokens ({}), with at most as many features per token: {}",
            format::grouped(audit.tokens),
            audit.split,
            format::value(audit.l0)
        ),
    );
}

/// A share or a ratio with two digits, and a sign as everywhere in the window.
fn two(x: f64) -> String {
    format::tick(x, 0.01)
}

fn figure(figure: Option<TaskFigure>) -> String {
    figure.map_or_else(
        || format::MISSING.to_owned(),
        |f| format!("{} ({} to {})", two(f.value), two(f.low), two(f.high)),
    )
}

/// What a dictionary of a task is called here.
fn name(result: &TaskResult) -> &str {
    if result.dictionary == "run" { "this run" } else { &result.dictionary }
}

/// Figure by figure, so that the run stands next to its ceiling and its controls.
fn show_task(ui: &mut Ui, task: &TaskRecord) {
    facts::section(ui, &format!("Task {}", task.task));
    small(
        ui,
        format!(
            "{} prompts that nothing was made from, at the position “{}”; the model is right on {}. In brackets, or on hover: 95 % intervals over \
             prompts. Supervised is the ceiling, random rows and a permuted decoder are controls.",
            format::grouped(task.test_prompts),
            task.position,
            format::percent(task.accuracy)
        ),
    );
    let block = |ui: &mut Ui, title: &str, about: &str, value: &dyn Fn(&TaskResult) -> Option<String>| {
        head(ui, title, about);
        let rows = task.results.iter().filter_map(|of| Some((name(of).to_owned(), value(of)?)));
        lines(ui, &format!("task {} {title}", task.task), &rows.collect::<Vec<_>>());
    };
    let (sufficient, necessary) = (
        "Logit difference with the reconstruction in place, as a share of the untouched one",
        "How much of the logit difference is lost without the reconstruction",
    );
    block(ui, "Sufficiency", sufficient, &|of| Some(figure(of.sufficiency)));
    block(ui, "Necessity", necessary, &|of| Some(figure(of.necessity)));
    for attribute in attributes(task, |of| of.edits.iter().map(|edit| edit.attribute.as_str()).collect()) {
        edits(ui, task, attribute);
    }
    for attribute in attributes(task, |of| of.labels.iter().map(|label| label.attribute.as_str()).collect()) {
        let about = "Values that one feature tells with an F1 of 0.8 or more, and the mean F1 of all values";
        block(ui, &format!("Values of {attribute} told"), about, &|of| {
            let label = of.labels.iter().find(|label| label.attribute == attribute)?;
            Some(format!("{} of {}, F1 {}", label.told, label.values, two(label.f1)))
        });
    }
}

fn head(ui: &mut Ui, title: &str, about: &str) {
    ui.add_space(space::S);
    ui.label(RichText::new(title).color(palette(ui).strong)).on_hover_text(about);
}

/// The attributes of a task, in the order in which its results name them.
fn attributes(task: &TaskRecord, of: impl Fn(&TaskResult) -> Vec<&str>) -> Vec<&str> {
    let mut found = Vec::new();
    for attribute in task.results.iter().flat_map(of) {
        if !found.contains(&attribute) {
            found.push(attribute);
        }
    }
    found
}

/// Dictionaries by how many features are exchanged: the share of prompts after which the likeliest token is the one wanted.
fn edits(ui: &mut Ui, task: &TaskRecord, attribute: &str) {
    head(
        ui,
        &format!("Edits of {attribute}, by features exchanged"),
        "Share of prompts after which the likeliest token is that under the true exchange; 0: nothing is edited",
    );
    let of_attribute = |of: &TaskResult| -> Vec<(u64, TaskFigure)> {
        let edits = of.edits.iter().filter(|edit| edit.attribute == attribute);
        edits.map(|edit| (u64::from(edit.k), edit.agreement)).collect()
    };
    let mut ks: Vec<u64> = task.results.iter().flat_map(&of_attribute).map(|(k, _)| k).collect();
    ks.sort_unstable();
    ks.dedup();
    let p = palette(ui);
    let cell = |ui: &mut Ui, text: RichText, spoken: Option<String>| {
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let label = ui.label(text);
            if let Some(spoken) = spoken {
                label.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &spoken));
                label.on_hover_text(spoken);
            }
        });
    };
    let grid =
        egui::Grid::new(("edits", &task.task, attribute)).num_columns(ks.len() + 1).spacing([10.0, 2.0]);
    grid.min_col_width(28.0).show(ui, |ui| {
        ui.label("");
        ks.iter().for_each(|k| cell(ui, RichText::new(k.to_string()).size(size::SMALL).color(p.weak), None));
        ui.end_row();
        for result in &task.results {
            ui.label(RichText::new(name(result)).color(p.weak));
            let known = of_attribute(result);
            for k in &ks {
                match known.iter().find(|(of, _)| of == k) {
                    Some((_, agreement)) => {
                        let text = RichText::new(two(agreement.value)).color(p.strong);
                        let features = format::counted(*k, "feature", "features");
                        let spoken =
                            format!("{}, {features} exchanged: {}", name(result), figure(Some(*agreement)));
                        cell(ui, text, Some(spoken));
                    }
                    None => cell(ui, RichText::new(format::MISSING).color(p.weak), None),
                }
            }
            ui.end_row();
        }
    });
}
