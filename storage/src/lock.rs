//! One writer per folder.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// The file that is locked.
pub(crate) const NAME: &str = ".lock";

/// Held by the process that writes into a folder; the system lets go of it when the process ends, however it
/// ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Keeps the lock while it is open.
    file: File,
    held: bool,
}

impl Lock {
    /// Takes `DIR/.lock`, or says at once that another process has it. Where the file system has no locks
    /// (some network and FUSE ones), nothing is held and [`Lock::is_held`] tells.
    ///
    /// # Errors
    /// [`Error::Busy`]; [`Error::Io`] if the file cannot be made.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        // Not truncated: what is in it belongs to whoever has the lock.
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = open.map_err(Error::io(&path))?;
        let Some(held) = outcome(file.try_lock()) else { return Err(Error::Busy { path }) };
        // Whoever had it may have removed the name while we waited to look: then ours is a lock on nothing.
        if held && !is_current(&path, &file) {
            return Err(Error::Busy { path });
        }
        // So that others can say who writes. Best effort: the lock itself is what counts.
        let _ = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
        Ok(Self { path, file, held })
    }

    /// Removes the lock that a killed process left in `dir`. Best effort; nothing happens where there is none or somebody holds it.
    pub fn tidy(dir: &Path) {
        if dir.join(NAME).exists() {
            // A lock removes its file when it is dropped.
            drop(Self::take(dir));
        }
    }

    /// Whether another process is kept out; false where the file system has no locks.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Follows the folder, which now is `dir`: whoever renames a folder that others may want keeps it locked until that is done.
    pub fn moved(&mut self, dir: &Path) {
        self.path = dir.join(NAME);
    }

    /// What a person should know where nothing is held.
    pub fn note(&self) -> Option<String> {
        let dir = self.path.parent().unwrap_or(&self.path).display();
        let text =
            format!("{dir} is on a file system without locks: start no second command that writes there");
        (!self.held).then_some(text)
    }

    /// The process of this machine that holds the lock of `dir`; `None` when nobody does, and where that
    /// cannot be said for sure (another machine's process, systems other than Linux). To look is to take the
    /// lock for a moment if it is free, so ask only of a folder that somebody should be writing into.
    pub fn holder(dir: &Path) -> Option<u32> {
        let path = dir.join(NAME);
        let mut file = File::open(&path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).ok()?;
                text.trim().parse().ok().filter(|process| has_open(*process, &path))
            }
            // Left by a process that was killed, or a file system without locks.
            _ => None,
        }
    }
}

/// Whether a lock is held; None where somebody else has it.
#[allow(clippy::needless_pass_by_value)] // It is what `try_lock` returns.
fn outcome(tried: std::result::Result<(), TryLockError>) -> Option<bool> {
    match tried {
        Ok(()) => Some(true),
        Err(TryLockError::WouldBlock) => None,
        // Systems say it in many ways (ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL): the file is open, so what fails
        // is locking. Working without is better than not at all.
        Err(TryLockError::Error(_)) => Some(false),
    }
}

/// Whether a process has `path` open. A number alone is not enough to send signals to: on a shared disk it is
/// another machine's.
fn has_open(process: u32, path: &Path) -> bool {
    let Ok(whole) = fs::canonicalize(path) else { return false };
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|name| name == whole))
}

/// Whether `path` still names the open file.
#[cfg(unix)]
fn is_current(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

/// Open files keep their names on other systems.
#[cfg(not(unix))]
fn is_current(_: &Path, _: &File) -> bool {
    true
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes first: who creates it anew afterwards gets a file of their own. Where that has happened already, it is theirs.
        if is_current(&self.path, &self.file) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// How long a writer waits for a different one of the same file: what is written at the end of two equal jobs takes turns, and of two long
/// writers the second is refused.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Makes `partial` anew, empty and nobody else's until the file is closed. Without that, of two processes that write one file the second
/// would write into what the first renames, and a mixture would pass for whole.
///
/// # Errors
/// [`Error::Busy`] if a different writer keeps it; [`Error::Io`] if it cannot be made.
pub(crate) fn create_alone(partial: &Path) -> Result<File> {
    create_within(partial, PATIENCE)
}

fn create_within(partial: &Path, patience: Duration) -> Result<File> {
    let began = Instant::now();
    loop {
        let open = File::options().create(true).truncate(false).read(true).write(true).open(partial);
        let file = open.map_err(Error::io(partial))?;
        match outcome(file.try_lock()) {
            // It was renamed or removed by whoever had it: the name is free.
            Some(true) if !is_current(partial, &file) => {}
            // Held, or a file system without locks.
            Some(_) => {
                file.set_len(0).map_err(Error::io(partial))?;
                return Ok(file);
            }
            None if began.elapsed() >= patience => return Err(Error::Busy { path: partial.to_owned() }),
            None => std::thread::sleep(PAUSE),
        }
    }
}

/// Waits until nobody else changes the file that `path` locks; until the file that is returned is dropped it is ours. This is not the lock
/// of [`Lock`], which a training holds for hours.
///
/// # Errors
/// [`Error::Io`] if the file cannot be made or locked.
pub(crate) fn wait_for_turn(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(Error::io(path))?;
    match file.lock() {
        Ok(()) => Ok(file),
        // A file system without locks (some network ones): working without is better than not at all.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(error) => Err(Error::io(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_written_without() {
        // ENOLCK, EOPNOTSUPP, ENOSYS and EINVAL of Linux.
        for number in [37, 95, 38, 22] {
            let error = std::io::Error::from_raw_os_error(number);
            assert_eq!(outcome(Err(TryLockError::Error(error))), Some(false), "{number}");
        }
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::take(dir.path()).unwrap();
        assert_eq!(lock.note(), None);
        lock.held = false;
        assert!(lock.note().unwrap().starts_with(&dir.path().display().to_string()));
        assert_eq!((outcome(Ok(())), outcome(Err(TryLockError::WouldBlock))), (Some(true), None));
    }

    #[test]
    fn writers_of_one_file_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let (path, partial) = (dir.path().join("a"), dir.path().join("a.partial"));
        fs::write(&partial, "left by a process that was killed").unwrap();
        let mut one = create_alone(&partial).unwrap();
        let refused = create_within(&partial, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(refused, Error::Busy { .. }), "{refused}");
        let second = {
            let partial = partial.clone();
            std::thread::spawn(move || {
                let mut other = create_alone(&partial).unwrap();
                other.write_all(b"the second").unwrap();
            })
        };
        std::thread::sleep(Duration::from_millis(30));
        one.write_all(b"the first").unwrap();
        fs::rename(&partial, &path).unwrap();
        drop(one);
        second.join().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "the first", "the second did not write into it");
        assert_eq!(fs::read_to_string(&partial).unwrap(), "the second");
    }

    #[test]
    fn one_at_a_time_and_others_can_say_who() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lock::holder(dir.path()), None);
        let lock = Lock::take(dir.path()).unwrap();
        let this = cfg!(target_os = "linux").then(std::process::id);
        assert_eq!(Lock::holder(dir.path()), this);
        assert!(matches!(Lock::take(dir.path()), Err(Error::Busy { .. })));
        assert_eq!(Lock::holder(dir.path()), this, "who asked in vain changed nothing");
        // Held, but not by the process that is named there.
        fs::write(dir.path().join(NAME), "1\n").unwrap();
        assert_eq!(Lock::holder(dir.path()), None);
        drop(lock);
        assert_eq!(Lock::holder(dir.path()), None);
        // What a killed process leaves.
        fs::write(dir.path().join(NAME), "4000000\n").unwrap();
        assert_eq!(Lock::holder(dir.path()), None);
        let lock = Lock::take(dir.path()).unwrap();
        Lock::tidy(dir.path());
        assert_eq!(Lock::holder(dir.path()), this, "what is held stays");
        drop(lock);
        fs::write(dir.path().join(NAME), "4000000\n").unwrap();
        Lock::tidy(dir.path());
        assert!(!dir.path().join(NAME).exists());
    }
}
