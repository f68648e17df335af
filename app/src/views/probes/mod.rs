//! Probes of labelled prompts: how well a few features tell two classes, next to the controls, and which features they are.

mod plot;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{ComboBox, Frame, Link, Margin, RichText, Role, ScrollArea, Ui, WidgetInfo};
use egui_table::{Column, HeaderRow, Table};
use storage::probe::ProbeRow;

use super::{Scene, View};
use crate::address::Place;
use crate::data::probes::{self, ALL_COLUMNS, ProbeSetting, Probes};
use crate::load::{Lane, Request, Workers};
use crate::theme::tokens::height;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, format, notice, table};
use rows::{SetLine, Sort};

/// The mean over all sets, or one set.
const SIDE: SidePanel = SidePanel { id: "probes side", width: 380.0, range: (280.0, 640.0) };

/// What the lines of the table were made for.
type LinesKey = (u64, ProbeSetting, String, Sort);

/// A folder of probes in a pane.
#[derive(Debug)]
pub struct ProbesView {
    folder: PathBuf,
    probes: Request<Probes>,
    setting: Option<ProbeSetting>,
    /// The dictionary or control whose figures stand in the table.
    dictionary: Option<String>,
    sort: Sort,
    /// The set whose curves and features are shown; all sets together if none is.
    set: Option<String>,
    lines: Vec<SetLine>,
    lines_of: Option<LinesKey>,
}

impl ProbesView {
    /// The probes in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            probes: Request::new(),
            setting: None,
            dictionary: None,
            sort: Sort::default(),
            set: None,
            lines: Vec::new(),
            lines_of: None,
        }
    }

    fn head(&mut self, ui: &mut Ui, probes: &Probes, of: &ProbeSetting) {
        let record = &probes.record;
        ui.label(RichText::new("Which features know it").size(size::HEADING).color(palette(ui).strong));
        let pooling = if record.pooling == "mean" { "mean over tokens" } else { "last token" };
        let probed: std::collections::HashSet<&str> =
            probes.rows_of(of).map(|row| row.set.as_str()).collect();
        let sets = match (probed.len(), probes.sets.len()) {
            (1, 1) => "1 set of prompts".to_owned(),
            (some, n) if some < n => format!("{some} of {n} sets of prompts"),
            (_, n) => format!("{} sets of prompts", format::grouped(n as u64)),
        };
        facts::caption(
            ui,
            format!("{} · {sets} · {pooling} · higher is better, 0.5 is chance", record.model),
        )
        .on_hover_text("Sets that are not listed are too small to be split, or were not probed in this way");
        ui.add_space(space::XS);
        ui.horizontal_wrapped(|ui| {
            let names: Vec<String> =
                probes.over_all_sets(of).into_iter().map(|curve| curve.dictionary).collect();
            let own = self.dictionary.clone().unwrap_or_default();
            if let Some(chosen) = choose(ui, "Dictionary", &names, &own) {
                self.dictionary = Some(chosen);
            }
            let all = probes.settings();
            let parts: [(&str, Part); 3] = [
                ("Setting", |s| &mut s.setting),
                ("Split", |s| &mut s.split),
                ("Penalty", |s| &mut s.penalty),
            ];
            for (name, part) in parts {
                let mut values: Vec<String> = Vec::new();
                for mut one in all.clone() {
                    let value = part(&mut one).clone();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                let mut asked = of.clone();
                if let Some(chosen) = choose(ui, name, &values, &part(&mut of.clone()).clone()) {
                    *part(&mut asked) = chosen;
                    // Not every combination was probed.
                    self.setting = all.iter().find(|one| **one == asked).cloned().or_else(|| {
                        let value = part(&mut asked).clone();
                        all.into_iter().find(|one| *part(&mut one.clone()) == value)
                    });
                    return;
                }
            }
        });
        ui.add_space(space::S);
    }

    /// Curves of all sets or of the chosen one, and the columns of its probe.
    fn side(&mut self, ui: &mut Ui, probes: &Probes, of: &ProbeSetting, ks: &[u32], scene: &mut Scene<'_>) {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| match self.set.clone() {
            None => {
                facts::section(ui, "Mean over all sets");
                plot::show(ui, &probes.over_all_sets(of), ks);
                ui.add_space(space::S);
                facts::caption(ui, "Bars: 95 % intervals over sets. Choose a set to see its features.");
            }
            Some(set) => {
                ui.horizontal(|ui| {
                    facts::section(ui, &set);
                    if ui.button("All sets").clicked() {
                        self.set = None;
                    }
                });
                plot::show(ui, &probes.of_set(of, &set), ks);
                self.features(ui, probes, of, (&set, ks), scene);
            }
        });
    }

    fn features(
        &self,
        ui: &mut Ui,
        probes: &Probes,
        of: &ProbeSetting,
        (set, ks): (&str, &[u32]),
        scene: &mut Scene<'_>,
    ) {
        let dictionary = self.dictionary.clone().unwrap_or_default();
        let run = probes
            .record
            .dictionaries
            .contains(&dictionary)
            .then(|| scene.folder.find_run(Path::new(&dictionary), &self.folder))
            .flatten();
        // The largest probe that a person can still read.
        let readable = ks.iter().rev().find(|k| **k <= 20).or(ks.first());
        let Some(probe) = readable.and_then(|k| probes.probe(of, set, &dictionary, *k)) else { return };
        ui.add_space(space::M);
        facts::section(ui, &format!("The probe of {dictionary} with k {}", probe.k));
        let facts =
            format!("AUC {:.3} on {} prompts, trained on {}", probe.test_auc, probe.test, probe.train);
        facts::caption(ui, facts);
        weights(ui, probe, run.as_deref(), scene);
    }
}

/// A part of a setting.
type Part = fn(&mut ProbeSetting) -> &mut String;

/// A box to choose one of several; nothing where there is one.
fn choose(ui: &mut Ui, name: &str, all: &[String], chosen: &str) -> Option<String> {
    if all.len() < 2 {
        return None;
    }
    facts::caption(ui, name);
    let mut asked = None;
    let shown = ComboBox::from_id_salt(("probes", name)).selected_text(chosen).show_ui(ui, |ui| {
        for one in all {
            if ui.selectable_label(one == chosen, one).clicked() {
                asked = Some(one.clone());
            }
        }
    });
    let spoken = format!("Choose the {}", name.to_lowercase());
    shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &spoken));
    asked
}

/// The columns of a probe with their weights: features lead to their pages.
fn weights(ui: &mut Ui, probe: &ProbeRow, run: Option<&Path>, scene: &mut Scene<'_>) {
    let p = palette(ui);
    let most = probe.weights.iter().fold(0.0f32, |most, weight| most.max(weight.abs()));
    for (feature, weight) in probe.features.iter().zip(&probe.weights) {
        ui.horizontal(|ui| {
            match run {
                Some(run) => {
                    let link = ui.add(Link::new(format!("feature {feature}")));
                    if link.clicked() {
                        scene.go(Place::Feature { run: run.to_owned(), feature: *feature });
                    }
                }
                None => {
                    ui.label(format!("column {feature}"));
                }
            }
            let colour = if *weight < 0.0 { p.negative } else { p.positive };
            let width = 60.0 * weight.abs() / most.max(f32::MIN_POSITIVE);
            let (rect, _) = ui.allocate_exact_size(egui::vec2(width.max(1.0), 8.0), egui::Sense::hover());
            ui.painter().rect_filled(rect, 1.0, colour);
            ui.label(RichText::new(format!("{weight:+.3}")).size(size::SMALL).color(p.weak));
        });
    }
    if probe.weights.iter().all(|weight| *weight == 0.0) {
        facts::caption(ui, "The penalty left no weight: the probe says the same of every prompt.");
    }
}

impl View for ProbesView {
    fn place(&self) -> Place {
        Place::Probes { probes: self.folder.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Probes · {}", scene.folder.name_of(&self.folder))
    }

    fn logic(&mut self, _: &mut Scene<'_>, workers: &Workers) {
        if self.probes.untouched() {
            let folder = self.folder.clone();
            self.probes.ask(workers, Lane::Tables, move || probes::read(&folder));
        }
        self.probes.poll(workers);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(probes) = self.probes.value().map(Arc::clone) else {
            match self.probes.problem() {
                Some(problem) => {
                    if notice::problem(ui, "The probes cannot be shown", &problem.clone()) {
                        self.probes = Request::new();
                    }
                }
                None => notice::loading(ui, "Reading the probes…"),
            }
            return;
        };
        if ui.input(|input| input.key_pressed(egui::Key::Escape)) {
            self.set = None;
        }
        Frame::new().inner_margin(Margin::same(space::L as i8)).show(ui, |ui| self.page(ui, &probes, scene));
    }
}

impl ProbesView {
    fn page(&mut self, ui: &mut Ui, probes: &Probes, scene: &mut Scene<'_>) {
        let Some(of) = self.setting.clone().or_else(|| preferred(probes)) else {
            notice::empty(ui, "No probes", "Every set was too small to be split.");
            return;
        };
        if self.dictionary.is_none() {
            self.dictionary = probes.over_all_sets(&of).into_iter().next().map(|curve| curve.dictionary);
        }
        self.head(ui, probes, &of);
        let mut ks: Vec<u32> = probes.rows_of(&of).map(|row| row.k).filter(|k| *k != ALL_COLUMNS).collect();
        ks.sort_unstable();
        ks.dedup();
        SIDE.show(ui, Frame::side_top_panel(ui.style()), |ui| self.side(ui, probes, &of, &ks, scene));
        let dictionary = self.dictionary.clone().unwrap_or_default();
        let key = (self.probes.version(), of.clone(), dictionary.clone(), self.sort);
        if self.lines_of.as_ref() != Some(&key) {
            self.lines = rows::lines(probes, &of, &dictionary, &ks, self.sort);
            self.lines_of = Some(key);
        }
        self.table(ui, &ks);
    }

    fn table(&mut self, ui: &mut Ui, ks: &[u32]) {
        let columns = rows::columns(ks);
        let fixed: f32 = columns.iter().map(|column| column.width).sum();
        let wider = ((ui.available_width() - space::M) / fixed).max(1.0);
        let widths: Vec<Column> = columns
            .iter()
            .map(|column| {
                Column::new((column.width * wider).floor())
                    .range(40.0..=600.0)
                    .id(egui::Id::unique(("probes", &column.name)))
            })
            .collect();
        let mut delegate = rows::Rows {
            lines: &self.lines,
            columns: &columns,
            chosen: self.set.as_deref(),
            sort: self.sort,
            sorted: None,
            selected: None,
        };
        let drawn = Table::new()
            .id_salt(("probes", &self.folder))
            .num_rows(self.lines.len() as u64)
            .headers([HeaderRow::new(height::HEAD)]);
        table::show(ui, drawn, &widths, &mut delegate);
        let (sorted, selected) = (delegate.sorted, delegate.selected);
        self.sort = sorted.unwrap_or(self.sort);
        if let Some(set) = selected {
            self.set = if self.set.as_ref() == Some(&set) { None } else { Some(set) };
        }
    }
}

/// What is shown first: splits without repeated prompts, where there are such.
fn preferred(probes: &Probes) -> Option<ProbeSetting> {
    let all = probes.settings();
    all.iter().find(|one| one.split == "different").or(all.first()).cloned()
}
