//! The columns of the table of runs: what they say, and which of them have room.

use std::collections::BTreeMap;
use std::path::Path;

use egui::{Button, Popup, PopupCloseBehavior, Ui};

use crate::data::{DeadFeatures, Folder, RunInfo};
use crate::preferences::Preference;
use crate::widgets::table::Side;
use crate::widgets::{format, method};

pub type Number = fn(&RunInfo) -> Option<f64>;
pub type Text = fn(&RunInfo) -> String;

/// A column: name, width, side, explanation, value to sort by, text.
pub struct RunColumn(pub &'static str, f32, pub Side, pub &'static str, pub Number, pub Text);

/// All columns, from left to right.
pub const COLUMNS: [RunColumn; 13] = [
    RunColumn("run", 240.0, Side::Left, "Folder of the run", |_| None, |_| String::new()),
    RunColumn(
        "method",
        168.0,
        Side::Left,
        "How active features are selected for each token",
        |_| None,
        |i| method::name(&i.method).to_owned(),
    ),
    RunColumn(
        "model",
        170.0,
        Side::Left,
        "The model whose activations it reconstructs",
        |_| None,
        |i| i.model.clone(),
    ),
    RunColumn("hook", 176.0, Side::Left, "Where they were taken", |_| None, |i| i.hook_in_words.clone()),
    RunColumn(
        "data",
        110.0,
        Side::Left,
        "The dataset that it was indexed or trained on",
        |_| None,
        data_name,
    ),
    RunColumn(
        "k",
        52.0,
        Side::Right,
        "Active features per token that training allows",
        |i| i.k.map(|k| k as f64),
        |i| i.k.map_or_else(|| format::MISSING.to_owned(), |k| k.to_string()),
    ),
    RunColumn(
        "features",
        84.0,
        Side::Right,
        "Width of the dictionary",
        |i| Some(i.d_sae as f64),
        |i| format::count(i.d_sae),
    ),
    RunColumn(
        "FVE",
        70.0,
        Side::Right,
        "Fraction of variance explained on held-out text; ○ in the last logged step of training",
        |i| i.fve,
        |i| format::quality(i.fve),
    ),
    RunColumn(
        "recovered",
        86.0,
        Side::Right,
        "Cross-entropy recovered, against zero ablation",
        |i| i.loss_recovered,
        |i| format::quality(i.loss_recovered),
    ),
    RunColumn(
        "L0",
        64.0,
        Side::Right,
        "Mean number of active features per token on held-out text; ○ in the last logged step of training",
        |i| i.l0,
        |i| i.l0.map_or_else(|| format::MISSING.to_owned(), |l0| format!("{l0:.1}")),
    ),
    RunColumn(
        "dead",
        104.0,
        Side::Right,
        "Features that fired on none of the evaluated tokens, else of the indexed ones; \
         ○ silent in the last tokens of training. Hover over a number to see over what",
        |i| i.dead.as_ref().map(DeadFeatures::share),
        |i| {
            let text = |dead: &DeadFeatures| {
                format!("{} · {}", format::grouped(dead.count), format::percent(dead.share()))
            };
            i.dead.as_ref().map_or_else(|| format::MISSING.to_owned(), text)
        },
    ),
    RunColumn(
        "tokens",
        84.0,
        Side::Right,
        "Tokens trained on",
        |i| Some(i.tokens as f64),
        |i| format::count(i.tokens),
    ),
    RunColumn("status", 96.0, Side::Left, "Status of the run", |_| None, |i| i.status.name().to_owned()),
];

/// Name of the dataset of a run.
pub fn data_name(info: &RunInfo) -> String {
    Path::new(&info.dataset).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Narrowest that the name and the method become before a column is dropped.
const LEAST: [f32; 2] = [132.0, 96.0];
/// The columns that are dropped where all have no room, the first one first; the details of a run say the same.
const DROPPED: [&str; 10] =
    ["data", "model", "hook", "tokens", "method", "features", "k", "recovered", "dead", "L0"];

/// The columns that say the same of all runs of most folders, and are there only where they do not.
const OF_SOURCE: [&str; 3] = ["model", "hook", "data"];

/// Which columns are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the person said, by name.
    pub chosen: &'a BTreeMap<String, bool>,
    /// Whether model, hook and data stand in the headings of groups.
    pub grouped: bool,
}

/// The columns in which the runs differ, of those that are there only then.
pub fn telling(folder: &Folder) -> Vec<&'static str> {
    let of_column = |name: &&str| {
        let column = COLUMNS.iter().find(|column| column.0 == *name)?;
        let mut texts = folder.runs.iter().filter_map(|run| run.info.as_ref().ok()).map(column.5);
        let first = texts.next()?;
        texts.any(|text| text != first).then_some(column.0)
    };
    OF_SOURCE.iter().filter_map(of_column).collect()
}

/// The columns that have room, as indices of [`COLUMNS`], with their widths. The name takes what the others leave. A column that
/// somebody asked for is there whatever the room: the table then scrolls.
pub fn fitting(room: f32, telling: &[&str], wanted: Wanted<'_>) -> Vec<(usize, f32)> {
    let said = |i: usize| wanted.chosen.get(COLUMNS[i].0).copied();
    let of_itself =
        |i: usize| !OF_SOURCE.contains(&COLUMNS[i].0) || (telling.contains(&COLUMNS[i].0) && !wanted.grouped);
    let is_there = |i: &usize| *i == 0 || said(*i).unwrap_or_else(|| of_itself(*i));
    let mut shown: Vec<usize> = (0..COLUMNS.len()).filter(is_there).collect();
    let least = |i: usize| LEAST.get(i).copied().unwrap_or(COLUMNS[i].1);
    let narrowest = |shown: &[usize]| shown.iter().map(|i| least(*i)).sum::<f32>();
    for name in DROPPED {
        if narrowest(&shown) <= room {
            break;
        }
        shown.retain(|i| COLUMNS[*i].0 != name || said(*i) == Some(true));
    }
    let mut rest = (room - narrowest(&shown)).max(0.0);
    let mut widths: Vec<(usize, f32)> = shown.iter().map(|i| (*i, least(*i))).collect();
    for (i, width) in &mut widths {
        let wanted = (COLUMNS[*i].1 - *width).min(rest);
        *width += wanted;
        rest -= wanted;
    }
    widths[0].1 += rest;
    widths.iter().map(|(i, width)| (*i, width.floor())).collect()
}

/// A button with a list of all columns to tick; what the person chose there.
pub fn menu(ui: &mut Ui, shown: &[(usize, f32)], chosen: &BTreeMap<String, bool>) -> Option<Preference> {
    let button = ui.button("Columns").on_hover_text("Which columns the table of runs shows");
    let mut choice = None;
    Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
        for (i, column) in COLUMNS.iter().enumerate().skip(1) {
            let mut on = shown.iter().any(|(at, _)| *at == i);
            if ui.checkbox(&mut on, column.0).on_hover_text(column.3).changed() {
                choice = Some(Preference::RunColumn(column.0.to_owned(), Some(on)));
            }
        }
        ui.separator();
        let reset = ui.add_enabled(!chosen.is_empty(), Button::new("As the room allows"));
        if reset.on_hover_text("Forget what was ticked: the columns that tell most and have room").clicked() {
            choice = Some(Preference::AllRunColumns);
        }
    });
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_or_are_dropped_the_least_telling_first() {
        let nothing = BTreeMap::new();
        let free = Wanted { chosen: &nothing, grouped: false };
        for room in [300.0, 452.0, 620.0, 900.0, 1020.0, 1660.0, 3580.0] {
            let shown = fitting(room, &[], free);
            let wide: f32 = shown.iter().map(|(_, width)| width).sum();
            assert!(wide <= room, "{room}: {wide}");
            let names: Vec<&str> = shown.iter().map(|(i, _)| COLUMNS[*i].0).collect();
            assert!(["run", "FVE", "status"].iter().all(|name| names.contains(name)), "{room}: {names:?}");
            assert_eq!(names.len() == COLUMNS.len() - OF_SOURCE.len(), room >= 900.0, "{room}: {names:?}");
            let shown = fitting(room, &OF_SOURCE, free);
            let wide: f32 = shown.iter().map(|(_, width)| width).sum();
            assert!(wide <= room, "{room}: {wide}");
            let hook = |shown: &[(usize, f32)]| shown.iter().any(|(i, _)| COLUMNS[*i].0 == "hook");
            assert_eq!(hook(&shown), room >= 1200.0, "{room}");
            // The headings of groups say it.
            assert!(!hook(&fitting(room, &OF_SOURCE, Wanted { grouped: true, ..free })));
            // What somebody asked for is there, and what nobody wants is not.
            let chosen = [("hook".to_owned(), true), ("FVE".to_owned(), false)].into();
            let shown = fitting(room, &[], Wanted { chosen: &chosen, grouped: true });
            assert!(hook(&shown) && shown[0].0 == 0, "{room}");
            assert!(shown.iter().all(|(i, _)| COLUMNS[*i].0 != "FVE"), "{room}");
        }
    }
}
