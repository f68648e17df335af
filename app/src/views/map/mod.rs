//! The features of a run in a plane: similar directions are near each other.

mod colours;
mod labels;
mod selected;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, ComboBox, Frame, Margin, RichText, Role, Ui, WidgetInfo};

use self::colours::{COLOURED, ColourBy, Colours};
use self::selected::Summary;
use super::features::name_of;
use super::{Scene, View};
use crate::action::Action;
use crate::address::Place;
use crate::data::{Kinds, Number, Points, kinds};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::stores::{Need, RunStore};
use crate::theme::tokens;
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::widgets::scatter::{self, Cloud, Scatter};
use crate::widgets::{facts, format, matrix, notice, rule, text};

/// From what the colours are made: versions of map, columns, explanations and kinds, the table's order, and the look.
type ColourKey = ([u64; 4], usize, ColourBy, bool);

/// The map of one run.
#[derive(Debug)]
pub struct MapView {
    run: PathBuf,
    scatter: Scatter,
    coloured_by: ColourBy,
    colours: Request<Colours>,
    /// The kinds of features that they are coloured by.
    kinds: KeyedRequest<ColourBy, Kinds>,
    /// What the surrounded features have in common; the key is the versions of selection, columns and tokens.
    summary: KeyedRequest<[u64; 3], Summary>,
    asked: Option<ColourKey>,
    dark: bool,
    /// The corners of a lasso whose features are to be found.
    lasso: Option<Vec<[f32; 2]>>,
    lassoed: Request<Vec<u32>>,
}

impl MapView {
    /// The map of `run`.
    pub fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            scatter: Scatter::default(),
            coloured_by: ColourBy::Number(Number::Density),
            colours: Request::new(),
            kinds: KeyedRequest::default(),
            summary: KeyedRequest::default(),
            asked: None,
            dark: true,
            lasso: None,
            lassoed: Request::new(),
        }
    }

    /// Asks for the kinds of features, where they are coloured by kind.
    fn ask_kinds(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        let (by, run) = (self.coloured_by, self.run.clone());
        match by {
            ColourBy::Expert => self.kinds.want(workers, Lane::Tables, &by, move || kinds::by_expert(&run)),
            ColourBy::Domain => {
                let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
                let Some(dataset) = dataset else { return };
                scene.load_documents(&dataset);
                let Some(documents) = scene.stores.dataset(&dataset).documents.value().cloned() else {
                    return;
                };
                self.kinds.want(workers, Lane::Tables, &by, move || kinds::by_domain(&run, &documents));
            }
            ColourBy::Number(_) | ColourBy::Score => {}
        }
    }

    fn ask_colours(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let store = scene.stores.run(&self.run);
        let (Some(points), Some(columns)) = (store.map.value().cloned(), store.columns.value().cloned())
        else {
            return;
        };
        let by = self.coloured_by;
        let kinds = self.kinds.get(&by).filter(|_| by.is_of_kinds());
        let order = store.order.clone().filter(|order| order.len() < columns.len());
        let order_key = order.as_ref().map_or(0, |order| Arc::as_ptr(order) as usize);
        let versions = [
            store.map.version(),
            store.columns.version(),
            store.explanations.version(),
            u64::from(kinds.is_some()),
        ];
        let key = (versions, order_key, by, self.dark);
        if self.asked == Some(key) {
            return;
        }
        self.asked = Some(key);
        let palette = tokens::of(if self.dark { egui::Theme::Dark } else { egui::Theme::Light });
        let explanations = store.explanations.value().cloned();
        self.colours.ask(workers, Lane::Sort, move || {
            let source = colours::Source {
                points: &points,
                columns: &columns,
                explanations: explanations.as_deref(),
                kinds: kinds.as_deref(),
                shown: order.as_ref().map(|order| order.as_slice()),
            };
            Ok(colours::colours(source, by, palette))
        });
    }

    /// Sums up what is selected.
    fn ask_summary(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let store = scene.stores.run(&self.run);
        let (Some(features), Some(columns)) =
            (store.selection.features.clone(), store.columns.value().cloned())
        else {
            return;
        };
        let (key, lists) = (summary_key(store), store.tokens.value().cloned());
        self.summary.want(workers, Lane::Sort, &key, move || {
            Ok(selected::sum_up(&features, &columns, lists.as_deref()))
        });
    }

    fn bar(&mut self, ui: &mut Ui, points: &Points, scene: &mut Scene<'_>) {
        ui.horizontal_wrapped(|ui| {
            facts::section(ui, "Map");
            facts::caption(ui, format!("{} features", format::grouped(points.features.len() as u64)));
            ui.add_space(space::S);
            let combo = ComboBox::from_id_salt("colour")
                .selected_text(format!("coloured by {}", self.coloured_by.name()))
                .width(150.0)
                .show_ui(ui, |ui| {
                    for by in ColourBy::all() {
                        ui.selectable_value(&mut self.coloured_by, by, by.name());
                    }
                });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Coloured by"));
            let lasso = ui.add(Button::new("Lasso").selected(self.scatter.surrounding));
            if lasso
                .on_hover_text("Drag around features to select them; Shift-drag works at any time")
                .clicked()
            {
                self.scatter.surrounding = !self.scatter.surrounding;
            }
            if ui.button("Show all").on_hover_text("Show the whole map again (double-click)").clicked() {
                self.scatter.reset();
            }
            if scene.stores.run(&self.run).selection.features.is_some() {
                if ui.button("Show in the table").clicked() {
                    scene.go(Place::Features { run: self.run.clone() });
                }
                if ui.button("Clear").on_hover_text("Clear the selection").clicked() {
                    scene.act(Action::Select { run: self.run.clone(), features: None });
                }
            }
            if self.colours.loading() || self.lasso.is_some() || self.lassoed.loading() {
                notice::busy(ui, 16.0);
            }
        });
        self.legend(ui, scene);
        self.selected(ui, scene);
        facts::caption(
            ui,
            "Nearby features have similar directions; the axes have no meaning. Drag to move, scroll to zoom, click to open.",
        );
        ui.add_space(space::XS);
    }

    /// What the colours stand for; and what the feature in front is called, which is ringed.
    fn legend(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let p = palette(ui);
        let by = self.coloured_by;
        if let Some(problem) = self.kinds.problem(&by).filter(|_| by.is_of_kinds()) {
            notice::problem_line(ui, problem);
            if by == ColourBy::Expert {
                scene.offer(ui, "Join experts", Job::join_experts(&self.run));
            }
            return;
        }
        ui.horizontal_wrapped(|ui| {
            match (self.colours.value().and_then(|colours| colours.ends), by.is_of_kinds()) {
                (_, true) => self.kinds_legend(ui, scene),
                (Some([low, middle, high]), false) => {
                    let low = format!("{} {}", by.name(), by.text(low));
                    matrix::legend(ui, &low, &by.text(high), &|t| p.ramp(t));
                    facts::caption(ui, format!("by rank: half are below {}", by.text(middle)));
                }
                (None, false) => drop(facts::caption(ui, "No feature has this number")),
            }
            let grey = self.colours.value().map_or(0, |colours| colours.grey);
            if grey > 0 {
                facts::caption(ui, format!("{} grey", format::grouped(grey as u64)))
                    .on_hover_text("Left out by the filter of the table, or without a value");
            }
            let store = scene.stores.run(&self.run);
            if let Some(feature) = store.current {
                let name = name_of(store, feature).unwrap_or_default();
                let words = format!("ringed: {feature} {}", rule::short(&name, 40));
                ui.label(RichText::new(words).size(size::SMALL).color(p.text));
            }
        });
    }

    /// The colour of each kind, with its number of features.
    fn kinds_legend(&self, ui: &mut Ui, scene: &Scene<'_>) {
        let p = palette(ui);
        let Some(kinds) = self.kinds.get(&self.coloured_by) else {
            let known = scene.folder.data_of(&self.run).is_some();
            let missing = "The dataset of this run is not in the open folder: its domains are not known";
            facts::caption(ui, if known { "Reading…" } else { missing });
            return;
        };
        for (i, (name, features)) in kinds.names.iter().take(COLOURED).enumerate() {
            let (rect, _) = ui.allocate_exact_size(egui::vec2(10.0, 10.0), egui::Sense::hover());
            ui.painter().circle_filled(rect.center(), 4.0, p.curve(i));
            facts::caption(ui, format!("{name} {}", format::grouped(*features as u64)));
        }
        if kinds.names.len() > COLOURED {
            facts::caption(ui, format!("{} others grey", kinds.names.len() - COLOURED));
        }
    }

    /// What the selected features have in common.
    fn selected(&self, ui: &mut Ui, scene: &Scene<'_>) {
        let store = scene.stores.run(&self.run);
        if store.selection.features.is_none() {
            return;
        }
        if let Some(summary) = self.summary.get(&summary_key(store)) {
            selected::show(ui, &summary, store.vocabulary.value());
        }
    }

    fn hover(&self, ui: &Ui, feature: u32, scene: &mut Scene<'_>) {
        let store = scene.stores.run(&self.run);
        let Some(columns) = store.columns.value().cloned() else { return };
        let name = name_of(store, feature);
        let tokens: Vec<String> = match (store.tokens.value(), store.vocabulary.value()) {
            (Some(lists), Some(vocabulary)) => lists
                .fires_on
                .get(feature)
                .iter()
                .take(6)
                .map(|t| text::in_list(&vocabulary.show(*t)))
                .collect(),
            _ => Vec::new(),
        };
        egui::Tooltip::always_open(
            ui.ctx().clone(),
            ui.layer_id(),
            egui::Id::unique("map hover"),
            egui::PopupAnchor::Pointer,
        )
        .show(|ui| {
            ui.label(RichText::new(format!("Feature {feature}")).color(palette(ui).strong));
            if let Some(name) = name {
                ui.label(name);
            }
            for number in [Number::Density, Number::Max] {
                let value = number.text(f64::from(columns.get(number, feature)));
                ui.label(RichText::new(format!("{} {value}", number.name())).size(size::SMALL));
            }
            ui.label(RichText::new(tokens.join("  ")).monospace().size(size::SMALL));
        });
    }

    /// Looks for the features inside a lasso.
    fn ask_lassoed(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let Some(points) = scene.stores.run(&self.run).map.value().cloned() else { return };
        let Some(corners) = self.lasso.take() else { return };
        self.lassoed.ask(workers, Lane::Sort, move || {
            let places = points.features.iter().zip(points.plane.places());
            Ok(places.filter(|(_, place)| scatter::inside(&corners, **place)).map(|(f, _)| *f).collect())
        });
    }
}

/// From what the summary of a selection is made.
fn summary_key(store: &RunStore) -> [u64; 3] {
    [store.selection.version, store.columns.version(), store.tokens.version()]
}

impl View for MapView {
    fn place(&self) -> Place {
        Place::Map { run: self.run.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Map · {}", scene.folder.name_of(&self.run))
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        scene.load_features(&self.run);
        if scene.stores.run(&self.run).map.untouched() {
            scene.load(Need::Map(self.run.clone()));
        }
        self.ask_lassoed(scene, workers);
        if self.lassoed.poll(workers)
            && let Some(features) = self.lassoed.value().cloned()
        {
            let features = (!features.is_empty()).then_some(features);
            scene.act(Action::Select { run: self.run.clone(), features });
        }
        self.colours.poll(workers);
        self.ask_kinds(scene, workers);
        self.ask_colours(scene, workers);
        self.ask_summary(scene, workers);
        self.scatter.logic(workers);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        self.dark = ui.visuals().dark_mode;
        let store = scene.stores.run(&self.run);
        if let Some(problem) = store.map.problem().or(store.columns.problem()).cloned() {
            let remedy = match store.columns.problem() {
                Some(_) => scene.index_of(&self.run),
                None => ("Make the map", Job::map(&self.run)),
            };
            if scene.problem(ui, "The map cannot be shown", &problem, [remedy]) {
                scene.act(Action::Retry(Need::Map(self.run.clone())));
                let need = scene.features_of(&self.run);
                scene.act(Action::Retry(need));
            }
            return;
        }
        let (Some(points), Some(colours)) = (store.map.value().cloned(), self.colours.value().cloned())
        else {
            return notice::loading(ui, "Reading the map…");
        };
        if points.features.len() != colours.of.len() {
            return notice::loading(ui, "Colouring the map…");
        }
        Frame::new().inner_margin(Margin::same(space::M as i8)).show(ui, |ui| {
            self.bar(ui, &points, scene);
            let current = scene.stores.run(&self.run).current;
            let ringed: Vec<usize> =
                current.and_then(|f| points.features.binary_search(&f).ok()).into_iter().collect();
            let cloud = Cloud {
                name: "Map of features",
                plane: &points.plane,
                colours: &colours.of,
                version: self.colours.version(),
                square: true,
                ringed: &ringed,
            };
            let asked = self.scatter.show(ui, &cloud);
            labels::show(ui, asked.rect, &asked.few, &points, scene.stores.run(&self.run));
            if let Some(i) = asked.hovered {
                self.hover(ui, points.features[i], scene);
            }
            if let Some(i) = asked.clicked {
                let feature = points.features[i];
                scene.go(Place::Feature { run: self.run.clone(), feature });
            }
            if let Some(corners) = asked.lasso {
                self.lasso = Some(corners);
                ui.ctx().request_repaint();
            }
        });
    }
}
