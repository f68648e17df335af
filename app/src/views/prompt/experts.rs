//! The experts that the chosen token goes to, layer by layer.

use egui::{Color32, Frame, Link, Margin, RichText, Role, Ui, WidgetInfo};

use crate::prompt::LayerExperts;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format};

/// Draws the section of `token`; gives the (layer, expert) whose page the person wants to see. Without pages
/// experts are names alone.
pub fn show(ui: &mut Ui, layers: &[LayerExperts], token: usize, has_pages: bool) -> Option<(u16, u32)> {
    facts::section(ui, "Experts");
    let mut follow = None;
    ui.spacing_mut().item_spacing.y = 2.0;
    for layer in layers {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = space::S;
            let caption =
                RichText::new(format!("layer {}", layer.layer)).size(size::SMALL).color(palette(ui).weak);
            ui.add_sized([56.0, 18.0], egui::Label::new(caption).halign(egui::Align::Min)).on_hover_text(
                format!("{} of {} experts, the best score first, with their weights", layer.k, layer.experts),
            );
            for (expert, weight) in layer.of(token) {
                if one(ui, layer.layer, expert, weight, has_pages) {
                    follow = Some((layer.layer as u16, expert));
                }
            }
        });
    }
    follow
}

/// An expert in its colour, as strong as its weight. True when it was clicked.
fn one(ui: &mut Ui, layer: usize, expert: u32, weight: f32, has_page: bool) -> bool {
    let p = palette(ui);
    let ground = if weight > 0.0 { p.kind(expert as usize, weight) } else { Color32::TRANSPARENT };
    let margin = Margin::symmetric(space::XS as i8, 0);
    let name = format!("expert {layer}:{expert}");
    let number = format::value(f64::from(weight));
    Frame::new()
        .fill(ground)
        .corner_radius(crate::theme::tokens::RADIUS)
        .inner_margin(margin)
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            let shown = RichText::new(expert.to_string());
            let clicked = if has_page {
                let link = ui.add(Link::new(shown));
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Go to {name}")));
                link.on_hover_text(format!("Go to {name}")).clicked()
            } else {
                ui.label(shown.color(p.strong))
                    .on_hover_text(format!("{name}; its dataset is not in the open folder"));
                false
            };
            let weight = ui.label(RichText::new(&number).size(size::SMALL).color(p.text));
            weight.widget_info(|| {
                WidgetInfo::labeled(Role::Label, true, format!("Weight of {name}: {number}"))
            });
            clicked
        })
        .inner
}
