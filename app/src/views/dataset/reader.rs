//! The text in the middle, with the line of controls above it.

use egui::{Align, Button, Label, Layout, RichText, ScrollArea, Ui};

use super::{DatasetView, token};
use crate::address::Place;
use crate::data::{DocumentRow, Vocabulary, codes, dataset};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::text::in_list;
use crate::widgets::{facts, format, notice, reading};

/// Features that a token's tooltip names.
const NAMED: usize = 3;

impl DatasetView {
    pub(super) fn reader(
        &mut self,
        ui: &mut Ui,
        row: &DocumentRow,
        vocabulary: &Vocabulary,
        scene: &mut Scene<'_>,
    ) {
        self.title_line(ui, row);
        self.controls(ui, scene);
        ui.add_space(space::S);
        ui.separator();
        let page = match self.page.text() {
            None => return notice::loading(ui, "Reading the text…"),
            Some(Err(problem)) => {
                if notice::problem(ui, "This page cannot be read", &problem) {
                    self.page.again();
                }
                return;
            }
            Some(Ok(page)) => page,
        };
        if page.tokens.is_empty() && row.tokens > 0 {
            return notice::empty(ui, "There is no text", "The rows of this dataset have no tokens.");
        }
        if page.tokens.is_empty() {
            return notice::empty(ui, "This document is empty", "It has no tokens in this dataset.");
        }
        self.colour_problem(ui);
        let salt = ("text", row.document, page.start);
        ScrollArea::vertical().id_salt(salt).auto_shrink(false).show(ui, |ui| {
            ui.add_space(space::XS);
            self.text(ui, row, &page, vocabulary, scene);
            ui.add_space(space::XL);
        });
    }

    fn title_line(&mut self, ui: &mut Ui, row: &DocumentRow) {
        let p = palette(ui);
        let page = dataset::page(row, self.start);
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if row.tokens > dataset::TEXT_PAGE {
                    if ui
                        .add_enabled(page.end < row.tokens, Button::new("Later"))
                        .on_hover_text("Page Down")
                        .clicked()
                    {
                        self.turn_page(1, row);
                    }
                    if ui
                        .add_enabled(self.start > 0, Button::new("Earlier"))
                        .on_hover_text("Page Up")
                        .clicked()
                    {
                        self.turn_page(-1, row);
                    }
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add(Label::new(RichText::new(&row.name).size(size::TITLE).color(p.strong)).truncate())
                        .on_hover_text(&row.source);
                });
            });
        });
        let of = if page.len() < row.tokens as usize {
            format!(
                "tokens {} to {} of {}",
                format::grouped(u64::from(page.start)),
                format::grouped(u64::from(page.end).saturating_sub(1)),
                format::grouped(u64::from(row.tokens))
            )
        } else {
            format!("{} tokens", format::grouped(u64::from(row.tokens)))
        };
        let held_out = if row.held_out { " · held out" } else { "" };
        facts::caption(ui, format!("document {} · {} · {of}{held_out}", row.document, row.domain));
    }

    fn controls(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let runs = self.runs(scene);
        let has_routing = self.has.last().is_some_and(|has| has.routing);
        ui.add_space(space::XS);
        ui.horizontal_wrapped(|ui| {
            self.colour.choose(ui, has_routing, !runs.is_empty());
            ui.add_space(space::M);
            ui.toggle_value(&mut self.style.marks, "marks").on_hover_text("Show spaces as ·");
            ui.toggle_value(&mut self.style.breaks, "lines").on_hover_text("Start a new line after ↵");
        });
        let lists = self.run(&runs).and_then(|run| {
            let store = scene.stores.run(&run);
            Some((store.tokens.value().cloned()?, store.vocabulary.value().cloned().unwrap_or_default()))
        });
        let names = |feature: u32| {
            let (lists, words) = lists.as_ref()?;
            let about = token::about(feature, Some(lists), words);
            (!about.is_empty()).then(|| format!("feature {feature}: {about}"))
        };
        if let Some((layer, expert)) = self.colour.details(ui, &self.page, &names) {
            scene.go(Place::Expert { dataset: self.dataset.clone(), layer, expert });
        }
    }

    /// Why there are no colours although they are wanted.
    fn colour_problem(&self, ui: &mut Ui) {
        let problem = match self.colour.by {
            super::colour::ColourSource::Nothing => None,
            super::colour::ColourSource::Experts => self.page.routing().and_then(Result::err),
            super::colour::ColourSource::Features => self.page.codes().and_then(Result::err),
        };
        if let Some(problem) = problem {
            notice::problem_line(ui, &problem);
        }
    }

    fn text(
        &mut self,
        ui: &mut Ui,
        row: &DocumentRow,
        page: &crate::data::DocumentText,
        vocabulary: &Vocabulary,
        scene: &mut Scene<'_>,
    ) {
        let runs = self.runs(scene);
        let columns = self.run(&runs).and_then(|run| scene.stores.run(&run).columns.value().cloned());
        let grounds =
            self.colour.grounds(palette(ui), &self.page, page.start, page.tokens.len(), columns.as_deref());
        let chosen = self.token.and_then(|t| t.checked_sub(page.start)).map(|i| i as usize);
        let of = reading::Text {
            tokens: &page.tokens,
            grounds: &grounds,
            chosen: chosen.filter(|i| *i < page.tokens.len()),
            scroll: std::mem::take(&mut self.scroll),
            style: self.style,
        };
        let answer = reading::show(ui, vocabulary, &of, |ui, i| self.card(ui, page, vocabulary, i));
        if let Some(i) = answer.clicked {
            let token = page.start + i as u32;
            // A second click lets go.
            self.go(row.document, (self.token != Some(token)).then_some(token), scene);
        }
    }

    /// What a token's tooltip says: as much as is loaded.
    fn card(&self, ui: &mut Ui, page: &crate::data::DocumentText, vocabulary: &Vocabulary, i: usize) {
        let token = page.tokens[i];
        let position = page.start + i as u32;
        ui.horizontal(|ui| {
            let shown = RichText::new(in_list(&vocabulary.show(token))).color(palette(ui).strong);
            ui.monospace(shown);
            ui.weak(format!("token {token}"));
        });
        ui.weak(format!("position {}", format::grouped(u64::from(position))));
        if let Some(Ok(routing)) = self.page.routing() {
            for layer in &routing.layers {
                let (experts, weights) = layer.at(i);
                let pairs = experts.iter().zip(weights).map(|(e, w)| format!("{e} ({w:.2})"));
                ui.weak(format!("layer {}: {}", layer.layer, pairs.collect::<Vec<_>>().join(", ")));
                if layer.layer >= 7 && routing.layers.len() > 8 {
                    ui.weak("…");
                    break;
                }
            }
        }
        let found = self.page.codes().and_then(Result::ok).and_then(|c| codes::strongest(&c, position));
        for (feature, value) in found.iter().flatten().take(NAMED) {
            ui.label(format!("feature {feature}: {}", format::value(f64::from(*value))));
        }
    }
}
