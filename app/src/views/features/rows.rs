//! The rows of the feature table. The table asks only for those on the screen.

use egui::{Color32, Label, Link, RichText, Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, HeaderCellInfo, TableDelegate};

use super::{Key, Query};
use crate::data::{Columns, TokenLists, Vocabulary};
use crate::theme::{palette, tokens::height};
use crate::widgets::table::{self, Side, Sorted};
use crate::widgets::{bars, format, text};

/// A column of the table.
pub struct TableColumn {
    pub key: Key,
    pub name: &'static str,
    pub width: f32,
    pub side: Side,
    pub hover: &'static str,
}

const fn column(key: Key, name: &'static str, width: f32, side: Side, hover: &'static str) -> TableColumn {
    TableColumn { key, name, width, side, hover }
}

/// From left to right.
pub const COLUMNS: [TableColumn; 7] = [
    column(Key::Feature, "feature", 84.0, Side::Right, "Number of the feature"),
    column(Key::Label, "label", 72.0, Side::Left, "What somebody called it"),
    column(Key::Density, "density", 96.0, Side::Right, "Share of tokens it fires on; the bar is logarithmic"),
    column(Key::Count, "tokens", 84.0, Side::Right, "Tokens it fired on"),
    column(Key::Mean, "mean", 76.0, Side::Right, "Mean activation where it fires"),
    column(Key::Max, "max", 76.0, Side::Right, "Largest activation"),
    column(Key::Token, "fires on", 160.0, Side::Left, "The tokens it fires on most often"),
];

/// What the person did in the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    pub sort: Option<Key>,
    pub select: Option<u32>,
    pub open: Option<u32>,
}

/// Draws the visible part.
pub struct Rows<'a> {
    pub order: &'a [u32],
    pub columns: &'a Columns,
    pub tokens: Option<&'a TokenLists>,
    pub vocabulary: Option<&'a Vocabulary>,
    pub query: &'a Query,
    pub selected: Option<u32>,
    /// Keeps the rows of two tables apart.
    pub salt: egui::Id,
    pub asked: Asked,
}

impl Rows<'_> {
    fn density(&self, ui: &mut Ui, feature: u32) {
        let density = self.columns.density[feature as usize];
        let rect = ui.max_rect().shrink2(egui::vec2(8.0, 3.0));
        if density > 0.0 {
            // One token in ten million is the empty bar, every token the full one.
            let share = 1.0 + density.log10() / 7.0;
            bars::inline_bar(ui, rect, share, palette(ui).accent.gamma_multiply(0.55));
        }
        table::number(ui, format::percent(f64::from(density)));
    }

    fn fires_on(&self, ui: &mut Ui, feature: u32) {
        let p = palette(ui);
        let (Some(lists), Some(vocabulary)) = (self.tokens, self.vocabulary) else {
            return table::cell(ui, Side::Left, |ui| {
                ui.label(RichText::new("…").color(p.weak));
            });
        };
        if self.columns.dead(feature) {
            return table::cell(ui, Side::Left, |ui| {
                ui.label(RichText::new("dead").color(p.weak).italics());
            });
        }
        let shown = lists.fires_on.get(feature).iter().take(8);
        let job = chips(shown.map(|t| vocabulary.show(*t)), p.text, p.well);
        table::cell(ui, Side::Left, |ui| ui.add(Label::new(job).truncate()));
    }
}

/// Tokens on small grounds, one after the other, in one piece of text that can be elided as a whole.
fn chips<'a>(
    tokens: impl Iterator<Item = std::borrow::Cow<'a, str>>,
    colour: Color32,
    ground: Color32,
) -> egui::text::LayoutJob {
    use egui::text::{LayoutJob, TextFormat};
    let font = egui::FontId::monospace(crate::theme::tokens::size::SMALL);
    let mut job = LayoutJob::default();
    for (i, token) in tokens.enumerate() {
        let format = TextFormat {
            font_id: font.clone(),
            color: colour,
            background: ground,
            expand_bg: 2.0,
            ..TextFormat::default()
        };
        job.append(&text::in_list(&token), if i == 0 { 2.0 } else { 10.0 }, format);
    }
    job
}

impl TableDelegate for Rows<'_> {
    fn header_cell_ui(&mut self, ui: &mut Ui, cell: &HeaderCellInfo) {
        let column = &COLUMNS[cell.group_index];
        let sorted = match (self.query.key == column.key, self.query.descending) {
            (false, _) => Sorted::No,
            (true, false) => Sorted::Up,
            (true, true) => Sorted::Down,
        };
        if table::sort_head(ui, column.name, column.side, sorted, column.hover) {
            self.asked.sort = Some(column.key);
        }
    }

    fn row_ui(&mut self, ui: &mut Ui, row: u64) {
        let Some(feature) = self.order.get(row as usize).copied() else { return };
        if !table::is_seen(ui) {
            return;
        }
        let rect = ui.max_rect();
        // The feature, not the row, names the widget: it keeps its identity when the order changes.
        let response =
            ui.interact(rect, egui::Id::unique(("feature row", self.salt, feature)), Sense::click());
        let selected = self.selected == Some(feature);
        response.widget_info(|| {
            WidgetInfo::selected(Role::Row, true, selected, format!("Row of feature {feature}"))
        });
        table::row_ground(ui, rect, selected, response.hovered());
        if response.double_clicked() {
            self.asked.open = Some(feature);
        } else if response.clicked() {
            self.asked.select = Some(feature);
        }
    }

    fn cell_ui(&mut self, ui: &mut Ui, cell: &CellInfo) {
        let Some(feature) = self.order.get(cell.row_nr as usize).copied() else { return };
        let i = feature as usize;
        match COLUMNS[cell.col_nr].key {
            Key::Feature => table::cell(ui, Side::Right, |ui| {
                let link = ui.add(Link::new(feature.to_string()));
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Feature {feature}")));
                if link.clicked() {
                    self.asked.open = Some(feature);
                }
            }),
            Key::Label => match self.tokens.and_then(|t| t.label(feature)) {
                Some(label) => table::words(ui, label),
                None => table::cell(ui, Side::Left, |ui| {
                    ui.label(RichText::new(format::MISSING).color(palette(ui).line_strong));
                }),
            },
            Key::Density => self.density(ui, feature),
            Key::Count => table::number(ui, format::count(self.columns.count[i])),
            Key::Mean if self.columns.dead(feature) => table::number(ui, format::MISSING),
            Key::Max if self.columns.dead(feature) => table::number(ui, format::MISSING),
            Key::Mean => table::number(ui, format::value(f64::from(self.columns.mean[i]))),
            Key::Max => table::number(ui, format::value(f64::from(self.columns.max[i]))),
            Key::Token => self.fires_on(ui, feature),
        }
    }

    fn default_row_height(&self) -> f32 {
        height::ROW
    }
}
