//! Small files that are either the old ones or the new ones, never half of each.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// Suffix of files that are being written; they are never read.
pub(crate) const PARTIAL: &str = ".partial";

/// Writes `bytes` next to `path`, fsyncs, renames over `path` and fsyncs the folder. After a crash or on a full disk
/// `path` holds what it held before.
///
/// # Errors
/// [`Error::Io`] with the file that cannot be written, synced or renamed; `path` is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = partial_path(path);
    let written = write_new(&partial, bytes).and_then(|()| publish(&partial, path));
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// [`write()`] of `value` as indented JSON with a newline at the end.
///
/// # Errors
/// As [`write()`]; [`Error::Json`] for a value that JSON cannot hold.
pub fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::json(path, &e))?;
    bytes.push(b'\n');
    write(path, &bytes)
}

/// `PATH.partial`.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

fn write_new(partial: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(partial).map_err(Error::io(partial))?;
    file.write_all(bytes).map_err(Error::io(partial))?;
    file.sync_all().map_err(Error::io(partial))
}

/// Renames a file whose bytes are already fsynced and makes the name durable too.
pub(crate) fn publish(partial: &Path, path: &Path) -> Result<()> {
    fs::rename(partial, path).map_err(Error::io(path))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes names in `folder` durable. Only Unix needs and allows it.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let file = File::open(folder).map_err(Error::io(folder))?;
        file.sync_all().map_err(Error::io(folder))?;
    }
    Ok(())
}
