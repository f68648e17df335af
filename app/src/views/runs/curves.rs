//! The curves of the selected runs, one small plot a metric.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{RichText, ScrollArea, Ui};

use crate::data::Metrics;
use crate::theme::{palette, space};
use crate::views::Scene;
use crate::widgets::charts::{self, Axis, Metric, Series};
use crate::widgets::notice;

/// How the curves of runs are drawn.
pub type Options = charts::Options<Metrics>;

const METRICS: [Metric<Metrics>; 9] = [
    Metric::new(
        |m: &Metrics| m.curve(|m| &m.overall_loss),
        "Loss",
        "The objective that training minimises",
    )
    .logarithmic(),
    Metric::new(|m: &Metrics| m.curve(|m| &m.explained_variance), "FVE", "Fraction of variance explained, centred"),
    Metric::new(|m: &Metrics| m.curve(|m| &m.l0), "L0", "Mean number of active features per token"),
    Metric::share(
        |m: &Metrics| m.curve(|m| &m.dead_share),
        "Dead",
        "Share of features that have not fired recently; the table of runs has their number",
    ),
    Metric::new(
        |m: &Metrics| m.curve(|m| &m.mse_loss),
        "Squared error, normalised",
        "Mean over tokens of the squared error, summed over the dimensions, of activations times the input scale; \
         the evaluation's MSE is a mean over the raw dimensions",
    )
    .logarithmic(),
    Metric::new(
        |m: &Metrics| m.curve(|m| &m.auxiliary_loss),
        "Auxiliary loss",
        "Auxiliary loss, which trains dead features",
    )
    .logarithmic(),
    Metric::new(|m: &Metrics| m.curve(|m| &m.learning_rate), "Learning rate", "Learning rate of the step"),
    Metric::counted(
        |m: &Metrics| m.curve(|m| &m.tokens_per_second),
        "Tokens per second",
        "Throughput since the previous logged step",
    ),
    Metric::new(|m: &Metrics| m.curve(|m| &m.decoder_norms), "Decoder norms", "Mean norm of the decoder rows"),
];

/// Draws the plots.
pub fn show(ui: &mut Ui, runs: &[PathBuf], options: &mut Options, scene: &mut Scene<'_>) {
    let p = palette(ui);
    let mut series = Vec::new();
    let mut loading = false;
    charts::bar(ui, options);
    ui.horizontal_wrapped(|ui| {
        for (i, path) in runs.iter().enumerate() {
            let name = scene.folder.name_of(path).into_owned();
            ui.label(RichText::new("■").color(p.curve(i)));
            ui.add(egui::Label::new(RichText::new(&name).color(p.text)).truncate());
        }
    });
    ui.add_space(space::S);
    for (i, path) in runs.iter().enumerate() {
        let name = scene.folder.name_of(path).into_owned();
        let store = scene.stores.run(path);
        loading |= store.metrics.loading() && store.metrics.value().is_none();
        if let Some(problem) = store.metrics.problem() {
            notice::problem_line(ui, problem);
        }
        if let Some(metrics) = store.metrics.value() {
            let counts = if options.axis == Axis::Steps { &metrics.0.step } else { &metrics.0.tokens };
            let xs = Arc::new(counts.iter().map(|x| *x as f64).collect());
            series.push(Series { name, colour: p.curve(i), log: Arc::clone(metrics), xs });
        }
    }
    if series.iter().all(|s| s.log.0.step.is_empty()) {
        return match (loading, runs.is_empty()) {
            (true, _) => notice::loading(ui, "Reading the curves…"),
            (_, true) => notice::empty(
                ui,
                "No run selected",
                "Click a run above; Ctrl-click or tick more to compare them.",
            ),
            _ if runs.iter().all(|run| imported(scene, run)) => {
                notice::empty(ui, "No curves", "An imported dictionary was not trained here.");
            }
            _ => notice::empty(ui, "No curves yet", "The run has not logged a step."),
        };
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| charts::show(ui, &METRICS, &series, options));
}

fn imported(scene: &Scene<'_>, run: &Path) -> bool {
    scene.folder.run(run).and_then(|run| run.info.as_ref().ok()).is_some_and(|info| info.imported)
}
