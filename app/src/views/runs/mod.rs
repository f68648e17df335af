//! All runs of the folder: their numbers, the curves of the selected ones, the configuration of one.

mod check;
mod columns;
mod curves;
mod details;
mod evaluation;
mod groups;
mod hints;
mod results;
mod table;
mod tradeoff;
mod train;

pub use details::colour as status_colour;
pub use train::METHODS;

use std::collections::HashSet;
use std::path::PathBuf;

use egui::{Frame, Margin, ScrollArea, Ui};

use super::{Scene, View, ViewCommand};
use crate::address::Place;
use crate::data::{Folder, RunEntry};
use crate::load::Workers;
use crate::preferences::Preference;
use crate::stores::Need;
use crate::theme::{palette, space, tokens::height};
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, format, notice};

/// What is known of the run that is looked at.
const DETAILS: SidePanel = SidePanel { id: "run details", width: 320.0, range: (220.0, 560.0) };

/// Room that the table keeps for its scroll bars.
const ROOM_TO_SCROLL: f32 = 12.0;

/// What stands under the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// The curves of the selected runs.
    #[default]
    Curves,
    /// Quality over sparsity.
    Tradeoff,
    /// A training to be begun.
    Train,
}

/// The runs of the open folder.
#[derive(Debug, Default)]
pub struct RunsView {
    /// Runs whose curves are drawn, in the order of their colours.
    selected: Vec<PathBuf>,
    /// The run whose configuration is shown.
    focus: Option<PathBuf>,
    options: curves::Options,
    mode: Mode,
    form: train::Form,
    sort: table::Sort,
    /// What stands in the fields of commands about the run that is looked at.
    steps: details::Steps,
    /// Groups of the table that are folded.
    folded: HashSet<String>,
    /// The model, hook and dataset whose trade-off is shown, where somebody said.
    setting: Option<tradeoff::Setting>,
}

impl RunsView {
    /// All runs, or the curves of one.
    pub fn new(place: &Place) -> Self {
        let mut view = Self::default();
        view.turn_to(place);
        view
    }

    /// At first the curves of the first run are shown; runs that have gone are forgotten.
    fn settle(&mut self, scene: &Scene<'_>) {
        self.selected.retain(|path| scene.folder.run(path).is_some());
        if self.focus.as_ref().is_some_and(|path| scene.folder.run(path).is_none()) {
            self.focus = None;
        }
        if self.focus.is_none() {
            self.focus = self.selected.first().cloned();
        }
        if self.selected.is_empty()
            && self.focus.is_none()
            && let Some(run) = best(scene.folder)
        {
            self.selected = vec![run.path.clone()];
            self.focus = Some(run.path.clone());
        }
    }

    fn table(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let preferences = scene.preferences;
        let wanted = columns::Wanted { chosen: &preferences.run_columns, grouped: preferences.grouped_runs };
        let fitting =
            columns::fitting(ui.available_width() - ROOM_TO_SCROLL, &columns::telling(scene.folder), wanted);
        self.bar(ui, &fitting, scene);
        let shown = table::Shown {
            folder: scene.folder,
            selected: &self.selected,
            focus: self.focus.as_ref(),
            sort: self.sort,
            columns: &fitting,
            folded: preferences.grouped_runs.then_some(&self.folded),
        };
        let wanted = height::HEAD + shown.count() as f32 * height::ROW + ROOM_TO_SCROLL;
        let room = wanted.min((ui.available_height() * 0.4).max(4.0 * height::ROW));
        let (rect, _) = ui.allocate_exact_size(egui::vec2(ui.available_width(), room), egui::Sense::hover());
        let asked = ui.scope_builder(egui::UiBuilder::new().max_rect(rect), |ui| shown.show(ui)).inner;
        self.apply(asked, scene);
    }

    /// How many runs there are, how they are grouped, and which columns are shown.
    fn bar(&self, ui: &mut Ui, fitting: &[(usize, f32)], scene: &mut Scene<'_>) {
        let frame = Frame::new().fill(palette(ui).side);
        frame.inner_margin(Margin::symmetric(space::S as i8, space::XS as i8)).show(ui, |ui| {
            ui.horizontal(|ui| {
                let runs = format::counted(scene.folder.runs.len() as u64, "run", "runs");
                let runs = match self.selected.len() {
                    0 | 1 => runs,
                    n => format!("{runs}, {n} of them drawn"),
                };
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    let chosen = &scene.preferences.run_columns;
                    let choice = columns::menu(ui, fitting, chosen);
                    choice.into_iter().for_each(|choice| scene.prefer(choice));
                    let mut grouped = scene.preferences.grouped_runs;
                    let about = "Only runs of one model, hook and dataset can be compared with each other";
                    if ui
                        .checkbox(&mut grouped, "group by model · hook · data")
                        .on_hover_text(about)
                        .changed()
                    {
                        scene.prefer(Preference::GroupedRuns(grouped));
                    }
                    ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                        facts::caption(ui, runs);
                    });
                });
            });
        });
    }

    fn toggle(&mut self, run: PathBuf) {
        match self.selected.iter().position(|r| *r == run) {
            Some(at) => drop(self.selected.remove(at)),
            None => self.selected.push(run.clone()),
        }
        self.focus = Some(run);
    }

    fn modes(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            for (name, mode, about) in [
                ("Curves", Mode::Curves, "The logged numbers of the selected runs, step by step"),
                ("Trade-off", Mode::Tradeoff, "Quality over sparsity of all runs of the folder"),
                ("Train", Mode::Train, "Train a dictionary on one of this folder's datasets"),
            ] {
                let button = ui.add(egui::Button::new(name).selected(self.mode == mode));
                if button.on_hover_text(about).clicked() {
                    self.mode = mode;
                }
            }
        });
        ui.add_space(space::S);
    }

    fn apply(&mut self, asked: table::Interaction, scene: &mut Scene<'_>) {
        if let Some(sort) = asked.sort {
            self.sort = sort;
        }
        if let Some(group) = asked.fold
            && !self.folded.remove(&group)
        {
            self.folded.insert(group);
        }
        if let Some(run) = asked.toggle {
            self.toggle(run);
        }
        if let Some(run) = asked.select {
            self.selected = vec![run.clone()];
            self.focus = Some(run);
        }
        if let Some(run) = asked.open {
            scene.go(Place::Features { run });
        }
    }
}

impl View for RunsView {
    fn place(&self) -> Place {
        match (&self.selected[..], &self.focus) {
            ([one], _) => Place::Curves { run: one.clone() },
            _ => Place::Runs,
        }
    }

    fn title(&self, _scene: &Scene<'_>) -> String {
        "Runs".to_owned()
    }

    fn turn_to(&mut self, place: &Place) {
        if let Place::Curves { run } = place {
            if !self.selected.contains(run) {
                self.selected = vec![run.clone()];
            }
            self.focus = Some(run.clone());
        }
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        self.form.logic(scene, workers);
        if let Some(run) = self.form.take_begun(scene.folder) {
            (self.selected, self.focus, self.mode) = (vec![run.clone()], Some(run), Mode::Curves);
        }
        self.settle(scene);
        for path in self.selected.iter().chain(&self.focus) {
            // A run that is being trained writes the file again and again; the folder's records say when.
            let written = scene.folder.run(path).and_then(|r| r.info.as_ref().ok()?.metrics_written);
            if scene.stores.run(path).curves_are_old(written) {
                scene.load(Need::Curves { run: path.clone(), written });
            }
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let trainable =
            scene.folder.datasets.iter().any(|data| data.info.as_ref().is_ok_and(|i| i.has_activations));
        if scene.folder.runs.is_empty() && trainable {
            Frame::new().inner_margin(Margin::same(space::L as i8)).show(ui, |ui| {
                facts::caption(ui, "No runs yet. Train one here.");
                train::form(ui, &mut self.form, scene);
            });
            return;
        }
        if scene.folder.runs.is_empty() {
            let how =
                "A training needs a dataset with activations, which `sae harvest` and `sae import` write.";
            return notice::empty(ui, "No runs in this folder", how);
        }
        self.table(ui, scene);
        let p = palette(ui);
        let frame = Frame::new().fill(p.side).inner_margin(Margin::same(space::L as i8));
        if let Some(run) = self.focus.as_ref().and_then(|path| scene.folder.run(path)) {
            DETAILS.show(ui, frame, |ui| {
                ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
                    let metrics = scene.stores.run(&run.path).metrics.value().cloned();
                    if details::show(ui, run, metrics.as_deref(), &mut self.steps, scene).again {
                        self.form = train::Form::like(&run.path);
                        self.mode = Mode::Train;
                    }
                });
            });
        }
        Frame::new().inner_margin(Margin::same(space::L as i8)).show(ui, |ui| {
            self.modes(ui);
            match self.mode {
                Mode::Curves => curves::show(ui, &self.selected, &mut self.options, scene),
                Mode::Tradeoff => {
                    if let Some(run) = tradeoff::show(ui, &self.selected, &mut self.setting, scene) {
                        self.toggle(run);
                    }
                }
                Mode::Train => train::form(ui, &mut self.form, scene),
            }
        });
    }

    fn perform(&mut self, command: ViewCommand) -> bool {
        if command != ViewCommand::ShowTrainingForm {
            return false;
        }
        self.mode = Mode::Train;
        true
    }
}

/// The run that is most worth a first look: one that was indexed and evaluated, else one with an index, else one that can be read, else any.
pub fn best(folder: &Folder) -> Option<&RunEntry> {
    let with = |wanted: fn(&RunEntry) -> bool| folder.runs.iter().find(|run| wanted(run));
    with(|run| run.info.as_ref().is_ok_and(|info| info.indexed && info.evaluation.is_some()))
        .or_else(|| with(|run| run.info.as_ref().is_ok_and(|info| info.indexed)))
        .or_else(|| with(|run| run.info.is_ok()))
        .or(folder.runs.first())
}
