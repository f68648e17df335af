//! Plain text: a file is one document, or consecutive stretches of one.

use std::io::{BufRead, Read as _};
use std::path::Path;

use super::TextOptions;
use super::files::{Compression, TextFile};
use super::reader::{Records, STRETCH, damaged};
use super::record::{Record, Value};
use crate::{Error, Result};

/// No stretch is shorter, in bytes, than makes a few hundred tokens.
const SHORTEST: u64 = 2048;
/// Bytes per token, about.
const TOKEN: u64 = 4;
/// A file that is larger is cut even where there are others.
const LARGE: u64 = 1 << 20;
/// Stretches of a text of which a share is held out, at least if it is long enough.
const STRETCHES: u64 = 20;
/// Bytes in which the end of a run of spaces is looked for. Tokenizers make few tokens of a run, and different ones of its parts.
const RUN: usize = 4 << 20;

/// How a file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Bytes of a stretch; None if the file is one document.
    stretch: Option<usize>,
    /// Of so many stretches one is held out.
    every: Option<u64>,
}

impl Plan {
    /// A file that is all the text there is gives up a share of itself, as it has no other document to hold
    /// out. A large file is read piece by piece in any case.
    ///
    /// # Errors
    /// A file whose size the system does not tell.
    pub fn of(file: &TextFile, options: &TextOptions, alone: bool) -> Result<Self> {
        let size = std::fs::metadata(&file.path).map_err(|e| Error::io(&file.path, e))?.len();
        // Text compresses to about a third.
        let size = if file.compression == Compression::None { size } else { size.saturating_mul(3) };
        let share = options.held_out_share.filter(|share| alone && *share > 0.0);
        Ok(Self::sized(size, options.tokens, share, file.held_out.is_none()))
    }

    fn sized(size: u64, tokens: Option<u64>, share: Option<f64>, undecided: bool) -> Self {
        let wanted = tokens.map_or(size, |tokens| size.min(tokens.saturating_mul(TOKEN)));
        let stretch = match share {
            Some(_) => (wanted / STRETCHES).clamp(SHORTEST, STRETCH as u64),
            None if size > LARGE => STRETCH as u64,
            None => return Self { stretch: None, every: None },
        };
        let expected = wanted.div_ceil(stretch);
        let every =
            share.map(|share| ((1.0 / share).round() as u64).min(expected)).filter(|n| *n > 1 && undecided);
        Self { stretch: (size > stretch).then_some(stretch as usize), every }
    }

    /// The name of the split of stretch number `i`.
    fn split(&self, i: u64) -> Option<&'static str> {
        let every = self.every.filter(|_| self.stretch.is_some())?;
        // Not the first, which is often a title and a table of contents; early, as the text may have fewer tokens
        // than its size promises.
        let chosen = (every / 4).max(1);
        Some(if i % every == chosen { "heldout" } else { "train" })
    }

    /// What a person should know of it.
    pub fn note(&self, path: &Path) -> Option<String> {
        let stretch = self.stretch?;
        let held_out = self.every.map_or_else(String::new, |n| format!("; one of {n} is held out"));
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        Some(format!(
            "{name} was cut into stretches of about {} KB, a document each{held_out}",
            stretch / 1000
        ))
    }
}

/// The stretches of a file.
pub(super) fn records(mut bytes: Box<dyn BufRead + Send>, path: &Path, plan: Plan) -> Result<Records> {
    let path = path.to_path_buf();
    let (mut buffer, mut number, mut ended) = (Vec::new(), 0, false);
    Ok(Box::new(std::iter::from_fn(move || {
        let stretch = plan.stretch.unwrap_or(usize::MAX);
        // Enough to see whether what is left is a stretch of its own or the end of this one.
        let mut wanted = stretch.saturating_mul(2);
        let at = loop {
            if !ended && buffer.len() < wanted {
                let room = (wanted - buffer.len()) as u64;
                match bytes.by_ref().take(room).read_to_end(&mut buffer) {
                    Ok(read) => ended = (read as u64) < room,
                    Err(error) => {
                        ended = true;
                        buffer.clear();
                        return Some(Err(damaged(&path, &error)));
                    }
                }
            }
            match cut(&buffer, stretch) {
                Cut::InRun(_) if !ended && wanted < RUN => wanted = wanted.saturating_mul(2),
                Cut::At(at) | Cut::InRun(at) => break at,
            }
        };
        if buffer.is_empty() && number > 0 {
            return None;
        }
        let rest = buffer.split_off(at);
        let text = std::mem::replace(&mut buffer, rest);
        number += 1;
        let mut fields = vec![("text".to_owned(), Value::text(&text))];
        let described = |value: String| Value::Text { text: value, replaced: false };
        if let Some(split) = plan.split(number - 1) {
            fields.push(("split".to_owned(), described(split.to_owned())));
        }
        if plan.stretch.is_some() {
            let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            fields.push(("title".to_owned(), described(format!("{name}, stretch {number}"))));
        }
        Some(Ok(Record { fields, number, instead: None }))
    })))
}

/// Where a stretch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Here.
    At(usize),
    /// Here if nothing follows: with more of the text, its last run of spaces may turn out to be longer.
    InRun(usize),
}

/// Where the first stretch of `text` ends: at the end of a line, or of a word, or at least of a character,
/// near `stretch` bytes; not inside a run of spaces, even if that takes far more bytes.
fn cut(text: &[u8], stretch: usize) -> Cut {
    // No crumbs at the end.
    let crumbs = stretch / 2;
    if text.len() <= stretch.saturating_add(crumbs) {
        return Cut::At(text.len());
    }
    let half = stretch / 2;
    let line = text[half..stretch].iter().rposition(|b| *b == b'\n').map(|at| half + at + 1);
    // A space belongs to the word after it, for tokenizers, and a run of them stays together.
    let begins = |at: &usize| text[*at] == b' ' && text[at - 1] != b' ';
    let word = || (half.max(1)..stretch).rev().find(begins);
    if let Some(at) = line.or_else(word) {
        return Cut::At(at);
    }
    if text[half..stretch].iter().all(|b| *b == b' ') {
        let end = text[stretch..].iter().position(|b| *b != b' ').map(|at| stretch + at);
        return match end {
            Some(end) if text.len() - end >= crumbs => Cut::At(end - 1),
            _ => Cut::InRun(text.len()),
        };
    }
    let after_run = || (half.max(1)..stretch).rev().find(|&at| text[at] != b' ' && text[at - 1] == b' ');
    let character = || (stretch.saturating_sub(3)..=stretch).rev().find(|&at| text[at] & 0xC0 != 0x80);
    Cut::At(after_run().map(|at| at - 1).or_else(character).unwrap_or(stretch))
}

/// Consecutive stretches of a text of about `stretch` bytes.
pub(super) fn stretches(text: &str, stretch: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (Cut::At(at) | Cut::InRun(at)) = cut(rest.as_bytes(), stretch);
        let (first, other) = rest.split_at(at);
        rest = other;
        Some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_the_text_and_end_where_something_ends() {
        let lines: String = (0..400).map(|i| format!("line number {i}\n")).collect();
        let words: String = (0..900).map(|i| format!(" word{i}")).collect();
        let characters = "é好".repeat(3000);
        for (text, ends) in [(&lines, Some("\n")), (&words, None), (&characters, None)] {
            let parts: Vec<&str> = stretches(text, 1000).collect();
            assert_eq!(parts.concat(), *text);
            assert!(
                parts.iter().all(|p| (400..=1600).contains(&p.len())),
                "{:?}",
                parts.iter().map(|p| p.len()).collect::<Vec<_>>()
            );
            assert!(ends.is_none_or(|end| parts.iter().all(|p| p.ends_with(end))));
        }
        assert!(stretches(&words, 1000).all(|part| part.starts_with(' ')));
        let apart = words.replace(' ', "         ");
        assert!(stretches(&apart, 1000).all(|part| part.starts_with("         word")));
    }

    #[test]
    fn a_run_of_spaces_is_not_cut() {
        let run = |n: usize| " ".repeat(n);
        let end = " word".repeat(20_000);
        for spaces in [70_000, 700_000, 3_000_000] {
            let text = format!("begin{}{end}", run(spaces));
            let plan = Plan { stretch: Some(STRETCH), every: None };
            let bytes = std::io::Cursor::new(text.clone().into_bytes());
            let read: Vec<String> = records(Box::new(bytes), Path::new("a.txt"), plan)
                .unwrap()
                .map(|record| match &record.unwrap().fields[0].1 {
                    Value::Text { text, .. } => text.clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(read.concat(), text);
            // Its last space belongs to the word after it.
            assert_eq!(read[0], format!("begin{}", run(spaces)));
            assert!(read[1..].iter().all(|part| part.starts_with(" word") && part.len() <= 100_000));
            assert_eq!(stretches(&text, STRETCH).collect::<Vec<_>>(), read);
        }
        // A run without an end is cut some time.
        let text = run(3 * RUN);
        let plan = Plan { stretch: Some(STRETCH), every: None };
        let bytes = std::io::Cursor::new(text.into_bytes());
        assert!(records(Box::new(bytes), Path::new("a.txt"), plan).unwrap().count() >= 2);
    }

    #[test]
    fn a_share_of_a_single_file_is_held_out_whatever_is_asked_for() {
        for (size, tokens) in
            [(15_000, None), (5_000_000, Some(4000)), (5_000_000, None), (1 << 34, Some(1_000_000))]
        {
            let plan = Plan::sized(size, tokens, Some(0.05), true);
            let wanted = tokens.map_or(size, |t| size.min(4 * t));
            let n = wanted.div_ceil(plan.stretch.unwrap() as u64);
            // Even if the text has only a third of the tokens that its size promises.
            let held = (0..n.div_ceil(3)).filter(|&i| plan.split(i) == Some("heldout")).count() as u64;
            assert!(held >= 1 && held <= n.div_ceil(4).max(1), "{size} {tokens:?}: {held} of {n}");
        }
        assert_eq!(Plan::sized(1000, None, Some(0.05), true).stretch, None);
        assert_eq!(Plan::sized(1 << 19, None, None, true).stretch, None);
        assert_eq!(Plan::sized(1 << 21, None, None, true), Plan { stretch: Some(STRETCH), every: None });
        assert_eq!(Plan::sized(1 << 21, None, Some(0.05), false).split(5), None, "its name has decided");
    }
}
