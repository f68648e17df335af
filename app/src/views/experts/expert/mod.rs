//! One expert's page: what it is used for at the left, its tokens in their context at the right.

mod about;
mod senders;
mod tokens;

use std::path::{Path, PathBuf};

use egui::{Button, Frame, Link, Margin, RichText, Role, ScrollArea, Ui, WidgetInfo};
use storage::experts::WrittenRow;

use super::{Interaction, no_usage};
use crate::action::{Action, Command};
use crate::address::Place;
use crate::data::experts::features::{self, ExpertFeatures};
use crate::data::experts::routers::{self, Senders};
use crate::data::experts::tables::{self, CoActivations, Specialisations, Transitions};
use crate::data::{ExpertUsage, LayerUsage, VocabularyRow};
use crate::load::{KeyedRequest, Lane, Workers};
use crate::stores::Need;
use crate::theme::{palette, space, tokens::size};
use crate::views::{Scene, View};
use crate::widgets::{format, notice};

/// Below this width the two columns go one under the other.
const TWO_COLUMNS: f32 = 860.0;
/// Width from which on title and buttons are in one line.
const ONE_LINE: f32 = 460.0;
/// Width of the left column.
const ABOUT: f32 = 400.0;
/// Features that are kept of a run.
const FEATURES: usize = 200;

/// The page of one expert; it turns to others of the same dataset.
#[derive(Debug)]
pub struct ExpertView {
    dataset: PathBuf,
    layer: u16,
    expert: u32,
    parts: Parts,
    tokens: tokens::Tokens,
    by_lift: bool,
    run: Option<PathBuf>,
}

/// What is loaded for the page.
#[derive(Debug, Default)]
struct Parts {
    special: KeyedRequest<(), Specialisations>,
    together: KeyedRequest<u16, CoActivations>,
    words: KeyedRequest<u16, Vec<VocabularyRow>>,
    onward: KeyedRequest<u16, Option<Transitions>>,
    /// From the layer before.
    backward: KeyedRequest<u16, Option<Transitions>>,
    features: KeyedRequest<(PathBuf, u16, u32), Option<ExpertFeatures>>,
    senders: KeyedRequest<(PathBuf, u16, u32), Option<Senders>>,
    written: KeyedRequest<(u16, u32), Vec<WrittenRow>>,
}

impl ExpertView {
    /// The page of `expert` of `layer` of `dataset`.
    pub fn new(dataset: &Path, layer: u16, expert: u32) -> Self {
        Self {
            dataset: dataset.to_owned(),
            layer,
            expert,
            parts: Parts::default(),
            tokens: tokens::Tokens::default(),
            by_lift: true,
            run: None,
        }
    }

    /// Runs of the same harvest; those that have a table of features and experts come first.
    fn runs(&self, scene: &Scene<'_>) -> Vec<(PathBuf, String)> {
        let mut runs = scene.folder.runs_beside(&self.dataset);
        runs.sort_by_key(|run| !run.info.as_ref().is_ok_and(|info| info.joined));
        runs.into_iter().map(|r| (r.path.clone(), r.name.clone())).collect()
    }

    fn ask(&mut self, scene: &mut Scene<'_>, usage: &ExpertUsage, workers: &Workers) {
        let (layer, expert) = (self.layer, self.expert);
        let dir = || self.dataset.clone();
        let lane = Lane::Tables;
        let (a, b, c, d, e) = (dir(), dir(), dir(), dir(), dir());
        self.parts.written.want(workers, lane, &(layer, expert), move || routers::written(&e, layer, expert));
        self.parts.special.want(workers, lane, &(), move || tables::special(&a));
        self.parts.together.want(workers, lane, &layer, move || tables::together(&b, layer));
        self.parts.words.want(workers, lane, &layer, move || tables::vocabulary(&c, layer));
        self.parts.onward.want(workers, lane, &layer, move || tables::transitions(&d, layer));
        let before = usage.layers.iter().map(|l| l.balance.layer).filter(|l| *l < layer).max();
        if let Some(before) = before {
            let dir = self.dataset.clone();
            self.parts.backward.want(workers, lane, &before, move || tables::transitions(&dir, before));
        }
        let runs = self.runs(scene);
        let chosen = self.run.clone().filter(|run| runs.iter().any(|r| r.0 == *run));
        if let Some(run) = chosen.or_else(|| runs.first().map(|r| r.0.clone())) {
            let key = (run.clone(), layer, expert);
            self.run = Some(run.clone());
            scene.load_features(&run);
            let of = run.clone();
            self.parts.senders.want(workers, lane, &key, move || routers::of_expert(&of, layer, expert));
            self.parts
                .features
                .want(workers, Lane::Scans, &key, move || features::of_expert(&run, layer, expert, FEATURES));
        }
    }

    fn head(&self, ui: &mut Ui, layer: &LayerUsage, scene: &mut Scene<'_>) {
        let p = palette(ui);
        let narrow = ui.available_width() < ONE_LINE;
        let mut buttons = |ui: &mut Ui| {
            for (text, command) in [
                ("Copy address", Command::CopyAddress),
                ("Next", Command::NextFeature),
                ("Previous", Command::PreviousFeature),
            ] {
                let key = command.key_text(ui.ctx());
                if ui.add(Button::new(text)).on_hover_text(format!("{text} ({key})")).clicked() {
                    scene.act(Action::Do(command));
                }
            }
        };
        ui.horizontal(|ui| {
            let title = format!("Expert {} of layer {}", self.expert, self.layer);
            ui.label(RichText::new(title).size(size::TITLE).color(p.strong));
            let load = layer.load(0, self.expert as usize);
            if load.is_some_and(|load| load.share < crate::data::experts::dead_share(layer.experts())) {
                ui.label(RichText::new("dead").color(p.error)).on_hover_text(super::layer::DEAD);
            }
            if !narrow {
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), &mut buttons);
            }
        });
        if narrow {
            ui.horizontal(|ui| {
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), &mut buttons);
            });
        }
        ui.horizontal(|ui| {
            let name = scene.folder.name_of(&self.dataset).into_owned();
            let link = ui.add(Link::new(RichText::new(format!("all experts of {name}")).size(size::SMALL)));
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, "All experts"));
            if link.clicked() {
                scene.go(Place::Experts { dataset: self.dataset.clone() });
            }
        });
    }

    fn body(&mut self, ui: &mut Ui, usage: &ExpertUsage, scene: &mut Scene<'_>) {
        let runs = self.runs(scene);
        let run = self.run.clone().filter(|run| runs.iter().any(|r| r.0 == *run));
        let mut asked = Interaction::default();
        let mut about = |view: &mut Self, ui: &mut Ui, scene: &mut Scene<'_>| {
            let page = about::About {
                usage,
                layer: view.layer,
                expert: view.expert,
                parts: &view.parts,
                runs: &runs,
            };
            page.show(ui, &mut view.by_lift, &mut view.run, &view.dataset, scene, &mut asked);
        };
        if ui.available_width() < TWO_COLUMNS {
            ScrollArea::vertical().id_salt("page").auto_shrink(false).show(ui, |ui| {
                about(self, ui, scene);
                ui.add_space(space::XL);
                self.tokens.controls(ui, usage);
                self.tokens.list(ui, &self.dataset, run.as_deref(), scene);
            });
        } else {
            let rect = ui.available_rect_before_wrap();
            let (mut left, mut right) = (rect, rect);
            left.set_width(ABOUT);
            right.min.x = left.right() + space::XL;
            let column =
                |rect| egui::UiBuilder::new().max_rect(rect).layout(egui::Layout::top_down(egui::Align::Min));
            ui.scope_builder(column(left), |ui| {
                let salt = ("about", self.layer, self.expert);
                ScrollArea::vertical().id_salt(salt).auto_shrink(false).show(ui, |ui| {
                    ui.set_max_width(ABOUT - space::M);
                    about(self, ui, scene);
                    ui.add_space(space::XL);
                });
            });
            ui.scope_builder(column(right), |ui| {
                self.tokens.controls(ui, usage);
                let salt = ("tokens", self.layer, self.expert);
                ScrollArea::vertical().id_salt(salt).auto_shrink(false).show(ui, |ui| {
                    self.tokens.list(ui, &self.dataset, run.as_deref(), scene);
                });
            });
            ui.advance_cursor_after_rect(rect);
        }
        asked.apply(&self.dataset, scene);
    }
}

impl View for ExpertView {
    fn place(&self) -> Place {
        Place::Expert { dataset: self.dataset.clone(), layer: self.layer, expert: self.expert }
    }

    fn title(&self, _scene: &Scene<'_>) -> String {
        format!("Expert {}:{}", self.layer, self.expert)
    }

    fn turn_to(&mut self, place: &Place) {
        if let Place::Expert { layer, expert, .. } = place {
            (self.layer, self.expert) = (*layer, *expert);
        }
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        scene.load_experts(&self.dataset);
        scene.load_documents(&self.dataset);
        let Some(usage) = scene.stores.dataset(&self.dataset).experts.value().cloned() else { return };
        let there = usage.layer(self.layer).is_some_and(|l| (self.expert as usize) < l.experts());
        if there {
            self.ask(scene, &usage, workers);
            self.tokens.logic(scene, &self.dataset, (self.layer, self.expert), &usage, workers);
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let store = scene.stores.dataset(&self.dataset);
        if let Some(problem) = store.experts.problem().cloned() {
            if no_usage(ui, &self.dataset, &problem, scene) {
                scene.act(Action::Retry(Need::Experts(self.dataset.clone())));
            }
            return;
        }
        let Some(usage) = store.experts.value().cloned() else {
            return notice::loading(ui, "Reading the experts' load…");
        };
        let Some(layer) = usage.layer(self.layer) else {
            let there: Vec<String> = usage.layers.iter().map(|l| l.balance.layer.to_string()).collect();
            let how = format!("The layers with experts are {}.", there.join(", "));
            return notice::empty(ui, &format!("Layer {} has no experts", self.layer), &how);
        };
        if self.expert as usize >= layer.experts() {
            let how = format!(
                "Its experts are 0 to {}.",
                format::grouped(layer.experts().saturating_sub(1) as u64)
            );
            return notice::empty(ui, &format!("Layer {} has no expert {}", self.layer, self.expert), &how);
        }
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            self.head(ui, layer, scene);
            ui.add_space(space::M);
            self.body(ui, &usage, scene);
        });
    }
}
