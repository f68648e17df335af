//! The rows of the feature table. The table asks only for those on the screen.

use egui::{Color32, Label, Link, Popup, PopupCloseBehavior, RichText, Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, HeaderCellInfo, TableDelegate};

use super::order::{Key, MatchReason, Query, Source};
use crate::data::{Number, Vocabulary};
use crate::theme::{palette, tokens::height, tokens::size};
use crate::widgets::table::{self, Side, SortState};
use crate::widgets::{bars, format, rule, star, text};

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    Star,
    Feature,
    Label,
    /// Of the best explanation.
    Score,
    Number(Number),
    /// Why a search found it; shown while there is one.
    Why,
    FiresOn,
    Promotes,
}

impl Column {
    /// From left to right.
    const ALL: [Self; 18] = [
        Self::Star,
        Self::Feature,
        Self::Number(Number::Layer),
        Self::Label,
        Self::Score,
        Self::Number(Number::Density),
        Self::Number(Number::Count),
        Self::Number(Number::Mean),
        Self::Number(Number::Max),
        Self::Number(Number::Cosine),
        Self::Number(Number::Bias),
        Self::Number(Number::EncoderNorm),
        Self::Number(Number::DecoderNorm),
        Self::Number(Number::Born),
        Self::Number(Number::Settled),
        Self::Number(Number::Moved),
        Self::FiresOn,
        Self::Promotes,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Star => "★",
            Self::Feature => "feature",
            Self::Label => "label",
            Self::Score => "score",
            Self::Number(number) => number.name(),
            Self::Why => "found by",
            Self::FiresOn => "fires on",
            Self::Promotes => "promotes",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Star => "Bookmarks: click a star, or press B",
            Self::Feature => "Number of the feature",
            Self::Label => {
                "What somebody called it: you, or else the index; in weak type its best explanation"
            }
            Self::Score => {
                "F1 of its best explanation on documents that the explanation was not made from; of an explanation by a different \
                 program its largest score"
            }
            Self::Number(Number::Density) => {
                "Share of indexed tokens it fires on. The bar is logarithmic: empty for one token of those indexed, full for all"
            }
            Self::Number(number) => number.about(),
            Self::Why => "Why the search found it: how often it fires on the text, or where else the text is",
            Self::FiresOn => "The tokens it fires on most often",
            Self::Promotes => "The tokens it makes likeliest",
        }
    }

    /// Width at first; labels and tokens share what is left.
    pub fn width(self) -> f32 {
        match self {
            Self::Star => 30.0,
            Self::Feature => 72.0,
            Self::Label => 120.0,
            Self::Score => 60.0,
            Self::Number(Number::Density) => 88.0,
            Self::Number(Number::Layer) => 56.0,
            Self::Number(Number::Count) => 76.0,
            Self::Number(Number::Mean | Number::Max | Number::Bias) => 72.0,
            Self::Number(_) => 96.0,
            Self::Why => 150.0,
            Self::FiresOn | Self::Promotes => 140.0,
        }
    }

    fn side(self) -> Side {
        if matches!(self, Self::Feature | Self::Score | Self::Number(_)) { Side::Right } else { Side::Left }
    }

    fn key(self) -> Option<Key> {
        match self {
            Self::Star => None,
            Self::Feature => Some(Key::Feature),
            Self::Label => Some(Key::Label),
            Self::Score => Some(Key::Score),
            Self::Why => Some(Key::Best),
            Self::Number(number) => Some(Key::Number(number)),
            Self::FiresOn => Some(Key::Token),
            Self::Promotes => Some(Key::Promoted),
        }
    }
}

/// Width of the table from which on it shows what features promote.
const PROMOTES: f32 = 1100.0;
/// Width under which it shows only what tells most.
const SHORT: f32 = 560.0;

/// Which columns are shown: as the room allows, until the person says.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// What the person said, by column of [`Column::ALL`].
    said: [Option<bool>; Column::ALL.len()],
    /// Room for the table.
    room: f32,
    /// Whether features are of several layers.
    layered: bool,
}

/// Whether a column is shown where nobody said.
fn at_first(column: Column, room: f32, layered: bool) -> bool {
    match column {
        Column::Number(Number::Layer) => layered,
        Column::Promotes => room >= PROMOTES,
        Column::Number(Number::Density) => true,
        Column::Score => room >= SHORT,
        Column::Number(number) => room >= SHORT && number.is_shown_at_first(),
        _ => true,
    }
}

impl Columns {
    /// Those shown in a table that has this room, from left to right.
    pub fn shown(&mut self, room: f32, layered: bool) -> Vec<Column> {
        (self.room, self.layered) = (room, layered);
        let of = |(column, said): (Column, Option<bool>)| {
            said.unwrap_or_else(|| at_first(column, room, layered)).then_some(column)
        };
        Column::ALL.into_iter().zip(self.said).filter_map(of).collect()
    }

    /// A button with a list of all columns to tick.
    pub fn menu(&mut self, ui: &mut Ui) {
        let button = ui.button("Columns").on_hover_text("Which columns the table shows");
        Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            for (column, said) in Column::ALL.into_iter().zip(&mut self.said) {
                let is_there = column != Column::Number(Number::Layer) || self.layered;
                if column != Column::Feature && is_there {
                    let name = if column == Column::Star { "bookmarks" } else { column.name() };
                    let mut shown = said.unwrap_or_else(|| at_first(column, self.room, self.layered));
                    if ui.checkbox(&mut shown, name).on_hover_text(column.about()).changed() {
                        *said = Some(shown);
                    }
                }
            }
        });
    }
}

/// What the person did in the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interaction {
    pub sort: Option<Key>,
    pub select: Option<u32>,
    pub open: Option<u32>,
    pub bookmark: Option<(u32, bool)>,
}

/// Draws the visible part.
pub struct Rows<'a> {
    pub order: &'a [u32],
    pub shown: &'a [Column],
    pub source: Source<'a>,
    /// Why each row is there; empty without a search.
    pub why: &'a [MatchReason],
    pub query: &'a Query,
    /// Whether there is no vocabulary to wait for.
    pub no_vocabulary: bool,
    pub selected: Option<u32>,
    /// Keeps the rows of two tables apart.
    pub salt: egui::Id,
    pub asked: Interaction,
}

impl Rows<'_> {
    fn density(&self, ui: &mut Ui, feature: u32) {
        let density = self.source.columns.numbers.density[feature as usize];
        if density > 0.0 {
            let share = density_share(density, self.source.columns.tokens);
            bars::behind_number(ui, share);
        }
        table::number(ui, format::percent(f64::from(density)));
    }

    fn score(&self, ui: &mut Ui, feature: u32) {
        match self.source.score(feature) {
            Some(score) => table::number(ui, format!("{score:.2}")),
            None => table::cell(ui, Side::Right, |ui| {
                ui.label(RichText::new(format::MISSING).color(palette(ui).line_strong));
            }),
        }
    }

    fn why(&self, ui: &mut Ui, row: usize) {
        let Some(why) = self.why.get(row).copied() else { return };
        let text = self.query.text.trim();
        let text = text.strip_prefix("fires:").or(text.strip_prefix("promotes:")).unwrap_or(text).trim();
        let (words, hover) = match why {
            MatchReason::Number => ("its number".to_owned(), String::new()),
            MatchReason::FiresOn { word, count, occurrences, mean } => {
                let (n, of) = (format::grouped(count), format::grouped(occurrences));
                let text = self.source.firing.and_then(|firing| firing.word(word)).unwrap_or(text);
                let hover = format!(
                    "Fires on {n} of {of} indexed occurrences of “{text}” ({}), mean activation {}.\nOf several words the one \
                     with the least share counts.",
                    format::percent(count as f64 / occurrences.max(1) as f64),
                    format::value(mean)
                );
                (format!("fires on {n} of {of} · {text}"), hover)
            }
            MatchReason::FiresOnPart => (format!("fires on a token with {text}"), String::new()),
            MatchReason::Label => ("label".to_owned(), String::new()),
            MatchReason::Explanation => ("explanation".to_owned(), String::new()),
            MatchReason::Note => ("note".to_owned(), String::new()),
            MatchReason::Promotes => (format!("promotes {text}"), String::new()),
        };
        let p = palette(ui);
        let colour = if matches!(why, MatchReason::FiresOn { .. }) { p.strong } else { p.weak };
        table::cell(ui, Side::Left, |ui| {
            let label = ui.add(Label::new(RichText::new(words).color(colour)).truncate());
            if !hover.is_empty() {
                label.on_hover_text(hover);
            }
        });
    }

    fn label(&self, ui: &mut Ui, feature: u32) {
        let p = palette(ui);
        let colour = if self.source.notes.label(feature).is_some() { p.strong } else { p.text };
        table::cell(ui, Side::Left, |ui| match self.source.label(feature) {
            Some(label) => drop(ui.add(Label::new(RichText::new(label).color(colour)).truncate())),
            None => match self.source.explanation(feature) {
                Some(said) => rule::show(ui, said, size::BODY),
                None => drop(ui.label(RichText::new(format::MISSING).color(p.line_strong))),
            },
        });
    }

    fn tokens(&self, ui: &mut Ui, feature: u32, promoted: bool) {
        let p = palette(ui);
        // Without a vocabulary tokens show as numbers.
        let none = Vocabulary::default();
        let vocabulary = self.source.vocabulary.or(self.no_vocabulary.then_some(&none));
        let (Some(lists), Some(vocabulary)) = (self.source.tokens, vocabulary) else {
            return table::cell(ui, Side::Left, |ui| {
                ui.label(RichText::new("…").color(p.weak));
            });
        };
        if self.source.columns.dead(feature) && !promoted {
            return table::cell(ui, Side::Left, |ui| {
                ui.label(RichText::new("dead").color(p.weak).italics());
            });
        }
        let list = if promoted { &lists.top_logits } else { &lists.fires_on };
        let shown = list.get(feature).iter().take(8);
        let job = chips(shown.map(|t| vocabulary.show(*t)), p.text, p.well);
        table::cell(ui, Side::Left, |ui| ui.add(Label::new(job).truncate()));
    }
}

/// How full the bar of a density is: empty for one of the indexed tokens, full for all of them, logarithmic between, so that 0.01 % and
/// 0.1 % can be told apart.
fn density_share(density: f32, tokens: u64) -> f32 {
    let decades = (tokens.max(10) as f32).log10();
    (1.0 + density.log10() / decades).clamp(0.0, 1.0)
}

/// Tokens on small grounds, one after the other, in one piece of text that can be elided as a whole.
pub fn chips<'a>(
    tokens: impl Iterator<Item = std::borrow::Cow<'a, str>>,
    colour: Color32,
    ground: Color32,
) -> egui::text::LayoutJob {
    use egui::text::{LayoutJob, TextFormat};
    let font = egui::FontId::monospace(size::SMALL);
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
        let Some(column) = self.shown.get(cell.group_index).copied() else { return };
        let Some(key) = column.key() else {
            return table::plain_head(ui, column.name(), column.side(), column.about());
        };
        let of_itself = self.query.key == Key::Best && self.why.is_empty();
        let by = if of_itself { self.source.of_itself() } else { self.query.key };
        let sorted = match (by == key, of_itself || (self.query.descending && key != Key::Best)) {
            (false, _) => SortState::No,
            (true, false) => SortState::Up,
            (true, true) => SortState::Down,
        };
        if table::sort_head(ui, column.name(), column.side(), sorted, column.about()) {
            self.asked.sort = Some(key);
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
        let Some(column) = self.shown.get(cell.col_nr).copied() else { return };
        match column {
            Column::Star => {
                let on = self.source.notes.bookmarked(feature);
                let clicked = table::cell(ui, Side::Left, |ui| star::show(ui, on, feature));
                if clicked {
                    self.asked.bookmark = Some((feature, !on));
                }
            }
            Column::Feature => table::cell(ui, Side::Right, |ui| {
                let link = ui.add(Link::new(feature.to_string()));
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Feature {feature}")));
                if link.clicked() {
                    self.asked.open = Some(feature);
                }
            }),
            Column::Label => self.label(ui, feature),
            Column::Score => self.score(ui, feature),
            Column::Number(Number::Density) => self.density(ui, feature),
            Column::Number(Number::Count) => {
                table::number(ui, format::grouped(self.source.columns.numbers.count[feature as usize]));
            }
            Column::Number(number) => {
                table::number(ui, number.text(f64::from(self.source.columns.get(number, feature))));
            }
            Column::Why => self.why(ui, cell.row_nr as usize),
            Column::FiresOn => self.tokens(ui, feature, false),
            Column::Promotes => self.tokens(ui, feature, true),
        }
    }

    fn default_row_height(&self) -> f32 {
        height::ROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_densities_can_be_told_apart() {
        let share = |density: f32| density_share(density, 300_000);
        assert!(share(1.0 / 300_000.0) < 0.01 && share(1.0) > 0.99);
        for pair in [1e-5f32, 1e-4, 1e-3, 1e-2].windows(2) {
            // Of a bar of 72 points more than 10 for each factor of ten.
            assert!(share(pair[1]) - share(pair[0]) > 0.15, "{pair:?}");
        }
        assert_eq!(density_share(0.5, 0), density_share(0.5, 10));
    }
}
