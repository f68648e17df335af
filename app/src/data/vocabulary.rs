//! Token → text.

use std::path::Path;

use super::{missing, problem};
use crate::load::Problem;

/// The texts of all tokens of a model, in one string.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    text: String,
    /// `text[ends[i - 1]..ends[i]]` belongs to token `i`.
    ends: Vec<usize>,
}

impl Vocabulary {
    /// From texts in the order of token ids.
    pub fn from_texts<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        let mut made = Self::default();
        for text in texts {
            made.push(text.as_ref());
        }
        made
    }

    /// Adds the next token.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What `token` shows as; `None` for an id that the vocabulary does not have.
    pub fn get(&self, token: u32) -> Option<&str> {
        let i = token as usize;
        let end = *self.ends.get(i)?;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        self.text.get(start..end)
    }

    /// What `token` shows as, or its number.
    pub fn show(&self, token: u32) -> std::borrow::Cow<'_, str> {
        self.get(token).map_or_else(|| format!("‹{token}›").into(), Into::into)
    }

    /// The tokens whose text contains `needle`, upper and lower case alike: a flag for every id.
    pub fn containing(&self, needle: &str) -> Vec<bool> {
        let needle = needle.to_lowercase();
        (0..self.len() as u32)
            .map(|id| self.get(id).is_some_and(|text| text.to_lowercase().contains(&needle)))
            .collect()
    }
}

/// The vocabulary that a run's index carries; an empty one if it says that its rows are no tokens.
pub fn of_run(run: &Path) -> Result<Vocabulary, Problem> {
    let opened = storage::Run::open(run).map_err(problem)?;
    if opened.index().map_err(problem)?.is_some_and(|index| !index.rows_are.tokens()) {
        return Ok(Vocabulary::default());
    }
    let reader = opened.vocabulary().map_err(problem)?;
    let reader = reader.ok_or_else(|| {
        missing(run, "vocabulary", "Tokens show as numbers; `sae index` writes it with the features.")
    })?;
    storage::vocabulary::read(&reader).map(Vocabulary::from_texts).map_err(problem)
}

/// A dataset's vocabulary.
pub fn of_dataset(dataset: &Path) -> Result<Vocabulary, Problem> {
    let dataset = storage::Dataset::open(dataset).map_err(problem)?;
    let has_text = dataset.has_table(storage::schema::VOCABULARY);
    if !has_text && !dataset.manifest().rows_are.tokens() {
        return Ok(Vocabulary::default());
    }
    let reader = dataset.table(storage::schema::VOCABULARY).map_err(problem)?;
    storage::vocabulary::read(&reader).map(Vocabulary::from_texts).map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_by_id() {
        let v = Vocabulary::from_texts(["a", "", " Wald", "‹e2›"]);
        assert_eq!(v.get(0), Some("a"));
        assert_eq!(v.get(1), Some(""));
        assert_eq!(v.get(2), Some(" Wald"));
        assert_eq!(v.get(4), None);
        assert_eq!(v.show(4), "‹4›");
        assert_eq!(v.containing("wa"), [false, false, true, false]);
    }
}
