//! Kinds of tokens by expert: line breaks, spaces, digits, punctuation, beginnings and pieces of words.
//!
//! Kinds stand where domains stand in [`specialisation`](crate::experts::figures::specialisation): share of
//! the kind's tokens that chose the expert, and the 2× rule. The experts that published analyses call
//! "whitespace" or "digits" are those.

use std::collections::BTreeMap;

use storage::Dataset;
use storage::experts::SpecialisationRow;
use storage::schema::VOCABULARY;

use crate::Result;
use crate::experts::figures::{InDomain, specialisation, total};
use crate::experts::routing::Choice;

/// What a token looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// White space with a line break in it.
    LineBreak,
    /// Other white space.
    Space,
    /// Digits, maybe after a space.
    Digits,
    /// No letter and no digit, maybe after a space.
    Punctuation,
    /// Letters after a space.
    WordBegin,
    /// Letters, no space before them.
    WordPiece,
    /// Letters, at least one of them beyond ASCII: é, ü, я.
    OtherLetters,
    /// Bytes that are not whole UTF-8 text.
    Bytes,
    /// Letters with digits or signs between them.
    Mixed,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::LineBreak,
        Self::Space,
        Self::Digits,
        Self::Punctuation,
        Self::WordBegin,
        Self::WordPiece,
        Self::OtherLetters,
        Self::Bytes,
        Self::Mixed,
    ];

    /// Of the bytes that a token stands for.
    pub fn of(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Bytes };
        let word = text.trim_start_matches(' ');
        let letters = || word.chars().all(|c| c.is_alphabetic());
        match () {
            () if text.chars().all(char::is_whitespace) && text.contains(['\n', '\r']) => Self::LineBreak,
            () if text.chars().all(char::is_whitespace) => Self::Space,
            () if word.chars().all(char::is_numeric) => Self::Digits,
            () if !word.chars().any(char::is_alphanumeric) => Self::Punctuation,
            () if letters() && !word.is_ascii() => Self::OtherLetters,
            () if letters() && word.len() < text.len() => Self::WordBegin,
            () if letters() => Self::WordPiece,
            () => Self::Mixed,
        }
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::LineBreak => "line break",
            Self::Space => "space",
            Self::Digits => "digits",
            Self::Punctuation => "punctuation",
            Self::WordBegin => "word begin",
            Self::WordPiece => "word piece",
            Self::OtherLetters => "letters beyond ASCII",
            Self::Bytes => "bytes",
            Self::Mixed => "mixed",
        }
    }
}

#[derive(Debug, Clone, Default)]
struct KindCounts {
    tokens: u64,
    slots: Vec<u64>,
}

/// Counts of (kind, expert) for every layer.
#[derive(Debug, Clone)]
pub struct Kinds {
    experts: usize,
    /// By token.
    kinds: Vec<Kind>,
    layers: BTreeMap<u16, Vec<KindCounts>>,
}

impl Kinds {
    /// For the tokens of this dataset; `None` where it has no vocabulary.
    ///
    /// # Errors
    /// A vocabulary that cannot be read.
    pub fn of(dataset: &Dataset, experts: usize) -> Result<Option<Self>> {
        if !dataset.has_table(VOCABULARY) {
            return Ok(None);
        }
        let tokens = storage::vocabulary::read_bytes(&dataset.table(VOCABULARY)?)?;
        let kinds = tokens.iter().map(|bytes| Kind::of(bytes)).collect();
        Ok(Some(Self { experts, kinds, layers: BTreeMap::new() }))
    }

    /// Counts a row; a token that the vocabulary does not know is passed over.
    pub fn add(&mut self, choice: &Choice<'_>) {
        let Self { experts, kinds, layers } = self;
        let Some(kind) = kinds.get(choice.token as usize) else { return };
        let layer = layers
            .entry(choice.layer)
            .or_insert_with(|| vec![KindCounts { tokens: 0, slots: vec![0; *experts] }; Kind::ALL.len()]);
        let of = &mut layer[*kind as usize];
        of.tokens += 1;
        choice.experts.iter().for_each(|&e| of.slots[e as usize] += 1);
    }

    /// One row a (layer, expert, kind), `domain` naming the kind. Kinds that no token had are left out.
    pub fn rows(&self) -> Vec<SpecialisationRow> {
        let of_layer = |(&layer, counts): (&u16, &Vec<KindCounts>)| {
            let named = Kind::ALL.iter().zip(counts);
            let kinds: Vec<InDomain<'_>> = named
                .map(|(kind, of)| InDomain { domain: kind.name(), tokens: Some(of.tokens), slots: &of.slots })
                .collect();
            let sum = |of: fn(&KindCounts) -> u64| counts.iter().map(of).sum::<u64>() as f64;
            let k = sum(|of| total(&of.slots)) / sum(|of| of.tokens).max(1.0);
            specialisation(layer, Some(k), &kinds).0
        };
        self.layers.iter().flat_map(of_layer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_tokens() {
        let cases: [(&[u8], Kind); 17] = [
            (b"\n", Kind::LineBreak),
            (b" \n\t", Kind::LineBreak),
            (b"    ", Kind::Space),
            (b"\t", Kind::Space),
            (b"1984", Kind::Digits),
            (b" 7", Kind::Digits),
            (b"();", Kind::Punctuation),
            (" —".as_bytes(), Kind::Punctuation),
            (b"_", Kind::Punctuation),
            (b" the", Kind::WordBegin),
            (b"ing", Kind::WordPiece),
            (" été".as_bytes(), Kind::OtherLetters),
            ("é".as_bytes(), Kind::OtherLetters),
            (&[0xc3], Kind::Bytes),
            (b"x1", Kind::Mixed),
            (b"don't", Kind::Mixed),
            (b".\n", Kind::Punctuation),
        ];
        for (bytes, kind) in cases {
            assert_eq!(Kind::of(bytes), kind, "{:?}", String::from_utf8_lossy(bytes));
        }
        let places: Vec<usize> = Kind::ALL.iter().map(|kind| *kind as usize).collect();
        assert_eq!(places, (0..9).collect::<Vec<_>>(), "a kind is its place in the list");
    }

    #[test]
    fn an_expert_of_line_breaks() {
        let tokens: [&[u8]; 3] = [b"\n", b" the", b"ing"];
        let kinds = tokens.map(Kind::of).to_vec();
        let mut counts = Kinds { experts: 3, kinds, layers: BTreeMap::new() };
        for i in 0..60u32 {
            let token = i % 4;
            // Line breaks choose 0 and 2, words 1 and 2; token 3 is in no vocabulary.
            let experts: &[u32] = if token == 0 { &[0, 2] } else { &[2, 1] };
            counts.add(&Choice { layer: 1, token, experts, ..Choice::default() });
        }
        let rows = counts.rows();
        assert_eq!(rows.len(), 3 * 3, "kinds without tokens are left out");
        let of = |expert, kind: &str| rows.iter().find(|r| r.expert == expert && r.domain == kind).unwrap();
        assert_eq!((of(0, "line break").count, of(0, "line break").share_of_domain), (15, Some(1.0)));
        assert!(of(0, "line break").specialised && !of(2, "line break").specialised);
        assert_eq!((of(1, "word begin").tokens, of(1, "word begin").share_of_domain), (Some(15), Some(1.0)));
        // Both kinds of words chose it: no 2× of either.
        assert!(!of(1, "word begin").specialised && of(1, "line break").count == 0);
    }
}
