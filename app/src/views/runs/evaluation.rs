//! The evaluation of a run: each number with its name, its unit and what it measures.

use egui::{CollapsingHeader, Label, RichText, Ui};
use storage::cett::CettRecord;
use storage::layers::LayersEvaluation;

use crate::data::{Evaluation, RunInfo};
use crate::theme::{palette, space, tokens::size};
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

/// A number of the evaluation: how it is read, its label, its unit, what it measures.
type Metric = (fn(&Evaluation) -> Option<f64>, &'static str, Unit, &'static str);

/// Below it comes what costs hardly any loss to leave out.
const LOSS_RECOVERED: &str = "Loss recovered";

/// In the order in which they are shown.
const METRICS: [Metric; 31] = [
    (|e| e.fve, "FVE", Unit::Plain, "Fraction of variance explained"),
    (|e| e.fvu, "FVU", Unit::Plain, "Fraction of variance unexplained, 1 − FVE"),
    (
        |e| e.nmse,
        "Normalised MSE",
        Unit::Plain,
        "Squared error divided by the squared norm of the activations",
    ),
    (|e| Some(e.mse), "MSE per dimension", Unit::Plain, "Mean squared error over tokens and raw dimensions"),
    (|e| Some(e.cosine), "Cosine", Unit::Plain, "Mean cosine of reconstruction and activation"),
    (
        |e| e.l2_ratio,
        "L2 ratio",
        Unit::Plain,
        "Norm of the reconstruction divided by the norm of the activation",
    ),
    (
        |e| e.relative_reconstruction_bias,
        "Relative reconstruction bias",
        Unit::Plain,
        "Below 1, reconstructions are shorter than they should be",
    ),
    (
        |e| e.loss_recovered,
        LOSS_RECOVERED,
        Unit::Plain,
        "Cross-entropy recovered, compared with zero ablation",
    ),
    (
        |e| e.loss_recovered_mean_ablation,
        "Loss recovered (mean ablation)",
        Unit::Plain,
        "Cross-entropy recovered, compared with mean ablation",
    ),
    (
        |e| e.ce_clean,
        "Loss, unchanged",
        Unit::Nats,
        "Cross-entropy of the unchanged model per predicted token",
    ),
    (
        |e| e.ce_reconstructed,
        "Loss, reconstructed",
        Unit::Nats,
        "Cross-entropy with the reconstruction spliced in",
    ),
    (|e| e.ce_zero, "Loss, zero ablation", Unit::Nats, "Cross-entropy with zeros spliced in"),
    (|e| e.ce_mean, "Loss, mean ablation", Unit::Nats, "Cross-entropy with the mean activation spliced in"),
    (|e| e.kl_score, "KL score", Unit::Plain, "1 − KL of the reconstruction divided by KL of zero ablation"),
    (|e| e.kl, "KL, reconstructed", Unit::Nats, "KL divergence from the unchanged model per predicted token"),
    (|e| e.kl_zero, "KL, zero ablation", Unit::Nats, "KL divergence with zeros spliced in"),
    (|e| e.kl_mean, "KL, mean ablation", Unit::Nats, "KL divergence with the mean activation spliced in"),
    (|e| Some(e.l0), "L0", Unit::Plain, "Mean number of active features per token"),
    (|e| Some(e.l0_sd), "L0, standard deviation", Unit::Plain, "Over tokens"),
    (|e| Some(e.l1), "L1", Unit::Plain, "Mean sum of a token's feature activations"),
    (
        |e| Some(e.dead_share),
        "Dead features, share",
        Unit::Share,
        "Features that never fired on the evaluated tokens",
    ),
    (
        |e| Some(e.dead as f64),
        "Dead features",
        Unit::Count,
        "Features that never fired on the evaluated tokens",
    ),
    (
        |e| Some(e.under_used_share),
        "Under-used features, share",
        Unit::Share,
        "Features that fired on hardly any of the evaluated tokens",
    ),
    (|e| Some(e.tokens as f64), "Tokens", Unit::Tokens, "Tokens that were reconstructed"),
    (|e| Some(e.predicted_tokens as f64), "Predicted tokens", Unit::Tokens, "Tokens whose loss was measured"),
    (
        |e| Some(e.left_out as f64),
        "Left out",
        Unit::Tokens,
        "Tokens whose norm exceeds the limit set in training",
    ),
    (|e| e.norm_limit.map(f64::from), "Norm limit", Unit::Plain, "Tokens with a larger norm are left out"),
    (|e| Some(e.documents as f64), "Documents", Unit::Count, "Documents that the tokens are from"),
    (|e| Some(e.context_length as f64), "Context length", Unit::Tokens, "Tokens per context of the model"),
    (|e| Some(e.d_sae as f64), "Features", Unit::Count, "Width of the dictionary"),
    (|e| Some(e.seed as f64), "Seed", Unit::Plain, "Seed by which the tokens were drawn"),
];

/// The figures that tell how good a dictionary is; the others are folded.
const MAIN: [&str; 7] = [
    "FVE",
    "Loss recovered",
    "KL score",
    "L0",
    "Dead features, share",
    "Loss, unchanged",
    "Loss, reconstructed",
];

/// Draws the section.
pub fn show(ui: &mut Ui, info: &RunInfo) {
    facts::section(ui, "Evaluation");
    match (&info.evaluation, &info.by_layer) {
        (None, Some(by_layer)) => drop(ui.push_id("evaluation", |ui| layers(ui, by_layer))),
        (None, None) => drop(facts::caption(ui, "Not evaluated yet; figures above are those of training.")),
        (Some(evaluation), _) => drop(ui.push_id("evaluation", |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let shown = |ui: &mut Ui, first: bool| {
                for (get, label, unit, about) in METRICS.into_iter().filter(|m| MAIN.contains(&m.1) == first)
                {
                    if let Some(value) = get(evaluation) {
                        line(ui, label, &written(value, unit), about);
                    }
                    if label == LOSS_RECOVERED {
                        info.cett.iter().for_each(|cett| spared(ui, cett));
                    }
                }
            };
            shown(ui, true);
            let of = format!(
                "over {} tokens of {} held-out documents",
                format::grouped(evaluation.tokens),
                format::grouped(evaluation.documents)
            );
            ui.add(Label::new(RichText::new(of).size(size::SMALL).color(palette(ui).weak)).wrap());
            CollapsingHeader::new("All figures").show(ui, |ui| shown(ui, false));
        })),
    }
    ui.add_space(space::L);
}

/// A cross-layer transcoder: all MLPs replaced at once, then layer by layer.
fn layers(ui: &mut Ui, of: &LayersEvaluation) {
    ui.spacing_mut().item_spacing.y = 2.0;
    let together = &of.together;
    let nats = |value: f64| written(value, Unit::Nats);
    let all = "With the MLPs of all layers replaced at once";
    if let Some(recovered) = together.loss_recovered {
        line(ui, LOSS_RECOVERED, &format::value(recovered), all);
    }
    line(ui, "KL", &nats(together.kl), all);
    line(ui, "Likeliest tokens that stay", &format::percent(together.agreement), all);
    line(ui, "L0", &format::value(of.l0), "Mean number of active features per token, of all layers");
    line(
        ui,
        "Loss, unchanged",
        &nats(of.ce_clean),
        "Cross-entropy of the unchanged model per predicted token",
    );
    line(ui, "Loss, replaced", &nats(together.ce_replaced), all);
    ui.add_space(space::S);
    let columns = [
        ("layer", "Block whose MLP is replaced"),
        (
            "FVE",
            "Fraction of variance explained of what the MLP writes, by the features of this and all earlier layers",
        ),
        ("L0", "Mean number of active features of the layer per token"),
        ("dead", "Features of the layer that never fired on the evaluated tokens"),
        ("rec.", "Loss recovered with this MLP replaced alone, compared with zeros in its place"),
        ("KL", "KL divergence from the unchanged model with this MLP replaced alone, in nats per token"),
    ];
    let cell = |ui: &mut Ui, words: String, colour| {
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.add(Label::new(RichText::new(words).color(colour)).selectable(true))
        })
        .inner
    };
    let (weak, strong) = (palette(ui).weak, palette(ui).strong);
    let width = ui.available_width() / columns.len() as f32;
    egui::Grid::new("layers").spacing([0.0, 2.0]).min_col_width(width).max_col_width(width).show(ui, |ui| {
        columns.iter().for_each(|(name, about)| {
            cell(ui, (*name).to_owned(), weak).on_hover_text(*about);
        });
        ui.end_row();
        for layer in &of.layers {
            let number = |value: Option<f64>| value.map_or(format::MISSING.to_owned(), |v| format!("{v:.3}"));
            let cells = [
                layer.layer.to_string(),
                number(layer.fve),
                format::value(layer.l0),
                format::grouped(layer.dead),
                number(layer.replaced.loss_recovered),
                number(Some(layer.replaced.kl)),
            ];
            cells.into_iter().for_each(|words| drop(cell(ui, words, strong)));
            ui.end_row();
        }
    });
    let words = format!(
        "over {} tokens of {}; rec. and KL with the MLP of the layer replaced alone",
        format::grouped(of.tokens),
        format::counted(of.documents, &format!("{} document", of.split), &format!("{} documents", of.split))
    );
    ui.add(Label::new(RichText::new(words).size(size::SMALL).color(weak)).wrap());
}

/// What can be left out while the perplexity grows by less than 1 %.
fn spared(ui: &mut Ui, cett: &CettRecord) {
    let codes = cett
        .codes
        .by_loss
        .first()
        .map(|found| ("Codes spared at 1 % PPL", found, cett.codes.units, "active features"));
    let neurons = cett.neurons.as_ref().and_then(|neurons| {
        Some(("Neurons spared at 1 % PPL", neurons.by_loss.first()?, neurons.units, "neurons of the model"))
    });
    for (label, found, units, what) in codes.into_iter().chain(neurons) {
        let kept = format::value(units * (1.0 - found.left_out));
        let about = format!(
            "Share of the {what} that can be left out, the weakest first, while the perplexity grows by less than {} %; {kept} per token \
             stay (CETT {})",
            found.percent,
            format::value(found.cett)
        );
        line(ui, label, &format::percent(found.left_out), &about);
    }
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
        assert_eq!(written(3.112, Unit::Nats), "3.11 nats/token");
        assert_eq!(written(0.0215, Unit::Share), "2.15 %");
        assert_eq!(written(262_144.0, Unit::Tokens), format::grouped(262_144));
        assert_eq!(written(0.0, Unit::Count), "0");
    }
}
