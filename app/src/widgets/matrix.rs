//! A map of coloured cells: rows × columns, with the cell under the pointer or the keyboard's cursor told to
//! the caller.

use egui::{
    Align2, Color32, EventFilter, FontId, Key, Mesh, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui,
    Vec2, WidgetInfo, pos2, vec2,
};

use crate::theme::{palette, tokens::size};

/// A cell: row and column.
pub type At = (usize, usize);

/// What to draw.
pub struct Matrix<'a> {
    /// What it is, for those who hear it; also its identity on the page.
    pub name: &'a str,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Names of rows, at the left.
    pub row_name: &'a dyn Fn(usize) -> String,
    /// Names of columns, below.
    pub column_name: &'a dyn Fn(usize) -> String,
    /// Ground of a cell; `None` where there is nothing.
    pub colour: &'a dyn Fn(usize, usize) -> Option<Color32>,
    /// Cells with lines through them.
    pub hatched: &'a dyn Fn(usize, usize) -> bool,
    /// A row with a frame around it.
    pub row: Option<usize>,
    /// Room for the names of rows.
    pub names: f32,
    /// Least and greatest size of a cell.
    pub cell: (Vec2, Vec2),
    /// Height that all rows together should not exceed.
    pub height: f32,
}

/// What the person does with it.
pub struct Interaction {
    /// The cell under the pointer or, while the map has the focus, under the cursor.
    pub pointed: Option<At>,
    /// The cell that was clicked, or chosen with Enter.
    pub clicked: Option<At>,
    /// The row whose name was clicked.
    pub row: Option<usize>,
    /// The map itself.
    pub response: Response,
}

/// Sizes and places of the cells.
#[derive(Clone, Copy)]
struct Grid {
    origin: egui::Pos2,
    cell: Vec2,
    rows: usize,
    columns: usize,
}

impl Grid {
    fn rect(&self, (row, column): At) -> Rect {
        let min = self.origin + vec2(self.cell.x * column as f32, self.cell.y * row as f32);
        Rect::from_min_size(min, self.cell)
    }

    fn at(&self, pos: egui::Pos2) -> Option<At> {
        let from = pos - self.origin;
        let (column, row) = ((from.x / self.cell.x).floor(), (from.y / self.cell.y).floor());
        let inside = row >= 0.0 && column >= 0.0 && row < self.rows as f32 && column < self.columns as f32;
        inside.then_some((row as usize, column as usize))
    }
}

/// Room below the cells for the names of columns.
const FOOT: f32 = 18.0;
/// Distance of the lines of a hatched cell.
const HATCH: f32 = 6.0;

impl Matrix<'_> {
    /// Draws it.
    pub fn show(&self, ui: &mut Ui) -> Interaction {
        let (least, most) = self.cell;
        let wide = ((ui.available_width() - self.names) / self.columns.max(1) as f32).floor();
        let tall = (self.height / self.rows.max(1) as f32).floor();
        let cell = vec2(wide.clamp(least.x, most.x), tall.clamp(least.y, most.y));
        let size = vec2(self.names + cell.x * self.columns as f32, cell.y * self.rows as f32 + FOOT);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, self.name));
        let grid =
            Grid { origin: rect.min + vec2(self.names, 0.0), cell, rows: self.rows, columns: self.columns };
        if ui.is_rect_visible(rect) {
            self.paint(ui, rect, &grid);
        }
        let hovered = response.hover_pos().and_then(|pos| grid.at(pos));
        let cursor = self.keyboard(ui, &response);
        let pointed = hovered.or(cursor);
        if let Some(at) = pointed {
            let p = palette(ui);
            ui.painter().rect_stroke(grid.rect(at), 1.0, Stroke::new(1.5, p.strong), StrokeKind::Outside);
        }
        let press = response.clicked().then(|| response.interact_pointer_pos()).flatten();
        let by_mouse = press.and_then(|pos| grid.at(pos));
        // A name stands left of its row.
        let named = press.filter(|pos| pos.x < grid.origin.x);
        let row = named.and_then(|pos| grid.at(pos2(grid.origin.x, pos.y))).map(|at| at.0);
        let enter = cursor.is_some() && ui.input(|i| i.key_pressed(Key::Enter));
        Interaction { pointed, clicked: by_mouse.or(cursor.filter(|_| enter)), row, response }
    }

    /// Moves the cursor with the arrow keys while the map has the focus.
    fn keyboard(&self, ui: &Ui, response: &Response) -> Option<At> {
        if !response.has_focus() || self.rows == 0 || self.columns == 0 {
            return None;
        }
        let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let kept = response.id.with("cursor");
        let (mut row, mut column) = ui.data(|d| d.get_temp::<At>(kept)).unwrap_or_default();
        ui.input(|i| {
            let steps = |key: Key| i.num_presses(key);
            row = (row + steps(Key::ArrowDown)).saturating_sub(steps(Key::ArrowUp));
            column = (column + steps(Key::ArrowRight)).saturating_sub(steps(Key::ArrowLeft));
        });
        let at = (row.min(self.rows - 1), column.min(self.columns - 1));
        ui.data_mut(|d| d.insert_temp(kept, at));
        Some(at)
    }

    fn paint(&self, ui: &Ui, rect: Rect, grid: &Grid) {
        let p = palette(ui);
        let painter = ui.painter();
        let gap = if grid.cell.min_elem() >= 8.0 { 0.5 } else { 0.0 };
        let mut mesh = Mesh::default();
        let mut hatched = Vec::new();
        let clip = ui.clip_rect();
        for row in 0..self.rows {
            let line = grid.rect((row, 0));
            if line.bottom() < clip.top() || line.top() > clip.bottom() {
                continue;
            }
            for column in 0..self.columns {
                let cell = grid.rect((row, column)).shrink(gap);
                if let Some(colour) = (self.colour)(row, column) {
                    mesh.add_colored_rect(cell, colour);
                }
                if (self.hatched)(row, column) {
                    hatched.push(cell);
                }
            }
        }
        painter.add(mesh);
        hatched
            .into_iter()
            .for_each(|cell| hatch(&painter.with_clip_rect(cell.intersect(clip)), cell, p.ground));
        let font = FontId::proportional(size::SMALL);
        let every = |room: f32, cell: f32| (room / cell).ceil().max(1.0) as usize;
        for row in (0..self.rows).step_by(every(14.0, grid.cell.y)) {
            let middle = grid.rect((row, 0)).center().y;
            let colour = if self.row == Some(row) { p.accent } else { p.weak };
            let place = pos2(grid.origin.x - 8.0, middle);
            painter.text(place, Align2::RIGHT_CENTER, (self.row_name)(row), font.clone(), colour);
        }
        // As far apart as the widest of the two at the ends needs.
        let width =
            |column: usize| painter.layout_no_wrap((self.column_name)(column), font.clone(), p.weak).size().x;
        let ends =
            [0, self.columns.saturating_sub(1)].map(|end| if self.columns > 0 { width(end) } else { 0.0 });
        let room = ends.into_iter().fold(18.0, f32::max) + 8.0;
        for column in (0..self.columns).step_by(every(room, grid.cell.x)) {
            let middle = grid.rect((0, column)).center().x;
            let place = pos2(middle, rect.bottom());
            painter.text(place, Align2::CENTER_BOTTOM, (self.column_name)(column), font.clone(), p.weak);
        }
        if let Some(row) = self.row.filter(|row| *row < self.rows) {
            let frame = grid.rect((row, 0)).union(grid.rect((row, self.columns.max(1) - 1))).expand(1.0);
            painter.rect_stroke(frame, 2.0, Stroke::new(1.0, p.accent), StrokeKind::Outside);
        }
    }
}

/// Lines that fall to the left, over a whole cell.
fn hatch(painter: &egui::Painter, cell: Rect, colour: Color32) {
    let mut x = cell.left() + HATCH / 2.0;
    while x < cell.right() + cell.height() {
        let ends = [pos2(x, cell.top()), pos2(x - cell.height(), cell.bottom())];
        painter.line_segment(ends, Stroke::new(1.5, colour));
        x += HATCH;
    }
}

/// A scale of colours with what its ends mean; `colour` takes 0..=1.
pub fn legend(ui: &mut Ui, low: &str, high: &str, colour: &dyn Fn(f32) -> Color32) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        let small = |text: &str| egui::RichText::new(text).size(size::SMALL).color(p.weak);
        ui.label(small(low));
        let (rect, _) = ui.allocate_exact_size(vec2(140.0, 8.0), Sense::hover());
        let steps = 35;
        let mut mesh = Mesh::default();
        for i in 0..steps {
            let part = |i: usize| rect.left() + rect.width() * i as f32 / steps as f32;
            let cell = Rect::from_min_max(pos2(part(i), rect.top()), pos2(part(i + 1), rect.bottom()));
            mesh.add_colored_rect(cell, colour((i as f32 + 0.5) / steps as f32));
        }
        ui.painter().add(mesh);
        ui.painter().rect_stroke(rect, 0.0, Stroke::new(1.0, p.line), StrokeKind::Outside);
        ui.label(small(high));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_belong_to_cells() {
        let grid = Grid { origin: pos2(10.0, 20.0), cell: vec2(5.0, 4.0), rows: 3, columns: 2 };
        assert_eq!(grid.at(pos2(10.0, 20.0)), Some((0, 0)));
        assert_eq!(grid.at(pos2(19.9, 31.9)), Some((2, 1)));
        assert_eq!(grid.at(pos2(20.0, 31.0)), None);
        assert_eq!(grid.at(pos2(9.9, 21.0)), None);
        assert_eq!(grid.rect((2, 1)).center(), pos2(17.5, 30.0));
    }
}
