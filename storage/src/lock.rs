//! One writer a folder.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Held by the process that writes into a folder; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Keeps the lock while it is open.
    file: File,
}

impl Lock {
    /// Takes `DIR/.lock`, or says at once that another process has it.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(".lock");
        let file = File::create(&path).map_err(Error::io(&path))?;
        match file.try_lock() {
            // Whoever had it may have removed the name while we waited to look: then ours is a lock on nothing.
            Ok(()) if is_current(&path, &file) => Ok(Self { path, file }),
            Ok(()) => Err(Error::Busy { path }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { path }),
            // A file system without locks (some network ones): working without is better than not at all.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                Ok(Self { path, file })
            }
            Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
        }
    }
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
        // The name goes first: who creates it anew afterwards gets a file of their own.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}
