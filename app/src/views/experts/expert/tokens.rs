//! The right column of an expert's page: tokens that chose it, in their context.

use std::collections::BTreeSet;
use std::path::Path;

use egui::{Align, Button, ComboBox, Label, Layout, Link, ProgressBar, RichText, Role, Ui, WidgetInfo, vec2};

use super::super::either;
use crate::action::Action;
use crate::address::Place;
use crate::data::experts::tokens::{self, ChosenToken, Order, Piece, TokenQuery};
use crate::data::{ExpertUsage, Vocabulary};
use crate::load::{Lane, StreamedRequest, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::{facts, format, notice, reading, text};

/// Which tokens are shown, and what was found.
#[derive(Debug, Default)]
pub struct Tokens {
    found: StreamedRequest<Piece>,
    /// What `found` is of.
    asked: Option<(u16, u32, Order, Option<String>)>,
    wanted: Option<TokenQuery>,
    strongest: bool,
    domain: Option<String>,
    breaks: bool,
    /// Where a further page begins, when the person asked for one.
    more: Option<u64>,
    again: bool,
}

impl Tokens {
    /// Asks for what is to be shown, and takes what has arrived.
    pub fn logic(
        &mut self,
        scene: &Scene<'_>,
        dataset: &Path,
        (layer, expert): (u16, u32),
        usage: &ExpertUsage,
        workers: &Workers,
    ) {
        let order = if self.strongest { Order::Strongest } else { Order::Spread };
        self.domain = self.domain.take().filter(|domain| usage.domains.contains(domain));
        let key = (layer, expert, order, self.domain.clone());
        let documents = match &self.domain {
            None => None,
            // The kinds of the documents are needed first.
            Some(domain) => match scene.stores.dataset(dataset).documents.value() {
                None => return,
                Some(all) => Some(
                    all.rows
                        .iter()
                        .filter(|row| row.domain == *domain)
                        .map(|row| row.document)
                        .collect::<BTreeSet<u32>>(),
                ),
            },
        };
        if std::mem::take(&mut self.again) || self.asked.as_ref() != Some(&key) {
            self.asked = Some(key);
            let wanted = TokenQuery { layer, expert, order, documents };
            self.wanted = Some(wanted.clone());
            let dir = dataset.to_owned();
            self.found.ask(workers, Lane::Scans, move |feed| tokens::find(&dir, &wanted, 0, feed));
        } else if let (Some(from), Some(wanted)) = (self.more.take(), self.wanted.clone()) {
            let dir = dataset.to_owned();
            self.found.go_on(workers, Lane::Scans, move |feed| tokens::find(&dir, &wanted, from, feed));
        }
        self.found.poll(workers);
    }

    /// The line above the list.
    pub fn controls(&mut self, ui: &mut Ui, usage: &ExpertUsage) {
        let narrow = ui.available_width() < ONE_LINE;
        if narrow {
            facts::section(ui, "Tokens in context");
        }
        ui.horizontal(|ui| {
            if !narrow {
                facts::section(ui, "Tokens in context");
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.checkbox(&mut self.breaks, "line breaks").on_hover_text("Start a new line after ↵");
                let name = self.domain.clone().unwrap_or_else(|| "All text".into());
                let combo = ComboBox::from_id_salt("domain of tokens").selected_text(name).width(112.0);
                let shown = combo.show_ui(ui, |ui| {
                    ui.selectable_value(&mut self.domain, None, "All text");
                    for domain in &usage.domains {
                        ui.selectable_value(&mut self.domain, Some(domain.clone()), domain);
                    }
                });
                shown
                    .response
                    .widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Kind of text of the tokens"));
                let mut spread = !self.strongest;
                // Right to left.
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add_space(space::M);
                    let hovers = [
                        "From places spread over the whole text",
                        "The largest weights of all; one pass over the table",
                    ];
                    either(ui, &mut spread, ["spread", "strongest"], hovers);
                });
                self.strongest = !spread;
            });
        });
        facts::caption(
            ui,
            "The stronger the colour, the larger the expert's weight; the framed token was looked for. A click reads on there.",
        );
        ui.add_space(space::S);
    }

    /// The tokens.
    ///
    /// `run`, if there is one, has a prompt to try their text in.
    pub fn list(&mut self, ui: &mut Ui, dataset: &Path, run: Option<&Path>, scene: &mut Scene<'_>) {
        let store = scene.stores.dataset(dataset);
        let vocabulary = store.vocabulary.value().cloned().unwrap_or_default();
        let documents = store.documents.value().cloned();
        if let Some(problem) = self.found.problem() {
            notice::problem_line(ui, problem);
            self.again = ui.button("Try again").clicked();
            return;
        }
        let (shown, next) = tokens::assemble(self.found.pieces());
        let expert = self.wanted.as_ref().map_or(0, |wanted| wanted.expert);
        let style = reading::Style { marks: false, breaks: self.breaks };
        for token in &shown {
            let document = documents.as_ref().and_then(|d| d.get(token.document));
            let kind = document.map_or("", |row| row.domain.as_str());
            let asked = one(ui, token, expert, kind, &vocabulary, style, run.is_some());
            if let Some(position) = asked.read {
                let dataset = dataset.to_owned();
                scene.go(Place::Token { dataset, document: token.document, token: position });
            }
            if let (true, Some(run)) = (asked.prompt, run) {
                let text = token.tokens.iter().map(|token| vocabulary.show(*token)).collect();
                scene.act(Action::Prompt { run: run.to_owned(), feature: None, text });
            }
        }
        let count = shown.len();
        self.foot(ui, count, next);
    }

    fn foot(&mut self, ui: &mut Ui, count: usize, next: Option<u64>) {
        ui.add_space(space::S);
        if self.found.loading() {
            ui.horizontal(|ui| {
                let (done, total) = self.found.progress().unwrap_or((0, 1));
                let share = done as f32 / total.max(1) as f32;
                ui.add(ProgressBar::new(share).desired_width(200.0).desired_height(6.0));
                facts::caption(ui, "looking through the routing table");
                if ui.button("Stop").clicked() {
                    self.found.stop();
                }
            });
        } else if let Some(next) = next {
            if ui.add(Button::new("More tokens")).clicked() {
                self.more = Some(next);
            }
        } else if count == 0 && !self.found.stopped() {
            ui.label(RichText::new("No token of this text chose it.").color(palette(ui).weak));
        } else if !self.found.stopped() {
            let all = if self.strongest {
                "These are the largest weights."
            } else {
                "The whole table was looked through."
            };
            facts::caption(ui, all);
        }
    }
}

/// Width from which on title and choices are in one line.
const ONE_LINE: f32 = 560.0;
/// Room at the left of a token's context.
const GUTTER: f32 = 128.0;

/// What the person wants of a token.
#[derive(Debug, Default)]
struct TokenInteraction {
    /// To read on at this position of its document.
    read: Option<u32>,
    /// To try its text in the prompt.
    prompt: bool,
}

/// One token.
fn one(
    ui: &mut Ui,
    token: &ChosenToken,
    expert: u32,
    kind: &str,
    vocabulary: &Vocabulary,
    style: reading::Style,
    has_prompt: bool,
) -> TokenInteraction {
    let p = palette(ui);
    let marked = token.marked();
    let ground = |weight: &f32| match *weight {
        weight if weight > 0.0 => p.kind(expert as usize, weight),
        _ => egui::Color32::TRANSPARENT,
    };
    let grounds: Vec<_> = token.weights.iter().map(ground).collect();
    let mut asked = TokenInteraction::default();
    ui.horizontal_top(|ui| {
        ui.allocate_ui_with_layout(vec2(GUTTER, 22.0), Layout::left_to_right(Align::Center), |ui| {
            ui.set_width(GUTTER);
            ui.spacing_mut().item_spacing.x = space::XS;
            gutter(ui, token, kind, has_prompt, &mut asked);
        });
        ui.add_space(space::XS);
        let of = reading::Text {
            tokens: &token.tokens,
            grounds: &grounds,
            chosen: Some(marked),
            scroll: false,
            style,
        };
        let answer = reading::show(ui, vocabulary, &of, |ui, i| card(ui, token, vocabulary, i));
        asked.read = answer.clicked.map(|i| token.start + i as u32).or(asked.read);
    });
    ui.add_space(space::XS);
    asked
}

/// The expert's weight, the kind of text and the way to the prompt, at the left of the text.
fn gutter(ui: &mut Ui, token: &ChosenToken, kind: &str, has_prompt: bool, asked: &mut TokenInteraction) {
    // As many digits in every line, so that the points stand in a column.
    let link = ui.add(Link::new(RichText::new(format!("{:.3}", token.weight))));
    let name = format!("Read on in document {} at {}", token.document, token.position);
    link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &name));
    if link.on_hover_text(name).clicked() {
        asked.read = Some(token.position);
    }
    if has_prompt {
        let link = ui.add(Link::new(RichText::new("⏵").size(size::SMALL)));
        let name = format!("Try the text of document {} at {} in the prompt", token.document, token.position);
        link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &name));
        asked.prompt = link.on_hover_text("Try this text in the prompt").clicked();
    }
    ui.add(Label::new(RichText::new(kind).size(size::SMALL).color(palette(ui).weak)).truncate());
}

/// What the tooltip of a token says.
fn card(ui: &mut Ui, of: &ChosenToken, vocabulary: &Vocabulary, i: usize) {
    let shown = text::in_list(&vocabulary.show(of.tokens[i]));
    ui.monospace(RichText::new(shown).color(palette(ui).strong));
    let weight = of.weights[i];
    ui.label(if weight > 0.0 {
        format!("weight {}", format::value(f64::from(weight)))
    } else {
        "not routed to this expert".to_owned()
    });
    ui.weak(format!("position {}", format::grouped(u64::from(of.start) + i as u64)));
}
