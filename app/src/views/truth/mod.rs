//! Truth against found: what a dictionary made of the made world that its rows come from.

mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, Frame, Margin, RichText, Slider, Ui};
use egui_table::{Column, HeaderRow, Table};

use super::{Scene, View};
use crate::address::Place;
use crate::data::truth::{self, FoundOutcome, PlantedLossScore, ScoredFeatureRow, Truth, WorldOutcome};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::theme::{palette, space, tokens::height, tokens::size};
use crate::training::Job;
use crate::widgets::{facts, format, notice, table};
use rows::{Listed, Sort};

/// |cosine| from which on a direction of the world counts as found, at first.
const FOUND_FROM: f32 = 0.7;

/// Room that the slider of the threshold needs.
const SLIDER: f32 = 320.0;
/// Width under which the figures are in two lines.
const ONE_LINE: f32 = 640.0;

/// What is listed and in which order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Choice {
    listed: Listed,
    /// Index into the outcomes of what is listed; all when `None`.
    outcome: Option<usize>,
    threshold: f32,
    sort: Sort,
}

/// A list, and how many of each outcome there are.
#[derive(Debug)]
struct Lines {
    rows: Vec<u32>,
    counts: Vec<usize>,
}

/// The score of one run.
#[derive(Debug)]
pub struct TruthView {
    run: PathBuf,
    truth: Request<Truth>,
    choice: Choice,
    lines: KeyedRequest<Choice, Lines>,
    /// What was drawn last, until the next list is there.
    shown: Option<(Choice, Arc<Lines>)>,
    /// A row that somebody came for.
    marked: Option<u32>,
    scroll: bool,
}

impl TruthView {
    /// The score of `run`.
    pub fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            truth: Request::new(),
            choice: Choice { listed: Listed::Found, outcome: None, threshold: FOUND_FROM, sort: None },
            lines: KeyedRequest::default(),
            shown: None,
            marked: None,
            scroll: false,
        }
    }

    fn figures(ui: &mut Ui, truth: &Truth) {
        let score = &truth.score;
        let quality = |x: f64| format!("{x:.3}");
        let all = [
            (
                quality(score.f1),
                "F1",
                "Mean over the dictionary's features; those that never fired count as 0",
            ),
            (quality(score.precision), "precision", "Mean over the dictionary's features"),
            (quality(score.recall), "recall", "Mean over the dictionary's features"),
            (quality(score.mcc), "MCC", "Mean |cosine| over the pairs of the best one-to-one assignment"),
            (quality(score.uniqueness), "uniqueness", "Different truths over the number of features"),
            (format::quality(score.fve), "FVE", "Fraction of variance explained on the scored rows"),
            (
                format!("{:.1} / {:.1}", score.l0, score.true_l0),
                "L0 / true",
                "Mean number of features that fire on a row: the dictionary's and the world's",
            ),
            (format::grouped(score.dead), "dead", "Features of the dictionary that never fired"),
        ];
        let planted = score.loss.as_ref().map(planted_figures);
        let in_line = if ui.available_width() < ONE_LINE { all.len() / 2 } else { all.len() };
        for line in all.chunks(in_line).chain(planted.as_ref().map(|figures| &figures[..])) {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = space::XL;
                for (value, name, about) in line {
                    facts::figure(ui, value, name, about);
                }
            });
        }
    }

    fn head(&mut self, ui: &mut Ui, truth: &Truth, lines: &Lines, scene: &Scene<'_>) {
        let p = palette(ui);
        ui.label(RichText::new("Truth against found").size(size::TITLE).color(p.strong));
        let score = &truth.score;
        let world = score.world.file_name().unwrap_or(score.world.as_os_str()).to_string_lossy();
        let of = format!(
            "{} · {} features against {} of the world {world} · {} rows that it was not trained on",
            scene.folder.name_of(&self.run),
            format::grouped(score.d_sae),
            format::grouped(score.world_features),
            format::grouped(score.rows)
        );
        facts::caption(ui, of);
        ui.add_space(space::S);
        Self::figures(ui, truth);
        ui.add_space(space::S);
        self.choices(ui, truth, lines);
        ui.add_space(space::XS);
    }

    fn choices(&mut self, ui: &mut Ui, truth: &Truth, lines: &Lines) {
        ui.horizontal_wrapped(|ui| {
            for (listed, name) in [(Listed::Found, "Dictionary"), (Listed::World, "World")] {
                let button = Button::new(name).selected(self.choice.listed == listed);
                if ui.add(button).clicked() && self.choice.listed != listed {
                    self.choice = Choice { listed, outcome: None, sort: None, ..self.choice };
                    self.marked = None;
                }
            }
            ui.add_space(space::M);
            let names: Vec<(&str, &str)> = match self.choice.listed {
                Listed::Found => FoundOutcome::ALL.iter().map(|o| (o.name(), o.about())).collect(),
                Listed::World => WorldOutcome::ALL.iter().map(|o| (o.name(), o.about())).collect(),
            };
            let all = match self.choice.listed {
                Listed::Found => truth.found.len(),
                Listed::World => truth.world.len(),
            };
            let button = Button::new(format!("all {}", format::grouped(all as u64)));
            if ui.add(button.selected(self.choice.outcome.is_none())).clicked() {
                self.choice.outcome = None;
            }
            for (i, ((name, about), count)) in names.into_iter().zip(&lines.counts).enumerate() {
                let share = format::percent(*count as f64 / all.max(1) as f64);
                let text = format!("{name} {} · {share}", format::grouped(*count as u64));
                let on = self.choice.outcome == Some(i);
                if ui.add(Button::new(text).selected(on)).on_hover_text(about).clicked() {
                    self.choice.outcome = (!on).then_some(i);
                }
            }
            if self.choice.listed == Listed::Found {
                if ui.available_size_before_wrap().x < SLIDER {
                    ui.end_row();
                }
                let slider = Slider::new(&mut self.choice.threshold, 0.1..=0.99)
                    .fixed_decimals(2)
                    .text("found if cosine ≥");
                ui.add(slider).on_hover_text(FoundOutcome::Invented.about());
            }
        });
    }

    fn table(&mut self, ui: &mut Ui, truth: &Truth, choice: Choice, lines: &Lines, scene: &mut Scene<'_>) {
        let names = choice.listed.columns().iter().map(|column| column.0).chain(["outcome"]);
        let widths: Vec<Column> = names
            .zip(choice.listed.widths(ui.available_width() - space::M))
            .map(|(name, width)| {
                Column::new(width).range(40.0..=600.0).id(egui::Id::unique(("truth", choice.listed, name)))
            })
            .collect();
        let pages =
            scene.folder.run(&self.run).is_some_and(|run| run.info.as_ref().is_ok_and(|info| info.indexed));
        let mut delegate = rows::Rows {
            truth,
            listed: choice.listed,
            rows: &lines.rows,
            threshold: choice.threshold,
            marked: self.marked,
            pages,
            sort: choice.sort,
            asked: rows::Interaction::default(),
        };
        let mut drawn = Table::new()
            .id_salt(("truth", &self.run, choice.listed))
            .num_rows(lines.rows.len() as u64)
            .headers([HeaderRow::new(height::HEAD)]);
        let at = self.marked.and_then(|marked| lines.rows.iter().position(|row| *row == marked));
        if let (Some(at), true) = (at, std::mem::take(&mut self.scroll)) {
            drawn = drawn.scroll_to_row(at as u64, None);
        }
        table::show(ui, drawn, &widths, &mut delegate);
        let asked = delegate.asked;
        if let Some(sort) = asked.sort {
            self.choice.sort = sort;
        }
        if let Some(truth) = asked.truth {
            self.choice = Choice { listed: Listed::World, outcome: None, sort: None, ..self.choice };
            (self.marked, self.scroll) = (Some(truth), true);
        }
        if let Some(feature) = asked.open {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
    }
}

/// The rows that `choice` asks for, and how many of each outcome there are.
/// What became of a planted loss.
fn planted_figures(loss: &PlantedLossScore) -> [(String, &'static str, &'static str); 4] {
    [
        (
            format::quality(loss.recovered),
            "loss recovered",
            "Share of the planted loss at the world's bias that reconstructions take away: 1 as the rows do",
        ),
        (
            format!("{:.3} / {:.3}", loss.at_reconstructions, loss.at_rows),
            "loss / at rows",
            "The planted loss, in nats per row: of reconstructions and of the rows as they are",
        ),
        (
            format::quality(loss.f1),
            "F1, read by the loss",
            "Mean F1 of the dictionary's features whose truth the planted loss reads",
        ),
        (
            format::quality(loss.f1_of_others),
            "F1, not read",
            "Mean F1 of the dictionary's features whose truth it does not read",
        ),
    ]
}

fn lines(truth: &Truth, choice: Choice) -> Lines {
    let outcomes: Vec<usize> = match choice.listed {
        Listed::Found => {
            let at = |row: &ScoredFeatureRow| {
                let outcome = truth.outcome(row, choice.threshold);
                FoundOutcome::ALL.iter().position(|other| *other == outcome).unwrap_or_default()
            };
            truth.found.iter().map(at).collect()
        }
        Listed::World => {
            let at =
                |outcome| WorldOutcome::ALL.iter().position(|other| *other == outcome).unwrap_or_default();
            truth.world.iter().map(|row| at(WorldOutcome::of(row))).collect()
        }
    };
    let kinds = match choice.listed {
        Listed::Found => FoundOutcome::ALL.len(),
        Listed::World => WorldOutcome::ALL.len(),
    };
    let counts = (0..kinds).map(|kind| outcomes.iter().filter(|o| **o == kind).count()).collect();
    let wanted = |i: &u32| choice.outcome.is_none_or(|outcome| outcomes[*i as usize] == outcome);
    let mut rows: Vec<u32> = (0..outcomes.len() as u32).filter(wanted).collect();
    rows::sort(&mut rows, truth, choice.listed, choice.sort);
    Lines { rows, counts }
}

/// What is known of a feature whose rows come from a made world: with its truth, it or nothing fires.
pub fn of_feature(ui: &mut Ui, row: &ScoredFeatureRow) -> bool {
    ui.add_space(space::L);
    facts::section(ui, "Known truth");
    let open = ui.link(format!("True feature {}", row.truth)).on_hover_text(
        "The feature of the world whose direction is nearest to the decoder row; to the table of all of them",
    );
    let number = |n: u64| format::grouped(n);
    let rows = [
        ("|cosine|", format!("{:.3}", row.cosine)),
        ("F1", format!("{:.3}", row.f1)),
        ("precision", format!("{:.3}", row.precision)),
        ("recall", format!("{:.3}", row.recall)),
        ("rows on which both fire", number(row.true_positives)),
        ("only the feature", number(row.false_positives)),
        ("only its truth", number(row.false_negatives)),
    ];
    facts::facts(ui, "known truth", rows.iter().map(|(name, value)| (*name, value.as_str())));
    open.clicked()
}

impl View for TruthView {
    fn place(&self) -> Place {
        Place::Truth { run: self.run.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Truth · {}", scene.folder.name_of(&self.run))
    }

    fn logic(&mut self, _scene: &mut Scene<'_>, workers: &Workers) {
        if self.truth.untouched() {
            let run = self.run.clone();
            self.truth.ask(workers, Lane::Tables, move || truth::read(&run));
        }
        self.truth.poll(workers);
        let Some(truth) = self.truth.value().cloned() else { return };
        let choice = self.choice;
        self.lines.want(workers, Lane::Sort, &choice, move || Ok(lines(&truth, choice)));
        if let Some(lines) = self.lines.get(&choice) {
            self.shown = Some((choice, lines));
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        if let Some(problem) = self.truth.problem().cloned() {
            let remedy = ("Score against its world", Job::score_truth(&self.run));
            if scene.problem(ui, "The score cannot be shown", &problem, [remedy]) {
                self.truth = Request::new();
            }
            return;
        }
        let (Some(truth), Some((choice, lines))) = (self.truth.value().cloned(), self.shown.clone()) else {
            return notice::loading(ui, "Reading the score…");
        };
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            self.head(ui, &truth, &lines, scene);
        });
        if lines.rows.is_empty() {
            return notice::empty(ui, "No feature of this outcome", "Choose a different one above.");
        }
        self.table(ui, &truth, choice, &lines, scene);
    }
}
