//! What is loaded of one run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Notebook;
use crate::data::{self, Columns, Explanations, Metrics, Points, TokenLists, Vocabulary};
use crate::load::{Lane, Request, Workers};
use crate::prompt::{Engine, EngineOfRun, LoadedModel};

/// What is loaded of one run.
#[derive(Debug, Default)]
pub struct RunStore {
    path: PathBuf,
    /// Its training curves.
    pub metrics: Request<Metrics>,
    /// When the file was written that the curves were last read from.
    pub metrics_written: Option<SystemTime>,
    /// When the index was written that its features were last read from.
    pub index_written: Option<SystemTime>,
    /// The numbers of all its features.
    pub columns: Request<Columns>,
    /// The tokens and labels of its features.
    pub tokens: Request<TokenLists>,
    /// Explanations of its features, by rules and by other tools.
    pub explanations: Request<Explanations>,
    /// The texts of its tokens.
    pub vocabulary: Request<Vocabulary>,
    /// Reads the pages of single features.
    pub pages: data::features::Pages,
    /// Whether the tables of the pages are open; a page itself reports what is wrong with them.
    prepared: Request<()>,
    /// The features as the table shows them, which "next" and "previous" follow.
    pub order: Option<Arc<Vec<u32>>>,
    /// What people wrote about its features.
    pub notes: Notebook<data::Notes>,
    /// The positions of its features on the map.
    pub map: Request<Points>,
    /// The features that were selected on the map.
    pub selection: Selection,
    /// The feature that was in front last.
    pub current: Option<u32>,
    /// Its model for typed texts, as long as a view holds it.
    pub engine: EngineOfRun,
    /// The model once it is loaded.
    pub opened: Request<LoadedModel>,
}

/// Features that one view selected for the others.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Raised with every change.
    pub version: u64,
    /// Ascending; `None` when nothing is selected.
    pub features: Option<Arc<Vec<u32>>>,
}

impl Selection {
    /// Selects other features.
    pub fn set(&mut self, features: Option<Arc<Vec<u32>>>) {
        self.version += 1;
        self.features = features;
    }
}

impl RunStore {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), notes: Notebook::new(path), ..Self::default() }
    }

    pub(super) fn poll(&mut self, workers: &Workers) {
        self.metrics.poll(workers);
        self.columns.poll(workers);
        self.tokens.poll(workers);
        self.explanations.poll(workers);
        self.prepared.poll(workers);
        self.vocabulary.poll(workers);
        self.map.poll(workers);
        self.opened.poll(workers);
        self.notes.poll(workers);
    }

    /// Whether the curves were never read, or from a file that was written at another time than `written`.
    pub fn curves_are_old(&self, written: Option<SystemTime>) -> bool {
        (self.metrics.untouched() || self.metrics_written != written) && !self.metrics.loading()
    }

    pub(super) fn load_curves(&mut self, written: Option<SystemTime>, again: bool, workers: &Workers) {
        if again || self.curves_are_old(written) {
            let path = self.path.clone();
            self.metrics_written = written;
            self.metrics.ask(workers, Lane::Folders, move || data::run::read_metrics(&path));
        }
    }

    /// Whether its features were never read, or from an index that was written at another time than `written`.
    pub fn features_are_old(&self, written: Option<SystemTime>) -> bool {
        (self.columns.untouched() || self.index_written != written) && !self.columns.loading()
    }

    pub(super) fn load_features(&mut self, written: Option<SystemTime>, again: bool, workers: &Workers) {
        if !again && !self.features_are_old(written) {
            return;
        }
        self.index_written = written;
        let path = self.path.clone();
        self.columns.ask(workers, Lane::Tables, move || data::features::read_columns(&path));
        self.load_vocabulary(true, workers);
        // An index that was made again has other tables.
        self.pages = data::features::Pages::default();
        let (path, pages) = (self.path.clone(), self.pages.clone());
        self.prepared.ask(workers, Lane::Pages, move || pages.prepare(&path));
        let path = self.path.clone();
        self.tokens.ask(workers, Lane::Tables, move || data::features::read_token_lists(&path));
        let path = self.path.clone();
        self.explanations.ask(workers, Lane::Tables, move || data::explanations::read(&path));
        self.notes.load(workers);
    }

    pub(super) fn load_map(&mut self, again: bool, workers: &Workers) {
        if again || self.map.untouched() {
            let path = self.path.clone();
            self.map.ask(workers, Lane::Tables, move || data::features::read_points(&path));
        }
    }

    pub(super) fn load_vocabulary(&mut self, again: bool, workers: &Workers) {
        if again || self.vocabulary.untouched() {
            let path = self.path.clone();
            self.vocabulary.ask(workers, Lane::Folders, move || data::vocabulary::of_run(&path));
        }
    }

    pub(super) fn load_model(&mut self, engine: &Engine, again: bool, workers: &Workers) {
        // Of two views that ask in the same frame the first one's engine counts; the second takes it up.
        let engine = self.engine.get().unwrap_or_else(|| engine.clone());
        self.engine = EngineOfRun::new(&engine);
        if again || self.opened.untouched() {
            let path = self.path.clone();
            self.opened.ask(workers, Lane::Model, move || engine.open(&path));
        }
    }
}
