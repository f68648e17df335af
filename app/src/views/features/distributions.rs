//! Histograms of the columns, next to the table. Dragged over, they filter.

use egui::{
    Align, DragValue, Layout, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};

use super::order::{Query, TableOrder};
use super::spread::{BINS, Spread};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::format;

/// Height of a histogram's bars.
const HEIGHT: f32 = 44.0;

/// Draws the panel and changes `query`.
pub fn show(ui: &mut Ui, spreads: &[Spread], ordered: &TableOrder, dead: u64, query: &mut Query) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        for (i, spread) in spreads.iter().enumerate() {
            one(ui, spread, ordered.counts.get(i).map(Vec::as_slice), query);
            ui.add_space(space::M);
        }
        if dead > 0 {
            let text = format!("{} features never fired; they are not counted here.", format::grouped(dead));
            ui.label(RichText::new(text).size(size::SMALL).color(palette(ui).weak));
        }
    });
}

fn one(ui: &mut Ui, spread: &Spread, passing: Option<&[u32]>, query: &mut Query) {
    let p = palette(ui);
    let number = spread.number;
    let mut range = query.range(number).map(|r| (r.from, r.to));
    let before = range;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        let colour = if range.is_some() { p.accent } else { p.text };
        ui.label(RichText::new(number.name()).size(size::SMALL).color(colour)).on_hover_text(number.about());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| ends(ui, spread, &mut range));
    });
    bars(ui, spread, passing, &mut range);
    if range != before {
        query.set_range(number, range);
    }
}

/// The two ends as fields, so that a range can be typed.
fn ends(ui: &mut Ui, spread: &Spread, range: &mut Option<(f32, f32)>) {
    let number = spread.number;
    let (mut from, mut to) = range.unwrap_or((spread.value(0.0), spread.value(1.0)));
    let before = (from, to);
    let field = |value: &mut f32, ui: &mut Ui, name: &str| {
        let speed = f64::from(spread.value(1.0) - spread.value(0.0)) / 400.0;
        let drag = DragValue::new(value)
            .speed(speed)
            .custom_formatter(move |value, _| number.text(value))
            .custom_parser(move |text| parse(number, text));
        let response = ui.add(drag);
        response
            .widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, format!("{name} {}", number.name())));
    };
    ui.style_mut().spacing.interact_size.y = 18.0;
    ui.style_mut().spacing.button_padding = vec2(4.0, 0.0);
    ui.style_mut().override_font_id = Some(egui::FontId::proportional(size::SMALL));
    field(&mut to, ui, "Largest");
    ui.label(RichText::new("–").color(palette(ui).weak));
    field(&mut from, ui, "Smallest");
    if (from, to) != before {
        *range = Some((from.min(to), from.max(to)));
    }
}

/// What was typed: shares are typed as per cent.
fn parse(number: crate::data::Number, text: &str) -> Option<f64> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '%').collect();
    let value: f64 = digits.replace('−', "-").parse().ok()?;
    Some(if number == crate::data::Number::Density { value / 100.0 } else { value })
}

fn bars(ui: &mut Ui, spread: &Spread, passing: Option<&[u32]>, range: &mut Option<(f32, f32)>) {
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::click_and_drag());
    let name = spread.number.name();
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, format!("Histogram of {name}: {} features", spread.total()))
    });
    let share = |x: f32| f64::from((x - rect.left()) / rect.width());
    if response.double_clicked() {
        *range = None;
    } else if response.dragged()
        && let (Some(origin), Some(now)) =
            (ui.input(|i| i.pointer.press_origin()), response.interact_pointer_pos())
    {
        *range = Some(spread.range(share(origin.x).clamp(0.0, 1.0), share(now.x).clamp(0.0, 1.0)));
    }
    if !ui.is_rect_visible(rect) {
        return;
    }
    draw(ui, rect, spread, passing, *range);
    if let Some(at) = response.hover_pos() {
        let bin = ((share(at.x) * BINS as f64) as usize).min(BINS - 1);
        let text = describe(spread, passing, bin);
        response
            .on_hover_cursor(egui::CursorIcon::ResizeHorizontal)
            .on_hover_text_at_pointer(format!("{text}\nDrag to filter, double-click to clear"));
    }
}

/// The range that passes, all features in grey and those that pass in the accent colour.
fn draw(ui: &Ui, rect: Rect, spread: &Spread, passing: Option<&[u32]>, range: Option<(f32, f32)>) {
    let (p, painter) = (palette(ui), ui.painter());
    painter.rect_filled(rect, 2.0, p.well);
    if let Some((from, to)) = range {
        let x = |value: f32, end: f64| {
            let share = spread.share(value).unwrap_or(end).clamp(0.0, 1.0) as f32;
            rect.left() + share * rect.width()
        };
        let (left, right) = (x(from, 0.0), x(to, 1.0));
        let selected = Rect::from_x_y_ranges(left..=right.max(left + 1.0), rect.y_range());
        painter.rect_filled(selected, 0.0, p.selection);
    }
    // Roots of counts: the few at the ends are as much of interest as the many in the middle.
    let top = spread.counts.iter().copied().max().unwrap_or(1).max(1) as f32;
    let width = rect.width() / BINS as f32;
    let bar = |bin: usize, count: u32, colour| {
        if count > 0 {
            let tall = ((count as f32 / top).sqrt() * (HEIGHT - 3.0)).max(1.5);
            let left = rect.left() + bin as f32 * width;
            let ends = (pos2(left + 0.5, rect.bottom() - tall), pos2(left + width - 0.5, rect.bottom()));
            painter.rect_filled(Rect::from_min_max(ends.0, ends.1), 0.0, colour);
        }
    };
    for (bin, count) in spread.counts.iter().enumerate() {
        bar(bin, *count, p.line_strong);
    }
    for (bin, count) in passing.unwrap_or(&[]).iter().enumerate() {
        bar(bin, *count, p.accent);
    }
    painter.hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(1.0, p.line_strong));
}

/// A bin's range and count in words.
fn describe(spread: &Spread, passing: Option<&[u32]>, bin: usize) -> String {
    let edge = |bin: usize| spread.number.text(f64::from(spread.value(bin as f64 / BINS as f64)));
    let count = |counts: &[u32]| format::grouped(u64::from(counts[bin]));
    let mut text = format!("{} to {}\n{} features", edge(bin), edge(bin + 1), count(&spread.counts));
    if let Some(passing) = passing.filter(|passing| passing[bin] != spread.counts[bin]) {
        text += &format!(", {} of them shown", count(passing));
    }
    text
}
