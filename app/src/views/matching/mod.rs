//! Two dictionaries side by side: what became of each feature, where the densities moved, and both pages of a
//! pair.

mod agreements;
pub mod pair;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, Color32, Frame, Margin, RichText, Slider, Ui};
use egui_table::{Column, HeaderRow, Table};

use super::{Scene, View};
use crate::address::Place;
use crate::data::matching::{self, Correspondence};
use crate::data::{Columns, FeaturePage, Matching};
use crate::load::{Lane, Request, Workers};
use crate::stores::Need;
use crate::theme::tokens::{self, height};
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::widgets::bars::{self, Bins};
use crate::widgets::plane::Plane;
use crate::widgets::scatter::{Cloud, Scatter};
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, format, notice, table};
use crate::words::place;
use agreements::{Agreements, State};

/// Cosine from which two features count as alike at first.
const ALIKE: f32 = 0.7;
/// Bins of the histogram of cosines.
const COSINES: usize = 50;
/// Room that the slider of the threshold needs.
const SLIDER: f32 = 320.0;
/// The densities of all pairs, and one pair.
const PAIR: SidePanel = SidePanel { id: "pair", width: 440.0, range: (260.0, 900.0) };

/// A feature and its nearest in the other dictionary, in the order of the table.
#[derive(Clone, Debug, Default)]
struct FeatureList {
    /// Whose features they are.
    side: usize,
    rows: Vec<u32>,
    fates: Vec<Correspondence>,
    /// How many of each fate, in the order of [`Correspondence::ALL`].
    counts: [usize; 4],
    /// Pairs whose densities are both known, as logarithms; their features, ascending, and the colours of
    /// what became of them.
    plane: Arc<Plane>,
    pairs: Vec<u32>,
    colours: Arc<Vec<Color32>>,
    /// How many features have which largest cosine, from 0 to 1.
    cosines: Vec<u32>,
    /// The least and the greatest density in it, of both.
    ends: [[f32; 2]; 2],
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ListOptions {
    side: usize,
    threshold: f32,
    fate: Option<Correspondence>,
    sort: rows::Sort,
    dark: bool,
}

/// A comparison of a run with another.
#[derive(Debug)]
pub struct MatchingView {
    run: PathBuf,
    with: String,
    comparison: Request<Matching>,
    options: ListOptions,
    listed: Request<FeatureList>,
    asked: Option<(ListOptions, [u64; 4])>,
    scatter: Scatter,
    chosen: Option<u32>,
    pages: [Request<FeaturePage>; 2],
    pages_of: Option<[Option<u32>; 2]>,
    /// Whether the features of pairs fire on the same tokens.
    agreements: Agreements,
}

impl MatchingView {
    /// The comparison `with` in the folder of `run`.
    pub fn new(run: &Path, with: &str) -> Self {
        Self {
            run: run.to_owned(),
            with: with.to_owned(),
            comparison: Request::new(),
            options: ListOptions {
                side: 0,
                threshold: ALIKE,
                fate: None,
                sort: rows::Sort::default(),
                dark: true,
            },
            listed: Request::new(),
            asked: None,
            scatter: Scatter::default(),
            chosen: None,
            pages: [Request::new(), Request::new()],
            pages_of: None,
            agreements: Agreements::default(),
        }
    }

    /// The folders of both runs: this one, and the other where it was found in the open folder.
    fn folders(&self, scene: &Scene<'_>) -> [Option<PathBuf>; 2] {
        let other = self.comparison.value().map(|c| c.other.clone());
        [Some(self.run.clone()), other.and_then(|other| scene.folder.find_run(&other, &self.run))]
    }

    fn columns(&self, scene: &Scene<'_>) -> [Option<Arc<Columns>>; 2] {
        self.folders(scene).map(|folder| scene.stores.run(&folder?).columns.value().cloned())
    }

    fn ask_list(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        let Some(comparison) = self.comparison.value().cloned() else { return };
        self.folders(scene).into_iter().flatten().for_each(|folder| scene.load_features(&folder));
        let columns = self.columns(scene);
        let versions = [
            self.comparison.version(),
            columns[0].as_ref().map_or(0, |c| c.len() as u64),
            columns[1].as_ref().map_or(0, |c| c.len() as u64),
            u64::from(self.agreements.shares(self.options.side).is_some()),
        ];
        if self.asked == Some((self.options, versions)) {
            return;
        }
        self.asked = Some((self.options, versions));
        let options = self.options;
        let agreements = self.agreements.shares(options.side).cloned();
        self.listed.ask(workers, Lane::Sort, move || {
            let columns = [columns[0].as_deref(), columns[1].as_deref()];
            Ok(list(&comparison, columns, agreements.as_deref().map(Vec::as_slice), options))
        });
    }

    /// Both features of the chosen pair, in the order run, other.
    fn pair(&self) -> Option<[u32; 2]> {
        let (chosen, comparison) = (self.chosen?, self.comparison.value()?);
        let nearest = *comparison.sides[self.options.side].rows.nearest.get(chosen as usize)?;
        Some(if self.options.side == 0 { [chosen, nearest] } else { [nearest, chosen] })
    }

    /// Compares where the features of pairs fire, those on the screen first.
    fn ask_agreements(&mut self, scene: &Scene<'_>, workers: &Workers) {
        let Some(comparison) = self.comparison.value().cloned() else { return };
        let compared = match self.folders(scene) {
            [Some(first), Some(second)] => {
                let data = [&first, &second].map(|run| scene.folder.data_of(run).map(|data| &data.path));
                Some(([first, second], data[0].is_some() && data[0] == data[1]))
            }
            _ => None,
        };
        let side = self.options.side;
        self.agreements.logic(compared, side, &comparison.sides[side].rows.nearest, workers);
    }

    /// How far the agreement is known, and what the middle one of the matched pairs is.
    fn about_agreements(&self, ui: &mut Ui, listed: &FeatureList, scene: &mut Scene<'_>) {
        let side = self.options.side;
        match self.agreements.state(side) {
            State::Opening => {}
            State::Incomparable => {
                facts::caption(ui, "agreement of firing unknown").on_hover_text(
                    "Both runs must be in the open folder and have an index of the same dataset, model and hook",
                );
            }
            State::Failed(problem) => {
                facts::caption(ui, "agreement of firing unknown").on_hover_text(problem.to_string());
                let folders = self.folders(scene);
                let without = folders.into_iter().flatten().find(|run| {
                    let info = scene.folder.run(run).and_then(|run| run.info.as_ref().ok());
                    let named = problem.what.contains(&place::path(run));
                    named || info.is_some_and(|info| !info.indexed || info.index_broken)
                });
                if let Some(run) = without {
                    let (name, job) = scene.index_of(&run);
                    scene.offer(ui, name, job);
                }
            }
            State::Known(known, all, over) if known < all => {
                let (known, all) = (format::grouped(known as u64), format::grouped(all as u64));
                facts::caption(ui, format!("agreement of firing known of {known} of {all} pairs"))
                    .on_hover_text(format!("Over {over}"));
            }
            State::Known(_, _, over) => {
                let shares = self.agreements.shares(side);
                let matched = listed.fates.iter().zip(shares.into_iter().flat_map(|shares| shares.iter()));
                let mut of: Vec<f32> = matched
                    .filter(|(fate, share)| **fate == Correspondence::Matched && share.is_finite())
                    .map(|(_, share)| *share)
                    .collect();
                if of.is_empty() {
                    return;
                }
                let middle = of.len() / 2;
                let median = *of.select_nth_unstable_by(middle, f32::total_cmp).1;
                let text = format!("median agreement of matched {}", format::percent(f64::from(median)));
                facts::caption(ui, text).on_hover_text(format!(
                    "Half of the matched pairs fire together on more of the tokens on which either fires, over {over}"
                ));
            }
        }
    }

    fn ask_pages(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        let Some(pair) = self.pair() else { return };
        let folders = self.folders(scene);
        let wanted = [0, 1].map(|side| folders[side].is_some().then_some(pair[side]));
        if self.pages_of == Some(wanted) {
            return;
        }
        self.pages_of = Some(wanted);
        for (side, folder) in folders.into_iter().enumerate() {
            if let Some(folder) = folder {
                let store = scene.stores.run(&folder);
                if store.vocabulary.untouched() {
                    scene.load(Need::Vocabulary(folder.clone()));
                }
                let (reader, feature) = (store.pages.clone(), pair[side]);
                self.pages[side].ask(workers, Lane::Pages, move || reader.read(&folder, feature));
            }
        }
    }

    fn head(&mut self, ui: &mut Ui, comparison: &Matching, listed: &FeatureList, scene: &mut Scene<'_>) {
        let names = [scene.folder.name_of(&self.run).into_owned(), other_name(comparison, &self.with)];
        ui.horizontal_wrapped(|ui| {
            for (side, name) in names.iter().enumerate() {
                let button = Button::new(format!("Features of {name}")).selected(self.options.side == side);
                if ui.add(button).clicked() && self.options.side != side {
                    self.options.side = side;
                    self.options.fate = None;
                    self.chosen = None;
                }
            }
            if ui.available_size_before_wrap().x < SLIDER {
                ui.end_row();
            } else {
                ui.add_space(space::M);
            }
            let alike = Slider::new(&mut self.options.threshold, 0.3..=0.99)
                .fixed_decimals(2)
                .text("match if cosine ≥");
            ui.add(alike)
                .on_hover_text("Two features match when the cosine of their decoder rows is at least this");
        });
        if let Some(seed) = self.same_seed(scene) {
            let text = format!(
                "Both trainings began with seed {seed}, from the same decoder rows: that many features match, often with the same \
                 number, says little. Compare different seeds, or look at the agreement of firing."
            );
            ui.label(RichText::new(text).size(size::SMALL).color(palette(ui).warning));
        }
        ui.add_space(space::XS);
        ui.horizontal_wrapped(|ui| {
            let all = listed.fates.len();
            if ui
                .add(
                    Button::new(format!("all {}", format::grouped(all as u64)))
                        .selected(self.options.fate.is_none()),
                )
                .clicked()
            {
                self.options.fate = None;
            }
            for (fate, count) in Correspondence::ALL.into_iter().zip(listed.counts) {
                let share = format::percent(count as f64 / all.max(1) as f64);
                let text = format!("{} {} · {share}", fate.name(), format::grouped(count as u64));
                let button = ui.add(Button::new(text).selected(self.options.fate == Some(fate)));
                if button.on_hover_text(fate.about()).clicked() {
                    self.options.fate = if self.options.fate == Some(fate) { None } else { Some(fate) };
                }
            }
            let mean = comparison.mean_max_cosine[self.options.side];
            facts::caption(ui, format!("mean largest cosine {mean:.3}")).on_hover_text(
                "Mean over the features of their largest cosine with the other dictionary (MMCS)",
            );
            self.about_agreements(ui, listed, scene);
        });
        ui.add_space(space::XS);
    }

    /// The seed, where both runs were trained with the same one.
    fn same_seed(&self, scene: &Scene<'_>) -> Option<u64> {
        let seeds =
            self.folders(scene).map(|folder| Some(scene.folder.run(&folder?)?.info.as_ref().ok()?.seed));
        seeds[0].filter(|_| seeds[0] == seeds[1])
    }

    fn table(&mut self, ui: &mut Ui, comparison: &Matching, listed: &FeatureList, scene: &mut Scene<'_>) {
        let folders = self.folders(scene);
        let columns = self.columns(scene);
        let shown = rows::columns(ui.available_width());
        let fixed: f32 = shown.iter().map(|c| c.width).sum();
        let wider = ((ui.available_width() - space::M) / fixed).max(1.0);
        let widths: Vec<Column> = shown
            .iter()
            .map(|c| {
                Column::new((c.width * wider).floor())
                    .range(40.0..=600.0)
                    .id(egui::Id::unique(("compare", c.name)))
            })
            .collect();
        let side = self.options.side;
        let texts = folders.each_ref().map(|folder| {
            let store = scene.stores.run(folder.as_ref()?);
            Some((store.tokens.value()?.clone(), store.vocabulary.value()?.clone()))
        });
        let tokens = |of: usize| texts[of].as_ref().map(|(lists, vocabulary)| (&**lists, &**vocabulary));
        let mut delegate = rows::Rows {
            rows: &listed.rows,
            fates: &listed.fates,
            side: &comparison.sides[side],
            agreements: (&self.agreements, side),
            columns: [columns[side].as_deref(), columns[1 - side].as_deref()],
            tokens: [tokens(side), tokens(1 - side)],
            chosen: self.chosen,
            sort: self.options.sort,
            asked: rows::Interaction::default(),
        };
        let drawn = Table::new()
            .id_salt(("compare", &self.run, &self.with))
            .num_rows(listed.rows.len() as u64)
            .headers([HeaderRow::new(height::HEAD)]);
        table::show(ui, drawn, &widths, &mut delegate);
        let asked = delegate.asked;
        let seen = listed.rows.get(asked.seen.0..asked.seen.1.min(listed.rows.len())).unwrap_or_default();
        self.agreements.see(self.chosen.into_iter().chain(seen.iter().copied()));
        if let Some(sort) = asked.sort {
            self.options.sort = sort;
        }
        if let Some(feature) = asked.select {
            self.chosen = Some(feature);
        }
        if let Some((of_other, feature)) = asked.open
            && let Some(run) = folders[if of_other { 1 - side } else { side }].clone()
        {
            scene.go(Place::Feature { run, feature });
        }
    }

    fn densities(&mut self, ui: &mut Ui, listed: &FeatureList) {
        let p = palette(ui);
        facts::section(ui, "Density of both");
        if listed.plane.is_empty() {
            ui.label(RichText::new("Both runs need an index in the open folder.").color(p.weak));
            return;
        }
        let [here, there] = listed.ends.map(|ends| {
            let [low, high] = ends.map(|end| format::percent(f64::from(end)));
            format!("{low} to {high}")
        });
        let axes =
            format!("Horizontal: this feature, {here}; vertical: its nearest, {there}. Both logarithmic.");
        facts::caption(ui, axes).on_hover_text("Click a point to select the pair");
        let ringed: Vec<usize> =
            self.chosen.and_then(|f| listed.pairs.binary_search(&f).ok()).into_iter().collect();
        // Below the table there may be less room.
        let height = (ui.available_height() - space::S).clamp(60.0, 220.0);
        let cloud = Cloud {
            name: "Densities of pairs",
            plane: &listed.plane,
            colours: &listed.colours,
            version: self.listed.version(),
            square: true,
            ringed: &ringed,
        };
        let asked =
            ui.allocate_ui(egui::vec2(ui.available_width(), height), |ui| self.scatter.show(ui, &cloud));
        let asked = asked.inner;
        if let Some(i) = asked.clicked {
            self.chosen = Some(listed.pairs[i]);
        }
    }
}

fn other_name(comparison: &Matching, with: &str) -> String {
    comparison.other.file_name().map_or_else(|| with.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn list(
    comparison: &Matching,
    columns: [Option<&Columns>; 2],
    agreements: Option<&[f32]>,
    options: ListOptions,
) -> FeatureList {
    let fates = comparison.fates(options.side, options.threshold);
    let counts = Correspondence::ALL.map(|fate| fates.iter().filter(|f| **f == fate).count());
    let side = &comparison.sides[options.side];
    let mut rows: Vec<u32> = (0..fates.len() as u32)
        .filter(|f| options.fate.is_none_or(|fate| fates[*f as usize] == fate))
        .collect();
    rows::sort(&mut rows, side, agreements, options.sort);
    let mut listed = FeatureList { counts, cosines: vec![0; COSINES], ..FeatureList::default() };
    for cosine in &side.rows.cosine {
        listed.cosines[((cosine.clamp(0.0, 1.0) * COSINES as f32) as usize).min(COSINES - 1)] += 1;
    }
    if let (Some(here), Some(there)) = (columns[options.side], columns[1 - options.side]) {
        let log = |columns: &Columns, f: u32| {
            columns.numbers.density.get(f as usize).filter(|d| **d > 0.0).map(|d| d.log10())
        };
        let mut pairs: Vec<u32> = rows.clone();
        pairs.sort_unstable();
        let place = |feature: &u32| {
            Some([log(here, *feature)?, log(there, *side.rows.nearest.get(*feature as usize)?)?])
        };
        pairs.retain(|feature| place(feature).is_some());
        let palette = tokens::of(if options.dark { egui::Theme::Dark } else { egui::Theme::Light });
        let colour = |feature: &u32| rows::colour(palette, fates[*feature as usize]);
        let places: Vec<[f32; 2]> = pairs.iter().filter_map(place).collect();
        listed.ends = [0, 1].map(|axis| {
            let ends = places.iter().map(|place| place[axis]);
            let [low, high] = ends.fold([f32::MAX, f32::MIN], |[low, high], x| [low.min(x), high.max(x)]);
            [low, high].map(|log| 10f32.powf(log))
        });
        listed.plane = Arc::new(Plane::new(places));
        listed.colours = Arc::new(pairs.iter().map(colour).collect());
        listed.pairs = pairs;
    }
    FeatureList { side: options.side, rows, fates, ..listed }
}

impl MatchingView {
    /// What stands next to the table: the `densities` of all pairs, then the selected pair.
    fn about_pair(&mut self, ui: &mut Ui, listed: &FeatureList, densities: bool, scene: &mut Scene<'_>) {
        if densities {
            facts::section(ui, "Largest cosines");
            let (name, low, high) = ("Largest cosine of each feature", 0.0, 1.0);
            let bins =
                Bins { name, unit: "features", counts: &listed.cosines, low, high, activations: false };
            bars::histogram(ui, &bins, 56.0, false, Some(self.options.threshold));
            ui.add_space(space::M);
            self.densities(ui, listed);
            ui.add_space(space::L);
        }
        let folders = self.folders(scene);
        let side = self.options.side;
        let agreement = self.chosen.and_then(|feature| self.agreements.of(side, feature));
        let agreement = (agreement, self.agreements.state(side));
        pair::show(ui, self.pair(), agreement, &folders, &self.pages, scene);
    }
}

impl View for MatchingView {
    fn place(&self) -> Place {
        Place::Matching { run: self.run.clone(), with: self.with.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("{} · {}", scene.folder.name_of(&self.run), self.with)
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        if self.comparison.untouched() {
            let (run, with) = (self.run.clone(), self.with.clone());
            self.comparison.ask(workers, Lane::Tables, move || matching::read(&run, &with));
        }
        self.comparison.poll(workers);
        self.ask_list(scene, workers);
        self.listed.poll(workers);
        self.ask_pages(scene, workers);
        self.ask_agreements(scene, workers);
        for page in &mut self.pages {
            page.poll(workers);
        }
        self.scatter.logic(workers);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        self.options.dark = ui.visuals().dark_mode;
        if let Some(problem) = self.comparison.problem().cloned() {
            // A matching is called after the other run.
            let other = scene.folder.find_run(Path::new(&self.with), &self.run);
            let remedy = other.map(|other| ("Match again", Job::match_with(&self.run, &other)));
            if scene.problem(ui, "The comparison cannot be read", &problem, remedy) {
                self.comparison = Request::new();
            }
            return;
        }
        let (Some(comparison), Some(listed)) =
            (self.comparison.value().cloned(), self.listed.value().cloned())
        else {
            return notice::loading(ui, "Reading the comparison…");
        };
        // The list may still be of the other side.
        if listed.side != self.options.side {
            return notice::loading(ui, "Sorting…");
        }
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::S as i8)).show(ui, |ui| {
            self.head(ui, &comparison, &listed, scene);
        });
        if listed.side != self.options.side {
            // The person has just turned to the other side, whose list is being made.
            return ui.ctx().request_repaint();
        }
        let frame = Frame::new().fill(palette(ui).side).inner_margin(Margin::same(space::L as i8));
        let below = PAIR.is_below(ui);
        // Below there is room for a pair alone, once one is chosen.
        if !below || self.chosen.is_some() {
            PAIR.show(ui, frame, |ui| {
                // A panel becomes as narrow as what is in it, and that arrives in parts.
                ui.take_available_width();
                self.about_pair(ui, &listed, !below, scene);
            });
        }
        if listed.rows.is_empty() {
            return notice::empty(
                ui,
                "No matching feature",
                "Choose a different outcome above, or move the cosine threshold.",
            );
        }
        self.table(ui, &comparison, &listed, scene);
    }
}
