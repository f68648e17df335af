//! The table of runs.

use std::cmp::Ordering;
use std::path::PathBuf;

use egui::{Label, RichText, Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, Column, HeaderCellInfo, HeaderRow, Table, TableDelegate};

use super::details;
use crate::data::{DeadFeatures, Folder, RunEntry, RunInfo};
use crate::theme::{palette, tokens::height, tokens::size};
use crate::widgets::table::{self, Side, SortState};
use crate::widgets::{format, method, notice, rule};

/// By which column, largest first?
pub type Sort = Option<(usize, bool)>;

/// What the person did.
#[derive(Debug, Default)]
pub struct Interaction {
    pub sort: Option<Sort>,
    pub select: Option<PathBuf>,
    pub toggle: Option<PathBuf>,
    pub open: Option<PathBuf>,
}

type Number = fn(&RunInfo) -> Option<f64>;
type Text = fn(&RunInfo) -> String;

/// A column: name, width, side, explanation, value to sort by, text.
struct RunColumn(&'static str, f32, Side, &'static str, Number, Text);

const COLUMNS: [RunColumn; 13] = [
    RunColumn("run", 240.0, Side::Left, "Folder of the run", |_| None, |_| String::new()),
    RunColumn(
        "method",
        168.0,
        Side::Left,
        "How active features are selected for each token",
        |_| None,
        |i| method::name(&i.method).to_owned(),
    ),
    RunColumn(
        "model",
        170.0,
        Side::Left,
        "The model whose activations it reconstructs",
        |_| None,
        |i| i.model.clone(),
    ),
    RunColumn("hook", 176.0, Side::Left, "Where they were taken", |_| None, |i| i.hook.clone()),
    RunColumn(
        "data",
        110.0,
        Side::Left,
        "The dataset that it was indexed or trained on",
        |_| None,
        |i| std::path::Path::new(&i.dataset).file_name().unwrap_or_default().to_string_lossy().into_owned(),
    ),
    RunColumn(
        "k",
        52.0,
        Side::Right,
        "Active features per token that training allows",
        |i| i.k.map(|k| k as f64),
        |i| i.k.map_or_else(|| format::MISSING.to_owned(), |k| k.to_string()),
    ),
    RunColumn(
        "features",
        84.0,
        Side::Right,
        "Width of the dictionary",
        |i| Some(i.d_sae as f64),
        |i| format::count(i.d_sae),
    ),
    RunColumn(
        "FVE",
        70.0,
        Side::Right,
        "Fraction of variance explained on held-out text; ○ in the last logged step of training",
        |i| i.fve,
        |i| format::quality(i.fve),
    ),
    RunColumn(
        "recovered",
        86.0,
        Side::Right,
        "Cross-entropy recovered, against zero ablation",
        |i| i.loss_recovered,
        |i| format::quality(i.loss_recovered),
    ),
    RunColumn(
        "L0",
        64.0,
        Side::Right,
        "Mean number of active features per token on held-out text; ○ in the last logged step of training",
        |i| i.l0,
        |i| i.l0.map_or_else(|| format::MISSING.to_owned(), |l0| format!("{l0:.1}")),
    ),
    RunColumn(
        "dead",
        104.0,
        Side::Right,
        "Features that fired on none of the evaluated tokens, else of the indexed ones; \
         ○ silent in the last tokens of training. Hover over a number to see over what",
        |i| i.dead.as_ref().map(DeadFeatures::share),
        |i| {
            let text = |dead: &DeadFeatures| {
                format!("{} · {}", format::grouped(dead.count), format::percent(dead.share()))
            };
            i.dead.as_ref().map_or_else(|| format::MISSING.to_owned(), text)
        },
    ),
    RunColumn(
        "tokens",
        84.0,
        Side::Right,
        "Tokens trained on",
        |i| Some(i.tokens as f64),
        |i| format::count(i.tokens),
    ),
    RunColumn("status", 96.0, Side::Left, "Status of the run", |_| None, |i| i.status.name().to_owned()),
];

/// Narrowest that the name and the method become before a column is dropped.
const LEAST: [f32; 2] = [132.0, 96.0];
/// The columns that are dropped where all have no room, the first one first; the details of a run say the same.
const DROPPED: [&str; 10] =
    ["data", "model", "hook", "tokens", "method", "features", "k", "recovered", "dead", "L0"];

/// The columns that say the same of all runs of most folders, and are there only where they do not.
const OF_SOURCE: [&str; 3] = ["model", "hook", "data"];

/// The columns in which the runs differ, of those that are there only then.
fn telling(folder: &Folder) -> Vec<&'static str> {
    let of_column = |name: &&str| {
        let column = COLUMNS.iter().find(|column| column.0 == *name)?;
        let mut texts = folder.runs.iter().filter_map(|run| run.info.as_ref().ok()).map(column.5);
        let first = texts.next()?;
        texts.any(|text| text != first).then_some(column.0)
    };
    OF_SOURCE.iter().filter_map(of_column).collect()
}

/// The columns that have room, as indices of [`COLUMNS`], with their widths. The name takes what the others leave.
fn fitting(room: f32, telling: &[&str]) -> Vec<(usize, f32)> {
    let is_there = |i: &usize| !OF_SOURCE.contains(&COLUMNS[*i].0) || telling.contains(&COLUMNS[*i].0);
    let mut shown: Vec<usize> = (0..COLUMNS.len()).filter(is_there).collect();
    let least = |i: usize| LEAST.get(i).copied().unwrap_or(COLUMNS[i].1);
    let narrowest = |shown: &[usize]| shown.iter().map(|i| least(*i)).sum::<f32>();
    for name in DROPPED {
        if narrowest(&shown) <= room {
            break;
        }
        shown.retain(|i| COLUMNS[*i].0 != name);
    }
    let mut rest = (room - narrowest(&shown)).max(0.0);
    let mut widths: Vec<(usize, f32)> = shown.iter().map(|i| (*i, least(*i))).collect();
    for (i, width) in &mut widths {
        let wanted = (COLUMNS[*i].1 - *width).min(rest);
        *width += wanted;
        rest -= wanted;
    }
    widths[0].1 += rest;
    widths.iter().map(|(i, width)| (*i, width.floor())).collect()
}

/// Draws the table.
pub fn show(
    ui: &mut Ui,
    folder: &Folder,
    selected: &[PathBuf],
    focus: Option<&PathBuf>,
    sort: Sort,
) -> Interaction {
    let mut runs: Vec<&RunEntry> = folder.runs.iter().collect();
    if let Some((column, descending)) = sort {
        runs.sort_by(|a, b| compare(a, b, column, descending));
    }
    let fitting = fitting(ui.available_width() - 12.0, &telling(folder));
    let columns: Vec<Column> = fitting
        .iter()
        .map(|(i, width)| {
            Column::new(*width).range(40.0..=2400.0).id(egui::Id::unique(("run", COLUMNS[*i].0)))
        })
        .collect();
    let places: Vec<usize> = fitting.iter().map(|(i, _)| *i).collect();
    let shown = Table::new()
        // Other columns have other widths.
        .id_salt(("runs", &places))
        .num_rows(runs.len() as u64)
        .headers([HeaderRow::new(height::HEAD)]);
    let mut delegate = Rows { runs, places: &places, selected, focus, sort, asked: Interaction::default() };
    table::show(ui, shown, &columns, &mut delegate);
    delegate.asked
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
    runs: Vec<&'a RunEntry>,
    /// Which columns are shown.
    places: &'a [usize],
    selected: &'a [PathBuf],
    focus: Option<&'a PathBuf>,
    sort: Sort,
    asked: Interaction,
}

impl Rows<'_> {
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
        let Some(run) = self.runs.get(row as usize).copied() else { return };
        if !table::is_seen(ui) {
            return;
        }
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
        let Some(run) = self.runs.get(cell.row_nr as usize).copied() else { return };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_or_are_dropped_the_least_telling_first() {
        for room in [300.0, 452.0, 620.0, 900.0, 1020.0, 1660.0, 3580.0] {
            let shown = fitting(room, &[]);
            let wide: f32 = shown.iter().map(|(_, width)| width).sum();
            assert!(wide <= room, "{room}: {wide}");
            let names: Vec<&str> = shown.iter().map(|(i, _)| COLUMNS[*i].0).collect();
            assert!(["run", "FVE", "status"].iter().all(|name| names.contains(name)), "{room}: {names:?}");
            assert_eq!(names.len() == COLUMNS.len() - OF_SOURCE.len(), room >= 900.0, "{room}: {names:?}");
            let shown = fitting(room, &OF_SOURCE);
            let wide: f32 = shown.iter().map(|(_, width)| width).sum();
            assert!(wide <= room, "{room}: {wide}");
            let hook = shown.iter().any(|(i, _)| COLUMNS[*i].0 == "hook");
            assert_eq!(hook, room >= 1200.0, "{room}");
        }
    }
}
