//! The evaluation of a run: each number with its name, its unit and what it measures.

use egui::{Label, RichText, Ui};

use crate::data::RunInfo;
use crate::theme::{palette, space};
use crate::widgets::{facts, format};

/// How a number is written.
#[derive(Clone, Copy)]
enum Unit {
    Plain,
    Nats,
    Share,
    Count,
    Tokens,
}

/// A number of the evaluation: its field in `evaluation/core.json`, its label, its unit, what it measures.
type Metric = (&'static str, &'static str, Unit, &'static str);

/// In the order in which they are shown.
const METRICS: [Metric; 32] = [
    ("fve", "FVE", Unit::Plain, "Fraction of variance explained"),
    ("fvu", "FVU", Unit::Plain, "Fraction of variance unexplained, 1 − FVE"),
    ("nmse", "Normalised MSE", Unit::Plain, "Squared error divided by the squared norm of the activations"),
    ("mse", "MSE per dimension", Unit::Plain, "Mean squared error over tokens and raw dimensions"),
    ("cosine", "Cosine", Unit::Plain, "Mean cosine of reconstruction and activation"),
    ("l2_ratio", "L2 ratio", Unit::Plain, "Norm of the reconstruction divided by the norm of the activation"),
    (
        "relative_reconstruction_bias",
        "Relative reconstruction bias",
        Unit::Plain,
        "Below 1, reconstructions are shorter than they should be",
    ),
    ("loss_recovered", "Loss recovered", Unit::Plain, "Cross-entropy recovered, compared with zero ablation"),
    (
        "loss_recovered_mean_ablation",
        "Loss recovered (mean ablation)",
        Unit::Plain,
        "Cross-entropy recovered, compared with mean ablation",
    ),
    ("ce_clean", "Loss, unchanged", Unit::Nats, "Cross-entropy of the unchanged model per predicted token"),
    (
        "ce_reconstructed",
        "Loss, reconstructed",
        Unit::Nats,
        "Cross-entropy with the reconstruction spliced in",
    ),
    ("ce_zero", "Loss, zero ablation", Unit::Nats, "Cross-entropy with zeros spliced in"),
    ("ce_mean", "Loss, mean ablation", Unit::Nats, "Cross-entropy with the mean activation spliced in"),
    ("kl_score", "KL score", Unit::Plain, "1 − KL of the reconstruction divided by KL of zero ablation"),
    ("kl", "KL, reconstructed", Unit::Nats, "KL divergence from the unchanged model per predicted token"),
    ("kl_zero", "KL, zero ablation", Unit::Nats, "KL divergence with zeros spliced in"),
    ("kl_mean", "KL, mean ablation", Unit::Nats, "KL divergence with the mean activation spliced in"),
    ("l0", "L0", Unit::Plain, "Mean number of active features per token"),
    ("l0_sd", "L0, standard deviation", Unit::Plain, "Over tokens"),
    ("l1", "L1", Unit::Plain, "Mean sum of a token's feature activations"),
    ("dead_share", "Dead features, share", Unit::Share, "Features that never fired on the evaluated tokens"),
    ("dead", "Dead features", Unit::Count, "Features that never fired on the evaluated tokens"),
    (
        "under_used_share",
        "Under-used features, share",
        Unit::Share,
        "Features that fired on hardly any of the evaluated tokens",
    ),
    ("tokens", "Tokens", Unit::Tokens, "Tokens that were reconstructed"),
    ("predicted_tokens", "Predicted tokens", Unit::Tokens, "Tokens whose loss was measured"),
    ("left_out", "Left out", Unit::Tokens, "Tokens whose norm exceeds the limit set in training"),
    ("norm_limit", "Norm limit", Unit::Plain, "Tokens with a larger norm are left out"),
    ("documents", "Documents", Unit::Count, "Documents that the tokens are from"),
    ("context_length", "Context length", Unit::Tokens, "Tokens per context of the model"),
    ("d_sae", "Features", Unit::Count, "Width of the dictionary"),
    ("seed", "Seed", Unit::Plain, "Seed by which the tokens were drawn"),
    ("version", "Format version", Unit::Plain, "Version of the evaluation's file"),
];

/// Draws the section.
pub fn show(ui: &mut Ui, info: &RunInfo) {
    facts::section(ui, "Evaluation");
    if info.evaluation.is_empty() {
        facts::caption(ui, "Not evaluated yet; run `sae evaluate`.");
    }
    let (mut known, other): (Vec<_>, Vec<_>) = info
        .evaluation
        .iter()
        .map(|(field, value)| (rank(field), field, *value))
        .partition(|n| n.0.is_some());
    known.sort_by_key(|number| number.0);
    ui.push_id("evaluation", |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        for (rank, field, value) in known.into_iter().chain(other) {
            match rank.and_then(|rank| METRICS.get(rank)) {
                Some((_, label, unit, about)) => line(ui, label, &written(value, *unit), about),
                // What a newer `sae` writes is shown under its own name.
                None => line(ui, field, &written(value, Unit::Plain), "evaluation/core.json"),
            }
        }
    });
    ui.add_space(space::L);
}

/// The place of a field, which may be nested, among the known metrics.
fn rank(field: &str) -> Option<usize> {
    let last = field.rsplit('.').next();
    METRICS.iter().position(|metric| Some(metric.0) == last)
}

fn line(ui: &mut Ui, label: &str, value: &str, about: &str) {
    let size = egui::vec2(ui.available_width(), 20.0);
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    ui.allocate_ui_with_layout(size, layout, |ui| {
        ui.label(RichText::new(label).color(palette(ui).weak)).on_hover_text(about);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let value = RichText::new(value).color(palette(ui).strong);
            ui.add(Label::new(value).truncate().selectable(true));
        });
    });
}

fn written(value: f64, unit: Unit) -> String {
    let whole = value.fract() == 0.0 && (0.0..1e15).contains(&value);
    match unit {
        Unit::Share => format::percent(value),
        Unit::Nats => format!("{} nats/token", format::value(value)),
        _ if whole && (value >= 10.0 || !matches!(unit, Unit::Plain)) => format::grouped(value as u64),
        Unit::Plain | Unit::Count | Unit::Tokens => format::value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_their_units() {
        let shown = |field: &str, value| {
            let (_, label, unit, _) = METRICS[rank(field).unwrap()];
            (label, written(value, unit))
        };
        assert_eq!(shown("ce_clean", 3.112), ("Loss, unchanged", "3.11 nats/token".to_owned()));
        assert_eq!(shown("model.ce_clean", 3.112).0, "Loss, unchanged");
        assert_eq!(shown("dead_share", 0.0215), ("Dead features, share", "2.15 %".to_owned()));
        assert_eq!(shown("tokens", 262_144.0).0, "Tokens");
        assert_eq!(rank("brand_new"), None);
    }
}
