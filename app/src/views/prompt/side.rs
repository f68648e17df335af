//! One prompt: its field, its tokens, what the changes do to it, its continuations.

use std::path::PathBuf;
use std::sync::Arc;

use egui::{
    Align, Color32, Key, KeyboardShortcut, Label, Layout, Modifiers, RichText, Role, TextEdit, Ui,
    WidgetInfo, vec2,
};

use super::Shade;
use crate::load::{KeyedRequest, Lane, Problem, StreamedRequest, Workers};
use crate::prompt::{
    Attribution, Change, ChangeEffect, Continuation, ContinuationKind, EffectTarget, Engine, LoadedModel,
    Maximum, Reading, SamplingOptions, Spread,
};
use crate::theme::{Palette, palette, space, tokens::size};
use crate::widgets::{facts, format, notice, reading, text};

/// Width of the names of figures.
const NAME: f32 = 110.0;
/// Width of their values.
const VALUE: f32 = 96.0;
/// Width from which on there is room after them.
const WIDE: f32 = 480.0;
/// Height of a line of them.
const LINE: f32 = 20.0;

/// What all sides are asked for.
pub struct Inputs {
    pub engine: Engine,
    pub run: PathBuf,
    pub aim: Option<EffectTarget>,
    pub changes: Vec<Change>,
    pub seed: u64,
}

/// One prompt.
#[derive(Debug)]
pub struct Side {
    name: &'static str,
    /// What stands in the field.
    typed: String,
    /// What is read.
    text: String,
    /// The token that is looked at.
    pub chosen: Option<usize>,
    reading: KeyedRequest<String, Reading>,
    attribution: KeyedRequest<(String, EffectTarget), Attribution>,
    effect: KeyedRequest<(String, Vec<Change>, u64), ChangeEffect>,
    continuations: StreamedRequest<Continuation>,
    /// The changes that the continuations were made with.
    continued_with: Vec<Change>,
    /// What was asked for last, and what its answers belong to.
    aim: Option<EffectTarget>,
    changes: Option<(Vec<Change>, u64)>,
    focus: bool,
}

impl Side {
    /// An empty one.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            typed: String::new(),
            text: String::new(),
            chosen: None,
            reading: KeyedRequest::default(),
            attribution: KeyedRequest::default(),
            effect: KeyedRequest::default(),
            continuations: StreamedRequest::default(),
            continued_with: Vec::new(),
            aim: None,
            changes: None,
            focus: true,
        }
    }

    /// Puts the cursor into the field.
    pub fn focus(&mut self) {
        self.focus = true;
    }

    /// Reads a text that comes from elsewhere.
    pub fn propose(&mut self, text: String) {
        self.typed = text;
        self.read();
    }

    /// What was read.
    pub fn reading(&self) -> Option<Arc<Reading>> {
        self.reading.get(&self.text)
    }

    /// The effects that are asked for, if they are here, or why they cannot be.
    pub fn attribution(&self) -> Option<Result<Arc<Attribution>, Problem>> {
        let key = (self.text.clone(), self.aim.clone()?);
        self.attribution
            .get(&key)
            .map(Ok)
            .or_else(|| self.attribution.problem(&key).map(|problem| Err(problem.clone())))
    }

    /// What the changes do, if there are any and it is known.
    pub fn changed(&self) -> Option<Arc<ChangeEffect>> {
        let (changes, seed) = self.changes.clone()?;
        self.effect.get(&(self.text.clone(), changes, seed))
    }

    /// What strengths are shares of.
    pub fn maxima(&self) -> Vec<Maximum> {
        self.effect.last().map(|changed| changed.maxima.clone()).unwrap_or_default()
    }

    /// Another token.
    pub fn step(&mut self, by: i64) {
        let Some(reading) = self.reading() else { return };
        let most = reading.len() as i64 - 1;
        let next = self.chosen.map_or(if by > 0 { 0 } else { most }, |at| (at as i64 + by).clamp(0, most));
        self.chosen = usize::try_from(next).ok();
    }

    /// Asks for what is missing, takes what has arrived.
    pub fn logic(&mut self, workers: &Workers, asked: &Inputs) {
        self.continuations.poll(workers);
        self.aim.clone_from(&asked.aim);
        self.changes = (!asked.changes.is_empty()).then(|| (asked.changes.clone(), asked.seed));
        if self.text.is_empty() {
            return;
        }
        let (engine, run, text) = (asked.engine.clone(), asked.run.clone(), self.text.clone());
        self.reading.want(workers, Lane::Model, &self.text, move || engine.read(&run, &text));
        let Some(reading) = self.reading() else { return };
        if let Some(aim) = &asked.aim {
            let key = (self.text.clone(), aim.clone());
            let (engine, run, of, aim) =
                (asked.engine.clone(), asked.run.clone(), Arc::clone(&reading), aim.clone());
            self.attribution.want(workers, Lane::Model, &key, move || engine.attribute(&run, &of, &aim));
        }
        if let Some((changes, seed)) = self.changes.clone() {
            let key = (self.text.clone(), changes.clone(), seed);
            let (engine, run) = (asked.engine.clone(), asked.run.clone());
            self.effect
                .want(workers, Lane::Model, &key, move || engine.change(&run, &reading, &changes, seed));
        }
    }

    /// Lets the model continue the text.
    pub fn continue_text(&mut self, workers: &Workers, asked: &Inputs, options: SamplingOptions) {
        let Some(reading) = self.reading() else { return };
        let (engine, run, changes) = (asked.engine.clone(), asked.run.clone(), asked.changes.clone());
        self.continued_with.clone_from(&changes);
        self.continuations.ask(workers, Lane::Model, move |feed| {
            engine.continue_text(&run, &reading, &changes, options, feed)
        });
    }

    /// Whether the model is continuing the text.
    pub fn is_continuing(&self) -> bool {
        self.continuations.loading()
    }

    /// Tokens of all continuations, so far and in total.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.continuations.progress().filter(|_| self.continuations.loading())
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.continuations.stop();
    }

    fn read(&mut self) {
        if self.typed != self.text {
            self.continuations.clear();
            self.chosen = None;
        }
        self.text.clone_from(&self.typed);
    }

    /// Draws field, tokens and figures; gives the token that was clicked.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        opened: &LoadedModel,
        shade: (Shade, f32),
        front: bool,
    ) -> Option<usize> {
        self.field(ui);
        ui.add_space(space::S);
        if self.text.is_empty() {
            let how = format!(
                "Type a text and press Enter: up to {} tokens.",
                format::grouped(opened.about.room as u64)
            );
            ui.label(RichText::new(how).color(palette(ui).weak));
            return None;
        }
        if let Some(problem) = self.reading.problem(&self.text) {
            notice::problem_line(ui, problem);
            return None;
        }
        let Some(reading) = self.reading() else {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(RichText::new("Reading…").color(palette(ui).weak));
            });
            return None;
        };
        let clicked = self.tokens(ui, &reading, opened, shade, front);
        if clicked.is_some() {
            self.chosen = clicked;
        }
        ui.add_space(space::S);
        self.figures(ui, &reading);
        clicked
    }

    fn field(&mut self, ui: &mut Ui) {
        let name = self.name;
        ui.horizontal(|ui| {
            facts::caption(ui, name);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let new = !self.typed.is_empty() && self.typed != self.text;
                let button = ui.add_enabled(new, egui::Button::new("Read"));
                button.widget_info(|| {
                    WidgetInfo::labeled(Role::Button, new, format!("Read the {}", name.to_lowercase()))
                });
                if button.on_hover_text("Run the model on the text (Enter)").clicked() {
                    self.read();
                }
            });
        });
        let line_end = KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter);
        let field = TextEdit::multiline(&mut self.typed)
            .hint_text("Text for the model; Enter runs it, Shift+Enter starts a new line")
            .desired_rows(3)
            .desired_width(f32::INFINITY)
            .return_key(Some(line_end))
            .font(egui::TextStyle::Monospace);
        let field = ui.add(field.margin(egui::Margin::symmetric(8, 6)));
        field.widget_info(|| WidgetInfo::labeled(Role::MultilineTextInput, true, name));
        if std::mem::take(&mut self.focus) {
            field.request_focus();
        }
        let enter = field.has_focus() && ui.input(|i| i.key_pressed(Key::Enter) && !i.modifiers.any());
        if enter && !self.typed.is_empty() {
            self.read();
        }
    }

    fn tokens(
        &self,
        ui: &mut Ui,
        of: &Reading,
        opened: &LoadedModel,
        shade: (Shade, f32),
        front: bool,
    ) -> Option<usize> {
        let values = self.shaded(of, shade.0);
        let grounds = grounds(palette(ui), &values, shade);
        let shown = reading::Text {
            tokens: &of.tokens,
            grounds: &grounds,
            chosen: self.chosen.filter(|_| front),
            scroll: false,
            style: reading::Style::default(),
        };
        let answer = reading::show(ui, &opened.vocabulary, &shown, |ui, token| {
            ui.monospace(text::in_list(&opened.vocabulary.show(of.tokens[token])));
            ui.weak(format!("token {token} · {} features", of.codes.row(token).0.len()));
            if let Some(value) = values.get(token) {
                ui.label(format!("{} {}", word(shade.0), format::value(f64::from(*value))));
            }
        });
        answer.clicked
    }

    /// What shades each token.
    fn shaded(&self, of: &Reading, shade: Shade) -> Vec<f32> {
        match shade {
            Shade::Nothing => Vec::new(),
            Shade::Feature(feature) => of.activations(feature),
            Shade::Loss => {
                // The loss of a token is that of the prediction before it.
                let losses = of.predictions.iter().map(|prediction| prediction.loss.unwrap_or_default());
                std::iter::once(0.0).chain(losses).take(of.len()).collect()
            }
            Shade::Divergence => {
                self.changed().map(|changed| changed.effect.after.kl.clone()).unwrap_or_default()
            }
        }
    }

    fn figures(&self, ui: &mut Ui, of: &Reading) {
        let p = palette(ui);
        let Some((changes, seed)) = self.changes.clone() else {
            let losses: Vec<f32> = of.predictions.iter().filter_map(|prediction| prediction.loss).collect();
            let mean = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len().max(1) as f64;
            let loss = if losses.is_empty() {
                String::new()
            } else {
                format!(" · loss {} nats/token", format::value(mean))
            };
            facts::caption(ui, format!("{} tokens{loss}", of.len()));
            return;
        };
        let key = (self.text.clone(), changes, seed);
        if let Some(problem) = self.effect.problem(&key) {
            return notice::problem_line(ui, problem);
        }
        let Some(changed) = self.effect.get(&key).or_else(|| self.effect.last()) else {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(RichText::new("Changing…").color(p.weak));
            });
            return;
        };
        let effect = &changed.effect;
        let spread = |of: Option<Spread>| {
            of.map_or_else(String::new, |s| {
                format!(
                    "random direction {} ({} to {})",
                    format::value(s.mean),
                    format::value(s.low),
                    format::value(s.high)
                )
            })
        };
        ui.spacing_mut().item_spacing.y = 2.0;
        let kl = format::value(effect.after.mean_kl());
        let about = "KL(unchanged ‖ changed) of the predictions, mean over the tokens";
        figure(ui, &kl, "KL, nats/token", &spread(effect.control_kl()), about);
        if let (Some(before), Some(after)) = (effect.mean_before(), effect.after.mean_loss()) {
            let loss = format!("{} → {}", format::value(before), format::value(after));
            let about = "Cross-entropy of the text without and with the changes";
            figure(ui, &loss, "loss, nats/token", &spread(effect.control_loss()), about);
        }
        let ratio = effect.mean_ratio().map_or_else(|| "0".to_owned(), format::value);
        let count = effect.deltas.iter().filter(|delta| **delta > 0.0).count();
        let about = "Norm of the change divided by the norm of the activation, mean over the changed tokens";
        figure(ui, &ratio, "‖δ‖/‖x‖", &format!("{count} of {} tokens changed", of.len()), about);
        if self.effect.get(&key).is_none() {
            ui.spinner();
        }
    }

    /// The continuations.
    pub fn show_continuations(&self, ui: &mut Ui) {
        let p = palette(ui);
        if let Some(problem) = self.continuations.problem() {
            notice::problem_line(ui, problem);
        }
        if self.continuations.pieces().is_empty() && self.continuations.loading() {
            ui.spinner();
        }
        for kind in [ContinuationKind::Plain, ContinuationKind::Changed, ContinuationKind::Control] {
            let Some(said) = self.continuations.pieces().iter().rev().find(|said| said.kind == kind) else {
                continue;
            };
            let cut = if said.whole || self.continuations.loading() { "" } else { ", stopped" };
            // A text that was made with other changes than those on the screen must not pass for theirs.
            let changes = self.changes.as_ref().map_or(&[][..], |(changes, _)| changes);
            let stale = kind != ContinuationKind::Plain && *changes != *self.continued_with;
            let (note, colour) =
                if stale { (" (before the latest change; continue again)", p.weak) } else { ("", p.strong) };
            facts::caption(ui, format!("{} continued, {}{cut}{note}", self.name, kind.name()));
            let mut job = egui::text::LayoutJob::default();
            job.wrap.max_width = ui.available_width();
            for (part, colour) in [(&self.text, p.weak), (&said.text, colour)] {
                let format = egui::TextFormat::simple(egui::FontId::monospace(size::MONO), colour);
                job.append(part, 0.0, format);
            }
            // Columns justify their text, which tears short lines apart.
            ui.with_layout(Layout::top_down(Align::Min), |ui| ui.add(Label::new(job).selectable(true)));
            ui.add_space(space::S);
        }
    }

    /// Everything that is known.
    pub fn json(&self) -> Option<serde_json::Value> {
        let reading = self.reading()?;
        let attribution = self.attribution().and_then(Result::ok);
        let changed = self.changed();
        let token = |token: usize| {
            let codes = &reading.codes;
            let code = |i: usize| {
                serde_json::json!({
                    "feature": codes.features[i], "activation": codes.values[i],
                    "effect": attribution.as_ref().map(|attribution| attribution.effects[i]),
                })
            };
            serde_json::json!({
                "token": reading.tokens[token], "norm": reading.norms[token],
                "prediction": reading.predictions[token],
                "features": (codes.offsets[token]..codes.offsets[token + 1]).map(code).collect::<Vec<_>>(),
            })
        };
        let said: Vec<_> = self.continuations.pieces().iter().filter(|said| said.whole).collect();
        Some(serde_json::json!({
            "text": self.text,
            "effect_on": attribution.as_ref().map(|attribution| attribution.target),
            "tokens": (0..reading.len()).map(token).collect::<Vec<_>>(),
            "changed": changed.as_ref().map(|changed| &changed.effect),
            "maxima": changed.as_ref().map(|changed| &changed.maxima),
            "continuations": said.iter().map(|said| (said.kind.name(), &said.text)).collect::<Vec<_>>(),
        }))
    }
}

/// A line with a figure and what it is compared with.
fn figure(ui: &mut Ui, value: &str, name: &str, beside: &str, hover: &str) {
    let p = palette(ui);
    let column = |ui: &mut Ui, width: f32, text: RichText| {
        ui.allocate_ui_with_layout(vec2(width, LINE), Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_width(width);
            ui.add(Label::new(text).truncate());
        });
    };
    let beside = RichText::new(beside).size(size::SMALL).color(p.weak);
    let wide = ui.available_width() >= WIDE;
    let line = ui.horizontal(|ui| {
        column(ui, NAME, RichText::new(name).color(p.weak));
        column(ui, VALUE, RichText::new(value).color(p.strong));
        if wide {
            ui.add(Label::new(beside.clone()).truncate());
        }
    });
    line.response.on_hover_text(hover);
    if !wide {
        ui.add(Label::new(beside).truncate());
        ui.add_space(space::XS);
    }
}

fn word(shade: Shade) -> &'static str {
    match shade {
        Shade::Nothing => "",
        Shade::Feature(_) => "activation",
        Shade::Loss => "loss",
        Shade::Divergence => "KL",
    }
}

/// The ground of each token; none where there is nothing.
fn grounds(p: &Palette, values: &[f32], (shade, strongest): (Shade, f32)) -> Vec<Color32> {
    let most = values.iter().copied().fold(0.0, f32::max);
    let ground = |value: &f32| match shade {
        // Amber is for activation; against the feature's own maximum, not that of this text.
        Shade::Feature(_) => p.shade(value / strongest.max(most)),
        _ if *value > 0.0 => p.kind(0, value / most),
        _ => Color32::TRANSPARENT,
    };
    values.iter().map(ground).collect()
}
