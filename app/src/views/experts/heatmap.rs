//! Layer × expert: load against uniform.

use egui::{Align2, FontId, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::data::ExpertUsage;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::format;

/// Width of the layers' names.
const NAMES: f32 = 64.0;

/// Doublings of the uniform share that get the full colour.
const FULL: f64 = 2.0;

/// How far a share is from uniform, in doublings as a part of [`FULL`]: −1..=1.
fn strength(share: f64, experts: usize) -> f32 {
    let ratio = share * experts as f64;
    if ratio > 0.0 { (ratio.log2() / FULL).clamp(-1.0, 1.0) as f32 } else { -1.0 }
}

/// Draws the map; gives the layer that was clicked.
pub fn show(ui: &mut Ui, usage: &ExpertUsage, domain: usize, selected: usize) -> Option<usize> {
    let p = palette(ui);
    let experts = usage.experts().max(1);
    let side = ((ui.available_width() - NAMES) / experts as f32).floor().clamp(6.0, 48.0);
    let tall = side.clamp(16.0, 32.0);
    let size = vec2(NAMES + side * experts as f32, tall * usage.layers.len() as f32 + 20.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    response.widget_info(|| {
        WidgetInfo::labeled(
            Role::Button,
            true,
            format!("Expert load of {} layers and {experts} experts", usage.layers.len()),
        )
    });
    let cell = |row: usize, expert: usize| {
        let min = pos2(rect.left() + NAMES + side * expert as f32, rect.top() + tall * row as f32);
        Rect::from_min_size(min, vec2(side, tall)).shrink(1.0)
    };
    let font = FontId::proportional(size::SMALL);
    let painter = ui.painter();
    for (row, layer) in usage.layers.iter().enumerate() {
        let middle = rect.top() + tall * (row as f32 + 0.5);
        let colour = if row == selected { p.accent } else { p.weak };
        painter.text(
            pos2(rect.left(), middle),
            Align2::LEFT_CENTER,
            format!("layer {}", layer.layer),
            font.clone(),
            colour,
        );
        let loads = layer.loads.get(domain).map(Vec::as_slice).unwrap_or_default();
        for (expert, load) in loads.iter().enumerate() {
            let place = cell(row, expert);
            painter.rect_filled(place, 2.0, p.diverging(strength(load.share, loads.len())));
            if load.tokens == 0 {
                painter.line_segment([place.left_top(), place.right_bottom()], Stroke::new(1.0, p.error));
            }
        }
        if row == selected {
            let whole = cell(row, 0).union(cell(row, experts - 1)).expand(1.5);
            painter.rect_stroke(whole, 3.0, Stroke::new(1.0, p.accent), egui::StrokeKind::Outside);
        }
    }
    let every = (28.0 / side).ceil().max(1.0) as usize;
    for expert in (0..experts).step_by(every) {
        let x = cell(0, expert).center().x;
        painter.text(pos2(x, rect.bottom()), Align2::CENTER_BOTTOM, expert.to_string(), font.clone(), p.weak);
    }
    legend(ui);
    let pointed = response.hover_pos().or(response.interact_pointer_pos()).and_then(|pos| {
        let row = ((pos.y - rect.top()) / tall).floor() as usize;
        let expert = ((pos.x - rect.left() - NAMES) / side).floor();
        (row < usage.layers.len()).then_some((row, (expert >= 0.0).then_some(expert as usize)))
    });
    let clicked = response.clicked();
    if let Some((row, Some(expert))) = pointed
        && let Some(load) = usage.layers[row].loads.get(domain).and_then(|l| l.get(expert))
    {
        let ratio = load.share * usage.layers[row].loads[domain].len() as f64;
        response.on_hover_text_at_pointer(format!(
            "layer {}, expert {expert}\n{} of the slots, {} times uniform\n{} tokens, mean weight {}",
            usage.layers[row].layer,
            format::percent(load.share),
            format::value(ratio),
            format::grouped(load.tokens),
            format::value(load.weight),
        ));
    }
    if clicked { pointed.map(|(row, _)| row) } else { None }
}

fn legend(ui: &mut Ui) {
    let p = palette(ui);
    ui.add_space(space::S);
    ui.horizontal(|ui| {
        ui.add_space(NAMES);
        ui.label(egui::RichText::new("¼ of uniform").size(size::SMALL).color(p.weak));
        let (rect, _) = ui.allocate_exact_size(vec2(160.0, 8.0), Sense::hover());
        let steps = 32;
        for i in 0..steps {
            let left = rect.left() + rect.width() * i as f32 / steps as f32;
            let part = Rect::from_min_size(
                pos2(left, rect.top()),
                vec2(rect.width() / steps as f32 + 0.5, rect.height()),
            );
            ui.painter().rect_filled(part, 0.0, p.diverging((i as f32 + 0.5) / steps as f32 * 2.0 - 1.0));
        }
        ui.label(egui::RichText::new("4 times uniform").size(size::SMALL).color(p.weak));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_is_neutral_and_ends_are_clamped() {
        assert_eq!(strength(0.25, 4), 0.0);
        assert_eq!(strength(0.5, 4), 0.5);
        assert_eq!(strength(0.0, 4), -1.0);
        assert_eq!(strength(1.0, 64), 1.0);
    }
}
