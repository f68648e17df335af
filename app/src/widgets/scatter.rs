//! Many points in a plane: dragged, zoomed, hovered, clicked, surrounded. Up to a few thousand in view are
//! drawn one by one; more as a picture with cells of three points of the screen, brighter where there are
//! many. Pictures are made on a worker: while one is made, the last one moves with the pointer, so that a
//! frame costs the same for a thousand points and for a million.

use std::sync::Arc;

use egui::{
    Color32, ColorImage, CursorIcon, Pos2, Rect, Role, Sense, Stroke, TextureHandle, TextureOptions, Ui,
    Vec2, WidgetInfo, pos2, vec2,
};

use crate::data::plane::Plane;
use crate::load::{Lane, Request, Workers};
use crate::theme::palette;

/// Points in view up to which each is drawn for itself.
const SINGLE: usize = 4000;
/// Points in view up to which there is room for words at each.
const NAMED: usize = 60;
/// Side of a cell, in points of the screen.
const CELL: f32 = 3.0;
/// How far a picture goes beyond what is seen, on each side: what a quick hand uncovers before the next one
/// is there.
const BEYOND: f32 = 0.25;
/// How near the pointer must be to a point.
const NEAR: f32 = 9.0;

/// Middle of what is seen in the plane, and points of the screen for one unit.
type Viewport = ([f32; 2], [f32; 2]);

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Cloud<'a> {
    /// Accessible name.
    pub name: &'a str,
    /// The places.
    pub plane: &'a Arc<Plane>,
    /// The colour of each.
    pub colours: &'a Arc<Vec<Color32>>,
    /// Raised whenever places or colours change.
    pub version: u64,
    /// Whether both axes have the same scale.
    pub square: bool,
    /// Indices of points to be ringed.
    pub ringed: &'a [usize],
}

/// What the pointer did.
#[derive(Clone, Debug)]
pub struct Interaction {
    /// The point under the pointer.
    pub hovered: Option<usize>,
    /// The point that was clicked.
    pub clicked: Option<usize>,
    /// The corners of what was surrounded, in the plane.
    pub lasso: Option<Vec<[f32; 2]>>,
    /// The points in view with their places on the screen, where there are few.
    pub few: Vec<(usize, Pos2)>,
    /// Where the cloud was drawn.
    pub rect: Rect,
}

impl Default for Interaction {
    fn default() -> Self {
        Self { hovered: None, clicked: None, lasso: None, few: Vec::new(), rect: Rect::NOTHING }
    }
}

/// What of the plane is seen, and what was drawn of it last.
#[derive(Default)]
pub struct Scatter {
    /// `None`: everything.
    view: Option<Viewport>,
    /// Whether dragging surrounds instead of moving.
    pub surrounding: bool,
    lasso: Vec<Pos2>,
    /// The few points in view, of the last frame.
    few: Option<(Key, Vec<usize>)>,
    picture: Request<Picture>,
    /// The picture to be made next.
    wanted: Option<PictureJob>,
    /// Of which the picture was asked for last.
    asked: Option<Key>,
    /// The picture as the graphics card has it, with its version.
    texture: Option<(u64, TextureHandle)>,
}

impl std::fmt::Debug for Scatter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scatter")
            .field("view", &self.view)
            .field("picture", &self.picture)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Key {
    rect: Rect,
    view: Viewport,
    version: u64,
    dark: bool,
}

/// What a picture is made from.
struct PictureJob {
    key: Key,
    plane: Arc<Plane>,
    colours: Arc<Vec<Color32>>,
}

/// Cells, with where they lie in the plane.
#[derive(Debug)]
struct Picture {
    image: Arc<ColorImage>,
    /// Upper left and lower right corner.
    corners: [[f32; 2]; 2],
    /// Which places it is of: those of an older picture are not these.
    of: usize,
}

impl Scatter {
    /// Shows everything again.
    pub fn reset(&mut self) {
        self.view = None;
    }

    /// Once per frame: takes a picture that has arrived and has the next one made.
    pub fn logic(&mut self, workers: &Workers) {
        self.picture.poll(workers);
        // One after the other: asking again before the answer is there would put it off for as long as the
        // hand moves.
        if !self.picture.loading()
            && let Some(PictureJob { key, plane, colours }) = self.wanted.take()
        {
            self.asked = Some(key);
            self.picture.ask(workers, Lane::Sort, move || Ok(paint(&plane, &colours, key)));
        }
    }

    /// Draws the cloud into all the room there is.
    pub fn show(&mut self, ui: &mut Ui, cloud: &Cloud<'_>) -> Interaction {
        let p = palette(ui);
        let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Image, true, format!("{}: {} points", cloud.name, cloud.plane.len()))
        });
        ui.painter().rect_filled(rect, 2.0, p.well);
        let mut asked = Interaction { rect, ..Interaction::default() };
        let Some(all) = whole(cloud.plane, rect, cloud.square) else { return asked };
        let mut view = self.view.unwrap_or(all);
        self.moved(ui, &response, rect, &mut view);
        if response.double_clicked() {
            view = all;
        }
        self.view = (view != all).then_some(view);
        asked.lasso = self.surround(ui, &response, rect, view);

        let key = Key { rect, view, version: cloud.version, dark: ui.visuals().dark_mode };
        self.points(ui, cloud, key);
        let painter = ui.painter().with_clip_rect(rect);
        let places = cloud.plane.places();
        if let Some((of, few)) = &self.few
            && *of == key
            && few.len() <= NAMED
        {
            asked.few = few.iter().map(|i| (*i, to_screen(places[*i], rect, view))).collect();
        }
        if self.few.as_ref().is_some_and(|(of, few)| *of == key && few.is_empty()) {
            let font = egui::FontId::proportional(crate::theme::tokens::size::BODY);
            let words = "No points here. A double click shows all.";
            painter.text(rect.center(), egui::Align2::CENTER_CENTER, words, font, p.weak);
        }
        for i in cloud.ringed {
            if let Some(place) = places.get(*i) {
                painter.circle_stroke(to_screen(*place, rect, view), 6.0, Stroke::new(2.0, p.accent));
            }
        }
        if self.lasso.len() > 1 {
            painter.add(egui::Shape::closed_line(self.lasso.clone(), Stroke::new(1.5, p.accent)));
        }
        if let Some(at) = response.hover_pos().filter(|_| !response.dragged()) {
            asked.hovered = cloud.plane.nearest(to_plane(at, rect, view), view.1, NEAR);
            if let Some(place) = asked.hovered.map(|i| places[i]) {
                painter.circle_stroke(to_screen(place, rect, view), 5.0, Stroke::new(1.5, p.strong));
            }
            if response.clicked() {
                asked.clicked = asked.hovered;
            }
            let icon = match (self.surrounding, asked.hovered) {
                (_, Some(_)) => CursorIcon::PointingHand,
                (true, None) => CursorIcon::Crosshair,
                (false, None) => CursorIcon::Grab,
            };
            ui.ctx().set_cursor_icon(icon);
        }
        asked
    }

    /// Draws the points: the few one by one, the many from the newest picture.
    fn points(&mut self, ui: &Ui, cloud: &Cloud<'_>, key: Key) {
        let (low, high) = seen_of(key.rect, key.view);
        let painter = ui.painter().with_clip_rect(key.rect);
        if cloud.plane.at_most(low, high) <= SINGLE {
            if self.few.as_ref().is_none_or(|(of, _)| *of != key) {
                let mut few = Vec::new();
                cloud.plane.inside(low, high, |i, _| few.push(i));
                // The last lies on top, as in the list.
                few.sort_unstable();
                self.few = Some((key, few));
            }
            for i in self.few.iter().flat_map(|(_, few)| few) {
                let at = to_screen(cloud.plane.places()[*i], key.rect, key.view);
                painter.circle_filled(at, 2.5, cloud.colours[*i]);
            }
            return;
        }
        if self.asked == Some(key) {
            self.wanted = None;
        } else {
            if !self.picture.loading() {
                // While a picture is made, its arrival wakes the window.
                ui.ctx().request_repaint();
            }
            let (plane, colours) = (Arc::clone(cloud.plane), Arc::clone(cloud.colours));
            self.wanted = Some(PictureJob { key, plane, colours });
        }
        // A picture of other places lies about these; one in older colours stays until the next is there.
        let same = |picture: &&Arc<Picture>| picture.of == id(cloud.plane);
        let Some(picture) = self.picture.value().filter(same) else { return };
        let version = self.picture.version();
        if self.texture.as_ref().is_none_or(|(of, _)| *of != version) {
            let image = egui::ImageData::Color(Arc::clone(&picture.image));
            match &mut self.texture {
                Some((of, texture)) => {
                    texture.set(image, TextureOptions::NEAREST);
                    *of = version;
                }
                None => {
                    let texture = ui.ctx().load_texture(cloud.name, image, TextureOptions::NEAREST);
                    self.texture = Some((version, texture));
                }
            }
        }
        let Some((_, texture)) = &self.texture else { return };
        let [from, to] = picture.corners.map(|corner| to_screen(corner, key.rect, key.view));
        let all = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
        painter.image(texture.id(), Rect::from_min_max(from, to), all, Color32::WHITE);
    }

    /// Dragging moves, the wheel zooms about the pointer.
    fn moved(&self, ui: &Ui, response: &egui::Response, rect: Rect, view: &mut ([f32; 2], [f32; 2])) {
        let surrounds = self.surrounding || ui.input(|i| i.modifiers.shift);
        if response.dragged() && !(surrounds && self.lasso_button(ui)) {
            let moved = response.drag_delta();
            view.0[0] -= moved.x / view.1[0];
            view.0[1] += moved.y / view.1[1];
        }
        let Some(at) = response.hover_pos() else { return };
        let (wheel, pinch) = ui.input(|i| (i.smooth_scroll_delta.y, i.zoom_delta()));
        let factor = (wheel * 0.004).exp() * pinch;
        if (factor - 1.0).abs() > 1e-4 {
            let before = to_plane(at, rect, *view);
            view.1 = view.1.map(|scale| (scale * factor).clamp(1e-6, 1e9));
            let after = to_plane(at, rect, *view);
            view.0[0] += before[0] - after[0];
            view.0[1] += before[1] - after[1];
        }
    }

    fn lasso_button(&self, ui: &Ui) -> bool {
        ui.input(|i| i.pointer.primary_down())
    }

    fn surround(
        &mut self,
        ui: &Ui,
        response: &egui::Response,
        rect: Rect,
        view: ([f32; 2], [f32; 2]),
    ) -> Option<Vec<[f32; 2]>> {
        let wants = self.surrounding || ui.input(|i| i.modifiers.shift);
        if response.drag_started() && wants {
            self.lasso = ui.input(|i| i.pointer.press_origin()).into_iter().collect();
        }
        if self.lasso.is_empty() {
            return None;
        }
        if let Some(at) = response.interact_pointer_pos()
            && self.lasso.last().is_none_or(|last| last.distance(at) > 3.0)
        {
            self.lasso.push(at.clamp(rect.min, rect.max));
        }
        if !response.drag_stopped() {
            return None;
        }
        let corners = std::mem::take(&mut self.lasso);
        (corners.len() > 2).then(|| corners.into_iter().map(|at| to_plane(at, rect, view)).collect())
    }
}

/// Whether `place` is inside the closed line through `corners` (even-odd rule).
pub fn inside(corners: &[[f32; 2]], place: [f32; 2]) -> bool {
    let mut inside = false;
    let mut last = corners.len().wrapping_sub(1);
    for i in 0..corners.len() {
        let (a, b) = (corners[i], corners[last]);
        if (a[1] > place[1]) != (b[1] > place[1])
            && place[0] < (b[0] - a[0]) * (place[1] - a[1]) / (b[1] - a[1]) + a[0]
        {
            inside = !inside;
        }
        last = i;
    }
    inside
}

/// The view that shows all points, with a margin.
fn whole(plane: &Plane, rect: Rect, square: bool) -> Option<Viewport> {
    let (low, high) = plane.bounds()?;
    if rect.width() < 2.0 || rect.height() < 2.0 {
        return None;
    }
    let middle = [0, 1].map(|axis| (low[axis] + high[axis]) / 2.0);
    let room = [rect.width(), rect.height()];
    let mut scale = [0, 1].map(|axis| 0.92 * room[axis] / (high[axis] - low[axis]).max(1e-6));
    if square {
        scale = [scale[0].min(scale[1]); 2];
    }
    Some((middle, scale))
}

/// The part of the plane that `rect` shows: its lowest and its highest corner.
fn seen_of(rect: Rect, view: Viewport) -> ([f32; 2], [f32; 2]) {
    (to_plane(rect.left_bottom(), rect, view), to_plane(rect.right_top(), rect, view))
}

fn to_screen(place: [f32; 2], rect: Rect, (middle, scale): Viewport) -> Pos2 {
    rect.center() + vec2((place[0] - middle[0]) * scale[0], (middle[1] - place[1]) * scale[1])
}

fn to_plane(at: Pos2, rect: Rect, (middle, scale): Viewport) -> [f32; 2] {
    let off: Vec2 = at - rect.center();
    [middle[0] + off.x / scale[0], middle[1] - off.y / scale[1]]
}

/// The picture of what `key` sees and of some of what is around it.
fn paint(plane: &Arc<Plane>, colours: &[Color32], key: Key) -> Picture {
    let Key { rect, view, .. } = key;
    let (room, wide, high) = room_around(rect);
    // Sums of colours and the number of points, by cell.
    let mut cells = vec![[0u32; 4]; wide * high];
    let mut most = 1;
    let corners = [to_plane(room.min, rect, view), to_plane(room.max, rect, view)];
    plane.inside([corners[0][0], corners[1][1]], [corners[1][0], corners[0][1]], |i, place| {
        let off = to_screen(place, rect, view) - room.min;
        let (x, y) = (((off.x / CELL) as usize).min(wide - 1), ((off.y / CELL) as usize).min(high - 1));
        let cell = &mut cells[y * wide + x];
        let colour = colours[i];
        for (sum, part) in cell.iter_mut().zip([colour.r(), colour.g(), colour.b()]) {
            *sum += u32::from(part);
        }
        cell[3] += 1;
        most = most.max(cell[3]);
    });
    let pixel = |[r, g, b, count]: [u32; 4]| {
        if count == 0 {
            return Color32::TRANSPARENT;
        }
        // Even a lonely point is seen; the logarithm keeps a crowd from drowning it.
        let strength = 0.35 + 0.65 * (f64::from(count).ln_1p() / f64::from(most).ln_1p()) as f32;
        let mean = |sum: u32| (sum / count) as u8;
        crate::theme::tokens::opaque(mean(r), mean(g), mean(b)).gamma_multiply(strength)
    };
    let image = ColorImage::new([wide, high], cells.into_iter().map(pixel).collect());
    Picture { image: Arc::new(image), corners, of: id(plane) }
}

/// What a picture for `rect` covers, and its cells across and down. The cells of the part that is seen begin
/// at its corner.
fn room_around(rect: Rect) -> (Rect, usize, usize) {
    let wider = rect.expand2((rect.size() * BEYOND / CELL).ceil() * CELL);
    let (wide, high) = ((wider.width() / CELL) as usize + 1, (wider.height() / CELL) as usize + 1);
    (Rect::from_min_size(wider.min, vec2(wide as f32, high as f32) * CELL), wide, high)
}

fn id(plane: &Arc<Plane>) -> usize {
    Arc::as_ptr(plane) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect() -> Rect {
        Rect::from_min_size(pos2(10.0, 20.0), vec2(300.0, 200.0))
    }

    #[test]
    fn the_screen_and_the_plane_are_each_others_inverse() {
        let view = whole(&Plane::new(vec![[0.0, 0.0], [4.0, 1.0]]), rect(), false).unwrap();
        for place in [[0.0, 0.0], [4.0, 1.0], [1.5, 0.25]] {
            let at = to_screen(place, rect(), view);
            assert!(rect().contains(at));
            let back = to_plane(at, rect(), view);
            assert!((back[0] - place[0]).abs() < 1e-4 && (back[1] - place[1]).abs() < 1e-4);
        }
        assert!(whole(&Plane::default(), rect(), true).is_none());
        assert!(whole(&Plane::new(vec![[1.0, 1.0]]), rect(), true).is_some(), "one point is a cloud too");
    }

    #[test]
    fn what_is_inside_a_line() {
        let l = [[0.0, 0.0], [4.0, 0.0], [4.0, 1.0], [1.0, 1.0], [1.0, 4.0], [0.0, 4.0]];
        assert!(inside(&l, [0.5, 3.0]) && inside(&l, [3.0, 0.5]));
        assert!(!inside(&l, [3.0, 3.0]) && !inside(&l, [-1.0, 0.5]));
        assert!(!inside(&[], [0.0, 0.0]));
    }

    #[test]
    fn a_picture_has_every_point_in_its_cell() {
        let places: Vec<[f32; 2]> =
            (0..20_000).map(|i| [(i % 447) as f32, ((i * 7919) % 1009) as f32]).collect();
        let colours = vec![crate::theme::tokens::opaque(10, 200, 30); places.len()];
        let plane = Arc::new(Plane::new(places.clone()));
        let view = whole(&plane, rect(), false).unwrap();
        let picture = paint(&plane, &colours, Key { rect: rect(), view, version: 3, dark: true });
        let (room, wide, high) = room_around(rect());
        assert!(room.contains_rect(rect()) && picture.image.size == [wide, high]);
        for (corner, at) in picture.corners.iter().zip([room.min, room.max]) {
            assert!(to_screen(*corner, rect(), view).distance(at) < 0.01);
        }
        let mut expected = vec![0u32; wide * high];
        for place in &places {
            let off = to_screen(*place, rect(), view) - room.min;
            expected[(off.y / CELL) as usize * wide + (off.x / CELL) as usize] += 1;
        }
        let most = expected.iter().max().unwrap();
        let brightest = picture.image.pixels.iter().map(|p| p.g()).max().unwrap();
        for (pixel, count) in picture.image.pixels.iter().zip(&expected) {
            assert_eq!(*pixel == Color32::TRANSPARENT, *count == 0);
            assert_eq!(pixel.g() == brightest, count == most, "{count} of {most}");
        }
    }
}
