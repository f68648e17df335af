//! Kinds of text that the experts of a layer are specialised in, with their counts.

use egui::{Ui, vec2};

use super::{Interaction, doublings, doublings_legend, explain, explain_stretches};
use crate::data::experts::stretches::{CELL, Stretches};
use crate::data::experts::tables::{Specialisations, against_baseline};
use crate::data::{InformationRow, SpecialisationRow};
use crate::theme::{palette, space};
use crate::widgets::matrix::Matrix;
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{facts, format, notice};

/// Draws figures, map and table of `layer`.
pub fn show(
    ui: &mut Ui,
    found: &Specialisations,
    layer: u16,
    specialised: &mut bool,
    asked: &mut Interaction,
) {
    let rows = found.of_layer(layer);
    if rows.is_empty() {
        return notice::empty(
            ui,
            "No domains",
            "The documents of this dataset are of no kind; harvest folders or files of different kinds.",
        );
    }
    explain(
        ui,
        "Of the tokens of each kind of text, how many choose an expert, against k / E, which an expert of a balanced layer has.",
    );
    if let Some(information) = found.layers.iter().find(|row| row.layer == layer) {
        figures(ui, information);
        ui.add_space(space::M);
    }
    map(ui, rows, &found.domains, layer, asked);
    ui.add_space(space::L);
    ui.checkbox(specialised, "specialised only").on_hover_text(
        "An expert is specialised in a domain when its share there is at least twice that in every other one",
    );
    table(ui, rows, layer, *specialised, asked);
}

fn figures(ui: &mut Ui, row: &InformationRow) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XL;
        let bits = |x: Option<f64>| {
            x.map_or_else(|| format::MISSING.to_owned(), |x| format!("{} bits", format::value(x)))
        };
        let each = [
            (
                bits(row.mutual_information),
                "expert and domain",
                "Mutual information of a slot's expert and its text's domain",
            ),
            (
                bits(row.mutual_information_by_chance),
                "by chance",
                "What as many slots give on average if experts know nothing of domains",
            ),
            (bits(row.domain_entropy), "at most", "Entropy of the domains over slots"),
            (
                row.specialised.map_or_else(|| format::MISSING.to_owned(), |n| format::grouped(n.into())),
                "specialised experts",
                "Experts whose share in one domain is at least twice that in every other",
            ),
        ];
        for (value, name, hover) in each {
            facts::figure(ui, &value, name, hover);
        }
    });
}

fn map(ui: &mut Ui, rows: &[SpecialisationRow], domains: &[String], layer: u16, asked: &mut Interaction) {
    let p = palette(ui);
    let experts = rows.iter().map(|row| row.expert as usize + 1).max().unwrap_or(0);
    let longest = domains.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let names = (longest.min(18) as f32 * 6.6 + 16.0).max(48.0);
    let stretches = Stretches::for_map(experts, ui.available_width() - names);
    explain_stretches(ui, &stretches, "the most specialised");
    let columns = stretches.count();
    let mut cells: Vec<Option<&SpecialisationRow>> = vec![None; columns * domains.len()];
    for row in rows {
        if let Ok(domain) = domains.binary_search(&row.domain) {
            // The first is the most specialised.
            cells[domain * columns + stretches.of(row.expert as usize)].get_or_insert(row);
        }
    }
    let at = |domain: usize, column: usize| cells.get(domain * columns + column).copied().flatten();
    let name = format!("Domains of the {experts} experts of layer {layer}");
    let matrix = Matrix {
        name: &name,
        rows: domains.len(),
        columns,
        row_name: &|domain| domains[domain].chars().take(18).collect(),
        column_name: &|column| stretches.name(column),
        colour: &|domain, column| {
            at(domain, column).and_then(against_baseline).map(|ratio| p.diverging(doublings(ratio)))
        },
        hatched: &|domain, column| at(domain, column).is_some_and(|row| row.count == 0),
        row: None,
        names,
        cell: (vec2(CELL, 16.0), vec2(44.0, 28.0)),
        height: 420.0,
    };
    let answer = matrix.show(ui);
    if let Some(row) = answer.clicked.and_then(|(domain, column)| at(domain, column)) {
        asked.expert = Some((layer, row.expert));
    }
    if let Some(row) = answer.pointed.and_then(|(domain, column)| at(domain, column)) {
        let tokens = row.tokens.map_or_else(|| format::MISSING.to_owned(), format::grouped);
        answer.response.on_hover_text_at_pointer(format!(
            "expert {}, {}\n{} of {tokens} tokens, {}\n{}",
            row.expert,
            row.domain,
            format::grouped(row.count),
            row.share_of_domain.map_or_else(String::new, format::percent),
            if row.specialised { "specialised in it" } else { "" },
        ));
    }
    ui.add_space(space::S);
    doublings_legend(ui, "¼ of k / E", "4 times k / E");
}

fn table(ui: &mut Ui, rows: &[SpecialisationRow], layer: u16, specialised: bool, asked: &mut Interaction) {
    let columns = [
        column("expert", 72.0, "Number of the expert"),
        column("domain", 140.0, "Kind of text"),
        column("count", 88.0, "Tokens of the domain that chose the expert"),
        column("tokens", 88.0, "Tokens of the domain"),
        column("share of domain", 120.0, "count / tokens"),
        column("against k / E", 104.0, "Over what an expert of a balanced layer has"),
        column(
            "share of expert",
            120.0,
            "Of the expert's choices, how many would come from here if all domains were equally long",
        ),
        column("specialised", 96.0, "At least twice the share of every other domain"),
    ];
    let shown: Vec<&SpecialisationRow> = rows.iter().filter(|row| row.specialised || !specialised).collect();
    let cell = |row: usize, column: usize| {
        let row = shown[row];
        match column {
            0 => Cell::Link(u64::from(row.expert), format!("Go to expert {layer}:{}", row.expert)),
            1 => Cell::Text(row.domain.clone()),
            2 => Cell::Count(row.count),
            3 => row.tokens.map_or(Cell::Missing, Cell::Count),
            4 => Cell::share(row.share_of_domain),
            5 => Cell::times(against_baseline(row)),
            6 => Cell::share(row.share_of_expert),
            _ => Cell::Text(if row.specialised { "yes" } else { "" }.into()),
        }
    };
    let sheet =
        Sheet { id: "domains", columns: &columns, rows: shown.len(), cell: &cell, most: 120, marked: None };
    let caption = sheet.caption(ui, "the most specialised first");
    let answer = sheet.show_titled(ui, "Experts and domains", &caption);
    if shown.is_empty() {
        ui.label(
            egui::RichText::new("No expert of this layer is specialised in a domain.")
                .color(palette(ui).weak),
        );
    }
    asked.of_sheet(answer, |row, _| Some((layer, shown.get(row)?.expert)));
}
