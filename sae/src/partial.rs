//! A folder that is made next to its place and moved there only when it is whole.

use std::path::{Path, PathBuf};
use std::{fs, io};

use storage::Lock;

use crate::{Error, Result};

/// `NAME.partial` while it is made. Dropped before [`Partial::publish`], it is removed.
#[derive(Debug)]
pub struct Partial {
    place: PathBuf,
    folder: PathBuf,
    /// Where the folder that is replaced stands until the new one is in place.
    old: PathBuf,
    lock: Lock,
    published: bool,
}

impl Partial {
    /// Begins a new folder: what an interrupted attempt left is removed, a second attempt at the same time is
    /// refused.
    ///
    /// # Errors
    /// A folder that cannot be made, or a second attempt at the same time.
    pub fn begin(place: &Path) -> Result<Self> {
        Self::begin_as(place, beside(place, ".partial"), beside(place, ".old"))
    }

    /// The same with names of their own for the new folder and the one that is replaced.
    ///
    /// # Errors
    /// As [`Partial::begin`].
    pub fn begin_as(place: &Path, folder: PathBuf, old: PathBuf) -> Result<Self> {
        let lock = take(&folder)?;
        // From here on, what fails leaves no folder.
        let partial = Self { place: place.to_owned(), folder, old, lock, published: false };
        // Only now: without the lock it could be another attempt that is between its two renames.
        recover(place, &partial.old)?;
        partial.clear()?;
        Ok(partial)
    }

    /// Removes what an interrupted attempt left.
    ///
    /// # Errors
    /// What cannot be read or removed.
    fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.folder).map_err(|e| Error::io(&self.folder, e))? {
            let path = entry.map_err(|e| Error::io(&self.folder, e))?.path();
            if path.file_name().is_some_and(|name| name != ".lock") {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(())
    }

    /// What a person should know where the file system has no locks.
    pub fn note(&self) -> Option<String> {
        self.lock.note()
    }

    /// The folder to write into.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes the files of the folder `name` of the one that is in place, where there is such a folder.
    ///
    /// # Errors
    /// A file that cannot be copied.
    pub fn keep(&self, name: &str) -> Result<()> {
        let (from, to) = (self.place.join(name), self.folder.join(name));
        let Ok(entries) = fs::read_dir(&from) else { return Ok(()) };
        fs::create_dir_all(&to).map_err(|e| Error::io(&to, e))?;
        for entry in entries {
            let path = entry.map_err(|e| Error::io(&from, e))?.path();
            storage::bucket::fill(&path)?;
            let bytes = fs::read(&path).map_err(|e| Error::io(&path, e))?;
            storage::atomic::write(&to.join(path.file_name().unwrap_or_default()), &bytes)?;
        }
        Ok(())
    }

    /// Takes the file `name` of the folder that is in place, where there is one.
    ///
    /// # Errors
    /// A file that cannot be copied.
    pub fn keep_file(&self, name: &str) -> Result<()> {
        let from = self.place.join(name);
        match fs::read(&from) {
            Ok(bytes) => Ok(storage::atomic::write(&self.folder.join(name), &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io(&from, error)),
        }
    }

    /// Puts the folder in its place; the one that was there is removed only afterwards.
    ///
    /// # Errors
    /// A folder that cannot be moved into place.
    pub fn publish(mut self) -> Result<()> {
        let replaced = self.place.exists();
        if replaced {
            rename(&self.place, &self.old)?;
        }
        if let Err(error) = rename(&self.folder, &self.place) {
            if replaced {
                // Best effort: where this fails too, the next attempt puts it back.
                let _ = fs::rename(&self.old, &self.place);
            }
            return Err(error);
        }
        self.published = true;
        self.lock.moved(&self.place);
        sync_names(&self.place)?;
        remove(&self.old)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: the next attempt removes what stays. The lock is let go of afterwards.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Makes the folder and locks it.
///
/// # Errors
/// A folder that cannot be made; a second attempt at the same time.
fn take(folder: &Path) -> Result<Lock> {
    let mut attempts = 0;
    loop {
        match fs::create_dir_all(folder) {
            // Another attempt made it, and put it in its place before it was looked at.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !folder.is_file() => {}
            made => made.map_err(|e| Error::io(folder, e))?,
        }
        match Lock::take(folder) {
            // Another attempt has just put it in its place.
            Err(storage::Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && attempts < AGAIN => {}
            taken => return Ok(taken?),
        }
        attempts += 1;
    }
}

/// How often something is tried again that other attempts at the same place may undo.
const AGAIN: usize = 100;

/// Removes a folder, if it is there.
///
/// # Errors
/// A folder that cannot be removed.
fn remove(folder: &Path) -> Result<()> {
    // Whoever looked for the lock of the folder under its earlier name may put a new lock file into it while it is removed.
    for _ in 0..AGAIN {
        match fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(Error::io(folder, error)),
        }
    }
    fs::remove_dir_all(folder).map_err(|e| Error::io(folder, e))
}

/// Where a crash between two renames left the folder of `place` under its other name `old`, it goes back.
///
/// # Errors
/// A folder that cannot be moved or removed; another attempt that is removing it.
fn recover(place: &Path, old: &Path) -> Result<()> {
    match (old.exists(), place.exists()) {
        (true, false) => rename(old, place),
        (true, true) => {
            // Whoever has just put the new folder in its place holds its lock until the old one is gone. Who would not wait for that could
            // have an old folder of its own removed before the new one is in place.
            let _turn = Lock::take(place)?;
            remove(old)
        }
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

/// Makes renames next to `place` durable; only Unix needs and allows it.
///
/// # Errors
/// A folder that cannot be opened or synced.
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
    fn what_begins_during_a_publication_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("features");
        let attempts: Vec<_> = (0..4)
            .map(|who| {
                let place = place.clone();
                std::thread::spawn(move || {
                    let mut published = 0;
                    for turn in 0..200 {
                        match Partial::begin(&place) {
                            Ok(partial) => {
                                fs::write(partial.folder().join("a"), format!("{who} {turn}")).unwrap();
                                partial.publish().unwrap();
                                published += 1;
                            }
                            Err(error) => assert!(error.to_string().contains("another process"), "{error}"),
                        }
                    }
                    published
                })
            })
            .collect();
        let published: u32 = attempts.into_iter().map(|attempt| attempt.join().unwrap()).sum();
        assert!(published > 0);
        assert!(content(&place).contains(' '));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left next to it");
        let files = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(files.filter(|name| name != ".lock").count(), 1, "nothing is left in it");
    }

    #[test]
    fn a_folder_within_can_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("truth");
        fs::create_dir_all(place.join("pruned")).unwrap();
        fs::write(place.join("pruned/a"), "kept").unwrap();
        for _ in 0..2 {
            let partial = Partial::begin(&place).unwrap();
            partial.keep("pruned").unwrap();
            partial.keep("not there").unwrap();
            partial.publish().unwrap();
            assert_eq!(fs::read_to_string(place.join("pruned/a")).unwrap(), "kept");
            assert!(!place.join("not there").exists());
        }
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
