//! The table of runs.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::PathBuf;

use egui::{Label, RichText, Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, Column, HeaderCellInfo, HeaderRow, Table, TableDelegate};

use super::columns::COLUMNS;
use super::details;
use super::groups::{self, Group, Line};
use crate::data::{Folder, RunEntry, RunInfo};
use crate::theme::{palette, tokens::height, tokens::size};
use crate::widgets::table::{self, Side, SortState};
use crate::widgets::{format, notice, rule};

/// By which column, largest first?
pub type Sort = Option<(usize, bool)>;

/// What the person did.
#[derive(Debug, Default)]
pub struct Interaction {
    pub sort: Option<Sort>,
    pub select: Option<PathBuf>,
    pub toggle: Option<PathBuf>,
    pub open: Option<PathBuf>,
    /// The group to be folded or unfolded.
    pub fold: Option<String>,
}

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// All runs.
    pub folder: &'a Folder,
    /// The runs whose curves are drawn, in the order of their colours.
    pub selected: &'a [PathBuf],
    /// The run that is looked at.
    pub focus: Option<&'a PathBuf>,
    pub sort: Sort,
    /// Indices of [`COLUMNS`] with their widths.
    pub columns: &'a [(usize, f32)],
    /// The groups that are folded; none where runs are not grouped.
    pub folded: Option<&'a HashSet<String>>,
}

impl Shown<'_> {
    /// The lines from top to bottom, and the groups that their headings name.
    fn lines(&self) -> (Vec<Line<'_>>, Vec<Group>) {
        let mut runs: Vec<&RunEntry> = self.folder.runs.iter().collect();
        if let Some((column, descending)) = self.sort {
            runs.sort_by(|a, b| compare(a, b, column, descending));
        }
        match self.folded {
            Some(folded) => groups::grouped(&runs, folded),
            None => (runs.into_iter().map(Line::Run).collect(), Vec::new()),
        }
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.lines().0.len()
    }

    /// Draws the table.
    pub fn show(&self, ui: &mut Ui) -> Interaction {
        let (lines, groups) = self.lines();
        let columns: Vec<Column> = self
            .columns
            .iter()
            .map(|(i, width)| {
                Column::new(*width).range(40.0..=2400.0).id(egui::Id::unique(("run", COLUMNS[*i].0)))
            })
            .collect();
        let places: Vec<usize> = self.columns.iter().map(|(i, _)| *i).collect();
        let shown = Table::new()
            // Other columns have other widths.
            .id_salt(("runs", &places))
            .num_rows(lines.len() as u64)
            .headers([HeaderRow::new(height::HEAD)]);
        let mut delegate = Rows {
            lines,
            groups,
            places: &places,
            selected: self.selected,
            focus: self.focus,
            sort: self.sort,
            asked: Interaction::default(),
        };
        table::show(ui, shown, &columns, &mut delegate);
        delegate.asked
    }
}

fn compare(a: &RunEntry, b: &RunEntry, column: usize, descending: bool) -> Ordering {
    let directed = |order: Ordering| if descending { order.reverse() } else { order };
    let (Ok(x), Ok(y)) = (&a.info, &b.info) else { return a.info.is_err().cmp(&b.info.is_err()) };
    if column == 0 {
        return directed(a.name.cmp(&b.name));
    }
    let number = COLUMNS[column].4;
    match (number(x), number(y)) {
        (Some(x), Some(y)) => directed(x.total_cmp(&y)),
        (None, None) => directed((COLUMNS[column].5)(x).cmp(&(COLUMNS[column].5)(y))),
        (x, y) => y.is_some().cmp(&x.is_some()),
    }
}

/// What to say about a number of training that stands among numbers of held-out text; none for the others.
fn of_training(column: &str, info: &RunInfo) -> (bool, Option<String>) {
    let held_out = info.evaluation.is_some();
    match column {
        "FVE" if info.fve.is_some() && !held_out => {
            (true, Some("In the last logged step of training".to_owned()))
        }
        "L0" if info.l0.is_some() && !held_out => {
            (true, Some("In the last logged step of training".to_owned()))
        }
        "FVE" | "L0" | "recovered" if held_out => {
            (false, Some("On held-out text (evaluation/core.json)".to_owned()))
        }
        "dead" => match &info.dead {
            Some(dead) => (dead.in_training, Some(dead.about.clone())),
            None => (false, None),
        },
        _ => (false, None),
    }
}

/// A number, marked where it is one of training, with what it is about on hover.
fn figure(ui: &mut Ui, text: String, (of_training, about): (bool, Option<String>)) {
    let p = palette(ui);
    table::cell(ui, Side::Right, |ui| {
        let (text, colour) = if of_training { (format!("○ {text}"), p.weak) } else { (text, p.text) };
        let label = ui.add(Label::new(RichText::new(text).color(colour)).truncate());
        if let Some(about) = about {
            label.on_hover_text(about);
        }
    });
}

struct Rows<'a> {
    lines: Vec<Line<'a>>,
    groups: Vec<Group>,
    /// Which columns are shown.
    places: &'a [usize],
    selected: &'a [PathBuf],
    focus: Option<&'a PathBuf>,
    sort: Sort,
    asked: Interaction,
}

impl<'a> Rows<'a> {
    fn run(&self, line: u64) -> Option<&'a RunEntry> {
        match self.lines.get(line as usize)? {
            Line::Run(run) => Some(run),
            Line::Group(_) => None,
        }
    }

    /// The heading of a group, over the whole line; a click folds it.
    fn heading(&mut self, ui: &mut Ui, group: usize) {
        let (p, rect) = (palette(ui), ui.max_rect());
        let Group { name, runs, open } = &self.groups[group];
        let response = ui.interact(rect, egui::Id::unique(("run group", name)), Sense::click());
        let said = format!("{} group {name}", if *open { "Fold" } else { "Unfold" });
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &said));
        ui.painter().rect_filled(rect, 0.0, if response.hovered() { p.control_hover } else { p.side });
        ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, egui::Stroke::new(1.0, p.line));
        table::cell(ui, Side::Left, |ui| {
            ui.label(RichText::new(if *open { "⏷" } else { "⏵" }).size(size::SMALL).color(p.weak));
            let count = format::counted(*runs as u64, "run", "runs");
            ui.add(Label::new(RichText::new(name).strong().color(p.text)).truncate());
            ui.label(RichText::new(count).size(size::SMALL).color(p.weak));
        });
        if response.clicked() {
            self.asked.fold = Some(name.clone());
        }
    }

    fn name(&mut self, ui: &mut Ui, run: &RunEntry) {
        let p = palette(ui);
        let at = self.selected.iter().position(|s| *s == run.path);
        table::cell(ui, Side::Left, |ui| {
            let (rect, response) = ui.allocate_exact_size(egui::vec2(14.0, 14.0), Sense::click());
            let swatch = rect.shrink(2.0);
            match at {
                Some(i) => drop(ui.painter().rect_filled(swatch, 2.0, p.curve(i))),
                None => {
                    let line = egui::Stroke::new(1.0, p.line_strong);
                    ui.painter().rect_stroke(swatch, 2.0, line, egui::StrokeKind::Inside);
                }
            }
            let name = format!("Curves of {}", run.name);
            response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, at.is_some(), &name));
            if response.on_hover_text("Show or hide the curves of this run").clicked() {
                self.asked.toggle = Some(run.path.clone());
            }
            rule::name(ui, &run.name, size::BODY, p.strong);
        });
    }
}

impl TableDelegate for Rows<'_> {
    fn header_cell_ui(&mut self, ui: &mut Ui, cell: &HeaderCellInfo) {
        let Some(place) = self.places.get(cell.group_index).copied() else { return };
        let column = &COLUMNS[place];
        let sorted = match self.sort {
            Some((at, down)) if at == place => {
                if down {
                    SortState::Down
                } else {
                    SortState::Up
                }
            }
            _ => SortState::No,
        };
        if table::sort_head(ui, column.0, column.2, sorted, column.3) {
            self.asked.sort = Some(match sorted {
                SortState::No => Some((place, column.2 == Side::Right)),
                SortState::Up => Some((place, true)),
                SortState::Down => Some((place, false)),
            });
        }
    }

    fn row_ui(&mut self, ui: &mut Ui, row: u64) {
        if !table::is_seen(ui) {
            return;
        }
        let run = match self.lines.get(row as usize) {
            Some(Line::Run(run)) => *run,
            Some(Line::Group(group)) => return self.heading(ui, *group),
            None => return,
        };
        let rect = ui.max_rect();
        let response = ui.interact(rect, egui::Id::unique(("run row", &run.path)), Sense::click());
        let chosen = self.focus == Some(&run.path);
        response.widget_info(|| WidgetInfo::selected(Role::Row, true, chosen, format!("Run {}", run.name)));
        table::row_ground(ui, rect, chosen, response.hovered());
        if response.double_clicked() {
            self.asked.open = run.info.as_ref().is_ok_and(|i| i.indexed).then(|| run.path.clone());
        } else if response.clicked() {
            if ui.input(|i| i.modifiers.command) {
                self.asked.toggle = Some(run.path.clone());
            } else {
                self.asked.select = Some(run.path.clone());
            }
        }
    }

    fn cell_ui(&mut self, ui: &mut Ui, cell: &CellInfo) {
        let Some(run) = self.run(cell.row_nr) else { return };
        let Some(place) = self.places.get(cell.col_nr).copied() else { return };
        let column = &COLUMNS[place];
        let info = match &run.info {
            _ if place == 0 => return self.name(ui, run),
            Ok(info) => info,
            Err(problem) if place == COLUMNS.len() - 1 => {
                return table::cell(ui, Side::Left, |ui| {
                    notice::status_dot(ui, palette(ui).error, "unreadable");
                    let label = RichText::new("unreadable").color(palette(ui).error);
                    ui.add(Label::new(label).truncate()).on_hover_text(problem.to_string());
                });
            }
            Err(_) if column.2 == Side::Left => return table::words(ui, format::MISSING),
            Err(_) => return table::number(ui, format::MISSING),
        };
        let text = (column.5)(info);
        match column.0 {
            "status" => table::cell(ui, Side::Left, |ui| {
                if info.gaps.is_empty() {
                    notice::status_dot(ui, details::colour(ui, &info.status), info.status.name());
                } else {
                    notice::status_dot(ui, palette(ui).warning, "damaged");
                }
                let label = ui.add(Label::new(RichText::new(text).color(palette(ui).text)).truncate());
                let gaps = info.gaps.iter().map(|gap| format!("\n{gap}"));
                label.on_hover_text(details::meaning(&info.status).to_owned() + &gaps.collect::<String>());
            }),
            _ if column.2 == Side::Right => figure(ui, text, of_training(column.0, info)),
            _ => table::words(ui, text),
        }
    }

    fn default_row_height(&self) -> f32 {
        height::ROW
    }
}
