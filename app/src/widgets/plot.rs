//! Small plots that are drawn by hand: values in a row.

use egui::{Align2, FontId, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::format;
use crate::theme::{palette, tokens::size};

/// Values as bars up and down from zero, one a value or, where there are more than pixels, the extremes of
/// each pixel.
pub fn strip(ui: &mut Ui, name: &str, values: &[f32], height: f32) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    response
        .widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("{name}: {} values", values.len())));
    let painter = ui.painter();
    painter.rect_filled(rect, 3.0, p.well);
    let most = values.iter().filter(|v| v.is_finite()).fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let plot = rect.shrink2(vec2(2.0, 3.0));
    let zero = plot.center().y;
    let bins = extremes(values, (plot.width() as usize).max(1));
    let width = plot.width() / bins.len().max(1) as f32;
    let tall = |v: f32| zero - v / most * plot.height() / 2.0;
    for (i, (low, high)) in bins.iter().enumerate() {
        let left = plot.left() + i as f32 * width;
        let right = (left + (width - 0.5).max(width * 0.8)).max(left + 0.8);
        let bar = |from: f32, to: f32| egui::Rect::from_min_max(pos2(left, from), pos2(right, to));
        if *high > 0.0 {
            painter.rect_filled(bar(tall(*high), zero), 0.0, p.positive);
        }
        if *low < 0.0 {
            painter.rect_filled(bar(zero, tall(*low)), 0.0, p.negative);
        }
    }
    painter.hline(plot.x_range(), zero, Stroke::new(1.0, p.line_strong));
    let scale = format!("±{}", format::value(f64::from(most)));
    let place = rect.right_top() + vec2(-4.0, 2.0);
    painter.text(place, Align2::RIGHT_TOP, scale, FontId::proportional(size::SMALL), p.weak);
    let hovered = response.hover_pos().map(|pos| {
        let at = (pos.x - plot.left()) / plot.width() * values.len() as f32;
        (at.max(0.0) as usize).min(values.len().saturating_sub(1))
    });
    if let Some((i, value)) = hovered.and_then(|i| Some((i, values.get(i)?))) {
        response.on_hover_text_at_pointer(format!("dimension {i}\n{}", format::value(f64::from(*value))));
    }
}

/// Least and greatest of each of at most `bins` pieces of the values; NaN counts as 0.
fn extremes(values: &[f32], bins: usize) -> Vec<(f32, f32)> {
    let each = values.len().div_ceil(bins.max(1)).max(1);
    let of = |piece: &[f32]| {
        let finite = piece.iter().copied().filter(|v| v.is_finite());
        finite.fold((0.0f32, 0.0f32), |(low, high), v| (low.min(v), high.max(v)))
    };
    values.chunks(each).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_kept() {
        assert_eq!(extremes(&[1.0, -2.0, 3.0, f32::NAN, 0.5], 2), [(-2.0, 3.0), (0.0, 0.5)]);
        assert_eq!(extremes(&[1.0, -2.0], 9), [(0.0, 1.0), (-2.0, 0.0)]);
        assert_eq!(extremes(&[], 3), []);
    }
}
