//! Trainings: begun with a dataset and a configuration, paused and gone on with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use egui::{Button, ComboBox, Label, RichText, Role, ScrollArea, TextEdit, Ui, WidgetInfo};

use crate::action::Action;
use crate::data::{DatasetEntry, Folder, RunEntry, RunInfo, Status};
use crate::load::{KeyedRequest, Lane, Problem, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::training::{Estimate, Stage, TrainingJob, beside_the_window, estimate};
use crate::views::Scene;
use crate::widgets::{facts, format, jobs, method, notice};
use crate::words::ProgressLine;

/// Where the options come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Configuration {
    #[default]
    Defaults,
    OfRun(PathBuf),
    File,
}

/// A field of the form: the option, what it is called, and what it means.
type Field = (&'static str, &'static str, &'static str);

/// The options that most trainings differ in; the rest is in configuration files.
const FIELDS: [Field; 5] = [
    ("d-sae", "features", "Number of features of the dictionary"),
    ("k", "k", "Active features per token; methods with a penalty have none"),
    ("tokens", "tokens", "Tokens that are trained on; more than the dataset has means several passes"),
    ("learning-rate", "learning rate", "Peak learning rate; by default it depends on features and steps"),
    ("seed", "seed", "Of the weights and of the order of rows"),
];

/// Methods by the names that the program takes.
pub const METHODS: [&str; 17] = [
    "topk",
    "abs-topk",
    "mutual-choice",
    "feature-choice",
    "block-choice",
    "matryoshka",
    "gradient",
    "gradient-mutual",
    "gradient-feature",
    "cosine",
    "cosine-mutual",
    "matching-pursuit",
    "relu",
    "jumprelu",
    "gated",
    "p-anneal",
    "shrinkage",
];

/// What the person is about to train.
#[derive(Debug, Default)]
pub struct Form {
    data: Option<PathBuf>,
    configuration: Configuration,
    file: String,
    /// As typed; a proposal until then.
    name: Option<String>,
    /// The method, where it is not that of the configuration.
    method: Option<&'static str>,
    /// What was typed into the fields.
    typed: [String; FIELDS.len()],
    /// The training whose needs are asked for.
    asked: Option<TrainingJob>,
    estimate: KeyedRequest<TrainingJob, Estimate>,
    /// What the options are where nothing is typed.
    defaults: KeyedRequest<TrainingJob, Estimate>,
    /// Whether the form was ever drawn.
    drawn: bool,
    /// The run that was begun, to be shown once it has a folder.
    begun: Option<PathBuf>,
}

impl Form {
    /// A form that begins with the configuration of `run`.
    pub fn like(run: &Path) -> Self {
        Self { configuration: Configuration::OfRun(run.to_owned()), ..Self::default() }
    }

    /// Once per frame: asks the program what the options are by default, and what the training needs, if the person wants to know.
    pub fn logic(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let program = scene.stores.trainings.program.clone().unwrap_or_else(beside_the_window);
        if let Some(job) = self.untyped(scene.folder).filter(|_| self.drawn) {
            let (program, asked) = (program.clone(), job.clone());
            self.defaults.want(workers, Lane::Pages, &job, move || estimate(&program, &asked, false));
        }
        let Some(job) = self.asked.clone() else { return };
        let asked = job.clone();
        self.estimate.want(workers, Lane::Scans, &job, move || estimate(&program, &asked, true));
    }

    /// The training without what was typed: what a field that is left empty means.
    fn untyped(&self, folder: &Folder) -> Option<TrainingJob> {
        let data = self.dataset(folder)?.path.clone();
        let options = self.method.map(|method| ("method", method.to_owned())).into_iter().collect();
        // Nothing is written, so that any free name will do.
        let out = folder.root.join(proposal(folder));
        Some(TrainingJob { out, data: Some(data), config: self.config(folder).ok()?, options, resume: false })
    }

    /// The file of the configuration.
    fn config(&self, folder: &Folder) -> Result<Option<PathBuf>, &'static str> {
        match &self.configuration {
            Configuration::Defaults => Ok(None),
            Configuration::OfRun(run) => Ok(Some(run.join("train.toml"))),
            Configuration::File if self.file.trim().is_empty() => Err("Enter the configuration file."),
            // As in a terminal whose folder is the open one.
            Configuration::File => Ok(Some(folder.root.join(self.file.trim()))),
        }
    }

    /// The run that was begun from here, once its folder is there.
    pub fn take_begun(&mut self, folder: &Folder) -> Option<PathBuf> {
        self.begun.take_if(|run| folder.run(run).is_some())
    }

    /// What differs from the configuration.
    fn options(&self) -> Vec<(&'static str, String)> {
        let method = self.method.map(|method| ("method", method.to_owned()));
        let typed =
            FIELDS.iter().zip(&self.typed).map(|(field, typed)| (field.0, typed.trim().replace('_', "")));
        method.into_iter().chain(typed.filter(|(_, typed)| !typed.is_empty())).collect()
    }

    /// What the options of the configuration are, by name, as far as it is a file of a run.
    fn base(&self, folder: &Folder) -> BTreeMap<String, String> {
        let Configuration::OfRun(run) = &self.configuration else { return BTreeMap::new() };
        let info = folder.run(run).and_then(|run| run.info.as_ref().ok());
        let text = info.and_then(|info| info.train_toml.as_deref()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches('"').to_owned())).collect()
    }

    /// The dataset that is chosen: the run's own, or the first there is, until the person says.
    fn dataset<'a>(&self, folder: &'a Folder) -> Option<&'a DatasetEntry> {
        let usable = |entry: &&DatasetEntry| entry.info.as_ref().is_ok_and(|info| info.has_activations);
        let chosen = self.data.as_ref().and_then(|path| folder.dataset(path));
        let of_run = match &self.configuration {
            Configuration::OfRun(run) => folder.data_of(run),
            _ => None,
        };
        chosen.or(of_run).filter(usable).or_else(|| folder.datasets.iter().find(usable))
    }

    fn name(&self, folder: &Folder) -> String {
        self.name.clone().unwrap_or_else(|| proposal(folder))
    }

    /// What would be started; why it cannot be.
    fn job(&self, folder: &Folder) -> Result<TrainingJob, &'static str> {
        let data = self.dataset(folder).ok_or("There is no dataset with activations in this folder.")?;
        let config = self.config(folder)?;
        let name = self.name(folder);
        let name = name.trim();
        let inside = |part| matches!(part, std::path::Component::Normal(_));
        if name.is_empty() || !Path::new(name).components().all(inside) {
            return Err("Enter a name for the run: a folder inside this one.");
        }
        let out = folder.root.join(name);
        if folder.run(&out).is_some() || folder.dataset(&out).is_some() {
            return Err("A run or dataset with that name exists already.");
        }
        for ((_, field, _), typed) in FIELDS.iter().zip(&self.typed) {
            let number = typed.trim().replace('_', "").parse::<f64>();
            if !typed.trim().is_empty() && !number.is_ok_and(|number| number >= 0.0 && number.is_finite()) {
                return Err(match *field {
                    "features" => "Features must be a number.",
                    "k" => "k must be a number.",
                    "tokens" => "Tokens must be a number.",
                    "learning rate" => "The learning rate must be a number, such as 3e-4.",
                    _ => "The seed must be a number.",
                });
            }
        }
        Ok(TrainingJob { out, data: Some(data.path.clone()), config, options: self.options(), resume: false })
    }
}

/// The first name of its kind that is free.
fn proposal(folder: &Folder) -> String {
    let mut names = (1..).map(|n| format!("run-{n}"));
    names.find(|name| folder.run(&folder.root.join(name)).is_none()).unwrap_or_default()
}

/// Draws the form and what became of trainings that have no run to be shown at.
pub fn form(ui: &mut Ui, form: &mut Form, scene: &mut Scene<'_>) {
    form.drawn = true;
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        facts::section(ui, "Train a dictionary");
        let folder = scene.folder;
        egui::Grid::new("train").num_columns(2).spacing([space::L, space::S]).show(ui, |ui| {
            ui.label("dataset");
            dataset(ui, form, folder);
            ui.end_row();
            ui.label("configuration");
            configuration(ui, form, folder);
            ui.end_row();
            fields(ui, form, folder);
            ui.label("name");
            let mut name = form.name(folder);
            let field = ui.add(TextEdit::singleline(&mut name).desired_width(260.0));
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Name of the run"));
            if field.changed() {
                form.name = Some(name);
            }
            ui.end_row();
        });
        ui.add_space(space::M);
        let job = form.job(folder);
        ui.horizontal(|ui| {
            let start = ui.add_enabled(job.is_ok(), Button::new("Start training"));
            if let Err(why) = &job {
                ui.label(RichText::new(*why).color(palette(ui).weak));
            }
            if let (true, Ok(job)) = (start.clicked(), &job) {
                scene.act(Action::Train(job.clone()));
                form.begun = Some(job.out.clone());
                form.name = None;
            }
            let estimate = ui.add_enabled(job.is_ok(), Button::new("Estimate"));
            let about = "Memory, and time from a few steps of this shape: `sae train --dry-run --estimate`";
            if let (true, Ok(job)) = (estimate.on_hover_text(about).clicked(), &job) {
                form.asked = Some(job.clone());
                form.estimate.again();
                ui.ctx().request_repaint();
            }
        });
        if let Ok(job) = &job {
            ui.add_space(space::S);
            needs(ui, form, job);
            difference(ui, form, job, folder);
            facts::caption(ui, "The same in a terminal:");
            let line = RichText::new(job.line()).monospace().size(size::SMALL);
            ui.add(Label::new(line).selectable(true).wrap());
        }
        ui.add_space(space::L);
        unborn(ui, scene);
    });
}

/// Method and numbers; what is left empty is as in the configuration.
fn fields(ui: &mut Ui, form: &mut Form, folder: &Folder) {
    let base = form.base(folder);
    let filled = form.defaults.last();
    let default = |key: &str| base.get(key).cloned().or_else(|| filled.as_ref()?.config.get(key).cloned());
    ui.label("method");
    let own = default("method").map_or_else(|| "default".to_owned(), |name| method::name(&name).to_owned());
    let shown = form.method.map_or_else(|| own.clone(), |method| method::name(method).to_owned());
    let combo = ComboBox::from_id_salt("method").selected_text(shown).width(260.0).show_ui(ui, |ui| {
        ui.selectable_value(&mut form.method, None, format!("as configured ({own})"));
        for name in METHODS {
            ui.selectable_value(&mut form.method, Some(name), method::name(name));
        }
    });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Method"));
    ui.end_row();
    for ((option, name, about), typed) in FIELDS.iter().zip(&mut form.typed) {
        ui.label(*name).on_hover_text(*about);
        let hint = default(&option.replace('-', "_")).unwrap_or_else(|| "default".to_owned());
        let field = ui.add(TextEdit::singleline(typed).hint_text(&hint).desired_width(120.0));
        field.widget_info(|| WidgetInfo {
            hint_text: Some(hint.clone()),
            ..WidgetInfo::labeled(Role::TextInput, true, *name)
        });
        field.on_hover_text(*about);
        ui.end_row();
    }
}

/// Memory and time, once they were asked for.
fn needs(ui: &mut Ui, form: &Form, job: &TrainingJob) {
    let p = palette(ui);
    let Some(asked) = &form.asked else { return };
    if let Some(problem) = form.estimate.problem(asked) {
        return notice::problem_line(ui, problem);
    }
    let Some(found) = form.estimate.get(asked) else {
        ui.horizontal(|ui| {
            notice::busy(ui, 16.0);
            ui.label(RichText::new("Timing a few steps…").color(p.weak));
        });
        return;
    };
    let stale = job != asked;
    let color = if stale { p.weak } else { p.strong };
    let Estimate { bytes, bytes_with_help, limit, seconds, tokens, runs, .. } = &*found;
    let time = seconds.map_or_else(
        || "time unknown: this method is not timed".to_owned(),
        |s| format!("about {}", format::duration(s)),
    );
    let mut memory = format!("{} of memory", format::bytes(*bytes));
    if bytes_with_help > bytes {
        memory += &format!(", {} while many features are dead", format::bytes(*bytes_with_help));
    }
    let runs = if *runs > 1 { format!("{runs} runs · ") } else { String::new() };
    let words = format!("{runs}{time} · {memory} · {} tokens", format::count(*tokens));
    ui.label(RichText::new(words).color(color));
    if let Some(limit) = limit.filter(|limit| bytes > limit) {
        let why = format!("Only {} are free for it.", format::bytes(limit));
        ui.label(RichText::new(why).color(p.warning));
    }
    if stale {
        facts::caption(ui, "for what was chosen before; estimate again");
    }
    ui.add_space(space::S);
}

/// What the training does differently from its configuration.
fn difference(ui: &mut Ui, form: &Form, job: &TrainingJob, folder: &Folder) {
    if job.options.is_empty() {
        return;
    }
    let (base, filled) = (form.base(folder), form.defaults.last());
    facts::caption(ui, "Different from the configuration:");
    for (option, value) in &job.options {
        let key = option.replace('-', "_");
        let before = base.get(&key).or_else(|| filled.as_ref()?.config.get(&key));
        let before = before.map_or("default", String::as_str);
        let line = RichText::new(format!("{key} = {before} → {value}")).monospace().size(size::SMALL);
        ui.add(Label::new(line.color(palette(ui).text)).selectable(true));
    }
    ui.add_space(space::S);
}

fn dataset(ui: &mut Ui, form: &mut Form, folder: &Folder) {
    let chosen = form.dataset(folder);
    let text = chosen.map_or("none", |data| data.name.as_str());
    let combo = ComboBox::from_id_salt("dataset").selected_text(text).width(260.0).show_ui(ui, |ui| {
        for data in &folder.datasets {
            let usable = data.info.as_ref().is_ok_and(|info| info.has_activations);
            let here = chosen.is_some_and(|chosen| chosen.path == data.path);
            if ui.add_enabled(usable, Button::selectable(here, &data.name)).clicked() {
                form.data = Some(data.path.clone());
            }
        }
    });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Dataset to train on"));
}

fn configuration(ui: &mut Ui, form: &mut Form, folder: &Folder) {
    ui.horizontal(|ui| {
        let text = match &form.configuration {
            Configuration::Defaults => "defaults of sae train".to_owned(),
            Configuration::OfRun(run) => format!("as {}", folder.name_of(run)),
            Configuration::File => "a file".to_owned(),
        };
        let combo =
            ComboBox::from_id_salt("configuration").selected_text(text).width(260.0).show_ui(ui, |ui| {
                ui.selectable_value(
                    &mut form.configuration,
                    Configuration::Defaults,
                    "defaults of sae train",
                );
                for run in folder.runs.iter().filter(|run| has_configuration(run)) {
                    let this = Configuration::OfRun(run.path.clone());
                    ui.selectable_value(&mut form.configuration, this, format!("as {}", run.name));
                }
                ui.selectable_value(&mut form.configuration, Configuration::File, "a file");
            });
        combo
            .response
            .widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Configuration of the training"));
        if form.configuration == Configuration::File {
            let field = TextEdit::singleline(&mut form.file)
                .hint_text("train.toml, in or below this folder, or a whole path");
            let field = ui.add(field.desired_width(320.0));
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Configuration file"));
        }
    });
}

fn has_configuration(run: &RunEntry) -> bool {
    run.info.as_ref().is_ok_and(|info| info.train_toml.is_some())
}

/// Trainings whose folder is not among the runs: they begin, or they never did.
fn unborn(ui: &mut Ui, scene: &mut Scene<'_>) {
    let mut forgotten = None;
    for training in scene.stores.trainings.all() {
        if scene.folder.run(&training.job.out).is_some() {
            continue;
        }
        let name = training.job.out.file_name().unwrap_or_default().to_string_lossy();
        match training.stage() {
            Stage::Failed(problem) => {
                ui.horizontal(|ui| {
                    ui.label(RichText::new(format!("{name} did not start")).color(palette(ui).strong));
                    if ui.small_button("Dismiss").clicked() {
                        forgotten = Some(training.job.out.clone());
                    }
                });
                notice::problem_line(ui, &problem);
            }
            _ => {
                ui.horizontal(|ui| {
                    notice::busy(ui, 16.0);
                    ui.label(format!("{name} is starting"));
                    facts::caption(ui, training.last_line());
                });
            }
        }
    }
    if let Some(out) = forgotten {
        scene.act(Action::DismissTraining(out));
    }
}

/// What the person asked for at a run.
#[derive(Debug, Default)]
pub struct Interaction {
    /// The form, with the configuration of this run.
    pub again: bool,
}

/// Pause, resume, again; what the process says; why it failed.
pub fn controls(ui: &mut Ui, run: &RunEntry, info: &RunInfo, scene: &mut Scene<'_>) -> Interaction {
    let mut asked = Interaction::default();
    let stage = scene.stores.trainings.of(&run.path).map(|training| (training.stage(), training.last_line()));
    let mut failed: Option<Problem> = None;
    ui.horizontal(|ui| {
        match &stage {
            Some((Stage::Running, _)) => {
                let pause =
                    ui.button("Pause").on_hover_text("Write a checkpoint and stop; Resume continues from it");
                if pause.clicked() {
                    scene.act(Action::PauseTraining { run: run.path.clone(), process: None });
                }
            }
            Some((Stage::Pausing, _)) => {
                ui.add_enabled(false, Button::new("Pausing…"));
            }
            _ => match (&info.status, info.trainer) {
                (Status::Finished, _) => {}
                (Status::Running, Some(process)) => {
                    let about = format!("Process {process}, which trains it, writes a checkpoint and stops");
                    if ui.button("Pause").on_hover_text(about).clicked() {
                        scene.act(Action::PauseTraining { run: run.path.clone(), process: Some(process) });
                    }
                }
                // A run that says that it is running, where nobody holds its folder, was killed, or runs on
                // another machine; the trainer refuses a folder that is held.
                _ => {
                    let resume = ui.button("Resume").on_hover_text("Continue from the newest checkpoint");
                    if resume.clicked() {
                        scene.act(Action::Train(resumed(run, info, scene.folder)));
                    }
                }
            },
        }
        if let Some((Stage::Failed(problem), _)) = &stage {
            failed = Some(problem.clone());
        }
        if info.train_toml.is_some() {
            let again = ui.button("Train a copy…").on_hover_text("Train a new run with this configuration");
            asked.again = again.clicked();
        }
    });
    if let Some((Stage::Running | Stage::Pausing, said)) = &stage
        && !said.is_empty()
    {
        let line = ProgressLine::parse(said);
        // Only the training itself counts the run's tokens; what comes before and after has its own measure.
        let line = if line.stage == "train" { line.at_least(info.tokens, info.tokens_total) } else { line };
        jobs::progress(ui, &line, said);
    }
    if let Some(problem) = failed {
        notice::problem_line(ui, &problem);
    }
    asked
}

/// Going on with `run`: with its own configuration, on the dataset that it was trained on where that is in
/// the folder, perhaps moved. (A run with an index is shown with the dataset of the index, which may be
/// another: then the run's own record decides.)
fn resumed(run: &RunEntry, info: &RunInfo, folder: &Folder) -> TrainingJob {
    let found = folder.data_of(&run.path).filter(|_| !info.indexed && has_configuration(run));
    let config = found.map(|_| run.path.join("train.toml"));
    let data = found.map(|data| data.path.clone());
    TrainingJob { out: run.path.clone(), data, config, resume: true, ..TrainingJob::default() }
}
