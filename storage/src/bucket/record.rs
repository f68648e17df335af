//! What is known of a file of the mirror: which object it is a copy of, and which blocks of it are there.
//!
//! `.objects/BUCKET/KEY.of` below the mirror's root has a line of JSON and, for a file that is fetched in blocks, a byte per block:
//! 1 once the block's bytes are durable. A file whose identity is not the recorded one was made or changed on this machine.

use std::fs::{self, File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::{Error, Result};

/// Bytes of a block: a tenth of what a second of latency costs on a slow line, many pages of a table.
pub(super) const BLOCK: u64 = 256 << 10;
/// The folder of the records below the mirror's root.
pub(super) const FOLDER: &str = ".objects";
/// The longest line that is read as one.
const LONGEST_LINE: u64 = 1 << 16;

/// Of a file on this machine: as good as its content, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// 0 where the system has no such number.
    node: u64,
    created: u128,
    bytes: u64,
    /// 0 for a file that is fetched in blocks: it changes with each.
    modified: u128,
}

impl Identity {
    fn of(metadata: &Metadata, in_blocks: bool) -> Self {
        let nanoseconds = |time: std::io::Result<std::time::SystemTime>| {
            time.ok()
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                .map_or(0, |since| since.as_nanos())
        };
        #[cfg(unix)]
        let node = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let node = 0;
        Self {
            node,
            created: nanoseconds(metadata.created()),
            bytes: metadata.len(),
            modified: if in_blocks { 0 } else { nanoseconds(metadata.modified()) },
        }
    }
}

/// The line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub etag: String,
    pub bytes: u64,
    /// Bytes of a block; 0 for a file that is there as a whole.
    pub block: u64,
    identity: Identity,
}

impl Record {
    /// Of the file in `path`, which is a copy of the object with this ETag.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn of(path: &Path, etag: &str, in_blocks: bool) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io(path))?;
        let block = if in_blocks { BLOCK } else { 0 };
        let identity = Identity::of(&metadata, in_blocks);
        Ok(Self { etag: etag.to_owned(), bytes: metadata.len(), block, identity })
    }

    /// Whether the file in `path` is still the one that was recorded.
    pub fn fits(&self, path: &Path) -> bool {
        fs::metadata(path)
            .is_ok_and(|found| found.is_file() && Identity::of(&found, self.block > 0) == self.identity)
    }

    /// Number of blocks; 0 for a whole file.
    pub fn blocks(&self) -> usize {
        if self.block == 0 { 0 } else { self.bytes.div_ceil(self.block) as usize }
    }

    /// Writes the record of `path`, with no block there yet.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub fn write(&self, root: &Path, path: &Path) -> Result<()> {
        let place = place(root, path)?;
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let mut bytes = serde_json::to_vec(self).map_err(|e| Error::json(&place, &e))?;
        bytes.push(b'\n');
        bytes.resize(bytes.len() + self.blocks(), 0);
        atomic::write(&place, &bytes)
    }

    /// The record of `path`; `None` where there is none that can be understood.
    pub fn read(root: &Path, path: &Path) -> Option<Self> {
        let mut file = File::open(place(root, path).ok()?).ok()?;
        Self::read_line(&mut file).map(|(record, _)| record)
    }

    /// The record of `path` with its file open and where the bytes of the blocks begin.
    pub fn open(root: &Path, path: &Path) -> Option<(Self, File, u64)> {
        let mut file = File::options().read(true).write(true).open(place(root, path).ok()?).ok()?;
        let (record, at) = Self::read_line(&mut file)?;
        let whole = file.metadata().is_ok_and(|found| found.len() == at + record.blocks() as u64);
        whole.then_some((record, file, at))
    }

    fn read_line(file: &mut File) -> Option<(Self, u64)> {
        let mut begin = Vec::new();
        file.take(LONGEST_LINE).read_to_end(&mut begin).ok()?;
        let end = begin.iter().position(|byte| *byte == b'\n')?;
        Some((serde_json::from_slice(&begin[..end]).ok()?, end as u64 + 1))
    }
}

/// Which blocks are there, of an open record.
pub(super) fn present(map: &mut File, at: u64, blocks: usize) -> std::io::Result<Vec<bool>> {
    let mut bytes = vec![0; blocks];
    map.seek(SeekFrom::Start(at))?;
    map.read_exact(&mut bytes)?;
    Ok(bytes.into_iter().map(|byte| byte == 1).collect())
}

/// Writes which blocks are there, from `first` on.
pub(super) fn mark(map: &mut File, at: u64, first: usize, blocks: &[u8]) -> std::io::Result<()> {
    map.seek(SeekFrom::Start(at + first as u64))?;
    map.write_all(blocks)
}

/// Where the record of `path` is.
///
/// # Errors
/// A path outside of the mirror.
pub(super) fn place(root: &Path, path: &Path) -> Result<PathBuf> {
    let below = path.strip_prefix(root).map_err(|_| Error::Argument {
        path: path.to_owned(),
        message: format!("is not in the cache {}", root.display()),
    })?;
    let mut name = root.join(FOLDER).join(below).into_os_string();
    name.push(".of");
    Ok(name.into())
}

/// The path that a record is about.
pub(super) fn path_of(root: &Path, record: &Path) -> Option<PathBuf> {
    let below = record.strip_prefix(root.join(FOLDER)).ok()?.to_str()?;
    Some(root.join(below.strip_suffix(".of")?))
}

/// All files below `folder`, sorted. Links are not followed; a folder that does not exist has none.
///
/// # Errors
/// A folder that cannot be listed.
pub(super) fn files(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // It was never there, or a command has just moved it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(&folder)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io(&folder))?;
            if !entry.file_name().to_str().is_some_and(wanted) {
                continue;
            }
            match entry.file_type().map_err(Error::io(&folder))? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name is part of the work, and not of how it is done: nothing hidden, unfinished or replaced, and no checkpoints, which are
/// many times as large as what a run is read for.
pub(super) fn is_content(name: &str) -> bool {
    !name.starts_with('.') && !name.ends_with(".partial") && !name.ends_with(".old") && name != "checkpoints"
}
