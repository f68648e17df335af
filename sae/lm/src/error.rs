//! The one error type of the libraries that read models and train dictionaries.
//!
//! Every message names the thing, what was expected and what was found. What to do about it is a field of its own, so that a window
//! can show it apart and a program can read it.

use std::fmt;
use std::path::{Path, PathBuf};

/// What can go wrong in this library and in `sae`.
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
        problem: Problem,
    },
    /// Something on the network cannot be reached, breaks off or answers nonsense.
    #[error("{0}")]
    Network(Problem),
    /// The request itself makes no sense: an unknown hook, k > F, an empty text.
    #[error("{0}")]
    Request(Problem),
    /// The data holds something no method can use: NaN, infinities, rows of the wrong width.
    #[error("{0}")]
    Data(Problem),
    /// The work was stopped on request; what is whole is kept.
    #[error("stopped: {0}")]
    Stopped(Problem),
}

/// What is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The thing, what was found and what was expected.
    pub what: String,
    /// What to do, if there is something to do that the message itself does not say.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

impl<S: Into<String>> From<S> for Problem {
    fn from(what: S) -> Self {
        Self { what: what.into(), remedy: None }
    }
}

/// Result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Io`] about `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// An [`Error::Format`] about `path`.
    pub fn format(path: impl AsRef<Path>, problem: impl Into<Problem>) -> Self {
        Self::Format { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// An [`Error::Network`].
    pub fn network(problem: impl Into<Problem>) -> Self {
        Self::Network(problem.into())
    }

    /// An [`Error::Request`].
    pub fn request(problem: impl Into<Problem>) -> Self {
        Self::Request(problem.into())
    }

    /// An [`Error::Data`].
    pub fn data(problem: impl Into<Problem>) -> Self {
        Self::Data(problem.into())
    }

    /// An [`Error::Stopped`]; `kept` says what is there now.
    pub fn stopped(kept: impl Into<Problem>) -> Self {
        Self::Stopped(kept.into())
    }

    /// The same error with what to do about it. Errors that carry no remedy of ours stay as they are.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        if let Some(problem) = self.problem_mut() {
            problem.remedy = Some(remedy.into());
        }
        self
    }

    /// The same error about a part of the work: `place` goes before what is wrong.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        if let Some(problem) = self.problem_mut() {
            problem.what = format!("{place}: {}", problem.what);
        }
        self
    }

    /// What to do, where the error says it.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Format { problem, .. }
            | Self::Network(problem)
            | Self::Request(problem)
            | Self::Data(problem)
            | Self::Stopped(problem) => problem.remedy.as_deref(),
            Self::Storage(error) => error.remedy(),
            Self::Io { .. } | Self::Tensor(_) => None,
        }
    }

    fn problem_mut(&mut self) -> Option<&mut Problem> {
        match self {
            Self::Format { problem, .. }
            | Self::Network(problem)
            | Self::Request(problem)
            | Self::Data(problem)
            | Self::Stopped(problem) => Some(problem),
            Self::Io { .. } | Self::Storage(_) | Self::Tensor(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_stands_apart_and_comes_last_in_the_sentence() {
        let error = Error::request("k is 64; d_sae is 32").with_remedy("choose k ≤ 32").within("run a");
        assert_eq!(error.to_string(), "run a: k is 64; d_sae is 32; choose k ≤ 32");
        assert_eq!(error.remedy(), Some("choose k ≤ 32"));
        assert_eq!(Error::data("row 3 has 5 numbers; expected 4").remedy(), None);
    }
}
