//! What is loaded of one dataset.

use std::path::{Path, PathBuf};

use crate::data::{self, Documents, ExpertUsage, Vocabulary};
use crate::load::{Lane, Request, Workers};

/// What is loaded of one dataset.
#[derive(Debug, Default)]
pub struct DatasetStore {
    path: PathBuf,
    /// The load of the experts.
    pub experts: Request<ExpertUsage>,
    /// Its documents.
    pub documents: Request<Documents>,
    /// The texts of its tokens.
    pub vocabulary: Request<Vocabulary>,
}

impl DatasetStore {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    pub(super) fn poll(&mut self, workers: &Workers) {
        self.experts.poll(workers);
        self.documents.poll(workers);
        self.vocabulary.poll(workers);
    }

    pub(super) fn load_experts(&mut self, again: bool, workers: &Workers) {
        if again || self.experts.untouched() {
            let path = self.path.clone();
            self.experts.ask(workers, Lane::Folders, move || data::experts::read(&path));
        }
    }

    pub(super) fn load_documents(&mut self, again: bool, workers: &Workers) {
        if !again && !self.documents.untouched() {
            return;
        }
        let path = self.path.clone();
        self.documents.ask(workers, Lane::Tables, move || data::dataset::read_documents(&path));
        let path = self.path.clone();
        self.vocabulary.ask(workers, Lane::Tables, move || data::vocabulary::of_dataset(&path));
    }
}
