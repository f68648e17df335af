//! The open folder: what was found in it, what is loaded of it, its tabs and history.

use std::path::{Path, PathBuf};

use super::history::History;
use super::remote::Remote;
use super::tabs::Tabs;
use crate::action::Action;
use crate::address::Place;
use crate::data::{Folder, Status};
use crate::load::{Lane, Problem, Request, Workers};
use crate::preferences::Preferences;
use crate::prompt::foreign;
use crate::stores::Stores;
use crate::training::Jobs;
use crate::views::Scene;

/// Seconds between two looks at the records while a run is being trained.
const LIVE: f64 = 2.0;
/// Seconds between two looks for runs that began elsewhere.
pub(super) const IDLE: f64 = 10.0;

/// Everything that belongs to one open folder.
pub struct Workspace {
    /// What the person calls the folder: its path, or its address in a store.
    pub root: PathBuf,
    /// The copy of what is at an address.
    remote: Option<Remote>,
    /// Why that could not be opened again.
    failed: Option<Problem>,
    /// What is in it.
    pub folder: Request<Folder>,
    /// What is loaded of it.
    pub stores: Stores,
    /// Where the person has been.
    pub history: History,
    /// `None` until the folder has been read.
    pub tabs: Option<Tabs>,
    /// Where to go when the folder has been read.
    wanted: Option<Place>,
    /// The tabs of the last time.
    layout: Option<serde_json::Value>,
    asked_at: f64,
    /// Whether a training of this window was alive at the last frame.
    trained: bool,
}

impl Workspace {
    /// Begins to read `root`.
    pub fn open(
        root: &Path,
        wanted: Option<Place>,
        layout: Option<serde_json::Value>,
        workers: &Workers,
    ) -> Self {
        let mut workspace = Self {
            root: root.to_owned(),
            remote: Remote::of(root),
            failed: None,
            folder: Request::new(),
            stores: Stores::default(),
            history: History::default(),
            tabs: None,
            wanted,
            layout,
            asked_at: 0.0,
            trained: false,
        };
        match &mut workspace.remote {
            Some(remote) => remote.open(workers),
            None => workspace.ask(workers),
        }
        workspace
    }

    /// Where its files are; `None` while the copy of an address is not there.
    fn path(&self) -> Option<&Path> {
        match &self.remote {
            Some(remote) => remote.path(),
            None => Some(&self.root),
        }
    }

    /// The path of the folder that an address in this one means.
    pub fn path_of(&self, name: &Path) -> Option<PathBuf> {
        self.remote.as_ref()?.path_of(name)
    }

    /// Why it cannot be opened.
    pub fn problem(&self) -> Option<&Problem> {
        self.remote.as_ref().and_then(Remote::problem).or(self.folder.problem())
    }

    /// Why it could not be opened again, once; what was read before is still shown.
    pub fn take_failure(&mut self) -> Option<Problem> {
        self.failed.take()
    }

    /// What is being done, while something is fetched from a store.
    pub fn opening(&self) -> Option<String> {
        self.remote.as_ref()?.progress()
    }

    /// Whether it is a copy of something in a store.
    pub fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Reads the folder's records again.
    pub fn ask(&mut self, workers: &Workers) {
        let Some(root) = self.path().map(Path::to_owned) else { return };
        self.folder.ask(workers, Lane::Folders, move || foreign::find(&root));
    }

    /// Drops everything that was loaded and reads it again; a store is asked first what it has now.
    pub fn reload(&mut self, workers: &Workers) {
        match &mut self.remote {
            Some(remote) => remote.open(workers),
            None => self.reload_at(None, workers),
        }
    }

    /// The same without asking a store, to go to `place` afterwards, else to where the person is.
    pub fn reload_at(&mut self, place: Option<Place>, workers: &Workers) {
        self.stores = std::mem::take(&mut self.stores).emptied();
        self.layout = self.tabs.as_ref().and_then(Tabs::to_json);
        self.wanted = place.or_else(|| self.history.here().cloned());
        self.tabs = None;
        self.ask(workers);
    }

    /// Once per frame: takes what arrived, follows runs that are being trained, lets every pane do its part.
    pub fn logic(
        &mut self,
        workers: &Workers,
        (jobs, preferences): (&Jobs, &Preferences),
        now: f64,
        actions: &mut Vec<Action>,
    ) {
        if self.remote.as_mut().is_some_and(|remote| remote.poll(workers)) {
            self.opened(workers);
        }
        self.folder.poll(workers);
        self.stores.poll(workers);
        let Some(folder) = self.folder.value().cloned() else { return };
        if self.tabs.is_none() {
            self.begin(&folder);
        }
        let alive = self.stores.trainings.any_alive();
        let pause = if alive || self.any_running(&folder) { LIVE } else { IDLE };
        // What ended wrote its record at the very end.
        if std::mem::replace(&mut self.trained, alive) && !alive {
            self.asked_at = f64::NEG_INFINITY;
        }
        if now - self.asked_at >= pause && !self.folder.loading() {
            self.asked_at = now;
            self.ask(workers);
        }
        if let Some(tabs) = &mut self.tabs {
            tabs.logic(&mut Scene::new(&folder, &self.stores, jobs, preferences, now, actions), workers);
            if let Some((run, feature)) = tabs.feature() {
                self.stores.run_mut(&run).current = Some(feature);
            }
        }
    }

    /// The copy of an address was opened, or could not be.
    fn opened(&mut self, workers: &Workers) {
        if self.remote.as_ref().is_some_and(|remote| remote.problem().is_some()) {
            self.failed = self.folder.value().and(self.problem().cloned());
            return;
        }
        if self.folder.value().is_some() {
            return self.reload_at(None, workers);
        }
        if let Some((place, at)) =
            self.wanted.as_ref().and_then(|place| Some((place, self.path_of(place.folder()?)?)))
        {
            self.wanted = Some(place.clone().below(&at));
        }
        self.ask(workers);
    }

    /// Whether a run of the folder is being trained.
    pub fn any_running(&self, folder: &Folder) -> bool {
        folder.runs.iter().any(|r| r.info.as_ref().is_ok_and(|i| i.status == Status::Running))
    }

    /// Whether a run is followed.
    pub fn is_live(&self) -> bool {
        self.stores.trainings.any_alive()
            || self.folder.value().is_some_and(|folder| self.any_running(folder))
    }

    fn begin(&mut self, folder: &Folder) {
        let remembered = self.layout.take().and_then(|layout| Tabs::from_json(&layout));
        let tabs = self.tabs.insert(remembered.unwrap_or_else(|| Tabs::new(&first_places(folder))));
        if let Some(wanted) = self.wanted.take() {
            tabs.go(&wanted);
        }
        if let Some(here) = tabs.here() {
            self.history.visit(here);
        }
    }

    /// The tabs as they are for a folder that was never open.
    pub fn reset_tabs(&mut self) {
        if let Some(folder) = self.folder.value() {
            self.tabs = Some(Tabs::new(&first_places(folder)));
        }
    }
}

/// What a newcomer gets to see of a folder: the runs, the features of the best, the experts if there are
/// any; of a folder with nothing but graphs, probes or language models, the first.
fn first_places(folder: &Folder) -> Vec<Place> {
    let mut places = Vec::new();
    let first_graph = folder.graphs.first().map(|graph| Place::Graph { graph: graph.path.clone() });
    let first_probes = folder.probes.first().map(|probes| Place::Probes { probes: probes.path.clone() });
    let first_model = folder.models.first().map(|model| Place::Model { model: model.path.clone() });
    let first_other = first_graph.or(first_probes).or(first_model);
    if !folder.runs.is_empty() || (folder.datasets.is_empty() && first_other.is_none()) {
        places.push(Place::Runs);
    }
    // The run that the table of runs begins with.
    let best = crate::views::runs::best(folder).filter(|r| r.info.as_ref().is_ok_and(|i| i.indexed));
    places.extend(best.map(|r| Place::Features { run: r.path.clone() }));
    let with_experts = folder.datasets.iter().find(|d| d.info.as_ref().is_ok_and(|i| i.has_experts));
    places.extend(with_experts.map(|d| Place::Experts { dataset: d.path.clone() }));
    if places.is_empty() {
        places.extend(
            folder.datasets.first().map(|d| Place::Dataset { dataset: d.path.clone(), document: None }),
        );
        places.extend(first_other);
    }
    places
}
