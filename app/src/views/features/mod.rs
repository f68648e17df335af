//! The table of features: a million rows, of which only those on the screen are drawn.

mod filter;
mod order;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Align, Frame, Key as Keyboard, Layout, Margin, RichText, Ui};
use egui_table::{Column, HeaderRow, Table};

pub use order::{Key, Query};

use super::{Scene, View};
use crate::address::Place;
use crate::load::{Lane, Requested};
use crate::theme::{palette, space, tokens::height};
use crate::widgets::{format, notice, table};

/// The feature table of one run.
#[derive(Debug)]
pub struct FeaturesView {
    run: PathBuf,
    query: Query,
    order: Requested<Vec<u32>>,
    /// What `order` was last asked for: query and versions of what it was made from.
    asked: Option<(Query, u64, u64, u64)>,
    /// The selected feature.
    selected: Option<u32>,
    scroll_to: Option<u64>,
    focus_search: bool,
    page_rows: u64,
}

impl FeaturesView {
    /// The table of `run`.
    pub fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            query: Query::default(),
            order: Requested::new(),
            asked: None,
            selected: None,
            scroll_to: None,
            focus_search: false,
            page_rows: 20,
        }
    }

    /// Asks for the order anew when the query or the data changed.
    fn ask_order(&mut self, scene: &mut Scene<'_>) {
        let store = scene.stores.run(&self.run);
        let Some(columns) = store.columns.value().cloned() else { return };
        let key =
            (self.query.clone(), store.columns.version(), store.tokens.version(), store.vocabulary.version());
        if self.asked.as_ref() == Some(&key) {
            return;
        }
        let query = self.query.clone();
        let (tokens, vocabulary) = (store.tokens.value().cloned(), store.vocabulary.value().cloned());
        self.asked = Some(key);
        self.order.ask(scene.workers, Lane::Sort, move || {
            Ok(order::order(&query, &columns, tokens.as_deref(), vocabulary.as_deref()))
        });
    }

    fn keyboard(&mut self, ui: &Ui, order: &[u32], scene: &mut Scene<'_>) {
        let typing = ui.memory(|m| m.focused()).is_some();
        if typing || order.is_empty() {
            return;
        }
        let at = self.selected.and_then(|f| order.iter().position(|o| *o == f)).map(|i| i as i64);
        let page = self.page_rows.max(2) as i64 - 1;
        let last = order.len() as i64 - 1;
        let target = ui.input(|input| {
            let from = at.unwrap_or(-1);
            [
                (Keyboard::ArrowDown, from + 1),
                (Keyboard::ArrowUp, at.unwrap_or(1) - 1),
                (Keyboard::PageDown, from.max(0) + page),
                (Keyboard::PageUp, from - page),
                (Keyboard::Home, 0),
                (Keyboard::End, last),
            ]
            .into_iter()
            .find(|(key, _)| input.key_pressed(*key) && !input.modifiers.any())
            .map(|(_, target)| target.clamp(0, last))
        });
        if let Some(target) = target {
            self.selected = order.get(target as usize).copied();
            self.scroll_to = Some(target as u64);
        }
        if let Some(feature) = self.selected
            && ui.input(|input| input.key_pressed(Keyboard::Enter))
        {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
    }

    fn table(&mut self, ui: &mut Ui, order: &Arc<Vec<u32>>, scene: &mut Scene<'_>) {
        let store = scene.stores.run(&self.run);
        let (Some(columns), tokens, vocabulary) = (
            store.columns.value().cloned(),
            store.tokens.value().cloned(),
            store.vocabulary.value().cloned(),
        ) else {
            return;
        };
        let labelled = tokens.as_ref().is_some_and(|t| !t.labels.is_empty());
        let fixed = rows::COLUMNS.iter().map(|c| c.width).sum::<f32>();
        let rest = (ui.available_width() - fixed - space::M).max(0.0);
        let widths: Vec<Column> = rows::COLUMNS
            .iter()
            .map(|c| {
                let extra = match c.key {
                    Key::Label if labelled => rest * 0.4,
                    Key::Token if labelled => rest * 0.6,
                    Key::Token => rest,
                    _ => 0.0,
                };
                let start = if c.key == Key::Label && !labelled { 72.0 } else { c.width + extra };
                Column::new((start * 4.0).round() / 4.0).range(40.0..=2400.0).id(egui::Id::unique(c.name))
            })
            .collect();
        let mut delegate = rows::Rows {
            order,
            columns: &columns,
            tokens: tokens.as_deref(),
            vocabulary: vocabulary.as_deref(),
            query: &self.query,
            selected: self.selected,
            salt: ui.scope_id(),
            asked: rows::Asked::default(),
        };
        let mut shown = Table::new()
            // Labels arrive after the numbers; the widths that are designed for them apply from then on.
            .id_salt(("features", &self.run, labelled))
            .num_rows(order.len() as u64)
            .headers([HeaderRow::new(height::HEAD)]);
        if let Some(row) = self.scroll_to.take() {
            shown = shown.scroll_to_row(row, None);
        }
        self.page_rows = (ui.available_height() / height::ROW) as u64;
        table::show(ui, shown, &widths, &mut delegate);
        self.apply(delegate.asked, scene);
    }

    fn apply(&mut self, asked: rows::Asked, scene: &mut Scene<'_>) {
        if let Some(key) = asked.sort {
            if self.query.key == key {
                self.query.descending = !self.query.descending;
            } else {
                self.query.key = key;
                self.query.descending = matches!(key, Key::Density | Key::Count | Key::Mean | Key::Max);
            }
            self.scroll_to = Some(0);
        }
        if let Some(feature) = asked.select.or(asked.open) {
            self.selected = Some(feature);
        }
        if let Some(feature) = asked.open {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
    }

    fn status(&self, ui: &mut Ui, shown: usize, all: usize) {
        let p = palette(ui);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let text = if shown == all {
                format!("{} features", format::grouped(all as u64))
            } else {
                format!("{} of {} features", format::grouped(shown as u64), format::grouped(all as u64))
            };
            ui.label(RichText::new(text).color(p.weak));
            if self.order.loading() {
                ui.spinner();
            }
        });
    }
}

impl View for FeaturesView {
    fn place(&self) -> Place {
        Place::Features { run: self.run.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Features · {}", scene.folder.name_of(&self.run))
    }

    fn turn_to(&mut self, _place: &Place) {}

    fn logic(&mut self, scene: &mut Scene<'_>) {
        let workers = scene.workers;
        let store = scene.stores.run(&self.run);
        if store.columns.untouched() {
            store.ask_features(workers);
        }
        self.ask_order(scene);
        self.order.poll(workers);
        scene.stores.run(&self.run).order = self.order.value().cloned();
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let store = scene.stores.run(&self.run);
        let all = store.columns.value().map_or(0, |c| c.len());
        let indexed = store.columns.value().map_or(0, |c| c.tokens);
        if let (0, Some(problem)) = (all, store.columns.problem()) {
            if notice::problem(ui, "The features can not be read", problem) {
                store.ask_features(scene.workers);
            }
            return;
        }
        let side_problem = store.tokens.problem().or(store.vocabulary.problem()).cloned();
        let Some(order) = self.order.value().cloned() else {
            return notice::loading(ui, "Reading the features…");
        };
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::S as i8)).show(ui, |ui| {
            ui.horizontal(|ui| {
                let focus = std::mem::take(&mut self.focus_search);
                filter::show(ui, &mut self.query, focus, indexed);
                self.status(ui, order.len(), all);
            });
            if let Some(problem) = side_problem {
                notice::problem_line(ui, &problem);
            }
        });
        if order.is_empty() && !self.order.loading() {
            let how = "Shorten the search, widen the density or show the dead ones.";
            return notice::empty(ui, "No feature passes the filter", how);
        }
        self.keyboard(ui, &order, scene);
        self.table(ui, &order, scene);
    }

    fn search(&mut self) -> bool {
        self.focus_search = true;
        true
    }
}
