//! The table of features: a million rows, of which only those on the screen are drawn.

mod distributions;
mod filter;
mod order;
mod rows;
mod spread;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Frame, Key as Keyboard, Margin, ScrollArea, Ui};
use egui_table::{Column as Width, HeaderRow, Table};

pub use order::{Key, MatchReason, Query, Source, TableOrder};
use rows::Column;
pub use rows::chips;
use spread::Spread;

use super::matching::pair;
use super::{Scene, View, ViewCommand};
use crate::action::{Action, Save};
use crate::address::Place;
use crate::data::firing::{self, FiringGap};
use crate::data::notes::{Change, Edit};
use crate::data::{self, FeaturePage, Firing, Number};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::stores::RunStore;
use crate::theme::{palette, space, tokens::height};
use crate::training::Job;
use crate::widgets::side::SidePanel;
use crate::widgets::{notice, table};

/// From this width on the histograms are shown at first.
const ROOM: f32 = 900.0;

/// From this width on there is room for a wider panel.
const ROOMY: f32 = 1400.0;
/// Examples of the selected feature.
const PREVIEWED: usize = 3;

/// The feature table of one run.
#[derive(Debug)]
pub struct FeaturesView {
    run: PathBuf,
    query: Query,
    shown: rows::Columns,
    order: Request<TableOrder>,
    /// What `order` was last asked for: the query and the versions of what it was made from.
    asked: Option<(Query, [u64; 7])>,
    /// What fires on the text that is searched for; the key is the text and the version of the vocabulary.
    firing: KeyedRequest<(String, u64), Firing>,
    spreads: Request<Vec<Spread>>,
    /// The version of the columns that `spreads` were made from.
    spread_over: Option<u64>,
    /// Whether the histograms are shown; as the room allows until the person says.
    histograms: Option<bool>,
    /// The version of the selection made on the map that the query holds.
    selection: u64,
    /// The selected feature.
    selected: Option<u32>,
    scroll_to: Option<u64>,
    /// The page of the selected feature, for the preview.
    preview: Request<FeaturePage>,
    previewed: Option<u32>,
    focus_search: bool,
    /// The table is to be saved as soon as it is in the order that was asked for.
    save: bool,
    page_rows: u64,
}

impl FeaturesView {
    /// The table of `run`.
    pub fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            query: Query::default(),
            shown: rows::Columns::default(),
            order: Request::new(),
            asked: None,
            firing: KeyedRequest::default(),
            spreads: Request::new(),
            spread_over: None,
            histograms: None,
            selection: 0,
            selected: None,
            scroll_to: None,
            preview: Request::new(),
            previewed: None,
            focus_search: false,
            save: false,
            page_rows: 20,
        }
    }

    /// Asks for the order again when the query or the data changed.
    fn ask_order(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let store = scene.stores.run(&self.run);
        let Some(columns) = store.columns.value().cloned() else { return };
        let firing = match self.firing_key(store) {
            // What fires on the text decides the order: rows that would move at once are not worth showing.
            Some(key) if self.firing.get(&key).is_none() && self.firing.problem(&key).is_none() => return,
            Some(key) => self.firing.get(&key),
            None => None,
        };
        // So do the scores of explanations, where nobody asked for a different order.
        let scores = &store.explanations;
        if self.query.key == Key::Best && scores.loading() && scores.value().is_none() {
            return;
        }
        let versions = [
            store.columns.version(),
            store.tokens.version(),
            store.vocabulary.version(),
            store.notes.version(),
            self.spreads.version(),
            store.explanations.version(),
            u64::from(firing.is_some()),
        ];
        if self.asked.as_ref().is_some_and(|(query, of)| *query == self.query && *of == versions) {
            return;
        }
        let query = self.query.clone();
        let for_spreads = Arc::clone(&columns);
        let (tokens, vocabulary) = (store.tokens.value().cloned(), store.vocabulary.value().cloned());
        let (notes, spreads) = (Arc::clone(store.notes.notes()), self.spreads.value().cloned());
        let explanations = store.explanations.value().cloned();
        self.asked = Some((query.clone(), versions));
        self.order.ask(workers, Lane::Sort, move || {
            let source = Source {
                columns: &columns,
                tokens: tokens.as_deref(),
                notes: &notes,
                explanations: explanations.as_deref(),
                vocabulary: vocabulary.as_deref(),
                firing: firing.as_deref(),
            };
            Ok(order::order(&query, source, spreads.as_deref().map_or(&[], Vec::as_slice)))
        });
        // After the rows, which the person waits for.
        if self.spread_over != Some(versions[0]) {
            self.spread_over = Some(versions[0]);
            self.spreads.ask(workers, Lane::Sort, move || Ok(spread::all(&for_spreads)));
        }
    }

    /// The search that asks what fires on its text, once the vocabulary is there.
    fn firing_key(&self, store: &RunStore) -> Option<(String, u64)> {
        store.vocabulary.value()?;
        Some((order::fired_on(&self.query.text)?, store.vocabulary.version()))
    }

    fn ask_firing(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let store = scene.stores.run(&self.run);
        let (Some(key), Some(vocabulary)) = (self.firing_key(store), store.vocabulary.value().cloned())
        else {
            return;
        };
        let (run, text) = (self.run.clone(), key.0.clone());
        self.firing.want(workers, Lane::Tables, &key, move || firing::find(&run, &text, &vocabulary));
    }

    /// Why it is not known what fires on the text, and what to do about it.
    fn firing_gap(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(key) = self.firing_key(scene.stores.run(&self.run)) else { return };
        if let Some(problem) = self.firing.problem(&key) {
            return notice::problem_line(ui, problem);
        }
        if self.firing.get(&key).is_some_and(|firing| firing.gap == Some(FiringGap::OldIndex)) {
            let what = "This index does not say which features fire on a token; found are the most frequent tokens of each only.";
            ui.label(egui::RichText::new(what).color(palette(ui).weak));
            scene.offer(ui, "Index again", Job::index(&self.run));
        }
    }

    /// The selected feature in short, above the histograms.
    fn show_preview(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(feature) = self.selected else { return };
        let height = (ui.available_height() * 0.55).max(160.0);
        ui.horizontal(|ui| {
            if ui.button("Open").on_hover_text("The page of this feature (Enter)").clicked() {
                scene.go(Place::Feature { run: self.run.clone(), feature });
            }
            if ui.button("Close").on_hover_text("Show the histograms alone").clicked() {
                self.selected = None;
            }
        });
        let area = ScrollArea::vertical().id_salt(("preview", feature)).max_height(height);
        area.show(ui, |ui| {
            ui.set_max_width(ui.available_width() - space::S);
            pair::one(ui, feature, Some(&self.run), &self.preview, PREVIEWED, scene);
        });
        ui.add_space(space::S);
        ui.separator();
    }

    fn ask_preview(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let panel = self.histograms.unwrap_or(true);
        if let Some(feature) = self.selected.filter(|selected| panel && self.previewed != Some(*selected)) {
            self.previewed = Some(feature);
            let (pages, run) = (scene.stores.run(&self.run).pages.clone(), self.run.clone());
            self.preview.ask(workers, Lane::Pages, move || pages.read(&run, feature));
        }
        self.preview.poll(workers);
    }

    fn keyboard(&mut self, ui: &Ui, order: &[u32], scene: &mut Scene<'_>) {
        let typing = ui.memory(|m| m.focused()).is_some();
        if typing || order.is_empty() {
            return;
        }
        let page = self.page_rows.max(2) as i64 - 1;
        let last = order.len() as i64 - 1;
        let moves = [
            (Keyboard::ArrowDown, Some(1)),
            (Keyboard::ArrowUp, Some(-1)),
            (Keyboard::PageDown, Some(page)),
            (Keyboard::PageUp, Some(-page)),
            (Keyboard::Home, None),
            (Keyboard::End, None),
        ];
        // A slow frame has several presses.
        let pressed = ui.input(|input| {
            let pressed =
                moves.into_iter().find(|(key, _)| input.key_pressed(*key) && !input.modifiers.any());
            pressed.map(|(key, by)| (key, by.map(|by| by * input.num_presses(key) as i64)))
        });
        if let Some((key, by)) = pressed {
            // Looked up only now: a pass over a million rows is too much for every frame.
            let at = self.selected.and_then(|f| order.iter().position(|o| *o == f)).map(|i| i as i64);
            let target = match (by, at) {
                (Some(by), Some(at)) => at + by,
                // Without a selection the first row is where the first key leads.
                (Some(by), None) => by - 1,
                (None, _) if key == Keyboard::Home => 0,
                (None, _) => last,
            };
            let target = target.clamp(0, last);
            self.selected = order.get(target as usize).copied();
            self.scroll_to = Some(target as u64);
        }
        if let Some(feature) = self.selected
            && ui.input(|input| input.key_pressed(Keyboard::Enter))
        {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
    }

    fn table(&mut self, ui: &mut Ui, ordered: &TableOrder, scene: &mut Scene<'_>) {
        let order = &ordered.rows[..];
        let store = scene.stores.run(&self.run);
        let (Some(columns), tokens, vocabulary) = (
            store.columns.value().cloned(),
            store.tokens.value().cloned(),
            store.vocabulary.value().cloned(),
        ) else {
            return;
        };
        let notes = Arc::clone(store.notes.notes());
        let explanations = store.explanations.value().cloned();
        let mut shown = self.shown.shown(ui.available_width(), columns.layered.is_some());
        if !ordered.why.is_empty() {
            let after =
                shown.iter().position(|column| matches!(column, Column::Number(_))).unwrap_or(shown.len());
            shown.insert(after, Column::Why);
        }
        let widths = widths(&shown, ui.available_width());
        let firing = self.firing_key(store).and_then(|key| self.firing.get(&key));
        let mut delegate = rows::Rows {
            order,
            shown: &shown,
            source: Source {
                columns: &columns,
                tokens: tokens.as_deref(),
                notes: &notes,
                explanations: explanations.as_deref(),
                vocabulary: vocabulary.as_deref(),
                firing: firing.as_deref(),
            },
            why: &ordered.why,
            query: &self.query,
            no_vocabulary: store.vocabulary.problem().is_some(),
            selected: self.selected,
            salt: ui.scope_id(),
            asked: rows::Interaction::default(),
        };
        let mut drawn = Table::new()
            // Other columns have other widths.
            .id_salt(("features", &self.run, &shown))
            .num_rows(order.len() as u64)
            .headers([HeaderRow::new(height::HEAD)]);
        if let Some(row) = self.scroll_to.take() {
            drawn = drawn.scroll_to_row(row, None);
        }
        self.page_rows = (ui.available_height() / height::ROW) as u64;
        table::show(ui, drawn, &widths, &mut delegate);
        self.apply(delegate.asked, scene);
    }

    fn apply(&mut self, asked: rows::Interaction, scene: &mut Scene<'_>) {
        if let Some(key) = asked.sort {
            let of_itself = self.query.key == Key::Best && self.query.text.trim().is_empty();
            let explanations = scene.stores.run(&self.run).explanations.value();
            let explained = explanations.is_some_and(|explanations| !explanations.is_empty());
            let (shown, descending) = match (of_itself, explained) {
                (true, true) => (Key::Score, true),
                (true, false) => (Key::Number(Number::Density), true),
                (false, _) => (self.query.key, self.query.descending),
            };
            if shown == key {
                self.query.key = key;
                self.query.descending = !descending;
            } else {
                self.query.key = key;
                self.query.descending = matches!(key, Key::Number(_) | Key::Score);
            }
            self.scroll_to = Some(0);
        }
        if let Some((feature, on)) = asked.bookmark {
            scene.note(&self.run, Edit { feature, change: Change::Bookmarked(on) });
        }
        if let Some(feature) = asked.select.or(asked.open) {
            self.selected = Some(feature);
        }
        if let Some(feature) = asked.open {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
    }

    fn bar(&mut self, ui: &mut Ui, ordered: &TableOrder, all: usize, scene: &mut Scene<'_>) {
        let mut histograms = self.histograms.unwrap_or(ui.available_width() >= ROOM);
        let before = histograms;
        let store = scene.stores.run(&self.run);
        let has_map =
            scene.folder.run(&self.run).and_then(|r| r.info.as_ref().ok()).is_some_and(|i| i.mapped);
        let mut bar = filter::Bar {
            focus: std::mem::take(&mut self.focus_search),
            tokens: store.columns.value().map_or(0, |c| c.tokens),
            histograms: &mut histograms,
            columns: &mut self.shown,
            has_map,
        };
        let asked = filter::show(ui, &mut self.query, &mut bar);
        filter::summary(ui, &mut self.query, ordered.rows.len(), all, self.order.loading());
        if histograms != before {
            self.histograms = Some(histograms);
        }
        self.save |= asked.export;
        if self.save
            && !self.order.loading()
            && let Some(save) = self.export(scene.stores.run(&self.run))
        {
            self.save = false;
            scene.act(Action::Save(save));
        }
        if asked.map {
            scene.go(Place::Map { run: self.run.clone() });
        }
    }

    /// The table as it stands, as CSV.
    fn export(&self, store: &RunStore) -> Option<Save> {
        let (columns, ordered) = (store.columns.value()?.clone(), self.order.value()?.clone());
        let (tokens, vocabulary) = (store.tokens.value().cloned(), store.vocabulary.value().cloned());
        let notes = Arc::clone(store.notes.notes());
        let explanations = store.explanations.value().cloned();
        let name = self.run.file_name().unwrap_or_default().to_string_lossy();
        Some(Save::new(format!("{name}-features.csv"), move || {
            let source = data::export::Table {
                columns: &columns,
                tokens: tokens.as_deref(),
                notes: &notes,
                explanations: explanations.as_deref(),
                vocabulary: vocabulary.as_deref(),
            };
            Ok(data::export::features_csv(&ordered.rows, &source).into_bytes())
        }))
    }
}

/// Labels and tokens share the room that the numbers leave.
fn widths(shown: &[Column], room: f32) -> Vec<Width> {
    let share = |column: Column| match column {
        Column::Label => 0.45,
        Column::Why => 0.3,
        Column::FiresOn | Column::Promotes => 1.0,
        _ => 0.0,
    };
    let shares: f32 = shown.iter().map(|column| share(*column)).sum();
    let fixed: f32 = shown.iter().map(|column| column.width()).sum();
    let rest = (room - fixed - space::M).max(0.0);
    shown
        .iter()
        .map(|column| {
            let start = column.width() + if shares > 0.0 { rest * share(*column) / shares } else { 0.0 };
            let least = if *column == Column::Star { 30.0 } else { 40.0 };
            Width::new((start * 4.0).round() / 4.0).range(least..=2400.0).id(egui::Id::unique(column.name()))
        })
        .collect()
}

impl View for FeaturesView {
    fn place(&self) -> Place {
        Place::Features { run: self.run.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Features · {}", scene.folder.name_of(&self.run))
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        scene.load_features(&self.run);
        let selection = &scene.stores.run(&self.run).selection;
        if self.selection != selection.version {
            self.selection = selection.version;
            self.query.within.clone_from(&selection.features);
            self.scroll_to = Some(0);
        }
        self.spreads.poll(workers);
        self.ask_firing(scene, workers);
        self.ask_order(scene, workers);
        self.ask_preview(scene, workers);
        if self.order.poll(workers)
            && let Some(order) = self.order.value()
        {
            scene.act(Action::Order { run: self.run.clone(), features: Arc::clone(&order.rows) });
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let store = scene.stores.run(&self.run);
        let columns = store.columns.value().cloned();
        let all = columns.as_ref().map_or(0, |c| c.len());
        if let (0, Some(problem)) = (all, store.columns.problem().cloned()) {
            let remedy = scene.index_of(&self.run);
            if scene.problem(ui, "The features cannot be read", &problem, [remedy]) {
                let need = scene.features_of(&self.run);
                scene.act(Action::Retry(need));
            }
            return;
        }
        let gap = columns.as_ref().and_then(|columns| columns.gap.as_ref());
        let problems = [
            store.tokens.problem(),
            store.vocabulary.problem(),
            store.notes.problem(),
            store.explanations.problem(),
            gap,
        ];
        let unread = store.explanations.value().into_iter().flat_map(|explanations| &explanations.gaps);
        // What of it each command makes again.
        let of_index = store.tokens.problem().is_some() || store.vocabulary.problem().is_some();
        let of_explanations = store.explanations.problem().is_some()
            || store.explanations.value().is_some_and(|explanations| !explanations.gaps.is_empty());
        let problems: Vec<_> = problems.into_iter().flatten().chain(unread).cloned().collect();
        let (Some(ordered), Some(columns)) = (self.order.value().cloned(), columns) else {
            return notice::loading(ui, "Reading the features…");
        };
        let wide = ui.available_width() >= ROOM;
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::S as i8)).show(ui, |ui| {
            self.bar(ui, &ordered, all, scene);
            problems.iter().for_each(|problem| notice::problem_line(ui, problem));
            if of_index {
                scene.offer(ui, "Index again", Job::index(&self.run));
            }
            if of_explanations {
                scene.offer(ui, "Explain again", Job::explain(&self.run));
            }
            self.firing_gap(ui, scene);
        });
        if self.histograms.unwrap_or(wide) {
            let frame = Frame::new().fill(palette(ui).side).inner_margin(Margin::same(space::M as i8));
            let width = if ui.available_width() >= ROOMY { 360.0 } else { 236.0 };
            let panel = SidePanel { id: "histograms", width, range: (180.0, 560.0) };
            // The room is kept from the first frame on: a table that becomes narrower under the pointer is no
            // table to click in.
            panel.show(ui, frame, |ui| {
                self.show_preview(ui, scene);
                match self.spreads.value().cloned() {
                    Some(spreads) => {
                        let alive = spreads.iter().find(|s| s.number == Number::Density).map(Spread::total);
                        let dead = alive.map_or(0, |alive| (columns.len() as u64).saturating_sub(alive));
                        distributions::show(ui, &spreads, &ordered, dead, &mut self.query);
                    }
                    None => {
                        ui.take_available_width();
                        ui.label(egui::RichText::new("Counting…").color(palette(ui).weak));
                    }
                }
            });
        }
        if ordered.rows.is_empty() && !self.order.loading() {
            let how = "Remove a filter, shorten the search or show dead features.";
            return notice::empty(ui, "No feature passes the filter", how);
        }
        self.keyboard(ui, &ordered.rows, scene);
        self.table(ui, &ordered, scene);
    }

    fn perform(&mut self, command: ViewCommand) -> bool {
        self.focus_search |= command == ViewCommand::Search;
        command == ViewCommand::Search
    }

    fn feature(&self) -> Option<(&Path, u32)> {
        Some((&self.run, self.selected?))
    }
}

/// What a feature is called, or where nobody named it, its explanation: for lists of features.
pub fn name_of(store: &RunStore, feature: u32) -> Option<String> {
    let tokens = store.tokens.value();
    let label = store.notes.notes().label(feature).or_else(|| tokens.and_then(|t| t.label(feature)));
    let said = || store.explanations.value().and_then(|e| e.best(feature));
    label.or_else(said).map(str::to_owned)
}

/// The numbers by which features can be coloured elsewhere.
pub const COLOURS: [Number; 4] = [Number::Density, Number::Max, Number::Mean, Number::Cosine];
