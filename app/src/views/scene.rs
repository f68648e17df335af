//! What a view sees of the world outside it, and how it asks for changes there.

use std::path::Path;

use crate::action::Action;
use crate::address::Place;
use crate::data::Folder;
use crate::data::notes::Edit;
use crate::load::Problem;
use crate::preferences::{Preference, Preferences};
use crate::stores::{Need, Stores};
use crate::theme::space;
use crate::training::{Job, Jobs};
use crate::widgets::{jobs, notice};

/// Everything outside a view, for one frame: to be read. What a view wants changed it asks for with an
/// [`Action`].
pub struct Scene<'a> {
    /// The open folder.
    pub folder: &'a Folder,
    /// What is loaded of its runs and datasets, shared by the views.
    pub stores: &'a Stores,
    /// The commands that run next to the window.
    pub jobs: &'a Jobs,
    /// What the person chose to see.
    pub preferences: &'a Preferences,
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
        preferences: &'a Preferences,
        now: f64,
        actions: &'a mut Vec<Action>,
    ) -> Self {
        Self { folder, stores, jobs, preferences, now, actions }
    }

    /// Offers a command as a button called `name`, with the command itself next to it.
    pub fn offer(&mut self, ui: &mut egui::Ui, name: &str, job: Job) {
        let job = self.told(job);
        let line = job.line();
        let asked = jobs::offer(ui, name, &line, self.jobs.running(&job));
        if asked.run {
            self.act(Action::Run(job));
        }
        if asked.copy {
            self.act(Action::Copy(line));
        }
    }

    /// A job that knows where the dataset of its run lies.
    pub fn told(&self, job: Job) -> Job {
        job.told(|run| self.folder.moved_data_of(run))
    }

    /// A failure in the middle of a pane, with the commands that make anew what is missing or damaged. True when the person wants to
    /// try again.
    pub fn problem(
        &mut self,
        ui: &mut egui::Ui,
        title: &str,
        problem: &Problem,
        remedies: impl IntoIterator<Item = (&'static str, Job)>,
    ) -> bool {
        let mut again = false;
        notice::problem_with(ui, title, problem, |ui| {
            for (name, job) in remedies {
                let job = self.told(job);
                let line = job.line();
                let asked = jobs::offer_below(ui, name, &line, self.jobs.running(&job));
                if asked.run {
                    self.act(Action::Run(job));
                }
                if asked.copy {
                    self.act(Action::Copy(line));
                }
                ui.add_space(space::S);
            }
            again = ui.button("Try again").clicked();
        });
        again
    }

    /// The command that makes the index of `run`, and what its button is called.
    pub fn index_of(&self, run: &Path) -> (&'static str, Job) {
        let indexed =
            self.folder.run(run).is_some_and(|run| run.info.as_ref().is_ok_and(|info| info.indexed));
        (if indexed { "Index again" } else { "Index" }, Job::index(run))
    }

    /// Says that `run` has no feature `feature`, if that is so, and offers those that it has.
    pub fn no_such_feature(&mut self, ui: &mut egui::Ui, run: &Path, feature: u32) -> bool {
        let info = self.folder.run(run).and_then(|run| run.info.as_ref().ok());
        let indexed = self.stores.run(run).columns.value().map(|columns| columns.len() as u64);
        let Some(all) = indexed.or(info.map(|info| info.d_sae)).filter(|all| u64::from(feature) >= *all)
        else {
            return false;
        };
        let last = u32::try_from(all.saturating_sub(1)).unwrap_or(u32::MAX);
        let problem = Problem::new(format!("{} has no feature {feature}.", self.folder.name_of(run)))
            .with_remedy(format!("Its features are 0 to {last}."));
        let mut to = None;
        notice::problem_with(ui, &format!("There is no feature {feature}"), &problem, |ui| {
            for other in [0, last] {
                if ui.button(format!("Feature {other}")).clicked() {
                    to = Some(Place::Feature { run: run.to_owned(), feature: other });
                }
            }
            if ui.button("Feature table").clicked() {
                to = Some(Place::Features { run: run.to_owned() });
            }
        });
        to.into_iter().for_each(|place| self.go(place));
        true
    }

    /// Asks for something to be done after this frame.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks to go to a place.
    pub fn go(&mut self, place: Place) {
        self.act(Action::Go(place));
    }

    /// Asks for a choice to be remembered.
    pub fn prefer(&mut self, choice: Preference) {
        self.act(Action::Prefer(choice));
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
    /// before; again where its index was made again.
    pub fn load_features(&mut self, run: &Path) {
        let need = self.features_of(run);
        if let Need::Features { written, .. } = need
            && self.stores.run(run).features_are_old(written)
        {
            self.load(need);
        }
    }

    /// The feature table of `run`, by the index that is there now.
    pub fn features_of(&self, run: &Path) -> Need {
        let info = self.folder.run(run).and_then(|run| run.info.as_ref().ok());
        Need::Features { run: run.to_owned(), written: info.and_then(|info| info.index_written) }
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
