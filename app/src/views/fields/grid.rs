//! The grid of pictures: each field is a square, on its own scale.

use std::sync::Arc;

use egui::{
    Color32, ColorImage, Pos2, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, TextureHandle,
    TextureOptions, Ui, WidgetInfo, vec2,
};

use crate::data::fields::{FieldKind, FieldSheet};
use crate::theme::{palette, space, tokens};
use crate::widgets::format;

/// Points of a side of a texture, at most: what every graphics card takes.
const PAGE: usize = 2048;
/// Points between fields.
const GAP: f32 = 3.0;

/// All fields as pictures, each of which holds many.
#[derive(Debug)]
pub struct Pages {
    pages: Vec<Arc<ColorImage>>,
    side: usize,
    /// Fields in a line of a page.
    across: usize,
}

impl Pages {
    /// Draws them. Takes a while: not for the thread that draws the window.
    pub fn new(sheet: &FieldSheet) -> Self {
        let side = sheet.summary.side.max(1);
        let across = (PAGE / side).max(1);
        let numbers: Vec<u32> = (0..sheet.rows.len() as u32).collect();
        let page = |fields: &[u32]| {
            let (wide, high) = (across.min(fields.len()) * side, fields.len().div_ceil(across) * side);
            let mut points = vec![Color32::TRANSPARENT; wide * high];
            for (i, feature) in fields.iter().enumerate() {
                let (left, top) = (i % across * side, i / across * side);
                for (y, line) in sheet.field(*feature).chunks_exact(side).enumerate() {
                    let at = (top + y) * wide + left;
                    for (point, grey) in points[at..at + side].iter_mut().zip(line) {
                        *point = tokens::grey(*grey);
                    }
                }
            }
            Arc::new(ColorImage::new([wide, high], points))
        };
        Self { pages: numbers.chunks(across * across).map(page).collect(), side, across }
    }

    /// Gives them to the graphics card.
    pub fn load(&self, ui: &Ui) -> Textures {
        let load = |page: &Arc<ColorImage>| {
            let image = egui::ImageData::Color(Arc::clone(page));
            ui.ctx().load_texture("fields", image, TextureOptions::NEAREST)
        };
        Textures(self.pages.iter().map(load).collect())
    }

    /// Draws the field of `feature` into `rect`.
    fn paint(&self, ui: &Ui, textures: &Textures, feature: u32, rect: Rect) {
        let on_page = self.across * self.across;
        let (page, i) = (feature as usize / on_page, feature as usize % on_page);
        let (Some(texture), Some(image)) = (textures.0.get(page), self.pages.get(page)) else { return };
        let size = vec2(image.size[0] as f32, image.size[1] as f32);
        let from = vec2((i % self.across * self.side) as f32, (i / self.across * self.side) as f32);
        let part =
            Rect::from_min_size(Pos2::ZERO + from / size, vec2(self.side as f32, self.side as f32) / size);
        ui.painter().image(texture.id(), rect, part, Color32::WHITE);
    }
}

/// The pages on the graphics card.
#[derive(Default)]
pub struct Textures(Vec<TextureHandle>);

impl Textures {
    /// Whether nothing was given to it yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Textures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Textures of {} pages", self.0.len())
    }
}

/// What is shown, and how.
pub struct Grid<'a> {
    pub sheet: &'a FieldSheet,
    pub pages: &'a Pages,
    pub textures: &'a Textures,
    /// Features, in their order.
    pub order: &'a [u32],
    pub selected: Option<u32>,
    /// Points of a side of a field.
    pub size: f32,
    /// To this place in the order.
    pub scroll_to: Option<usize>,
}

/// What the person did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interaction {
    /// This one was clicked.
    pub clicked: Option<u32>,
    /// This one was clicked twice.
    pub opened: Option<u32>,
    /// Fields in a line.
    pub across: usize,
    /// Lines that are seen.
    pub lines: usize,
}

impl Grid<'_> {
    /// Draws the lines that are seen.
    pub fn show(&self, ui: &mut Ui) -> Interaction {
        let step = self.size + GAP;
        let across = (((ui.available_width() - space::L) / step) as usize).max(1);
        let lines = self.order.len().div_ceil(across);
        let height = ui.available_height();
        let mut asked =
            Interaction { across, lines: ((height / step) as usize).max(1), ..Interaction::default() };
        let mut area = ScrollArea::vertical().id_salt("fields").auto_shrink(false);
        if let Some(at) = self.scroll_to {
            let middle = (at / across) as f32 * step - (height - step) / 2.0;
            area = area.vertical_scroll_offset(middle.max(0.0));
        }
        ui.spacing_mut().item_spacing = vec2(GAP, GAP);
        area.show_rows(ui, self.size, lines, |ui, seen| {
            for line in seen {
                ui.horizontal(|ui| {
                    for feature in self.order.iter().skip(line * across).take(across) {
                        self.tile(ui, *feature, &mut asked);
                    }
                });
            }
        });
        asked
    }

    fn tile(&self, ui: &mut Ui, feature: u32, asked: &mut Interaction) {
        let p = palette(ui);
        let (rect, _) = ui.allocate_exact_size(vec2(self.size, self.size), Sense::hover());
        let response = ui.interact(rect, ui.scope_id().with(("field", feature)), Sense::click());
        let row = &self.sheet.rows[feature as usize];
        let chosen = self.selected == Some(feature);
        let name = format!("Field {feature}: {}", FieldKind::of(row).name());
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &name));
        if ui.is_rect_visible(rect) {
            self.pages.paint(ui, self.textures, feature, rect);
            if chosen || response.hovered() || response.has_focus() {
                let stroke = if chosen { Stroke::new(2.0, p.accent) } else { Stroke::new(1.0, p.strong) };
                ui.painter().rect_stroke(rect, 0.0, stroke, StrokeKind::Outside);
            }
        }
        if response.clicked() {
            asked.clicked = Some(feature);
        }
        if response.double_clicked() {
            asked.opened = Some(feature);
        }
        response.on_hover_ui(|ui| {
            ui.label(format!("{name}\nfires on {} of patches", format::percent(row.usage)));
        });
    }
}

/// One field on its own, a square of at most `points`.
pub fn one(ui: &mut Ui, greys: &[u8], points: f32) {
    let side = greys.len().isqrt().max(1);
    // Whole points for each pixel, so that all are of one size.
    let pixel = (points / side as f32).floor().max(1.0);
    let (rect, _) = ui.allocate_exact_size(vec2(pixel, pixel) * side as f32, Sense::hover());
    for (i, grey) in greys.iter().enumerate() {
        let from = rect.min + vec2((i % side) as f32, (i / side) as f32) * pixel;
        ui.painter().rect_filled(Rect::from_min_size(from, vec2(pixel, pixel)), 0.0, tokens::grey(*grey));
    }
}
