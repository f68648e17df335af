//! The features of a run in a plane: similar directions are near each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, Color32, ComboBox, Frame, Margin, RichText, Role, Ui, WidgetInfo};

use super::features::{COLOURS, name_of};
use super::{Scene, View};
use crate::action::Action;
use crate::address::Place;
use crate::data::{Columns, Number, Points};
use crate::load::{Lane, Request, Workers};
use crate::stores::Need;
use crate::theme::tokens::{self, Palette};
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::widgets::scatter::{self, Cloud, Scatter};
use crate::widgets::{facts, format, matrix, notice, rule, text};

/// From what the colours are made: versions of map and columns, the table's order, number and look.
type ColourKey = (u64, u64, usize, Number, bool);

/// The map of one run.
#[derive(Debug)]
pub struct MapView {
    run: PathBuf,
    scatter: Scatter,
    coloured_by: Number,
    colours: Request<Colours>,
    asked: Option<ColourKey>,
    dark: bool,
    /// The corners of a lasso whose features are to be found.
    lasso: Option<Vec<[f32; 2]>>,
    lassoed: Request<Vec<u32>>,
    /// The feature that was looked at last is ringed.
    last: Option<u32>,
}

impl MapView {
    /// The map of `run`.
    pub fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            scatter: Scatter::default(),
            coloured_by: Number::Density,
            colours: Request::new(),
            asked: None,
            dark: true,
            lasso: None,
            lassoed: Request::new(),
            last: None,
        }
    }

    fn ask_colours(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let store = scene.stores.run(&self.run);
        let (Some(points), Some(columns)) = (store.map.value().cloned(), store.columns.value().cloned())
        else {
            return;
        };
        let order = store.order.clone().filter(|order| order.len() < columns.len());
        let order_key = order.as_ref().map_or(0, |order| Arc::as_ptr(order) as usize);
        let key = (store.map.version(), store.columns.version(), order_key, self.coloured_by, self.dark);
        if self.asked == Some(key) {
            return;
        }
        self.asked = Some(key);
        let palette = tokens::of(if self.dark { egui::Theme::Dark } else { egui::Theme::Light });
        let number = self.coloured_by;
        self.colours.ask(workers, Lane::Sort, move || {
            Ok(colours(&points, &columns, order.as_ref().map(|order| order.as_slice()), number, palette))
        });
    }

    fn bar(&mut self, ui: &mut Ui, points: &Points, scene: &mut Scene<'_>) {
        let p = palette(ui);
        ui.horizontal(|ui| {
            facts::section(ui, "Map");
            facts::caption(ui, format!("{} features", format::grouped(points.features.len() as u64)));
            ui.add_space(space::S);
            let combo = ComboBox::from_id_salt("colour")
                .selected_text(format!("coloured by {}", self.coloured_by.name()))
                .width(150.0)
                .show_ui(ui, |ui| {
                    for number in COLOURS {
                        ui.selectable_value(&mut self.coloured_by, number, number.name());
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
            if let Some(selected) = &scene.stores.run(&self.run).selection.features {
                let count = format!("{} selected", format::grouped(selected.len() as u64));
                ui.label(RichText::new(count).color(p.accent));
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
        facts::caption(
            ui,
            "Nearby features have similar directions; the axes have no meaning. Drag to move, scroll to zoom, click to open.",
        );
        ui.add_space(space::XS);
    }

    /// What the ends and the middle of the colours stand for; and what the last feature looked at is called.
    fn legend(&self, ui: &mut Ui, scene: &Scene<'_>) {
        let p = palette(ui);
        let Some([low, middle, high]) = self.colours.value().and_then(|colours| colours.ends) else { return };
        let shown = |value: f32| self.coloured_by.text(f64::from(value));
        ui.horizontal(|ui| {
            let (low, high) = (format!("{} {}", self.coloured_by.name(), shown(low)), shown(high));
            matrix::legend(ui, &low, &high, &|t| p.ramp(t));
            facts::caption(ui, format!("by rank: half are below {}", shown(middle)));
            if let Some(feature) = self.last {
                let name = name_of(scene.stores.run(&self.run), feature).unwrap_or_default();
                let words = format!("ringed: {feature} {}", rule::short(&name, 40));
                ui.label(RichText::new(words).size(size::SMALL).color(p.text));
            }
        });
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

/// The colours of points, and what they stand for.
#[derive(Debug, Default)]
struct Colours {
    of: Arc<Vec<Color32>>,
    /// The least, the middle and the largest number.
    ends: Option<[f32; 3]>,
}

/// The colour of each point: by where its number lies among all; grey when the table leaves it out.
fn colours(
    points: &Points,
    columns: &Columns,
    shown: Option<&[u32]>,
    number: Number,
    palette: &Palette,
) -> Colours {
    let mut passes = vec![shown.is_none(); columns.len()];
    for feature in shown.unwrap_or(&[]) {
        passes[*feature as usize] = true;
    }
    // By rank: neither a few giants nor many dwarfs take all the colours.
    let mut sorted: Vec<f32> =
        points.features.iter().map(|f| columns.get(number, *f)).filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let colour = |feature: &u32| {
        let value = columns.get(number, *feature);
        if passes.get(*feature as usize) != Some(&true) || !value.is_finite() {
            return palette.line_strong;
        }
        palette.ramp(sorted.partition_point(|v| *v < value) as f32 / sorted.len() as f32)
    };
    let of = Arc::new(points.features.iter().map(colour).collect());
    let ends = sorted.last().map(|high| [sorted[0], sorted[sorted.len() / 2], *high]);
    Colours { of, ends }
}

impl View for MapView {
    fn place(&self) -> Place {
        Place::Map { run: self.run.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Map · {}", scene.folder.name_of(&self.run))
    }

    fn turn_to(&mut self, _place: &Place) {}

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
        self.ask_colours(scene, workers);
        self.scatter.logic(workers);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        self.dark = ui.visuals().dark_mode;
        let store = scene.stores.run(&self.run);
        if let Some(problem) = store.map.problem().or(store.columns.problem()) {
            let indexed = scene.folder.run(&self.run).and_then(|run| run.info.as_ref().ok());
            let unmapped = indexed.is_some_and(|info| info.indexed && !info.mapped);
            if unmapped {
                ui.vertical_centered(|ui| scene.offer(ui, "Make the map", Job::map(&self.run)));
            }
            if notice::problem(ui, "The map cannot be shown", problem) {
                scene.act(Action::Retry(Need::Map(self.run.clone())));
                scene.act(Action::Retry(Need::Features(self.run.clone())));
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
            let ringed: Vec<usize> =
                self.last.and_then(|f| points.features.binary_search(&f).ok()).into_iter().collect();
            let cloud = Cloud {
                name: "Map of features",
                plane: &points.plane,
                colours: &colours.of,
                version: self.colours.version(),
                square: true,
                ringed: &ringed,
            };
            let asked = self.scatter.show(ui, &cloud);
            if let Some(i) = asked.hovered {
                self.hover(ui, points.features[i], scene);
            }
            if let Some(i) = asked.clicked {
                let feature = points.features[i];
                self.last = Some(feature);
                scene.go(Place::Feature { run: self.run.clone(), feature });
            }
            if let Some(corners) = asked.lasso {
                self.lasso = Some(corners);
                ui.ctx().request_repaint();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_table_leaves_out_is_grey() {
        let points = Points { features: vec![0, 2], ..Points::default() };
        let (count, density) = (vec![1; 3], vec![0.1, 0.2, 0.3]);
        let numbers = crate::data::FeatureColumns { count, density, ..Default::default() };
        let columns = Columns { numbers, ..Columns::default() };
        let p = tokens::of(egui::Theme::Dark);
        let Colours { of: all, ends } = colours(&points, &columns, None, Number::Density, p);
        assert_eq!(ends, Some([0.1, 0.3, 0.3]));
        assert!(all[0] != all[1] && !all.contains(&p.line_strong));
        let some = colours(&points, &columns, Some(&[2, 1]), Number::Density, p).of;
        assert_eq!(*some, [p.line_strong, all[1]]);
    }
}
