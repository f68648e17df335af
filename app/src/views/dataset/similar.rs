//! Tokens of the whole dataset that are like the one in front: by shared features next to by activation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, ComboBox, Label, Link, ProgressBar, RichText, Role, Ui, WidgetInfo};

use crate::address::Place;
use crate::data::similar::{self, LISTED, Neighbour, Overlap, Similar};
use crate::data::{Documents, Vocabulary};
use crate::load::{Lane, StreamedRequest, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::{facts, format, notice, text};

/// Run, document and position.
type Key = (PathBuf, u32, u32);

/// The search's own state.
#[derive(Debug, Default)]
pub struct SimilarTokens {
    found: StreamedRequest<Arc<Similar>>,
    /// What is to be looked for next.
    asked: Option<Key>,
    /// What was found is of this.
    of: Option<Key>,
    /// Which list by codes is shown, by its place in [`Overlap::ALL`].
    by: Option<usize>,
}

impl SimilarTokens {
    /// Starts what was asked for; takes what has arrived.
    pub fn logic(&mut self, dataset: &Path, documents: &Arc<Documents>, workers: &Workers) {
        if let Some(key) = self.asked.take() {
            self.of = Some(key.clone());
            let (dir, documents) = (dataset.to_owned(), Arc::clone(documents));
            let (run, document, position) = key;
            self.found.ask(workers, Lane::Scans, move |feed| {
                similar::read(&dir, &run, &documents, (document, position), feed)
            });
        }
        self.found.poll(workers);
    }

    /// Draws the section of the token at `place`, whose features are those of `run`.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        (dataset, run): (&Path, &Path),
        (document, position): (u32, u32),
        vocabulary: &Vocabulary,
        scene: &mut Scene<'_>,
    ) {
        facts::section(ui, "Similar tokens");
        let key = (run.to_owned(), document, position);
        if self.of.as_ref() != Some(&key) {
            let button = ui.add(Button::new("Find similar tokens"));
            let hover = "Reads all features and activations of the dataset once: the tokens that share most features with this one, next \
                         to those with the nearest activations";
            if button.on_hover_text(hover).clicked() {
                self.asked = Some(key);
                ui.ctx().request_repaint();
            }
            return;
        }
        if let Some(problem) = self.found.problem() {
            return notice::problem_line(ui, problem);
        }
        if self.found.loading() {
            return self.progress(ui);
        }
        let Some(found) = self.found.pieces().last().cloned() else {
            return self.again(ui, key);
        };
        let by = self.choice(ui);
        let agreement = found.agreement[by];
        let number = |n: Option<f64>| n.map_or("–".to_owned(), |n| format!("{n:.2}"));
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = space::XL;
            let hover = format!(
                "Share of the {LISTED} nearest by activation that are among the {LISTED} nearest by features"
            );
            facts::figure(ui, &number(agreement.overlap), "overlap", &hover);
            let hover =
                "Spearman's correlation of the two scores over all indexed tokens, at most a million of them";
            facts::figure(ui, &number(agreement.spearman), "rank correlation", hover);
        });
        ui.add_space(space::S);
        let mut follow = None;
        ui.columns(2, |columns| {
            let lists =
                [("by shared features", &found.by_codes[by]), ("by activation", &found.by_activation)];
            for ((title, list), ui) in lists.into_iter().zip(columns) {
                facts::caption(ui, title);
                for neighbour in list {
                    if line(ui, title, neighbour, vocabulary) {
                        follow = Some((neighbour.document, neighbour.position));
                    }
                }
                if list.is_empty() {
                    ui.label(RichText::new("none").color(palette(ui).weak));
                }
            }
        });
        if let Some((document, token)) = follow {
            scene.go(Place::Token { dataset: dataset.to_owned(), document, token });
        }
    }

    fn progress(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            let (done, total) = self.found.progress().unwrap_or((0, 1));
            let bar = ProgressBar::new(done as f32 / total.max(1) as f32).desired_height(6.0);
            ui.add(bar.desired_width((ui.available_width() - 84.0).max(20.0)));
            if ui.button("Stop").clicked() {
                self.found.stop();
            }
        });
        facts::caption(ui, "Comparing with every token…");
    }

    fn again(&mut self, ui: &mut Ui, key: Key) {
        facts::caption(ui, "Stopped before anything was found.");
        if ui.button("Find similar tokens").clicked() {
            self.asked = Some(key);
            ui.ctx().request_repaint();
        }
    }

    /// Which measure of codes; Jaccard until a person says otherwise.
    fn choice(&mut self, ui: &mut Ui) -> usize {
        let mut by = self.by.unwrap_or(1);
        let name = |by: usize| match Overlap::ALL[by] {
            Overlap::Shared => "shared features",
            Overlap::Jaccard => "Jaccard",
            Overlap::Weighted => "weighted Jaccard",
        };
        let combo = ComboBox::from_id_salt("overlap").selected_text(name(by)).show_ui(ui, |ui| {
            for i in 0..Overlap::ALL.len() {
                ui.selectable_value(&mut by, i, name(i));
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "How features are compared"));
        self.by = Some(by);
        by
    }
}

/// A neighbour: score, token, what stands before it; strong where it is in both lists. True when it was clicked.
fn line(ui: &mut Ui, list: &str, neighbour: &Neighbour, vocabulary: &Vocabulary) -> bool {
    let p = palette(ui);
    let at = (neighbour.position - neighbour.context.start) as usize;
    let words: Vec<String> =
        neighbour.context.tokens.iter().map(|t| vocabulary.show(*t).into_owned()).collect();
    let token = words.get(at).map(|word| text::in_list(word)).unwrap_or_default();
    let colour = if neighbour.in_both { p.strong } else { p.text };
    let mut clicked = false;
    ui.horizontal(|ui| {
        let score = RichText::new(format!("{:.3}", neighbour.score)).size(size::SMALL).color(p.weak);
        ui.label(score);
        let shown = RichText::new(token).monospace().size(size::MONO).color(colour);
        let link = ui.add(Link::new(shown));
        let name =
            format!("Go to position {} of document {}, {list}", neighbour.position, neighbour.document);
        link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &name));
        let both = if neighbour.in_both { " · in both lists" } else { "" };
        let place = format!(
            "document {}, position {}{both}\n{}",
            neighbour.document,
            format::grouped(u64::from(neighbour.position)),
            words.concat()
        );
        clicked = link.on_hover_text(place).clicked();
        let before: String = words.get(..at).unwrap_or_default().iter().map(|w| text::in_line(w)).collect();
        ui.add(Label::new(RichText::new(before).size(size::SMALL).color(p.weak)).truncate());
    });
    clicked
}
