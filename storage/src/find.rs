//! Finding datasets, runs, graphs, probes and trained language models in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::atomic::in_the_making;
use crate::dataset::{Dataset, JOURNAL, MANIFEST};
use crate::error::{Error, Result};
use crate::{graph, pretraining, probe, run};

/// How deep [`find_folders`] looks.
const DEPTH: usize = 4;

/// What a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoundKind {
    /// It has `dataset.json`.
    Dataset,
    /// It has `journal.json` only.
    UnfinishedDataset,
    /// It has `run.json`.
    Run,
    /// It has `graph.json` of `sae trace`.
    Graph,
    /// It has `probe.json` of `sae probe`.
    Probes,
    /// It has the log or the record of `sae pretrain`.
    Model,
}

/// A folder of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder.
    pub path: PathBuf,
    /// What it is.
    pub kind: FoundKind,
}

/// Finds datasets, runs, graphs, probes and trained language models in `root` and up to four folders deep, sorted by path. Folders that cannot be read are passed
/// over; a `root` that cannot is an error.
///
/// # Errors
/// [`Error::Io`] if `root` cannot be listed.
pub fn find_folders(root: &Path) -> Result<Vec<Found>> {
    fs::read_dir(root).map_err(Error::io(root))?;
    let mut found = Vec::new();
    walk(root, DEPTH, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

impl Dataset {
    /// Folders of finished datasets in `root` and up to `depth` folders deep, sorted.
    ///
    /// # Errors
    /// [`Error::Io`] if `root` cannot be listed.
    pub fn find(root: &Path, depth: usize) -> Result<Vec<PathBuf>> {
        fs::read_dir(root).map_err(Error::io(root))?;
        let mut found = Vec::new();
        walk(root, depth, &mut found);
        let mut paths: Vec<PathBuf> = found
            .into_iter()
            .filter(|found| found.kind == FoundKind::Dataset)
            .map(|found| found.path)
            .collect();
        paths.sort();
        Ok(paths)
    }
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<Found>) {
    let kind = if folder.join(MANIFEST).is_file() {
        Some(FoundKind::Dataset)
    } else if folder.join(JOURNAL).is_file() {
        Some(FoundKind::UnfinishedDataset)
    } else if folder.join(run::FILE).is_file() {
        Some(FoundKind::Run)
    } else if folder.join(graph::FILE).is_file() && folder.join(graph::NODES).is_file() {
        Some(FoundKind::Graph)
    } else if folder.join(probe::FILE).is_file() {
        Some(FoundKind::Probes)
    } else if folder.join(pretraining::FILE).is_file() || folder.join(pretraining::RECORD).is_file() {
        Some(FoundKind::Model)
    } else {
        None
    };
    if let Some(kind) = kind {
        found.push(Found { path: folder.to_owned(), kind });
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // `file_type` does not follow links, so there are no circles.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.') || in_the_making(&entry.path());
        if is_folder && !hidden {
            walk(&entry.path(), depth, found);
        }
    }
}
