//! One feature's page: what it is at the left, the text that makes it fire at the right.

mod examples;
mod explanations;
mod facts;
mod heads;
mod history;
mod note;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, Frame, Margin, RichText, ScrollArea, Ui};

use super::experts::of_feature;
use super::{Scene, View};
use crate::action::{Action, Command, Save};
use crate::address::Place;
use crate::data::experts::features;
use crate::data::notes::{Change, Edit};
use crate::data::{FeatureExpertRow, FeaturePage, Vocabulary, export};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::stores::Need;
use crate::theme::{palette, space, tokens::size};
use crate::views::features::name_of;
use crate::widgets::{format, notice, star};

/// Below this width the two columns go one under the other.
const TWO_COLUMNS: f32 = 780.0;
/// Width of the left column.
const FACTS: f32 = 340.0;

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
    /// The experts that the feature's tokens go to; `None` inside where features and experts are not joined.
    experts: KeyedRequest<u32, Option<Vec<FeatureExpertRow>>>,
    options: examples::Options,
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
            experts: KeyedRequest::default(),
            options: examples::Options::default(),
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
        ui.horizontal(|ui| {
            let bookmarked = notes.bookmarked(feature);
            if star::show(ui, bookmarked, feature) {
                let edit = Edit { feature, change: Change::Bookmarked(!bookmarked) };
                scene.note(&self.run, edit);
            }
            ui.label(RichText::new(format!("Feature {feature}")).size(size::TITLE).color(p.strong));
            if page.row.count == 0 {
                ui.label(RichText::new("dead").color(p.warning))
                    .on_hover_text("It did not fire on any indexed token");
            }
            if self.page.loading() {
                ui.spinner();
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                self.export(ui, page, vocabulary, scene);
                for (text, command) in [
                    ("Try in prompt", Command::ShowPrompt),
                    ("Copy address", Command::CopyAddress),
                    ("Random", Command::RandomFeature),
                    ("Next", Command::NextFeature),
                    ("Previous", Command::PreviousFeature),
                ] {
                    let key = command.shortcut().map(|s| ui.ctx().format_shortcut(&s)).unwrap_or_default();
                    let hover = format!("{} ({key})", command.tooltip());
                    if ui.add(Button::new(text)).on_hover_text(hover).clicked() {
                        scene.act(Action::Do(command));
                    }
                }
            });
        });
        let edit = self.draft.label(ui, &notes, page.row.label.as_deref(), scene.now);
        edit.into_iter().for_each(|edit| scene.note(&self.run, edit));
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
        let run = scene.folder.name_of(&self.run).into_owned();
        let said = store.explanations.value().cloned();
        let (draft, all, mut edit) = (&mut self.draft, &mut self.all_explanations, None);
        let name = |feature: u32| name_of(store, feature);
        let shown = facts::Facts {
            page,
            vocabulary,
            indexed: store.columns.value().map_or(0, |c| c.tokens),
            marked: self.hovered,
            name: &name,
        };
        let follow = facts::show(ui, &shown, &mut self.logarithmic, |ui| {
            edit = draft.text(ui, &notes, now);
            if let Some(explanations) = &said {
                let (feature, alive) = (page.row.feature, page.row.count > 0);
                let shown = explanations::Section { explanations, feature, run: &run, alive };
                explanations::show(ui, &shown, all);
            }
        });
        edit.into_iter().for_each(|edit| scene.note(&self.run, edit));
        of_feature::show(ui, &self.run, page.row.feature, &self.experts, scene);
        if let Some(feature) = follow {
            self.go(scene, feature);
        }
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
                self.examples(ui, page, vocabulary, scene);
            });
            return;
        }
        let rect = ui.available_rect_before_wrap();
        let (mut left, mut right) = (rect, rect);
        left.set_width(FACTS);
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

    fn title(&self, _scene: &Scene<'_>) -> String {
        format!("Feature {}", format::grouped(u64::from(self.feature)))
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
        if self.asked != Some(self.feature) {
            self.asked = Some(self.feature);
            let (pages, run, feature) = (store.pages.clone(), self.run.clone(), self.feature);
            self.page.ask(workers, Lane::Pages, move || pages.read(&run, feature));
        }
        self.page.poll(workers);
        // Only the features of a dataset that has experts, or that is in the folder at all, can have any.
        if scene.folder.data_of(&self.run).is_some()
            && let Some(feature) = self.page.value().map(|page| page.row.feature)
        {
            let run = self.run.clone();
            self.experts.want(workers, Lane::Pages, &feature, move || features::of_feature(&run, feature));
        }
        self.keep(scene);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        if let Some(problem) = self.page.problem() {
            if notice::problem(ui, &format!("Feature {} cannot be shown", self.feature), problem) {
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
        let vocabulary = store.vocabulary.value().cloned().unwrap_or_default();
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            self.head(ui, &page, &vocabulary, scene);
            problems.iter().for_each(|problem| notice::problem_line(ui, problem));
            ui.add_space(space::M);
            self.body(ui, &page, &vocabulary, scene);
        });
    }

    fn feature(&self) -> Option<(&Path, u32)> {
        Some((&self.run, self.feature))
    }
}
