//! Many points in a plane: dragged, zoomed, hovered, clicked, surrounded. Up to a few thousand in view are drawn one by one;
//! more as cells of three pixels, brighter where there are many, so that a million cost no more than the screen has cells.

use std::sync::Arc;

use egui::{
    Color32, CursorIcon, Mesh, Pos2, Rect, Role, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::theme::palette;

/// Points in view up to which each is drawn for itself.
const SINGLE: usize = 4000;
/// Side of a cell, in points of the screen.
const CELL: f32 = 3.0;
/// How near the pointer must be to a point.
const NEAR: f32 = 9.0;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Cloud<'a> {
    /// Accessible name.
    pub name: &'a str,
    /// The places.
    pub places: &'a [[f32; 2]],
    /// The colour of each.
    pub colours: &'a [Color32],
    /// Raised whenever places or colours change.
    pub version: u64,
    /// Whether both axes have the same scale.
    pub square: bool,
    /// Indices of points to be ringed.
    pub ringed: &'a [usize],
}

/// What the pointer did.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The point under the pointer.
    pub hovered: Option<usize>,
    /// The point that was clicked.
    pub clicked: Option<usize>,
    /// The corners of what was surrounded, in the plane.
    pub lasso: Option<Vec<[f32; 2]>>,
}

/// What of the plane is seen, and what was drawn of it last.
#[derive(Clone, Debug, Default)]
pub struct Scatter {
    /// Middle of the view in the plane, and points of the screen for one unit; `None`: everything.
    view: Option<([f32; 2], [f32; 2])>,
    /// Whether dragging surrounds instead of moving.
    pub surrounding: bool,
    lasso: Vec<Pos2>,
    drawn: Option<(Key, Arc<Mesh>, Vec<usize>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Key {
    rect: Rect,
    view: ([f32; 2], [f32; 2]),
    version: u64,
    dark: bool,
}

impl Scatter {
    /// Shows everything again.
    pub fn reset(&mut self) {
        self.view = None;
    }

    /// Draws the cloud into all the room there is.
    pub fn show(&mut self, ui: &mut Ui, cloud: &Cloud<'_>) -> Asked {
        let p = palette(ui);
        let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Image, true, format!("{}: {} points", cloud.name, cloud.places.len()))
        });
        ui.painter().rect_filled(rect, 2.0, p.well);
        let mut asked = Asked::default();
        let Some(all) = whole(cloud.places, rect, cloud.square) else { return asked };
        let mut view = self.view.unwrap_or(all);
        self.moved(ui, &response, rect, &mut view);
        if response.double_clicked() {
            view = all;
        }
        self.view = (view != all).then_some(view);
        asked.lasso = self.surround(ui, &response, rect, view);

        let key = Key { rect, view, version: cloud.version, dark: ui.visuals().dark_mode };
        if self.drawn.as_ref().is_none_or(|(drawn, ..)| *drawn != key) {
            let (mesh, seen) = draw(cloud, rect, view);
            self.drawn = Some((key, Arc::new(mesh), seen));
        }
        let painter = ui.painter().with_clip_rect(rect);
        let Some((_, mesh, seen)) = &self.drawn else { return asked };
        painter.add(Shape::mesh(Arc::clone(mesh)));
        for i in seen {
            painter.circle_filled(to_screen(cloud.places[*i], rect, view), 2.5, cloud.colours[*i]);
        }
        for i in cloud.ringed {
            if let Some(place) = cloud.places.get(*i) {
                painter.circle_stroke(to_screen(*place, rect, view), 6.0, Stroke::new(2.0, p.accent));
            }
        }
        if self.lasso.len() > 1 {
            painter.add(Shape::closed_line(self.lasso.clone(), Stroke::new(1.5, p.accent)));
        }
        if let Some(at) = response.hover_pos().filter(|_| !response.dragged()) {
            asked.hovered = nearest(cloud.places, at, rect, view);
            if let Some(place) = asked.hovered.map(|i| cloud.places[i]) {
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
fn whole(places: &[[f32; 2]], rect: Rect, square: bool) -> Option<([f32; 2], [f32; 2])> {
    let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for place in places {
        for axis in 0..2 {
            low[axis] = low[axis].min(place[axis]);
            high[axis] = high[axis].max(place[axis]);
        }
    }
    if low[0] > high[0] || rect.width() < 2.0 || rect.height() < 2.0 {
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

fn to_screen(place: [f32; 2], rect: Rect, (middle, scale): ([f32; 2], [f32; 2])) -> Pos2 {
    rect.center() + vec2((place[0] - middle[0]) * scale[0], (middle[1] - place[1]) * scale[1])
}

fn to_plane(at: Pos2, rect: Rect, (middle, scale): ([f32; 2], [f32; 2])) -> [f32; 2] {
    let off: Vec2 = at - rect.center();
    [middle[0] + off.x / scale[0], middle[1] - off.y / scale[1]]
}

fn nearest(places: &[[f32; 2]], at: Pos2, rect: Rect, view: ([f32; 2], [f32; 2])) -> Option<usize> {
    let distance = |place: &[f32; 2]| to_screen(*place, rect, view).distance_sq(at);
    let best = places.iter().map(distance).enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
    (best.1 <= NEAR * NEAR).then_some(best.0)
}

/// A mesh of cells, or the points to be drawn one by one when they are few.
fn draw(cloud: &Cloud<'_>, rect: Rect, view: ([f32; 2], [f32; 2])) -> (Mesh, Vec<usize>) {
    let seen: Vec<usize> =
        (0..cloud.places.len()).filter(|i| rect.contains(to_screen(cloud.places[*i], rect, view))).collect();
    if seen.len() <= SINGLE {
        return (Mesh::default(), seen);
    }
    let (wide, high) = ((rect.width() / CELL) as usize + 1, (rect.height() / CELL) as usize + 1);
    // Sums of colours and the number of points, by cell.
    let mut cells = vec![[0u32; 4]; wide * high];
    let mut most = 1;
    for i in seen {
        let off = to_screen(cloud.places[i], rect, view) - rect.min;
        let cell = &mut cells[(off.y / CELL) as usize * wide + (off.x / CELL) as usize];
        let colour = cloud.colours[i];
        for (sum, part) in cell.iter_mut().zip([colour.r(), colour.g(), colour.b()]) {
            *sum += u32::from(part);
        }
        cell[3] += 1;
        most = most.max(cell[3]);
    }
    let mut mesh = Mesh::default();
    for (at, [r, g, b, count]) in cells.into_iter().enumerate().filter(|(_, cell)| cell[3] > 0) {
        let min = rect.min + vec2((at % wide) as f32, (at / wide) as f32) * CELL;
        // Even a lonely point is seen; the logarithm keeps a crowd from drowning it.
        let strength = 0.35 + 0.65 * (f64::from(count).ln_1p() / f64::from(most).ln_1p()) as f32;
        let mean = |sum: u32| (sum / count) as u8;
        let colour = crate::theme::tokens::opaque(mean(r), mean(g), mean(b)).gamma_multiply(strength);
        mesh.add_colored_rect(Rect::from_min_max(min, min + pos2(CELL, CELL).to_vec2()), colour);
    }
    (mesh, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect() -> Rect {
        Rect::from_min_size(pos2(10.0, 20.0), vec2(300.0, 200.0))
    }

    #[test]
    fn the_screen_and_the_plane_are_each_others_inverse() {
        let view = whole(&[[0.0, 0.0], [4.0, 1.0]], rect(), false).unwrap();
        for place in [[0.0, 0.0], [4.0, 1.0], [1.5, 0.25]] {
            let at = to_screen(place, rect(), view);
            assert!(rect().contains(at));
            let back = to_plane(at, rect(), view);
            assert!((back[0] - place[0]).abs() < 1e-4 && (back[1] - place[1]).abs() < 1e-4);
        }
        assert!(whole(&[], rect(), true).is_none());
        assert!(whole(&[[1.0, 1.0]], rect(), true).is_some(), "one point is a cloud too");
    }

    #[test]
    fn what_is_inside_a_line() {
        let l = [[0.0, 0.0], [4.0, 0.0], [4.0, 1.0], [1.0, 1.0], [1.0, 4.0], [0.0, 4.0]];
        assert!(inside(&l, [0.5, 3.0]) && inside(&l, [3.0, 0.5]));
        assert!(!inside(&l, [3.0, 3.0]) && !inside(&l, [-1.0, 0.5]));
        assert!(!inside(&[], [0.0, 0.0]));
    }

    #[test]
    fn a_crowd_is_drawn_as_cells_and_a_few_as_points() {
        let places: Vec<[f32; 2]> =
            (0..200_000).map(|i| [(i % 447) as f32, ((i * 7919) % 1009) as f32]).collect();
        let colours = vec![Color32::WHITE; places.len()];
        let cloud =
            Cloud { name: "x", places: &places, colours: &colours, version: 0, square: false, ringed: &[] };
        let view = whole(&places, rect(), false).unwrap();
        let (mesh, seen) = draw(&cloud, rect(), view);
        assert!(seen.is_empty());
        assert!((100..=4 * 101 * 68).contains(&mesh.vertices.len()), "{}", mesh.vertices.len());
        let few = Cloud { places: &places[..100], colours: &colours[..100], ..cloud };
        let (mesh, seen) = draw(&few, rect(), view);
        assert!(mesh.is_empty() && seen.len() == 100);
    }
}
