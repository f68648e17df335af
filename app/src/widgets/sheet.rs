//! Tables of some hundred rows inside a page: sorted by a click on a head, copied as CSV or JSON.

use egui::{Align, Label, Layout, Link, Rect, RichText, Role, Ui, WidgetInfo, pos2, vec2};

use super::format;
use super::table::{self, Side, SortState};
use crate::theme::{palette, space, tokens::height, tokens::size};

/// Least width of a column of words.
const WORDS: f32 = 96.0;
/// To which part of their width columns are narrowed before one is left out.
const NARROWED: f32 = 0.75;

/// What stands in a cell. Numbers are shown short and copied in full.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing: the files do not hold it.
    Missing,
    /// Words.
    Text(String),
    /// A token, as in lists.
    Token(String),
    /// A count.
    Count(u64),
    /// A number.
    Value(f64),
    /// A share in 0..=1, drawn over a bar.
    Share(f64),
    /// How many times as often as chance has it.
    Times(f64),
    /// A number that leads somewhere; `.1` is its accessible name.
    Link(u64, String),
}

impl Cell {
    /// A number if there is one.
    pub fn value(value: Option<f64>) -> Self {
        value.filter(|v| v.is_finite()).map_or(Self::Missing, Self::Value)
    }

    /// A count if there is one.
    pub fn count(count: Option<impl Into<u64>>) -> Self {
        count.map_or(Self::Missing, |n| Self::Count(n.into()))
    }

    /// A share if there is one.
    pub fn share(value: Option<f64>) -> Self {
        value.filter(|v| v.is_finite()).map_or(Self::Missing, Self::Share)
    }

    /// A lift if there is one.
    pub fn times(value: Option<f64>) -> Self {
        value.filter(|v| v.is_finite()).map_or(Self::Missing, Self::Times)
    }

    fn shown(&self) -> String {
        match self {
            Self::Missing => format::MISSING.to_owned(),
            Self::Text(text) => text.clone(),
            Self::Token(text) => super::text::in_list(text),
            Self::Count(n) => format::count(*n),
            Self::Value(x) => format::value(*x),
            Self::Share(x) => format::percent(*x),
            Self::Times(x) => times(*x),
            Self::Link(n, _) => n.to_string(),
        }
    }

    /// What it is sorted by.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Count(n) | Self::Link(n, _) => Some(*n as f64),
            Self::Value(x) | Self::Share(x) | Self::Times(x) => Some(*x),
            Self::Missing | Self::Text(_) | Self::Token(_) => None,
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Missing => serde_json::Value::Null,
            Self::Text(text) | Self::Token(text) => text.as_str().into(),
            Self::Count(n) | Self::Link(n, _) => (*n).into(),
            Self::Value(x) | Self::Share(x) | Self::Times(x) => (*x).into(),
        }
    }

    fn csv(&self) -> String {
        match self.json() {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => quoted(&text),
            number => number.to_string(),
        }
    }
}

/// How many times: two digits after the point are enough, more where there would be none.
pub fn times(x: f64) -> String {
    match x.abs() {
        a if a >= 100.0 => format!("{x:.0}×"),
        a if a >= 10.0 => format!("{x:.1}×"),
        a if a >= 0.1 || a == 0.0 => format!("{x:.2}×"),
        _ => format!("{x:.3}×"),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head; also its name when copied.
    pub name: &'static str,
    /// What it means.
    pub hover: &'static str,
    /// Width in points; words take what is left when it is 0.
    pub width: f32,
}

/// Shorthand for a [`Column`].
pub const fn column(name: &'static str, width: f32, hover: &'static str) -> Column {
    Column { name, hover, width }
}

/// A table. Rows are made when they are drawn.
pub struct Sheet<'a> {
    /// Its identity on the page.
    pub id: &'a str,
    /// Columns from left to right.
    pub columns: &'a [Column],
    /// Number of rows.
    pub rows: usize,
    /// What stands where.
    pub cell: &'a dyn Fn(usize, usize) -> Cell,
    /// Rows that are drawn; all can be copied.
    pub most: usize,
    /// A row that is marked.
    pub marked: Option<usize>,
}

/// What the person asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interaction {
    /// The row and column of the link that was clicked.
    pub clicked: Option<(usize, usize)>,
    /// Text for the clipboard.
    pub copied: Option<String>,
}

impl Sheet<'_> {
    /// What the rows are ordered by: `at_first` until a head is clicked.
    pub fn caption(&self, ui: &Ui, at_first: &str) -> String {
        let sort: Option<(usize, bool)> = ui.data(|d| d.get_temp(self.state(ui))).unwrap_or_default();
        match sort.and_then(|(column, down)| Some((self.columns.get(column)?.name, down))) {
            None => at_first.to_owned(),
            Some((name, true)) => format!("by {name}, largest first"),
            Some((name, false)) => format!("by {name}, smallest first"),
        }
    }

    /// Where the order is kept.
    fn state(&self, ui: &Ui) -> egui::Id {
        ui.scope_id().with(("sheet", self.id))
    }

    /// Heading with the copy buttons, then the table.
    pub fn show_titled(&self, ui: &mut Ui, title: &str, caption: &str) -> Interaction {
        let mut copied = None;
        let wide: f32 = self.widths(ui.available_width()).iter().sum();
        let size = vec2(wide.min(ui.available_width()), 22.0);
        ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
            ui.set_width(size.x);
            super::facts::section(ui, title);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                for (name, make) in [("JSON", Self::json as fn(&Self) -> String), ("CSV", Self::csv)] {
                    let button = ui.add_enabled(self.rows > 0, egui::Button::new(name).small());
                    let label = format!("Copy {} as {name}", title.to_lowercase());
                    button.widget_info(|| WidgetInfo::labeled(Role::Button, self.rows > 0, &label));
                    if button.on_hover_text(label).clicked() {
                        copied = Some(make(self));
                    }
                }
                ui.add_space(space::S);
                super::facts::caption(ui, caption);
            });
        });
        Interaction { copied, ..self.show(ui) }
    }

    /// Draws the table.
    pub fn show(&self, ui: &mut Ui) -> Interaction {
        let id = self.state(ui);
        let mut sort: Option<(usize, bool)> = ui.data(|d| d.get_temp(id)).unwrap_or_default();
        let order = self.order(sort);
        let widths = self.widths(ui.available_width());
        let mut asked = Interaction::default();
        ui.spacing_mut().item_spacing.y = 0.0;
        let (rect, _) = ui.allocate_exact_size(vec2(widths.iter().sum(), height::ROW), egui::Sense::hover());
        for (i, cell) in places(rect, &widths).enumerate() {
            let sorted = match sort {
                Some((column, down)) if column == i => {
                    if down {
                        SortState::Down
                    } else {
                        SortState::Up
                    }
                }
                _ => SortState::No,
            };
            let (name, side, hover) = (self.columns[i].name, self.side(i), self.columns[i].hover);
            let builder = egui::UiBuilder::new().max_rect(cell).id_salt((id, i));
            if ui.scope_builder(builder, |ui| table::sort_head(ui, name, side, sorted, hover)).inner {
                sort = match sort {
                    Some((column, true)) if column == i => Some((i, false)),
                    Some((column, false)) if column == i => None,
                    _ => Some((i, true)),
                };
                ui.data_mut(|d| d.insert_temp(id, sort));
            }
        }
        let order: Vec<usize> = order.into_iter().take(self.most).collect();
        let full = self.full(&order);
        for row in order {
            let (rect, _) =
                ui.allocate_exact_size(vec2(widths.iter().sum(), height::ROW), egui::Sense::hover());
            if ui.is_rect_visible(rect) {
                table::row_ground(ui, rect, self.marked == Some(row), false);
                self.row(ui, row, rect, &widths, &full, &mut asked);
            }
        }
        if let Some(left_out) = self.columns.get(widths.len()..).filter(|columns| !columns.is_empty()) {
            let names: Vec<&str> = left_out.iter().map(|column| column.name).collect();
            super::facts::caption(ui, format!("no room for {}; CSV and JSON hold all", names.join(", ")));
        }
        if self.rows > self.most {
            ui.add_space(space::XS);
            super::facts::caption(
                ui,
                format!("{} of {} rows; CSV and JSON hold all", self.most, format::grouped(self.rows as u64)),
            );
        }
        asked
    }

    /// The share in each column whose bar fills the cell: the largest of the rows that are drawn.
    fn full(&self, order: &[usize]) -> Vec<f64> {
        let share = |row: usize, column: usize| match (self.cell)(row, column) {
            Cell::Share(share) => share,
            _ => 0.0,
        };
        // Only a column of shares is looked at whole.
        let shares = |column: usize| {
            order.first().is_some_and(|row| matches!((self.cell)(*row, column), Cell::Share(_)))
        };
        let largest =
            |column: usize| order.iter().map(|row| share(*row, column)).fold(f64::MIN_POSITIVE, f64::max);
        (0..self.columns.len()).map(|c| if shares(c) { largest(c) } else { 1.0 }).collect()
    }

    fn row(
        &self,
        ui: &mut Ui,
        row: usize,
        rect: Rect,
        widths: &[f32],
        full: &[f64],
        asked: &mut Interaction,
    ) {
        let p = palette(ui);
        for (i, place) in places(rect, widths).enumerate() {
            let cell = (self.cell)(row, i);
            let side = self.side(i);
            ui.scope_builder(egui::UiBuilder::new().max_rect(place).id_salt((self.id, row, i)), |ui| {
                if let Cell::Share(share) = cell {
                    super::bars::behind_number(ui, (share / full[i]) as f32);
                }
                table::cell(ui, side, |ui| match &cell {
                    Cell::Link(n, name) => {
                        let link = ui.add(Link::new(n.to_string()));
                        link.widget_info(|| WidgetInfo::labeled(Role::Link, true, name));
                        if link.on_hover_text(name).clicked() {
                            asked.clicked = Some((row, i));
                        }
                    }
                    Cell::Token(_) => {
                        let text = RichText::new(cell.shown()).monospace().size(size::MONO).color(p.strong);
                        ui.add(Label::new(text).truncate());
                    }
                    Cell::Missing => drop(ui.label(RichText::new(format::MISSING).color(p.line_strong))),
                    cell => drop(ui.add(Label::new(RichText::new(cell.shown()).color(p.text)).truncate())),
                });
            });
        }
    }

    /// Words stand left, numbers right: as the first row has it.
    fn side(&self, column: usize) -> Side {
        let words = |row| matches!((self.cell)(row, column), Cell::Text(_) | Cell::Token(_));
        if self.rows > 0 && words(0) { Side::Left } else { Side::Right }
    }

    /// Widths of the columns that have room: where all have none they become narrower, then the last ones are left out.
    fn widths(&self, room: f32) -> Vec<f32> {
        let fixed: f32 = self.columns.iter().map(|c| c.width).sum();
        let open = self.columns.iter().filter(|c| c.width == 0.0).count().max(1) as f32;
        let rest = ((room - fixed) / open).clamp(WORDS, 320.0);
        let mut widths: Vec<f32> =
            self.columns.iter().map(|c| if c.width == 0.0 { rest } else { c.width }).collect();
        let wide = |widths: &[f32]| widths.iter().sum::<f32>();
        while widths.len() > 2 && wide(&widths) * NARROWED > room {
            widths.pop();
        }
        let narrowed = (room / wide(&widths)).min(1.0);
        widths.iter().map(|width| (width * narrowed).floor()).collect()
    }

    fn order(&self, sort: Option<(usize, bool)>) -> Vec<usize> {
        let Some((column, down)) = sort.filter(|(column, _)| *column < self.columns.len()) else {
            return (0..self.rows.min(self.most)).collect();
        };
        let mut keyed: Vec<(usize, Cell)> =
            (0..self.rows).map(|row| (row, (self.cell)(row, column))).collect();
        keyed.sort_by(|(_, a), (_, b)| {
            match (a.number(), b.number()) {
                (Some(a), Some(b)) if down => b.total_cmp(&a),
                (Some(a), Some(b)) => a.total_cmp(&b),
                // What is missing comes last either way.
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) if down => b.shown().cmp(&a.shown()),
                (None, None) => a.shown().cmp(&b.shown()),
            }
        });
        keyed.into_iter().map(|(row, _)| row).collect()
    }

    /// All rows as comma-separated values with a head.
    pub fn csv(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| quoted(c.name)).collect();
        let mut text = names.join(",") + "\n";
        for row in 0..self.rows {
            let cells: Vec<String> = (0..self.columns.len()).map(|i| (self.cell)(row, i).csv()).collect();
            text += &(cells.join(",") + "\n");
        }
        text
    }

    /// All rows as a JSON array of objects.
    pub fn json(&self) -> String {
        let row = |row| {
            let fields = self.columns.iter().enumerate();
            let fields = fields.map(|(i, c)| (c.name.to_owned(), (self.cell)(row, i).json()));
            serde_json::Value::Object(fields.collect())
        };
        let rows: Vec<serde_json::Value> = (0..self.rows).map(row).collect();
        // Writing to a string cannot fail.
        serde_json::to_string_pretty(&rows).unwrap_or_default()
    }
}

fn places(rect: Rect, widths: &[f32]) -> impl Iterator<Item = Rect> + '_ {
    widths.iter().scan(rect.left(), move |left, width| {
        let cell = Rect::from_min_max(pos2(*left, rect.top()), pos2(*left + width, rect.bottom()));
        *left += width;
        Some(cell)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet<T>(use_it: impl FnOnce(&Sheet<'_>) -> T) -> T {
        let rows = [("a,b", Some(2.0)), (" \"x\"", None), ("c", Some(10.0))];
        let cell = |row: usize, column: usize| match column {
            0 => Cell::Token(rows[row].0.into()),
            1 => Cell::value(rows[row].1),
            _ => Cell::Link(row as u64, format!("row {row}")),
        };
        let columns = [column("token", 0.0, ""), column("lift", 60.0, ""), column("n", 60.0, "")];
        use_it(&Sheet { id: "t", columns: &columns, rows: 3, cell: &cell, most: 2, marked: None })
    }

    #[test]
    fn everything_can_be_copied() {
        assert_eq!(sheet(|s| s.csv()), "token,lift,n\n\"a,b\",2.0,0\n\" \"\"x\"\"\",,1\nc,10.0,2\n");
        let json: serde_json::Value = serde_json::from_str(&sheet(|s| s.json())).unwrap();
        assert_eq!(json[1], serde_json::json!({"token": " \"x\"", "lift": null, "n": 1}));
    }

    #[test]
    fn columns_become_narrow_before_one_is_left_out() {
        // Words 96, numbers 60 each.
        assert_eq!(sheet(|s| s.widths(1000.0)), [320.0, 60.0, 60.0]);
        assert_eq!(sheet(|s| s.widths(216.0)), [96.0, 60.0, 60.0]);
        for (room, columns) in [(180.0, 3), (150.0, 2)] {
            let few = sheet(|s| s.widths(room));
            assert_eq!((few.len(), few.iter().sum::<f32>() <= room), (columns, true), "{room}: {few:?}");
        }
    }

    #[test]
    fn sorted_with_gaps_at_the_end() {
        assert_eq!(sheet(|s| s.order(Some((1, true)))), [2, 0, 1]);
        assert_eq!(sheet(|s| s.order(Some((1, false)))), [0, 2, 1]);
        assert_eq!(sheet(|s| s.order(None)), [0, 1]);
    }
}
