//! The lines of figures about a change: what it does, and what random directions of the same length do.

use egui::{Align, Label, Layout, RichText, Ui, vec2};

use super::Experiment;
use crate::prompt::{ChangeEffect, Reading, Spread};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format, notice};

/// Width of the names of figures.
const NAME: f32 = 110.0;
/// Width of their values.
const VALUE: f32 = 96.0;
/// Width from which on there is room after them.
const WIDE: f32 = 480.0;
/// Height of a line of them.
const LINE: f32 = 20.0;

impl<K: Clone + PartialEq + Send + Sync + 'static> Experiment<K> {
    /// Draws them for the text `key`; without changes its length and loss.
    pub fn figures(&self, ui: &mut Ui, key: &K, of: &Reading) {
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
        let key = (key.clone(), changes, seed);
        if let Some(problem) = self.effect.problem(&key) {
            return notice::problem_line(ui, problem);
        }
        let Some(changed) = self.effect.get(&key).or_else(|| self.effect.last()) else {
            ui.horizontal(|ui| {
                notice::busy(ui, 16.0);
                ui.label(RichText::new("Changing…").color(palette(ui).weak));
            });
            return;
        };
        lines(ui, &changed, of.len());
        if self.effect.get(&key).is_none() {
            notice::busy(ui, 16.0);
        }
    }
}

fn lines(ui: &mut Ui, changed: &ChangeEffect, tokens: usize) {
    let effect = &changed.effect;
    let draws = effect.controls.len();
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
    let controls = format!(
        "Random directions: mean and range of {draws} draws; each adds a step of the same length to the same tokens"
    );
    ui.spacing_mut().item_spacing.y = 2.0;
    let kl = format::value(effect.after.mean_kl());
    let about = format!("KL(unchanged ‖ changed) of the predictions, mean over the tokens\n{controls}");
    figure(ui, &kl, "KL, nats/token", &spread(effect.control_kl()), &about);
    if let (Some(before), Some(after)) = (effect.mean_before(), effect.after.mean_loss()) {
        let loss = format!("{} → {}", format::value(before), format::value(after));
        let about = format!("Cross-entropy of the text without and with the changes\n{controls}");
        figure(ui, &loss, "loss, nats/token", &spread(effect.control_loss()), &about);
    }
    let ratio = effect.mean_ratio().map_or_else(|| "0".to_owned(), format::value);
    let count = effect.deltas.iter().filter(|delta| **delta > 0.0).count();
    let about = "Norm of the change divided by the norm of the activation, mean over the changed tokens";
    figure(ui, &ratio, "‖δ‖/‖x‖", &format!("{count} of {tokens} tokens changed"), about);
}

/// A line with a figure and what it is compared with.
fn figure(ui: &mut Ui, value: &str, name: &str, compared: &str, hover: &str) {
    let p = palette(ui);
    let column = |ui: &mut Ui, width: f32, text: RichText| {
        ui.allocate_ui_with_layout(vec2(width, LINE), Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_width(width);
            ui.add(Label::new(text).truncate());
        });
    };
    let compared = RichText::new(compared).size(size::SMALL).color(p.weak);
    let wide = ui.available_width() >= WIDE;
    let line = ui.horizontal(|ui| {
        column(ui, NAME, RichText::new(name).color(p.weak));
        column(ui, VALUE, RichText::new(value).color(p.strong));
        if wide {
            ui.add(Label::new(compared.clone()).truncate());
        }
    });
    line.response.on_hover_text(hover);
    if !wide {
        ui.add(Label::new(compared).truncate());
        ui.add_space(space::XS);
    }
}
