//! Cells and heads of the house's tables.

use egui::{Align, Label, Layout, RichText, Role, Sense, Stroke, Ui, WidgetInfo};

use crate::theme::tokens::{self, size};
use crate::theme::{palette, space};

/// Where a column's content stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lays out one cell with the house's margins.
pub fn cell<R>(ui: &mut Ui, side: Side, add: impl FnOnce(&mut Ui) -> R) -> R {
    let rect = ui.max_rect().shrink2(egui::vec2(space::S, 0.0));
    let layout = match side {
        Side::Left => Layout::left_to_right(Align::Center),
        Side::Right => Layout::right_to_left(Align::Center),
    };
    ui.scope_builder(egui::UiBuilder::new().max_rect(rect).layout(layout), |ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        add(ui)
    })
    .inner
}

/// A cell with a number, right-aligned.
pub fn number(ui: &mut Ui, text: impl Into<String>) {
    cell(ui, Side::Right, |ui| {
        ui.add(Label::new(RichText::new(text).color(palette(ui).text)).truncate());
    });
}

/// A cell with words, elided when long.
pub fn words(ui: &mut Ui, text: impl Into<String>) {
    cell(ui, Side::Left, |ui| {
        ui.add(Label::new(RichText::new(text).color(palette(ui).text)).truncate());
    });
}

/// How a column is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortState {
    /// Not by this column.
    No,
    /// Smallest first.
    Up,
    /// Largest first.
    Down,
}

/// A column head that sorts when clicked. Its accessible name is `Sort by NAME`.
pub fn sort_head(ui: &mut Ui, name: &str, side: Side, sorted: SortState, hover: &str) -> bool {
    let p = palette(ui);
    let rect = ui.max_rect();
    ui.painter().rect_filled(rect, 0.0, p.side);
    ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(1.0, p.line));
    let id = ui.scope_id().with(("sort", name));
    let response = ui.interact(rect, id, Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(Role::Button, true, sorted != SortState::No, format!("Sort by {name}"))
    });
    let colour = if response.hovered() || sorted != SortState::No { p.strong } else { p.weak };
    let arrow = match sorted {
        SortState::No => "",
        SortState::Up => "▴",
        SortState::Down => "▾",
    };
    cell(ui, side, |ui| {
        let title = RichText::new(name).size(size::SMALL).color(colour);
        let mark = RichText::new(arrow).size(size::SMALL).color(p.accent);
        if side == Side::Right {
            if sorted != SortState::No {
                ui.add(Label::new(mark));
            }
            ui.add(Label::new(title).truncate());
        } else {
            ui.add(Label::new(title).truncate());
            if sorted != SortState::No {
                ui.add(Label::new(mark));
            }
        }
    });
    let clicked = response.clicked();
    response.on_hover_text(hover).on_hover_cursor(egui::CursorIcon::PointingHand);
    clicked
}

/// A column head that only names its column.
pub fn plain_head(ui: &mut Ui, name: &str, side: Side, hover: &str) {
    let p = palette(ui);
    let rect = ui.max_rect();
    ui.painter().rect_filled(rect, 0.0, p.side);
    ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(1.0, p.line));
    cell(ui, side, |ui| {
        let label = ui.add(Label::new(RichText::new(name).size(size::SMALL).color(p.weak)).truncate());
        if !hover.is_empty() {
            label.on_hover_text(hover);
        }
    });
}

/// Whether a row is being drawn in the part of the table that can be seen. The table offers every row also to
/// its sticky columns, of which there are none; a second widget there would take the clicks of the first.
pub fn is_seen(ui: &Ui) -> bool {
    ui.clip_rect().width() > 0.0
}

/// Ground of a row.
pub fn row_ground(ui: &Ui, rect: egui::Rect, selected: bool, hovered: bool) {
    let p = palette(ui);
    let fill = if selected {
        p.selection
    } else if hovered {
        p.control_hover
    } else {
        ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(1.0, p.stripe));
        return;
    };
    ui.painter().rect_filled(rect, 0.0, fill);
}

/// Shows `table` with the widths given in `columns` until the person changes one, and with the person's own
/// afterwards.
pub fn show(
    ui: &mut Ui,
    table: egui_table::Table,
    columns: &[egui_table::Column],
    delegate: &mut dyn egui_table::TableDelegate,
) {
    use egui_table::TableState;
    let id = table.get_id(ui);
    let designed: Vec<f32> = columns.iter().map(|c| c.current).collect();
    let before = ui.data(|data| data.get_temp::<Vec<f32>>(id));
    // Room changes while parts of a view arrive; widths that nobody touched follow it.
    let untouched = TableState::load(ui.ctx(), id).is_none_or(|state| {
        let same = |(i, (c, was)): (usize, (&egui_table::Column, &f32))| {
            state.col_widths.get(&c.id_for(i)).is_some_and(|width| (width - was).abs() < 0.5)
        };
        before.as_ref().is_some_and(|before| columns.iter().zip(before).enumerate().all(same))
    });
    if untouched && before.as_ref() != Some(&designed) {
        // Without a state the table would measure every cell once and ignore the designed widths.
        let col_widths = columns.iter().enumerate().map(|(i, c)| (c.id_for(i), c.current)).collect();
        TableState { col_widths, parent_width: Some(ui.available_width()) }.store(ui.ctx(), id);
        ui.data_mut(|data| data.insert_temp(id, designed));
    }
    // The head continues where the columns end.
    let head = ui.available_rect_before_wrap().with_max_y(ui.cursor().top() + tokens::height::HEAD);
    ui.painter().rect_filled(head, 0.0, palette(ui).side);
    ui.painter().hline(head.x_range(), head.bottom() - 0.5, Stroke::new(1.0, palette(ui).line));
    table.columns(columns).show(ui, delegate);
}
