//! What is known of the selected token: its features and the prediction after it.

use egui::{Align, Checkbox, Label, Layout, Link, RichText, Role, Sense, Ui, WidgetInfo, vec2};

use super::side::Side;
use crate::data::Columns;
use crate::prompt::{LoadedModel, Reading};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{bars, facts, format, notice, text};

/// Features that are listed before the rest is asked for.
const FEATURES: usize = 16;

/// What features are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Their activation.
    Activation,
    /// Their activation against their own maximum.
    Share,
    /// The size of their effect.
    Effect,
    /// Their effect on a logit, of which nobody has said whose; until then their activation.
    NoTarget,
}

/// What is unfolded.
#[derive(Debug, Default)]
pub struct Options {
    all: bool,
}

/// What is known elsewhere.
pub struct FeatureContext<'a> {
    /// The index.
    pub columns: Option<&'a Columns>,
    /// The feature that shades the text.
    pub shaded: Option<u32>,
    /// Whether features can be followed back through heads.
    pub has_sources: bool,
    /// Whether experts have pages in the open folder.
    pub has_experts: bool,
    /// A feature in words.
    pub name: &'a dyn Fn(u32) -> String,
}

/// What the person wants.
#[derive(Debug, Default)]
pub struct Interaction {
    /// To see this feature's page.
    pub follow: Option<u32>,
    /// To have the text shaded by this feature, or no longer.
    pub shade: Option<u32>,
    /// To change this feature.
    pub change: Option<u32>,
    /// To see where this feature's value comes from.
    pub back: Option<u32>,
    /// To see the page of this expert: (layer, expert).
    pub expert: Option<(u16, u32)>,
}

/// One code.
struct Line {
    feature: u32,
    activation: f32,
    /// Against its own maximum, if that is what orders.
    share: Option<f32>,
    effect: Option<f32>,
}

/// Draws the panel of the side's chosen token.
pub fn show(
    ui: &mut Ui,
    side: &Side,
    opened: &LoadedModel,
    order: Order,
    options: &mut Options,
    known: &FeatureContext<'_>,
) -> Interaction {
    let Some(reading) = side.reading() else { return Interaction::default() };
    let Some(token) = side.chosen.filter(|token| *token < reading.len()) else {
        facts::section(ui, "Token");
        hint(ui, "Click a token, or step through them with the arrow keys.");
        return Interaction::default();
    };
    let p = palette(ui);
    let shown = text::in_list(&opened.vocabulary.show(reading.tokens[token]));
    ui.add(Label::new(RichText::new(shown).monospace().size(size::TITLE).color(p.strong)).truncate());
    let norm = format::value(f64::from(reading.norms[token]));
    facts::caption(ui, format!("token {token} of {} · norm {norm}", reading.len()));
    ui.add_space(space::M);
    let mut answer = features(ui, side, &reading, token, order, options, known);
    if !reading.experts.is_empty() {
        ui.add_space(space::L);
        answer.expert = super::experts::show(ui, &reading.experts, token, known.has_experts);
    }
    ui.add_space(space::L);
    predictions(ui, side, &reading, token, opened);
    answer
}

fn features(
    ui: &mut Ui,
    side: &Side,
    reading: &Reading,
    token: usize,
    order: Order,
    options: &mut Options,
    known: &FeatureContext<'_>,
) -> Interaction {
    facts::section(ui, "Features");
    if reading.left_out[token] {
        hint(ui, "Its norm exceeds the limit set in training, so it has no features and is never changed.");
        return Interaction::default();
    }
    let attribution = match side.attribution() {
        Some(Err(problem)) => {
            notice::problem_line(ui, &problem);
            None
        }
        Some(Ok(attribution)) => Some(attribution),
        None if order == Order::Effect => {
            hint(ui, "Computing effects…");
            None
        }
        None if order == Order::NoTarget => {
            hint(
                ui,
                "Type a token above to order features by their effect on its logit; until then they are ordered by activation.",
            );
            None
        }
        None => None,
    };
    let codes = &reading.codes;
    let line = |i: usize| Line {
        feature: codes.features[i],
        activation: codes.values[i],
        share: share(codes.features[i], codes.values[i], side, known).filter(|_| order == Order::Share),
        effect: attribution.as_ref().map(|attribution| attribution.effects[i]),
    };
    let mut lines: Vec<Line> = (codes.offsets[token]..codes.offsets[token + 1]).map(line).collect();
    if lines.is_empty() {
        hint(ui, "No feature fires on this token.");
        return Interaction::default();
    }
    let size_of = |line: &Line| line.effect.map(f32::abs).or(line.share).unwrap_or(line.activation);
    // After the last token effects on the loss are all 0: activations order what effects do not.
    lines.sort_by(|a, b| size_of(b).total_cmp(&size_of(a)).then(b.activation.total_cmp(&a.activation)));
    let most = size_of(&lines[0]);
    let listed = if options.all { lines.len() } else { lines.len().min(FEATURES) };
    let mut answer = Interaction::default();
    ui.spacing_mut().item_spacing.y = 1.0;
    for line in &lines[..listed] {
        line.show(ui, most, known, &mut answer);
    }
    if lines.len() > FEATURES {
        ui.add_space(space::XS);
        let rest = lines.len() - FEATURES;
        let name = if options.all { "Strongest only".to_owned() } else { format!("{rest} more") };
        if ui.link(name).clicked() {
            options.all = !options.all;
        }
    }
    answer
}

/// An activation against the feature's maximum in the index, or where there is none on the text.
fn share(feature: u32, activation: f32, side: &Side, known: &FeatureContext<'_>) -> Option<f32> {
    let indexed = known.columns.and_then(|columns| columns.numbers.max.get(feature as usize).copied());
    let max = indexed.filter(|max| *max > 0.0).or_else(|| side.reading()?.maximum(feature))?;
    Some(activation / max)
}

impl Line {
    fn show(&self, ui: &mut Ui, most: f32, known: &FeatureContext<'_>, answer: &mut Interaction) {
        let p = palette(ui);
        let feature = self.feature;
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
        let (share, colour) = match self.effect {
            Some(effect) if effect < 0.0 => (-effect / most, p.negative),
            Some(effect) => (effect / most, p.positive),
            None => (self.share.unwrap_or(self.activation) / most, p.activation),
        };
        if most > 0.0 {
            bars::inline_bar(ui, rect, share, colour);
        }
        let builder = egui::UiBuilder::new().max_rect(rect).id_salt(("feature", feature));
        ui.scope_builder(builder.layout(Layout::right_to_left(Align::Center)), |ui| {
            let plus = ui.small_button("+");
            plus.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Change feature {feature}")));
            if plus.on_hover_text("Ablate, clamp or add it").clicked() {
                answer.change = Some(feature);
            }
            if known.has_sources {
                let back = ui.small_button("←");
                let name = format!("Where feature {feature} comes from");
                back.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
                if back
                    .on_hover_text("Follow it back through attention heads to tokens and features")
                    .clicked()
                {
                    answer.back = Some(feature);
                }
            }
            self.numbers(ui, known.columns);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let mut on = known.shaded == Some(feature);
                let tick = ui.add(Checkbox::without_text(&mut on));
                let name = format!("Shade by feature {feature}");
                tick.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, on, &name));
                if tick.on_hover_text(name).changed() {
                    answer.shade = Some(feature);
                }
                let link = ui.add(Link::new(feature.to_string()));
                let name = format!("Go to feature {feature}");
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &name));
                if link.on_hover_text(name).clicked() {
                    answer.follow = Some(feature);
                }
                let about = RichText::new((known.name)(feature)).size(size::SMALL).color(p.weak);
                ui.add(Label::new(about).truncate());
            });
        });
    }

    fn numbers(&self, ui: &mut Ui, columns: Option<&Columns>) {
        let p = palette(ui);
        let activation = format::value(f64::from(self.activation));
        if let Some(effect) = self.effect {
            let colour = if effect < 0.0 { p.negative } else { p.positive };
            let number = RichText::new(signed(effect)).color(colour);
            ui.label(number).on_hover_text(format!("activation {activation}"));
            ui.label(RichText::new(activation).size(size::SMALL).color(p.weak));
            return;
        }
        if let Some(share) = self.share {
            ui.label(RichText::new(format::percent(f64::from(share))).color(p.text));
            ui.label(RichText::new(activation).size(size::SMALL).color(p.weak));
            return;
        }
        let number = ui.label(RichText::new(activation).color(p.text));
        let max = columns.and_then(|c| c.numbers.max.get(self.feature as usize)).filter(|max| **max > 0.0);
        if let Some(max) = max {
            let share = format::percent(f64::from(self.activation / max));
            number.on_hover_text(format!(
                "{share} of the feature's maximum, {}",
                format::value(f64::from(*max))
            ));
        }
    }
}

/// What the model predicts after the token, with and without the changes.
fn predictions(ui: &mut Ui, side: &Side, reading: &Reading, token: usize, opened: &LoadedModel) {
    let p = palette(ui);
    facts::section(ui, "Next token");
    let changed = side.changed();
    let effect = changed.as_ref().map(|changed| &changed.effect);
    if let Some(effect) = effect {
        let value = |x: f32| format::value(f64::from(x));
        let mut words =
            format!("KL {} · ‖δ‖/‖x‖ {}", value(effect.after.kl[token]), value(effect.ratios[token]));
        if let (Some(before), Some(after)) = (effect.before[token], effect.after.losses[token]) {
            words += &format!(" · loss {} → {}", value(before), value(after));
        }
        facts::caption(ui, words);
    } else if let Some(loss) = reading.predictions[token].loss {
        facts::caption(ui, format!("loss of the token that follows: {}", format::value(f64::from(loss))));
    }
    let mut line = |token: u32, numbers: String| {
        let size = vec2(ui.available_width(), 20.0);
        ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(numbers).color(p.text));
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let shown = text::in_list(&opened.vocabulary.show(token));
                ui.add(Label::new(RichText::new(shown).monospace().size(size::MONO)).truncate());
            });
        });
    };
    let percent = |p: f32| format::percent(f64::from(p));
    match effect {
        Some(effect) => {
            for shift in &effect.shifts[token] {
                line(shift.token, format!("{} → {}", percent(shift.before), percent(shift.after)));
            }
        }
        None => {
            for (token, share) in &reading.predictions[token].top {
                line(*token, percent(*share));
            }
        }
    }
}

/// A signed effect with as many digits as it needs.
fn signed(x: f32) -> String {
    let size = format::value(f64::from(x.abs()));
    if x < 0.0 { format!("−{size}") } else { format!("+{size}") }
}

fn hint(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).color(palette(ui).weak));
}
