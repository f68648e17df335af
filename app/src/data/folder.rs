//! What a folder holds.

use std::path::{Path, PathBuf};

use storage::FoundKind;

use super::{DatasetInfo, RunInfo, dataset, problem, run};
use crate::load::Problem;

/// Runs and datasets found in and below a folder.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// The folder that was opened.
    pub root: PathBuf,
    /// Runs, by name.
    pub runs: Vec<RunEntry>,
    /// Datasets, by name.
    pub datasets: Vec<DatasetEntry>,
}

/// A run's folder, readable or not.
#[derive(Clone, Debug)]
pub struct RunEntry {
    /// Its folder.
    pub path: PathBuf,
    /// Path below the opened folder.
    pub name: String,
    /// What it is, or why that can not be said.
    pub info: Result<RunInfo, Problem>,
}

/// A dataset's folder, readable or not.
#[derive(Clone, Debug)]
pub struct DatasetEntry {
    /// Its folder.
    pub path: PathBuf,
    /// Path below the opened folder.
    pub name: String,
    /// What it is, or why that can not be said.
    pub info: Result<DatasetInfo, Problem>,
}

impl Folder {
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

    /// The same for a dataset.
    pub fn find_dataset(&self, recorded: &Path, beside: &Path) -> Option<PathBuf> {
        let known = |path: PathBuf| self.dataset(&path).map(|dataset| dataset.path.clone());
        let near = beside.parent().map(|parent| parent.join(recorded.file_name().unwrap_or_default()));
        let mut named = self.datasets.iter().filter(|d| d.path.file_name() == recorded.file_name());
        known(recorded.to_owned()).or_else(|| known(near?)).or_else(|| match (named.next(), named.next()) {
            (Some(only), None) => Some(only.path.clone()),
            _ => None,
        })
    }

    /// The dataset in `path`.
    pub fn dataset(&self, path: &Path) -> Option<&DatasetEntry> {
        self.datasets.iter().find(|d| d.path == path)
    }

    /// Name to show for a folder of ours.
    pub fn name_of<'a>(&'a self, path: &'a Path) -> std::borrow::Cow<'a, str> {
        if let Some(run) = self.run(path) {
            return run.name.as_str().into();
        }
        if let Some(dataset) = self.dataset(path) {
            return dataset.name.as_str().into();
        }
        path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy())
    }
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

/// Finds the runs and datasets in and below `root`. One that can not be read is in the list with its problem.
pub fn find(root: &Path) -> Result<Folder, Problem> {
    let mut folder = Folder { root: root.to_owned(), ..Folder::default() };
    for found in storage::find_folders(root).map_err(|error| open_problem(root, error))? {
        let (path, name) = (found.path.clone(), name_below(root, &found.path));
        match found.kind {
            FoundKind::Run => {
                let info = run::read_info(&path);
                folder.runs.push(RunEntry { path, name, info });
            }
            // Opening an unfinished one fails with how far it came and what to do.
            FoundKind::Dataset | FoundKind::UnfinishedDataset => {
                let info = dataset::read_info(&path);
                folder.datasets.push(DatasetEntry { path, name, info });
            }
        }
    }
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
