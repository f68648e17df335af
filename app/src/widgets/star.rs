//! The star of a bookmark.

use egui::{Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::theme::palette;

/// A star that is filled when `on`; true when it was clicked.
pub fn show(ui: &mut Ui, on: bool, feature: u32) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(16.0, 16.0), Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(Role::CheckBox, true, on, format!("Bookmark feature {feature}"))
    });
    let p = palette(ui);
    let colour = match (on, response.hovered() || response.has_focus()) {
        (true, _) => p.activation,
        (false, true) => p.weak,
        (false, false) => p.line_strong,
    };
    // Five points outside, five inside, from the top.
    let points = (0..10).map(|i| {
        let angle = std::f32::consts::PI * (i as f32 / 5.0 - 0.5);
        let radius = if i % 2 == 0 { 6.5 } else { 2.8 };
        pos2(angle.cos() * radius, angle.sin() * radius).to_vec2() + rect.center().to_vec2()
    });
    let points: Vec<egui::Pos2> = points.map(|v| v.to_pos2()).collect();
    if on {
        // A star is not convex; the triangles from its middle are.
        let mut mesh = egui::Mesh::default();
        mesh.colored_vertex(rect.center(), colour);
        points.iter().for_each(|point| mesh.colored_vertex(*point, colour));
        (0..10u32).for_each(|i| mesh.add_triangle(0, 1 + i, 1 + (i + 1) % 10));
        ui.painter().add(mesh);
    }
    ui.painter().add(egui::Shape::closed_line(points, Stroke::new(1.0, colour)));
    let hover = if on { "Bookmarked; click to remove (B)" } else { "Bookmark (B)" };
    response.on_hover_text(hover).clicked()
}
