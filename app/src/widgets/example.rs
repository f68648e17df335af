//! Text with tokens shaded by how strongly a feature fires on them.

use std::borrow::Cow;
use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat};
use egui::{Color32, FontId, Galley, Role, Sense, Stroke, Ui, WidgetInfo};

use super::{format, text};
use crate::data::Vocabulary;
use crate::theme::{palette, tokens::Palette, tokens::size};

/// What to draw: a window of text.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Tokens of the window; empty where rows are not tokens, which then show as their positions.
    pub tokens: &'a [u32],
    /// Activation at each; as long as `tokens`, or empty when there is none. Of rows that are no tokens, one
    /// for each.
    pub values: &'a [f32],
    /// Activation that gets the full colour.
    pub max: f32,
    /// Index of the token that the example is about.
    pub marked: Option<usize>,
    /// Position in the document of the first token.
    pub start: u32,
    /// Whether line ends also break the line.
    pub breaks: bool,
    /// What comes from each token: then that is what the shades say, not the activation.
    pub sources: Option<Shares<'a>>,
}

/// What a number comes from, token by token.
#[derive(Clone, Copy, Debug)]
pub struct Shares<'a> {
    /// Of each token of the window.
    pub of: &'a [Source],
    /// The contribution, positive or negative, that gets the full colour.
    pub largest: f32,
}

/// What is known of one token as a source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Source {
    /// Its contribution.
    Gives(f32),
    /// It is not among those whose contribution is kept, the largest.
    Little,
    /// The model did not see it there: it comes later, or belongs to an earlier context.
    #[default]
    Unseen,
}

impl Window<'_> {
    fn len(&self) -> usize {
        self.tokens.len().max(self.values.len())
    }

    /// What each row shows as: its token's text, or where it is. Nothing is made up for rows that came without
    /// text.
    fn texts<'a>(&self, vocabulary: &'a Vocabulary) -> Vec<Cow<'a, str>> {
        let mut texts = vocabulary.in_context(self.tokens);
        let places = texts.len()..self.len();
        texts.extend(places.map(|i| Cow::Owned(format!(" {} ", u64::from(self.start) + i as u64))));
        texts
    }
}

impl Shares<'_> {
    fn source(&self, i: usize) -> Source {
        self.of.get(i).copied().unwrap_or_default()
    }

    /// Colour of the text and of its ground.
    fn colours(&self, i: usize, p: &Palette) -> (Color32, Color32) {
        match self.source(i) {
            Source::Gives(value) if self.largest > 0.0 => (p.strong, p.signed_shade(value / self.largest)),
            Source::Gives(_) | Source::Little => (p.text, Color32::TRANSPARENT),
            Source::Unseen => (p.weak, Color32::TRANSPARENT),
        }
    }

    fn words(&self, i: usize) -> String {
        match self.source(i) {
            Source::Gives(value) => format!("contributes {}", format::signed(f64::from(value))),
            Source::Little => "contributes less than those that are listed".to_owned(),
            Source::Unseen => "not seen from the marked token".to_owned(),
        }
    }
}

/// Draws the window; the token under the pointer is spelled out.
pub fn show(ui: &mut Ui, vocabulary: &Vocabulary, window: &Window<'_>) -> egui::Response {
    let (job, ends) = layout(ui, vocabulary, window);
    let plain = job.text.clone();
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(job));
    let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &plain));
    if ui.is_rect_visible(rect) {
        ui.painter().galley(rect.min, Arc::clone(&galley), palette(ui).text);
    }
    let Some(pointer) = response.hover_pos() else { return response };
    match token_at(&galley, &ends, pointer - rect.min) {
        Some(i) => response.on_hover_ui_at_pointer(|ui| token_card(ui, vocabulary, window, i)),
        None => response,
    }
}

fn layout(ui: &Ui, vocabulary: &Vocabulary, window: &Window<'_>) -> (LayoutJob, Vec<usize>) {
    let p = palette(ui);
    let mut job = LayoutJob::default();
    job.wrap.max_width = ui.available_width();
    job.wrap.break_anywhere = false;
    let mut ends = Vec::with_capacity(window.len());
    let mut chars = 0;
    for (i, raw) in window.texts(vocabulary).into_iter().enumerate() {
        let marked = window.marked == Some(i);
        // The rest of a character that the token before shows whole: seen only where there is something to say about it.
        let fires = window.values.get(i).is_some_and(|value| *value > 0.0);
        let mut shown = match &*raw {
            "" if vocabulary.is_part(window.tokens.get(i)) && !marked && !fires => String::new(),
            "" => text::NOTHING.to_owned(),
            raw => text::in_line(raw),
        };
        if window.breaks && raw.ends_with('\n') {
            shown.push('\n');
        }
        let value = window.values.get(i).copied().unwrap_or(0.0);
        let share = if window.max > 0.0 { value / window.max } else { 0.0 };
        let (color, background) = match window.sources {
            None if share > 0.0 => (p.on_shade(share), p.shade(share)),
            None => (p.text, p.shade(share)),
            Some(shares) => shares.colours(i, p),
        };
        let format = TextFormat {
            font_id: FontId::monospace(size::MONO),
            line_height: Some(20.0),
            color,
            background,
            expand_bg: 0.0,
            underline: if marked { Stroke::new(2.0, p.accent) } else { Stroke::NONE },
            valign: egui::Align::Center,
            ..TextFormat::default()
        };
        job.append(&shown, 0.0, format);
        chars += shown.chars().count();
        ends.push(chars);
    }
    (job, ends)
}

/// Index of the token under `pos` (relative to the galley), if the pointer is on a character.
pub fn token_at(galley: &Galley, ends: &[usize], pos: egui::Vec2) -> Option<usize> {
    let cursor = galley.cursor_from_pos(pos);
    // The cursor stands between characters, at the edge nearest to the pointer.
    let edge = galley.pos_from_cursor(cursor);
    let character = if pos.x < edge.min.x { cursor.index.0.checked_sub(1)? } else { cursor.index.0 };
    let token = ends.partition_point(|end| *end <= character);
    (token < ends.len()).then_some(token)
}

fn token_card(ui: &mut Ui, vocabulary: &Vocabulary, window: &Window<'_>, i: usize) {
    if let Some(token) = window.tokens.get(i) {
        ui.horizontal(|ui| {
            let shown = text::in_list(&vocabulary.show(*token));
            ui.monospace(egui::RichText::new(shown).color(palette(ui).strong));
            ui.weak(format!("token {token}"));
        });
    }
    if let Some(shares) = window.sources {
        ui.label(shares.words(i));
    }
    if let Some(value) = window.values.get(i) {
        ui.label(format!("activation {}", format::value(f64::from(*value))));
        if window.max > 0.0 {
            ui.weak(format!("{} of the feature's maximum", format::percent(f64::from(value / window.max))));
        }
    }
    ui.weak(format!("position {}", format::grouped(u64::from(window.start) + i as u64)));
}
