//! Finding a phrase or a token in the text of a dataset.

use std::collections::HashSet;
use std::path::Path;

use arrow::datatypes::{UInt16Type, UInt32Type};
use storage::schema::LAYER;
use storage::schema::{ACTIVATIONS, DOCUMENT, POSITION, ROUTING, TOKEN, VOCABULARY};
use storage::{Dataset, TableReader, column};

use super::problem;
use crate::load::{Feed, Problem};

/// Places that are listed; the rest is counted.
pub const LISTED: u64 = 500;
/// Tokens before and after a place that are shown with it.
const CONTEXT: usize = 8;
/// Text that is searched at once, in tokens; what spans two pieces is found in their overlap.
const PIECE: usize = 64 << 10;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needle {
    /// Text, also across tokens; upper and lower case are the same unless `exact`.
    Phrase {
        /// The text.
        text: String,
        /// Whether case counts.
        exact: bool,
    },
    /// Tokens that read exactly so, or the one with this number when written `#123`.
    Token(String),
}

/// A place that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The document.
    pub document: u32,
    /// Position of the first token of it.
    pub position: u32,
    /// Tokens that it spans.
    pub length: usize,
    /// Tokens around it.
    pub tokens: Vec<u32>,
    /// Index of its first token among them.
    pub at: usize,
}

/// What a pass says: a place, or at the end how many there are in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A place.
    Place(Place),
    /// All places, also those that are not listed.
    Total(u64),
}

/// The table whose rows are the tokens in order, and the layer to look at where it has one row per layer.
pub(super) fn token_table(dataset: &Dataset) -> Result<(TableReader, bool), Problem> {
    let by_layer = !dataset.has_table(ACTIVATIONS);
    let name = if by_layer { ROUTING } else { ACTIVATIONS };
    Ok((dataset.table(name).map_err(problem)?, by_layer))
}

/// Searches the text of the dataset in `dir`.
///
/// # Errors
/// A dataset without tokens or vocabulary; a token that the vocabulary does not have; a table that cannot be
/// read.
pub fn search(dir: &Path, needle: &Needle, feed: &Feed<Found>) -> Result<(), Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let words = dataset.table(VOCABULARY).map_err(problem)?;
    let words = storage::vocabulary::read_bytes(&words).map_err(problem)?;
    let matcher = Matcher::new(needle, &words)?;
    let (table, by_layer) = token_table(&dataset)?;
    let mut columns = vec![DOCUMENT, POSITION, TOKEN];
    columns.extend(by_layer.then_some(LAYER));
    let mut reader = Reader { matcher: &matcher, words: &words, text: Piece::default(), total: 0, feed };
    let (mut done, mut first_layer) = (0, None);
    for batch in table.columns(&columns).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        let number = |name: &str| {
            column::primitive::<UInt32Type>(&batch, name)
                .map(arrow::array::PrimitiveArray::values)
                .map_err(problem)
        };
        let (documents, positions, tokens) = (number(DOCUMENT)?, number(POSITION)?, number(TOKEN)?);
        let layers = match by_layer {
            true => Some(column::primitive::<UInt16Type>(&batch, LAYER).map_err(problem)?.values()),
            false => None,
        };
        for i in 0..batch.num_rows() {
            if let Some(layers) = layers
                && *first_layer.get_or_insert(layers[i]) != layers[i]
            {
                continue;
            }
            reader.token(documents[i], positions[i], tokens[i]);
        }
        done += batch.num_rows() as u64;
        feed.progress(done, table.rows());
        if feed.cancelled() {
            return Ok(());
        }
    }
    reader.search(true);
    feed.send(Found::Total(reader.total));
    Ok(())
}

/// Consecutive tokens of one document.
#[derive(Default)]
struct Piece {
    document: u32,
    start: u32,
    tokens: Vec<u32>,
    /// Tokens at the beginning that were searched before.
    seen: usize,
}

struct Reader<'a> {
    matcher: &'a Matcher,
    words: &'a [Vec<u8>],
    text: Piece,
    total: u64,
    feed: &'a Feed<Found>,
}

impl Reader<'_> {
    fn token(&mut self, document: u32, position: u32, token: u32) {
        let follows = self.text.document == document
            && u64::from(self.text.start) + self.text.tokens.len() as u64 == u64::from(position);
        if !follows {
            self.search(true);
            self.text = Piece { document, start: position, ..Piece::default() };
        }
        self.text.tokens.push(token);
        if self.text.tokens.len() >= PIECE {
            self.search(false);
        }
    }

    /// Searches the piece; when more of the document follows, its end stays, for what spans both pieces.
    fn search(&mut self, last: bool) {
        let text = &self.text;
        let keep = if last { 0 } else { self.matcher.overlap().min(text.tokens.len()) };
        for (at, length) in self.matcher.find(&text.tokens, self.words) {
            // What begins in the kept end is found with the next piece.
            if at < text.seen || at >= text.tokens.len() - keep {
                continue;
            }
            self.total += 1;
            if self.total <= LISTED {
                let from = at.saturating_sub(CONTEXT);
                let to = (at + length + CONTEXT).min(text.tokens.len());
                self.feed.send(Found::Place(Place {
                    document: text.document,
                    position: text.start + at as u32,
                    length,
                    tokens: text.tokens[from..to].to_vec(),
                    at: at - from,
                }));
            }
        }
        let text = &mut self.text;
        // A little more than what is kept, so that places near the seam have their context.
        let from = text.tokens.len().saturating_sub(keep + CONTEXT);
        text.seen = text.tokens.len() - keep - from;
        text.start += from as u32;
        text.tokens.drain(..from);
    }
}

enum Matcher {
    /// Lower-cased unless exact.
    Phrase { needle: String, exact: bool },
    /// A flag for every token.
    Tokens(HashSet<u32>),
}

impl Matcher {
    fn new(needle: &Needle, words: &[Vec<u8>]) -> Result<Self, Problem> {
        match needle {
            Needle::Phrase { text, exact } => {
                let needle = if *exact { text.clone() } else { text.to_lowercase() };
                Ok(Self::Phrase { needle, exact: *exact })
            }
            Needle::Token(text) => {
                let by_number = text.strip_prefix('#').and_then(|digits| digits.parse::<u32>().ok());
                let same = |(id, word): (u32, &Vec<u8>)| (word == text.as_bytes()).then_some(id);
                let mut found: HashSet<u32> = (0..).zip(words).filter_map(same).collect();
                found.extend(by_number.filter(|id| (*id as usize) < words.len()));
                if found.is_empty() {
                    return Err(Problem::new(format!("No token of the vocabulary reads “{text}”."))
                        .with_remedy(
                            "Spaces count: most words begin with one. `#123` finds a token by its number.",
                        ));
                }
                Ok(Self::Tokens(found))
            }
        }
    }

    /// Tokens that must be looked at again together with what follows: none is longer than a phrase has bytes, unless empty.
    fn overlap(&self) -> usize {
        match self {
            Self::Phrase { needle, .. } => needle.len().max(1) * 4,
            Self::Tokens(_) => 0,
        }
    }

    /// First token and number of tokens of every place, in order, not overlapping.
    fn find(&self, tokens: &[u32], words: &[Vec<u8>]) -> Vec<(usize, usize)> {
        match self {
            Self::Tokens(wanted) => tokens
                .iter()
                .enumerate()
                .filter(|(_, token)| wanted.contains(token))
                .map(|(i, _)| (i, 1))
                .collect(),
            Self::Phrase { needle, exact } => phrase(needle, *exact, tokens, words),
        }
    }
}

/// Bytes of tokens are put together before they are read as text: a character may be cut between two tokens.
fn phrase(needle: &str, exact: bool, tokens: &[u32], words: &[Vec<u8>]) -> Vec<(usize, usize)> {
    if needle.is_empty() {
        return Vec::new();
    }
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(tokens.len()));
    for token in tokens {
        bytes.extend_from_slice(words.get(*token as usize).map_or(&[][..], Vec::as_slice));
        ends.push(bytes.len());
    }
    // `text` is what is searched, `from[i]` the byte of the original that its byte i comes from.
    let (mut text, mut from, mut at) = (String::with_capacity(bytes.len()), Vec::new(), 0);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let before = text.len();
            if exact {
                text.push(c);
            } else {
                text.extend(c.to_lowercase());
            }
            from.resize(from.len() + text.len() - before, at);
            at += c.len_utf8();
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            from.resize(from.len() + char::REPLACEMENT_CHARACTER.len_utf8(), at);
            at += chunk.invalid().len();
        }
    }
    let token_of = |byte: usize| ends.partition_point(|end| *end <= byte);
    text.match_indices(needle)
        .map(|(start, found)| {
            let first = token_of(from[start]);
            // The last character may continue in the next token: it ends where the one after it begins.
            let end = start + found.len();
            let after = from.get(end).copied().unwrap_or(bytes.len());
            let last = token_of(after.saturating_sub(1).max(from[end - 1]));
            (first, last - first + 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<Vec<u8>> {
        // "ü" is two bytes, here in two tokens.
        ["the", " cat", " Cat", "s", " m", "\u{fc}"]
            .map(|w| w.as_bytes().to_vec())
            .into_iter()
            .chain([vec![0xc3], vec![0xbc]])
            .collect()
    }

    #[test]
    fn phrases_are_found_across_tokens_and_cut_characters() {
        let words = words();
        let find = |needle: &str, exact: bool, tokens: &[u32]| {
            let needle = Needle::Phrase { text: needle.into(), exact };
            Matcher::new(&needle, &words).unwrap().find(tokens, &words)
        };
        assert_eq!(find("the cats", false, &[4, 0, 2, 3, 0]), [(1, 3)]);
        assert_eq!(find("the cats", true, &[4, 0, 2, 3, 0]), []);
        assert_eq!(find("e c", true, &[0, 1, 0, 1]), [(0, 2), (2, 2)]);
        assert_eq!(find("MÜ", false, &[4, 6, 7, 4, 5]), [(0, 3), (3, 2)]);
        assert_eq!(find("", false, &[0]), []);
        assert_eq!(find("s", true, &[6, 3, 7]), [(1, 1)]);
    }

    #[test]
    fn a_token_is_found_by_its_text_or_its_number() {
        let words = words();
        let find = |needle: &str, tokens: &[u32]| {
            Matcher::new(&Needle::Token(needle.into()), &words).map(|m| m.find(tokens, &words))
        };
        assert_eq!(find(" cat", &[1, 2, 1]).unwrap(), [(0, 1), (2, 1)]);
        assert_eq!(find("#2", &[1, 2, 1]).unwrap(), [(1, 1)]);
        assert!(find("cat", &[1]).unwrap_err().to_string().contains("Spaces count"));
    }
}
