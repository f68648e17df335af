//! Bars: histograms and small ranked lists.

use egui::{Align2, Color32, FontId, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::{format, table};
use crate::theme::{palette, tokens::size};

/// Counts in equal bins over a range of values.
#[derive(Clone, Copy, Debug)]
pub struct Bins<'a> {
    /// Accessible name.
    pub name: &'a str,
    /// What is counted.
    pub unit: &'a str,
    /// Counts, from the left.
    pub counts: &'a [u32],
    /// Left end of the first bin.
    pub low: f32,
    /// Right end of the last.
    pub high: f32,
    /// Whether the values are activations: amber is theirs alone.
    pub activations: bool,
}

impl Bins<'_> {
    /// The value at `share` of the range.
    fn value(&self, share: f64) -> f64 {
        f64::from(self.low) + share * (f64::from(self.high) - f64::from(self.low))
    }

    /// Where in the range, 0 to 1, `value` lies.
    fn share(&self, value: f32) -> f32 {
        (value - self.low) / (self.high - self.low)
    }

    fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The bin's range and count in words.
    fn describe(&self, bin: usize) -> String {
        let edge = |bin: usize| format::value(self.value(bin as f64 / self.counts.len() as f64));
        let count = self.counts[bin];
        let share = format::percent(f64::from(count) / self.total().max(1) as f64);
        // Units are of several; of one the first word is without its s.
        let (word, rest) = self.unit.split_once(' ').unwrap_or((self.unit, ""));
        let one = format!("{} {rest}", word.trim_end_matches('s'));
        let count = format::counted(u64::from(count), one.trim_end(), self.unit);
        format!("{} to {}\n{count}, {share}", edge(bin), edge(bin + 1))
    }
}

/// A histogram with the bin under the pointer spelled out. `marked` is a value to be pointed at.
pub fn histogram(ui: &mut Ui, bins: &Bins<'_>, height: f32, logarithmic: bool, marked: Option<f32>) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let (count, total) = (bins.counts.len(), bins.total());
    response.widget_info(|| {
        let name = format!("{}: {total} values in {count} bins", bins.name);
        WidgetInfo::labeled(Role::Image, true, name)
    });
    // The numbers of the axis stand below the bars.
    let plot = Rect::from_min_max(rect.min, pos2(rect.right(), rect.bottom() - 16.0));
    let width = plot.width() / count.max(1) as f32;
    let hovered = response.hover_pos().map(|pos| ((pos.x - plot.left()) / width) as usize);
    let hovered = hovered.filter(|bin| *bin < count);
    draw_bars(ui, bins, plot, logarithmic, hovered);
    draw_axis(ui, bins, plot, rect.bottom());
    if let Some(value) = marked.filter(|_| bins.high > bins.low) {
        draw_mark(ui, bins, plot, value);
    }
    if let Some(bin) = hovered {
        response.on_hover_text_at_pointer(bins.describe(bin));
    }
}

fn draw_bars(ui: &Ui, bins: &Bins<'_>, plot: Rect, logarithmic: bool, hovered: Option<usize>) {
    let p = palette(ui);
    let Bins { counts, low, high, .. } = *bins;
    let scale = |count: u32| if logarithmic { f64::from(count).ln_1p() } else { f64::from(count) };
    let top = counts.iter().copied().map(scale).fold(0.0, f64::max);
    let width = plot.width() / counts.len().max(1) as f32;
    let base = plot.bottom();
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // A single firing among millions is still seen.
        let tall = (scale(*count) / top * f64::from(plot.height() - 2.0)).max(1.0) as f32;
        let left = plot.left() + bin as f32 * width;
        let right = (left + width - 0.5).max(left + 1.0);
        let bar = Rect::from_min_max(pos2(left + 0.5, base - tall), pos2(right, base));
        let middle = bins.value((bin as f64 + 0.5) / counts.len() as f64) as f32;
        // What goes both ways has two colours; activations get stronger to the right.
        let colour = if hovered == Some(bin) {
            p.accent
        } else if low < 0.0 && middle < 0.0 {
            p.negative
        } else if low < 0.0 {
            p.positive
        } else if bins.activations {
            p.shade(middle / high)
        } else {
            p.accent.gamma_multiply(0.7)
        };
        ui.painter().rect_filled(bar, 1.0, colour);
    }
}

/// The base line with the numbers at its ends, and zero where it lies between them.
fn draw_axis(ui: &Ui, bins: &Bins<'_>, plot: Rect, bottom: f32) {
    let (p, painter) = (palette(ui), ui.painter());
    painter.hline(plot.x_range(), plot.bottom(), Stroke::new(1.0, p.line_strong));
    let number = |x: f32, align: Align2, text: String| {
        painter.text(pos2(x, bottom), align, text, FontId::proportional(size::SMALL), p.weak)
    };
    number(plot.left(), Align2::LEFT_BOTTOM, format::value(f64::from(bins.low)));
    if bins.low < 0.0 && bins.high > 0.0 {
        let x = plot.left() + plot.width() * bins.share(0.0);
        painter.vline(x, plot.y_range(), Stroke::new(1.0, p.line_strong));
        number(x, Align2::CENTER_BOTTOM, "0".to_owned());
    }
    number(plot.right(), Align2::RIGHT_BOTTOM, format::value(f64::from(bins.high)));
}

fn draw_mark(ui: &Ui, bins: &Bins<'_>, plot: Rect, value: f32) {
    let (p, painter) = (palette(ui), ui.painter());
    let x = plot.left() + plot.width() * bins.share(value).clamp(0.0, 1.0);
    painter.vline(x, plot.y_range(), Stroke::new(1.5, p.strong));
    let (side, gap) = if x > plot.center().x { (Align2::RIGHT_TOP, -4.0) } else { (Align2::LEFT_TOP, 4.0) };
    let font = FontId::proportional(size::SMALL);
    painter.text(pos2(x + gap, plot.top()), side, format::value(f64::from(value)), font, p.strong);
}

/// A thin bar under a number: `share` in 0..=1 of the room.
pub fn inline_bar(ui: &Ui, rect: Rect, share: f32, colour: Color32) {
    let bar = Rect::from_min_size(
        pos2(rect.left(), rect.bottom() - 2.0),
        vec2(rect.width() * share.clamp(0.0, 1.0), 2.0),
    );
    ui.painter().rect_filled(bar, 1.0, colour);
}

/// A bar as the background of a cell's number: a line below the number would look like a link.
pub fn behind_number(ui: &Ui, share: f32) {
    let rect = ui.max_rect().shrink2(vec2(4.0, 3.0));
    let bar = rect.with_max_x(rect.left() + rect.width() * share.clamp(0.0, 1.0));
    ui.painter().rect_filled(bar, 2.0, palette(ui).accent.gamma_multiply(0.2));
}

/// Height of a line of a list.
const LINE: f32 = 22.0;

/// A line that can be clicked: a name, a bar as long as the amount is of the most, the amount with its sign.
pub fn signed_line(ui: &mut Ui, name: &str, amount: f32, most: f32) -> egui::Response {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), LINE), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{name}, {amount:+.3}")));
    if response.hovered() {
        table::row_ground(ui, rect, false, true);
    }
    let colour = if amount < 0.0 { p.negative } else { p.positive };
    let width = 44.0 * (amount.abs() / most.max(f32::MIN_POSITIVE)).min(1.0);
    let bar = Rect::from_min_size(rect.right_center() - vec2(width, 4.0), vec2(width, 8.0));
    let painter = ui.painter();
    painter.rect_filled(bar, 1.0, colour);
    let small = FontId::proportional(size::SMALL);
    let number = rect.right_center() - vec2(50.0, 0.0);
    painter.text(number, Align2::RIGHT_CENTER, format!("{amount:+.3}"), small.clone(), p.strong);
    let room = rect.width() - 112.0;
    let mut job = egui::text::LayoutJob::simple_singleline(name.to_owned(), small, p.text);
    job.wrap = egui::text::TextWrapping::truncate_at_width(room);
    let galley = painter.layout_job(job);
    painter.galley(rect.left_center() - vec2(0.0, galley.size().y / 2.0), galley, p.text);
    response.on_hover_text(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_is_told_in_words() {
        let counts = [1, 3];
        let bins = Bins {
            name: "x",
            unit: "tokens of the text",
            counts: &counts,
            low: 0.0,
            high: 8.0,
            activations: true,
        };
        assert_eq!(bins.describe(0), "0 to 4.00\n1 token of the text, 25.0 %");
        assert_eq!(bins.describe(1), "4.00 to 8.00\n3 tokens of the text, 75.0 %");
    }
}
