//! What can go wrong with files: always a path, what was found, what was expected and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of storage. Every message names the file and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("{}: {source}{}{}", path.display(), if disk_hint(source).is_some() { "; " } else { "" }, disk_hint(source).unwrap_or_default())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder that is needed is not there.
    #[error("{}: not found; {remedy}", path.display())]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// A dataset whose writing was interrupted.
    #[error("{}: unfinished ({detail}); {remedy}", path.display())]
    Unfinished {
        /// The dataset's folder.
        path: PathBuf,
        /// How far it came.
        detail: String,
        /// What to do.
        remedy: String,
    },
    /// A dataset that is complete must not be written again.
    #[error("{}: already finished; choose a different folder or remove this one", path.display())]
    Finished {
        /// The dataset's folder.
        path: PathBuf,
    },
    /// Somebody else is writing here.
    #[error("{}: another process is writing here; wait for it or choose a different folder", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// The interrupted work in a folder was begun with other settings.
    #[error("{}: the interrupted work there was begun with other settings: {difference}; {remedy}", path.display())]
    Differs {
        /// The journal.
        path: PathBuf,
        /// Each setting that differs, with both values.
        difference: String,
        /// What to do.
        remedy: String,
    },
    /// A file of another kind.
    #[error("{}: found {found}, expected {expected}", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Written by a newer version of this program.
    #[error("{}: format version {found}, this program reads up to {supported}; update the program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version that this program knows.
        supported: u64,
    },
    /// A part that is not what its manifest says.
    #[error("{}: {part} is damaged: expected {expected}, found {found}; make the dataset again or restore the file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        part: String,
        /// What the manifest says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A Parquet file that cannot be read or written.
    #[error("{}: not a readable Parquet file (cut off, damaged or something else): {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet library said.
        source: parquet::errors::ParquetError,
    },
    /// A table without an expected column, or with one of another type.
    #[error("{}: column `{column}`: expected {expected}, found {found}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The type it should have.
        expected: String,
        /// The type it has, or that it is missing.
        found: String,
    },
    /// A column or value in memory that is not what it should be.
    #[error("column `{column}`: expected {expected}, found {found}")]
    Column {
        /// The column.
        column: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// JSON that cannot be understood.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was expected.
        message: String,
    },
    /// An object store refuses, stays away, or has something different from what it had.
    #[error("{address}: {problem}{}{}", if remedy.is_some() { "; " } else { "" }, remedy.as_deref().unwrap_or_default())]
    Bucket {
        /// What was asked for, `s3://…`.
        address: String,
        /// What is wrong.
        problem: String,
        /// What to do, where there is something to do.
        remedy: Option<String>,
    },
    /// An argument that makes no sense for this file.
    #[error("{}: {message}", path.display())]
    Argument {
        /// The file that was asked.
        path: PathBuf,
        /// What is wrong with the question.
        message: String,
    },
}

impl Error {
    /// What to do, where there is something to do that the message does not say by itself.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Missing { remedy, .. } | Self::Unfinished { remedy, .. } | Self::Differs { remedy, .. } => {
                Some(remedy)
            }
            Self::Finished { .. } => Some("choose a different folder or remove this one"),
            Self::Busy { .. } => Some("wait for it or choose a different folder"),
            Self::Newer { .. } => Some("update the program"),
            Self::Damaged { .. } => Some("make the dataset again or restore the file"),
            Self::Io { source, .. } => disk_hint(source),
            Self::Bucket { remedy, .. } => remedy.as_deref(),
            _ => None,
        }
    }

    /// An [`Error::Bucket`].
    pub(crate) fn bucket(address: &str, problem: &str, remedy: Option<&str>) -> Self {
        let (address, problem) = (address.to_owned(), problem.to_owned());
        Self::Bucket { address, problem, remedy: remedy.map(str::to_owned) }
    }

    /// An I/O error with its path. "Not found" stays an `Io` error: the caller knows better what is missing.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// A Parquet error with its path; a system error that Parquet wraps comes out as `Io`.
    pub(crate) fn parquet(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.to_owned();
        move |source| match source {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                // What a store did while a table was read from it says by itself which object it is about.
                Ok(source) => match source.downcast::<Self>() {
                    Ok(own) => own,
                    Err(source) => Self::Io { path, source },
                },
                Err(inner) => Self::Parquet { path, source: parquet::errors::ParquetError::External(inner) },
            },
            source => Self::Parquet { path, source },
        }
    }

    /// A JSON error with its path, line and column.
    pub(crate) fn json(path: &Path, source: &serde_json::Error) -> Self {
        let place = format!(" at line {} column {}", source.line(), source.column());
        let message = source.to_string();
        let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        Self::Json { path: path.to_owned(), line: source.line(), column: source.column(), message }
    }

    /// Gives an error about a column the file that the column was read from.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Column { column, expected, found } => {
                Self::Schema { path: path.to_owned(), column, expected, found }
            }
            other => other,
        }
    }

    /// A value in memory that is not what it should be.
    pub(crate) fn column(column: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Column { column: column.to_owned(), expected: expected.into(), found: found.into() }
    }
}

fn disk_hint(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space and repeat the command, whole parts are kept")
        }
        io::ErrorKind::PermissionDenied => Some("check who owns the file and its permissions"),
        _ => None,
    }
}
