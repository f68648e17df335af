//! A panel about what is selected: at the right, or below where there is no room for both side by side.

use egui::{Frame, Panel, Ui};

/// Room that must be left for what the panel is about.
const REST: f32 = 340.0;
/// Share of the height that a panel below takes at first.
const BELOW: f32 = 0.45;

/// Widths of a panel at the right.
#[derive(Clone, Copy, Debug)]
pub struct SidePanel {
    /// Its identity.
    pub id: &'static str,
    /// Its width at first.
    pub width: f32,
    /// Its least and greatest width.
    pub range: (f32, f32),
}

impl SidePanel {
    /// Whether it stands below, in the room that `ui` has.
    pub fn is_below(&self, ui: &Ui) -> bool {
        ui.available_width() < self.width + REST
    }

    /// Draws it.
    pub fn show(&self, ui: &mut Ui, frame: Frame, add: impl FnOnce(&mut Ui)) {
        if self.is_below(ui) {
            let height = ui.available_height();
            // A size of its own: that of the panel at the right is a width.
            let panel = Panel::bottom(egui::Id::unique((self.id, "below"))).frame(frame).resizable(true);
            let most = (height - 120.0).max(80.0);
            panel.default_size((height * BELOW).min(most)).size_range(60.0..=most).show(ui, |ui| {
                ui.take_available_width();
                // What is taller than the panel must not lie over what is above it.
                ui.set_clip_rect(ui.max_rect().intersect(ui.clip_rect()));
                add(ui);
            });
            return;
        }
        let panel = Panel::right(self.id).frame(frame).default_size(self.width);
        panel.size_range(self.range.0..=self.range.1).show(ui, add);
    }
}
