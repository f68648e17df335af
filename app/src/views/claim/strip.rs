//! The histogram of activations next to the list: its scroll bar, and the range that is shown.

use egui::{Color32, FontId, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::list::{BINS, Listed};
use crate::claims::Outcome;
use crate::theme::{palette, tokens::size};
use crate::widgets::format;
use crate::widgets::lines::outcome_color;

/// Width of the strip.
pub const WIDTH: f32 = 72.0;

/// What the person did with the strip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Brushed {
    /// Show this range; `None` for all.
    Range(Option<(f32, f32)>),
    /// Go to where the activation is at most so much.
    To(f32),
}

/// Draws the strip, the largest activation at the top. `range` is what is shown, `seen` the activations on the screen.
pub fn show(
    ui: &mut Ui,
    listed: &Listed,
    max: f32,
    range: Option<(f32, f32)>,
    seen: Option<(f32, f32)>,
) -> Option<Brushed> {
    let p = palette(ui);
    let (rect, response) =
        ui.allocate_exact_size(vec2(WIDTH, ui.available_height()), Sense::click_and_drag());
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, "Histogram of activations; drag to show a range")
    });
    let plot = rect.shrink2(vec2(6.0, 16.0));
    let at = |value: f32| plot.bottom() - value / max.max(f32::MIN_POSITIVE) * plot.height();
    let value = |y: f32| ((plot.bottom() - y) / plot.height()).clamp(0.0, 1.0) * max;
    let painter = ui.painter();
    painter.rect_filled(plot, 0.0, p.well);
    if let Some((low, high)) = range {
        painter.rect_filled(Rect::from_x_y_ranges(plot.x_range(), at(high)..=at(low)), 0.0, p.selection);
    }
    bars(ui, listed, plot);
    if let Some((low, high)) = seen {
        // What is on the screen, as the handle of a scroll bar.
        let handle = Rect::from_x_y_ranges(plot.x_range(), at(high).min(at(low) - 3.0)..=at(low));
        painter.rect_stroke(handle, 2.0, Stroke::new(1.5, p.accent), egui::StrokeKind::Outside);
    }
    let number = |pos, align, value: f32| {
        painter.text(pos, align, format::value(f64::from(value)), FontId::proportional(size::SMALL), p.weak)
    };
    number(rect.center_top(), egui::Align2::CENTER_TOP, max);
    number(rect.center_bottom(), egui::Align2::CENTER_BOTTOM, 0.0);
    let origin = ui.input(|input| input.pointer.press_origin());
    let mut done = None;
    if response.dragged()
        && let (Some(origin), Some(now)) = (origin, response.interact_pointer_pos())
    {
        let (a, b) = (value(origin.y), value(now.y));
        done = Some(Brushed::Range(Some((a.min(b), a.max(b)))));
    } else if response.double_clicked() {
        done = Some(Brushed::Range(None));
    } else if response.clicked()
        && let Some(pos) = response.interact_pointer_pos()
    {
        done = Some(Brushed::To(value(pos.y)));
    }
    response.on_hover_text("Firings by activation, hits and misses. Drag to show a range, double-click for all, click to go there");
    done
}

fn bars(ui: &Ui, listed: &Listed, plot: Rect) {
    let p = palette(ui);
    // Roots: a feature fires weakly far more often than strongly.
    let long = |n: u32| f64::from(n).sqrt();
    let most = listed.bins.iter().map(|bin| long(bin[0] + bin[1])).fold(1.0, f64::max);
    let height = plot.height() / BINS as f32;
    for (i, [hits, misses]) in listed.bins.iter().enumerate().filter(|(_, bin)| bin[0] + bin[1] > 0) {
        let width = (long(hits + misses) / most) as f32 * plot.width();
        let hit = width * *hits as f32 / (hits + misses) as f32;
        let bottom = plot.bottom() - i as f32 * height;
        let bar = |from: f32, to: f32, color: Color32| {
            let rect = Rect::from_min_max(
                pos2(plot.left() + from, bottom - height + 0.5),
                pos2(plot.left() + to.max(from), bottom),
            );
            ui.painter().rect_filled(rect, 0.0, color);
        };
        bar(0.0, hit, outcome_color(p, Outcome::Hit));
        bar(hit, width.max(1.0), outcome_color(p, Outcome::Miss));
    }
}
