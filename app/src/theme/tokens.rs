//! The design tokens: every colour, distance and type size of the window, by the role it plays.
//!
//! Ground colours go from `well` (deepest: fields and plots) over `ground` (panes) and `side` (bars and the
//! tree) to `raised` (menus, dialogs). One accent marks what can be clicked or is selected; amber is kept for
//! activation.

use egui::{Color32, Theme, Ui};

/// Radius of buttons and fields.
pub const RADIUS: u8 = 4;

/// Distances, in points; multiples of four.
pub mod space {
    /// Between things that belong together.
    pub const XS: f32 = 4.0;
    /// Between items of one group.
    pub const S: f32 = 8.0;
    /// Between groups; margin inside a card.
    pub const M: f32 = 12.0;
    /// Margin of a pane.
    pub const L: f32 = 16.0;
    /// Between sections.
    pub const XL: f32 = 24.0;
}

/// Type sizes, in points.
pub mod size {
    /// Page titles.
    pub const TITLE: f32 = 20.0;
    /// Section titles.
    pub const HEADING: f32 = 15.0;
    /// Running text and controls.
    pub const BODY: f32 = 13.0;
    /// Captions and column heads.
    pub const SMALL: f32 = 11.5;
    /// Tokens and code.
    pub const MONO: f32 = 12.5;
}

/// Heights, in points.
pub mod height {
    /// A row of a table.
    pub const ROW: f32 = 24.0;
    /// The head of a table.
    pub const HEAD: f32 = 28.0;
    /// The bar of tabs.
    pub const TABS: f32 = 32.0;
    /// The bar at the top of the window.
    pub const BAR: f32 = 36.0;
}

/// The colours of one theme.
#[derive(Debug)]
pub struct Palette {
    /// Fields, plots: deeper than the ground.
    pub well: Color32,
    /// Panes.
    pub ground: Color32,
    /// The tree, the bars.
    pub side: Color32,
    /// Menus, dialogs, cards.
    pub raised: Color32,
    /// Every second row; hovered rows.
    pub stripe: Color32,
    /// Buttons at rest.
    pub control: Color32,
    /// Buttons under the pointer.
    pub control_hover: Color32,
    /// Hairlines.
    pub line: Color32,
    /// Borders that must be seen.
    pub line_strong: Color32,
    /// Captions, units, second-rank text.
    pub weak: Color32,
    /// Running text.
    pub text: Color32,
    /// Titles, numbers that matter.
    pub strong: Color32,
    /// Links, focus, the selected thing.
    pub accent: Color32,
    /// Ground of the selected row or text.
    pub selection: Color32,
    /// Full activation of a token; scaled down for weaker ones.
    pub activation: Color32,
    /// Text on full activation.
    pub on_activation: Color32,
    /// How much of that colour the ground of a token has just below half of the maximum, and from half on.
    pub shade_ends: (f32, f32),
    /// Promoted: positive logits, load above uniform.
    pub positive: Color32,
    /// Suppressed: negative logits, load below uniform.
    pub negative: Color32,
    /// Finished, healthy.
    pub good: Color32,
    /// Running, needs a look.
    pub warning: Color32,
    /// Failed.
    pub error: Color32,
    /// Curves, in the order of selection; told apart also by the colour-blind.
    pub series: [Color32; 8],
    /// Names of those colours are not needed; curves beyond eight repeat.
    pub shadow: Color32,
}

const DARK: Palette = Palette {
    well: Color32::from_rgb(0x0c, 0x0e, 0x12),
    ground: Color32::from_rgb(0x13, 0x16, 0x1b),
    side: Color32::from_rgb(0x19, 0x1d, 0x23),
    raised: Color32::from_rgb(0x20, 0x25, 0x2d),
    stripe: Color32::from_rgb(0x18, 0x1c, 0x22),
    control: Color32::from_rgb(0x22, 0x28, 0x30),
    control_hover: Color32::from_rgb(0x2d, 0x34, 0x3e),
    line: Color32::from_rgb(0x2a, 0x30, 0x39),
    line_strong: Color32::from_rgb(0x45, 0x4e, 0x5b),
    weak: Color32::from_rgb(0x8d, 0x97, 0xa5),
    text: Color32::from_rgb(0xcd, 0xd4, 0xdd),
    strong: Color32::from_rgb(0xf3, 0xf6, 0xfa),
    accent: Color32::from_rgb(0x6c, 0xb2, 0xff),
    selection: Color32::from_rgb(0x1f, 0x3e, 0x63),
    activation: Color32::from_rgb(0xf5, 0xa5, 0x24),
    on_activation: Color32::from_rgb(0x16, 0x10, 0x04),
    shade_ends: (0.55, 0.67),
    positive: Color32::from_rgb(0x4f, 0xa8, 0xe8),
    negative: Color32::from_rgb(0xe3, 0x6d, 0x6d),
    good: Color32::from_rgb(0x4c, 0xc3, 0x8a),
    warning: Color32::from_rgb(0xe9, 0xb4, 0x4c),
    error: Color32::from_rgb(0xf0, 0x6a, 0x6a),
    series: [
        Color32::from_rgb(0x6c, 0xb2, 0xff),
        Color32::from_rgb(0xf5, 0xa5, 0x24),
        Color32::from_rgb(0x4c, 0xc3, 0x8a),
        Color32::from_rgb(0xd9, 0x8c, 0xe8),
        Color32::from_rgb(0xf0, 0x6a, 0x6a),
        Color32::from_rgb(0x5f, 0xd4, 0xd6),
        Color32::from_rgb(0xd3, 0xc8, 0x5a),
        Color32::from_rgb(0xa9, 0xb4, 0xc2),
    ],
    shadow: Color32::from_rgba_premultiplied(0, 0, 0, 120),
};

const LIGHT: Palette = Palette {
    well: Color32::from_rgb(0xf4, 0xf6, 0xf8),
    ground: Color32::from_rgb(0xff, 0xff, 0xff),
    side: Color32::from_rgb(0xf1, 0xf3, 0xf6),
    raised: Color32::from_rgb(0xff, 0xff, 0xff),
    stripe: Color32::from_rgb(0xf8, 0xf9, 0xfb),
    control: Color32::from_rgb(0xee, 0xf1, 0xf4),
    control_hover: Color32::from_rgb(0xe2, 0xe7, 0xed),
    line: Color32::from_rgb(0xdd, 0xe2, 0xe8),
    line_strong: Color32::from_rgb(0xb3, 0xbd, 0xc9),
    weak: Color32::from_rgb(0x64, 0x6f, 0x7d),
    text: Color32::from_rgb(0x2c, 0x33, 0x3d),
    strong: Color32::from_rgb(0x0b, 0x10, 0x18),
    accent: Color32::from_rgb(0x0b, 0x62, 0xc4),
    selection: Color32::from_rgb(0xcf, 0xe3, 0xfb),
    activation: Color32::from_rgb(0xff, 0xa6, 0x1a),
    on_activation: Color32::from_rgb(0x24, 0x17, 0x00),
    shade_ends: (0.5, 0.5),
    positive: Color32::from_rgb(0x1b, 0x72, 0xc0),
    negative: Color32::from_rgb(0xc4, 0x3d, 0x3d),
    good: Color32::from_rgb(0x1a, 0x88, 0x53),
    warning: Color32::from_rgb(0xa8, 0x6b, 0x00),
    error: Color32::from_rgb(0xc2, 0x2f, 0x2f),
    series: [
        Color32::from_rgb(0x0b, 0x62, 0xc4),
        Color32::from_rgb(0xd0, 0x74, 0x00),
        Color32::from_rgb(0x1a, 0x88, 0x53),
        Color32::from_rgb(0x93, 0x3f, 0xb0),
        Color32::from_rgb(0xc2, 0x2f, 0x2f),
        Color32::from_rgb(0x0c, 0x86, 0x8c),
        Color32::from_rgb(0x84, 0x78, 0x0a),
        Color32::from_rgb(0x5c, 0x66, 0x74),
    ],
    shadow: Color32::from_rgba_premultiplied(0, 0, 0, 40),
};

/// The colours of `theme`.
pub fn of(theme: Theme) -> &'static Palette {
    match theme {
        Theme::Dark => &DARK,
        Theme::Light => &LIGHT,
    }
}

/// The colours that belong to `visuals`.
pub fn of_visuals(visuals: &egui::Visuals) -> &'static Palette {
    if visuals.dark_mode { &DARK } else { &LIGHT }
}

/// The colours `ui` is drawn in.
pub fn palette(ui: &Ui) -> &'static Palette {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

/// A pixel of a picture that is the same in every theme.
pub fn grey(level: u8) -> Color32 {
    Color32::from_gray(level)
}

/// The share of the maximum from which on text is dark.
const HALF: f32 = 0.5;

impl Palette {
    /// Colour of the `i`-th curve.
    pub fn curve(&self, i: usize) -> Color32 {
        self.series[i % self.series.len()]
    }

    /// Ground of a token whose activation is `share` (0..=1) of the largest; none for 0.
    pub fn shade(&self, share: f32) -> Color32 {
        if share.is_nan() || share <= 0.0 {
            return Color32::TRANSPARENT;
        }
        // A floor keeps the weakest activation visible. Between grounds that are dark enough for light text and those that are light
        // enough for dark text lie some on which neither is read well: they are left out, and a step at half the maximum is seen.
        let share = share.min(1.0);
        let (dark, light) = self.shade_ends;
        let strength = if share < HALF {
            0.12 + (dark - 0.12) * share / HALF
        } else {
            light + (1.0 - light) * (share - HALF) / (1.0 - HALF)
        };
        mix(self.ground, self.activation, strength)
    }

    /// Text that is readable on [`Palette::shade`] of the same `share`: at least 4.5 : 1.
    pub fn on_shade(&self, share: f32) -> Color32 {
        if share >= HALF { self.on_activation } else { self.strong }
    }

    /// Ground of a token that adds (`share` > 0) or takes away, -1..=1 of the most; none for 0. Amber is kept
    /// for activation.
    pub fn signed_shade(&self, share: f32) -> Color32 {
        if share.is_nan() || share == 0.0 {
            return Color32::TRANSPARENT;
        }
        let end = if share > 0.0 { self.positive } else { self.negative };
        // As for activations; the end is softer, so that the text stays readable.
        mix(self.ground, end, 0.06 + 0.44 * share.abs().min(1.0).sqrt())
    }

    /// Ground of text that belongs to the `i`-th of many kinds, from hardly tinted (0) to clearly (1).
    /// Neighbouring numbers have far hues; with more than about a dozen kinds colours look alike, so the kind
    /// is also said in words where it matters.
    pub fn kind(&self, i: usize, strength: f32) -> Color32 {
        let dark = self.ground.intensity() < 0.5;
        // Steps of the golden ratio never come near a hue that was used shortly before.
        let hue = (i as f32 * 0.618_034 + 0.58).fract();
        let (saturation, value) = if dark { (0.72, 0.82) } else { (0.75, 0.92) };
        let full = Color32::from(egui::ecolor::Hsva::new(hue, saturation, value, 1.0));
        let most = if dark { 0.43 } else { 0.46 };
        mix(self.ground, full, most * (0.25 + 0.75 * strength.clamp(0.0, 1.0)))
    }

    /// Ground of a heat-map cell: 0 nothing, 1 everything.
    pub fn sequential(&self, value: f32) -> Color32 {
        mix(self.well, self.positive, value.clamp(0.0, 1.0))
    }

    /// From little to much, `share` in 0..=1: for points coloured by a number.
    pub fn ramp(&self, share: f32) -> Color32 {
        let share = share.clamp(0.0, 1.0);
        if share < 0.5 {
            mix(self.negative_end(), self.accent, share * 2.0)
        } else {
            mix(self.accent, self.activation, share * 2.0 - 1.0)
        }
    }

    fn negative_end(&self) -> Color32 {
        mix(self.well, self.weak, 0.55)
    }

    /// Ground of a heat-map cell: 0 neutral, +1 far above, −1 far below.
    pub fn diverging(&self, value: f32) -> Color32 {
        let end = if value >= 0.0 { self.activation } else { self.positive };
        // Grey in the middle: black or white would look like the end of a scale.
        mix(self.control_hover, end, value.abs().min(1.0))
    }

    /// Ground of a cell of something that gives (+1) or takes away (−1), in the colours of a graph's edges.
    pub fn signed(&self, value: f32) -> Color32 {
        let end = if value >= 0.0 { self.positive } else { self.negative };
        mix(self.control_hover, end, value.abs().min(1.0))
    }
}

/// A colour that was computed from others.
pub fn opaque(r: u8, g: u8, b: u8) -> Color32 {
    Color32::from_rgb(r, g, b)
}

/// `a` towards `b` by `t` in 0..=1, in gamma space (as screens blend).
pub fn mix(a: Color32, b: Color32, t: f32) -> Color32 {
    let t = t.clamp(0.0, 1.0);
    let lerp = |x: u8, y: u8| (f32::from(x) + (f32::from(y) - f32::from(x)) * t).round() as u8;
    Color32::from_rgb(lerp(a.r(), b.r()), lerp(a.g(), b.g()), lerp(a.b(), b.b()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG contrast of two colours.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let luminance = |c: Color32| {
            let [r, g, b, _] = egui::Rgba::from(c).to_array();
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_is_readable_on_every_shade_of_activation() {
        for palette in [&DARK, &LIGHT] {
            let mut before = f32::NEG_INFINITY;
            for step in 1..=1000 {
                let share = step as f32 / 1000.0;
                let found = contrast(palette.on_shade(share), palette.shade(share));
                assert!(found >= 4.5, "share {share}: contrast {found}");
                // More activation is more colour, all the way.
                let colour = contrast(palette.ground, palette.shade(share));
                assert!(colour >= before - 0.02, "share {share}: {colour} after {before}");
                before = colour;
            }
            assert!(contrast(palette.text, palette.ground) >= 4.5, "text without activation");
            assert_ne!(palette.shade(0.001), palette.ground, "the least is still seen");
        }
    }

    #[test]
    fn text_is_readable_on_every_signed_shade() {
        for palette in [&DARK, &LIGHT] {
            for step in -20..=20 {
                let share = step as f32 / 20.0;
                let shade = palette.signed_shade(share);
                let ground = if step == 0 { palette.ground } else { shade };
                let found = contrast(palette.strong, ground);
                assert!(found >= 4.5, "share {share}: contrast {found}");
            }
            assert_ne!(palette.signed_shade(0.01), palette.ground, "the least is still seen");
            assert_ne!(palette.signed_shade(0.5), palette.signed_shade(-0.5));
        }
    }

    #[test]
    fn text_is_readable_on_the_ground_of_every_kind() {
        for palette in [&DARK, &LIGHT] {
            for kind in 0..256 {
                for strength in [0.0, 0.5, 1.0] {
                    let found = contrast(palette.strong, palette.kind(kind, strength));
                    assert!(found >= 4.5, "kind {kind} at {strength}: contrast {found}");
                }
            }
        }
    }
}
