//! What a view sees of the world outside it, and how it asks for changes there.

use std::path::Path;

use crate::action::Action;
use crate::address::Place;
use crate::data::Folder;
use crate::data::notes::Edit;
use crate::stores::{Need, Stores};
use crate::training::{Job, Jobs};
use crate::widgets::jobs;

/// Everything outside a view, for one frame: to be read. What a view wants changed it asks for with an
/// [`Action`].
pub struct Scene<'a> {
    /// The open folder.
    pub folder: &'a Folder,
    /// What is loaded of its runs and datasets, shared by the views.
    pub stores: &'a Stores,
    /// The commands that run next to the window.
    pub jobs: &'a Jobs,
    /// The window's clock, in seconds.
    pub now: f64,
    actions: &'a mut Vec<Action>,
}

impl<'a> Scene<'a> {
    /// A scene whose actions are collected in `actions`.
    pub fn new(
        folder: &'a Folder,
        stores: &'a Stores,
        jobs: &'a Jobs,
        now: f64,
        actions: &'a mut Vec<Action>,
    ) -> Self {
        Self { folder, stores, jobs, now, actions }
    }

    /// Offers a command as a button called `name`, with the command itself next to it.
    pub fn offer(&mut self, ui: &mut egui::Ui, name: &str, job: Job) {
        let line = job.line();
        let asked = jobs::offer(ui, name, &line, self.jobs.running(&job));
        if asked.run {
            self.act(Action::Run(job));
        }
        if asked.copy {
            self.act(Action::Copy(line));
        }
    }

    /// Asks for something to be done after this frame.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks to go to a place.
    pub fn go(&mut self, place: Place) {
        self.act(Action::Go(place));
    }

    /// Asks for data that is not loaded yet.
    pub fn load(&mut self, need: Need) {
        self.act(Action::Load(need));
    }

    /// Asks for an edit of the notes of `run`.
    pub fn note(&mut self, run: &Path, edit: Edit) {
        self.act(Action::Note { run: run.to_owned(), edit });
    }

    /// Asks for the feature table of `run`, with its tokens, explanations and notes, unless it was asked for
    /// before.
    pub fn load_features(&mut self, run: &Path) {
        if self.stores.run(run).columns.untouched() {
            self.load(Need::Features(run.to_owned()));
        }
    }

    /// Asks for the documents of `dataset` and its vocabulary, unless they were asked for before.
    pub fn load_documents(&mut self, dataset: &Path) {
        if self.stores.dataset(dataset).documents.untouched() {
            self.load(Need::Documents(dataset.to_owned()));
        }
    }

    /// Asks for the load of the experts on `dataset`, unless it was asked for before.
    pub fn load_experts(&mut self, dataset: &Path) {
        if self.stores.dataset(dataset).experts.untouched() {
            self.load(Need::Experts(dataset.to_owned()));
        }
    }
}
