//! A folder that is made next to its place and moved there only when it is whole.

use std::fs;
use std::path::{Path, PathBuf};

use storage::Lock;

use crate::{Error, Result};

/// `NAME.partial` while it is made. Dropped before [`Partial::publish`], it is removed.
#[derive(Debug)]
pub struct Partial {
    place: PathBuf,
    folder: PathBuf,
    lock: Option<Lock>,
}

impl Partial {
    /// Begins a new folder: what an interrupted attempt left is removed, a second attempt at the same time is
    /// refused.
    ///
    /// # Errors
    /// A folder that cannot be made, or a second attempt at the same time.
    pub fn begin(place: &Path) -> Result<Self> {
        recover(place)?;
        let folder = beside(place, ".partial");
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let lock = Lock::take(&folder)?;
        for entry in fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
            let path = entry.map_err(|e| Error::io(&folder, e))?.path();
            if path.file_name().is_some_and(|name| name != ".lock") {
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(Self { place: place.to_owned(), folder, lock: Some(lock) })
    }

    /// What a person should know where the file system has no locks.
    pub fn note(&self) -> Option<String> {
        self.lock.as_ref().and_then(Lock::note)
    }

    /// The folder to write into.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts the folder in its place; the one that was there is removed only afterwards.
    ///
    /// # Errors
    /// A folder that cannot be moved into place.
    pub fn publish(mut self) -> Result<()> {
        self.lock = None;
        let old = beside(&self.place, ".old");
        let replaced = self.place.exists();
        if replaced {
            rename(&self.place, &old)?;
        }
        if let Err(error) = rename(&self.folder, &self.place) {
            if replaced {
                // Best effort: where this fails too, the next attempt puts it back.
                let _ = fs::rename(&old, &self.place);
            }
            return Err(error);
        }
        sync_names(&self.place)?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(|e| Error::io(&old, e))?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.lock = None;
        if self.folder.exists() {
            // Best effort: the next attempt removes what stays.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Where a crash between two renames left the old folder under its other name, it goes back.
fn recover(place: &Path) -> Result<()> {
    let old = beside(place, ".old");
    match (old.exists(), place.exists()) {
        (true, false) => rename(&old, place),
        (true, true) => fs::remove_dir_all(&old).map_err(|e| Error::io(&old, e)),
        (false, _) => Ok(()),
    }
}

fn beside(place: &Path, suffix: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io(to, e))
}

/// Makes renames durable; only Unix needs and allows it.
fn sync_names(place: &Path) -> Result<()> {
    let Some(parent) = place.parent().filter(|_| cfg!(unix)) else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(parent, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(place: &Path) -> String {
        fs::read_to_string(place.join("a")).unwrap()
    }

    #[test]
    fn the_old_folder_stays_until_the_new_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("features");
        for text in ["first", "second"] {
            let partial = Partial::begin(&place).unwrap();
            fs::write(partial.folder().join("a"), text).unwrap();
            partial.publish().unwrap();
            assert_eq!(content(&place), text);
        }
        let dropped = Partial::begin(&place).unwrap();
        fs::write(dropped.folder().join("a"), "third").unwrap();
        assert!(Partial::begin(&place).is_err(), "one at a time");
        drop(dropped);
        assert_eq!(content(&place), "second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    }

    #[test]
    fn a_crash_between_renames_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("features");
        fs::create_dir(dir.path().join("features.old")).unwrap();
        fs::write(dir.path().join("features.old/a"), "kept").unwrap();
        drop(Partial::begin(&place).unwrap());
        assert_eq!(content(&place), "kept");
    }
}
