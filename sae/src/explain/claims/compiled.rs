//! A rule made ready for one dataset, and where it applies.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};
use storage::schema::VOCABULARY;

use super::rule::{Condition, Name, Rule, Side};
use crate::explain::run::Index;
use crate::explain::text::Text;
use crate::{Error, Result};

/// Bytes that a compiled regular expression may take: it was typed, and must not take the memory of the machine.
const PATTERN_BYTES: usize = 16 << 20;

/// What stands in a document's text where the dataset left rows out; no text has it, so that nothing matches across the gap by chance.
const GAP: &[u8] = "\u{FFFD}".as_bytes();

/// The texts and bytes of tokens, by id.
#[derive(Debug, Default)]
pub struct TokenTexts {
    /// What each shows as.
    pub shown: Vec<String>,
    /// The bytes that each stands for.
    pub bytes: Vec<Vec<u8>>,
}

impl TokenTexts {
    /// Those of the dataset that was indexed.
    ///
    /// # Errors
    /// A vocabulary that cannot be read.
    pub fn of(index: &Index) -> Result<Self> {
        let bytes = storage::vocabulary::read_bytes(&index.dataset.table(VOCABULARY)?)?;
        Ok(Self { shown: index.vocabulary.clone(), bytes })
    }
}

/// A rule with its words looked up.
#[derive(Debug)]
pub enum Compiled {
    /// Tokens: a flag for every id.
    Token(Vec<bool>),
    /// Tokens near one of these.
    Near(Side, u32, Vec<bool>),
    /// Domains: a flag for every one.
    Domain(Vec<bool>),
    /// A match in the text of a document.
    Text(Regex),
    /// Documents from the first to the last.
    Documents(u32, u32),
    /// Positions from the first to the last.
    Position(u32, u32),
    /// Not this.
    Not(Box<Compiled>),
    /// All of these.
    All(Vec<Compiled>),
    /// Any of these.
    Any(Vec<Compiled>),
}

/// A regular expression over bytes, in which `.`, `\w` and the like still mean characters.
pub fn regex(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build().map_err(|error| {
        // The crate draws the place in lines of its own.
        let what = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        Error::request(format!("the regular expression /{pattern}/: {what}"))
    })
}

impl Compiled {
    /// `rule` for these tokens and domains.
    ///
    /// # Errors
    /// A word that no token reads like, a domain that is not there, a regular expression that cannot be compiled.
    pub fn of(rule: &Rule, texts: &TokenTexts, domains: &[String]) -> Result<Self> {
        let all = |parts: &[Rule]| -> Result<Vec<Self>> {
            parts.iter().map(|part| Self::of(part, texts, domains)).collect()
        };
        Ok(match rule {
            Rule::Not(rule) => Self::Not(Box::new(Self::of(rule, texts, domains)?)),
            Rule::All(parts) => Self::All(all(parts)?),
            Rule::Any(parts) => Self::Any(all(parts)?),
            Rule::Is(condition) => match condition {
                Condition::Token(names) => Self::Token(flags(names, texts)?),
                Condition::Near { side, within, names } => Self::Near(*side, *within, flags(names, texts)?),
                Condition::Domain(names) => Self::Domain(named(names, domains)?),
                Condition::TokenMatches(pattern) => {
                    let pattern = regex(pattern)?;
                    Self::Token(texts.bytes.iter().map(|bytes| pattern.is_match(bytes)).collect())
                }
                Condition::TextMatches(pattern) => Self::Text(regex(pattern)?),
                Condition::Documents(first, last) => Self::Documents(*first, *last),
                Condition::Position(first, last) => Self::Position(*first, *last),
            },
        })
    }

    /// For each row of the documents `spans` (indices into [`Text::spans`], next to each other) whether the rule applies there.
    pub fn apply(&self, text: &Text, texts: &TokenTexts, spans: &Range<usize>) -> Vec<bool> {
        let documents: Vec<Range<usize>> = spans.clone().map(|index| text.rows_of(index)).collect();
        let rows = match (documents.first(), documents.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => return Vec::new(),
        };
        let mut out = vec![false; rows.len()];
        match self {
            Self::Token(is) => {
                for (out, token) in out.iter_mut().zip(&text.tokens()[rows]) {
                    *out = is.get(*token as usize).copied().unwrap_or(false);
                }
            }
            Self::Near(side, within, is) => {
                for document in documents {
                    let at = document.start - rows.start..document.end - rows.start;
                    let (tokens, positions) = (&text.tokens()[document.clone()], &text.positions()[document]);
                    near(*side, *within, is, tokens, positions, &mut out[at]);
                }
            }
            Self::Domain(is) => {
                for (index, document) in spans.clone().zip(documents) {
                    let here = is.get(text.domain_of(index) as usize).copied().unwrap_or(false);
                    out[document.start - rows.start..document.end - rows.start].fill(here);
                }
            }
            Self::Text(pattern) => {
                for document in documents {
                    let at = document.start - rows.start..document.end - rows.start;
                    matched(pattern, text, texts, document, &mut out[at]);
                }
            }
            Self::Documents(first, last) => {
                for (index, document) in spans.clone().zip(documents) {
                    let here = (*first..=*last).contains(&text.document_of(index));
                    out[document.start - rows.start..document.end - rows.start].fill(here);
                }
            }
            Self::Position(first, last) => {
                for (out, position) in out.iter_mut().zip(&text.positions()[rows]) {
                    *out = (*first..=*last).contains(position);
                }
            }
            Self::Not(rule) => {
                out = rule.apply(text, texts, spans);
                out.iter_mut().for_each(|applies| *applies = !*applies);
            }
            Self::All(parts) => {
                out.fill(true);
                for part in parts {
                    out.iter_mut().zip(part.apply(text, texts, spans)).for_each(|(out, other)| *out &= other);
                }
            }
            Self::Any(parts) => {
                for part in parts {
                    out.iter_mut().zip(part.apply(text, texts, spans)).for_each(|(out, other)| *out |= other);
                }
            }
        }
        out
    }
}

/// Marks the rows of one document that have one of the tokens `is` at most `within` positions away, themselves not counted.
fn near(side: Side, within: u32, is: &[bool], tokens: &[u32], positions: &[u32], out: &mut [bool]) {
    let has = |token: u32| is.get(token as usize).copied().unwrap_or(false);
    if side != Side::Later {
        let mut last = None;
        for i in 0..tokens.len() {
            out[i] |= last.is_some_and(|last| positions[i] - last <= within);
            if has(tokens[i]) {
                last = Some(positions[i]);
            }
        }
    }
    if side != Side::Earlier {
        let mut next = None;
        for i in (0..tokens.len()).rev() {
            out[i] |= next.is_some_and(|next: u32| next - positions[i] <= within);
            if has(tokens[i]) {
                next = Some(positions[i]);
            }
        }
    }
}

/// Marks the rows of a document whose bytes are part of a match in its text.
fn matched(pattern: &Regex, text: &Text, texts: &TokenTexts, rows: Range<usize>, out: &mut [bool]) {
    let (tokens, positions) = (&text.tokens()[rows.clone()], &text.positions()[rows]);
    let mut written = Vec::with_capacity(tokens.len() * 5);
    let (mut starts, mut ends) = (Vec::with_capacity(tokens.len()), Vec::with_capacity(tokens.len()));
    for (i, token) in tokens.iter().enumerate() {
        if i > 0 && positions[i] != positions[i - 1] + 1 {
            written.extend_from_slice(GAP);
        }
        starts.push(written.len());
        written.extend_from_slice(texts.bytes.get(*token as usize).map_or(&[][..], Vec::as_slice));
        ends.push(written.len());
    }
    let mut row = 0;
    for found in pattern.find_iter(&written).filter(|found| !found.is_empty()) {
        // The first token that ends after the match begins, and all that begin before it ends.
        row += ends[row..].partition_point(|end| *end <= found.start());
        let mut at = row;
        while at < starts.len() && starts[at] < found.end() {
            out[at] = true;
            at += 1;
        }
    }
}

/// A flag for every token that one of the names stands for.
fn flags(names: &[Name], texts: &TokenTexts) -> Result<Vec<bool>> {
    let mut flags = vec![false; texts.shown.len()];
    for name in names {
        let like = |text: &str| match name {
            Name::Exact(exact) => text == exact,
            Name::Like(word) => {
                let trimmed = text.trim();
                trimmed == word
                    || (trimmed.len() <= 2 * word.len() && trimmed.to_lowercase() == word.to_lowercase())
            }
        };
        let mut any = false;
        for (flag, text) in flags.iter_mut().zip(&texts.shown) {
            if like(text) {
                (*flag, any) = (true, true);
            }
        }
        if !any {
            return Err(Error::request(format!("no token reads {name}")).with_remedy(
                "a word that the tokenizer cuts into several tokens is found in the text: text /courthouse/",
            ));
        }
    }
    Ok(flags)
}

fn named(names: &[String], domains: &[String]) -> Result<Vec<bool>> {
    match names.iter().find(|name| !domains.contains(name)) {
        None => Ok(domains.iter().map(|domain| names.contains(domain)).collect()),
        Some(name) => Err(Error::request(format!(
            "no document is of the domain {name}; there are: {}",
            domains.join(", ")
        ))),
    }
}
