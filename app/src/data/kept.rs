//! What people say, kept in files that several windows may change.

use std::path::Path;

use super::{problem, remote};
use crate::load::Problem;
pub use storage::graph_marks::{GraphMarks, MarkEdit};

/// Words of people in a folder: changed here at once, and in the file on top of what others wrote meanwhile.
pub trait Kept: Clone + Default + Send + Sync + 'static {
    /// One change. Making it twice changes nothing more.
    type Edit: Clone + Send + 'static;

    /// The file's name.
    const FILE: &'static str;

    /// Reads the file of the folder `dir`.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    fn read(dir: &Path) -> Result<Self, Problem>;

    /// Makes the edits in the file, on top of what others wrote meanwhile, and gives back all of it.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or cannot be written.
    fn write_here(dir: &Path, edits: &[Self::Edit]) -> Result<Self, Problem>;

    /// The same, and sends the file of a copy to its store.
    ///
    /// # Errors
    /// As [`Kept::write_here`]; a store that refuses or stays away, and then the edits are in the file.
    fn write(dir: &Path, edits: &[Self::Edit]) -> Result<Self, Problem> {
        let all = Self::write_here(dir, edits)?;
        remote::publish(&dir.join(Self::FILE))?;
        Ok(all)
    }

    /// As the file will be after `edit`.
    fn apply(&mut self, edit: &Self::Edit);
}

impl Kept for GraphMarks {
    type Edit = MarkEdit;

    const FILE: &'static str = storage::graph_marks::FILE;

    fn read(dir: &Path) -> Result<Self, Problem> {
        storage::graph_marks::read(dir).map_err(problem)
    }

    fn write_here(dir: &Path, edits: &[MarkEdit]) -> Result<Self, Problem> {
        storage::graph_marks::change(dir, edits).map_err(problem)
    }

    fn apply(&mut self, edit: &MarkEdit) {
        Self::apply(self, edit);
    }
}
