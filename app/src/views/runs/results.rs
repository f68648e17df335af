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
    let rows = [
        ("FVE of its codes", quality(audit.fve)),
        ("FVE of the best codes found", quality(audit.fve_best)),
        ("Amortisation gap", quality(audit.gap)),
        ("… of the codes' size", quality(audit.gap_of_codes)),
        ("… of the choice of features", quality(audit.gap_of_choice)),
    ];
    lines(ui, "audit", &rows.map(|(name, value)| (name.to_owned(), value)));
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

fn figure(figure: Option<TaskFigure>) -> String {
    figure.map_or_else(
        || format::MISSING.to_owned(),
        |f| format!("{:.2} ({:.2} to {:.2})", f.value, f.low, f.high),
    )
}

fn show_task(ui: &mut Ui, task: &TaskRecord) {
    facts::section(ui, &format!("Task {}", task.task));
    small(
        ui,
        format!(
            "{} prompts that nothing was made from, at {}; the model is right on {}. In brackets: 95 % intervals over prompts",
            format::grouped(task.test_prompts),
            task.position,
            format::percent(task.accuracy)
        ),
    );
    for result in &task.results {
        let control = if result.control { " (control)" } else { "" };
        ui.label(RichText::new(format!("{}{control}", result.dictionary)).color(palette(ui).strong));
        lines(ui, &format!("task {} {}", task.task, result.dictionary), &rows_of(result));
    }
}

/// What is known of one dictionary.
fn rows_of(result: &TaskResult) -> Vec<(String, String)> {
    let mut rows = vec![
        ("Sufficiency".to_owned(), figure(result.sufficiency)),
        ("Necessity".to_owned(), figure(result.necessity)),
    ];
    for edit in &result.edits {
        rows.push((format!("Edit of {} by {}", edit.attribute, edit.k), figure(Some(edit.agreement))));
    }
    for labels in &result.labels {
        let told = format!("{} of {}, F1 {:.2}", labels.told, labels.values, labels.f1);
        rows.push((format!("Values of {} told", labels.attribute), told));
    }
    rows
}
