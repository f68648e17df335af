//! Places of a feature, one a line, the token that it fires on in one column: what comes before and after it lines up. Any number of
//! lines; only the text of those on the screen is read.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat};
use egui::{Color32, FontId, Label, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::{format, rule, text};
use crate::claims::Outcome;
use crate::data::dataset::Documents;
use crate::data::firings::{self, FiringContext, Firings};
use crate::data::{DocumentRow, Vocabulary};
use crate::load::{Lane, Problem, Request, Workers};
use crate::theme::tokens::Palette;
use crate::theme::{palette, space, tokens::size};

/// Lines whose text is read at a time.
const PAGE: usize = 64;
/// Pages of text that are kept.
const KEPT: usize = 64;
/// Tokens before and after the one that the line is about.
const AROUND: (u32, u32) = (16, 16);
/// Height of a line.
pub const LINE: f32 = 22.0;
/// Widths of the gutter: what a claim says, activation, domain, document.
const MARK: f32 = 22.0;
const VALUE: f32 = 52.0;
const DOMAIN: f32 = 64.0;
const DOCUMENT: f32 = 96.0;
/// Width from which on document and domain are shown.
const WIDE: f32 = 620.0;
/// Width from which on their columns are wide enough for whole names.
const WIDEST: f32 = 1300.0;

/// A line: where, how strongly the feature fires there, and what a claim says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinePlace {
    /// Number of the document.
    pub document: u32,
    /// Position of the token in it.
    pub position: u32,
    /// The activation; 0 where the feature does not fire.
    pub value: f32,
    /// What a claim says of it.
    pub outcome: Option<Outcome>,
}

/// From where text is read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The dataset that was indexed, where it is in the open folder.
    pub dataset: Option<&'a Path>,
    /// The documents of that dataset, once they are loaded.
    pub documents: Option<&'a Arc<Documents>>,
}

/// What lines are drawn with.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    /// The activations of the feature, which shade the text.
    pub firings: &'a Firings,
    /// The activation that gets the full colour.
    pub max: f32,
    /// The texts of tokens.
    pub vocabulary: &'a Vocabulary,
    /// The line that is chosen.
    pub chosen: Option<(u32, u32)>,
}

/// The texts of the lines that were drawn last.
#[derive(Debug)]
pub struct Lines<K> {
    /// By page of lines, of the list that was loaded last.
    pages: HashMap<usize, Request<Vec<FiringContext>>>,
    pages_of: Option<K>,
    wanted: Range<usize>,
    scroll_to: Option<usize>,
}

impl<K> Default for Lines<K> {
    fn default() -> Self {
        Self { pages: HashMap::new(), pages_of: None, wanted: 0..0, scroll_to: None }
    }
}

impl<K: PartialEq + Clone> Lines<K> {
    /// Once per frame while they are shown: asks for the text of the `count` lines of the list `key`.
    pub fn logic(
        &mut self,
        key: &K,
        count: usize,
        place: impl Fn(usize) -> (u32, u32),
        source: Source<'_>,
        workers: &Workers,
    ) {
        if self.pages_of.as_ref() != Some(key) {
            self.pages_of = Some(key.clone());
            self.pages.clear();
        }
        let (Some(dataset), Some(documents)) = (source.dataset, source.documents) else { return };
        let pages = self.wanted.start / PAGE..self.wanted.end.div_ceil(PAGE).max(1);
        if self.pages.len() > KEPT {
            self.pages.retain(|page, _| pages.contains(page));
        }
        for page in pages {
            let lines = page * PAGE..count.min((page + 1) * PAGE);
            let places: Vec<(u32, u32)> = lines.map(&place).collect();
            let request = self.pages.entry(page).or_default();
            if !places.is_empty() && request.untouched() {
                let (dataset, documents) = (dataset.to_owned(), Arc::clone(documents));
                request.ask(workers, Lane::Pages, move || {
                    firings::contexts(&dataset, &documents, &places, AROUND)
                });
            }
        }
        self.pages.values_mut().for_each(|page| {
            page.poll(workers);
        });
    }

    /// Why a text could not be read.
    pub fn problem(&self) -> Option<&Problem> {
        self.pages.values().find_map(Request::problem)
    }

    /// The text around a line, where it is here.
    pub fn context(&self, line: usize) -> Option<&FiringContext> {
        self.pages.get(&(line / PAGE))?.value()?.get(line % PAGE)
    }

    /// The lines on the screen.
    pub fn on_screen(&self) -> Range<usize> {
        self.wanted.clone()
    }

    /// Brings a line to the top.
    pub fn scroll_to(&mut self, line: usize) {
        self.scroll_to = Some(line);
    }

    /// Draws the lines; gives the one that was clicked.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        salt: impl std::hash::Hash + std::fmt::Debug,
        count: usize,
        place: impl Fn(usize) -> LinePlace,
        source: Source<'_>,
        drawn: &Drawn<'_>,
    ) -> Option<usize> {
        let (mut clicked, mut seen) = (None, 0..0);
        // Before the list, which counts with it how many lines there is room for.
        ui.spacing_mut().item_spacing.y = 0.0;
        let mut area = ScrollArea::vertical().id_salt(salt).auto_shrink(false);
        if let Some(line) = self.scroll_to.take() {
            area = area.vertical_scroll_offset(line as f32 * LINE);
        }
        area.show_rows(ui, LINE, count, |ui, lines| {
            seen = lines.clone();
            ui.spacing_mut().item_spacing.y = 0.0;
            for at in lines {
                let place = place(at);
                let name = source.documents.and_then(|documents| documents.get(place.document));
                let line = Line { place, context: self.context(at), name, drawn };
                if ui.push_id(at, |ui| line.show(ui)).inner {
                    clicked = Some(at);
                }
            }
        });
        if seen != self.wanted {
            self.wanted = seen;
            ui.ctx().request_repaint();
        }
        clicked
    }
}

/// The colour of an outcome.
pub fn outcome_color(p: &Palette, outcome: Outcome) -> Color32 {
    match outcome {
        Outcome::Hit => p.good,
        Outcome::Miss => p.warning,
        Outcome::FalseAlarm => p.error,
    }
}

/// One place and what it is drawn with.
struct Line<'a> {
    place: LinePlace,
    context: Option<&'a FiringContext>,
    name: Option<&'a DocumentRow>,
    drawn: &'a Drawn<'a>,
}

impl Line<'_> {
    /// Draws it; true when it was clicked.
    fn show(&self, ui: &mut Ui) -> bool {
        let p = palette(ui);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), LINE), Sense::click());
        let spoken = self.spoken();
        let chosen = self.drawn.chosen == Some((self.place.document, self.place.position));
        response.widget_info(|| WidgetInfo::selected(Role::Row, true, chosen, &spoken));
        if chosen {
            ui.painter().rect_filled(rect, 0.0, p.selection);
        } else if response.hovered() {
            ui.painter().rect_filled(rect, 0.0, p.stripe);
        }
        let mut left = rect.left();
        if let Some(outcome) = self.place.outcome {
            // A sign next to the colour: neither says it alone.
            ui.painter().text(
                pos2(left + MARK / 2.0, rect.center().y),
                egui::Align2::CENTER_CENTER,
                outcome.sign(),
                FontId::proportional(size::BODY),
                outcome_color(p, outcome),
            );
            left += MARK;
        }
        self.gutters(ui, rect, &mut left);
        if let Some(context) = self.context {
            self.text(ui, rect.with_min_x(left), context);
        }
        response.on_hover_text_at_pointer(spoken).clicked()
    }

    fn gutters(&self, ui: &mut Ui, rect: egui::Rect, left: &mut f32) {
        let p = palette(ui);
        let value = match self.place.value {
            0.0 => "–".to_owned(),
            value if self.drawn.max >= 1.0 => format!("{value:.2}"),
            value => format::value(f64::from(value)),
        };
        gutter(ui, rect, left, VALUE, |ui| {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.add_space(space::S);
                ui.label(RichText::new(value).color(p.weak));
            });
        });
        let Some(document) = self.name.filter(|_| rect.width() >= WIDE) else { return };
        let wider = if rect.width() >= WIDEST { 1.6 } else { 1.0 };
        gutter(ui, rect, left, DOMAIN * wider, |ui| {
            ui.add(Label::new(RichText::new(&document.domain).size(size::SMALL).color(p.text)).truncate());
        });
        gutter(ui, rect, left, DOCUMENT * wider, |ui| {
            rule::name(ui, &document.name, size::SMALL, p.weak);
        });
    }

    /// The words of the line, for those who do not see it.
    fn spoken(&self) -> String {
        let place = &self.place;
        let name = self.name.map_or_else(|| format!("document {}", place.document), |row| row.name.clone());
        let position = format::grouped(u64::from(place.position));
        let fires = match place.value {
            0.0 => "the feature does not fire".to_owned(),
            value => format!("activation {}", format::value(f64::from(value))),
        };
        let outcome = place.outcome.map(|outcome| format!("{}: ", outcome.name())).unwrap_or_default();
        format!("{outcome}{name}, position {position}: {fires}")
    }

    /// The text with the token that the line is about at two fifths of the room.
    fn text(&self, ui: &Ui, rect: egui::Rect, context: &FiringContext) {
        let p = palette(ui);
        let at = self.place.position.saturating_sub(context.start) as usize;
        let shown = self.drawn.vocabulary.in_context(&context.tokens);
        let part = |range: Range<usize>| {
            let mut job = LayoutJob::default();
            job.wrap.max_width = f32::INFINITY;
            for i in range {
                let value = self.drawn.firings.value(self.place.document, context.start + i as u32);
                let share = if self.drawn.max > 0.0 { value / self.drawn.max } else { 0.0 };
                let color = if share > 0.0 { p.on_shade(share) } else { p.text };
                // The token of a false alarm has no shade; a line below says which it is.
                let underline = match i == at && share <= 0.0 {
                    true => Stroke::new(1.5, p.error),
                    false => Stroke::NONE,
                };
                let format = TextFormat {
                    font_id: FontId::monospace(size::MONO),
                    color,
                    background: p.shade(share),
                    expand_bg: 0.0,
                    underline,
                    ..TextFormat::default()
                };
                job.append(&text::in_line(&shown[i]), 0.0, format);
            }
            job
        };
        let middle = at.min(shown.len());
        let (before, after) = (part(0..middle), part(middle..shown.len()));
        let (before, after) = ui.fonts_mut(|fonts| (fonts.layout_job(before), fonts.layout_job(after)));
        let column = rect.left() + rect.width() * 0.4;
        let painter = ui.painter_at(rect.intersect(ui.clip_rect()));
        let top = rect.center().y - before.size().y.max(after.size().y) / 2.0;
        painter.galley(pos2(column - before.size().x, top), before, p.text);
        painter.galley(pos2(column, top), after, p.text);
    }
}

/// A part of the gutter, of this width.
fn gutter(ui: &mut Ui, rect: egui::Rect, left: &mut f32, width: f32, add: impl FnOnce(&mut Ui)) {
    let place = egui::Rect::from_min_size(pos2(*left, rect.top()), vec2(width - space::XS, rect.height()));
    *left += width;
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(place).layout(layout), add);
}
