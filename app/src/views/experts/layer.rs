//! One layer: a bar for each expert, and the figures of all layers.

use egui::{Align2, FontId, Grid, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::data::{ExpertUsage, LayerUsage};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format};

/// Width of a column of figures.
const CELL: f32 = 80.0;

/// Bars of the experts of `layer`, with the uniform share as a line.
pub fn show(ui: &mut Ui, layer: &LayerUsage, domain: usize, domain_name: &str) {
    let p = palette(ui);
    facts::section(ui, &format!("Layer {}", layer.layer));
    let loads = layer.loads.get(domain).map(Vec::as_slice).unwrap_or_default();
    facts::caption(
        ui,
        format!(
            "{domain_name}; the line is the uniform share, {}",
            format::percent(1.0 / loads.len().max(1) as f64)
        ),
    );
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width().min(900.0), 132.0), Sense::hover());
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, format!("Load of the experts of layer {}", layer.layer))
    });
    let base = rect.bottom() - 16.0;
    let uniform = 1.0 / loads.len().max(1) as f64;
    let top = loads.iter().map(|l| l.share).fold(uniform * 1.25, f64::max);
    let step = rect.width() / loads.len().max(1) as f32;
    let hovered =
        response.hover_pos().map(|pos| ((pos.x - rect.left()) / step) as usize).filter(|i| *i < loads.len());
    let height = |share: f64| (share / top) as f32 * (base - rect.top());
    let painter = ui.painter();
    let font = FontId::proportional(size::SMALL);
    let every = (22.0 / step).ceil().max(1.0) as usize;
    for (expert, load) in loads.iter().enumerate() {
        let left = rect.left() + step * expert as f32;
        let bar =
            Rect::from_min_max(pos2(left + 1.0, base - height(load.share)), pos2(left + step - 1.0, base));
        let colour = if hovered == Some(expert) { p.accent } else { p.curve(0).gamma_multiply(0.75) };
        painter.rect_filled(bar, 2.0, colour);
        if expert % every == 0 {
            let at = pos2(left + step / 2.0, rect.bottom());
            painter.text(at, Align2::CENTER_BOTTOM, expert.to_string(), font.clone(), p.weak);
        }
    }
    painter.hline(rect.x_range(), base, Stroke::new(1.0, p.line_strong));
    painter.hline(rect.x_range(), base - height(uniform), Stroke::new(1.0, p.warning));
    if let Some(expert) = hovered {
        let load = loads[expert];
        response.on_hover_text_at_pointer(format!(
            "expert {expert}\n{} of the slots, {} tokens\nmean weight {}",
            format::percent(load.share),
            format::grouped(load.tokens),
            format::value(load.weight)
        ));
    }
}

/// The figures of all layers, over all text.
pub fn table(ui: &mut Ui, usage: &ExpertUsage, selected: &mut usize) {
    facts::section(ui, "All layers");
    facts::caption(ui, "Over all text. Entropies in nats; CV, Gini and violation are 0 for a uniform load.");
    ui.add_space(space::XS);
    let head = [
        ("layer", "Number of the block"),
        ("experts", "Experts in it"),
        ("k", "Experts a token goes to"),
        ("tokens", "Tokens counted"),
        ("effective", "exp of the load's entropy: experts as if all were used alike"),
        ("load entropy", "Entropy of the load"),
        ("router entropy", "Mean entropy of the router's distribution over tokens"),
        ("CV", "Standard deviation of the load / its mean"),
        ("violation", "Largest load / mean load − 1"),
        ("Gini", "Gini coefficient of the load"),
        ("dead", "Experts that no token went to"),
    ];
    let right = egui::Layout::right_to_left(egui::Align::Center);
    let cell = |ui: &mut Ui, text: RichText| {
        ui.allocate_ui_with_layout(vec2(CELL, 20.0), right, |ui| {
            ui.set_width(CELL);
            ui.label(text)
        })
        .inner
    };
    Grid::new("layers").num_columns(head.len()).spacing([space::M, space::XS]).min_col_width(CELL).show(
        ui,
        |ui| {
            for (name, hover) in head {
                cell(ui, RichText::new(name).size(size::SMALL).color(palette(ui).weak)).on_hover_text(hover);
            }
            ui.end_row();
            for (i, layer) in usage.layers.iter().enumerate() {
                let experts = layer.loads.first().map_or(0, Vec::len);
                ui.allocate_ui_with_layout(vec2(CELL, 20.0), right, |ui| {
                    ui.set_width(CELL);
                    let link = ui.add(egui::Link::new(layer.layer.to_string()));
                    link.widget_info(|| {
                        WidgetInfo::labeled(Role::Link, true, format!("Layer {}", layer.layer))
                    });
                    if link.clicked() {
                        *selected = i;
                    }
                });
                let value = |x: f64| format::value(x);
                for text in [
                    experts.to_string(),
                    layer.k.to_string(),
                    format::count(layer.tokens),
                    value(layer.effective_experts),
                    value(layer.load_entropy),
                    value(layer.router_entropy),
                    value(layer.cv),
                    value(layer.max_violation),
                    value(layer.gini),
                ] {
                    cell(ui, RichText::new(text).color(palette(ui).text));
                }
                let p = palette(ui);
                let colour = if layer.dead > 0 { p.error } else { p.text };
                cell(ui, RichText::new(layer.dead.to_string()).color(colour));
                ui.end_row();
            }
        },
    );
}
