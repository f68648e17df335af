//! What is known of one token: its features, its routing, its raw row.

use std::path::{Path, PathBuf};

use egui::{Align, Checkbox, ComboBox, Label, Layout, Link, RichText, Role, Sense, Ui, WidgetInfo, vec2};

use super::colour::Colour;
use super::page::Page;
use super::similar::SimilarTokens;
use crate::action::{Action, Command};
use crate::address::Place;
use crate::data::{Columns, RowFacts, RunEntry, Status, TokenLists, Vocabulary, codes};
use crate::load::Problem;
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::{bars, facts, format, notice, plot, text};

/// Features that are listed before the rest is asked for.
const FEATURES: usize = 16;
/// Tokens of a document that the prompt is given.
const PROMPTED: usize = 64;
/// Width of the numbers at the right.
const NUMBER: f32 = 64.0;

/// The token in front.
pub struct Token<'a> {
    /// Folder of the dataset.
    pub dataset: &'a Path,
    /// The document.
    pub document: u32,
    /// Its position in it.
    pub position: u32,
    /// The token.
    pub token: u32,
    /// Tokens of the page, from `start` on.
    pub tokens: &'a [u32],
    /// Position of the first of them.
    pub start: u32,
    /// Texts of tokens.
    pub vocabulary: &'a Vocabulary,
    /// The page that it is on.
    pub page: &'a Page,
    /// Runs that were indexed on this dataset: folder and name.
    pub runs: &'a [(PathBuf, String)],
    /// The one whose features are shown.
    pub run: Option<PathBuf>,
}

/// What is unfolded.
#[derive(Debug, Default)]
pub struct Options {
    /// All features, not the strongest alone.
    pub all: bool,
}

/// What the panel keeps from frame to frame.
pub struct State<'a> {
    /// What is unfolded.
    pub options: &'a mut Options,
    /// What the text is coloured by.
    pub colour: &'a mut Colour,
    /// The search for similar tokens.
    pub similar: &'a mut SimilarTokens,
}

impl Token<'_> {
    /// Draws the panel.
    pub fn show(&self, ui: &mut Ui, state: State<'_>, scene: &mut Scene<'_>) {
        let State { options, colour, similar } = state;
        self.head(ui, scene);
        ui.add_space(space::L);
        self.features(ui, options, colour, scene);
        ui.add_space(space::L);
        if let Some(run) = self.run.as_deref().filter(|_| self.page.wants_rows()) {
            let place = (self.document, self.position);
            similar.show(ui, (self.dataset, run), place, self.vocabulary, scene);
            ui.add_space(space::L);
        }
        self.routing(ui, scene);
        ui.add_space(space::L);
        self.row(ui, scene);
    }

    fn go(&self, position: u32, scene: &mut Scene<'_>) {
        scene.go(Place::Token { dataset: self.dataset.to_owned(), document: self.document, token: position });
    }

    fn head(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let p = palette(ui);
        ui.horizontal(|ui| {
            let shown = text::in_list(&self.vocabulary.show(self.token));
            let name = RichText::new(shown).monospace().size(size::TITLE).color(p.strong);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let copy = ui.small_button("JSON");
                copy.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Copy this token as JSON"));
                if copy.on_hover_text("Copy what is known of this token").clicked() {
                    scene.act(Action::Copy(self.json()));
                }
                self.prompt(ui, scene);
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add(Label::new(name).truncate())
                });
            });
        });
        let caption = format!(
            "token {} · position {} of document {}",
            self.token,
            format::grouped(u64::from(self.position)),
            self.document
        );
        facts::caption(ui, caption);
    }

    /// The text up to this token in the prompt of the run whose features are shown.
    fn prompt(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(run) = self.run.clone() else { return };
        let button = ui.small_button("Prompt");
        button.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, "Try the text up to this token in the prompt")
        });
        let hover = format!("Try the text up to this token in the prompt, at most {PROMPTED} tokens of it");
        if button.on_hover_text(hover).clicked() {
            let end = (self.position - self.start) as usize + 1;
            let tokens = self.tokens.get(end.saturating_sub(PROMPTED)..end).unwrap_or_default();
            let text = tokens.iter().map(|token| self.vocabulary.show(*token)).collect();
            scene.act(Action::Prompt { run, feature: None, text });
        }
    }

    fn features(&self, ui: &mut Ui, options: &mut Options, colour: &mut Colour, scene: &mut Scene<'_>) {
        ui.horizontal(|ui| {
            facts::section(ui, "Features");
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| self.run(ui, colour));
        });
        let Some(run) = self.run.clone() else { return self.no_run(ui, scene) };
        let codes = match self.page.codes() {
            None => return hint(ui, "Reading the features…"),
            Some(Err(problem)) => return notice::problem_line(ui, &problem),
            Some(Ok(codes)) => codes,
        };
        let Some(found) = codes::strongest(&codes, self.position) else {
            return hint(ui, "This token was not indexed.");
        };
        if found.is_empty() {
            return hint(ui, "No feature fires on this token.");
        }
        let store = scene.stores.run(&run);
        let (columns, lists) = (store.columns.value().cloned(), store.tokens.value().cloned());
        let words = store.vocabulary.value().cloned();
        let shown = if options.all { found.len() } else { found.len().min(FEATURES) };
        let most = found[0].1;
        ui.spacing_mut().item_spacing.y = 1.0;
        let mut follow = None;
        for (feature, value) in &found[..shown] {
            let about = about(*feature, lists.as_deref(), words.as_deref().unwrap_or(self.vocabulary));
            let line = Line { feature: *feature, value: *value, most, about: &about };
            if line.show(ui, columns.as_deref(), colour) {
                follow = Some(*feature);
            }
        }
        if found.len() > FEATURES {
            ui.add_space(space::XS);
            let rest = found.len() - FEATURES;
            let name = if options.all { "Strongest only".to_owned() } else { format!("{rest} more") };
            if ui.link(name).clicked() {
                options.all = !options.all;
            }
        }
        if let Some(feature) = follow {
            scene.go(Place::Feature { run, feature });
        }
    }

    /// What to do where no run was indexed on the dataset: index one that was trained on it, or train one.
    fn no_run(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        hint(ui, "No run in this folder was indexed on this dataset.");
        let on_it = |run: &&RunEntry| {
            run.info.as_ref().is_ok_and(|info| info.status == Status::Finished)
                && scene.folder.data_of(&run.path).is_some_and(|data| data.path == *self.dataset)
        };
        match scene.folder.runs.iter().find(on_it).map(|run| run.path.clone()) {
            Some(run) => {
                let (name, job) = scene.index_of(&run);
                scene.offer(ui, name, job);
            }
            None => {
                if ui.button("Train…").on_hover_text("Train a dictionary on it").clicked() {
                    scene.act(Action::Do(Command::Train));
                }
            }
        }
    }

    /// Which run's features; a choice only where there is one.
    fn run(&self, ui: &mut Ui, colour: &mut Colour) {
        let Some(chosen) = &self.run else { return };
        let name = self.runs.iter().find(|r| r.0 == *chosen).map_or("", |r| r.1.as_str());
        if self.runs.len() == 1 {
            facts::caption(ui, name);
            return;
        }
        let combo = ComboBox::from_id_salt("run").selected_text(name).width(140.0);
        let shown = combo.show_ui(ui, |ui| {
            for (path, name) in self.runs {
                ui.selectable_value(&mut colour.run, Some(path.clone()), name);
            }
        });
        shown
            .response
            .widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Run whose features are shown"));
    }

    fn routing(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        facts::section(ui, "Experts");
        let routing = match self.page.routing() {
            None if self.page.wants_routing() => return hint(ui, "Reading the routing…"),
            None => return hint(ui, "This dataset has no routing table: harvest with --routing."),
            Some(Err(problem)) => return notice::problem_line(ui, &problem),
            Some(Ok(routing)) => routing,
        };
        let i = (self.position - self.start) as usize;
        let mut open = None;
        ui.spacing_mut().item_spacing.y = 2.0;
        for layer in &routing.layers {
            let (experts, weights) = layer.at(i);
            ui.horizontal(|ui| {
                let label = RichText::new(format!("layer {}", layer.layer)).color(palette(ui).weak);
                ui.allocate_ui(vec2(56.0, 20.0), |ui| {
                    ui.set_width(56.0);
                    ui.label(label);
                });
                if experts.is_empty() {
                    ui.label(RichText::new("skipped").color(palette(ui).weak).italics());
                }
                ui.horizontal_wrapped(|ui| {
                    for (expert, weight) in experts.iter().zip(weights) {
                        if expert_chip(ui, layer.layer, *expert, *weight) {
                            open = Some((layer.layer, *expert));
                        }
                    }
                });
            });
        }
        if let Some((layer, expert)) = open {
            scene.go(Place::Expert { dataset: self.dataset.to_owned(), layer, expert });
        }
    }

    fn row(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        facts::section(ui, "Activation");
        let rows = match self.page.rows() {
            None if self.page.wants_rows() => return hint(ui, "Reading the rows…"),
            None => return hint(ui, "This dataset holds the routing alone, no activations."),
            Some(Err(problem)) => return notice::problem_line(ui, &problem),
            Some(Ok(rows)) => rows,
        };
        let (Some(row), Some(norm)) = (rows.get(self.position), rows.norm(self.position)) else {
            return hint(ui, "The page is too wide to keep; this row was not read.");
        };
        let found = self.page.facts(self.position);
        let median = found.as_ref().map_or(f32::NAN, |found| found.median_norm);
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = space::XL;
            let value = |x: f32| format::value(f64::from(x));
            facts::figure(ui, &value(norm), "norm", "Euclidean norm of the row");
            facts::figure(ui, &value(median), "median norm", "Median over the tokens of this page");
            facts::figure(ui, &format::grouped(row.len() as u64), "dimensions", "");
        });
        ui.add_space(space::S);
        plot::strip(ui, "Values by dimension", row, 72.0);
        let Some(found) = found else { return hint(ui, "Comparing with the other rows…") };
        ui.add_space(space::S);
        self.largest(ui, &found);
        ui.add_space(space::M);
        self.nearest(ui, &found, scene);
    }

    fn largest(&self, ui: &mut Ui, found: &RowFacts) {
        let p = palette(ui);
        facts::caption(ui, "largest dimensions");
        ui.horizontal_wrapped(|ui| {
            for (dimension, value) in &found.largest {
                let colour = if *value >= 0.0 { p.positive } else { p.negative };
                // One label, so that a number and its value stay on one line.
                let mut pair = egui::text::LayoutJob::default();
                let part = |color| egui::TextFormat::simple(egui::FontId::proportional(size::SMALL), color);
                pair.append(&format!("{dimension}\u{a0}"), 0.0, part(p.weak));
                pair.append(&format::signed(f64::from(*value)), 0.0, part(colour));
                pair.wrap.max_rows = 1;
                ui.add(Label::new(pair).extend());
            }
        });
    }

    fn nearest(&self, ui: &mut Ui, found: &RowFacts, scene: &mut Scene<'_>) {
        facts::caption(ui, "nearest rows of this page, by cosine");
        ui.spacing_mut().item_spacing.y = 1.0;
        let mut follow = None;
        for (position, cosine) in &found.nearest {
            let (position, cosine) = (*position, *cosine);
            let at = (position - self.start) as usize;
            let token = self.tokens.get(at).map(|t| self.vocabulary.show(*t)).unwrap_or_default();
            line(ui, &format!("{cosine:.3}"), |ui| {
                let shown = RichText::new(text::in_list(&token)).monospace().size(size::MONO);
                let link = ui.add(Link::new(shown));
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Go to token {position}")));
                let position_text = format!("position {}", format::grouped(u64::from(position)));
                facts::caption(ui, &position_text);
                if link.clicked() {
                    follow = Some(position);
                }
            });
        }
        if let Some(position) = follow {
            self.go(position, scene);
        }
    }

    /// Everything that has been read of the token.
    fn json(&self) -> String {
        let features =
            self.page.codes().and_then(Result::ok).and_then(|c| codes::strongest(&c, self.position));
        let i = (self.position - self.start) as usize;
        let routing = self.page.routing().and_then(Result::ok).map(|routing| {
            let layer = |l: &crate::data::LayerRouting| {
                let (experts, weights) = l.at(i);
                serde_json::json!({ "layer": l.layer, "experts": experts, "weights": weights })
            };
            routing.layers.iter().map(layer).collect::<Vec<_>>()
        });
        let rows = self.page.rows().and_then(Result::ok);
        let value = serde_json::json!({
            "dataset": self.dataset.display().to_string(),
            "document": self.document,
            "position": self.position,
            "token": self.token,
            "text": self.vocabulary.get(self.token),
            "features": features.map(|all| all.into_iter()
                .map(|(feature, value)| serde_json::json!({ "feature": feature, "value": value }))
                .collect::<Vec<_>>()),
            "routing": routing,
            "norm": rows.as_ref().and_then(|rows| rows.norm(self.position)),
            "activation": rows.as_ref().and_then(|rows| rows.get(self.position)),
        });
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }
}

/// One feature of the token.
struct Line<'a> {
    feature: u32,
    value: f32,
    /// The strongest of the token.
    most: f32,
    about: &'a str,
}

impl Line<'_> {
    /// True when the person wants to see the feature.
    fn show(&self, ui: &mut Ui, columns: Option<&Columns>, colour: &mut Colour) -> bool {
        let p = palette(ui);
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
        bars::inline_bar(ui, rect, self.value / self.most, p.activation);
        let mut clicked = false;
        let builder = egui::UiBuilder::new().max_rect(rect).id_salt(("feature", self.feature));
        ui.scope_builder(builder.layout(Layout::right_to_left(Align::Center)), |ui| {
            ui.allocate_ui_with_layout(vec2(NUMBER, 20.0), Layout::right_to_left(Align::Center), |ui| {
                ui.set_width(NUMBER);
                let number = ui.label(RichText::new(format::value(f64::from(self.value))).color(p.text));
                let max =
                    columns.and_then(|c| c.numbers.max.get(self.feature as usize)).filter(|max| **max > 0.0);
                if let Some(max) = max {
                    let share = format::percent(f64::from(self.value / max));
                    number.on_hover_text(format!(
                        "{share} of the feature's maximum, {}",
                        format::value(f64::from(*max))
                    ));
                }
            });
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let mut on = colour.features.contains(&self.feature);
                let tick = ui.add(Checkbox::without_text(&mut on));
                let name = format!("Colour the text by feature {}", self.feature);
                tick.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, on, &name));
                if tick.on_hover_text(name).changed() {
                    colour.toggle(self.feature);
                }
                let link = ui.add(Link::new(self.feature.to_string()));
                let name = format!("Go to feature {}", self.feature);
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &name));
                clicked = link.on_hover_text(name).clicked();
                ui.add(Label::new(RichText::new(self.about).size(size::SMALL).color(p.weak)).truncate());
            });
        });
        clicked
    }
}

/// A feature in words: its label, or the tokens it fires on most.
pub fn about(feature: u32, lists: Option<&TokenLists>, words: &Vocabulary) -> String {
    let Some(lists) = lists else { return String::new() };
    if let Some(label) = lists.label(feature) {
        return label.to_owned();
    }
    let tokens = lists.fires_on.get(feature).iter().take(5);
    tokens.map(|t| text::in_list(&words.show(*t))).collect::<Vec<_>>().join("  ")
}

/// An expert with its weight. True when it was clicked.
fn expert_chip(ui: &mut Ui, layer: u16, expert: u32, weight: f32) -> bool {
    let p = palette(ui);
    let text = RichText::new(format!("{expert}  {weight:.2}")).size(size::SMALL).color(p.strong);
    let chip = ui.add(egui::Button::new(text).fill(p.kind(expert as usize, weight)));
    let name = format!("Go to expert {layer}:{expert}");
    chip.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
    chip.on_hover_text(format!("Expert {expert} of layer {layer}, weight {weight:.4}")).clicked()
}

/// A line with a number at the right.
fn line(ui: &mut Ui, number: &str, add: impl FnOnce(&mut Ui)) {
    let size = vec2(ui.available_width(), 20.0);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        ui.label(RichText::new(number).color(palette(ui).text));
        ui.with_layout(Layout::left_to_right(Align::Center), add);
    });
}

fn hint(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).color(palette(ui).weak));
}

/// Why a token cannot be shown: it is not there.
pub fn missing(document: u32, tokens: u32, position: u32) -> Problem {
    Problem::new(format!("Document {document} has no token {position}."))
        .with_remedy(format!("Its tokens are 0 to {}.", tokens.saturating_sub(1)))
}
