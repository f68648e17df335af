//! A dictionary of a different program that was opened: what it is recognised as, and the command that makes a run of it.

use std::path::{Path, PathBuf};

use sae::interop::dictionaries::recognise;

use crate::data::Folder;
use crate::data::folder::{self, ForeignDictionary};
use crate::load::Problem;

/// What is in `root`: runs and datasets, or a dictionary of a different program. A glance at names and configurations; no weights are
/// read.
///
/// # Errors
/// As [`folder::find`].
pub fn find(root: &Path) -> Result<Folder, Problem> {
    let found = folder::find(root);
    if found.as_ref().is_ok_and(|folder| !folder.is_empty()) {
        return found;
    }
    match recognise(root) {
        Ok(format) => {
            let foreign = ForeignDictionary {
                source: root.to_owned(),
                format: format.name().to_owned(),
                out: free_name(root),
            };
            Ok(Folder::of_foreign(foreign))
        }
        Err(_) => found,
    }
}

/// `NAME-run` in the working folder, which a dictionary's own folder need not be able to take; numbered where that exists.
fn free_name(source: &Path) -> PathBuf {
    let folder = std::env::current_dir().unwrap_or_else(|_| std::env::temp_dir());
    let stem = source.file_stem().filter(|_| source.is_file()).or(source.file_name()).unwrap_or_default();
    let name = format!("{}-run", stem.to_string_lossy());
    let numbered = (2..1000).map(|n| folder.join(format!("{name}-{n}")));
    let first = folder.join(&name);
    std::iter::once(first.clone()).chain(numbered).find(|path| !path.exists()).unwrap_or(first)
}
