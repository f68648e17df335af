//! How a language model was trained: the curves of its log, next to those of other models of the folder, and what
//! it predicts of held-out text.

mod side;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use egui::{Frame, Margin, RichText, ScrollArea, Ui};

use super::{Scene, View};
use crate::address::Place;
use crate::data::pretraining::{self, ModelInfo, TrainingLog};
use crate::data::{ModelEntry, curve};
use crate::load::{Lane, Request, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::charts::{self, Axis, Metric, Series};
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, format, notice};

/// The models of the folder and what they reached.
const SIDE: SidePanel = SidePanel { id: "model side", width: 340.0, range: (260.0, 600.0) };

const METRICS: [Metric<TrainingLog>; 10] = [
    Metric::new(|log: &TrainingLog| curve(&log.loss), "Cross-entropy", "Of the step's batch, nats per token"),
    Metric::new(
        |log: &TrainingLog| curve(&log.balance),
        "Load-balancing loss",
        "Mean over layers; 1 where experts are used alike",
    ),
    Metric::new(
        |log: &TrainingLog| curve(&log.uniformity),
        "Uniformity loss",
        "Mean of −ln of a half's mean gate; ln √E where all halves are used alike",
    ),
    Metric::new(
        |log: &TrainingLog| curve(&log.ambiguity),
        "Ambiguity loss",
        "Mean of one less the largest gate",
    ),
    Metric::new(
        |log: &TrainingLog| curve(&log.experts_per_token),
        "Experts per token",
        "Experts that run for a token, or modules that are on; mean over tokens and layers",
    ),
    Metric::new(
        |log: &TrainingLog| curve(&log.router_entropy),
        "Entropy of the router",
        "Nats, mean over tokens and layers; of a gate with its noise and temperature, of modules the sum of their \
         switches'",
    ),
    Metric::new(
        |log: &TrainingLog| curve(&log.temperature),
        "Temperature",
        "Of the gate while it is dense; of modules the mean over their switches",
    )
    .logarithmic(),
    Metric::new(|log: &TrainingLog| curve(&log.gradient_norm), "Gradient", "Its norm before it is clipped")
        .logarithmic(),
    Metric::new(|log: &TrainingLog| curve(&log.learning_rate), "Learning rate", "Learning rate of the step"),
    Metric::counted(
        |log: &TrainingLog| curve(&log.tokens_per_second),
        "Tokens per second",
        "Document tokens per second of the step",
    ),
];

/// A log that was asked for, and when it was written.
type Asked = (Option<SystemTime>, Request<TrainingLog>);

/// The training of a language model in a pane.
#[derive(Debug)]
pub struct ModelView {
    model: PathBuf,
    /// Models that are drawn with it, in the order of their colours.
    with: Vec<PathBuf>,
    logs: HashMap<PathBuf, Asked>,
    options: charts::Options<TrainingLog>,
}

impl ModelView {
    /// The training of the model in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self {
            model: folder.to_owned(),
            with: Vec::new(),
            logs: HashMap::new(),
            options: charts::Options::default(),
        }
    }

    /// The models whose curves are drawn, as far as they are still in the folder.
    fn shown<'a>(&self, scene: &Scene<'a>) -> Vec<&'a ModelEntry> {
        let all = std::iter::once(&self.model).chain(&self.with);
        all.filter_map(|path| scene.folder.models.iter().find(|model| model.path == *path)).collect()
    }

    fn page(&mut self, ui: &mut Ui, own: &ModelEntry, info: &ModelInfo, scene: &mut Scene<'_>) {
        ui.label(RichText::new(&own.name).size(size::HEADING).color(palette(ui).strong));
        facts::caption(ui, about(info));
        ui.add_space(space::S);
        SIDE.show(ui, Frame::side_top_panel(ui.style()), |ui| {
            ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
                let shown = self.shown(scene);
                side::models(ui, &self.model, &mut self.with, scene);
                side::held_out(ui, &shown);
                side::density(ui, info);
                side::options(ui, info);
            });
        });
        // Numbers and ticks at the charts' right must not touch the panel.
        Frame::new()
            .inner_margin(Margin { right: space::M as i8, ..Margin::ZERO })
            .show(ui, |ui| self.curves(ui, scene));
    }

    fn curves(&mut self, ui: &mut Ui, scene: &Scene<'_>) {
        charts::bar(ui, &mut self.options);
        ui.add_space(space::S);
        let p = palette(ui);
        let (mut series, mut loading) = (Vec::new(), false);
        for (i, model) in self.shown(scene).into_iter().enumerate() {
            let Some((_, log)) = self.logs.get(&model.path) else { continue };
            if let Some(problem) = log.problem() {
                notice::problem_line(ui, problem);
            }
            loading |= log.loading() && log.value().is_none();
            let Some(log) = log.value() else { continue };
            let counts = if self.options.axis == Axis::Steps { &log.step } else { &log.tokens };
            let xs = Arc::new(counts.iter().map(|x| *x as f64).collect());
            series.push(Series { name: model.name.clone(), colour: p.curve(i), log: Arc::clone(log), xs });
        }
        match series.iter().all(|one| one.log.step.is_empty()) {
            true if loading => notice::loading(ui, "Reading the log…"),
            true => notice::empty(
                ui,
                "No curves yet",
                "No step was logged (every tenth is, unless `log_every` says otherwise).",
            ),
            false => {
                let options = &mut self.options;
                ScrollArea::vertical()
                    .id_salt("curves")
                    .auto_shrink(false)
                    .show(ui, |ui| charts::show(ui, &METRICS, &series, options));
            }
        }
    }
}

/// What the model is and how far its training came, in a line.
fn about(info: &ModelInfo) -> String {
    let Some(record) = &info.record else {
        let how = "interrupted, it continues with the same `sae pretrain` command and --resume";
        return format!("The training has not ended; {how}");
    };
    let result = &record.result;
    let parts = [
        info.architecture().map(str::to_owned),
        Some(format!("{} parameters", format::count(result.parameters))),
        (result.active_parameters < result.parameters)
            .then(|| format!("a token meets {}", format::count(result.active_parameters))),
        Some(format!("{} tokens in {} steps", format::count(result.tokens), format::grouped(result.steps))),
        info.bits_per_byte().map(|bits| match result.held_out.len() {
            1 => format!("{bits:.3} bits per byte of held-out text"),
            domains => format!("{bits:.3} bits per byte of held-out text, mean over {domains} domains"),
        }),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

impl View for ModelView {
    fn place(&self) -> Place {
        Place::Model { model: self.model.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Training · {}", scene.folder.name_of(&self.model))
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        for model in self.shown(scene) {
            let Ok(info) = &model.info else { continue };
            let (written, log) = self.logs.entry(model.path.clone()).or_default();
            // A model that is being trained writes its log again and again.
            if log.untouched() || *written != info.log_written {
                *written = info.log_written;
                let path = model.path.clone();
                log.ask(workers, Lane::Tables, move || pretraining::read_log(&path));
            }
        }
        self.logs.values_mut().for_each(|(_, log)| {
            log.poll(workers);
        });
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let folder = scene.folder;
        let Some(own) = folder.models.iter().find(|model| model.path == self.model) else {
            return notice::empty(
                ui,
                "The model is not here any more",
                "Open the folder that it was moved to.",
            );
        };
        match &own.info {
            Ok(info) => {
                let frame = Frame::new().inner_margin(Margin::same(space::L as i8));
                frame.show(ui, |ui| self.page(ui, own, info, scene));
            }
            Err(problem) => notice::problem_with(ui, "The training cannot be shown", problem, |_| ()),
        }
    }
}
