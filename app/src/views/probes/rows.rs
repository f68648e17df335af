//! The table of sets of prompts.

use egui::{Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, HeaderCellInfo, TableDelegate};

use crate::data::probes::{ProbeSetting, Probes};
use crate::theme::tokens::height;
use crate::widgets::table::{self, Side, SortState};
use crate::widgets::{bars, format};

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    #[default]
    Name,
    Prompts,
    Leak,
    /// AUC with the k at this place.
    Auc(usize),
    OverRaw,
}

/// By what, largest first?
pub type Sort = (Key, bool);

/// A set of prompts with what the chosen dictionary reaches on it.
#[derive(Clone, Debug, PartialEq)]
pub struct SetLine {
    pub set: String,
    /// The classes, the positive one first.
    pub classes: String,
    pub prompts: u32,
    pub leak: Option<f64>,
    /// By number of columns.
    pub auc: Vec<Option<f64>>,
    /// AUC with the most columns minus that of as many raw dimensions.
    pub over_raw: Option<f64>,
}

/// The lines of all sets for `dictionary`, in the order of `sort`. The leak is that of the shown split.
pub fn lines(probes: &Probes, of: &ProbeSetting, dictionary: &str, ks: &[u32], sort: Sort) -> Vec<SetLine> {
    let mut lines: Vec<SetLine> = probes
        .sets
        .iter()
        .filter_map(|set| {
            let curves = probes.of_set(of, &set.set);
            let own = curves.iter().find(|curve| curve.dictionary == dictionary)?;
            let raw = curves.iter().find(|curve| curve.dictionary == sae::probe::RAW);
            let most = *ks.last()?;
            let leak = probes.rows_of(of).find(|row| row.set == set.set).map(|row| row.leak);
            Some(SetLine {
                set: set.set.clone(),
                classes: format!("{} against {}", set.positive, set.negative),
                prompts: set.prompts,
                leak,
                auc: ks.iter().map(|k| own.auc(*k)).collect(),
                over_raw: own.auc(most).zip(raw.and_then(|raw| raw.auc(most))).map(|(own, raw)| own - raw),
            })
        })
        .collect();
    arrange(&mut lines, sort);
    lines
}

fn arrange(lines: &mut [SetLine], (key, down): Sort) {
    let number = |x: Option<f64>| x.unwrap_or(f64::NEG_INFINITY);
    match key {
        Key::Name => lines.sort_by(|a, b| a.set.cmp(&b.set)),
        Key::Prompts => lines.sort_by_key(|line| line.prompts),
        Key::Leak => lines.sort_by(|a, b| number(a.leak).total_cmp(&number(b.leak))),
        Key::Auc(at) => lines.sort_by(|a, b| number(a.auc[at]).total_cmp(&number(b.auc[at]))),
        Key::OverRaw => lines.sort_by(|a, b| number(a.over_raw).total_cmp(&number(b.over_raw))),
    }
    if down {
        lines.reverse();
    }
}

/// A column: name, width, side, what it says, what it sorts by.
pub struct SetColumn {
    pub name: String,
    pub width: f32,
    side: Side,
    about: String,
    key: Key,
}

/// The columns for these numbers of columns.
pub fn columns(ks: &[u32]) -> Vec<SetColumn> {
    let column = |name: &str, width, side, about: &str, key| SetColumn {
        name: name.to_owned(),
        width,
        side,
        about: about.to_owned(),
        key,
    };
    let mut all = vec![
        column("set", 200.0, Side::Left, "Set of labelled prompts", Key::Name),
        column("prompts", 76.0, Side::Right, "Prompts of the set", Key::Prompts),
        column(
            "leak",
            70.0,
            Side::Right,
            "Share of the tested prompts that are, to the letter, among those trained on",
            Key::Leak,
        ),
    ];
    for (at, k) in ks.iter().enumerate() {
        let about = format!("AUC of the chosen dictionary with {k} columns");
        all.push(column(&format!("k {k}"), 78.0, Side::Right, &about, Key::Auc(at)));
    }
    all.push(column(
        "over raw",
        84.0,
        Side::Right,
        "AUC with the most columns minus that of as many dimensions of the activation itself",
        Key::OverRaw,
    ));
    all
}

/// Draws the visible part.
pub struct Rows<'a> {
    pub lines: &'a [SetLine],
    pub columns: &'a [SetColumn],
    pub chosen: Option<&'a str>,
    pub sort: Sort,
    /// What was clicked.
    pub sorted: Option<Sort>,
    pub selected: Option<String>,
}

impl TableDelegate for Rows<'_> {
    fn header_cell_ui(&mut self, ui: &mut Ui, cell: &HeaderCellInfo) {
        let column = &self.columns[cell.group_index];
        let sorted = match (self.sort.0 == column.key, self.sort.1) {
            (false, _) => SortState::No,
            (true, false) => SortState::Up,
            (true, true) => SortState::Down,
        };
        if table::sort_head(ui, &column.name, column.side, sorted, &column.about) {
            let down = if self.sort.0 == column.key { !self.sort.1 } else { column.key != Key::Name };
            self.sorted = Some((column.key, down));
        }
    }

    fn row_ui(&mut self, ui: &mut Ui, row: u64) {
        let Some(line) = self.lines.get(row as usize) else { return };
        if !table::is_seen(ui) {
            return;
        }
        let rect = ui.max_rect();
        let response = ui.interact(rect, ui.scope_id().with(("set", &line.set)), Sense::click());
        let chosen = self.chosen == Some(line.set.as_str());
        response.widget_info(|| WidgetInfo::selected(Role::Row, true, chosen, format!("Set {}", line.set)));
        table::row_ground(ui, rect, chosen, response.hovered());
        if response.clicked() {
            self.selected = Some(line.set.clone());
        }
        response.on_hover_text_at_pointer(format!("{}\n{}", line.set, line.classes));
    }

    fn cell_ui(&mut self, ui: &mut Ui, cell: &CellInfo) {
        let Some(line) = self.lines.get(cell.row_nr as usize) else { return };
        let figure = |x: Option<f64>| x.map_or_else(|| format::MISSING.to_owned(), |x| format!("{x:.3}"));
        match self.columns[cell.col_nr].key {
            Key::Name => table::words(ui, &line.set),
            Key::Prompts => table::number(ui, format::grouped(u64::from(line.prompts))),
            Key::Leak => {
                table::number(ui, line.leak.map_or_else(|| format::MISSING.to_owned(), format::percent));
            }
            Key::Auc(at) => {
                if let Some(auc) = line.auc[at] {
                    // Half is chance: the bar shows what is above it.
                    let share = ((auc - 0.5) * 2.0).clamp(0.0, 1.0) as f32;
                    bars::behind_number(ui, share);
                }
                table::number(ui, figure(line.auc[at]));
            }
            Key::OverRaw => {
                table::number(
                    ui,
                    line.over_raw
                        .map_or_else(|| format::MISSING.to_owned(), |x| format!("{x:+.3}").replace('-', "−")),
                );
            }
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
    fn sets_are_sorted_by_what_was_clicked_and_missing_figures_come_last() {
        let line = |set: &str, prompts, auc| SetLine {
            set: set.into(),
            classes: String::new(),
            prompts,
            leak: None,
            auc: vec![auc],
            over_raw: auc,
        };
        let lines = [line("b", 5, Some(0.9)), line("a", 7, None), line("c", 6, Some(0.6))];
        let by = |sort| {
            let mut lines = lines.to_vec();
            arrange(&mut lines, sort);
            lines.iter().map(|line| line.set.clone()).collect::<String>()
        };
        assert_eq!(by((Key::Name, false)), "abc");
        assert_eq!(by((Key::Prompts, true)), "acb");
        assert_eq!(by((Key::Auc(0), true)), "bca");
        assert_eq!(by((Key::OverRaw, true)), "bca");
    }
}
