//! What people say about features: `RUN/notes.json`. It lies next to the run's record and not in `features/`, because `sae index`
//! replaces that folder and a person's words must outlive it.
//!
//! A change is made to what the file holds at that moment, under a lock, and written to a second file, fsynced and renamed: two
//! windows on the same run add to each other, and a crash leaves the old file or the new one.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::lock::wait_for_turn;
use crate::record::record;

/// The file's name.
pub const FILE: &str = "notes.json";
/// `format` of the file.
pub const FORMAT: &str = "sae-workbench notes";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;

record! {
    /// What a person said about one feature.
    #[derive(Default, Eq)]
    Note {
        /// Which feature.
        feature: u32,
        /// A name; shown in place of the index's own.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        label: String,
        /// Any text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// Whether it is to be found again quickly.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bookmarked: bool,
        /// When it was changed last, seconds since 1970.
        #[serde(default)]
        changed: u64,
    }
}

impl Note {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.label.is_empty() && self.text.is_empty() && !self.bookmarked
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    format: String,
    version: u64,
    notes: Vec<Note>,
}

/// The notes of the run in `dir`, by feature; none when there is no file.
///
/// # Errors
/// A file that cannot be read, does not hold notes, or is of a newer version.
pub fn read(dir: &Path) -> Result<Vec<Note>> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut notes = read_versioned::<Notes>(&path, FORMAT, VERSION)?.notes;
    notes.sort_by_key(|note| note.feature);
    Ok(notes)
}

/// Makes the changes, in order, and gives back all notes. A note that says nothing any more is dropped. A file
/// that cannot be read is left as it is.
///
/// # Errors
/// As [`read`]; a file that cannot be locked or written.
pub fn change(dir: &Path, edits: &[(u32, &dyn Fn(&mut Note))]) -> Result<Vec<Note>> {
    let _lock = wait_for_turn(&dir.join(".notes.lock"))?;
    let mut notes = read(dir)?;
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for (feature, edit) in edits {
        let at = match notes.binary_search_by_key(feature, |note| note.feature) {
            Ok(at) => at,
            Err(at) => {
                notes.insert(at, Note { feature: *feature, ..Note::default() });
                at
            }
        };
        let before = notes[at].clone();
        edit(&mut notes[at]);
        notes[at].feature = *feature;
        if notes[at] != before {
            notes[at].changed = now;
        }
    }
    notes.retain(|note| !note.is_empty());
    let file = Notes { format: FORMAT.to_owned(), version: VERSION, notes };
    atomic::write_json(&dir.join(FILE), &file)?;
    Ok(file.notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &'static str) -> impl Fn(&mut Note) {
        move |note: &mut Note| note.label = text.to_owned()
    }

    #[test]
    fn changes_come_back_sorted_and_empty_notes_go() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        let star = |note: &mut Note| note.bookmarked = true;
        let notes = change(dir.path(), &[(9, &label("nine")), (2, &star), (9, &star)]).unwrap();
        assert_eq!(notes.iter().map(|n| n.feature).collect::<Vec<_>>(), [2, 9]);
        assert!(notes[1].bookmarked && notes[1].label == "nine" && notes[1].changed > 0);
        assert_eq!(read(dir.path()).unwrap(), notes);
        let unstar = |note: &mut Note| note.bookmarked = false;
        assert_eq!(change(dir.path(), &[(2, &unstar)]).unwrap().len(), 1);
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let dir = dir.path();
                scope.spawn(move || {
                    for i in 0..10 {
                        change(dir, &[(thread * 100 + i, &label("x"))]).unwrap();
                    }
                });
            }
        });
        assert_eq!(read(dir.path()).unwrap().len(), 40);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "{\"format\": \"sae-workbench notes\", \"version\": 1, \"notes\": [{").unwrap();
        let error = change(dir.path(), &[(1, &label("x"))]).unwrap_err().to_string();
        assert!(error.contains("notes.json"), "{error}");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("[{"));
    }
}
