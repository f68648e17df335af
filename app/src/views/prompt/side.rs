//! One prompt: its field, its tokens, what the changes do to it, its continuations.

use std::sync::Arc;

use egui::{
    Align, Color32, Key, KeyboardShortcut, Label, Layout, Modifiers, RichText, Role, TextEdit, Ui, WidgetInfo,
};

use super::Shade;
use crate::load::{Lane, Problem, StreamedRequest, Workers};
use crate::prompt::{
    Attribution, Change, ChangeEffect, Continuation, ContinuationKind, LoadedModel, Maximum, Reading,
    SamplingOptions,
};
use crate::theme::{Palette, palette, space, tokens::size};
use crate::views::effect::{Experiment, Inputs};
use crate::widgets::{facts, format, notice, reading, text};

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
    experiment: Experiment<String>,
    continuations: StreamedRequest<Continuation>,
    /// The changes that the continuations were made with.
    continued_with: Vec<Change>,
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
            experiment: Experiment::default(),
            continuations: StreamedRequest::default(),
            continued_with: Vec::new(),
            focus: true,
        }
    }

    /// The text that is read.
    pub fn text(&self) -> &str {
        &self.text
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
        self.experiment.reading(&self.text)
    }

    /// The effects that are asked for, if they are here, or why they cannot be.
    pub fn attribution(&self) -> Option<Result<Arc<Attribution>, Problem>> {
        self.experiment.attribution(&self.text)
    }

    /// What the changes do, if there are any and it is known.
    pub fn changed(&self) -> Option<Arc<ChangeEffect>> {
        self.experiment.changed(&self.text)
    }

    /// What strengths are shares of.
    pub fn maxima(&self) -> Vec<Maximum> {
        self.experiment.maxima()
    }

    /// Another token.
    pub fn step(&mut self, by: i64) {
        let Some(reading) = self.reading() else { return };
        let most = reading.len() as i64 - 1;
        let from = self.chosen.map_or(if by > 0 { -1 } else { most + 1 }, |at| at as i64);
        let next = (from + by).clamp(0, most);
        self.chosen = usize::try_from(next).ok();
    }

    /// Asks for what is missing, takes what has arrived.
    pub fn logic(&mut self, workers: &Workers, asked: &Inputs) {
        self.continuations.poll(workers);
        self.experiment.ask(asked);
        if self.text.is_empty() {
            return;
        }
        let (engine, run, text) = (asked.engine.clone(), asked.run.clone(), self.text.clone());
        self.experiment.logic(workers, &self.text, asked, move || engine.read(&run, &text));
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
        if let Some(problem) = self.experiment.reading_problem(&self.text) {
            notice::problem_line(ui, problem);
            return None;
        }
        let Some(reading) = self.reading() else {
            ui.horizontal(|ui| {
                notice::busy(ui, 16.0);
                ui.label(RichText::new("Reading…").color(palette(ui).weak));
            });
            return None;
        };
        let clicked = self.tokens(ui, &reading, opened, shade, front);
        if clicked.is_some() {
            self.chosen = clicked;
        }
        ui.add_space(space::S);
        self.experiment.figures(ui, &self.text, &reading);
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

    /// The continuations.
    pub fn show_continuations(&self, ui: &mut Ui) {
        let p = palette(ui);
        if let Some(problem) = self.continuations.problem() {
            notice::problem_line(ui, problem);
        }
        if self.continuations.pieces().is_empty() && self.continuations.loading() {
            notice::busy(ui, 16.0);
        }
        for kind in [ContinuationKind::Plain, ContinuationKind::Changed, ContinuationKind::Control] {
            let Some(said) = self.continuations.pieces().iter().rev().find(|said| said.kind == kind) else {
                continue;
            };
            let cut = if said.whole || self.continuations.loading() { "" } else { ", stopped" };
            // A text that was made with other changes than those on the screen must not pass for theirs.
            let stale = kind != ContinuationKind::Plain && *self.experiment.changes() != *self.continued_with;
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
