//! What the feature does at the chosen line: which features fire around it, and what the model predicts if they are changed there.

use std::path::Path;
use std::sync::Arc;

use egui::{Button, ComboBox, Layout, RichText, Role, ScrollArea, Ui, WidgetInfo, vec2};

use crate::data::claims::ClaimIntervention;
use crate::data::{Columns, Documents};
use crate::load::Workers;
use crate::prompt::{ChangeEffect, EffectTarget, Engine, LoadedModel, Reading, Spread};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::views::effect::changes::{Changes, Panel};
use crate::views::effect::grid::{Grid, GridClick, RowOrder};
use crate::views::effect::{Experiment, Inputs, model_of};
use crate::widgets::{facts, format, notice, text};

/// Tokens after the line's that the model reads, and that are shown on both sides.
const AROUND: u32 = 16;
/// Width of the changes and their figures.
const SIDE: f32 = 380.0;
/// Width from which on they stand next to the features.
const WIDE: f32 = 820.0;
/// Shifts of the next token that are shown.
const SHIFTS: usize = 5;

/// What is asked about a line, and what is known.
#[derive(Debug, Default)]
pub struct Consequence {
    /// Whether it is shown.
    pub open: bool,
    engine: Option<Engine>,
    opened: Option<Arc<LoadedModel>>,
    experiment: Experiment<(u32, u32)>,
    changes: Changes,
    /// The feature that the changes began with.
    of: Option<u32>,
    /// The line, and the token that is looked at in its place.
    line: Option<(u32, u32)>,
    token: Option<usize>,
    order: RowOrder,
    all: bool,
    seed: u64,
}

/// What the person wants.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The page of this feature.
    pub follow: Option<u32>,
    /// This is to be part of the claim.
    pub keep: Option<ClaimIntervention>,
}

/// What is known outside.
pub struct Known<'a> {
    /// The feature that the claim is about.
    pub feature: u32,
    /// Its activation at the line, by the index.
    pub value: f32,
    /// The index.
    pub columns: Option<&'a Columns>,
    /// A feature in words.
    pub name: &'a dyn Fn(u32) -> String,
}

impl Consequence {
    /// Once per frame: asks for the model and for what the changes do at `line` (document, position).
    pub fn logic(
        &mut self,
        scene: &mut Scene<'_>,
        run: &Path,
        feature: u32,
        line: Option<(u32, u32)>,
        data: Option<(&Path, &Arc<Documents>)>,
        workers: &Workers,
    ) {
        if self.of != Some(feature) {
            self.of = Some(feature);
            self.changes.ablate_only(feature);
        }
        if self.line != line {
            (self.line, self.token) = (line, None);
            // A token of one line is a different one in the next.
            self.changes.everywhere();
        }
        let (true, Some(line), Some((dataset, documents))) = (self.open, line, data) else { return };
        let Some((engine, opened)) = model_of(scene, run, &mut self.engine) else { return };
        self.opened = Some(opened);
        let aim = (self.order == RowOrder::Effect).then_some(EffectTarget::Loss);
        let changes = self.changes.active();
        let asked = Inputs { engine: engine.clone(), run: run.to_owned(), aim, changes, seed: self.seed };
        self.experiment.ask(&asked);
        let (run, dataset, documents) = (run.to_owned(), dataset.to_owned(), Arc::clone(documents));
        self.experiment.logic(workers, &line, &asked, move || {
            engine.read_place(&run, &dataset, &documents, line, AROUND)
        });
    }

    /// Draws it.
    pub fn show(&mut self, ui: &mut Ui, run: &Path, known: &Known<'_>, scene: &mut Scene<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        let Some(line) = self.line else { return wanted };
        if let Some(problem) = scene.stores.run(run).opened.problem() {
            notice::problem_line(ui, problem);
            return wanted;
        }
        if let Some(problem) = self.experiment.reading_problem(&line) {
            notice::problem_line(ui, problem);
            return wanted;
        }
        let (Some(opened), Some(reading)) = (self.opened.clone(), self.experiment.reading(&line)) else {
            let what = if self.opened.is_some() { "Reading the context…" } else { "Loading the model…" };
            ui.horizontal(|ui| {
                notice::busy(ui, 16.0);
                ui.label(RichText::new(what).color(palette(ui).weak));
            });
            return wanted;
        };
        let here = (line.1 - self.experiment.start(&line)) as usize;
        ScrollArea::vertical().id_salt("consequence").auto_shrink(false).show(ui, |ui| {
            ui.set_max_width(ui.available_width() - space::M);
            if ui.available_width() < WIDE {
                self.side(ui, &reading, here, &opened, known, &mut wanted);
                ui.add_space(space::M);
                return self.features(ui, &reading, here, &opened, known, &mut wanted);
            }
            let left = ui.available_width() - SIDE - space::L;
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = space::L;
                let down = Layout::top_down(egui::Align::Min);
                ui.allocate_ui_with_layout(vec2(left, 0.0), down, |ui| {
                    ui.set_width(left);
                    self.features(ui, &reading, here, &opened, known, &mut wanted);
                });
                ui.allocate_ui_with_layout(vec2(SIDE, 0.0), down, |ui| {
                    ui.set_width(SIDE);
                    self.side(ui, &reading, here, &opened, known, &mut wanted);
                });
            });
        });
        wanted
    }

    /// Features × tokens.
    fn features(
        &mut self,
        ui: &mut Ui,
        reading: &Reading,
        here: usize,
        opened: &LoadedModel,
        known: &Known<'_>,
        wanted: &mut Wanted,
    ) {
        let Some(line) = self.line else { return };
        ui.horizontal(|ui| {
            let combo = ComboBox::from_id_salt("rows by").selected_text(order_name(self.order)).width(150.0);
            let combo = combo.show_ui(ui, |ui| {
                for order in [RowOrder::Share, RowOrder::Activation, RowOrder::Effect] {
                    ui.selectable_value(&mut self.order, order, order_name(order));
                }
            });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Features by"));
            let value = reading.activations(known.feature).get(here).copied().unwrap_or_default();
            let (now, then) = (format::value(f64::from(value)), format::value(f64::from(known.value)));
            facts::caption(ui, format!("numbers: per cent of each feature's maximum · at the line {now}, in the index {then}"))
                .on_hover_text("The model reads the same tokens as when the data was harvested, so the activation is the same");
        });
        let attribution = self.experiment.attribution(&line);
        if let Some(Err(problem)) = &attribution {
            notice::problem_line(ui, problem);
        }
        let attribution = attribution.and_then(Result::ok);
        let changed = self.experiment.changed(&line);
        let max = |feature: u32| {
            known
                .columns
                .and_then(|columns| columns.numbers.max.get(feature as usize))
                .copied()
                .unwrap_or(0.0)
        };
        let grid = Grid {
            reading,
            range: here.saturating_sub(AROUND as usize)..reading.len(),
            vocabulary: &opened.vocabulary,
            max: &max,
            name: known.name,
            attribution: attribution.as_deref(),
            changed: changed.as_deref(),
            chosen: Some(self.token.unwrap_or(here)),
            first: Some(known.feature),
            order: self.order,
            find: "",
        };
        let GridClick { follow, change, token, more } = grid.show(ui, self.all);
        wanted.follow = follow;
        if let Some(feature) = change {
            self.changes.add(feature);
        }
        self.token = token.or(self.token);
        self.all ^= more;
    }

    /// The changes, and what they do.
    fn side(
        &mut self,
        ui: &mut Ui,
        reading: &Reading,
        here: usize,
        opened: &LoadedModel,
        known: &Known<'_>,
        wanted: &mut Wanted,
    ) {
        let Some(line) = self.line else { return };
        let token = self.token.unwrap_or(here);
        let maxima = self.experiment.maxima();
        let panel = Panel {
            maxima: &maxima,
            columns: known.columns,
            chosen: Some(token),
            d_sae: opened.about.d_sae,
            name: known.name,
        };
        let follow = self.changes.show(ui, &panel);
        wanted.follow = follow.or(wanted.follow);
        ui.add_space(space::S);
        self.experiment.figures(ui, &line, reading);
        let changed = self.experiment.changed(&line);
        if let Some(changed) = &changed {
            shifts(ui, changed, reading, token, opened);
        }
        ui.horizontal(|ui| {
            let keep = ui.add_enabled(changed.is_some(), Button::new("Add to claim"));
            let keep = keep.on_hover_text("Keep and Export take what was measured here with them");
            if let (true, Some(changed)) = (keep.clicked(), &changed) {
                wanted.keep = Some(intervention(line, self.changes.words(), changed, reading.len()));
            }
            let again = ui.button("Resample").on_hover_text("Draw new random directions");
            self.seed += u64::from(again.clicked());
        });
    }
}

fn order_name(order: RowOrder) -> &'static str {
    match order {
        RowOrder::Activation => "by activation",
        RowOrder::Share => "by share of maximum",
        RowOrder::Effect => "by effect on the loss",
    }
}

/// How the likeliest next tokens after `token` change.
fn shifts(ui: &mut Ui, changed: &ChangeEffect, reading: &Reading, token: usize, opened: &LoadedModel) {
    let p = palette(ui);
    let shown = text::in_list(&opened.vocabulary.show(reading.tokens[token]));
    let kl = format::value(f64::from(changed.effect.after.kl[token]));
    facts::caption(ui, format!("next token after ‹{shown}›: KL {kl}"));
    let mut by: Vec<_> = changed.effect.shifts[token].iter().collect();
    by.sort_by(|a, b| (b.after - b.before).abs().total_cmp(&(a.after - a.before).abs()));
    ui.horizontal_wrapped(|ui| {
        for shift in by.into_iter().take(SHIFTS) {
            let next = text::in_list(&opened.vocabulary.show(shift.token));
            let percent = |share: f32| format::percent(f64::from(share));
            ui.label(RichText::new(next).monospace().size(size::MONO).color(p.strong));
            let words = format!("{} → {}", percent(shift.before), percent(shift.after));
            ui.label(RichText::new(words).size(size::SMALL).color(p.weak));
            ui.add_space(space::XS);
        }
    });
}

/// What was measured, to be kept.
fn intervention(
    (document, position): (u32, u32),
    change: String,
    changed: &ChangeEffect,
    tokens: usize,
) -> ClaimIntervention {
    let effect = &changed.effect;
    let three = |spread: Spread| [spread.mean, spread.low, spread.high];
    ClaimIntervention {
        document,
        position,
        change,
        tokens: tokens as u64,
        kl: effect.after.mean_kl(),
        random_kl: effect.control_kl().map(three),
        loss: effect.mean_before().zip(effect.after.mean_loss()).map(|(before, after)| [before, after]),
        random_loss: effect.control_loss().map(three),
        draws: effect.controls.len() as u64,
    }
}
