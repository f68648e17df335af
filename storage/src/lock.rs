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
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { path }),
            // A file system without locks (some network ones): working without is better than not at all.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                Ok(Self { path, file })
            }
            Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes first: who creates it anew afterwards gets a file of their own.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}
