//! The table of pairs.

use egui::{Color32, Label, Link, RichText, Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, HeaderCellInfo, PrefetchInfo, TableDelegate};

use super::agreements::{Agreements, State};
use super::pair;
use crate::data::matching::{Correspondence, Side as Features};
use crate::data::{Columns, TokenLists, Vocabulary};
use crate::theme::tokens::Palette;
use crate::theme::{palette, tokens::height};
use crate::views::features::chips;
use crate::widgets::table::{self, Side, SortState};
use crate::widgets::{bars, format};

/// Columns that can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    #[default]
    Feature,
    Nearest,
    Cosine,
    Agreement,
    WantedBy,
}

/// By what, largest first?
pub type Sort = (Key, bool);

pub struct PairColumn {
    pub name: &'static str,
    pub width: f32,
    side: Side,
    about: &'static str,
    key: Option<Key>,
}

const fn column(
    name: &'static str,
    width: f32,
    side: Side,
    about: &'static str,
    key: Option<Key>,
) -> PairColumn {
    PairColumn { name, width, side, about, key }
}

/// The columns; the last two need [`WIDE`].
pub const COLUMNS: [PairColumn; 10] = [
    column("feature", 64.0, Side::Right, "Number of the feature", Some(Key::Feature)),
    column(
        "nearest",
        64.0,
        Side::Right,
        "The feature of the other dictionary with the largest cosine",
        Some(Key::Nearest),
    ),
    column("cosine", 76.0, Side::Right, "Cosine of the two decoder rows", Some(Key::Cosine)),
    column(
        "agreement",
        84.0,
        Side::Right,
        "Tokens on which both fire, divided by tokens on which either fires (Jaccard)",
        Some(Key::Agreement),
    ),
    column("outcome", 84.0, Side::Left, "What became of the feature in the other dictionary", None),
    column(
        "nearest of",
        76.0,
        Side::Right,
        "Features of the other dictionary whose nearest it is",
        Some(Key::WantedBy),
    ),
    column("density", 76.0, Side::Right, "Share of tokens it fires on", None),
    column("of nearest", 76.0, Side::Right, "Share of tokens its nearest fires on", None),
    column("fires on", 150.0, Side::Left, "The tokens it fires on most often", None),
    column("nearest fires on", 150.0, Side::Left, "The tokens its nearest fires on most often", None),
];
/// Width of the table from which on it shows what both fire on, and how many columns it has below.
const WIDE: f32 = 980.0;
const NARROW: usize = 8;
/// Tokens of a feature.
const TOKENS: usize = 6;

/// The columns that have room.
pub fn columns(width: f32) -> &'static [PairColumn] {
    if width < WIDE { &COLUMNS[..NARROW] } else { &COLUMNS }
}

/// What the person did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interaction {
    pub sort: Option<Sort>,
    pub select: Option<u32>,
    /// Of the other dictionary? and which feature.
    pub open: Option<(bool, u32)>,
    /// Rows on the screen.
    pub seen: (usize, usize),
}

/// Sorts features; equal ones stay in the order of their numbers.
pub fn sort(rows: &mut [u32], side: &Features, agreements: Option<&[f32]>, (key, down): Sort) {
    let at = |f: &u32| *f as usize;
    match key {
        Key::Feature => {}
        Key::Nearest => rows.sort_by_key(|f| side.rows.nearest[at(f)]),
        Key::WantedBy => rows.sort_by_key(|f| side.wanted_by[at(f)]),
        Key::Agreement => {
            let Some(shares) = agreements else { return };
            let share = |f: &u32| shares.get(at(f)).copied().filter(|share| share.is_finite());
            // Pairs of which neither fires come last either way.
            rows.sort_by(|a, b| match (share(a), share(b)) {
                (Some(a), Some(b)) if down => b.total_cmp(&a),
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
            return;
        }
        Key::Cosine => rows.sort_by(|a, b| side.rows.cosine[at(a)].total_cmp(&side.rows.cosine[at(b)])),
    }
    if down {
        rows.reverse();
    }
}

/// The colour of a fate.
pub fn colour(p: &Palette, fate: Correspondence) -> Color32 {
    match fate {
        Correspondence::Matched => p.good,
        Correspondence::Split => p.accent,
        Correspondence::Merged => p.curve(1),
        Correspondence::Alone => p.weak,
    }
}

/// Draws the visible part.
pub struct Rows<'a> {
    pub rows: &'a [u32],
    pub fates: &'a [Correspondence],
    pub side: &'a Features,
    /// What is known of which side's agreement of firing.
    pub agreements: (&'a Agreements, usize),
    /// Numbers of these features, and of the nearest ones.
    pub columns: [Option<&'a Columns>; 2],
    /// What they fire on.
    pub tokens: [Option<(&'a TokenLists, &'a Vocabulary)>; 2],
    pub chosen: Option<u32>,
    pub sort: Sort,
    pub asked: Interaction,
}

impl Rows<'_> {
    /// What the head of the agreement says: over what it is, and how much of it is known.
    fn about_agreement(&self, about: &str) -> (String, bool) {
        let (agreements, side) = self.agreements;
        match agreements.state(side) {
            State::Known(known, all, over) if known == all => (format!("{about}, over {over}"), true),
            State::Known(known, all, over) => {
                let (known, all) = (format::grouped(known as u64), format::grouped(all as u64));
                let sorted =
                    format!("Known of {known} of {all} pairs; it can be sorted by when all are known");
                (format!("{about}, over {over}.\n{sorted}"), false)
            }
            State::Opening => (about.to_owned(), false),
            State::Incomparable => {
                (format!("{about}. These runs are indexed on different datasets: it is not known"), false)
            }
            State::Failed(problem) => (format!("{about}.\n{problem}"), false),
        }
    }

    fn agreement(&self, ui: &mut Ui, feature: u32) {
        let (agreements, side) = self.agreements;
        let text = match agreements.of(side, feature) {
            Some(agreement) => {
                let share = agreement.share();
                share.into_iter().for_each(|share| bars::behind_number(ui, share as f32));
                let text = share.map_or_else(|| format::MISSING.to_owned(), format::percent);
                return table::cell(ui, Side::Right, |ui| {
                    let label = ui.add(Label::new(RichText::new(text).color(palette(ui).text)).truncate());
                    label.on_hover_text(pair::in_common(&agreement));
                });
            }
            None if matches!(agreements.state(side), State::Known(..) | State::Opening) => "…",
            None => format::MISSING,
        };
        table::cell(ui, Side::Right, |ui| drop(ui.label(RichText::new(text).color(palette(ui).weak))));
    }

    fn link(&mut self, ui: &mut Ui, of_other: bool, feature: u32) {
        table::cell(ui, Side::Right, |ui| {
            let link = ui.add(Link::new(feature.to_string()));
            let of = if of_other { "nearest" } else { "feature" };
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Open {of} {feature}")));
            if link.clicked() {
                self.asked.open = Some((of_other, feature));
            }
        });
    }
}

fn fires_on(ui: &mut Ui, tokens: Option<(&TokenLists, &Vocabulary)>, feature: u32) {
    let p = palette(ui);
    table::cell(ui, Side::Left, |ui| match tokens {
        Some((lists, vocabulary)) => {
            let shown = lists.fires_on.get(feature).iter().take(TOKENS).map(|t| vocabulary.show(*t));
            ui.add(Label::new(chips(shown, p.text, p.well)).truncate())
        }
        None => ui.label(RichText::new(format::MISSING).color(p.weak)),
    });
}

impl TableDelegate for Rows<'_> {
    fn prepare(&mut self, info: &PrefetchInfo) {
        self.asked.seen = (info.visible_rows.start as usize, info.visible_rows.end as usize);
    }

    fn header_cell_ui(&mut self, ui: &mut Ui, cell: &HeaderCellInfo) {
        let column = &COLUMNS[cell.group_index];
        let Some(key) = column.key else {
            return table::plain_head(ui, column.name, column.side, column.about);
        };
        let sorted = match (self.sort.0 == key, self.sort.1) {
            (false, _) => SortState::No,
            (true, false) => SortState::Up,
            (true, true) => SortState::Down,
        };
        let about = if key == Key::Agreement {
            let (about, sorts) = self.about_agreement(column.about);
            if !sorts {
                return table::plain_head(ui, column.name, column.side, &about);
            }
            about
        } else {
            column.about.to_owned()
        };
        if table::sort_head(ui, column.name, column.side, sorted, &about) {
            let largest = matches!(key, Key::Cosine | Key::Agreement | Key::WantedBy);
            let down = if self.sort.0 == key { !self.sort.1 } else { largest };
            self.asked.sort = Some((key, down));
        }
    }

    fn row_ui(&mut self, ui: &mut Ui, row: u64) {
        let Some(feature) = self.rows.get(row as usize).copied() else { return };
        if !table::is_seen(ui) {
            return;
        }
        let rect = ui.max_rect();
        let response = ui.interact(rect, ui.scope_id().with(("pair", feature)), Sense::click());
        let chosen = self.chosen == Some(feature);
        response.widget_info(|| {
            WidgetInfo::selected(Role::Row, true, chosen, format!("Pair of feature {feature}"))
        });
        table::row_ground(ui, rect, chosen, response.hovered());
        if response.clicked() {
            self.asked.select = Some(feature);
        }
    }

    fn cell_ui(&mut self, ui: &mut Ui, cell: &CellInfo) {
        let Some(feature) = self.rows.get(cell.row_nr as usize).copied() else { return };
        let i = feature as usize;
        let nearest = self.side.rows.nearest[i];
        let density = |columns: Option<&Columns>, f: u32| match columns
            .and_then(|c| c.numbers.density.get(f as usize))
        {
            Some(density) => format::percent(f64::from(*density)),
            None => format::MISSING.to_owned(),
        };
        match cell.col_nr {
            0 => self.link(ui, false, feature),
            1 => self.link(ui, true, nearest),
            2 => {
                let cosine = self.side.rows.cosine[i];
                bars::behind_number(ui, cosine);
                table::number(ui, format!("{cosine:.3}"));
            }
            3 => self.agreement(ui, feature),
            4 => table::cell(ui, Side::Left, |ui| {
                let fate = self.fates[i];
                ui.label(RichText::new(fate.name()).color(colour(palette(ui), fate)))
                    .on_hover_text(fate.about());
            }),
            5 => table::number(ui, format::count(u64::from(self.side.wanted_by[i]))),
            6 => table::number(ui, density(self.columns[0], feature)),
            7 => table::number(ui, density(self.columns[1], nearest)),
            8 => fires_on(ui, self.tokens[0], feature),
            _ => fires_on(ui, self.tokens[1], nearest),
        }
    }

    fn default_row_height(&self) -> f32 {
        height::ROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::matching::NearestColumns;

    #[test]
    fn rows_are_sorted_by_what_was_clicked() {
        let nearest = NearestColumns {
            nearest: vec![2, 0, 1],
            cosine: vec![0.5, 0.9, 0.7],
            mutual: vec![true; 3],
            ..NearestColumns::default()
        };
        let side = Features { rows: nearest, wanted_by: vec![0, 3, 1] };
        let by = |sort_by| {
            let mut rows = vec![0, 1, 2];
            sort(&mut rows, &side, Some(&[0.2, f32::NAN, 0.7]), sort_by);
            rows
        };
        assert_eq!(by((Key::Cosine, true)), [1, 2, 0]);
        assert_eq!(by((Key::Nearest, false)), [1, 2, 0]);
        assert_eq!(by((Key::WantedBy, true)), [1, 2, 0]);
        assert_eq!(by((Key::Feature, true)), [2, 1, 0]);
        assert_eq!((by((Key::Agreement, true)), by((Key::Agreement, false))), (vec![2, 0, 1], vec![0, 2, 1]));
    }
}
