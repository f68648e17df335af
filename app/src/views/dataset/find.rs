//! Searching the whole text of a dataset for a phrase or a token.

use std::path::Path;

use egui::text::{LayoutJob, TextFormat};
use egui::{
    Align, Button, FontId, Key, Layout, ProgressBar, RichText, Role, ScrollArea, Sense, TextEdit, Ui,
    WidgetInfo, vec2,
};

use crate::action::Action;
use crate::address::Place;
use crate::data::search::{self, Found, LISTED, Needle};
use crate::data::{Documents, Vocabulary};
use crate::load::{Lane, StreamedRequest, Workers};
use crate::theme::{palette, space, tokens::height, tokens::size};
use crate::views::Scene;
use crate::widgets::sheet::{self, Cell, Sheet};
use crate::widgets::{facts, format, notice, table, text};

/// The search's own state.
#[derive(Debug, Default)]
pub struct Find {
    typed: String,
    exact: bool,
    token: bool,
    found: StreamedRequest<Found>,
    /// What is to be searched for next.
    asked: Option<Needle>,
    /// What the places are of.
    of: Option<Needle>,
    focus: bool,
}

impl Find {
    /// Puts the cursor into the field.
    pub fn focus(&mut self) {
        self.focus = true;
    }

    /// Starts the search that was asked for; takes what has arrived.
    pub fn logic(&mut self, dataset: &Path, workers: &Workers) {
        if let Some(needle) = self.asked.take() {
            self.of = Some(needle.clone());
            let dir = dataset.to_owned();
            self.found.ask(workers, Lane::Scans, move |feed| search::search(&dir, &needle, feed));
        }
        self.found.poll(workers);
    }

    /// Asks for a search for what was typed.
    fn begin(&mut self, ui: &Ui) {
        if self.typed.is_empty() {
            return;
        }
        let needle = if self.token {
            Needle::Token(self.typed.clone())
        } else {
            Needle::Phrase { text: self.typed.clone(), exact: self.exact }
        };
        self.asked = Some(needle);
        ui.ctx().request_repaint();
    }

    /// Draws field, progress and places.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        dataset: &Path,
        documents: &Documents,
        vocabulary: &Vocabulary,
        here: Option<(u32, u32)>,
        scene: &mut Scene<'_>,
    ) {
        let mut begin = false;
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                begin = ui.add_enabled(!self.typed.is_empty(), Button::new("Find")).clicked();
                let hint = if self.token { "a token, or #123" } else { "a word or a phrase" };
                let field = TextEdit::singleline(&mut self.typed).hint_text(hint);
                let field = ui.add(field.desired_width(ui.available_width() - 2.0 * space::XS));
                field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Find in the text"));
                if std::mem::take(&mut self.focus) {
                    field.request_focus();
                }
                begin |= field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
            });
        });
        ui.horizontal(|ui| {
            ui.checkbox(&mut self.token, "whole token").on_hover_text(
                "Only tokens with exactly this text, spaces included; #123 is the token with that ID",
            );
            ui.add_enabled(!self.token, egui::Checkbox::new(&mut self.exact, "match case"));
        });
        if begin {
            self.begin(ui);
        }
        self.status(ui);
        self.copy(ui, documents, vocabulary, scene);
        ui.add_space(space::XS);
        self.places(ui, dataset, documents, vocabulary, here, scene);
    }

    fn status(&mut self, ui: &mut Ui) {
        if let Some(problem) = self.found.problem() {
            return notice::problem_line(ui, problem);
        }
        let listed = self.found.pieces().iter().filter(|f| matches!(f, Found::Place(_))).count() as u64;
        if self.found.loading() {
            ui.horizontal(|ui| {
                let (done, total) = self.found.progress().unwrap_or((0, 1));
                let share = done as f32 / total.max(1) as f32;
                ui.add(
                    ProgressBar::new(share).desired_width(ui.available_width() - 84.0).desired_height(6.0),
                );
                if ui.button("Stop").clicked() {
                    self.found.stop();
                }
            });
            facts::caption(ui, format!("{} matches so far", format::grouped(listed)));
            return;
        }
        let Some(needle) = &self.of else {
            facts::caption(ui, "Searches the whole text. Press Enter to start, / to return here.");
            return;
        };
        let total = self.found.pieces().iter().find_map(|f| match f {
            Found::Total(total) => Some(*total),
            Found::Place(_) => None,
        });
        let of = match needle {
            Needle::Phrase { text, .. } | Needle::Token(text) => text::in_list(text),
        };
        let said = match total {
            None if self.found.stopped() => {
                format!("{} matches before it was stopped", format::grouped(listed))
            }
            None => String::new(),
            Some(0) => format!("No matches for “{of}”."),
            Some(1) => format!("1 match for “{of}”"),
            Some(total) if total > LISTED => {
                format!("{} matches for “{of}”, the first {LISTED} are listed", format::grouped(total))
            }
            Some(total) => format!("{} matches for “{of}”", format::grouped(total)),
        };
        facts::caption(ui, said);
    }

    /// The listed places, for other programs.
    fn copy(&self, ui: &mut Ui, documents: &Documents, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        let places = self.listed();
        if places.is_empty() || self.found.loading() {
            return;
        }
        let cell = |row: usize, column: usize| {
            let place = places[row];
            match column {
                0 => Cell::Count(u64::from(place.document)),
                1 => Cell::Text(documents.get(place.document).map_or_else(String::new, |d| d.name.clone())),
                2 => Cell::Count(u64::from(place.position)),
                _ => Cell::Text(place.tokens.iter().map(|t| vocabulary.show(*t)).collect()),
            }
        };
        let columns = ["document", "name", "position", "text"].map(|name| sheet::column(name, 0.0, ""));
        let all =
            Sheet { id: "places", columns: &columns, rows: places.len(), cell: &cell, most: 0, marked: None };
        ui.horizontal(|ui| {
            for name in ["CSV", "JSON"] {
                let button = ui.add(Button::new(name).small());
                let label = format!("Copy the places as {name}");
                button.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
                if button.on_hover_text(label).clicked() {
                    scene.act(Action::Copy(if name == "CSV" { all.csv() } else { all.json() }));
                }
            }
        });
    }

    fn listed(&self) -> Vec<&search::Place> {
        let all = self.found.pieces().iter();
        all.filter_map(|found| match found {
            Found::Place(place) => Some(place),
            Found::Total(_) => None,
        })
        .collect()
    }

    fn places(
        &self,
        ui: &mut Ui,
        dataset: &Path,
        documents: &Documents,
        vocabulary: &Vocabulary,
        here: Option<(u32, u32)>,
        scene: &mut Scene<'_>,
    ) {
        let places = self.listed();
        let tall = height::ROW * 2.0;
        ui.spacing_mut().item_spacing.y = 0.0;
        let area = ScrollArea::vertical().id_salt("places").auto_shrink(false);
        area.show_rows(ui, tall, places.len(), |ui, range| {
            for place in &places[range] {
                let name = documents.get(place.document).map_or("", |row| row.name.as_str());
                let chosen = here == Some((place.document, place.position));
                if line(ui, place, name, vocabulary, tall, chosen) {
                    scene.go(Place::Token {
                        dataset: dataset.to_owned(),
                        document: place.document,
                        token: place.position,
                    });
                }
            }
        });
    }
}

fn line(
    ui: &mut Ui,
    place: &search::Place,
    name: &str,
    vocabulary: &Vocabulary,
    tall: f32,
    chosen: bool,
) -> bool {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), tall), Sense::click());
    table::row_ground(ui, rect, chosen, response.hovered());
    let label = format!("Place in document {}, position {}", place.document, place.position);
    response.widget_info(|| WidgetInfo::selected(Role::Row, true, chosen, &label));
    let mut job = LayoutJob::default();
    job.wrap.max_rows = 1;
    job.wrap.break_anywhere = true;
    job.wrap.max_width = rect.width() - 2.0 * space::S;
    // What was found should be seen also in a narrow panel, so little stands before it.
    let from = place.at.saturating_sub(4);
    for (i, token) in place.tokens.iter().enumerate().skip(from) {
        let inside = (place.at..place.at + place.length).contains(&i);
        let format = TextFormat {
            font_id: FontId::monospace(size::SMALL),
            color: if inside { p.on_activation } else { p.text },
            background: if inside { p.activation } else { egui::Color32::TRANSPARENT },
            ..TextFormat::default()
        };
        job.append(&text::in_line(&vocabulary.show(*token)), 0.0, format);
    }
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(job));
    ui.painter().galley(rect.min + vec2(space::S, 6.0), galley, p.text);
    let inner = egui::Rect::from_min_max(rect.min + vec2(space::S, 24.0), rect.max - vec2(space::S, 4.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner), |ui| {
        let at = format!("{name} · position {}", format::grouped(u64::from(place.position)));
        ui.add(egui::Label::new(RichText::new(at).size(size::SMALL).color(p.weak)).truncate());
    });
    response.clicked()
}
