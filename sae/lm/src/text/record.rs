//! One rule for all formats: what of a record is text, what is known about it, and what is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::chat::Chat;
use super::files::TextFile;
use super::split;
use super::{Content, Document, TextOptions};
use crate::Error;

/// The value of one field.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    /// Characters; `replaced` if there were bytes or halves of characters that are none.
    Text {
        text: String,
        replaced: bool,
    },
    /// A number or a truth value, as it is written.
    Scalar(String),
    /// A list of whole numbers; truth values are 0 and 1.
    Integers(Vec<i64>),
    /// A list of messages.
    Chat(Chat),
    /// Something else, in words: "a list".
    Other(&'static str),
    /// A field that nobody asked for.
    Unread,
}

impl Value {
    /// Text of bytes that should be UTF-8.
    pub fn text(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let replaced = matches!(text, std::borrow::Cow::Owned(_));
        Self::Text { text: text.into_owned(), replaced }
    }

    fn in_words(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text { .. } => "text",
            Self::Scalar(_) => "a number or truth value",
            Self::Integers(_) => "a list of whole numbers",
            Self::Chat(_) => "a list of messages",
            Self::Other(name) => name,
            Self::Unread => "not read",
        }
    }
}

/// A record of a file: its fields in their order. What is not a record has none.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub fields: Vec<(String, Value)>,
    /// Line or row, counted from 1.
    pub number: u64,
    /// What it is, where it is not a table of fields: "a list".
    pub instead: Option<&'static str>,
}

impl Record {
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        Some(std::mem::replace(&mut self.fields[at].1, Value::Unread))
    }

    /// A description: text, a number or a truth value as it is written. Anything else describes nothing.
    fn description(&mut self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| match self.take(name)? {
            Value::Text { text, .. } | Value::Scalar(text) => Some(text).filter(|text| !text.is_empty()),
            _ => None,
        })
    }
}

/// Fields that say something about a document.
const DESCRIPTIONS: [&str; 5] = ["title", "name", "source", "domain", "split"];
/// Where the text is if nobody says.
const CANDIDATES: [&str; 3] = ["text", "input_ids", "messages"];
const MASK: &str = "attention_mask";

impl TextOptions {
    /// Fields that may hold the text, first choice first.
    pub(super) fn candidates(&self) -> Vec<&str> {
        self.column.as_deref().map_or_else(|| CANDIDATES.to_vec(), |column| vec![column])
    }

    /// `a.b` of `--text-column a.b`, the field `b` of the structure `a`: the outer field and those inside it.
    pub(super) fn inside(&self) -> Option<(&str, impl Iterator<Item = &str>)> {
        let (outer, inner) = self.column.as_deref()?.split_once('.')?;
        Some((outer, inner.split('.')))
    }

    /// Whether a field is looked at.
    pub(super) fn reads(&self, field: &str) -> bool {
        self.inside().is_some_and(|(outer, _)| outer == field)
            || field == MASK
            || DESCRIPTIONS.contains(&field)
            || self.candidates().contains(&field)
    }
}

/// What was found in files of text besides documents: what was passed over, replaced, decided by a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Documents.
    pub documents: u64,
    /// Records without text, by what they had instead.
    pub skipped: BTreeMap<String, u64>,
    /// The first of them: file and line or row.
    pub first_skipped: Option<String>,
    /// Texts in which bytes or halves of characters were replaced by U+FFFD.
    pub replaced: u64,
    /// Names of splits that are neither for training nor held out.
    pub unknown_splits: BTreeSet<String>,
    /// Documents that the name of their file or folder holds out.
    pub held_out_by_name: u64,
    /// Files met in folders that hold no text.
    pub files_without_text: Vec<String>,
    /// Files that were cut into stretches, with how.
    pub cut: Vec<String>,
}

impl Report {
    /// The same for people, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.skipped.is_empty() {
            let n: u64 = self.skipped.values().sum();
            let parts: Vec<String> = self.skipped.iter().map(|(what, n)| format!("{what} in {n}")).collect();
            let first =
                self.first_skipped.as_ref().map_or_else(String::new, |at| format!("; the first is {at}"));
            let what = if n == 1 {
                "1 record has no text and was"
            } else {
                &format!("{n} records have no text and were")
            };
            lines.push(format!("{what} skipped ({}){first}", parts.join(", ")));
        }
        if self.replaced > 0 {
            let what = match self.replaced {
                1 => "1 text has".to_owned(),
                n => format!("{n} texts have"),
            };
            lines.push(format!(
                "{what} bytes that are not UTF-8 or halves of characters; they are read as U+FFFD"
            ));
        }
        if !self.unknown_splits.is_empty() {
            let names: Vec<String> = self.unknown_splits.iter().map(|name| format!("`{name}`")).collect();
            lines.push(format!(
                "splits named {} are neither for training nor held out; their documents count as undecided",
                names.join(", ")
            ));
        }
        if self.held_out_by_name > 0 {
            let what = match self.held_out_by_name {
                1 => "1 document is".to_owned(),
                n => format!("{n} documents are"),
            };
            lines.push(format!("{what} held out because of the name of a file or folder"));
        }
        if !self.files_without_text.is_empty() {
            lines.push(format!("files without text: {}", self.files_without_text.join(", ")));
        }
        lines.extend(self.cut.iter().cloned());
        lines
    }
}

/// How many names of splits are kept for people.
const SPLIT_NAMES: usize = 8;

/// The documents of one file.
#[derive(Debug, Default)]
pub(super) struct Reading {
    given: u64,
    skipped: BTreeMap<String, u64>,
    fields: Vec<String>,
}

impl Reading {
    /// The document of a record, if it has text.
    pub fn document(
        &mut self,
        mut record: Record,
        file: &TextFile,
        options: &TextOptions,
        report: &mut Report,
    ) -> Option<Document<Content>> {
        let content = match content(&mut record, options, report) {
            Ok(content) => content,
            Err(why) => {
                self.skip(&record, why, &file.path, report);
                return None;
            }
        };
        self.given += 1;
        report.documents += 1;
        let described = record.description(&["split"]);
        let held_out = described.as_deref().map(|name| (name, split::held_out(name)));
        if let Some((name, None)) = held_out
            && report.unknown_splits.len() < SPLIT_NAMES
        {
            report.unknown_splits.insert(name.to_owned());
        }
        let of_field = held_out.and_then(|(_, held_out)| held_out);
        report.held_out_by_name += u64::from(of_field.is_none() && file.held_out == Some(true));
        let name = || file.path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        Some(Document {
            name: record.description(&["title", "name"]).unwrap_or_else(name),
            source: record.description(&["source"]).unwrap_or_else(name),
            domain: record.description(&["domain"]).unwrap_or_else(|| stem(&file.path)),
            held_out: of_field.or(file.held_out),
            text: content,
        })
    }

    fn skip(&mut self, record: &Record, why: String, path: &Path, report: &mut Report) {
        if self.fields.is_empty() {
            self.fields = record.fields.iter().map(|(name, _)| name.clone()).collect();
        }
        *self.skipped.entry(why.clone()).or_default() += 1;
        *report.skipped.entry(why).or_default() += 1;
        let place = || format!("{}, record {}", path.display(), record.number);
        report.first_skipped.get_or_insert_with(place);
    }

    /// At the end of the file: an error if it has records and no text at all.
    pub fn finish(self, file: &TextFile, options: &TextOptions) -> Option<Error> {
        // Empty texts are not a mistake in what was asked for.
        let wrong = self.skipped.keys().any(|why| why != EMPTY);
        (self.given == 0 && wrong).then(|| {
            let reasons: Vec<String> = self.skipped.iter().map(|(why, n)| format!("{why} in {n}")).collect();
            let fields = if self.fields.is_empty() {
                String::new()
            } else {
                format!("; its fields are {}", self.fields.join(", "))
            };
            let candidates = options.candidates().join("`, `");
            let divided = match &self.fields[..] {
                [only] if only.contains([';', '\t', '|']) => "; in .csv commas divide fields, in .tsv tabs",
                _ => "",
            };
            let what = format!("has no text in `{candidates}` ({}){fields}{divided}", reasons.join(", "));
            let remedy =
                "name the field of the text with --text-column; one inside a structure is OUTER.INNER";
            Error::format(&file.path, what).with_remedy(remedy)
        })
    }
}

const EMPTY: &str = "empty text";
/// A list that is neither tokens nor messages.
pub(super) const A_LIST: &str = "a list of something other than whole numbers or messages";

fn content(record: &mut Record, options: &TextOptions, report: &mut Report) -> Result<Content, String> {
    if let Some(instead) = record.instead {
        return Err(format!("{instead} and not an object"));
    }
    let mut why = None;
    for (i, name) in options.candidates().iter().enumerate() {
        // Of the default names `text` is for text alone: nobody means a list of numbers there as tokens.
        let any_kind = i > 0 || options.column.is_some();
        // And `input_ids` and `messages` are not prose: numbers or messages that were written as a text are not read as one.
        let may_be_text = i == 0;
        match record.take(name) {
            None => continue,
            Some(Value::Text { text, replaced }) if may_be_text => {
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                if text.is_empty() {
                    return Err(EMPTY.to_owned());
                }
                report.replaced += u64::from(replaced);
                return Ok(Content::Text(text));
            }
            Some(Value::Integers(tokens)) if any_kind => {
                let mask = match record.take(MASK) {
                    Some(Value::Integers(mask)) => Some(mask),
                    _ => None,
                };
                return sequences(&tokens, mask.as_deref());
            }
            Some(Value::Chat(chat)) if any_kind => return Ok(Content::Chat(chat)),
            Some(other) => {
                why.get_or_insert_with(|| match other {
                    Value::Null => format!("`{name}` is null"),
                    _ => format!("`{name}` is {}", other.in_words()),
                });
            }
        }
    }
    Err(why.unwrap_or_else(|| format!("no field `{}`", options.candidates()[0])))
}

/// The runs of tokens that are neither masked nor marked as left out by a negative number (−100).
fn sequences(tokens: &[i64], mask: Option<&[i64]>) -> Result<Content, String> {
    if mask.is_some_and(|mask| mask.len() != tokens.len()) {
        return Err(format!("`{MASK}` is not as long as the tokens"));
    }
    let kept = |i: usize| tokens[i] >= 0 && mask.is_none_or(|mask| mask[i] != 0);
    let mut runs: Vec<Vec<u32>> = vec![Vec::new()];
    for (i, &token) in tokens.iter().enumerate() {
        match (kept(i), runs.last_mut()) {
            (true, Some(run)) => {
                run.push(u32::try_from(token).map_err(|_| format!("{token} is not the number of a token"))?);
            }
            (false, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
            _ => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    if runs.is_empty() { Err(EMPTY.to_owned()) } else { Ok(Content::Tokens(runs)) }
}

/// The name of a file without its endings.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let packed = path.extension().is_some_and(|e| e == "gz" || e == "zst" || e == "zstd");
    match stem.rsplit_once('.') {
        Some((inner, _)) if packed => inner.to_owned(),
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_masked_or_negative_end_a_run() {
        let runs = |tokens: &[i64], mask: Option<&[i64]>| match sequences(tokens, mask) {
            Ok(Content::Tokens(runs)) => Ok(runs),
            Ok(_) => unreachable!(),
            Err(why) => Err(why),
        };
        assert_eq!(runs(&[5, 6, -100, -100, 7], None), Ok(vec![vec![5, 6], vec![7]]));
        assert_eq!(runs(&[0, 0, 5, 6], Some(&[0, 0, 1, 1])), Ok(vec![vec![5, 6]]));
        assert_eq!(runs(&[-100], None), Err(EMPTY.to_owned()));
        assert!(runs(&[1, 2], Some(&[1])).is_err());
        assert!(runs(&[1 << 40], None).is_err());
    }
}
