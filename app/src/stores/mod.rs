//! What is loaded of runs and datasets, shared by all views of the same folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::features::Ordered;
use super::notebook::Notebook;
use crate::data::{
    self, Columns, Documents, ExpertUsage, Explanations, Metrics, Points, TokenLists, Vocabulary,
};
use crate::load::{Keyed, Lane, Problem, Requested, Workers};
use crate::prompt::{Engine, EngineOfRun, Opened};
use crate::training::Trainings;

/// All stores of the open folder.
#[derive(Debug, Default)]
pub struct Stores {
    runs: HashMap<PathBuf, RunStore>,
    datasets: HashMap<PathBuf, DatasetStore>,
    /// Features that the palette found by name: of a run, a text and versions of what is searched.
    pub named: Keyed<(PathBuf, String, [u64; 2]), Vec<(u32, String)>>,
    /// Trainings that this window began. They outlast a folder that is closed or read anew.
    pub trainings: Trainings,
    /// Whether the person asked for the form of a new training, which the runs show.
    pub train: bool,
    /// The experts of the features in front.
    pub of_feature: super::experts::of_feature::OfFeature,
}

/// What is loaded of one run.
#[derive(Debug)]
pub struct RunStore {
    path: PathBuf,
    /// Its curves.
    pub metrics: Requested<Metrics>,
    /// When the file that the curves were asked from last was written.
    pub metrics_of: Option<SystemTime>,
    /// The numbers of all its features.
    pub columns: Requested<Columns>,
    /// Their tokens and labels.
    pub tokens: Requested<TokenLists>,
    /// What is said about them by rules and by other tools.
    pub explanations: Requested<Explanations>,
    /// Texts of its tokens.
    pub vocabulary: Requested<Vocabulary>,
    /// Reads single features' pages.
    pub pages: data::features::Pages,
    /// Whether their tables are open; what is wrong with them is said by the page.
    prepared: Requested<()>,
    /// The features as the table shows them: what "next" and "previous" follow.
    pub order: Option<Arc<Ordered>>,
    /// What people say about its features.
    pub notes: Notebook,
    /// Where its features lie in the plane.
    pub map: Requested<Points>,
    /// What was chosen on the map.
    pub chosen: Chosen,
    /// Its model, for typed texts, while a view has it.
    pub engine: EngineOfRun,
    /// The model once it is there.
    pub opened: Requested<Opened>,
    /// A text that another view wants to see in the prompt.
    pub proposed: Option<String>,
}

/// Features that were chosen in one view for the others.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Raised with every choice.
    pub version: u64,
    /// Ascending; `None` when nothing is chosen.
    pub features: Option<Arc<Vec<u32>>>,
}

impl Chosen {
    /// Makes another choice.
    pub fn set(&mut self, features: Option<Arc<Vec<u32>>>) {
        self.version += 1;
        self.features = features;
    }
}

/// What is loaded of one dataset.
#[derive(Debug)]
pub struct DatasetStore {
    path: PathBuf,
    /// Load of the experts.
    pub experts: Requested<ExpertUsage>,
    /// Its documents.
    pub documents: Requested<Documents>,
    /// Texts of its tokens.
    pub vocabulary: Requested<Vocabulary>,
}

impl Stores {
    /// Nothing loaded, and the trainings as they are.
    #[must_use]
    pub fn emptied(self) -> Self {
        Self { trainings: self.trainings, ..Self::default() }
    }

    /// The store of the run in `path`.
    pub fn run(&mut self, path: &Path) -> &mut RunStore {
        self.runs.entry(path.to_owned()).or_insert_with(|| RunStore::new(path))
    }

    /// The store of the dataset in `path`.
    pub fn dataset(&mut self, path: &Path) -> &mut DatasetStore {
        self.datasets.entry(path.to_owned()).or_insert_with(|| DatasetStore::new(path))
    }

    /// Writes the notes that are not known to be in their files; for the end of the program.
    pub fn finish(&mut self) -> Result<(), Problem> {
        let finished: Vec<_> = self.runs.values_mut().map(|run| run.notes.finish()).collect();
        finished.into_iter().collect()
    }

    /// Takes everything that has arrived.
    pub fn poll(&mut self, workers: &Workers) {
        for run in self.runs.values_mut() {
            run.metrics.poll(workers);
            run.columns.poll(workers);
            run.tokens.poll(workers);
            run.explanations.poll(workers);
            run.prepared.poll(workers);
            run.vocabulary.poll(workers);
            run.map.poll(workers);
            run.opened.poll(workers);
            run.notes.poll(workers);
        }
        for dataset in self.datasets.values_mut() {
            dataset.experts.poll(workers);
            dataset.documents.poll(workers);
            dataset.vocabulary.poll(workers);
        }
    }
}

impl RunStore {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            metrics: Requested::new(),
            metrics_of: None,
            columns: Requested::new(),
            tokens: Requested::new(),
            explanations: Requested::new(),
            vocabulary: Requested::new(),
            pages: data::features::Pages::default(),
            prepared: Requested::new(),
            order: None,
            notes: Notebook::new(path),
            map: Requested::new(),
            chosen: Chosen::default(),
            engine: EngineOfRun::default(),
            opened: Requested::new(),
            proposed: None,
        }
    }

    /// Reads the curves if the file was `written` at another time than when they were read last.
    pub fn ask_metrics(&mut self, workers: &Workers, written: Option<SystemTime>) {
        if (self.metrics.untouched() || self.metrics_of != written) && !self.metrics.loading() {
            let path = self.path.clone();
            self.metrics_of = written;
            self.metrics.ask(workers, Lane::Folders, move || data::run::read_metrics(&path));
        }
    }

    /// Reads the feature table's columns, token lists and explanations.
    pub fn ask_features(&mut self, workers: &Workers) {
        let path = self.path.clone();
        self.columns.ask(workers, Lane::Tables, move || data::features::read_columns(&path));
        self.ask_vocabulary(workers);
        let (path, pages) = (self.path.clone(), self.pages.clone());
        self.prepared.ask(workers, Lane::Pages, move || pages.prepare(&path));
        let path = self.path.clone();
        self.tokens.ask(workers, Lane::Tables, move || data::features::read_token_lists(&path));
        let path = self.path.clone();
        self.explanations.ask(workers, Lane::Tables, move || data::explanations::read(&path));
        self.notes.ask(workers);
    }

    /// Reads where the features lie.
    pub fn ask_map(&mut self, workers: &Workers) {
        let path = self.path.clone();
        self.map.ask(workers, Lane::Tables, move || data::features::read_points(&path));
    }

    /// Loads the dictionary and the model that it belongs to.
    pub fn ask_model(&mut self, workers: &Workers, engine: Engine) {
        let path = self.path.clone();
        self.opened.ask(workers, Lane::Model, move || engine.open(&path));
    }

    /// Reads the vocabulary.
    pub fn ask_vocabulary(&mut self, workers: &Workers) {
        let path = self.path.clone();
        self.vocabulary.ask(workers, Lane::Folders, move || data::vocabulary::of_run(&path));
    }
}

impl DatasetStore {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            experts: Requested::new(),
            documents: Requested::new(),
            vocabulary: Requested::new(),
        }
    }

    /// Reads the experts' load.
    pub fn ask_experts(&mut self, workers: &Workers) {
        let path = self.path.clone();
        self.experts.ask(workers, Lane::Folders, move || data::experts::read(&path));
    }

    /// Reads the list of documents and the vocabulary.
    pub fn ask_documents(&mut self, workers: &Workers) {
        let path = self.path.clone();
        self.documents.ask(workers, Lane::Tables, move || data::dataset::read_documents(&path));
        let path = self.path.clone();
        self.vocabulary.ask(workers, Lane::Tables, move || data::vocabulary::of_dataset(&path));
    }
}
