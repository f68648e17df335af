//! Tokens that the experts of a layer are chosen for.

use egui::text::{LayoutJob, TextFormat};
use egui::{FontId, Label, Link, Role, Ui, WidgetInfo, vec2};

use super::{Interaction, either, explain};
use crate::data::{InformationRow, Vocabulary, VocabularyRow};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{facts, format, notice, text};

/// Tokens that a line shows.
const SHOWN: usize = 12;

/// Draws the figures, a line for every expert, and the table with the counts.
pub fn show(
    ui: &mut Ui,
    rows: &[VocabularyRow],
    information: Option<&InformationRow>,
    vocabulary: &Vocabulary,
    by_lift: &mut bool,
    asked: &mut Interaction,
) {
    let Some(first) = rows.first() else {
        return notice::empty(ui, "No tokens", "No token was seen ten times or more in this layer.");
    };
    let layer = first.layer;
    explain(
        ui,
        "Among tokens seen 10 times or more. Lift: how often the token chooses the expert, over how often all tokens do.",
    );
    if let Some(information) = information {
        figures(ui, information);
        ui.add_space(space::M);
    }
    ui.horizontal(|ui| {
        let hovers =
            ["Tokens that choose the expert far more often than others do", "Tokens that it sees most"];
        either(ui, by_lift, ["by lift", "by count"], hovers);
    });
    ui.add_space(space::XS);
    let mut experts: Vec<u32> = rows.iter().map(|row| row.expert).collect();
    experts.sort_unstable();
    experts.dedup();
    ui.spacing_mut().item_spacing.y = 2.0;
    for expert in experts {
        let next = egui::Rect::from_min_size(ui.cursor().min, vec2(ui.available_width(), 22.0));
        if !ui.is_rect_visible(next) {
            ui.allocate_exact_size(next.size(), egui::Sense::hover());
            continue;
        }
        let ranked = ranked(rows, expert, *by_lift);
        line(ui, layer, expert, &ranked, vocabulary, *by_lift, asked);
    }
    ui.add_space(space::L);
    table(ui, rows, layer, vocabulary, asked);
}

/// The listed tokens of an expert, best first.
pub fn ranked(rows: &[VocabularyRow], expert: u32, by_lift: bool) -> Vec<&VocabularyRow> {
    let rank = |row: &VocabularyRow| if by_lift { row.rank_by_lift } else { row.rank_by_count };
    let mut found: Vec<&VocabularyRow> =
        rows.iter().filter(|row| row.expert == expert && rank(row).is_some()).collect();
    found.sort_by_key(|row| rank(row));
    found
}

fn figures(ui: &mut Ui, row: &InformationRow) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XL;
        let share = |x: Option<f64>| x.map_or_else(|| format::MISSING.to_owned(), format::percent);
        let each = [
            (
                share(row.vocabulary_top_k),
                "to the favourite expert",
                "Mean over token types of the share that goes to the type's favourite expert, all k experts of a token counted",
            ),
            (share(row.vocabulary_top_1), "strongest alone", "The same, a token's strongest expert alone"),
            (
                share(row.vocabulary_top_k_by_tokens),
                "weighted by tokens",
                "The first figure with each type weighted by how often it is seen",
            ),
            (
                row.types.map_or_else(|| format::MISSING.to_owned(), format::count),
                "token types",
                "Types seen 10 times or more that were looked at",
            ),
        ];
        for (value, name, hover) in each {
            facts::figure(ui, &value, name, hover);
        }
    });
}

fn line(
    ui: &mut Ui,
    layer: u16,
    expert: u32,
    rows: &[&VocabularyRow],
    vocabulary: &Vocabulary,
    by_lift: bool,
    asked: &mut Interaction,
) {
    ui.horizontal(|ui| {
        ui.set_height(22.0);
        ui.allocate_ui_with_layout(
            vec2(40.0, 20.0),
            egui::Layout::right_to_left(egui::Align::Center),
            |ui| {
                ui.set_width(40.0);
                let link = ui.add(Link::new(expert.to_string()));
                let name = format!("Go to expert {layer}:{expert}");
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &name));
                if link.clicked() {
                    asked.expert = Some((layer, expert));
                }
            },
        );
        ui.add_space(space::S);
        let job = chips(ui, rows, vocabulary);
        let hover: Vec<String> = rows
            .iter()
            .take(SHOWN)
            .map(|row| {
                let token = text::in_list(&vocabulary.show(row.token));
                let times = format!("{}×", format::value(row.lift));
                let of = format!("{} of {}", format::grouped(row.count), format::grouped(row.tokens));
                if by_lift { format!("{token}   {times}, {of}") } else { format!("{token}   {of}, {times}") }
            })
            .collect();
        ui.add(Label::new(job).truncate()).on_hover_text(hover.join("\n"));
    });
}

fn chips(ui: &Ui, rows: &[&VocabularyRow], vocabulary: &Vocabulary) -> LayoutJob {
    let p = palette(ui);
    let mut job = LayoutJob::default();
    for (i, row) in rows.iter().take(SHOWN).enumerate() {
        let format = TextFormat {
            font_id: FontId::monospace(size::MONO),
            color: p.text,
            background: p.well,
            expand_bg: 2.0,
            ..TextFormat::default()
        };
        job.append(&text::in_list(&vocabulary.show(row.token)), if i == 0 { 2.0 } else { 12.0 }, format);
    }
    job
}

fn table(ui: &mut Ui, rows: &[VocabularyRow], layer: u16, vocabulary: &Vocabulary, asked: &mut Interaction) {
    let columns = [
        column("expert", 72.0, "Number of the expert"),
        column("token", 160.0, "The token"),
        column("id", 72.0, "Its number"),
        column("count", 88.0, "How often it chose the expert"),
        column("tokens", 88.0, "How often it was seen"),
        column("share", 96.0, "count / tokens"),
        column("lift", 80.0, "share over the share of all tokens that chose the expert"),
    ];
    let cell = |row: usize, column: usize| {
        let row = &rows[row];
        match column {
            0 => {
                Cell::Link(u64::from(row.expert), format!("Go to expert {layer}:{} of the table", row.expert))
            }
            1 => Cell::Token(vocabulary.show(row.token).into_owned()),
            2 => Cell::Count(u64::from(row.token)),
            3 => Cell::Count(row.count),
            4 => Cell::Count(row.tokens),
            5 => Cell::Share(row.share),
            _ => Cell::Times(row.lift),
        }
    };
    let sheet =
        Sheet { id: "words", columns: &columns, rows: rows.len(), cell: &cell, most: 60, marked: None };
    let answer = sheet.show_titled(ui, "Experts and tokens", "click a head to sort");
    asked.of_sheet(answer, |row, _| Some((layer, rows.get(row)?.expert)));
}
