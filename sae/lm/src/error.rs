//! The one error type of the library. Every message names the thing, what was expected and what to do about it.

use std::path::{Path, PathBuf};

/// What can go wrong in this library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A dataset or run folder is missing, damaged, unfinished or foreign.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A tensor operation failed: a shape or type that does not fit.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A file was read but does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what was expected.
        problem: String,
    },
    /// Something on the network cannot be reached, breaks off or answers nonsense.
    #[error("{0}")]
    Network(String),
    /// The request itself makes no sense: an unknown hook, k > F, an empty text.
    #[error("{0}")]
    Request(String),
    /// The data holds something no method can use: NaN, infinities, rows of the wrong width.
    #[error("{0}")]
    Data(String),
    /// The work was stopped on request; what is whole is kept.
    #[error("stopped: {0}")]
    Stopped(String),
}

/// Result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Io`] about `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// An [`Error::Format`] about `path`.
    pub fn format(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Format { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// An [`Error::Request`].
    pub fn request(message: impl Into<String>) -> Self {
        Self::Request(message.into())
    }

    /// An [`Error::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::Data(message.into())
    }
}
