//! What the tabs show. One view per file or folder; each is a struct with its own state that implements
//! [`View`].
//!
//! A view reads what it needs through [`Scene`] and never changes anything outside itself: it sends
//! [`Action`](crate::action::Action)s, which the shell applies in one place. The types see to that: a scene
//! lends what is loaded for reading only, and only [`View::logic`] is given the workers that read files.

pub mod claim;
pub mod dataset;
pub mod effect;
pub mod elsewhere;
pub mod experts;
pub mod feature;
pub mod features;
pub mod fields;
pub mod graph;
pub mod map;
pub mod matching;
pub mod model;
pub mod probes;
pub mod prompt;
pub mod runs;
mod scene;
pub mod steps;
pub mod truth;
pub mod welcome;

pub use scene::Scene;

use std::path::Path;

use egui::Ui;

use crate::address::Place;
use crate::load::Workers;

/// What the shell passes on to the view in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewCommand {
    /// Put the cursor into the search field.
    Search,
    /// Show the form for a new training.
    ShowTrainingForm,
    /// Run the model on this text.
    ReadText(String),
}

/// A tab's content.
pub trait View {
    /// The place that is shown: what its address names, and what is remembered of it.
    fn place(&self) -> Place;

    /// Title of the tab.
    fn title(&self, scene: &Scene<'_>) -> String;

    /// Turns to a different place that this pane can show ([`Place::same_pane`]); most show only one.
    fn turn_to(&mut self, _place: &Place) {}

    /// Once per frame, drawn or not: asks for what is missing, takes what has arrived.
    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers);

    /// Draws. What drawing finds missing it notes in the view's own state, for the next [`View::logic`].
    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>);

    /// Does what the shell passes on to the view in front. False when the view has no use for it.
    fn perform(&mut self, command: ViewCommand) -> bool {
        let _ = command;
        false
    }

    /// The feature that is shown or selected here, with its run.
    fn feature(&self) -> Option<(&Path, u32)> {
        None
    }
}

/// Makes the view that shows `place`.
pub fn open(place: &Place) -> Box<dyn View> {
    match place {
        Place::Runs | Place::Curves { .. } => Box::new(runs::RunsView::new(place)),
        Place::Features { run } => Box::new(features::FeaturesView::new(run)),
        Place::Claim { run, feature } => Box::new(claim::ClaimView::new(run, *feature)),
        Place::Graph { graph } | Place::Node { graph, .. } | Place::Compared { graph, .. } => {
            Box::new(graph::GraphView::new(graph, place))
        }
        Place::Probes { probes } => Box::new(probes::ProbesView::new(probes)),
        Place::Model { model } => Box::new(model::ModelView::new(model)),
        Place::Truth { run } => Box::new(truth::TruthView::new(run)),
        Place::Fields { run } => Box::new(fields::FieldsView::new(run)),
        Place::Map { run } => Box::new(map::MapView::new(run)),
        Place::Matching { run, with } => Box::new(matching::MatchingView::new(run, with)),
        Place::Feature { run, .. } | Place::Example { run, .. } => {
            Box::new(feature::FeatureView::new(run, place))
        }
        Place::Prompt { run, feature } => Box::new(prompt::PromptView::new(run, *feature)),
        Place::Dataset { dataset, .. } | Place::Token { dataset, .. } => {
            Box::new(dataset::DatasetView::new(dataset, place))
        }
        Place::Experts { dataset } => Box::new(experts::ExpertsView::new(dataset)),
        Place::Expert { dataset, layer, expert } => {
            Box::new(experts::ExpertView::new(dataset, *layer, *expert))
        }
    }
}
