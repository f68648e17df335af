//! The experts of a mixture-of-experts model on one dataset: load, co-activation, transitions, what they are
//! specialised in, and a comparison with another dataset. An expert's own page is in `expert`.

mod compare;
mod domains;
mod expert;
mod heatmap;
mod layer;
pub mod of_feature;
mod together;
mod transitions;
mod words;

use std::path::{Path, PathBuf};

use egui::{Align, Button, ComboBox, Frame, Key, Layout, Margin, RichText, Role, ScrollArea, Ui, WidgetInfo};

use super::{Scene, View};
use crate::action::Action;
use crate::address::Place;
use crate::data::experts::stretches::Stretches;
use crate::data::experts::tables::{self, CoActivations, Specialisations, Transitions};
use crate::data::{AgainstRow, ExpertUsage, VocabularyRow};
use crate::load::{KeyedRequest, Lane, Problem, Workers};
use crate::stores::Need;
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::widgets::{facts, notice, sheet};

pub use expert::ExpertView;

/// What the view is turned to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Page {
    #[default]
    Load,
    Together,
    Transitions,
    Domains,
    Words,
    Compare,
}

const PAGES: [(Page, &str, &str); 6] = [
    (Page::Load, "Load", "How the slots are shared among the experts"),
    (Page::Together, "Co-activation", "Experts that are chosen by the same tokens"),
    (Page::Transitions, "Transitions", "From the experts of a layer to those of the next"),
    (Page::Domains, "Domains", "Kinds of text that experts are specialised in"),
    (Page::Words, "Vocabulary", "Tokens that experts are chosen for"),
    (Page::Compare, "Compare", "With a different model or checkpoint"),
];

/// Width from which on the title and the choices are in one line.
const ONE_LINE: f32 = 480.0;

/// The experts of one dataset.
#[derive(Debug)]
pub struct ExpertsView {
    dataset: PathBuf,
    page: Page,
    /// 0 = all text, then the domains.
    domain: usize,
    /// Index into the layers with experts.
    layer: usize,
    together: KeyedRequest<u16, CoActivations>,
    transitions: KeyedRequest<u16, Option<Transitions>>,
    special: KeyedRequest<(), Specialisations>,
    words: KeyedRequest<u16, Vec<VocabularyRow>>,
    against: KeyedRequest<(), Vec<AgainstRow>>,
    show_lift: bool,
    by_lift: bool,
    specialised: bool,
    other: Option<PathBuf>,
    by_rank: bool,
}

impl ExpertsView {
    /// The experts of `dataset`.
    pub fn new(dataset: &Path) -> Self {
        Self {
            dataset: dataset.to_owned(),
            page: Page::default(),
            domain: 0,
            layer: 0,
            together: KeyedRequest::default(),
            transitions: KeyedRequest::default(),
            special: KeyedRequest::default(),
            words: KeyedRequest::default(),
            against: KeyedRequest::default(),
            show_lift: true,
            by_lift: true,
            specialised: false,
            other: None,
            by_rank: false,
        }
    }

    fn number(&self, usage: &ExpertUsage) -> u16 {
        usage.layers.get(self.layer).map_or(0, |layer| layer.balance.layer)
    }

    /// Asks for what the page in front shows.
    fn ask(&mut self, scene: &mut Scene<'_>, usage: &ExpertUsage, workers: &Workers) {
        let (lane, layer, dir) = (Lane::Tables, self.number(usage), self.dataset.clone());
        match self.page {
            Page::Load => {}
            Page::Together => {
                self.together.want(workers, lane, &layer, move || tables::together(&dir, layer));
            }
            Page::Transitions => {
                self.transitions.want(workers, lane, &layer, move || tables::transitions(&dir, layer));
            }
            Page::Domains => self.special.want(workers, lane, &(), move || tables::special(&dir)),
            Page::Words => {
                let also = self.dataset.clone();
                self.special.want(workers, lane, &(), move || tables::special(&also));
                self.words.want(workers, lane, &layer, move || tables::vocabulary(&dir, layer));
                scene.load_documents(&self.dataset);
            }
            Page::Compare => {
                self.against.want(workers, lane, &(), move || tables::against(&dir));
                if let Some(other) = &self.other {
                    scene.load_experts(other);
                }
            }
        }
    }

    fn head(&mut self, ui: &mut Ui, usage: &ExpertUsage) {
        let p = palette(ui);
        let narrow = ui.available_width() < ONE_LINE;
        ui.horizontal(|ui| {
            ui.label(RichText::new("Experts").size(size::TITLE).color(p.strong));
            if !narrow {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| self.choices(ui, usage));
            }
        });
        if narrow {
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| self.choices(ui, usage));
            });
        }
        ui.add_space(space::XS);
        ui.horizontal_wrapped(|ui| {
            for (page, name, hover) in PAGES {
                let tab = ui.add(Button::selectable(self.page == page, name));
                tab.widget_info(|| WidgetInfo::selected(Role::Tab, true, self.page == page, name));
                if tab.on_hover_text(hover).clicked() {
                    self.page = page;
                }
            }
        });
    }

    /// Layer, and kind of text where it matters.
    fn choices(&mut self, ui: &mut Ui, usage: &ExpertUsage) {
        let last = usage.layers.len().saturating_sub(1);
        if ui.add_enabled(self.layer < last, Button::new("▸")).on_hover_text("Next layer (])").clicked() {
            self.layer += 1;
        }
        let combo = ComboBox::from_id_salt("layer").width(88.0);
        let combo = combo.selected_text(format!("layer {}", self.number(usage))).show_ui(ui, |ui| {
            for (i, layer) in usage.layers.iter().enumerate() {
                ui.selectable_value(&mut self.layer, i, format!("layer {}", layer.balance.layer));
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Layer"));
        if ui.add_enabled(self.layer > 0, Button::new("◂")).on_hover_text("Previous layer ([)").clicked() {
            self.layer -= 1;
        }
        if self.page == Page::Load && !usage.domains.is_empty() {
            self.domains(ui, usage);
        }
    }

    fn domains(&mut self, ui: &mut Ui, usage: &ExpertUsage) {
        let shown = self.domain_name(usage).to_owned();
        let combo = ComboBox::from_id_salt("domain").selected_text(shown).width(140.0);
        let response = combo.show_ui(ui, |ui| {
            ui.selectable_value(&mut self.domain, 0, "All text");
            for (i, name) in usage.domains.iter().enumerate() {
                ui.selectable_value(&mut self.domain, i + 1, name);
            }
        });
        response.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Kind of text"));
    }

    fn domain_name<'a>(&self, usage: &'a ExpertUsage) -> &'a str {
        self.domain.checked_sub(1).and_then(|i| usage.domains.get(i)).map_or("All text", String::as_str)
    }

    fn keyboard(&mut self, ui: &Ui, layers: usize) {
        if ui.memory(|m| m.focused()).is_some() {
            return;
        }
        let pressed = |key| ui.input(|i| i.key_pressed(key) && !i.modifiers.any());
        if pressed(Key::CloseBracket) {
            self.layer = (self.layer + 1).min(layers.saturating_sub(1));
        }
        if pressed(Key::OpenBracket) {
            self.layer = self.layer.saturating_sub(1);
        }
    }

    fn body(&mut self, ui: &mut Ui, usage: &ExpertUsage, scene: &mut Scene<'_>) {
        let layer = self.number(usage);
        let mut asked = Interaction::default();
        match self.page {
            Page::Load => self.load(ui, usage, &mut asked),
            Page::Together => {
                if let Some(found) = ready(ui, &mut self.together, &layer, "Reading the pairs…") {
                    together::show(ui, &found, usage.layer(layer), &mut self.show_lift, &mut asked);
                }
            }
            Page::Transitions => {
                if let Some(found) = ready(ui, &mut self.transitions, &layer, "Reading the transitions…") {
                    match found.as_ref() {
                        Some(found) => transitions::show(ui, found, &mut self.show_lift, &mut asked),
                        None if self.layer + 1 < usage.layers.len() => notice::empty(
                            ui,
                            &format!("Transitions from layer {layer} were not counted"),
                            "They would need too much memory: `sae experts` counts them between layers of fewer experts.",
                        ),
                        None => notice::empty(
                            ui,
                            &format!("Nothing follows layer {layer}"),
                            "It is the last layer with experts; choose an earlier one.",
                        ),
                    }
                }
            }
            Page::Domains => {
                if let Some(found) = ready(ui, &mut self.special, &(), "Reading the domains…") {
                    domains::show(ui, &found, layer, &mut self.specialised, &mut asked);
                }
            }
            Page::Words => {
                let words =
                    scene.stores.dataset(&self.dataset).vocabulary.value().cloned().unwrap_or_default();
                let information = self.special.get(&());
                if let Some(found) = ready(ui, &mut self.words, &layer, "Reading the tokens of experts…") {
                    let of = information.as_ref().and_then(|s| s.layers.iter().find(|l| l.layer == layer));
                    words::show(ui, &found, of, &words, &mut self.by_lift, &mut asked);
                }
            }
            Page::Compare => self.compare(ui, usage, scene, &mut asked),
        }
        asked.apply(&self.dataset, scene);
    }

    fn load(&mut self, ui: &mut Ui, usage: &ExpertUsage, asked: &mut Interaction) {
        let name = self.domain_name(usage).to_owned();
        heatmap::show(ui, usage, self.domain, &mut self.layer, asked);
        ui.add_space(space::L);
        if let Some(layer) = usage.layers.get(self.layer) {
            layer::show(ui, layer, self.domain, &name, asked);
        }
        ui.add_space(space::L);
        layer::table(ui, usage, &mut self.layer, asked);
    }

    fn compare(&mut self, ui: &mut Ui, usage: &ExpertUsage, scene: &mut Scene<'_>, asked: &mut Interaction) {
        let others: Vec<(PathBuf, String)> = scene
            .folder
            .datasets
            .iter()
            .filter(|d| d.path != self.dataset && d.info.as_ref().is_ok_and(|i| i.has_experts))
            .map(|d| (d.path.clone(), d.name.clone()))
            .collect();
        let against = self.against.get(&());
        let mut choice =
            compare::Choice { others: &others, other: &mut self.other, by_rank: &mut self.by_rank };
        compare::show(
            ui,
            usage,
            self.layer,
            &mut choice,
            against.as_deref().map(Vec::as_slice),
            scene,
            asked,
        );
    }
}

/// What a page wants done.
#[derive(Debug, Default)]
struct Interaction {
    /// Layer and expert to open.
    expert: Option<(u16, u32)>,
    /// Text for the clipboard.
    copied: Option<String>,
}

impl Interaction {
    /// Takes what was asked of a table; `open` says which expert a link means.
    fn of_sheet(&mut self, asked: sheet::Interaction, open: impl FnOnce(usize, usize) -> Option<(u16, u32)>) {
        self.copied = asked.copied.or(self.copied.take());
        self.expert = asked.clicked.and_then(|(row, column)| open(row, column)).or(self.expert);
    }

    fn apply(self, dataset: &Path, scene: &mut Scene<'_>) {
        if let Some((layer, expert)) = self.expert {
            scene.go(Place::Expert { dataset: dataset.to_owned(), layer, expert });
        }
        if let Some(text) = self.copied {
            scene.act(Action::Copy(text));
        }
    }
}

/// A part that is here; else why not, or that it is on its way.
fn ready<K, T>(
    ui: &mut Ui,
    part: &mut KeyedRequest<K, T>,
    key: &K,
    loading: &str,
) -> Option<std::sync::Arc<T>>
where
    K: Clone + PartialEq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    if let Some(problem) = part.problem(key) {
        if notice::problem(ui, "This cannot be shown", &problem.clone()) {
            part.again();
        }
        return None;
    }
    let found = part.get(key);
    if found.is_none() {
        notice::loading(ui, loading);
    }
    found
}

/// Why there is no usage to show: not counted yet, damaged, or nothing to count; with the command that counts. True when the person
/// wants to try again.
fn no_usage(ui: &mut Ui, dataset: &Path, problem: &Problem, scene: &mut Scene<'_>) -> bool {
    let info = scene.folder.dataset(dataset).and_then(|data| data.info.as_ref().ok());
    let countable = info.is_some_and(|info| info.has_experts);
    let remedy = countable.then(|| ("Count experts", Job::count_experts(dataset)));
    scene.problem(ui, "There is no usage of experts to show", problem, remedy)
}

/// `a` against `b` in doublings, as a part of two doublings: −1..=1. Nothing at all is −1.
fn doublings(ratio: f64) -> f32 {
    if ratio > 0.0 { (ratio.log2() / 2.0).clamp(-1.0, 1.0) as f32 } else { -1.0 }
}

/// The scale that belongs to [`doublings`].
fn doublings_legend(ui: &mut Ui, low: &str, high: &str) {
    let p = palette(ui);
    crate::widgets::matrix::legend(ui, low, high, &|t| p.diverging(t * 2.0 - 1.0));
}

impl View for ExpertsView {
    fn place(&self) -> Place {
        Place::Experts { dataset: self.dataset.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Experts · {}", scene.folder.name_of(&self.dataset))
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        scene.load_experts(&self.dataset);
        if let Some(usage) = scene.stores.dataset(&self.dataset).experts.value().cloned() {
            self.domain = self.domain.min(usage.domains.len());
            self.layer = self.layer.min(usage.layers.len().saturating_sub(1));
            self.ask(scene, &usage, workers);
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
        if usage.layers.is_empty() {
            return notice::empty(ui, "No layers", "The table holds no layer with experts.");
        }
        self.keyboard(ui, usage.layers.len());
        let margin = Margin::symmetric(space::L as i8, space::M as i8);
        Frame::new().inner_margin(margin).show(ui, |ui| {
            self.head(ui, &usage);
            ui.add_space(space::S);
            let salt = ("experts", PAGES.iter().position(|p| p.0 == self.page));
            ScrollArea::both().id_salt(salt).auto_shrink(false).show(ui, |ui| {
                ui.add_space(space::XS);
                self.body(ui, &usage, scene);
                ui.add_space(space::XL);
            });
        });
    }
}

/// A choice between two ways to see the same table.
fn either(ui: &mut Ui, first: &mut bool, names: [&str; 2], hovers: [&str; 2]) {
    for (value, (name, hover)) in [true, false].into_iter().zip(names.into_iter().zip(hovers)) {
        let button = ui.add(Button::selectable(*first == value, name));
        let label = format!("Show {name}");
        button.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, *first == value, &label));
        if button.on_hover_text(hover).clicked() {
            *first = value;
        }
    }
}

/// A line that explains what a page shows.
/// Experts of a layer up to which their map leaves room for a table next to it, and the width that both need.
const FEW: usize = 24;
const SIDE_BY_SIDE: f32 = 1_240.0;
/// Width of the map then: its names, and an expert.
const MAP: (f32, f32) = (72.0, 26.0);

/// A map of a layer's experts and its table: next to each other where both have room, else one below the other.
fn map_and_table(
    ui: &mut Ui,
    experts: usize,
    asked: &mut Interaction,
    map: impl FnOnce(&mut Ui, &mut Interaction),
    table: impl FnOnce(&mut Ui, &mut Interaction),
) {
    if experts > FEW || ui.available_width() < SIDE_BY_SIDE {
        map(ui, asked);
        ui.add_space(space::L);
        return table(ui, asked);
    }
    ui.horizontal_top(|ui| {
        ui.vertical(|ui| {
            ui.set_width(MAP.0 + MAP.1 * experts as f32);
            map(ui, asked);
        });
        ui.add_space(space::XL);
        ui.vertical(|ui| table(ui, asked));
    });
}

/// Says that neighbours share a column of a map, if they do: that of the one that `shown` names.
fn explain_stretches(ui: &mut Ui, stretches: &Stretches, shown: &str) {
    if !stretches.are_single() {
        explain(
            ui,
            &format!("A column is a stretch of {} neighbours: {shown} of them.", stretches.range(0).len()),
        );
    }
}

fn explain(ui: &mut Ui, text: &str) {
    facts::caption(ui, text);
    ui.add_space(space::S);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_neutral_and_ends_are_clamped() {
        assert_eq!(doublings(1.0), 0.0);
        assert_eq!(doublings(2.0), 0.5);
        assert_eq!(doublings(0.0), -1.0);
        assert_eq!(doublings(64.0), 1.0);
        assert_eq!(doublings(f64::NAN), -1.0);
    }
}
