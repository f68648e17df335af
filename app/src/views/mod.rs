//! What the tabs show. One view a file or folder; each is a struct with its own state that implements [`View`].
//!
//! A view reads what it needs through [`Scene`] and never changes anything outside itself: it sends [`Action`]s, which
//! the shell applies in one place after the frame's views are drawn.

pub mod compare;
pub mod dataset;
pub mod experts;
pub mod feature;
pub mod features;
pub mod map;
mod notebook;
pub mod prompt;
pub mod runs;
mod scene;
mod stores;
pub mod welcome;

pub use notebook::Notebook;
pub use scene::{Action, Save, Scene};
pub use stores::{Chosen, DatasetStore, RunStore, Stores};

use std::path::Path;

use egui::Ui;

use crate::address::Place;

/// A tab's content.
pub trait View {
    /// Where this is: what an address of it says, and what is remembered of it.
    fn place(&self) -> Place;

    /// Title of the tab.
    fn title(&self, scene: &Scene<'_>) -> String;

    /// Turns to another place that this pane can show ([`Place::same_pane`]).
    fn turn_to(&mut self, place: &Place);

    /// Once a frame, drawn or not: asks for what is missing, takes what has arrived.
    fn logic(&mut self, scene: &mut Scene<'_>);

    /// Draws.
    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>);

    /// The person wants to search here. False when there is nothing to search.
    fn search(&mut self) -> bool {
        false
    }

    /// The feature that is looked at here, with its run.
    fn feature(&self) -> Option<(&Path, u32)> {
        None
    }
}

/// Makes the view that shows `place`.
pub fn open(place: &Place) -> Box<dyn View> {
    match place {
        Place::Runs | Place::Curves { .. } => Box::new(runs::RunsView::new(place)),
        Place::Features { run } => Box::new(features::FeaturesView::new(run)),
        Place::Map { run } => Box::new(map::MapView::new(run)),
        Place::Compare { run, with } => Box::new(compare::CompareView::new(run, with)),
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
