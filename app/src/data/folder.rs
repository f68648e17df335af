//! What a folder holds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use storage::FoundKind;

use super::{DatasetInfo, RunInfo, dataset, pretraining, probes, problem, run};
use crate::load::Problem;

/// Runs, datasets, graphs, probes and language models found in and below a folder.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// The folder that was opened.
    pub root: PathBuf,
    /// Runs, by name.
    pub runs: Vec<RunEntry>,
    /// Datasets, by name.
    pub datasets: Vec<DatasetEntry>,
    /// Attribution graphs, by name.
    pub graphs: Vec<GraphEntry>,
    /// Probes of labelled prompts, by name.
    pub probes: Vec<ProbesEntry>,
    /// Language models that were trained here, by name.
    pub models: Vec<ModelEntry>,
    /// A dictionary of a different program, where that is what was opened.
    pub foreign: Option<ForeignDictionary>,
    /// Run → dataset, as far as they are both here.
    links: HashMap<PathBuf, PathBuf>,
}

/// A folder or file in the format of a different program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDictionary {
    /// The folder or file.
    pub source: PathBuf,
    /// What people call its format.
    pub format: String,
    /// A folder that does not exist yet, for the run that is made of it.
    pub out: PathBuf,
}

/// A run's folder, readable or not.
#[derive(Clone, Debug)]
pub struct RunEntry {
    /// Its folder.
    pub path: PathBuf,
    /// Path below the opened folder.
    pub name: String,
    /// What it is, or why that cannot be said.
    pub info: Result<RunInfo, Problem>,
}

/// A dataset's folder, readable or not.
#[derive(Clone, Debug)]
pub struct DatasetEntry {
    /// Its folder.
    pub path: PathBuf,
    /// Path below the opened folder.
    pub name: String,
    /// What it is, or why that cannot be said.
    pub info: Result<DatasetInfo, Problem>,
}

/// An attribution graph's folder, readable or not.
#[derive(Clone, Debug)]
pub struct GraphEntry {
    /// Its folder.
    pub path: PathBuf,
    /// Path below the opened folder.
    pub name: String,
    /// Its record, or why it cannot be read.
    pub info: Result<storage::graph::Graph, Problem>,
}

/// A folder of probes, readable or not.
#[derive(Clone, Debug)]
pub struct ProbesEntry {
    /// Its folder.
    pub path: PathBuf,
    /// Path below the opened folder.
    pub name: String,
    /// What was asked, or why that cannot be said.
    pub info: Result<storage::probe::Probe, Problem>,
}

/// The folder of a language model that `sae pretrain` made or makes, readable or not.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// Its folder.
    pub path: PathBuf,
    /// Path below the opened folder.
    pub name: String,
    /// How it was trained, or why that cannot be said.
    pub info: Result<pretraining::ModelInfo, Problem>,
}

impl Folder {
    /// A dictionary of a different program, and no run or dataset.
    pub fn of_foreign(foreign: ForeignDictionary) -> Self {
        Self { root: foreign.source.clone(), foreign: Some(foreign), ..Self::default() }
    }

    /// Whether there is nothing of ours in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
            && self.datasets.is_empty()
            && self.graphs.is_empty()
            && self.probes.is_empty()
            && self.models.is_empty()
    }

    /// Whether a run, a dataset, a graph, probes or a model of it are in `path`.
    pub fn holds(&self, path: &Path) -> bool {
        self.run(path).is_some()
            || self.dataset(path).is_some()
            || self.graphs.iter().any(|graph| graph.path == path)
            || self.probes.iter().any(|probes| probes.path == path)
            || self.models.iter().any(|model| model.path == path)
    }

    /// The run in `path`.
    pub fn run(&self, path: &Path) -> Option<&RunEntry> {
        self.runs.iter().find(|r| r.path == path)
    }

    /// The run that a record calls `recorded`: that path itself, or one that the record of the run in `beside` means when it
    /// is relative, or the only run of that name.
    pub fn find_run(&self, recorded: &Path, beside: &Path) -> Option<PathBuf> {
        let known = |path: PathBuf| self.run(&path).map(|run| run.path.clone());
        let near = beside.parent().map(|parent| parent.join(recorded.file_name().unwrap_or_default()));
        let mut named = self.runs.iter().filter(|run| run.path.file_name() == recorded.file_name());
        known(recorded.to_owned()).or_else(|| known(near?)).or_else(|| match (named.next(), named.next()) {
            (Some(only), None) => Some(only.path.clone()),
            _ => None,
        })
    }

    /// The dataset in `path`.
    pub fn dataset(&self, path: &Path) -> Option<&DatasetEntry> {
        self.datasets.iter().find(|d| d.path == path)
    }

    /// The dataset that a run was indexed on, or trained on where there is no index, if it is in this folder.
    pub fn data_of(&self, run: &Path) -> Option<&DatasetEntry> {
        self.dataset(self.links.get(run)?)
    }

    /// That dataset, where it is not where the record of the run says: commands have to be told.
    pub fn moved_data_of(&self, run: &Path) -> Option<PathBuf> {
        let data = &self.data_of(run)?.path;
        let named = Path::new(&self.run(run)?.info.as_ref().ok()?.dataset);
        let as_named = [whole(named), whole(&run.join(named))];
        (!as_named.contains(&whole(data))).then(|| data.clone())
    }

    /// Finds the dataset of every run: as the run names it, or from its own folder when both were moved; else by its name, if
    /// there is one such of the same model and hook, or one next to the run.
    fn link(&mut self) {
        for run in &self.runs {
            let Ok(info) = &run.info else { continue };
            let named = Path::new(&info.dataset);
            let named_so = [whole(named), whole(&run.path.join(named))];
            let same_place = self.datasets.iter().find(|data| named_so.contains(&whole(&data.path)));
            let found = same_place.or_else(|| {
                let same_model = |data: &DatasetInfo| {
                    data.model_sha256 == info.model_sha256 && data.hook.as_deref() == Some(&info.hook)
                };
                let alike = || {
                    self.datasets.iter().filter(|data| {
                        data.path.file_name() == named.file_name() && data.info.as_ref().is_ok_and(same_model)
                    })
                };
                let beside = alike().find(|data| data.path.parent() == run.path.parent());
                beside.or_else(|| alike().next().filter(|_| alike().count() == 1))
            });
            if let Some(data) = found {
                self.links.insert(run.path.clone(), data.path.clone());
            }
        }
    }

    /// A run that is opened alone still has its dataset where its record or its index says: that is added, so that its documents can be
    /// read. Only where the record names a path that exists.
    fn add_named_datasets(&mut self) {
        let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
        for run in &self.runs {
            let Ok(info) = &run.info else { continue };
            if self.links.contains_key(&run.path) || info.dataset.is_empty() {
                continue;
            }
            let named = Path::new(&info.dataset);
            let beside = run.path.parent().map(|parent| parent.join(named.file_name().unwrap_or_default()));
            let places = [Some(whole(named)), Some(whole(&run.path.join(named))), beside];
            let same = |data: &Path| {
                let info_of = dataset::read_info(data).ok()?;
                let alike =
                    info_of.model_sha256 == info.model_sha256 && info_of.hook.as_deref() == Some(&info.hook);
                alike.then_some(())
            };
            let place = places.into_iter().flatten().find(|place| place.is_dir() && same(place).is_some());
            found.extend(place.map(|place| (run.path.clone(), place)));
        }
        for (run, data) in found {
            if self.dataset(&data).is_none() {
                let name = data.file_name().unwrap_or(data.as_os_str()).to_string_lossy().into_owned();
                self.datasets.push(DatasetEntry {
                    info: dataset::read_info(&data),
                    path: data.clone(),
                    name,
                });
            }
            self.links.insert(run, data);
        }
    }

    /// The runs with an index of the dataset in `dataset`.
    pub fn runs_on(&self, dataset: &Path) -> Vec<&RunEntry> {
        let on = |run: &&RunEntry| {
            run.info.as_ref().is_ok_and(|info| info.indexed)
                && self.data_of(&run.path).is_some_and(|data| data.path == dataset)
        };
        self.runs.iter().filter(on).collect()
    }

    /// The runs whose dictionary is of the same harvest as the routing in `dataset`: trained on it, or on a hook of the same harvest.
    pub fn runs_beside(&self, dataset: &Path) -> Vec<&RunEntry> {
        let shared = |data: &DatasetEntry| {
            data.path == dataset
                || (dataset.file_name().is_some_and(|name| name == storage::schema::ROUTING)
                    && data.path.parent() == dataset.parent())
        };
        self.runs.iter().filter(|run| self.data_of(&run.path).is_some_and(shared)).collect()
    }

    /// Name to show for a folder of ours.
    pub fn name_of<'a>(&'a self, path: &'a Path) -> std::borrow::Cow<'a, str> {
        if let Some(run) = self.run(path) {
            return run.name.as_str().into();
        }
        if let Some(dataset) = self.dataset(path) {
            return dataset.name.as_str().into();
        }
        if let Some(graph) = self.graphs.iter().find(|graph| graph.path == path) {
            return graph.name.as_str().into();
        }
        if let Some(model) = self.models.iter().find(|model| model.path == path) {
            return model.name.as_str().into();
        }
        path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy())
    }
}

/// A path without `..` that does not depend on where the program was started.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Name of `path` below `root`; the folder's own name when it is `root` itself.
pub(super) fn name_below(root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.to_string_lossy().into_owned(),
        _ => {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            whole
                .file_name()
                .map_or_else(|| whole.to_string_lossy().into_owned(), |n| n.to_string_lossy().into_owned())
        }
    }
}

/// Finds the runs and datasets in and below `root`. One that cannot be read is in the list with its problem.
///
/// # Errors
/// A folder that cannot be listed.
pub fn find(root: &Path) -> Result<Folder, Problem> {
    let mut folder = Folder { root: root.to_owned(), ..Folder::default() };
    for found in storage::find_folders(root).map_err(|error| open_problem(root, error))? {
        let (path, name) = (found.path.clone(), name_below(root, &found.path));
        match found.kind {
            FoundKind::Run => {
                let info = run::read_info(&path);
                folder.runs.push(RunEntry { path, name, info });
            }
            FoundKind::Graph => {
                let info = storage::graph::Graph::read(&path).map_err(problem);
                folder.graphs.push(GraphEntry { path, name, info });
            }
            FoundKind::Probes => {
                let info = probes::read_record(&path);
                folder.probes.push(ProbesEntry { path, name, info });
            }
            FoundKind::Model => {
                let info = pretraining::read_info(&path);
                folder.models.push(ModelEntry { path, name, info });
            }
            // Opening an unfinished one fails with how far it came and what to do.
            FoundKind::Dataset | FoundKind::UnfinishedDataset => {
                let info = dataset::read_info(&path);
                folder.datasets.push(DatasetEntry { path, name, info });
            }
        }
    }
    folder.link();
    folder.add_named_datasets();
    Ok(folder)
}

fn open_problem(root: &Path, error: storage::Error) -> Problem {
    match error {
        storage::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Problem::new(format!("{} does not exist.", root.display())).with_remedy("Check the path.")
        }
        storage::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory => {
            Problem::new(format!("{} is a file.", root.display()))
                .with_remedy("Open the folder that holds the run or dataset.")
        }
        error => problem(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_finds_its_dataset_as_named_beside_it_or_by_name() {
        let data = |path: &str, sha: &str| DatasetEntry {
            path: path.into(),
            name: path.into(),
            info: Ok(DatasetInfo {
                model_sha256: sha.into(),
                hook: Some("h".into()),
                ..DatasetInfo::default()
            }),
        };
        let run = |path: &str, dataset: &str| RunEntry {
            path: path.into(),
            name: path.into(),
            info: Ok(RunInfo {
                dataset: dataset.into(),
                model_sha256: "m".into(),
                hook: "h".into(),
                indexed: true,
                ..RunInfo::default()
            }),
        };
        let mut folder = Folder {
            root: "/x".into(),
            runs: vec![
                run("/x/named", "/x/data"),
                run("/x/moved", "../data"),
                run("/x/gone", "/elsewhere/data"),
                run("/x/other", "/elsewhere/twice"),
            ],
            datasets: vec![data("/x/data", "m"), data("/x/a/twice", "m"), data("/x/b/twice", "m")],
            ..Folder::default()
        };
        folder.link();
        let of = |run: &str| folder.data_of(Path::new(run)).map(|d| d.path.to_string_lossy().into_owned());
        for run in ["/x/named", "/x/moved", "/x/gone"] {
            assert_eq!(of(run).as_deref(), Some("/x/data"), "{run}");
        }
        assert_eq!(of("/x/other"), None, "two of that name");
        let moved = |run: &str| folder.moved_data_of(Path::new(run));
        assert_eq!((moved("/x/named"), moved("/x/moved")), (None, None), "it is where the record says");
        assert_eq!(moved("/x/gone"), Some("/x/data".into()));
        assert_eq!(folder.runs_on(Path::new("/x/data")).len(), 3);
    }
}
