//! The panel at the left: runs and datasets, and what there is to see of each.

use std::collections::HashSet;
use std::path::PathBuf;

use egui::{Align2, FontId, RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo};

use crate::action::Action;
use crate::address::Place;
use crate::data::{DatasetEntry, Folder, GraphEntry, ProbesEntry, RunEntry, Status};
use crate::theme::{palette, space, tokens::size};
use crate::views::runs::status_colour;
use crate::widgets::{facts, format, method, notice, rule, table};

/// Height of a line.
const LINE: f32 = 26.0;

/// Runs up to which all that there is to see of each is listed; of more, what is unfolded.
const UNFOLDED: usize = 8;
/// Runs from which on they can be looked for by name.
const SEARCHED: usize = 12;

/// What the person did with the tree.
#[derive(Debug, Default)]
pub struct TreeState {
    /// Part of the names of the runs and datasets that are shown.
    filter: String,
    /// Runs that are unfolded.
    open: HashSet<PathBuf>,
}

impl TreeState {
    fn has(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.filter.trim().to_lowercase())
    }

    fn field(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            ui.add_space(space::M);
            let room = ui.available_width() - space::M;
            let field = ui
                .add(TextEdit::singleline(&mut self.filter).hint_text("Filter by name").desired_width(room));
            field.widget_info(|| {
                WidgetInfo::labeled(Role::SearchInput, true, "Filter runs and datasets by name")
            });
            if field.has_focus() && ui.input(|i| i.key_pressed(egui::Key::Escape)) {
                self.filter.clear();
            }
        });
        ui.add_space(space::XS);
    }
}

/// Draws the tree; `here` is the place in front.
pub fn show(
    ui: &mut Ui,
    folder: &Folder,
    state: &mut TreeState,
    here: Option<&Place>,
    actions: &mut Vec<Action>,
) {
    if folder.runs.len() + folder.datasets.len() >= SEARCHED {
        ui.add_space(space::S);
        state.field(ui);
    } else {
        state.filter.clear();
    }
    let folds = folder.runs.len() > UNFOLDED;
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.add_space(space::M);
        heading(ui, "Runs", folder.runs.len());
        if folder.runs.is_empty() {
            hint(ui, "No runs yet");
        }
        for run in &folder.runs {
            if !state.has(&run.name) {
                continue;
            }
            let within = here.and_then(Place::folder) == Some(run.path.as_path());
            let fold = folds.then(|| state.open.contains(&run.path));
            if show_run(ui, run, fold, within, here, actions) && !state.open.remove(&run.path) {
                state.open.insert(run.path.clone());
            }
        }
        ui.add_space(space::L);
        heading(ui, "Datasets", folder.datasets.len());
        if folder.datasets.is_empty() {
            hint(ui, "No datasets here");
        }
        for dataset in folder.datasets.iter().filter(|dataset| state.has(&dataset.name)) {
            show_dataset(ui, dataset, here, actions);
        }
        if !folder.graphs.is_empty() {
            ui.add_space(space::L);
            heading(ui, "Graphs", folder.graphs.len());
            for graph in &folder.graphs {
                show_graph(ui, graph, here, actions);
            }
        }
        if !folder.probes.is_empty() {
            ui.add_space(space::L);
            heading(ui, "Probes", folder.probes.len());
            for probes in &folder.probes {
                show_probes(ui, probes, here, actions);
            }
        }
    });
}

fn heading(ui: &mut Ui, name: &str, count: usize) {
    ui.horizontal(|ui| {
        ui.add_space(space::M);
        ui.label(RichText::new(name).size(size::SMALL).strong().color(palette(ui).weak));
        ui.label(RichText::new(count.to_string()).size(size::SMALL).color(palette(ui).line_strong));
    });
    ui.add_space(space::XS);
}

fn hint(ui: &mut Ui, text: &str) {
    ui.horizontal(|ui| {
        ui.add_space(space::M);
        facts::caption(ui, text);
    });
}

/// Draws a run and, unless it is folded, what there is to see of it; true when it is to be folded or unfolded. `fold`: whether it is
/// unfolded, where runs can be.
fn show_run(
    ui: &mut Ui,
    run: &RunEntry,
    fold: Option<bool>,
    within: bool,
    here: Option<&Place>,
    actions: &mut Vec<Action>,
) -> bool {
    let curves = Place::Curves { run: run.path.clone() };
    let colour = match &run.info {
        Ok(info) if !info.gaps.is_empty() => palette(ui).warning,
        Ok(info) => status_colour(ui, &info.status),
        Err(_) => palette(ui).error,
    };
    let (state, right) = match &run.info {
        Ok(info) => {
            let state = if info.gaps.is_empty() { info.status.name() } else { "damaged" };
            (state, info.fve.map(|fve| format!("FVE {fve:.3}")).unwrap_or_default())
        }
        Err(_) => ("unreadable", String::new()),
    };
    let hover = match &run.info {
        Ok(info) => {
            let (method, features) = (method::name(&info.method), format::count(info.d_sae));
            let mut said = format!("{}\n{method} · {features} features · {state}", run.path.display());
            info.gaps.iter().for_each(|gap| said += &format!("\n{gap}"));
            said
        }
        Err(problem) => problem.to_string(),
    };
    let shown =
        Line { name: &run.name, right: &right, dot: Some((colour, state)), indent: 0.0, hover: &hover };
    let top = ui.cursor().left_top();
    line(ui, &shown, here, curves, actions);
    let turned = fold.is_some_and(|open| fold_sign(ui, top, open || within, &run.name));
    if fold == Some(false) && !within {
        return turned;
    }
    if run.info.as_ref().is_ok_and(|info| info.indexed) {
        let count = run.info.as_ref().map(|i| format::count(i.d_sae)).unwrap_or_default();
        let features = Place::Features { run: run.path.clone() };
        let hover = format!("The feature table of {}", run.name);
        line(
            ui,
            &Line { name: "Features", right: &count, dot: None, indent: space::L, hover: &hover },
            here,
            features,
            actions,
        );
    }
    let Ok(info) = &run.info else { return turned };
    if info.mapped {
        let hover = format!("The features of {} in a plane", run.name);
        let shown = Line { name: "Map", right: "", dot: None, indent: space::L, hover: &hover };
        line(ui, &shown, here, Place::Map { run: run.path.clone() }, actions);
    }
    if info.scored {
        let hover = format!("What {} found of the made world that its rows come from", run.name);
        let shown = Line { name: "Truth", right: "", dot: None, indent: space::L, hover: &hover };
        line(ui, &shown, here, Place::Truth { run: run.path.clone() }, actions);
    }
    if info.status == Status::Finished {
        let hover = format!("Type a text and see which features of {} fire on it", run.name);
        let shown = Line { name: "Prompt", right: "", dot: None, indent: space::L, hover: &hover };
        line(ui, &shown, here, Place::Prompt { run: run.path.clone(), feature: None }, actions);
    }
    for with in &info.comparisons {
        let hover = format!("The features of {} compared with those of {with}", run.name);
        let name = format!("Compare with {with}");
        let shown = Line { name: &name, right: "", dot: None, indent: space::L, hover: &hover };
        line(ui, &shown, here, Place::Matching { run: run.path.clone(), with: with.clone() }, actions);
    }
    turned
}

/// The sign before a run that unfolds it; true when it was clicked.
fn fold_sign(ui: &mut Ui, top: egui::Pos2, open: bool, name: &str) -> bool {
    let rect = egui::Rect::from_min_size(top, egui::vec2(space::M, LINE));
    let response = ui.interact(rect, ui.scope_id().with(("fold", name)), Sense::click());
    let said = format!("{} {name}", if open { "Fold" } else { "Unfold" });
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &said));
    let p = palette(ui);
    let color = if response.hovered() { p.strong } else { p.weak };
    let sign = if open { "⏷" } else { "⏵" };
    ui.painter().text(rect.center(), Align2::CENTER_CENTER, sign, FontId::proportional(size::SMALL), color);
    response.on_hover_text("Features, map and prompt of this run").clicked()
}

fn show_dataset(ui: &mut Ui, dataset: &DatasetEntry, here: Option<&Place>, actions: &mut Vec<Action>) {
    let p = palette(ui);
    let place = Place::Dataset { dataset: dataset.path.clone(), document: None };
    let (dot, right, hover) = match &dataset.info {
        Ok(info) => {
            let hook = info.hook.as_deref().unwrap_or("routing");
            let hover = format!(
                "{}\n{} · {hook} · {}",
                dataset.path.display(),
                info.model,
                format::bytes(info.bytes)
            );
            ((p.good, "complete"), format!("{} rows", format::count(info.rows)), hover)
        }
        Err(problem) => ((p.error, "cannot be opened"), String::new(), problem.to_string()),
    };
    line(
        ui,
        &Line { name: &dataset.name, right: &right, dot: Some(dot), indent: 0.0, hover: &hover },
        here,
        place,
        actions,
    );
    if dataset.info.as_ref().is_ok_and(|info| info.has_experts) {
        let experts = Place::Experts { dataset: dataset.path.clone() };
        let hover = format!("How the experts of {} are used", dataset.name);
        line(
            ui,
            &Line { name: "Experts", right: "", dot: None, indent: space::L, hover: &hover },
            here,
            experts,
            actions,
        );
    }
}

fn show_graph(ui: &mut Ui, graph: &GraphEntry, here: Option<&Place>, actions: &mut Vec<Action>) {
    let p = palette(ui);
    let (dot, right, hover) = match &graph.info {
        Ok(info) => {
            let hover =
                format!("{}\n{} · {}\n{}", graph.path.display(), info.model.id, info.target, info.text);
            ((p.good, "complete"), format!("{} nodes", format::count(info.kept_nodes)), hover)
        }
        Err(problem) => ((p.error, "cannot be opened"), String::new(), problem.to_string()),
    };
    let shown = Line { name: &graph.name, right: &right, dot: Some(dot), indent: 0.0, hover: &hover };
    line(ui, &shown, here, Place::Graph { graph: graph.path.clone() }, actions);
}

fn show_probes(ui: &mut Ui, probes: &ProbesEntry, here: Option<&Place>, actions: &mut Vec<Action>) {
    let p = palette(ui);
    let (dot, right, hover) = match &probes.info {
        Ok(info) => {
            let hover =
                format!("{}\n{} · {}", probes.path.display(), info.model, info.dictionaries.join(", "));
            let count = format::counted(info.dictionaries.len() as u64, "dictionary", "dictionaries");
            ((p.good, "complete"), count, hover)
        }
        Err(problem) => ((p.error, "cannot be opened"), String::new(), problem.to_string()),
    };
    let shown = Line { name: &probes.name, right: &right, dot: Some(dot), indent: 0.0, hover: &hover };
    line(ui, &shown, here, Place::Probes { probes: probes.path.clone() }, actions);
}

struct Line<'a> {
    name: &'a str,
    right: &'a str,
    dot: Option<(egui::Color32, &'a str)>,
    indent: f32,
    hover: &'a str,
}

fn line(ui: &mut Ui, line: &Line<'_>, here: Option<&Place>, place: Place, actions: &mut Vec<Action>) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(egui::vec2(ui.available_width(), LINE), Sense::click());
    let chosen = here.is_some_and(|h| match (h, &place) {
        (Place::Feature { run, .. } | Place::Example { run, .. }, Place::Features { run: other })
        | (Place::Prompt { run, .. }, Place::Prompt { run: other, .. }) => run == other,
        (
            Place::Dataset { dataset, .. } | Place::Token { dataset, .. },
            Place::Dataset { dataset: other, .. },
        )
        | (Place::Expert { dataset, .. }, Place::Experts { dataset: other }) => dataset == other,
        (h, place) => h == place,
    });
    let folder =
        place.folder().and_then(|f| f.file_name()).unwrap_or_default().to_string_lossy().into_owned();
    let name = if line.dot.is_some() { line.name.to_owned() } else { format!("{} of {folder}", line.name) };
    response.widget_info(|| WidgetInfo::selected(Role::TreeItem, true, chosen, &name));
    if chosen || response.hovered() {
        table::row_ground(ui, rect, chosen, response.hovered());
    }
    let inner = egui::Rect::from_min_max(
        rect.min + egui::vec2(space::M + line.indent, 0.0),
        rect.max - egui::vec2(space::M, 0.0),
    );
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner).layout(layout), |ui| {
        ui.spacing_mut().item_spacing.x = space::S;
        if let Some((colour, name)) = line.dot {
            notice::status_dot(ui, colour, name);
        }
        let colour = if chosen || line.dot.is_some() { p.strong } else { p.text };
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if !line.right.is_empty() {
                ui.label(RichText::new(line.right).size(size::SMALL).color(p.weak));
            }
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                rule::name(ui, line.name, size::BODY, colour);
            });
        });
    });
    if response.on_hover_text(line.hover).clicked() {
        actions.push(Action::Go(place));
    }
}
