//! The two tables: the dictionary's features and the world's.

use egui::{Color32, Link, RichText, Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, HeaderCellInfo, TableDelegate};

use crate::data::truth::{FoundOutcome, Truth, WorldOutcome};
use crate::theme::tokens::Palette;
use crate::theme::{palette, tokens::height};
use crate::widgets::table::{self, Side, SortState};
use crate::widgets::{bars, format};

/// Whose features are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Listed {
    /// The dictionary's.
    #[default]
    Found,
    /// The world's.
    World,
}

/// By which column, largest first?
pub type Sort = Option<(usize, bool)>;

/// A column: name, width, explanation.
pub type TruthColumn = (&'static str, f32, &'static str);

const FOUND: [TruthColumn; 9] = [
    ("feature", 76.0, "Feature of the dictionary"),
    ("truth", 76.0, "Feature of the world whose direction is nearest to its decoder row"),
    ("cosine", 90.0, "|cosine| with that one"),
    ("F1", 76.0, "Harmonic mean of precision and recall; 0 where it never fires with its truth"),
    ("precision", 84.0, "Share of its rows on which its truth fires"),
    ("recall", 76.0, "Share of the rows of its truth on which it fires"),
    ("both", 84.0, "Rows on which both fire (true positives)"),
    ("only it", 84.0, "Rows on which only the feature fires (false positives)"),
    ("only truth", 84.0, "Rows on which only its truth fires (false negatives)"),
];

const WORLD: [TruthColumn; 7] = [
    ("truth", 76.0, "Feature of the world"),
    ("level", 64.0, "Levels of the hierarchy above it"),
    ("rate", 90.0, "Share of the rows on which it fires"),
    ("features", 84.0, "Features of the dictionary that have it as their truth"),
    ("nearest", 84.0, "Feature of the dictionary whose decoder row is nearest to it"),
    ("cosine", 90.0, "|cosine| with that one"),
    ("best F1", 84.0, "The largest F1 of the features that have it as their truth"),
];

/// Width of the column that says what became of a feature; it is the last.
const OUTCOME: f32 = 128.0;

impl Listed {
    /// Its columns, without the last.
    pub fn columns(self) -> &'static [TruthColumn] {
        match self {
            Self::Found => &FOUND,
            Self::World => &WORLD,
        }
    }

    /// Widths of all its columns in a room.
    pub fn widths(self, room: f32) -> Vec<f32> {
        let all = self.columns().iter().map(|column| column.1).chain([OUTCOME]);
        let fixed: f32 = all.clone().sum();
        let wider = (room / fixed).max(1.0);
        all.map(|width| (width * wider).floor()).collect()
    }
}

/// A number of a row, to be sorted by; none where the files have none.
fn number(truth: &Truth, listed: Listed, row: u32, column: usize) -> Option<f64> {
    match listed {
        Listed::Found => {
            let row = &truth.found[row as usize];
            Some(match column {
                0 => f64::from(row.feature),
                1 => f64::from(row.truth),
                2 => f64::from(row.cosine),
                3 => row.f1,
                4 => row.precision,
                5 => row.recall,
                6 => row.true_positives as f64,
                7 => row.false_positives as f64,
                _ => row.false_negatives as f64,
            })
        }
        Listed::World => {
            let row = &truth.world[row as usize];
            match column {
                0 => Some(f64::from(row.truth)),
                1 => Some(f64::from(row.level)),
                2 => Some(row.rate),
                3 => Some(f64::from(row.features)),
                4 => Some(f64::from(row.nearest)),
                5 => Some(f64::from(row.cosine)),
                _ => row.f1,
            }
        }
    }
}

/// Sorts rows; what has no number comes last either way, equal ones stay in the order of their numbers.
pub fn sort(rows: &mut [u32], truth: &Truth, listed: Listed, sort: Sort) {
    let Some((column, down)) = sort else { return };
    rows.sort_by(|a, b| {
        let [x, y] = [a, b].map(|row| number(truth, listed, *row, column));
        match (x, y) {
            (Some(x), Some(y)) if down => y.total_cmp(&x),
            (Some(x), Some(y)) => x.total_cmp(&y),
            (x, y) => y.is_some().cmp(&x.is_some()),
        }
    });
}

/// What the person did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interaction {
    /// Another order.
    pub sort: Option<Sort>,
    /// To the page of this feature.
    pub open: Option<u32>,
    /// To this feature of the world, in its table.
    pub truth: Option<u32>,
}

/// Draws the visible part.
pub struct Rows<'a> {
    pub truth: &'a Truth,
    pub listed: Listed,
    pub rows: &'a [u32],
    pub threshold: f32,
    /// A row that is marked.
    pub marked: Option<u32>,
    /// Whether features have pages.
    pub pages: bool,
    pub sort: Sort,
    pub asked: Interaction,
}

/// The colour of an outcome; its name stands in it, too.
fn colour(p: &Palette, good: Option<bool>) -> Color32 {
    match good {
        Some(true) => p.good,
        Some(false) => p.warning,
        None => p.weak,
    }
}

impl Rows<'_> {
    fn outcome(&self, row: u32) -> (&'static str, &'static str, Option<bool>) {
        match self.listed {
            Listed::Found => {
                let outcome = self.truth.outcome(&self.truth.found[row as usize], self.threshold);
                let good = match outcome {
                    FoundOutcome::Matched => Some(true),
                    FoundOutcome::Dead => None,
                    _ => Some(false),
                };
                (outcome.name(), outcome.about(), good)
            }
            Listed::World => {
                let outcome = WorldOutcome::of(&self.truth.world[row as usize]);
                (outcome.name(), outcome.about(), Some(outcome == WorldOutcome::Matched))
            }
        }
    }

    /// A number that leads to a feature of the dictionary or of the world.
    fn link(&mut self, ui: &mut Ui, feature: u32, of_world: bool) {
        if !of_world && !self.pages {
            return table::number(ui, feature.to_string());
        }
        table::cell(ui, Side::Right, |ui| {
            let link = ui.add(Link::new(feature.to_string()));
            let of = if of_world { "true feature" } else { "feature" };
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Go to {of} {feature}")));
            if link.clicked() && of_world {
                self.asked.truth = Some(feature);
            } else if link.clicked() {
                self.asked.open = Some(feature);
            }
        });
    }

    fn text(&self, row: u32, column: usize) -> String {
        let Some(value) = number(self.truth, self.listed, row, column) else {
            return format::MISSING.to_owned();
        };
        match (self.listed, column) {
            (Listed::Found, 2..=5) | (Listed::World, 5 | 6) => format!("{value:.3}"),
            (Listed::World, 2) => format::percent(value),
            _ => format::grouped(value as u64),
        }
    }
}

impl TableDelegate for Rows<'_> {
    fn header_cell_ui(&mut self, ui: &mut Ui, cell: &HeaderCellInfo) {
        let at = cell.group_index;
        let Some((name, _, about)) = self.listed.columns().get(at) else {
            return table::plain_head(ui, "outcome", Side::Left, "What became of it");
        };
        let sorted = match self.sort {
            Some((column, true)) if column == at => SortState::Down,
            Some((column, false)) if column == at => SortState::Up,
            _ => SortState::No,
        };
        if table::sort_head(ui, name, Side::Right, sorted, about) {
            self.asked.sort = Some(Some((at, sorted != SortState::Down)));
        }
    }

    fn row_ui(&mut self, ui: &mut Ui, row: u64) {
        let Some(number) = self.rows.get(row as usize).copied() else { return };
        if !table::is_seen(ui) {
            return;
        }
        let rect = ui.max_rect();
        let of = if self.listed == Listed::World { "True feature" } else { "Scored feature" };
        let response = ui.interact(rect, ui.scope_id().with(("truth", of, number)), Sense::hover());
        let marked = self.marked == Some(number);
        let (outcome, ..) = self.outcome(number);
        response.widget_info(|| {
            WidgetInfo::selected(Role::Row, true, marked, format!("{of} {number}: {outcome}"))
        });
        table::row_ground(ui, rect, marked, response.hovered());
    }

    fn cell_ui(&mut self, ui: &mut Ui, cell: &CellInfo) {
        let Some(row) = self.rows.get(cell.row_nr as usize).copied() else { return };
        let column = cell.col_nr;
        if column >= self.listed.columns().len() {
            let (name, about, good) = self.outcome(row);
            return table::cell(ui, Side::Left, |ui| {
                ui.label(RichText::new(name).color(colour(palette(ui), good))).on_hover_text(about);
            });
        }
        match (self.listed, column) {
            (Listed::Found, 0) => self.link(ui, row, false),
            (Listed::Found, 1) => self.link(ui, self.truth.found[row as usize].truth, true),
            (Listed::World, 4) => self.link(ui, self.truth.world[row as usize].nearest, false),
            (Listed::Found, 2..=5) | (Listed::World, 5 | 6) => {
                if let Some(share) = number(self.truth, self.listed, row, column) {
                    bars::behind_number(ui, share as f32);
                }
                table::number(ui, self.text(row, column));
            }
            _ => table::number(ui, self.text(row, column)),
        }
    }

    fn default_row_height(&self) -> f32 {
        height::ROW
    }
}
