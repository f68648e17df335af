//! Bars: histograms and small ranked lists.

use egui::{Align2, Color32, FontId, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::format;
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
}

/// A histogram with the bin under the pointer spelled out. `marked` is a value to be pointed at.
pub fn histogram(ui: &mut Ui, bins: &Bins<'_>, height: f32, logarithmic: bool, marked: Option<f32>) {
    let p = palette(ui);
    let Bins { name, unit, counts, low, high } = *bins;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let total: u64 = counts.iter().map(|c| u64::from(*c)).sum();
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, format!("{name}: {total} values in {} bins", counts.len()))
    });
    let base = rect.bottom() - 16.0;
    let plot = egui::Rect::from_min_max(rect.min, pos2(rect.right(), base));
    let scale = |count: u32| if logarithmic { f64::from(count).ln_1p() } else { f64::from(count) };
    let top = counts.iter().copied().map(scale).fold(0.0, f64::max);
    let width = plot.width() / counts.len().max(1) as f32;
    let hovered = response
        .hover_pos()
        .map(|pos| ((pos.x - plot.left()) / width) as usize)
        .filter(|bin| *bin < counts.len());
    let painter = ui.painter();
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let tall = (scale(*count) / top * f64::from(plot.height() - 2.0)).max(1.0) as f32;
        let left = plot.left() + bin as f32 * width;
        let bar = egui::Rect::from_min_max(
            pos2(left + 0.5, base - tall),
            pos2((left + width - 0.5).max(left + 1.0), base),
        );
        let middle = bins.value((bin as f64 + 0.5) / counts.len() as f64) as f32;
        let colour = match hovered == Some(bin) {
            true => p.accent,
            // What goes both ways has two colours; activations get stronger to the right.
            false if low < 0.0 && middle < 0.0 => p.negative,
            false if low < 0.0 => p.positive,
            false => p.shade(middle / high),
        };
        painter.rect_filled(bar, 1.0, colour);
    }
    painter.hline(plot.x_range(), base, Stroke::new(1.0, p.line_strong));
    let font = FontId::proportional(size::SMALL);
    let start = format::value(f64::from(low));
    painter.text(pos2(plot.left(), rect.bottom()), Align2::LEFT_BOTTOM, start, font.clone(), p.weak);
    if low < 0.0 && high > 0.0 {
        let x = plot.left() + plot.width() * bins.share(0.0);
        painter.vline(x, plot.y_range(), Stroke::new(1.0, p.line_strong));
        painter.text(pos2(x, rect.bottom()), Align2::CENTER_BOTTOM, "0", font.clone(), p.weak);
    }
    let end = format::value(f64::from(high));
    painter.text(pos2(plot.right(), rect.bottom()), Align2::RIGHT_BOTTOM, end, font, p.weak);
    if let Some(value) = marked.filter(|_| high > low) {
        let x = plot.left() + plot.width() * bins.share(value).clamp(0.0, 1.0);
        painter.vline(x, plot.y_range(), Stroke::new(1.5, p.strong));
        let side = if x > plot.center().x { Align2::RIGHT_TOP } else { Align2::LEFT_TOP };
        let gap = if x > plot.center().x { -4.0 } else { 4.0 };
        let font = FontId::proportional(size::SMALL);
        painter.text(pos2(x + gap, plot.top()), side, format::value(f64::from(value)), font, p.strong);
    }
    if let Some(bin) = hovered {
        let edge = |b: usize| format::value(bins.value(b as f64 / counts.len() as f64));
        let share = f64::from(counts[bin]) / total.max(1) as f64;
        response.on_hover_text_at_pointer(format!(
            "{} to {}\n{} {unit}, {}",
            edge(bin),
            edge(bin + 1),
            format::grouped(u64::from(counts[bin])),
            format::percent(share)
        ));
    }
}

/// A thin bar behind a number: `share` in 0..=1 of the room.
pub fn inline_bar(ui: &Ui, rect: egui::Rect, share: f32, colour: Color32) {
    let bar = egui::Rect::from_min_size(
        pos2(rect.left(), rect.bottom() - 2.0),
        vec2(rect.width() * share.clamp(0.0, 1.0), 2.0),
    );
    ui.painter().rect_filled(bar, 1.0, colour);
}
