//! F1: every key, and which version this is.

use egui::{Context, Grid, Modal, RichText, ScrollArea, Ui};

use crate::action::{Command, Menu};
use crate::theme::{palette, space, tokens::size};

/// Keys that belong to a view and are in no menu: where, which, what for.
const OF_VIEWS: [(&str, &str, &str); 8] = [
    ("Feature table", "↑ ↓ PgUp PgDn Home End", "Select a feature"),
    ("Feature table", "Enter", "Open the selected feature"),
    ("Map", "Shift + drag", "Surround features to select them"),
    ("Prompt", "Enter", "Read the text; Shift+Enter begins a new line"),
    ("Prompt", "← →", "Step through the tokens"),
    ("Prompt", "Ctrl+Enter", "Continue the text"),
    ("Document", "← → PgUp PgDn", "Step through the tokens and the pages"),
    ("Experts", "[ ]", "Previous and next layer"),
];

/// The dialog.
#[derive(Debug, Default)]
pub struct Help {
    open: bool,
}

impl Help {
    /// Opens it, or closes it when it is open.
    pub fn toggle(&mut self) {
        self.open = !self.open;
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Draws it.
    pub fn show(&mut self, ctx: &Context) {
        if !self.open {
            return;
        }
        let screen = ctx.content_rect().size();
        let modal = Modal::new(egui::Id::unique("help")).show(ctx, |ui| {
            ui.set_width(520.0_f32.min(screen.x - 80.0));
            ui.label(RichText::new("Keyboard shortcuts").size(size::TITLE).color(palette(ui).strong));
            ui.add_space(space::S);
            let area = ScrollArea::vertical().max_height((screen.y - 200.0).max(120.0));
            area.show(ui, |ui| {
                for menu in Menu::ALL {
                    of_menu(ui, menu);
                }
                of_views(ui);
            });
            ui.add_space(space::S);
            let about = format!("SAE Workbench {}", env!("CARGO_PKG_VERSION"));
            ui.label(RichText::new(about).size(size::SMALL).color(palette(ui).weak));
            self.open &= !ui.button("Close").clicked();
        });
        self.open &= !modal.should_close();
    }
}

fn heading(ui: &mut Ui, name: &str) {
    ui.add_space(space::S);
    ui.label(RichText::new(name).strong().color(palette(ui).strong));
}

fn row(ui: &mut Ui, key: &str, what: &str) {
    ui.label(RichText::new(key).monospace().size(size::SMALL).color(palette(ui).strong));
    ui.label(RichText::new(what).color(palette(ui).text));
    ui.end_row();
}

fn of_menu(ui: &mut Ui, menu: Menu) {
    heading(ui, menu.name());
    Grid::new(("keys", menu.name())).num_columns(2).min_col_width(150.0).show(ui, |ui| {
        for command in Command::ALL.into_iter().filter(|command| command.menu() == menu) {
            let key = command.key_text(ui.ctx());
            if !key.is_empty() {
                row(ui, &key, command.name());
            }
        }
    });
}

fn of_views(ui: &mut Ui) {
    let mut last = "";
    for (i, (view, ..)) in OF_VIEWS.iter().enumerate() {
        if *view == last {
            continue;
        }
        last = view;
        heading(ui, view);
        Grid::new(("keys of view", i)).num_columns(2).min_col_width(150.0).show(ui, |ui| {
            OF_VIEWS.iter().filter(|one| one.0 == *view).for_each(|(_, key, what)| row(ui, key, what));
        });
    }
}
