//! What a person chose to see, of any folder: kept in the settings, lent to the views.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Folders of the tree whose state is remembered.
const FOLDERS: usize = 500;

/// Choices that outlast the window.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Preferences {
    /// Columns of the table of runs, by name, that somebody asked for or wanted gone, whatever the room.
    pub run_columns: BTreeMap<String, bool>,
    /// Whether the table of runs is grouped by model, hook and data.
    pub grouped_runs: bool,
    /// Runs that stand at the top of the tree, the first pinned first.
    pub pinned: Vec<PathBuf>,
    /// Folders of the tree that somebody folded (true) or unfolded.
    pub folded: BTreeMap<PathBuf, bool>,
}

/// One choice.
#[derive(Clone, Debug, PartialEq)]
pub enum Preference {
    /// A column of the table of runs is shown or not; none: as the room allows.
    RunColumn(String, Option<bool>),
    /// All columns of the table of runs are as the room allows.
    AllRunColumns,
    /// The table of runs is grouped.
    GroupedRuns(bool),
    /// A run stands at the top of the tree.
    Pinned(PathBuf, bool),
    /// A folder of the tree is folded.
    Folded(PathBuf, bool),
}

impl Preferences {
    /// Makes a choice.
    pub fn set(&mut self, choice: Preference) {
        match choice {
            Preference::RunColumn(name, Some(shown)) => drop(self.run_columns.insert(name, shown)),
            Preference::RunColumn(name, None) => drop(self.run_columns.remove(&name)),
            Preference::AllRunColumns => self.run_columns.clear(),
            Preference::GroupedRuns(grouped) => self.grouped_runs = grouped,
            Preference::Pinned(run, pinned) => {
                self.pinned.retain(|other| *other != run);
                self.pinned.extend(pinned.then_some(run));
            }
            Preference::Folded(folder, folded) => {
                if self.folded.len() >= FOLDERS {
                    // Nobody misses the state of a tree of long ago.
                    self.folded.clear();
                }
                self.folded.insert(folder, folded);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_made_and_taken_back() {
        let mut kept = Preferences::default();
        for choice in [
            Preference::RunColumn("k".into(), Some(false)),
            Preference::RunColumn("hook".into(), Some(true)),
            Preference::RunColumn("k".into(), None),
            Preference::Pinned("/b".into(), true),
            Preference::Pinned("/a".into(), true),
            Preference::Pinned("/b".into(), false),
            Preference::Pinned("/a".into(), true),
            Preference::Folded("/x".into(), true),
        ] {
            kept.set(choice);
        }
        assert_eq!(kept.run_columns, [("hook".to_owned(), true)].into());
        assert_eq!(kept.pinned, [PathBuf::from("/a")], "never twice");
        assert_eq!(kept.folded.get(std::path::Path::new("/x")), Some(&true));
        kept.set(Preference::AllRunColumns);
        assert!(kept.run_columns.is_empty());
    }
}
