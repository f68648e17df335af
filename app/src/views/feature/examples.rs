//! The right column of a feature's page: text that makes it fire.

use std::collections::HashSet;

use egui::{Align, ComboBox, Label, Layout, RichText, Role, Slider, Ui, WidgetInfo};

use super::heads;
use crate::data::{Example, ExampleRow, FeaturePage, Vocabulary, export};
use crate::load::Problem;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::example::{self, Shares, Window};
use crate::widgets::{facts, format, notice};

/// Widest context either side that the control offers; it then means all there is.
const ALL: u32 = 64;

/// Width of a column of examples on a wide screen.
const COLUMN: f32 = 680.0;
/// Width of all choices in a line.
const CHOICES: f32 = 450.0;
/// Width from which on title and choices are in one line.
const ONE_LINE: f32 = 560.0;

/// Which examples are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Group {
    #[default]
    All,
    Strongest,
    Intervals,
    Random,
    /// Every firing there is, from the table of activations.
    Every,
}

impl Group {
    const ALL: [Self; 5] = [Self::All, Self::Strongest, Self::Intervals, Self::Random, Self::Every];

    fn name(self) -> &'static str {
        match self {
            Self::All => "all groups",
            Self::Strongest => "strongest",
            Self::Intervals => "by interval",
            Self::Random => "random",
            Self::Every => "every firing",
        }
    }

    fn has(self, interval: i8) -> bool {
        match self {
            Self::All | Self::Every => true,
            Self::Strongest => interval == 0,
            Self::Intervals => interval > 0,
            Self::Random => interval < 0,
        }
    }
}

/// What the shades of tokens say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shade {
    /// How strongly the feature fires on each.
    #[default]
    Activation,
    /// What each gives to the marked one.
    Source,
}

/// How examples are shown.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokens before and after the one that the example is about.
    context: u32,
    /// Whether line ends break the line.
    breaks: bool,
    /// Whether texts that were shown above are shown again.
    repeats: bool,
    group: Group,
    shade: Shade,
}

impl Options {
    /// Whether every firing is listed, and not the examples of the index.
    pub fn is_every(&self) -> bool {
        self.group == Group::Every
    }

    /// Whether `page` is shown by source; a page without sources is not.
    fn by_source(&self, page: &FeaturePage) -> bool {
        self.shade == Shade::Source && page.has_sources()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { context: 24, breaks: false, repeats: false, group: Group::default(), shade: Shade::default() }
    }
}

/// What the person did.
#[derive(Clone, Debug, Default)]
pub struct Interaction {
    /// The activation of the example under the pointer.
    pub hovered: Option<f32>,
    /// Text to be copied.
    pub copy: Option<String>,
    /// Document and position to be read on at.
    pub read: Option<(u32, u32)>,
    /// Text to be tried in the prompt.
    pub prompt: Option<String>,
    /// The example whose address is to be copied.
    pub address: Option<usize>,
}

/// What the page's address and folder say about its examples.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressedExample {
    /// The example that the address names.
    pub chosen: Option<usize>,
    /// Whether it is to be brought into view.
    pub scroll: bool,
    /// Whether documents can be read on.
    pub has_documents: bool,
}

/// The line above the examples.
pub fn controls(ui: &mut Ui, page: &FeaturePage, options: &mut Options) {
    let title = |ui: &mut Ui| {
        facts::section(ui, "Examples");
        facts::caption(ui, format!("{}", page.examples.len()));
    };
    if ui.available_width() < ONE_LINE {
        ui.horizontal(title);
        ui.horizontal_wrapped(|ui| choices(ui, options));
    } else {
        ui.horizontal(|ui| {
            title(ui);
            let room = ui.available_width() - CHOICES;
            ui.add_space(room.max(0.0));
            choices(ui, options);
        });
    }
    if page.has_sources() {
        shades(ui, options);
    }
}

/// Which examples and how, from left to right.
fn choices(ui: &mut Ui, options: &mut Options) {
    ui.scope(|ui| {
        ui.style_mut().spacing.slider_width = 80.0;
        let slider = Slider::new(&mut options.context, 2..=ALL)
            .custom_formatter(|v, _| if v >= f64::from(ALL) { "all".to_owned() } else { format!("±{v:.0}") });
        ui.add(slider.text("context")).on_hover_text("Tokens before and after the marked one");
    });
    let combo =
        ComboBox::from_id_salt("group").width(92.0).selected_text(options.group.name()).show_ui(ui, |ui| {
            for group in Group::ALL {
                ui.selectable_value(&mut options.group, group, group.name());
            }
        });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Which examples"));
    ui.checkbox(&mut options.repeats, "repeats").on_hover_text("Show texts that were shown above again");
    ui.checkbox(&mut options.breaks, "line breaks").on_hover_text("Start a new line after ↵");
}

/// What tokens are shaded by, and what the colours mean.
fn shades(ui: &mut Ui, options: &mut Options) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        facts::caption(ui, "shade");
        ui.selectable_value(&mut options.shade, Shade::Activation, "by activation")
            .on_hover_text("How strongly the feature fires on each token");
        ui.selectable_value(&mut options.shade, Shade::Source, "by source").on_hover_text(
            "What each token gives to the marked one through the heads (direct feature attribution)",
        );
        if options.shade == Shade::Source {
            for (colour, name) in [(p.signed_shade(1.0), "adds"), (p.signed_shade(-1.0), "takes away")] {
                ui.add_space(space::S);
                let (rect, _) = ui.allocate_exact_size(egui::vec2(12.0, 12.0), egui::Sense::hover());
                ui.painter().rect_filled(rect, 2.0, colour);
                facts::caption(ui, name);
            }
        }
    });
    ui.add_space(space::XS);
}

/// The groups in one column, in two and in three: the strongest are always what is read first.
const GROUPS: [&[&[i8]]; 3] =
    [&[&[0, 1, 2, 3, 4, 5, -1]], &[&[0, -1], &[1, 2, 3, 4, 5]], &[&[0], &[1, 2, 3, 4, 5], &[-1]]];

/// The groups of each column, in a room of this width; columns that would be empty are left out.
fn columns(room: f32, has: impl Fn(i8) -> bool) -> Vec<Vec<i8>> {
    let most = ((room / COLUMN) as usize).clamp(1, GROUPS.len());
    let filled = |columns: &[&[i8]]| -> Vec<Vec<i8>> {
        let groups = |column: &&[i8]| column.iter().copied().filter(|i| has(*i)).collect::<Vec<i8>>();
        columns.iter().map(groups).filter(|column| !column.is_empty()).collect()
    };
    // Where a group is missing, a smaller number of columns may divide the others better.
    let of_all = filled(GROUPS[most - 1]);
    if of_all.len() < most { filled(GROUPS[of_all.len().max(1) - 1]) } else { of_all }
}

/// The examples by interval.
pub fn list(
    ui: &mut Ui,
    page: &FeaturePage,
    vocabulary: &Vocabulary,
    options: &Options,
    named: AddressedExample,
) -> Interaction {
    let mut asked = Interaction::default();
    if let Some(gap) = &page.gap {
        notice::problem_line(ui, gap);
        return asked;
    }
    if page.examples.is_empty() {
        let why = if page.row.count == 0 {
            "This feature did not fire on any indexed token."
        } else {
            "The index holds no examples of this feature."
        };
        ui.label(RichText::new(why).color(palette(ui).weak));
        return asked;
    }
    if let Some(example) = named.chosen.filter(|example| *example >= page.examples.len()) {
        let what = format!("Feature {} has no example {example}.", page.row.feature);
        let remedy = format!("Its examples are 0 to {}.", page.examples.len() - 1);
        notice::problem_line(ui, &Problem::new(what).with_remedy(remedy));
    }
    let has = |interval: i8| {
        page.examples.iter().any(|e| e.row.interval == interval) && options.group.has(interval)
    };
    let columns = columns(ui.available_width(), has);
    match &columns[..] {
        // What an address names is shown whatever groups are selected.
        [] | [_] => GROUPS[0][0].iter().for_each(|interval| {
            group(ui, page, vocabulary, options, named, *interval, &mut asked);
        }),
        columns => {
            ui.spacing_mut().item_spacing.x = space::XL;
            ui.columns(columns.len(), |parts| {
                for (ui, intervals) in parts.iter_mut().zip(columns) {
                    ui.spacing_mut().item_spacing.x = space::S;
                    for interval in intervals {
                        group(ui, page, vocabulary, options, named, *interval, &mut asked);
                    }
                }
            });
        }
    }
    let without = page.examples.iter().filter(|e| e.sources.is_none()).count();
    if options.by_source(page) && without > 0 {
        let words = format!(
            "{without} examples are not shown: the index traced only the strongest ones to their sources."
        );
        ui.label(RichText::new(words).size(size::SMALL).color(palette(ui).weak));
    }
    asked
}

/// The examples of one interval with their heading; nothing where there are none to show.
fn group(
    ui: &mut Ui,
    page: &FeaturePage,
    vocabulary: &Vocabulary,
    options: &Options,
    named: AddressedExample,
    interval: i8,
    asked: &mut Interaction,
) {
    let is_named = |i: usize| named.chosen == Some(i);
    let by_source = options.by_source(page);
    // What an address names is shown whatever groups are selected.
    let shown = |(i, e): &(usize, &Example)| {
        let wanted = options.group.has(interval) && (e.sources.is_some() || !by_source);
        e.row.interval == interval && (wanted || is_named(*i))
    };
    let all: Vec<(usize, &Example)> = page.examples.iter().enumerate().filter(shown).collect();
    if all.is_empty() {
        return;
    }
    // Repeats within a group only: one of the strongest may well stand for its interval too.
    let mut seen = HashSet::new();
    let count = all.len();
    let listed: Vec<(usize, &Example)> = all
        .into_iter()
        .filter(|(i, e)| seen.insert(text_of(&e.row, options.context)) || options.repeats || is_named(*i))
        .collect();
    heading(ui, interval, page.row.max, listed.len(), count);
    for (i, example) in listed {
        let (max, has_documents) = (page.row.max, named.has_documents);
        let one = ExampleLine { i, example, max, vocabulary, options, by_source, has_documents };
        let salt = (example.row.interval, example.row.document, example.row.position);
        let drawn = ui.push_id(salt, |ui| one.show(ui, is_named(i), asked));
        if named.scroll && is_named(i) {
            ui.scroll_to_rect(drawn.inner, Some(Align::Center));
        }
    }
    ui.add_space(space::M);
}

/// What makes two examples the same to a reader: the tokens that are shown.
fn text_of(example: &ExampleRow, context: u32) -> &[u32] {
    let (from, to) = visible(example, context);
    &example.tokens[from..to]
}

fn heading(ui: &mut Ui, interval: i8, max: f32, shown: usize, all: usize) {
    let p = palette(ui);
    let (title, range) = match interval {
        0 => ("Strongest".to_owned(), String::new()),
        -1 => ("Random".to_owned(), "drawn from all tokens that it fires on".to_owned()),
        i => {
            let fifth = |n: i8| format::value(f64::from(max) * f64::from(n) / 5.0);
            let title = format!("{}–{} % of max", 20 * (5 - i), 20 * (6 - i));
            (title, format!("{} to {}", fifth(5 - i), fifth(6 - i)))
        }
    };
    ui.horizontal(|ui| {
        ui.label(RichText::new(title).strong().color(p.strong));
        ui.label(RichText::new(range).size(size::SMALL).color(p.weak));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let count = match all - shown {
                0 => shown.to_string(),
                1 => "1 repeat left out".to_owned(),
                left_out => format!("{left_out} repeats left out"),
            };
            ui.label(RichText::new(count).size(size::SMALL).color(p.weak));
        });
    });
    let y = ui.cursor().top() - 1.0;
    ui.painter().hline(ui.max_rect().x_range(), y, egui::Stroke::new(1.0, p.line));
    ui.add_space(space::XS);
}

/// An example and what it is drawn with.
#[derive(Clone, Copy)]
struct ExampleLine<'a> {
    /// Its number on the page.
    i: usize,
    example: &'a Example,
    max: f32,
    vocabulary: &'a Vocabulary,
    options: &'a Options,
    by_source: bool,
    has_documents: bool,
}

impl ExampleLine<'_> {
    /// Draws it; gives its place.
    fn show(&self, ui: &mut Ui, chosen: bool, asked: &mut Interaction) -> egui::Rect {
        let ground = ui.painter().add(egui::Shape::Noop);
        let rect = one(ui, self, asked);
        if chosen {
            let p = palette(ui);
            let frame = rect.expand2(egui::vec2(space::XS, 1.0));
            let line = egui::Stroke::new(1.0, p.accent);
            let shape = egui::epaint::RectShape::new(frame, 3.0, p.selection, line, egui::StrokeKind::Inside);
            ui.painter().set(ground, shape);
            let response = ui.interact(rect, ui.scope_id().with("chosen"), egui::Sense::hover());
            response.widget_info(|| {
                WidgetInfo::selected(Role::Row, true, true, format!("Example {} of the address", self.i))
            });
        }
        rect
    }
}

fn one(ui: &mut Ui, shown: &ExampleLine<'_>, asked: &mut Interaction) -> egui::Rect {
    let ExampleLine { example: whole, max, vocabulary, options, .. } = *shown;
    let example = &whole.row;
    let (from, to) = visible(example, options.context);
    let start = example.start + from as u32;
    let sources = whole.sources.as_ref().filter(|_| shown.by_source);
    let gives = sources.map(|sources| heads::of_window(example, sources, start, to - from));
    let shares = sources.zip(gives.as_deref()).map(|(s, of)| Shares { of, largest: heads::full(s) });
    let window = Window {
        tokens: example.tokens.get(from..to).unwrap_or_default(),
        values: example.values.get(from..to.min(example.values.len())).unwrap_or_default(),
        max,
        marked: example.marked().filter(|m| (from..to).contains(m)).map(|m| m - from),
        start,
        breaks: options.breaks,
        sources: shares,
    };
    let drawn = ui.horizontal_top(|ui| {
        ui.allocate_ui_with_layout(egui::vec2(56.0, 20.0), Layout::right_to_left(Align::Center), |ui| {
            ui.set_width(56.0);
            // As many digits in every line, so that the points stand in a column.
            let value = match max {
                max if max >= 100.0 => format!("{:.1}", example.value),
                max if max >= 1.0 => format!("{:.2}", example.value),
                _ => format::value(f64::from(example.value)),
            };
            let place = format!(
                "document {}, position {}\nClick for more",
                example.document,
                format::grouped(u64::from(example.position))
            );
            let label = Label::new(RichText::new(value).color(palette(ui).weak))
                .truncate()
                .sense(egui::Sense::click());
            let label = ui.add(label).on_hover_text(place).on_hover_cursor(egui::CursorIcon::PointingHand);
            egui::Popup::menu(&label).show(|ui| menu(ui, shown, asked));
        });
        ui.add_space(space::XS);
        ui.vertical(|ui| {
            let text = example::show(ui, vocabulary, &window);
            text.context_menu(|ui| menu(ui, shown, asked));
            if shown.by_source {
                heads::line(ui, whole, vocabulary, start);
            }
        });
    });
    if ui.rect_contains_pointer(drawn.response.rect) {
        asked.hovered = Some(example.value);
    }
    ui.add_space(space::XS);
    drawn.response.rect
}

fn menu(ui: &mut Ui, shown: &ExampleLine<'_>, asked: &mut Interaction) {
    let ExampleLine { i, vocabulary, has_documents, .. } = *shown;
    let example = &shown.example.row;
    if ui.button("Copy text").clicked() {
        asked.copy = Some(export::plain(example, vocabulary));
        ui.close();
    }
    if ui.button("Copy with activations").clicked() {
        asked.copy = Some(export::with_values(example, vocabulary));
        ui.close();
    }
    // Rows that are not tokens have no text.
    if !example.tokens.is_empty() && ui.button("Try this text in the prompt").clicked() {
        asked.prompt = Some(export::plain(example, vocabulary));
        ui.close();
    }
    if ui.button("Copy address of example").clicked() {
        asked.address = Some(i);
        ui.close();
    }
    let read =
        ui.add_enabled(has_documents, egui::Button::new(format!("Read document {}", example.document)));
    if read.on_disabled_hover_text("The dataset that was indexed is not in the open folder").clicked() {
        asked.read = Some((example.document, example.position));
        ui.close();
    }
}

/// The part of the window within `context` tokens of the marked one.
fn visible(example: &ExampleRow, context: u32) -> (usize, usize) {
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
        let example =
            ExampleRow { position: 105, start: 100, tokens: (0..20).collect(), ..ExampleRow::default() };
        assert_eq!(visible(&example, 2), (3, 8));
        assert_eq!(visible(&example, 10), (0, 16));
        assert_eq!(visible(&example, ALL), (0, 20));
        let outside = ExampleRow { position: 5, ..example };
        assert_eq!(visible(&outside, 2), (0, 20));
    }

    #[test]
    fn wide_screens_have_columns_and_none_of_them_is_empty() {
        let all = |_: i8| true;
        assert_eq!(columns(679.0, all), [[0, 1, 2, 3, 4, 5, -1]]);
        assert_eq!(columns(1400.0, all), [vec![0, -1], vec![1, 2, 3, 4, 5]]);
        assert_eq!(columns(3000.0, all), [vec![0], vec![1, 2, 3, 4, 5], vec![-1]]);
        assert_eq!(columns(3000.0, |i| i >= 0), [vec![0], vec![1, 2, 3, 4, 5]]);
        assert_eq!(columns(3000.0, |i| i == 0), [[0]]);
    }

    #[test]
    fn the_same_text_is_the_same_wherever_it_stands() {
        let example =
            ExampleRow { position: 105, start: 100, tokens: (0..20).collect(), ..ExampleRow::default() };
        let elsewhere = ExampleRow {
            position: 9,
            start: 6,
            tokens: (2..9).collect(),
            document: 4,
            ..ExampleRow::default()
        };
        assert_eq!(text_of(&example, 2), text_of(&elsewhere, 2));
        assert_ne!(text_of(&example, 4), text_of(&elsewhere, 4));
    }
}
