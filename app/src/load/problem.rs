//! What went wrong, in words for the person at the window.

use std::fmt;

use crate::words::place;

/// A failure with its remedy. It is shown where the missing thing would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong: names the file and what was expected.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Problem {
    /// A failure without advice.
    pub fn new(what: impl fmt::Display) -> Self {
        Self { what: place::text(&what.to_string()), remedy: None }
    }

    /// The same failure with advice.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(place::text(&remedy.into()));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, " {remedy}"))
    }
}

impl std::error::Error for Problem {}
