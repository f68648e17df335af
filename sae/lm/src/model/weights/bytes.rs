//! Random access to the bytes of a file, or of memory that stands for one.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// Bytes that can be read anywhere. A file is read, not mapped: a mapped file that somebody shortens ends the
/// program.
#[derive(Debug)]
pub struct Bytes {
    path: PathBuf,
    len: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Cow<'static, [u8]>),
    File(Mutex<File>),
}

impl Bytes {
    /// Bytes that are in memory already; `path` names them in messages.
    pub fn memory(bytes: impl Into<Cow<'static, [u8]>>, path: &Path) -> Self {
        let bytes = bytes.into();
        Self { path: path.to_path_buf(), len: bytes.len() as u64, place: Place::Memory(bytes) }
    }

    /// Maps nothing, reads nothing: the file is opened and its length noted.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
        if !metadata.is_file() {
            return Err(Error::format(path, "is not a regular file"));
        }
        crate::pointer::refuse_file(path)?;
        Ok(Self { path: path.to_path_buf(), len: metadata.len(), place: Place::File(Mutex::new(file)) })
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `out` with the bytes from `at` on.
    ///
    /// # Errors
    /// An end of the file before the last byte asked for; a file that cannot be read.
    pub fn read_at(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let end = at.checked_add(out.len() as u64).filter(|end| *end <= self.len);
        if end.is_none() {
            let problem = format!("ends at byte {}; {} bytes were expected at {at}", self.len, out.len());
            return Err(Error::format(&self.path, problem));
        }
        match &self.place {
            Place::Memory(bytes) => out.copy_from_slice(&bytes[at as usize..at as usize + out.len()]),
            Place::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(out));
                read.map_err(|e| Error::io(&self.path, e))?;
            }
        }
        Ok(())
    }

    /// The `len` bytes from `at` on. Checked against the length before anything is allocated.
    ///
    /// # Errors
    /// As [`Bytes::read_at`].
    pub fn read_vec(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            let problem = format!("ends at byte {}; {len} bytes were expected at {at}", self.len);
            return Err(Error::format(&self.path, problem));
        }
        let mut bytes = vec![0; len as usize];
        self.read_at(at, &mut bytes)?;
        Ok(bytes)
    }
}
