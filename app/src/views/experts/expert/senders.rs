//! What sends tokens to an expert, in words and as a table, and what the expert writes.

use std::path::Path;

use egui::{RichText, Ui};

use super::super::Interaction;
use super::about::{About, hint};
use crate::address::Place;
use crate::data::experts::routers::Senders;
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::views::Scene;
use crate::views::dataset::about_feature;
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{facts, format};

/// The title of the section of what sends tokens to the expert.
const SENDERS: &str = "What sends tokens here";
/// The title of the section of what it writes.
const WRITES: &str = "What it writes";

impl About<'_> {
    /// What `sae experts explain` found with the features of `run`.
    pub(super) fn senders(
        &self,
        ui: &mut Ui,
        run: Option<&Path>,
        scene: &mut Scene<'_>,
        asked: &mut Interaction,
    ) {
        let Some(run) = run else { return };
        let key = (run.to_owned(), self.layer, self.expert);
        let found = self.parts.senders.get(&key);
        if found.as_deref().is_some_and(Option::is_none) {
            facts::section(ui, SENDERS);
            hint(ui, "The routers are not explained by the features of this run yet.");
            scene.offer(ui, "Explain routers", Job::explain_routers(run));
            ui.add_space(space::L);
            return;
        }
        let found = found.as_deref().and_then(Option::as_ref);
        let follow = self.sender_table(ui, &key, found, scene, asked);
        if let Some(senders) = found {
            let weak = |text: String| RichText::new(text).size(size::SMALL).color(palette(ui).weak);
            let summary = weak(figures(senders));
            ui.label(summary);
        }
        ui.add_space(space::L);
        if let Some(feature) = follow {
            scene.go(Place::Feature { run: run.to_owned(), feature });
        }
    }

    /// The sentence and the table; the feature that was clicked.
    fn sender_table(
        &self,
        ui: &mut Ui,
        key: &(std::path::PathBuf, u16, u32),
        found: Option<&Senders>,
        scene: &Scene<'_>,
        asked: &mut Interaction,
    ) -> Option<u32> {
        let store = scene.stores.run(&key.0);
        let lists = store.tokens.value().map(AsRef::as_ref);
        let texts = store.vocabulary.value().cloned().unwrap_or_default();
        let name = |feature: u32| about_feature(feature, lists, &texts);
        let rows = found.map_or(&[][..], |found| &found.features);
        let said = |feature: u32| {
            found.and_then(|found| found.about.get(&feature)).cloned().unwrap_or_else(|| name(feature))
        };
        let columns = [
            column("feature", 72.0, "The feature"),
            column("about", 0.0, "Its explanation, or the tokens that it fires on most"),
            column(
                "correlation",
                92.0,
                "Of the feature's code and the expert being chosen; below 0 where the feature keeps tokens away",
            ),
            column("logit", 64.0, "What one unit of the code adds to the router's logit, nothing fitted"),
        ];
        let cell = |row: usize, column: usize| {
            let row = &rows[row];
            match column {
                0 => Cell::Link(u64::from(row.feature), format!("Go to feature {}", row.feature)),
                1 => Cell::Text(said(row.feature)),
                2 => Cell::Value(row.correlation),
                _ => Cell::value(row.direct),
            }
        };
        let (columns, count) = (&columns, rows.len());
        let sheet = Sheet { id: "senders", columns, rows: count, cell: &cell, most: 12, marked: None };
        let mut follow = None;
        self.part(ui, &self.parts.senders, key, SENDERS, &sheet, asked, |row, _| {
            follow = rows.get(row).map(|row| row.feature);
            None
        });
        if let Some(words) = found.and_then(|found| found.in_words(name)) {
            ui.label(format!("Tokens come where these features fire: {words}."));
        }
        follow
    }

    /// What `sae experts written` found, if it was asked.
    pub(super) fn written(&self, ui: &mut Ui, asked: &mut Interaction) {
        let key = (self.layer, self.expert);
        let found = self.parts.written.get(&key);
        let broken = self.parts.written.problem(&key).is_some();
        let Some(rows) = found.as_deref().filter(|rows| !rows.is_empty() || broken) else { return };
        let columns = [
            column("token", 0.0, "The token whose direction in the output matrix was chosen"),
            column(
                "coefficient",
                88.0,
                "Mean over the expert's outputs, with the directions above fitted together; below 0: it is made less likely",
            ),
            column("explained", 80.0, "Share of the squares of the outputs that the directions so far give"),
            column("by chance", 80.0, "The same of as many directions drawn by chance"),
        ];
        let cell = |row: usize, column: usize| {
            let row = &rows[row];
            match column {
                0 => Cell::Token(row.text.clone()),
                1 => Cell::Value(row.coefficient),
                2 => Cell::Share(row.explained),
                _ => Cell::Share(row.by_chance),
            }
        };
        let sheet =
            Sheet { id: "written", columns: &columns, rows: rows.len(), cell: &cell, most: 16, marked: None };
        self.part(ui, &self.parts.written, &key, WRITES, &sheet, asked, |_, _| None);
        ui.add_space(space::L);
    }
}

/// How well its tokens are predicted, in one line.
fn figures(of: &Senders) -> String {
    let row = &of.expert;
    let value = format::quality;
    let union = row.union_size.map_or_else(|| "more than 64".to_owned(), |n| n.to_string());
    format!(
        "On other documents all features predict {} of its tokens, the token alone {}; nine tenths of that take {union} features. \
         A rule of tokens has F1 {}. Straight into its logit goes {}.",
        value(row.recall),
        value(row.recall_unigram),
        value(row.rule_f1),
        value(row.direct_share)
    )
}
