//! Token → text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use super::{missing, problem};
use crate::load::Problem;

/// The texts of all tokens of a model, in one string.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    text: String,
    /// `text[ends[i - 1]..ends[i]]` belongs to token `i`.
    ends: Vec<usize>,
    /// The bytes of the tokens that are not text by themselves: parts of characters.
    parts: HashMap<u32, Vec<u8>>,
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

    /// With the bytes of all tokens, so that characters that are cut across tokens can be shown whole.
    #[must_use]
    pub fn with_bytes<B: AsRef<[u8]>>(mut self, bytes: impl IntoIterator<Item = B>) -> Self {
        let cut = (0..).zip(bytes).filter(|(_, bytes)| std::str::from_utf8(bytes.as_ref()).is_err());
        self.parts = cut.map(|(token, bytes)| (token, bytes.as_ref().to_vec())).collect();
        self
    }

    /// What each of consecutive tokens shows as. A character whose bytes lie in several of them is shown whole at the first; the others
    /// show as nothing.
    pub fn in_context(&self, tokens: &[u32]) -> Vec<Cow<'_, str>> {
        if !tokens.iter().any(|token| self.parts.contains_key(token)) {
            return tokens.iter().map(|token| self.show(*token)).collect();
        }
        let shown: Vec<Cow<'_, str>> = tokens.iter().map(|token| self.show(*token)).collect();
        let bytes = |(token, shown): (&u32, &'_ Cow<'_, str>)| {
            self.parts.get(token).cloned().unwrap_or_else(|| shown.as_bytes().to_vec())
        };
        let bytes: Vec<Vec<u8>> = tokens.iter().zip(&shown).map(bytes).collect();
        let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let whole = storage::vocabulary::in_context(&slices);
        // `‹›` stands for a token that has nothing left to show, unless a token reads so itself.
        let rest = |(whole, token): (String, &u32)| match whole.as_str() {
            "‹›" if self.parts.contains_key(token) => Cow::Borrowed(""),
            _ => Cow::Owned(whole),
        };
        whole.into_iter().zip(tokens).map(rest).collect()
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

    /// What the tokens show as, in the order of their ids.
    pub fn texts(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.len() as u32).map(|token| self.get(token).unwrap_or_default())
    }

    /// What `token` shows as, or its number.
    pub fn show(&self, token: u32) -> Cow<'_, str> {
        self.get(token).map_or_else(|| format!("‹{token}›").into(), Into::into)
    }

    /// Whether a token is a part of a character, which shows as nothing after the one that begins it.
    pub fn is_part(&self, token: Option<&u32>) -> bool {
        token.is_some_and(|token| self.parts.contains_key(token))
    }

    /// The tokens whose text contains `needle`, upper and lower case alike: a flag for every id.
    pub fn containing(&self, needle: &str) -> Vec<bool> {
        let needle = needle.to_lowercase();
        (0..self.len() as u32)
            .map(|id| self.get(id).is_some_and(|text| text.to_lowercase().contains(&needle)))
            .collect()
    }
}

/// The vocabulary that a run's index carries; an empty one if it says that its rows are not tokens.
///
/// # Errors
/// A run whose index has no vocabulary, or one that cannot be read.
pub fn of_run(run: &Path) -> Result<Vocabulary, Problem> {
    let opened = storage::Run::open(run).map_err(problem)?;
    if opened.index().map_err(problem)?.is_some_and(|index| !index.rows_are.tokens()) {
        return Ok(Vocabulary::default());
    }
    let reader = opened.vocabulary().map_err(problem)?;
    let reader = reader.ok_or_else(|| {
        missing(run, "vocabulary", "Tokens show as numbers; `sae index` writes it with the features.")
    })?;
    read(&reader)
}

fn read(table: &storage::TableReader) -> Result<Vocabulary, Problem> {
    let texts = storage::vocabulary::read(table).map_err(problem)?;
    let bytes = storage::vocabulary::read_bytes(table).map_err(problem)?;
    Ok(Vocabulary::from_texts(texts).with_bytes(bytes))
}

/// A dataset's vocabulary.
///
/// # Errors
/// A dataset without a vocabulary, or one that cannot be read.
pub fn of_dataset(dataset: &Path) -> Result<Vocabulary, Problem> {
    let dataset = storage::Dataset::open(dataset).map_err(problem)?;
    let has_text = dataset.has_table(storage::schema::VOCABULARY);
    if !has_text && !dataset.manifest().rows_are.tokens() {
        return Ok(Vocabulary::default());
    }
    let reader = dataset.table(storage::schema::VOCABULARY).map_err(problem)?;
    read(&reader)
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

    #[test]
    fn characters_that_are_cut_across_tokens_are_shown_whole() {
        let bytes: [&[u8]; 5] = [b"a\xe2", b"\x82", b"\xac", b" b", "‹›".as_bytes()];
        let texts = bytes.map(|bytes| storage::vocabulary::in_context(&[bytes]).concat());
        let v = Vocabulary::from_texts(texts).with_bytes(bytes);
        assert_eq!(v.show(1), "‹82›", "alone it is a byte");
        assert_eq!(v.in_context(&[0, 1, 2, 3]), ["a€", "", "", " b"]);
        assert_eq!(v.in_context(&[3, 1, 4]), [" b", "‹82›", "‹›"]);
        assert_eq!(v.in_context(&[3, 9]), [" b", "‹9›"]);
    }
}
