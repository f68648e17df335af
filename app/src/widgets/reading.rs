//! Running text whose tokens can be pointed at, chosen and coloured.

use std::sync::Arc;

use egui::text::{CharIndex, LayoutJob, TextFormat};
use egui::{Color32, CornerRadius, FontId, Galley, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo};

use super::{example, text};
use crate::data::Vocabulary;
use crate::theme::{palette, tokens::size};

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Spaces and line ends are shown as signs.
    pub marks: bool,
    /// Line ends break the line.
    pub breaks: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { marks: false, breaks: true }
    }
}

/// What to draw.
pub struct Text<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// Ground of each token; as long as `tokens`, or empty for none.
    pub grounds: &'a [Color32],
    /// Index of the chosen token.
    pub chosen: Option<usize>,
    /// Whether to bring the chosen token into view.
    pub scroll: bool,
    /// How it is written.
    pub style: Style,
}

/// What the person does with it: indices of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interaction {
    /// The token under the pointer.
    pub pointed: Option<usize>,
    /// The token that was clicked.
    pub clicked: Option<usize>,
}

/// Draws the text. `card` fills the tooltip of a token.
pub fn show(
    ui: &mut Ui,
    vocabulary: &Vocabulary,
    of: &Text<'_>,
    card: impl FnOnce(&mut Ui, usize),
) -> Interaction {
    let (job, ends) = layout(ui, vocabulary, of);
    let plain = job.text.clone();
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(job));
    let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Document, true, &plain));
    let p = palette(ui);
    let pointed = response.hover_pos().and_then(|pos| example::token_at(&galley, &ends, pos - rect.min));
    if ui.is_rect_visible(rect) {
        ui.painter().galley(rect.min, Arc::clone(&galley), p.text);
        let frame = |i: usize, stroke: Stroke| {
            for place in places(&galley, &ends, i) {
                let place = place.translate(rect.min.to_vec2()).expand2(egui::vec2(1.0, -1.0));
                ui.painter().rect_stroke(place, CornerRadius::same(2), stroke, StrokeKind::Outside);
            }
        };
        if let Some(i) = pointed {
            frame(i, Stroke::new(1.0, p.line_strong));
        }
        if let Some(i) = of.chosen {
            frame(i, Stroke::new(1.5, p.accent));
        }
    }
    if let (true, Some(i)) = (of.scroll, of.chosen)
        && let Some(place) = places(&galley, &ends, i).first()
    {
        ui.scroll_to_rect(place.translate(rect.min.to_vec2()).expand(60.0), None);
    }
    if text::is_right_to_left(&plain) {
        super::facts::caption(ui, text::RIGHT_TO_LEFT);
    }
    let clicked = response
        .clicked()
        .then(|| response.interact_pointer_pos())
        .flatten()
        .and_then(|pos| example::token_at(&galley, &ends, pos - rect.min));
    if let Some(i) = pointed {
        response.on_hover_cursor(egui::CursorIcon::PointingHand).on_hover_ui_at_pointer(|ui| card(ui, i));
    }
    Interaction { pointed, clicked }
}

/// The job, and the character at which each token ends.
fn layout(ui: &Ui, vocabulary: &Vocabulary, of: &Text<'_>) -> (LayoutJob, Vec<usize>) {
    let p = palette(ui);
    let mut job = LayoutJob::default();
    job.wrap.max_width = ui.available_width();
    let mut ends = Vec::with_capacity(of.tokens.len());
    let mut chars = 0;
    for (i, raw) in vocabulary.in_context(of.tokens).into_iter().enumerate() {
        let ground = of.grounds.get(i).copied().unwrap_or(Color32::TRANSPARENT);
        // The rest of a character that the token before shows whole: seen only where there is something to say about it.
        let seen = of.chosen == Some(i) || ground != Color32::TRANSPARENT;
        let rest = raw.is_empty() && vocabulary.is_part(of.tokens.get(i)) && !seen;
        let shown = if rest { String::new() } else { written(&raw, of.style) };
        let colour = match ground {
            Color32::TRANSPARENT => p.text,
            // A ground of strong activation is light in both looks.
            light if light.intensity() > 0.45 => p.on_activation,
            _ => p.strong,
        };
        job.append(
            &shown,
            0.0,
            TextFormat {
                font_id: FontId::monospace(size::BODY),
                line_height: Some(22.0),
                color: colour,
                background: ground,
                expand_bg: 0.0,
                valign: egui::Align::Center,
                ..TextFormat::default()
            },
        );
        chars += shown.chars().count();
        ends.push(chars);
    }
    (job, ends)
}

/// A token as it is written in running text; never empty, so that it can be pointed at.
fn written(raw: &str, style: Style) -> String {
    if raw.is_empty() {
        return text::NOTHING.to_owned();
    }
    let line = |part: &str| {
        let line = text::in_line(part);
        if style.marks { line.replace(' ', "·") } else { line }
    };
    if style.breaks {
        // Indentation often comes in one token with the line end before it.
        raw.split('\n').map(line).collect::<Vec<_>>().join("↵\n")
    } else {
        line(raw)
    }
}

/// Where token `i` stands: one place a line. A line end at its end takes it no further.
fn places(galley: &Galley, ends: &[usize], i: usize) -> Vec<Rect> {
    let start = if i == 0 { 0 } else { ends.get(i - 1).copied().unwrap_or(0) };
    let end = ends.get(i).copied().unwrap_or(start);
    let (mut found, mut from) = (Vec::new(), 0);
    for row in &galley.rows {
        // A row's own line end counts as one of its characters.
        let visible = row.char_count_excluding_newline().0;
        let to = from + visible + usize::from(row.ends_with_newline);
        let (first, last) = (start.max(from) - from, end.min(from + visible).saturating_sub(from));
        if start < to && first < last {
            let x = |at: usize| row.pos.x + row.x_offset(CharIndex(at));
            let rect = row.rect();
            found.push(Rect::from_min_max(
                egui::pos2(x(first), rect.top()),
                egui::pos2(x(last), rect.bottom()),
            ));
        }
        from = to;
        if from >= end {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_marked_when_wanted_and_lines_break_when_wanted() {
        let style = |marks, breaks| Style { marks, breaks };
        assert_eq!(written(" a", style(true, true)), "·a");
        assert_eq!(written(" a", style(false, true)), " a");
        assert_eq!(written("}\n", style(false, true)), "}↵\n");
        assert_eq!(written("}\n", style(true, false)), "}↵");
        assert_eq!(written("\n\n  x", style(true, true)), "↵\n↵\n··x");
        assert_eq!(written("", style(false, false)), "∅");
    }
}
