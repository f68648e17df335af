//! A file that many threads read at once, by position.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::bucket::{self, Blocks};
use crate::error::{Error, Result};

/// One open file. Reads do not move a shared cursor, so clones are independent.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: Arc<File>,
    /// For a copy of a store's object: it fetches what is read.
    blocks: Option<Arc<Blocks>>,
    length: u64,
    bytes_read: Arc<AtomicU64>,
}

impl Source {
    /// # Errors
    /// [`Error::Missing`], [`Error::Foreign`] for a folder, [`Error::Io`] for a file that cannot be opened.
    pub fn open(path: &Path, bytes_read: Arc<AtomicU64>) -> Result<Self> {
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                path: path.to_owned(),
                remedy: "check the path or restore the file".to_owned(),
            },
            _ => Error::Io { path: path.to_owned(), source },
        })?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if metadata.is_dir() {
            return Err(Error::Foreign {
                path: path.to_owned(),
                found: "a folder".to_owned(),
                expected: "a Parquet file".to_owned(),
            });
        }
        let blocks = bucket::blocks(path)?;
        Ok(Self { file: Arc::new(file), blocks, length: metadata.len(), bytes_read })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = match &self.blocks {
            Some(blocks) => blocks.read_at(buffer, offset)?,
            None => bucket::read_at(&self.file, buffer, offset)?,
        };
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Source {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(Cursor { source: self.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // A damaged footer can ask for anything: look before allocating.
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} asked of a file of {} bytes",
                self.length
            )));
        }
        let mut buffer = vec![0; length];
        let mut done = 0;
        while done < length {
            match self.read_at(&mut buffer[done..], start + done as u64) {
                Ok(0) => return Err(ParquetError::EOF("the file became shorter".to_owned())),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ParquetError::External(Box::new(error))),
            }
        }
        Ok(buffer.into())
    }
}

/// Reads on from an offset.
#[derive(Debug)]
pub(super) struct Cursor {
    source: Source,
    offset: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
