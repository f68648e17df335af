//! How the window looks: the design tokens and their application to egui.
//!
//! Colours, spacing and type sizes are named in [`tokens`] and nowhere else; everything else asks for them by
//! role ([`tokens::Palette::accent`], [`tokens::space::M`]). A test below keeps it so.

mod fonts;
pub mod tokens;

pub use tokens::{Palette, palette, space};

use egui::{
    Context, CornerRadius, FontFamily, FontId, Margin, Stroke, TextStyle, Theme, ThemePreference, Visuals,
    style,
};
use serde::{Deserialize, Serialize};

/// What the user chose: one of the two looks, or whatever the desktop says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Follow the desktop.
    System,
    /// Light text on dark ground.
    #[default]
    Dark,
    /// Dark text on light ground.
    Light,
}

impl Choice {
    /// As egui says it.
    pub fn preference(self) -> ThemePreference {
        match self {
            Self::System => ThemePreference::System,
            Self::Dark => ThemePreference::Dark,
            Self::Light => ThemePreference::Light,
        }
    }
}

/// Installs both themes into `ctx`; which one is shown is egui's theme preference.
pub fn install(ctx: &Context) {
    ctx.set_fonts(fonts::definitions());
    for theme in [Theme::Dark, Theme::Light] {
        let palette = tokens::of(theme);
        ctx.style_mut_of(theme, |style| {
            style.visuals = visuals(theme, palette);
            text_styles(style);
            spacing(style);
        });
    }
}

/// Seconds that something takes to move.
const MOTION: f32 = 0.08;

/// Lets things move, or not: nothing fades, slides, turns or blinks then.
pub fn set_motion(ctx: &Context, on: bool) {
    for theme in [Theme::Dark, Theme::Light] {
        ctx.style_mut_of(theme, |style| {
            style.animation_time = if on { MOTION } else { 0.0 };
            style.visuals.text_cursor.blink = on;
            style.scroll_animation = if on { Default::default() } else { style::ScrollAnimation::none() };
        });
    }
}

/// Whether things may move.
pub fn moves(ui: &egui::Ui) -> bool {
    ui.style().animation_time > 0.0
}

fn text_styles(style: &mut style::Style) {
    use tokens::size;
    style.text_styles = [
        (TextStyle::Heading, FontId::new(size::HEADING, FontFamily::Proportional)),
        (TextStyle::Body, FontId::new(size::BODY, FontFamily::Proportional)),
        (TextStyle::Button, FontId::new(size::BODY, FontFamily::Proportional)),
        (TextStyle::Small, FontId::new(size::SMALL, FontFamily::Proportional)),
        (TextStyle::Monospace, FontId::new(size::MONO, FontFamily::Monospace)),
    ]
    .into();
}

fn spacing(style: &mut style::Style) {
    let s = &mut style.spacing;
    s.item_spacing = egui::vec2(space::S, space::XS);
    s.button_padding = egui::vec2(space::S, 3.0);
    s.interact_size.y = 24.0;
    s.menu_margin = Margin::same(space::XS as i8);
    s.window_margin = Margin::same(space::M as i8);
    s.indent = space::L;
    s.slider_width = 120.0;
    s.scroll = style::ScrollStyle { bar_width: 8.0, ..style::ScrollStyle::thin() };
    s.tooltip_width = 420.0;
    style.interaction.tooltip_delay = 0.25;
    style.interaction.selectable_labels = false;
    style.animation_time = MOTION;
}

fn visuals(theme: Theme, p: &Palette) -> Visuals {
    let mut v = match theme {
        Theme::Dark => Visuals::dark(),
        Theme::Light => Visuals::light(),
    };
    let radius = CornerRadius::same(tokens::RADIUS);
    let line = Stroke::new(1.0, p.line);
    v.panel_fill = p.ground;
    v.window_fill = p.raised;
    v.window_stroke = line;
    v.extreme_bg_color = p.well;
    v.text_edit_bg_color = Some(p.well);
    v.faint_bg_color = p.stripe;
    v.code_bg_color = p.well;
    v.hyperlink_color = p.accent;
    v.warn_fg_color = p.warning;
    v.error_fg_color = p.error;
    v.weak_text_color = Some(p.weak);
    v.selection.bg_fill = p.selection;
    v.selection.stroke = Stroke::new(1.0, p.strong);
    v.window_corner_radius = CornerRadius::same(8);
    v.menu_corner_radius = CornerRadius::same(6);
    v.indent_has_left_vline = false;
    v.slider_trailing_fill = true;

    let widget = |fill, border, text| style::WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: border,
        corner_radius: radius,
        fg_stroke: Stroke::new(1.0, text),
        expansion: 0.0,
    };
    v.widgets.noninteractive = widget(p.ground, line, p.text);
    v.widgets.inactive = widget(p.control, Stroke::new(1.0, p.line), p.text);
    v.widgets.hovered = widget(p.control_hover, Stroke::new(1.0, p.line_strong), p.strong);
    v.widgets.active = widget(p.selection, Stroke::new(1.0, p.accent), p.strong);
    v.widgets.open = widget(p.control_hover, Stroke::new(1.0, p.line_strong), p.strong);
    v
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn sources(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn colours_are_named_in_one_file() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        for file in files.iter().filter(|f| !f.ends_with("theme/tokens.rs") && !f.ends_with("theme/mod.rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            for maker in ["Color32::from_rgb", "Color32::from_gray", "Color32::from_rgba", "from_black_alpha"]
            {
                assert!(
                    !text.contains(maker),
                    "{} makes a colour; name it in theme/tokens.rs",
                    file.display()
                );
            }
        }
    }
}
