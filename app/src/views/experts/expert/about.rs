//! The left column of an expert's page: load, domains, tokens, features, partners, neighbours in other
//! layers.

use std::path::{Path, PathBuf};

use egui::{Align, ComboBox, Layout, RichText, Role, Ui, WidgetInfo};

use super::super::{Interaction, either, words};
use super::Parts;
use crate::address::Place;
use crate::data::experts::features::ExpertFeatures;
use crate::data::experts::tables::Transitions;
use crate::data::{ExpertUsage, FeatureExpertRow, LayerUsage};
use crate::load::KeyedRequest;
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::views::Scene;
use crate::views::dataset::about_feature;
use crate::widgets::sheet::{Cell, Sheet, column, times};
use crate::widgets::{facts, format, notice};

/// The title of the section of features.
const WITHIN: &str = "Features within this expert";

/// What the column shows.
pub struct About<'a> {
    /// The load of all experts.
    pub usage: &'a ExpertUsage,
    /// The block.
    pub layer: u16,
    /// The expert.
    pub expert: u32,
    /// What is loaded.
    pub parts: &'a Parts,
    /// Runs of the same harvest: folder and name.
    pub runs: &'a [(PathBuf, String)],
}

impl About<'_> {
    /// Draws the column.
    pub fn show(
        &self,
        ui: &mut Ui,
        by_lift: &mut bool,
        run: &mut Option<PathBuf>,
        dataset: &Path,
        scene: &mut Scene<'_>,
        asked: &mut Interaction,
    ) {
        self.figures(ui);
        ui.add_space(space::L);
        self.domains(ui, asked);
        ui.add_space(space::L);
        self.senders(ui, run.as_deref(), scene, asked);
        self.features(ui, run, scene, asked);
        ui.add_space(space::L);
        self.written(ui, asked);
        self.words(ui, by_lift, dataset, scene, asked);
        ui.add_space(space::L);
        self.partners(ui, asked);
        for (part, layer) in [
            (
                &self.parts.backward,
                self.usage.layers.iter().map(|l| l.balance.layer).filter(|l| *l < self.layer).max(),
            ),
            (&self.parts.onward, Some(self.layer)),
        ] {
            if let Some(layer) = layer {
                self.transitions(ui, part, layer, asked);
            }
        }
    }

    fn name(&self, layer: u16, expert: u32) -> String {
        format!("Go to expert {layer}:{expert}")
    }

    fn figures(&self, ui: &mut Ui) {
        let Some(layer) = self.usage.layer(self.layer) else { return };
        let expert = self.expert as usize;
        let Some(load) = layer.load(0, expert) else { return };
        let uniform = load.share * layer.experts() as f64;
        let rank = layer.rank(expert).map_or_else(String::new, |rank| {
            format!("{} of {}", format::grouped(rank as u64), format::grouped(layer.experts() as u64))
        });
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = space::XL;
            let known = |number: Option<String>| number.unwrap_or_else(|| format::MISSING.to_owned());
            let slots = format!(
                "Of all slots, {} per token; the uniform share is {}",
                known(layer.balance.k.map(|k| k.to_string())),
                format::percent(1.0 / layer.experts() as f64)
            );
            facts::figure(ui, &format::percent(load.share), "of the slots", &slots);
            facts::figure(ui, &times(uniform), "uniform", "Share over the uniform share");
            facts::figure(ui, &rank, "by load", "1 is the most used");
            let tokens = format!(
                "{} of {} tokens chose it",
                format::grouped(load.tokens),
                known(layer.balance.tokens.map(format::grouped))
            );
            facts::figure(ui, &format::count(load.tokens), "tokens", &tokens);
            if load.tokens > 0 {
                facts::figure(ui, &format::value(load.weight), "mean weight", "Where it was chosen");
            }
        });
    }

    fn domains(&self, ui: &mut Ui, asked: &mut Interaction) {
        let columns = [
            column("domain", 0.0, "Kind of text"),
            column("count", 72.0, "Tokens of the domain that chose the expert"),
            column("of domain", 84.0, "Of the domain's tokens"),
            column("× k/E", 64.0, "Over what an expert of a balanced layer has"),
        ];
        let found = self.parts.special.get(&());
        let mut rows: Vec<_> =
            found.iter().flat_map(|f| &f.experts).filter(|r| self.is(r.layer, r.expert)).collect();
        rows.sort_by(|a, b| b.share_of_domain.unwrap_or(0.0).total_cmp(&a.share_of_domain.unwrap_or(0.0)));
        let cell = |row: usize, column: usize| {
            let row = rows[row];
            match column {
                0 if row.specialised => Cell::Text(format!("{} · specialised", row.domain)),
                0 => Cell::Text(row.domain.clone()),
                1 => Cell::Count(row.count),
                2 => Cell::share(row.share_of_domain),
                _ => Cell::times(row.share_of_domain.zip(row.baseline).map(|(share, base)| share / base)),
            }
        };
        let sheet = Sheet {
            id: "of domains",
            columns: &columns,
            rows: rows.len(),
            cell: &cell,
            most: 12,
            marked: None,
        };
        self.part(ui, &self.parts.special, &(), "Domains", &sheet, asked, |_, _| None);
    }

    fn is(&self, layer: u16, expert: u32) -> bool {
        layer == self.layer && expert == self.expert
    }

    fn words(
        &self,
        ui: &mut Ui,
        by_lift: &mut bool,
        dataset: &Path,
        scene: &mut Scene<'_>,
        asked: &mut Interaction,
    ) {
        let words = scene.stores.dataset(dataset).vocabulary.value().cloned().unwrap_or_default();
        let found = self.parts.words.get(&self.layer);
        let rows = found.as_ref().map_or_else(Vec::new, |rows| words::ranked(rows, self.expert, *by_lift));
        let columns = [
            column("token", 0.0, "The token; among those seen 10 times or more"),
            column("count", 64.0, "How often it chose the expert"),
            column("of", 64.0, "How often it was seen"),
            column("share", 76.0, "count / of"),
            column("lift", 64.0, "share over the share of all tokens that chose the expert"),
        ];
        let cell = |row: usize, column: usize| {
            let row = rows[row];
            match column {
                0 => Cell::Token(words.show(row.token).into_owned()),
                1 => Cell::Count(row.count),
                2 => Cell::Count(row.tokens),
                3 => Cell::Share(row.share),
                _ => Cell::Times(row.lift),
            }
        };
        let sheet = Sheet {
            id: "of words",
            columns: &columns,
            rows: rows.len(),
            cell: &cell,
            most: 10,
            marked: None,
        };
        self.part(ui, &self.parts.words, &self.layer, "Vocabulary", &sheet, asked, |_, _| None);
        if !rows.is_empty() {
            ui.horizontal(|ui| {
                let hovers =
                    ["Tokens that choose it far more often than others do", "Tokens that it sees most"];
                either(ui, by_lift, ["by lift", "by count"], hovers);
            });
        }
    }

    fn features(
        &self,
        ui: &mut Ui,
        run: &mut Option<PathBuf>,
        scene: &mut Scene<'_>,
        asked: &mut Interaction,
    ) {
        let Some(chosen) = run.clone() else {
            facts::section(ui, WITHIN);
            return hint(ui, "No run of this folder was trained on this dataset.");
        };
        let key = (chosen.clone(), self.layer, self.expert);
        let found = self.parts.features.get(&key);
        if found.as_deref().is_some_and(Option::is_none) {
            facts::section(ui, WITHIN);
            hint(ui, "The features of this run are not joined with the experts yet.");
            scene.offer(ui, "Join experts", Job::join_experts(&chosen));
        } else {
            let found = found.as_deref().and_then(Option::as_ref);
            if let Some(feature) = self.feature_table(ui, &key, found, scene, asked) {
                scene.go(Place::Feature { run: chosen, feature });
            }
        }
        if self.runs.len() > 1 {
            self.pick(ui, run);
        }
    }

    /// The table of the features within the expert; the feature that was clicked.
    fn feature_table(
        &self,
        ui: &mut Ui,
        key: &(PathBuf, u16, u32),
        found: Option<&ExpertFeatures>,
        scene: &Scene<'_>,
        asked: &mut Interaction,
    ) -> Option<u32> {
        let rows: &[FeatureExpertRow] = found.map_or(&[], |found| &found.rows);
        let store = scene.stores.run(&key.0);
        let lists = store.tokens.value().map(AsRef::as_ref);
        let texts = store.vocabulary.value().cloned().unwrap_or_default();
        let about = |row: &FeatureExpertRow| {
            let mark = match (row.is_feature, row.lives_in) {
                (true, _) => "● ",
                (false, true) => "○ ",
                (false, false) => "",
            };
            format!("{mark}{}", about_feature(row.feature, lists, &texts))
        };
        let columns = [
            column("feature", 72.0, "The feature"),
            column("fires on", 0.0, "Its label, or the tokens that it fires on most"),
            column("P(e | f)", 76.0, "Share of the feature's tokens that are routed to this expert"),
            column("lift", 60.0, "Compared with chance"),
            column("tokens", 64.0, "Tokens on which it fired and that are routed to this expert"),
        ];
        let cell = |row: usize, column: usize| {
            let row = &rows[row];
            match column {
                0 => Cell::Link(u64::from(row.feature), format!("Go to feature {}", row.feature)),
                1 => Cell::Text(about(row)),
                2 => Cell::Share(row.expert_given_feature),
                3 => Cell::Times(row.lift),
                _ => Cell::Count(row.joint),
            }
        };
        let (columns, rows_shown) = (&columns, rows.len());
        let sheet =
            Sheet { id: "of features", columns, rows: rows_shown, cell: &cell, most: 12, marked: None };
        let mut follow = None;
        self.part(ui, &self.parts.features, key, WITHIN, &sheet, asked, |row, _| {
            follow = rows.get(row).map(|row| row.feature);
            None
        });
        if let Some(found) = found {
            let summary = format!(
                "{} lie within this expert (○); {} pairs of {} are significant after correction; ● the feature defines the expert",
                format::grouped(found.lives_in),
                format::grouped(found.significant),
                format::grouped(found.all)
            );
            ui.label(RichText::new(summary).size(size::SMALL).color(palette(ui).weak));
        }
        follow
    }

    fn pick(&self, ui: &mut Ui, run: &mut Option<PathBuf>) {
        ui.horizontal(|ui| {
            facts::caption(ui, "run");
            let name = self.runs.iter().find(|r| Some(&r.0) == run.as_ref()).map_or("", |r| r.1.as_str());
            let combo = ComboBox::from_id_salt("run").selected_text(name).width(180.0);
            let shown = combo.show_ui(ui, |ui| {
                for (path, name) in self.runs {
                    ui.selectable_value(run, Some(path.clone()), name);
                }
            });
            shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Run of the features"));
        });
    }

    fn partners(&self, ui: &mut Ui, asked: &mut Interaction) {
        let found = self.parts.together.get(&self.layer);
        let experts = self.usage.layer(self.layer).map_or(0, LayerUsage::experts);
        if found.as_ref().is_some_and(|found| !found.were_counted(experts)) {
            facts::section(ui, "Partners");
            return hint(ui, "Not counted: the layer has too many experts for its pairs.");
        }
        let mut rows = found.as_ref().map_or_else(Vec::new, |found| found.partners(self.expert));
        rows.retain(|pair| pair.count > 0);
        let columns = [
            column("expert", 72.0, "Chosen by the same tokens"),
            column("tokens", 80.0, "Tokens that chose both"),
            column("P(other | this)", 108.0, "Of this expert's tokens, how many chose the other too"),
            column("lift", 72.0, "Compared with chance: 1 if the experts were chosen independently"),
        ];
        let cell = |row: usize, column: usize| {
            let pair = &rows[row];
            match column {
                0 => Cell::Link(u64::from(pair.b), self.name(self.layer, pair.b)),
                1 => Cell::Count(pair.count),
                2 => Cell::share(pair.b_given_a),
                _ => Cell::times(pair.lift),
            }
        };
        let sheet = Sheet {
            id: "of partners",
            columns: &columns,
            rows: rows.len(),
            cell: &cell,
            most: 10,
            marked: None,
        };
        self.part(ui, &self.parts.together, &self.layer, "Partners", &sheet, asked, |row, _| {
            Some((self.layer, rows.get(row)?.b))
        });
    }

    /// From the layer before, or on to the next: `layer` is the earlier one.
    fn transitions(
        &self,
        ui: &mut Ui,
        part: &KeyedRequest<u16, Option<Transitions>>,
        layer: u16,
        asked: &mut Interaction,
    ) {
        let Some(found) = part.get(&layer) else {
            if let Some(problem) = part.problem(&layer) {
                ui.add_space(space::L);
                notice::problem_line(ui, problem);
            }
            return;
        };
        let Some(found) = found.as_ref() else { return };
        let onward = layer == self.layer;
        let own = self.expert as usize;
        let rows: Vec<usize> =
            if onward { found.onward(own).collect() } else { found.backward(own).collect() };
        let pair = |row: usize| if onward { (own, rows[row]) } else { (rows[row], own) };
        let (title, there) = if onward {
            (format!("On to layer {}", found.next), found.next)
        } else {
            (format!("From layer {}", found.layer), found.layer)
        };
        let columns = [
            column("expert", 72.0, "The expert there"),
            column("tokens", 80.0, "Tokens that chose both"),
            column(
                "probability",
                108.0,
                "Of the slots that come from the earlier expert, how many go to the later",
            ),
            column("lift", 72.0, "Compared with chance"),
        ];
        let number = |x: f64| Some(x).filter(|x| x.is_finite());
        let cell = |row: usize, column: usize| {
            let (from, to) = pair(row);
            match column {
                0 => Cell::Link(rows[row] as u64, self.name(there, rows[row] as u32)),
                1 => Cell::Count(found.count.get(from, to).max(0.0) as u64),
                2 => Cell::share(number(found.probability.get(from, to))),
                _ => Cell::times(number(found.lift.get(from, to))),
            }
        };
        ui.add_space(space::L);
        let id = if onward { "onward" } else { "backward" };
        let sheet = Sheet { id, columns: &columns, rows: rows.len(), cell: &cell, most: 8, marked: None };
        let answer = sheet.show_titled(ui, &title, "");
        asked.of_sheet(answer, |row, _| Some((there, *rows.get(row)? as u32)));
    }

    /// A titled table of a part that may be on its way, empty or broken.
    pub(super) fn part<K, T>(
        &self,
        ui: &mut Ui,
        part: &KeyedRequest<K, T>,
        key: &K,
        title: &str,
        sheet: &Sheet<'_>,
        asked: &mut Interaction,
        open: impl FnOnce(usize, usize) -> Option<(u16, u32)>,
    ) where
        K: Clone + PartialEq + Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        if let Some(problem) = part.problem(key) {
            facts::section(ui, title);
            return notice::problem_line(ui, problem);
        }
        if sheet.rows == 0 {
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                facts::section(ui, title);
                hint(ui, if part.get(key).is_some() { "None." } else { "Reading…" });
            });
            return;
        }
        let answer = ui.push_id(title, |ui| sheet.show_titled(ui, title, "")).inner;
        asked.of_sheet(answer, open);
    }
}

pub(super) fn hint(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).color(palette(ui).weak));
}
