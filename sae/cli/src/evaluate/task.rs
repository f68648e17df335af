//! The table of an evaluation on a task.

use std::collections::BTreeMap;

use super::super::Output;
use storage::task::{TaskFigure, TaskRecord, TaskResult};

/// What is printed of dictionaries, each with the name that the user gave it; what is the same for all, once.
pub(super) fn output(records: &[(&str, TaskRecord)]) -> Output {
    let mut output = Output::new(match records {
        [(_, record)] => serde_json::json!(record),
        all => {
            let named = |(source, record): &(&str, TaskRecord)| serde_json::json!({ "source": source, "record": record });
            serde_json::json!({ "dictionaries": all.iter().map(named).collect::<Vec<_>>() })
        }
    });
    for (i, (source, record)) in records.iter().enumerate() {
        if i == 0 {
            head(record, &mut output);
        }
        for result in record.results.iter().filter(|result| i == 0 || result.dictionary != SUPERVISED) {
            let of_it = match (records.len(), result.dictionary.as_str()) {
                (1, name) | (_, name @ SUPERVISED) => name.to_owned(),
                (_, OWN) => (*source).to_owned(),
                (_, name) => format!("{source}: {name}"),
            };
            dictionary(&of_it, result, &mut output);
        }
    }
    output
}

/// The names of results that are treated differently from others.
const OWN: &str = "run";
const SUPERVISED: &str = "supervised";

/// What was asked, of which model, and where it was looked at.
fn head(record: &TaskRecord, output: &mut Output) {
    output.row(
        "task",
        format!(
            "{}: {} prompts to learn from, {} to measure on, of different combinations of values",
            record.task, record.train_prompts, record.test_prompts
        ),
    );
    output.row(
        "model",
        format!(
            "{} solves {:.1} %, mean logit difference {:.2}",
            record.model,
            100.0 * record.accuracy,
            record.logit_difference
        ),
    );
    sites(record, output);
    output.row("looked at", format!("{}, position {}", record.hook, record.position));
}

/// What was measured of one dictionary.
fn dictionary(name: &str, result: &TaskResult, output: &mut Output) {
    let mark = if result.control { " (control)" } else { "" };
    output.row(
        &format!("{name}{mark}"),
        format!(
            "{} features, L0 {:.1}, FVE {}",
            result.features,
            result.l0,
            result.fve.map_or_else(|| "–".to_owned(), |fve| format!("{fve:.4}"))
        ),
    );
    let optional = |of: &Option<TaskFigure>| of.as_ref().map_or_else(|| "–".to_owned(), figure);
    output.row("  sufficiency", optional(&result.sufficiency));
    output.row("  necessity", optional(&result.necessity));
    edits(result, output);
    for labels in &result.labels {
        let split =
            labels.split.map_or_else(|| "none has a part".to_owned(), |n| format!("{n:.1} parts per value"));
        output.row(
            &format!("  told: {}", labels.attribute),
            format!(
                "{} of {} values by one feature, mean F1 {:.3}, {split}, {:.1} % of the norms",
                labels.told,
                labels.values,
                labels.f1,
                100.0 * labels.norm
            ),
        );
    }
}

/// A line per hook: the effects of every attribute at every position.
fn sites(record: &TaskRecord, output: &mut Output) {
    let mut by_hook: BTreeMap<usize, (&str, Vec<String>)> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for site in &record.sites {
        let at = order.iter().position(|hook| *hook == site.hook).unwrap_or_else(|| {
            order.push(&site.hook);
            order.len() - 1
        });
        let line = format!("{} by {} {:.2}", site.position, site.attribute, site.effect);
        by_hook.entry(at).or_insert_with(|| (site.hook.as_str(), Vec::new())).1.push(line);
    }
    for (hook, lines) in by_hook.into_values() {
        output.row(&format!("exchanged at {hook}"), lines.join("; "));
    }
}

/// A line per attribute: the agreement of edits of more and more features.
fn edits(result: &TaskResult, output: &mut Output) {
    let mut by: Vec<(&str, Vec<String>)> = Vec::new();
    for edit in &result.edits {
        let cell = match edit.k {
            0 => format!("no edit {:.2}", edit.agreement.value),
            k => format!("k {k}: {} (distance {:.2})", figure(&edit.agreement), edit.distance),
        };
        match by.last_mut().filter(|(attribute, _)| *attribute == edit.attribute) {
            Some((_, cells)) => cells.push(cell),
            None => by.push((&edit.attribute, vec![cell])),
        }
    }
    for (attribute, cells) in by {
        output.row(&format!("  edits: {attribute}"), cells.join("; "));
    }
}

fn figure(figure: &TaskFigure) -> String {
    format!("{:.3} [{:.3}, {:.3}]", figure.value, figure.low, figure.high)
}
