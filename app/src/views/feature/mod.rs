//! One feature's page: what it is at the left, the text that makes it fire at the right.

mod examples;
mod facts;

use std::path::{Path, PathBuf};

use egui::{Button, Frame, Margin, RichText, ScrollArea, Ui};

use super::{Action, Scene, View};
use crate::address::Place;
use crate::data::{FeaturePage, Vocabulary};
use crate::load::{Lane, Requested};
use crate::shell::Command;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{format, notice};

/// Below this width the two columns go one under the other.
const TWO_COLUMNS: f32 = 780.0;
/// Width of the left column.
const FACTS: f32 = 340.0;

/// The page of one feature; it turns to others of the same run.
#[derive(Debug)]
pub struct FeatureView {
    run: PathBuf,
    feature: u32,
    page: Requested<FeaturePage>,
    asked: Option<u32>,
    options: examples::Options,
    logarithmic: bool,
}

impl FeatureView {
    /// The page of `feature` of `run`.
    pub fn new(run: &Path, feature: u32) -> Self {
        Self {
            run: run.to_owned(),
            feature,
            page: Requested::new(),
            asked: None,
            options: examples::Options::default(),
            logarithmic: true,
        }
    }

    fn go(&self, scene: &mut Scene<'_>, feature: u32) {
        scene.go(Place::Feature { run: self.run.clone(), feature });
    }

    fn head(&self, ui: &mut Ui, page: &FeaturePage, scene: &mut Scene<'_>) {
        let p = palette(ui);
        ui.horizontal(|ui| {
            ui.label(
                RichText::new(format!("Feature {}", page.row.feature)).size(size::TITLE).color(p.strong),
            );
            if page.row.count == 0 {
                ui.label(RichText::new("dead").color(p.warning))
                    .on_hover_text("It fired on none of the indexed tokens");
            }
            if self.page.loading() {
                ui.spinner();
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                for (text, command) in [
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
        let label = page.row.label.as_deref().unwrap_or("no label yet");
        let colour = if page.row.label.is_some() { p.text } else { p.weak };
        ui.add(egui::Label::new(RichText::new(label).color(colour)).truncate());
    }

    fn body(&mut self, ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        let tokens = scene.stores.run(&self.run).columns.value().map_or(0, |c| c.tokens);
        let mut follow = None;
        let mut facts = |ui: &mut Ui, logarithmic: &mut bool| {
            follow = facts::show(ui, page, vocabulary, tokens, logarithmic).or(follow);
            super::experts::of_feature::show(ui, &self.run, page.row.feature, scene);
        };
        if ui.available_width() < TWO_COLUMNS {
            ScrollArea::vertical().id_salt("page").auto_shrink(false).show(ui, |ui| {
                facts(ui, &mut self.logarithmic);
                ui.add_space(space::XL);
                examples::show(ui, page, vocabulary, &mut self.options);
            });
        } else {
            let rect = ui.available_rect_before_wrap();
            let (mut left, mut right) = (rect, rect);
            left.set_width(FACTS);
            right.min.x = left.right() + space::XL;
            let column =
                |rect| egui::UiBuilder::new().max_rect(rect).layout(egui::Layout::top_down(egui::Align::Min));
            ui.scope_builder(column(left), |ui| {
                ScrollArea::vertical()
                    .id_salt("facts")
                    .auto_shrink(false)
                    .show(ui, |ui| facts(ui, &mut self.logarithmic));
            });
            ui.scope_builder(column(right), |ui| {
                examples::controls(ui, page, &mut self.options);
                let salt = ("examples", page.row.feature);
                ScrollArea::vertical().id_salt(salt).auto_shrink(false).show(ui, |ui| {
                    examples::list(ui, page, vocabulary, &self.options);
                });
            });
            ui.advance_cursor_after_rect(rect);
        }
        if let Some(feature) = follow {
            self.go(scene, feature);
        }
    }
}

impl View for FeatureView {
    fn place(&self) -> Place {
        Place::Feature { run: self.run.clone(), feature: self.feature }
    }

    fn title(&self, _scene: &Scene<'_>) -> String {
        format!("Feature {}", format::grouped(u64::from(self.feature)))
    }

    fn turn_to(&mut self, place: &Place) {
        if let Place::Feature { feature, .. } = place {
            self.feature = *feature;
        }
    }

    fn logic(&mut self, scene: &mut Scene<'_>) {
        let workers = scene.workers;
        let store = scene.stores.run(&self.run);
        if store.columns.untouched() {
            // The order of the table and the number of indexed tokens.
            store.ask_features(workers);
        }
        if self.asked != Some(self.feature) {
            self.asked = Some(self.feature);
            let (pages, run, feature) = (store.pages.clone(), self.run.clone(), self.feature);
            self.page.ask(workers, Lane::Pages, move || pages.read(&run, feature));
        }
        self.page.poll(workers);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        if let Some(problem) = self.page.problem() {
            if notice::problem(ui, &format!("Feature {} can not be shown", self.feature), problem) {
                self.asked = None;
            }
            return;
        }
        let Some(page) = self.page.value().cloned() else {
            return notice::loading(ui, &format!("Reading feature {}…", self.feature));
        };
        let store = scene.stores.run(&self.run);
        let waiting = store.vocabulary.loading() && store.vocabulary.value().is_none();
        if waiting {
            return notice::loading(ui, "Reading the vocabulary…");
        }
        // Without a vocabulary tokens show as numbers, and the page says why.
        let problem = store.vocabulary.problem().cloned();
        let vocabulary = store.vocabulary.value().cloned().unwrap_or_default();
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            self.head(ui, &page, scene);
            if let Some(problem) = problem {
                notice::problem_line(ui, &problem);
            }
            ui.add_space(space::M);
            self.body(ui, &page, &vocabulary, scene);
        });
    }
}
