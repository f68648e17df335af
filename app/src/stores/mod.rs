//! What is loaded of runs and datasets, shared by all views of the same folder. Views read it; the shell
//! alone changes it.

mod dataset;
mod notebook;
mod run;

pub use dataset::DatasetStore;
pub use notebook::Notebook;
pub use run::{RunStore, Selection};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::data::GraphMarks;
use crate::load::{Problem, Workers};
use crate::prompt::Engine;
use crate::training::Trainings;

/// Data that a view needs from the stores.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// The training curves of a run.
    Curves {
        /// Folder of the run.
        run: PathBuf,
        /// When the file with the curves was written: a newer file is read again.
        written: Option<SystemTime>,
    },
    /// The feature table of a run: numbers, tokens, labels, explanations, vocabulary, notes.
    Features {
        /// Folder of the run.
        run: PathBuf,
        /// When its index was written: a newer one is read again.
        written: Option<SystemTime>,
    },
    /// The notes of a run.
    Notes(PathBuf),
    /// The marks of a graph.
    Marks(PathBuf),
    /// The positions of a run's features on its map.
    Map(PathBuf),
    /// The vocabulary of a run.
    Vocabulary(PathBuf),
    /// The dictionary of a run and the model that it belongs to, loaded into this engine.
    Model(PathBuf, Engine),
    /// The load of the experts on a dataset.
    Experts(PathBuf),
    /// The documents of a dataset and its vocabulary.
    Documents(PathBuf),
}

/// All stores of the open folder.
#[derive(Debug, Default)]
pub struct Stores {
    runs: HashMap<PathBuf, RunStore>,
    datasets: HashMap<PathBuf, DatasetStore>,
    marks: HashMap<PathBuf, Notebook<GraphMarks>>,
    /// Trainings that this window started. They outlast a folder that is closed or read again.
    pub trainings: Trainings,
    /// Where claims about features are tested.
    pub claims: crate::claims::Bench,
    // What is returned for runs and datasets of which nothing has been asked for yet.
    empty_run: RunStore,
    empty_dataset: DatasetStore,
    no_marks: Notebook<GraphMarks>,
}

impl Stores {
    /// Nothing loaded, and the trainings as they are.
    #[must_use]
    pub fn emptied(self) -> Self {
        Self { trainings: self.trainings, ..Self::default() }
    }

    /// What is loaded of the run in `path`; an empty store where nothing was asked for.
    pub fn run(&self, path: &Path) -> &RunStore {
        self.runs.get(path).unwrap_or(&self.empty_run)
    }

    /// What is loaded of the dataset in `path`; an empty store where nothing was asked for.
    pub fn dataset(&self, path: &Path) -> &DatasetStore {
        self.datasets.get(path).unwrap_or(&self.empty_dataset)
    }

    /// The store of the run in `path`, to be changed.
    pub fn run_mut(&mut self, path: &Path) -> &mut RunStore {
        self.runs.entry(path.to_owned()).or_insert_with(|| RunStore::new(path))
    }

    /// What people marked in the graph in `path`; nothing where nothing was asked for.
    pub fn marks(&self, path: &Path) -> &Notebook<GraphMarks> {
        self.marks.get(path).unwrap_or(&self.no_marks)
    }

    /// The marks of the graph in `path`, to be changed.
    pub fn marks_mut(&mut self, path: &Path) -> &mut Notebook<GraphMarks> {
        self.marks.entry(path.to_owned()).or_insert_with(|| Notebook::new(path))
    }

    fn dataset_mut(&mut self, path: &Path) -> &mut DatasetStore {
        self.datasets.entry(path.to_owned()).or_insert_with(|| DatasetStore::new(path))
    }

    /// Starts to load what is needed, unless it is loaded or on its way; `again`: in any case.
    pub fn load(&mut self, need: &Need, again: bool, workers: &Workers) {
        match need {
            Need::Curves { run, written } => self.run_mut(run).load_curves(*written, again, workers),
            Need::Features { run, written } => self.run_mut(run).load_features(*written, again, workers),
            Need::Notes(run) => self.run_mut(run).notes.load(workers),
            Need::Marks(graph) => self.marks_mut(graph).load(workers),
            Need::Map(run) => self.run_mut(run).load_map(again, workers),
            Need::Vocabulary(run) => self.run_mut(run).load_vocabulary(again, workers),
            Need::Model(run, engine) => self.run_mut(run).load_model(engine, again, workers),
            Need::Experts(dataset) => self.dataset_mut(dataset).load_experts(again, workers),
            Need::Documents(dataset) => self.dataset_mut(dataset).load_documents(again, workers),
        }
    }

    /// Writes the notes and marks that are not known to be in their files; for the end of the program.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub fn finish(&mut self) -> Result<(), Problem> {
        // All of them are tried before the first problem is reported.
        let mut finished: Vec<_> = self.runs.values_mut().map(|run| run.notes.finish()).collect();
        finished.extend(self.marks.values_mut().map(Notebook::finish));
        finished.into_iter().collect()
    }

    /// Takes everything that has arrived.
    pub fn poll(&mut self, workers: &Workers) {
        self.runs.values_mut().for_each(|run| run.poll(workers));
        self.datasets.values_mut().for_each(|dataset| dataset.poll(workers));
        self.marks.values_mut().for_each(|marks| marks.poll(workers));
    }
}
