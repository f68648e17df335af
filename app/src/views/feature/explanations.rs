//! Explanations of a feature with who made them, how, and how well they describe it.

use egui::{Label, RichText, Role, Ui, WidgetInfo};

use crate::data::Explanations;
use crate::data::explanations::{Score, SourcedExplanation};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::jobs::{self, CommandClick};
use crate::widgets::{facts, format, notice};

/// Explanations that are shown before the rest is asked for.
const FEW: usize = 4;

/// What a run has to say, and what is unfolded.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    pub explanations: &'a Explanations,
    pub feature: u32,
    /// The command that explains the run.
    pub command: &'a str,
    /// Whether it is at work.
    pub running: bool,
    /// Whether the feature fires on anything.
    pub alive: bool,
}

/// Draws the section; nothing where there is nothing to say and nothing to be done.
pub fn show(ui: &mut Ui, shown: &Section<'_>, all: &mut bool) -> CommandClick {
    let said = shown.explanations.of(shown.feature);
    if said.is_empty() && !shown.alive && shown.explanations.gaps.is_empty() {
        return CommandClick::default();
    }
    ui.add_space(space::L);
    facts::section(ui, "Explanations");
    shown.explanations.gaps.iter().for_each(|gap| notice::problem_line(ui, gap));
    if said.is_empty() {
        let weak = palette(ui).weak;
        if shown.explanations.sources.is_empty() {
            ui.label(RichText::new("No explanations yet.").color(weak));
            return jobs::offer(ui, "Explain", shown.command, shown.running);
        }
        let text = "No rule reached F1 0.5, and no other explanation was imported.";
        ui.label(RichText::new(text).color(weak));
        return CommandClick::default();
    }
    let listed = if *all { said.len() } else { said.len().min(FEW) };
    for (i, one) in said[..listed].iter().enumerate() {
        if i > 0 {
            ui.add_space(space::S);
        }
        ui.push_id(("explanation", i), |ui| explanation(ui, one, &shown.explanations.sources));
    }
    if said.len() > FEW {
        let name = if *all { "Best only".to_owned() } else { format!("{} more", said.len() - FEW) };
        if ui.link(name).clicked() {
            *all = !*all;
        }
    }
    CommandClick::default()
}

fn explanation(ui: &mut Ui, said: &SourcedExplanation, sources: &[String]) {
    let p = palette(ui);
    let explanation = &said.explanation;
    ui.spacing_mut().item_spacing.y = 2.0;
    let text = RichText::new(&explanation.text).color(p.strong);
    ui.add(Label::new(text).wrap().selectable(true));
    let source = sources.get(said.source).map_or("", String::as_str);
    let who: Vec<&str> = [explanation.method.as_str(), explanation.by.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let who = if who.is_empty() { source.to_owned() } else { who.join(" · ") };
    facts::caption(ui, who).on_hover_text(format!(
        "method: {}\nby: {}\nread from explanations/{source}.parquet",
        or_missing(&explanation.method),
        or_missing(&explanation.by)
    ));
    if explanation.scores.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::vec2(space::M, 2.0);
        for score in &explanation.scores {
            badge(ui, score);
        }
    });
}

fn or_missing(text: &str) -> &str {
    if text.is_empty() { format::MISSING } else { text }
}

/// A score with its name; hovering shows what it measures.
fn badge(ui: &mut Ui, score: &Score) {
    let p = palette(ui);
    let (name, about) = words(&score.kind);
    let value = format!("{:.2}", score.value);
    let response = ui
        .horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            ui.label(RichText::new(name).size(size::SMALL).color(p.weak));
            ui.label(RichText::new(&value).size(size::SMALL).color(p.text));
        })
        .response;
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{name} {value}")));
    response.on_hover_text(format!("{name} {}\n{about}", score.value));
}

/// What a score is called, and what it measures.
fn words(kind: &str) -> (&str, &'static str) {
    match kind {
        "f1" => (
            "F1",
            "2 · precision · recall / (precision + recall) of where the feature fires, on documents that the rule was not made from",
        ),
        "precision" => {
            (kind, "Of the tokens that the explanation is about, the share that the feature fires on")
        }
        "recall" => {
            (kind, "Of the tokens that the feature fires on, the share that the explanation is about")
        }
        "correlation" => (
            kind,
            "Correlation of the activation with what the explanation predicts, over all tokens; a rule predicts its mean activation where it applies, else 0",
        ),
        "detection" => (
            kind,
            "Balanced accuracy: whether a language model that knows the explanation alone tells passages that the feature fires in from others; chance is 0.5",
        ),
        "fuzzing" => (
            kind,
            "Balanced accuracy: whether a language model that knows the explanation alone tells passages with the right tokens marked from others; chance is 0.5",
        ),
        kind if kind.starts_with("eleuther_fuzz") => (
            kind,
            "Whether a language model that knows the explanation can tell texts with the right tokens marked from others; as defined by the source",
        ),
        kind if kind.starts_with("eleuther_recall") || kind.starts_with("eleuther_detection") => (
            kind,
            "Whether a language model that knows the explanation can tell texts that the feature fires on from others; as defined by the source",
        ),
        kind => (kind, "As defined by the source"),
    }
}
