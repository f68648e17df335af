//! Which features fire on a typed text, from the inverted index of a run.

use std::path::Path;

pub use storage::token_features::FiringFeature;
use storage::token_features::{self, relevance};

use super::{Vocabulary, problem};
use crate::load::Problem;

/// The features that fire on every word of a text.
#[derive(Clone, Debug, Default)]
pub struct Firing {
    /// In the order of their numbers.
    rows: Vec<FiringFeature>,
    /// The words that the text was read as.
    words: Vec<String>,
    /// Why nothing is known.
    pub gap: Option<FiringGap>,
}

/// Why it is not known what fires on a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FiringGap {
    /// The index is of a version that did not write it.
    OldIndex,
    /// This word cannot be spelled with the tokens of the run.
    NotSpelled(String),
}

impl Firing {
    /// From features in the order of their numbers.
    pub fn new(rows: Vec<FiringFeature>) -> Self {
        Self { rows, ..Self::default() }
    }

    /// What is known of `feature`; none where it does not fire on every word.
    pub fn of(&self, feature: u32) -> Option<&FiringFeature> {
        let at = self.rows.binary_search_by_key(&feature, |one| one.feature).ok()?;
        Some(&self.rows[at])
    }

    /// The word whose occurrences are counted; none where the text is one word, whose counts are those of the text.
    pub fn word(&self, word: usize) -> Option<&str> {
        self.words.get(word).filter(|_| self.words.len() > 1).map(String::as_str)
    }

    /// The `most` that answer best, given how often each feature fires on any token.
    pub fn best(&self, density: &[f32], most: usize) -> Vec<FiringFeature> {
        let mut rows = self.rows.clone();
        rows.sort_by(|a, b| worth(b, density).total_cmp(&worth(a, density)));
        rows.truncate(most);
        rows
    }
}

/// How well a feature answers what fires on the text.
pub fn worth(one: &FiringFeature, density: &[f32]) -> f64 {
    let density = density.get(one.feature as usize).copied().unwrap_or_default();
    relevance(one.share(), f64::from(density))
}

/// How often each of `tokens` occurs among what the run in `dir` was indexed on; none where its index does not say. A token on which
/// nothing fires counts as never there.
///
/// # Errors
/// A folder that is not a run; a table that cannot be read.
pub fn occurrences(dir: &Path, tokens: &[u32]) -> Result<Option<Vec<u64>>, Problem> {
    let Some(table) = storage::Run::open(dir).and_then(|run| run.token_features()).map_err(problem)? else {
        return Ok(None);
    };
    let of = |token: &u32| {
        let rows = token_features::read(&table, *token).map_err(problem)?;
        Ok(rows.first().map_or(0, |row| u64::from(row.occurrences)))
    };
    tokens.iter().map(of).collect::<Result<_, _>>().map(Some)
}

/// Finds the features of the run in `dir` that fire on every word of `text`.
///
/// # Errors
/// A folder that is not a run; a table that cannot be read.
pub fn find(dir: &Path, text: &str, vocabulary: &Vocabulary) -> Result<Firing, Problem> {
    let gap = |gap| Ok(Firing { gap: Some(gap), ..Firing::default() });
    let words = match token_features::spell(text, &vocabulary.texts()) {
        Ok(words) => words,
        Err(word) => return gap(FiringGap::NotSpelled(word)),
    };
    match storage::Run::open(dir).and_then(|run| run.token_features()).map_err(problem)? {
        Some(table) => {
            let rows = token_features::firing_on(&table, &words).map_err(problem)?;
            let text = |word: &Vec<u32>| vocabulary.get(*word.first()?).map(|token| token.trim().to_owned());
            Ok(Firing {
                rows,
                words: words.iter().map(|word| text(word).unwrap_or_default()).collect(),
                gap: None,
            })
        }
        None => gap(FiringGap::OldIndex),
    }
}
