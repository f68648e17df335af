//! What other measurements say of a feature: its field where rows are patches of pictures, its truth in a made world, and how often the
//! best coding would have taken it.

use std::path::Path;

use egui::Ui;

use crate::address::Place;
use crate::data::audit::AuditFeatureRow;
use crate::data::fields::FieldOfFeature;
use crate::data::truth::ScoredFeatureRow;
use crate::data::{self, RunInfo};
use crate::load::{KeyedRequest, Lane, Workers};
use crate::theme::space;
use crate::views::{Scene, fields, truth};
use crate::widgets::{facts, format, notice};

/// What is loaded of it, by feature.
#[derive(Debug, Default)]
pub struct Measured {
    truth: KeyedRequest<u32, Option<ScoredFeatureRow>>,
    audit: KeyedRequest<u32, AuditFeatureRow>,
    field: KeyedRequest<u32, FieldOfFeature>,
}

impl Measured {
    /// Asks for what the run has.
    pub fn logic(&mut self, info: &RunInfo, run: &Path, feature: u32, workers: &Workers) {
        if info.scored {
            let run = run.to_owned();
            self.truth.want(workers, Lane::Pages, &feature, move || data::truth::of_feature(&run, feature));
        }
        if info.audit.is_some() {
            let run = run.to_owned();
            self.audit.want(workers, Lane::Pages, &feature, move || data::audit::of_feature(&run, feature));
        }
        if info.fields {
            let run = run.to_owned();
            self.field.want(workers, Lane::Pages, &feature, move || data::fields::of_feature(&run, feature));
        }
    }

    /// Draws what there is.
    pub fn show(&self, ui: &mut Ui, run: &Path, feature: u32, scene: &mut Scene<'_>) {
        let problems =
            [self.field.problem(&feature), self.truth.problem(&feature), self.audit.problem(&feature)];
        for problem in problems.into_iter().flatten() {
            notice::problem_line(ui, problem);
        }
        if let Some(field) = self.field.get(&feature)
            && fields::of_feature(ui, &field)
        {
            scene.go(Place::Fields { run: run.to_owned() });
        }
        if let Some(Some(row)) = self.truth.get(&feature).as_deref()
            && truth::of_feature(ui, row)
        {
            scene.go(Place::Truth { run: run.to_owned() });
        }
        if let Some(row) = self.audit.get(&feature) {
            audited(ui, &row);
        }
    }
}

fn audited(ui: &mut Ui, row: &AuditFeatureRow) {
    ui.add_space(space::L);
    facts::section(ui, "Audit");
    let caption = "tokens on which the encoder takes it, and on which the best coding of this decoder does";
    facts::caption(ui, caption).on_hover_text("`sae audit` found it at no more features per token");
    let mean =
        |mean: Option<f64>| mean.map_or_else(String::new, |mean| format!(", mean {}", format::value(mean)));
    let rows = [
        ("encoder", format!("{}{}", format::grouped(row.encoder), mean(row.encoder_mean))),
        ("best coding", format!("{}{}", format::grouped(row.best), mean(row.best_mean))),
        ("both", format::grouped(row.both)),
        ("fires too much on", format::grouped(row.encoder.saturating_sub(row.both))),
        ("fires too little on", format::grouped(row.best.saturating_sub(row.both))),
    ];
    facts::facts(ui, "audit", rows.iter().map(|(name, value)| (*name, value.as_str())));
}
