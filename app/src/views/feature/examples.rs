//! The right column of a feature's page: text that makes it fire.

use egui::{Align, Label, Layout, RichText, Slider, Ui};

use crate::data::{Example, FeaturePage, Vocabulary};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::example::{self, Window};
use crate::widgets::{facts, format};

/// Widest context either side that the control offers; it then means all there is.
const ALL: u32 = 64;

/// How examples are shown.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokens before and after the one that the example is about.
    pub context: u32,
    /// Whether line ends break the line.
    pub breaks: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { context: 24, breaks: false }
    }
}

/// Controls and list, one under the other.
pub fn show(ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, options: &mut Options) {
    controls(ui, page, options);
    list(ui, page, vocabulary, options);
}

/// The line above the examples.
pub fn controls(ui: &mut Ui, page: &FeaturePage, options: &mut Options) {
    ui.horizontal(|ui| {
        facts::section(ui, "Examples");
        facts::caption(ui, format!("{}", page.examples.len()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.checkbox(&mut options.breaks, "line breaks").on_hover_text("Begin a new line after ↵");
            let slider = Slider::new(&mut options.context, 2..=ALL)
                .custom_formatter(
                    |v, _| if v >= f64::from(ALL) { "all".to_owned() } else { format!("±{v:.0}") },
                )
                .text("context");
            ui.add(slider).on_hover_text("Tokens before and after the marked one");
        });
    });
}

/// The examples by interval.
pub fn list(ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, options: &Options) {
    if page.examples.is_empty() {
        let why = if page.row.count == 0 {
            "This feature fired on none of the indexed tokens."
        } else {
            "The index holds no examples for this feature."
        };
        ui.label(RichText::new(why).color(palette(ui).weak));
        return;
    }
    for interval in [0, 1, 2, 3, 4, 5, -1] {
        let group: Vec<&Example> = page.examples.iter().filter(|e| e.interval == interval).collect();
        if !group.is_empty() {
            heading(ui, interval, page.row.max, group.len());
            for example in group {
                one(ui, example, page.row.max, vocabulary, options);
            }
            ui.add_space(space::M);
        }
    }
}

fn heading(ui: &mut Ui, interval: i8, max: f32, count: usize) {
    let p = palette(ui);
    let (title, range) = match interval {
        0 => ("Strongest".to_owned(), String::new()),
        -1 => ("Random".to_owned(), "drawn from all tokens that it fires on".to_owned()),
        i => {
            let fifth = |n: i8| format::value(f64::from(max) * f64::from(n) / 5.0);
            let title = match i {
                1 => "Top fifth".to_owned(),
                5 => "Lowest fifth".to_owned(),
                i => format!("Fifth {i} from the top"),
            };
            (title, format!("{} to {}", fifth(5 - i), fifth(6 - i)))
        }
    };
    ui.horizontal(|ui| {
        ui.label(RichText::new(title).strong().color(p.strong));
        ui.label(RichText::new(range).size(size::SMALL).color(p.weak));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(count.to_string()).size(size::SMALL).color(p.weak));
        });
    });
    let y = ui.cursor().top() - 1.0;
    ui.painter().hline(ui.max_rect().x_range(), y, egui::Stroke::new(1.0, p.line));
    ui.add_space(space::XS);
}

fn one(ui: &mut Ui, example: &Example, max: f32, vocabulary: &Vocabulary, options: &Options) {
    let (from, to) = visible(example, options.context);
    let window = Window {
        tokens: example.tokens.get(from..to).unwrap_or_default(),
        values: example.values.get(from..to.min(example.values.len())).unwrap_or_default(),
        max,
        marked: example.marked().filter(|m| (from..to).contains(m)).map(|m| m - from),
        start: example.start + from as u32,
        breaks: options.breaks,
    };
    ui.horizontal_top(|ui| {
        ui.allocate_ui_with_layout(egui::vec2(56.0, 20.0), Layout::right_to_left(Align::Center), |ui| {
            ui.set_width(56.0);
            let value = format::value(f64::from(example.value));
            let place = format!(
                "document {}, position {}",
                example.document,
                format::grouped(u64::from(example.position))
            );
            ui.add(Label::new(RichText::new(value).color(palette(ui).weak)).truncate()).on_hover_text(place);
        });
        ui.add_space(space::XS);
        example::show(ui, vocabulary, &window);
    });
    ui.add_space(space::XS);
}

/// The part of the window within `context` tokens of the marked one.
fn visible(example: &Example, context: u32) -> (usize, usize) {
    let all = (0, example.len());
    match example.marked() {
        Some(marked) if context < ALL => {
            let context = context as usize;
            (marked.saturating_sub(context), (marked + context + 1).min(example.len()))
        }
        _ => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_cut_around_the_marked_token() {
        let example = Example { position: 105, start: 100, tokens: (0..20).collect(), ..Example::default() };
        assert_eq!(visible(&example, 2), (3, 8));
        assert_eq!(visible(&example, 10), (0, 16));
        assert_eq!(visible(&example, ALL), (0, 20));
        let outside = Example { position: 5, ..example };
        assert_eq!(visible(&outside, 2), (0, 20));
    }
}
