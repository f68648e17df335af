//! The panel at the left: runs and datasets, and what there is to see of each.

mod branches;
mod line;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use egui::{Role, ScrollArea, TextEdit, Ui, WidgetInfo};

use crate::action::Action;
use crate::address::Place;
use crate::data::{DatasetEntry, Folder, GraphEntry, ModelEntry, ProbesEntry, RunEntry, RunInfo, Status};
use crate::preferences::{Preference, Preferences};
use crate::theme::{palette, space};
use crate::views::runs::status_colour;
use crate::widgets::{format, method};
use crate::words::place;
use branches::Branch;
use line::{Line, heading, hint};

/// Runs up to which all that there is to see of each is listed; of more, what is unfolded.
const UNFOLDED: usize = 8;
/// Runs from which on they can be looked for by name.
const SEARCHED: usize = 12;
/// Runs and datasets up to which folders are open at first.
const OPEN: usize = 40;

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

/// What the lines are drawn with.
struct Drawn<'a> {
    folder: &'a Folder,
    state: &'a mut TreeState,
    preferences: &'a Preferences,
    /// The place in front.
    here: Option<&'a Place>,
    actions: &'a mut Vec<Action>,
}

/// Draws the tree; `here` is the place in front.
pub fn show(
    ui: &mut Ui,
    folder: &Folder,
    state: &mut TreeState,
    preferences: &Preferences,
    here: Option<&Place>,
    actions: &mut Vec<Action>,
) {
    let others = folder.graphs.len() + folder.probes.len() + folder.models.len();
    let entries = folder.runs.len() + folder.datasets.len() + others;
    if entries >= SEARCHED {
        ui.add_space(space::S);
        state.field(ui);
    } else {
        state.filter.clear();
    }
    let mut drawn = Drawn { folder, state, preferences, here, actions };
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.add_space(space::M);
        drawn.runs(ui);
        ui.add_space(space::L);
        drawn.datasets(ui);
        let Drawn { here, actions, state, .. } = drawn;
        if !folder.graphs.is_empty() {
            ui.add_space(space::L);
            heading(ui, "Graphs", folder.graphs.len());
            for graph in folder.graphs.iter().filter(|graph| state.has(&graph.name)) {
                show_graph(ui, graph, here, actions);
            }
        }
        if !folder.probes.is_empty() {
            ui.add_space(space::L);
            heading(ui, "Probes", folder.probes.len());
            for probes in folder.probes.iter().filter(|probes| state.has(&probes.name)) {
                show_probes(ui, probes, here, actions);
            }
        }
        if !folder.models.is_empty() {
            ui.add_space(space::L);
            heading(ui, "Language models", folder.models.len());
            for model in folder.models.iter().filter(|model| state.has(&model.name)) {
                show_model(ui, model, here, actions);
            }
        }
    });
}

impl Drawn<'_> {
    fn runs(&mut self, ui: &mut Ui) {
        let folder = self.folder;
        let pinned: Vec<&RunEntry> =
            self.preferences.pinned.iter().filter_map(|path| folder.run(path)).collect();
        let pinned: Vec<&RunEntry> = pinned.into_iter().filter(|run| self.state.has(&run.name)).collect();
        if !pinned.is_empty() {
            heading(ui, "Pinned", pinned.len());
            for run in pinned {
                self.run(ui, run, (&run.name, 0.0));
            }
            ui.add_space(space::L);
        }
        heading(ui, "Runs", folder.runs.len());
        if folder.runs.is_empty() {
            hint(ui, "No runs yet");
        }
        let is_pinned = |run: &&RunEntry| self.preferences.pinned.contains(&run.path);
        let listed = folder.runs.iter().filter(|run| !is_pinned(run) && self.state.has(&run.name));
        let listed: Vec<&RunEntry> = listed.collect();
        let branches = branches::tree(listed.iter().map(|run| run.name.as_str()));
        self.branches(ui, &branches, 0, &mut |drawn, ui, index, shown| drawn.run(ui, listed[index], shown));
    }

    fn datasets(&mut self, ui: &mut Ui) {
        let folder = self.folder;
        heading(ui, "Datasets", folder.datasets.len());
        if folder.datasets.is_empty() {
            hint(ui, "No datasets here");
        }
        let listed: Vec<&DatasetEntry> =
            folder.datasets.iter().filter(|dataset| self.state.has(&dataset.name)).collect();
        let branches = branches::tree(listed.iter().map(|dataset| dataset.name.as_str()));
        self.branches(ui, &branches, 0, &mut |drawn, ui, index, shown| {
            show_dataset(ui, listed[index], shown, drawn.here, drawn.actions);
        });
    }

    /// Draws folders, and what is in those that are open. `leaf` draws the thing of a number, with its label and its indent.
    fn branches(
        &mut self,
        ui: &mut Ui,
        branches: &[Branch],
        depth: usize,
        leaf: &mut dyn FnMut(&mut Self, &mut Ui, usize, (&str, f32)),
    ) {
        let indent = space::M * depth as f32;
        for branch in branches {
            match branch {
                Branch::Leaf { index, label } => leaf(self, ui, *index, (label, indent)),
                Branch::Folder { path, label, count, inside } => {
                    let whole = self.folder.root.join(path);
                    let open = self.is_open(&whole);
                    if line::folder(ui, (label, path), *count, open, indent) {
                        self.actions.push(Action::Prefer(Preference::Folded(whole, open)));
                    }
                    if open {
                        self.branches(ui, inside, depth + 1, leaf);
                    }
                }
            }
        }
    }

    /// Whether what is in a folder is listed: as the person said, else where there is not too much, or where the person is.
    fn is_open(&self, folder: &Path) -> bool {
        let few = self.folder.runs.len() + self.folder.datasets.len() <= OPEN;
        let holds = self.here.and_then(Place::folder).is_some_and(|here| here.starts_with(folder));
        let said = self.preferences.folded.get(folder).map(|folded| !folded);
        !self.state.filter.trim().is_empty() || said.unwrap_or(few || holds)
    }

    /// Draws a run, with what there is to see of it unless that is folded.
    fn run(&mut self, ui: &mut Ui, run: &RunEntry, shown: (&str, f32)) {
        let within = self.here.and_then(Place::folder) == Some(run.path.as_path());
        let folds = self.folder.runs.len() > UNFOLDED;
        let fold = folds.then(|| self.state.open.contains(&run.path));
        let pinned = self.preferences.pinned.contains(&run.path);
        let rect = show_run(ui, run, shown, self.here, self.actions);
        if line::pin(ui, rect, pinned, &run.name) {
            self.actions.push(Action::Prefer(Preference::Pinned(run.path.clone(), !pinned)));
        }
        let turned = fold.is_some_and(|open| line::fold_sign(ui, rect, shown.1, open || within, &run.name));
        if turned && !self.state.open.remove(&run.path) {
            self.state.open.insert(run.path.clone());
        }
        if (fold != Some(false) || within)
            && let Ok(info) = &run.info
        {
            show_parts(ui, run, info, shown.1 + space::L, self.here, self.actions);
        }
    }
}

/// Draws the line of a run; where.
fn show_run(
    ui: &mut Ui,
    run: &RunEntry,
    (label, indent): (&str, f32),
    here: Option<&Place>,
    actions: &mut Vec<Action>,
) -> egui::Rect {
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
            let mut said = format!("{}\n{method} · {features} features · {state}", place::path(&run.path));
            info.gaps.iter().for_each(|gap| said += &format!("\n{gap}"));
            said
        }
        Err(problem) => problem.to_string(),
    };
    let dot = Some((colour, state));
    let shown = Line { label, name: &run.name, right: &right, dot, indent, hover: &hover, signed: true };
    line::show(ui, &shown, here, curves, actions)
}

/// Draws what there is to see of a run.
fn show_parts(
    ui: &mut Ui,
    run: &RunEntry,
    info: &RunInfo,
    indent: f32,
    here: Option<&Place>,
    actions: &mut Vec<Action>,
) {
    let own = run.path.file_name().unwrap_or_default().to_string_lossy();
    let mut part = |label: &str, right: &str, hover: String, place: Place| {
        let name = format!("{label} of {own}");
        let shown = Line { label, name: &name, right, dot: None, indent, hover: &hover, signed: false };
        line::show(ui, &shown, here, place, actions);
    };
    let (name, path) = (&run.name, || run.path.clone());
    if info.indexed {
        let place = Place::Features { run: path() };
        part("Features", &format::count(info.d_sae), format!("The feature table of {name}"), place);
    }
    if info.mapped {
        part("Map", "", format!("The features of {name} in a plane"), Place::Map { run: path() });
    }
    if info.scored {
        let hover = format!("What {name} found of the made world that its rows come from");
        part("Truth", "", hover, Place::Truth { run: path() });
    }
    if info.fields {
        part("Fields", "", format!("The features of {name} as pictures"), Place::Fields { run: path() });
    }
    if info.status == Status::Finished && info.reads_text() {
        let (title, hover) = match info.target_hook {
            None => ("Prompt", format!("Type a text and see which features of {name} fire on it")),
            Some(_) => ("Trace", format!("Type a text and trace its next token through {name}")),
        };
        part(title, "", hover, Place::Prompt { run: path(), feature: None });
    }
    for with in &info.comparisons {
        let hover = format!("The features of {name} compared with those of {with}");
        part(&format!("Compare with {with}"), "", hover, Place::Matching { run: path(), with: with.clone() });
    }
}

fn show_dataset(
    ui: &mut Ui,
    dataset: &DatasetEntry,
    (label, indent): (&str, f32),
    here: Option<&Place>,
    actions: &mut Vec<Action>,
) {
    let p = palette(ui);
    let place = Place::Dataset { dataset: dataset.path.clone(), document: None };
    let (dot, right, hover) = match &dataset.info {
        Ok(info) => {
            let hook = info.hook.as_deref().unwrap_or("routing");
            let hover = format!(
                "{}\n{} · {hook} · {}",
                place::path(&dataset.path),
                info.model,
                format::bytes(info.bytes)
            );
            ((p.good, "complete"), format!("{} rows", format::count(info.rows)), hover)
        }
        Err(problem) => ((p.error, "cannot be opened"), String::new(), problem.to_string()),
    };
    let name = &dataset.name;
    let shown = Line { label, name, right: &right, dot: Some(dot), indent, hover: &hover, signed: false };
    line::show(ui, &shown, here, place, actions);
    if dataset.info.as_ref().is_ok_and(|info| info.has_experts) {
        let own = dataset.path.file_name().unwrap_or_default().to_string_lossy();
        let (hover, said) = (format!("How the experts of {name} are used"), format!("Experts of {own}"));
        let indent = indent + space::L;
        let shown = Line {
            label: "Experts",
            name: &said,
            right: "",
            dot: None,
            indent,
            hover: &hover,
            signed: false,
        };
        line::show(ui, &shown, here, Place::Experts { dataset: dataset.path.clone() }, actions);
    }
}

fn show_graph(ui: &mut Ui, graph: &GraphEntry, here: Option<&Place>, actions: &mut Vec<Action>) {
    let p = palette(ui);
    let (dot, right, hover) = match &graph.info {
        Ok(info) => {
            let hover =
                format!("{}\n{} · {}\n{}", place::path(&graph.path), info.model.id, info.target, info.text);
            ((p.good, "complete"), format!("{} nodes", format::count(info.kept_nodes)), hover)
        }
        Err(problem) => ((p.error, "cannot be opened"), String::new(), problem.to_string()),
    };
    let name = &graph.name;
    let (label, dot) = (name.as_str(), Some(dot));
    let shown = Line { label, name, right: &right, dot, indent: 0.0, hover: &hover, signed: false };
    line::show(ui, &shown, here, Place::Graph { graph: graph.path.clone() }, actions);
}

fn show_probes(ui: &mut Ui, probes: &ProbesEntry, here: Option<&Place>, actions: &mut Vec<Action>) {
    let p = palette(ui);
    let (dot, right, hover) = match &probes.info {
        Ok(info) => {
            let hover =
                format!("{}\n{} · {}", place::path(&probes.path), info.model, info.dictionaries.join(", "));
            let count = format::counted(info.dictionaries.len() as u64, "dictionary", "dictionaries");
            ((p.good, "complete"), count, hover)
        }
        Err(problem) => ((p.error, "cannot be opened"), String::new(), problem.to_string()),
    };
    let name = &probes.name;
    let (label, dot) = (name.as_str(), Some(dot));
    let shown = Line { label, name, right: &right, dot, indent: 0.0, hover: &hover, signed: false };
    line::show(ui, &shown, here, Place::Probes { probes: probes.path.clone() }, actions);
}

fn show_model(ui: &mut Ui, model: &ModelEntry, here: Option<&Place>, actions: &mut Vec<Action>) {
    let p = palette(ui);
    let path = place::path(&model.path);
    let (dot, right, hover) = match &model.info {
        Ok(info) => {
            let dot = match info.record {
                Some(_) => (p.good, "complete"),
                None => (p.warning, "not finished"),
            };
            (dot, info.architecture().unwrap_or_default(), path)
        }
        Err(problem) => ((p.error, "cannot be opened"), "", problem.to_string()),
    };
    let name = &model.name;
    let (label, dot) = (name.as_str(), Some(dot));
    let shown = Line { label, name, right, dot, indent: 0.0, hover: &hover, signed: false };
    line::show(ui, &shown, here, Place::Model { model: model.path.clone() }, actions);
}
