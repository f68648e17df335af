//! Small files that are either the old ones or the new ones, never half of each.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::bucket;
use crate::error::{Error, Result};
use crate::lock::create_alone;

/// Suffix of files that are being written; they are never read.
pub(crate) const PARTIAL: &str = ".partial";

/// Writes `bytes` next to `path`, fsyncs, renames over `path` and fsyncs the folder. After a crash or on a full disk
/// `path` holds what it held before. Two processes that write one file take turns.
///
/// # Errors
/// [`Error::Io`] with the file that cannot be written, synced or renamed; `path` is then as it was. [`Error::Busy`] if a different
/// process does not finish it.
///
/// In JSON and TOML, paths of copies of a store's objects are written as the addresses that they stand for.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let bytes = &*bucket::portable(path, bytes);
    let partial = partial_path(path);
    // Open, hence ours, until it has its name or is removed.
    let mut file = create_alone(&partial)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(&partial));
    let written = written.and_then(|()| publish(&partial, path));
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

/// Whether a folder gets its name only when it is whole.
pub(crate) fn in_the_making(folder: &Path) -> bool {
    folder.extension().is_some_and(|suffix| suffix == "partial")
}

/// `PATH.partial`.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
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
