//! Layer × expert: load against uniform.

use egui::{Ui, vec2};

use super::{Interaction, doublings, doublings_legend, explain, explain_stretches};
use crate::data::ExpertUsage;
use crate::data::experts::ExpertLoadRow;
use crate::data::experts::dead_share;
use crate::data::experts::stretches::{CELL, Stretches};
use crate::theme::{palette, space};
use crate::widgets::format;
use crate::widgets::matrix::Matrix;

/// Room for the names of layers.
const NAMES: f32 = 68.0;

/// Draws the map; a click opens an expert, a click on a layer's name chooses it.
pub fn show(ui: &mut Ui, usage: &ExpertUsage, domain: usize, selected: &mut usize, asked: &mut Interaction) {
    explain(
        ui,
        "Share of its layer's slots against a uniform share; dead experts are hatched. Click a cell for the expert, a layer's name for the \
         layer.",
    );
    let p = palette(ui);
    let experts = usage.experts().max(1);
    let stretches = Stretches::for_map(experts, ui.available_width() - NAMES);
    explain_stretches(ui, &stretches, "the most used");
    // Once for a frame: a stretch may have thousands of experts.
    let tops: Vec<Vec<Option<(usize, &ExpertLoadRow)>>> = usage
        .layers
        .iter()
        .map(|layer| {
            let loads = layer.loads.get(domain).map(Vec::as_slice).unwrap_or_default();
            (0..stretches.count()).map(|column| stretches.top(column, loads)).collect()
        })
        .collect();
    let top = |row: usize, column: usize| *tops.get(row)?.get(column)?;
    let load = |row: usize, column: usize| top(row, column).map(|(_, load)| load);
    let expert_of = |row: usize, column: usize| top(row, column).map(|(expert, _)| expert);
    let ratio = |row: usize, column: usize| {
        load(row, column).map(|load| load.share * usage.layers[row].experts() as f64)
    };
    let layers = format::counted(usage.layers.len() as u64, "layer", "layers");
    let name = format!("Expert load of {layers} and {experts} experts");
    let matrix = Matrix {
        name: &name,
        rows: usage.layers.len(),
        columns: stretches.count(),
        row_name: &|row| format!("layer {}", usage.layers[row].balance.layer),
        column_name: &|column| stretches.name(column),
        colour: &|row, expert| ratio(row, expert).map(|ratio| p.diverging(doublings(ratio))),
        hatched: &|row, expert| {
            load(row, expert).is_some_and(|load| load.share < dead_share(usage.layers[row].experts()))
        },
        row: Some(*selected),
        names: NAMES,
        cell: (vec2(CELL, 8.0), vec2(120.0, 28.0)),
        height: 420.0,
    };
    let answer = matrix.show(ui);
    if let Some(row) = answer.row {
        *selected = row;
    }
    let number = |row: usize| usage.layers[row].balance.layer;
    if let Some((row, expert)) = answer.clicked.and_then(|(row, column)| Some((row, expert_of(row, column)?)))
    {
        asked.expert = Some((number(row), expert as u32));
    }
    if let Some((row, column)) = answer.pointed
        && let (Some(load), Some(ratio)) = (load(row, column), ratio(row, column))
        && let Some(expert) = expert_of(row, column)
    {
        answer.response.on_hover_text_at_pointer(format!(
            "layer {}, expert {expert}\n{} of the slots, {} times uniform\n{}, mean weight {}",
            number(row),
            format::percent(load.share),
            format::value(ratio),
            format::counted(load.tokens, "token", "tokens"),
            format::value(load.weight),
        ));
    }
    ui.add_space(space::S);
    doublings_legend(ui, "¼ of uniform", "4 times uniform");
}
