//! One feature's page: what it is at the left, the text that makes it fire at the right.

mod concordance;
mod examples;
mod explanations;
mod facts;
mod heads;
mod history;
mod measured;
mod note;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use egui::{Button, Frame, Margin, RichText, Role, ScrollArea, Ui, WidgetInfo};
use storage::experts::RouterFeatureRow;

use concordance::Concordance;
pub use concordance::no_text;
pub use facts::nearest;
pub use history::brief as brief_history;
use measured::Measured;

use super::elsewhere::Elsewhere;
use super::experts::of_feature;
use super::{Scene, View};
use crate::action::{Action, Command, Save};
use crate::address::Place;
use crate::data::experts::{features, routers};
use crate::data::notes::{Change, Edit};
use crate::data::{FeatureExpertRow, FeaturePage, Vocabulary, export};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::stores::Need;
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::views::features::name_of;
use crate::widgets::jobs::CommandClick;
use crate::widgets::lines::Source;
use crate::widgets::{notice, rule, star};
use crate::words::place;

/// Below this width the two columns go one under the other.
const TWO_COLUMNS: f32 = 780.0;
/// Width of the left column, and on a wide screen.
const FACTS: (f32, f32) = (340.0, 460.0);
/// From this width on a screen is wide.
const WIDE: f32 = 1500.0;
/// Width that the buttons of the head need.
const BUTTONS: f32 = 620.0;
/// Height of the list of all firings where the page is one column.
const LISTED: f32 = 420.0;
/// Characters of a feature's name in the tab, and of its run's.
const TITLE_NAME: usize = 22;
const TITLE_RUN: usize = 18;

/// The buttons of the head, from the right.
const COMMANDS: [(&str, Command); 6] = [
    ("Test a claim", Command::ShowClaim),
    ("Try in prompt", Command::ShowPrompt),
    ("Copy address", Command::CopyAddress),
    ("Random", Command::RandomFeature),
    ("Next", Command::NextFeature),
    ("Previous", Command::PreviousFeature),
];

fn do_it(ui: &mut Ui, (text, command): (&str, Command), scene: &mut Scene<'_>) {
    let key = command.key_text(ui.ctx());
    let hover = format!("{} ({key})", command.tooltip());
    if ui.add(Button::new(text)).on_hover_text(hover).clicked() {
        scene.act(Action::Do(command));
        ui.close();
    }
}

/// The page of one feature; it turns to others of the same run.
#[derive(Debug)]
pub struct FeatureView {
    run: PathBuf,
    feature: u32,
    /// The example that the address names.
    example: Option<u32>,
    /// Bring it into view when it is there.
    scroll: bool,
    page: Request<FeaturePage>,
    asked: Option<u32>,
    /// When the index was written that its run's features were read from.
    index: Option<SystemTime>,
    /// The experts that the feature's tokens go to; `None` inside where features and experts are not joined.
    experts: KeyedRequest<u32, Option<Vec<FeatureExpertRow>>>,
    calls: KeyedRequest<u32, Option<Vec<RouterFeatureRow>>>,
    elsewhere: Elsewhere,
    /// Its truth in a made world, and its audit.
    measured: Measured,
    options: examples::Options,
    concordance: Concordance,
    logarithmic: bool,
    draft: note::Draft,
    /// Whether all explanations are shown.
    all_explanations: bool,
    /// The activation of the example under the pointer, of the last frame.
    hovered: Option<f32>,
    /// Where the page was drawn.
    rect: Option<egui::Rect>,
}

impl FeatureView {
    /// The page of the feature of `run` that `place` names.
    pub fn new(run: &Path, place: &Place) -> Self {
        let mut view = Self {
            run: run.to_owned(),
            feature: 0,
            example: None,
            scroll: false,
            page: Request::new(),
            asked: None,
            index: None,
            experts: KeyedRequest::default(),
            calls: KeyedRequest::default(),
            elsewhere: Elsewhere::default(),
            measured: Measured::default(),
            options: examples::Options::default(),
            concordance: Concordance::default(),
            logarithmic: true,
            draft: note::Draft::default(),
            all_explanations: false,
            hovered: None,
            rect: None,
        };
        view.turn_to(place);
        view
    }

    fn go(&self, scene: &mut Scene<'_>, feature: u32) {
        scene.go(Place::Feature { run: self.run.clone(), feature });
    }

    fn head(
        &mut self,
        ui: &mut Ui,
        page: &Arc<FeaturePage>,
        vocabulary: &Arc<Vocabulary>,
        scene: &mut Scene<'_>,
    ) {
        let p = palette(ui);
        let feature = page.row.feature;
        let notes = Arc::clone(scene.stores.run(&self.run).notes.notes());
        let info = scene.folder.run(&self.run).and_then(|run| run.info.as_ref().ok());
        // What a transcoder's features do is seen in a graph.
        let traces = info.is_some_and(|info| info.target_hook.is_some());
        let commands = COMMANDS.map(|(text, command)| match command {
            Command::ShowPrompt if traces => ("Trace", command),
            _ => (text, command),
        });
        ui.horizontal(|ui| {
            let bookmarked = notes.bookmarked(feature);
            if star::show(ui, bookmarked, feature) {
                let edit = Edit { feature, change: Change::Bookmarked(!bookmarked) };
                scene.note(&self.run, edit);
            }
            ui.label(RichText::new(format!("Feature {feature}")).size(size::TITLE).color(p.strong));
            let narrow = ui.available_width() < BUTTONS;
            if page.row.count == 0 {
                ui.label(RichText::new("dead").color(p.warning))
                    .on_hover_text("It did not fire on any indexed token");
            }
            if self.page.loading() {
                notice::busy(ui, 16.0);
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if narrow {
                    let more = ui.button("⋯");
                    more.widget_info(|| WidgetInfo::labeled(Role::Button, true, "More actions"));
                    egui::Popup::menu(&more)
                        .show(|ui| commands.iter().rev().for_each(|one| do_it(ui, *one, scene)));
                }
                self.export(ui, page, vocabulary, scene);
                if !narrow {
                    commands.iter().for_each(|one| do_it(ui, *one, scene));
                }
            });
        });
        self.identity(ui, feature, scene);
        let edit = self.draft.label(ui, &notes, page.row.label.as_deref(), scene.now);
        edit.into_iter().for_each(|edit| scene.note(&self.run, edit));
    }

    /// Whose feature it is: run, model and hook.
    fn identity(&self, ui: &mut Ui, feature: u32, scene: &mut Scene<'_>) {
        let p = palette(ui);
        let run = scene.folder.name_of(&self.run).into_owned();
        let info = scene.folder.run(&self.run).and_then(|run| run.info.as_ref().ok());
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = space::S;
            let link = ui.add(egui::Link::new(RichText::new(&run).size(size::SMALL)));
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Features of {run}")));
            if link.on_hover_text("The feature table of this run").clicked() {
                scene.go(Place::Features { run: self.run.clone() });
            }
            let of =
                info.map(|info| format!("· {} · {}", info.model, info.read_by(feature))).unwrap_or_default();
            ui.label(RichText::new(of).size(size::SMALL).color(p.weak));
            let store = scene.stores.run(&self.run);
            if store.notes.notes().label(feature).is_none()
                && let Some(said) =
                    store.explanations.value().and_then(|all| all.best(feature).map(str::to_owned))
            {
                rule::show(ui, &said, size::SMALL);
            }
        });
    }

    fn export(
        &self,
        ui: &mut Ui,
        page: &Arc<FeaturePage>,
        vocabulary: &Arc<Vocabulary>,
        scene: &mut Scene<'_>,
    ) {
        let run = self.run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = |end: &str| format!("{run}-feature-{}.{end}", page.row.feature);
        let store = scene.stores.run(&self.run);
        let notes = Arc::clone(store.notes.notes());
        let explanations = store.explanations.value().cloned().unwrap_or_default();
        let button = ui.button("Export").on_hover_text("Save or copy this page");
        egui::Popup::menu(&button).show(|ui| {
            let (of, words) = (Arc::clone(page), Arc::clone(vocabulary));
            if ui.button("Page as JSON…").clicked() {
                let (run, notes, said) = (run.clone(), Arc::clone(&notes), Arc::clone(&explanations));
                let make = move || Ok(export::page_json(&run, &of, &notes, &said, &words).into_bytes());
                scene.act(Action::Save(Save::new(name("json"), make)));
                ui.close();
            }
            let (of, words) = (Arc::clone(page), Arc::clone(vocabulary));
            if ui.button("Examples as CSV…").clicked() {
                let make = move || Ok(export::examples_csv(&of, &words).into_bytes());
                scene.act(Action::Save(Save::new(name("csv"), make)));
                ui.close();
            }
            if ui.button("Picture as PNG…").clicked() {
                let rect = self.rect.unwrap_or(egui::Rect::EVERYTHING);
                scene.act(Action::Picture(name("png"), rect));
                ui.close();
            }
            let named = |end: &str| self.run.with_file_name(name(end));
            for (label, format, end) in
                [("Page for a browser", "html", "html"), ("Card as SVG", "card", "svg")]
            {
                let job = Job::export_feature(&self.run, page.row.feature, format, &named(end));
                let button = ui.add_enabled(!scene.jobs.running(&job), Button::new(label));
                if button.on_hover_text(job.line()).clicked() {
                    scene.act(Action::Run(job));
                    ui.close();
                }
            }
            ui.separator();
            if ui.button("Copy as JSON").clicked() {
                scene.act(Action::Copy(export::page_json(&run, page, &notes, &explanations, vocabulary)));
                ui.close();
            }
        });
    }

    fn facts(&mut self, ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        let now = scene.now;
        let store = scene.stores.run(&self.run);
        let notes = Arc::clone(store.notes.notes());
        let job = scene.told(Job::explain(&self.run));
        let (command, running) = (job.line(), scene.jobs.running(&job));
        let said = store.explanations.value().cloned();
        let (draft, all, mut edit) = (&mut self.draft, &mut self.all_explanations, None);
        let mut asked = CommandClick::default();
        let name = |feature: u32| name_of(store, feature);
        let shown = facts::Facts {
            page,
            vocabulary,
            indexed: store.columns.value().map_or(0, |c| c.tokens),
            coactive_rows: store.columns.value().map_or(0, |c| c.coactive_rows),
            marked: self.hovered,
            name: &name,
        };
        let follow = facts::show(ui, &shown, &mut self.logarithmic, |ui| {
            edit = draft.text(ui, &notes, now);
            if let Some(place) = place::written_to(&self.run) {
                ui.label(RichText::new(place).size(size::SMALL).color(palette(ui).weak));
            }
            if let Some(explanations) = &said {
                let (feature, alive) = (page.row.feature, page.row.count > 0);
                let (command, running) = (command.as_str(), running);
                let shown = explanations::Section { explanations, feature, command, running, alive };
                asked = explanations::show(ui, &shown, all);
            }
        });
        edit.into_iter().for_each(|edit| scene.note(&self.run, edit));
        if asked.copy {
            scene.act(Action::Copy(command));
        }
        if asked.run {
            scene.act(Action::Run(job));
        }
        let feature = page.row.feature;
        self.measured.show(ui, &self.run, feature, scene);
        of_feature::show(ui, &self.run, page.row.feature, &self.experts, scene);
        of_feature::calls(ui, &self.run, page.row.feature, &self.calls, scene);
        ui.add_space(space::L);
        self.elsewhere.show(ui, &self.run, scene);
        if let Some(feature) = follow {
            self.go(scene, feature);
        }
    }

    /// Every firing in place of the examples.
    fn every(&mut self, ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
        let documents =
            dataset.as_ref().and_then(|path| scene.stores.dataset(path).documents.value().cloned());
        let source = Source { dataset: dataset.as_deref(), documents: documents.as_ref() };
        let read = self.concordance.show(ui, &page.row, vocabulary, source);
        if let (Some((document, token)), Some(dataset)) = (read, dataset) {
            scene.go(Place::Token { dataset, document, token });
        }
    }

    /// Asks for the firings while they are shown.
    fn ask_every(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        let Some(feature) =
            self.page.value().map(|page| page.row.feature).filter(|_| self.options.is_every())
        else {
            return;
        };
        let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
        if let Some(dataset) = &dataset {
            scene.load_documents(dataset);
        }
        let documents =
            dataset.as_ref().and_then(|path| scene.stores.dataset(path).documents.value().cloned());
        let source = Source { dataset: dataset.as_deref(), documents: documents.as_ref() };
        self.concordance.logic(&self.run, feature, source, workers);
    }

    fn examples(&mut self, ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
        let chosen = self.example.map(|example| example as usize);
        let named =
            examples::AddressedExample { chosen, scroll: self.scroll, has_documents: dataset.is_some() };
        let asked = examples::list(ui, page, vocabulary, &self.options, named);
        // A page of another feature may still be in front.
        self.scroll &= page.row.feature != self.feature;
        if let Some(example) = asked.address {
            let place =
                Place::Example { run: self.run.clone(), feature: page.row.feature, example: example as u32 };
            scene.act(Action::Copy(place.to_string()));
        }
        if asked.hovered != self.hovered {
            self.hovered = asked.hovered;
            ui.ctx().request_repaint();
        }
        if let Some(text) = asked.copy {
            scene.act(Action::Copy(text));
        }
        if let Some(text) = asked.prompt {
            scene.act(Action::Prompt { run: self.run.clone(), feature: Some(self.feature), text });
        }
        if let (Some((document, token)), Some(dataset)) = (asked.read, dataset) {
            scene.go(Place::Token { dataset, document, token });
        }
    }

    fn body(&mut self, ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        if ui.available_width() < TWO_COLUMNS {
            ScrollArea::vertical().id_salt("page").auto_shrink(false).show(ui, |ui| {
                self.facts(ui, page, vocabulary, scene);
                ui.add_space(space::XL);
                examples::controls(ui, page, &mut self.options);
                if self.options.is_every() {
                    // A list in a list has a height of its own.
                    ui.set_max_height(LISTED);
                    self.every(ui, page, vocabulary, scene);
                } else {
                    self.examples(ui, page, vocabulary, scene);
                }
            });
            return;
        }
        let rect = ui.available_rect_before_wrap();
        let (mut left, mut right) = (rect, rect);
        left.set_width(if rect.width() >= WIDE { FACTS.1 } else { FACTS.0 });
        right.min.x = left.right() + space::XL;
        let column =
            |rect| egui::UiBuilder::new().max_rect(rect).layout(egui::Layout::top_down(egui::Align::Min));
        ui.scope_builder(column(left), |ui| {
            ScrollArea::vertical().id_salt("facts").auto_shrink(false).show(ui, |ui| {
                // Room for the scroll bar, so that it does not cover numbers.
                ui.set_max_width(ui.available_width() - space::M);
                self.facts(ui, page, vocabulary, scene);
            });
        });
        ui.scope_builder(column(right), |ui| {
            examples::controls(ui, page, &mut self.options);
            if self.options.is_every() {
                return self.every(ui, page, vocabulary, scene);
            }
            let salt = ("examples", page.row.feature);
            ScrollArea::vertical().id_salt(salt).auto_shrink(false).show(ui, |ui| {
                ui.set_max_width(ui.available_width() - space::M);
                self.examples(ui, page, vocabulary, scene);
            });
        });
        ui.advance_cursor_after_rect(rect);
    }

    /// Keeps typed words when their time has come.
    fn keep(&mut self, scene: &mut Scene<'_>) {
        for edit in self.draft.take(self.feature, scene.now) {
            scene.note(&self.run, edit);
        }
    }
}

impl View for FeatureView {
    fn place(&self) -> Place {
        let (run, feature) = (self.run.clone(), self.feature);
        match self.example {
            Some(example) => Place::Example { run, feature, example },
            None => Place::Feature { run, feature },
        }
    }

    /// Two runs have features of the same number: the tab says which it is, by name if it has one, and whose.
    fn title(&self, scene: &Scene<'_>) -> String {
        let store = scene.stores.run(&self.run);
        let name = name_of(store, self.feature).map(|name| rule::short(&name, TITLE_NAME));
        let run = rule::middle(&scene.folder.name_of(&self.run), TITLE_RUN);
        match name {
            Some(name) => format!("{} {name} · {run}", self.feature),
            None => format!("Feature {} · {run}", self.feature),
        }
    }

    fn turn_to(&mut self, place: &Place) {
        (self.feature, self.example) = match place {
            Place::Feature { feature, .. } => (*feature, None),
            Place::Example { feature, example, .. } => (*feature, Some(*example)),
            _ => return,
        };
        self.scroll = self.example.is_some();
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        // For the order of the table, the number of indexed tokens and the notes.
        scene.load_features(&self.run);
        let store = scene.stores.run(&self.run);
        if store.notes.untouched() {
            scene.load(Need::Notes(self.run.clone()));
        }
        let renewed = self.index.is_some() && self.index != store.index_written;
        self.index = store.index_written;
        if renewed || self.asked != Some(self.feature) {
            self.asked = Some(self.feature);
            let (pages, run, feature) = (store.pages.clone(), self.run.clone(), self.feature);
            self.page.ask(workers, Lane::Pages, move || pages.read(&run, feature));
        }
        self.page.poll(workers);
        self.ask_every(scene, workers);
        // Only the features of a dataset that has experts, or that is in the folder at all, can have any.
        if scene.folder.data_of(&self.run).is_some()
            && let Some(feature) = self.page.value().map(|page| page.row.feature)
        {
            let run = self.run.clone();
            self.experts.want(workers, Lane::Pages, &feature, move || features::of_feature(&run, feature));
            let run = self.run.clone();
            self.calls.want(workers, Lane::Pages, &feature, move || routers::of_feature(&run, feature));
        }
        if let Some(info) = scene.folder.run(&self.run).and_then(|run| run.info.as_ref().ok())
            && let Some(feature) = self.page.value().map(|page| page.row.feature)
        {
            self.measured.logic(info, &self.run, feature, workers);
        }
        self.elsewhere.logic(scene, &self.run, self.feature, workers);
        self.keep(scene);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        if let Some(problem) = self.page.problem().cloned() {
            if scene.no_such_feature(ui, &self.run, self.feature) {
                return;
            }
            let remedy = scene.index_of(&self.run);
            if scene.problem(ui, &format!("Feature {} cannot be shown", self.feature), &problem, [remedy]) {
                self.asked = None;
            }
            return;
        }
        let Some(page) = self.page.value().cloned() else {
            return notice::loading(ui, &format!("Reading feature {}…", self.feature));
        };
        self.rect = Some(ui.max_rect());
        if self.draft.is_new() {
            ui.ctx().request_repaint_after_secs(0.5);
        }
        let store = scene.stores.run(&self.run);
        let waiting = store.vocabulary.loading() && store.vocabulary.value().is_none();
        if waiting {
            return notice::loading(ui, "Reading the vocabulary…");
        }
        // Without a vocabulary tokens show as numbers, and the page says why.
        let problems: Vec<_> =
            [store.vocabulary.problem(), store.notes.problem(), store.explanations.problem()]
                .into_iter()
                .flatten()
                .cloned()
                .collect();
        let no_vocabulary = store.vocabulary.problem().is_some();
        let vocabulary = store.vocabulary.value().cloned().unwrap_or_default();
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            self.head(ui, &page, &vocabulary, scene);
            problems.iter().for_each(|problem| notice::problem_line(ui, problem));
            if page.gap.is_some() || !page.heads_gaps.is_empty() || no_vocabulary {
                scene.offer(ui, "Index again", Job::index(&self.run));
            }
            ui.add_space(space::M);
            self.body(ui, &page, &vocabulary, scene);
        });
    }

    fn feature(&self) -> Option<(&Path, u32)> {
        Some((&self.run, self.feature))
    }
}
