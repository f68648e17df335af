//! What people say about features, kept in the run's folder.

use std::collections::BTreeMap;
use std::path::Path;

pub use storage::notes::Note;

use super::kept::Kept;
use super::problem;
use crate::load::Problem;

/// The notes of a run, by feature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<u32, Note>);

/// One change to the note of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Which feature.
    pub feature: u32,
    /// What changes.
    pub change: Change,
}

/// What changes in a note; the rest of it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The name.
    Label(String),
    /// The text.
    Text(String),
    /// The bookmark.
    Bookmarked(bool),
}

impl Change {
    fn apply(&self, note: &mut Note) {
        match self {
            Self::Label(label) => note.label.clone_from(label),
            Self::Text(text) => note.text.clone_from(text),
            Self::Bookmarked(bookmarked) => note.bookmarked = *bookmarked,
        }
    }
}

impl Notes {
    /// The note of `feature`.
    pub fn get(&self, feature: u32) -> Option<&Note> {
        self.0.get(&feature)
    }

    /// What a person called `feature`.
    pub fn label(&self, feature: u32) -> Option<&str> {
        self.get(feature).map(|note| note.label.as_str()).filter(|label| !label.is_empty())
    }

    /// Whether `feature` is bookmarked.
    pub fn bookmarked(&self, feature: u32) -> bool {
        self.get(feature).is_some_and(|note| note.bookmarked)
    }

    /// All notes, by feature.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.values()
    }

    /// Whether nobody said anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Note> for Notes {
    fn from_iter<I: IntoIterator<Item = Note>>(notes: I) -> Self {
        Self(notes.into_iter().map(|note| (note.feature, note)).collect())
    }
}

impl Kept for Notes {
    type Edit = Edit;

    const FILE: &'static str = storage::notes::FILE;

    fn read(dir: &Path) -> Result<Self, Problem> {
        storage::notes::read(dir).map(Self::from_iter).map_err(problem)
    }

    fn write_here(dir: &Path, edits: &[Edit]) -> Result<Self, Problem> {
        let changes: Vec<_> =
            edits.iter().map(|edit| (edit.feature, |note: &mut Note| edit.change.apply(note))).collect();
        let changes: Vec<(u32, &dyn Fn(&mut Note))> =
            changes.iter().map(|(feature, change)| (*feature, change as &dyn Fn(&mut Note))).collect();
        storage::notes::change(dir, &changes).map(Self::from_iter).map_err(problem)
    }

    fn apply(&mut self, edit: &Edit) {
        let note =
            self.0.entry(edit.feature).or_insert_with(|| Note { feature: edit.feature, ..Note::default() });
        edit.change.apply(note);
        if note.is_empty() {
            self.0.remove(&edit.feature);
        }
    }
}
