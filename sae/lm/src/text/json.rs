//! Records of JSON: an object per line, or one JSON text.

use std::collections::HashMap;
use std::io::{BufRead, Read as _};
use std::path::Path;

use serde_json::Value as Json;

use super::TextOptions;
use super::chat::Chat;
use super::reader::{Records, damaged};
use super::record::{A_LIST, Record, Value};
use crate::{Error, Result};

/// The records of JSON lines.
pub(super) fn lines(mut bytes: Box<dyn BufRead + Send>, path: &Path, options: &TextOptions) -> Records {
    let (path, options) = (path.to_path_buf(), options.clone());
    let (mut line, mut number) = (Vec::new(), 0);
    Box::new(std::iter::from_fn(move || {
        loop {
            line.clear();
            number += 1;
            match bytes.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(record(&line, number, &options).map_err(|e| wrong(&path, number, &e))),
                Err(error) => return Some(Err(damaged(&path, &error))),
            }
        }
    }))
}

fn wrong(path: &Path, number: u64, problem: &str) -> Error {
    Error::format(path, format!("line {number}: {problem}; expected an object with a field of text"))
}

/// The records of one JSON text: a list of objects, an object, or an object per line as in `.jsonl`.
pub(super) fn whole(
    mut bytes: Box<dyn BufRead + Send>,
    path: &Path,
    options: &TextOptions,
) -> Result<Records> {
    let mut first = Vec::new();
    while first.trim_ascii().is_empty() {
        if bytes.read_until(b'\n', &mut first).map_err(|e| damaged(path, &e))? == 0 {
            return Ok(Box::new(std::iter::empty()));
        }
    }
    if matches!(parsed(&String::from_utf8_lossy(&first)), Ok((Json::Object(_), _))) {
        let all = std::io::Cursor::new(first).chain(bytes);
        return Ok(lines(Box::new(all), path, options));
    }
    // A list, or an object over several lines: nobody but the parser knows where its parts end.
    bytes.read_to_end(&mut first).map_err(|e| damaged(path, &e))?;
    let (text, replaced) = utf8(&first);
    let (json, halves) = parsed(&text).map_err(|e| Error::format(path, format!("is not JSON: {e}")))?;
    let items = match json {
        Json::Array(items) => items,
        other => vec![other],
    };
    let options = options.clone();
    let records = items.into_iter().zip(1..).map(move |(item, number)| {
        // Messages must keep the order of their fields, which serde_json's tables do not.
        let again = item.to_string();
        Ok(fields(item, &again, replaced || halves, number, &options))
    });
    Ok(Box::new(records))
}

fn utf8(bytes: &[u8]) -> (String, bool) {
    let text = String::from_utf8_lossy(bytes);
    let replaced = matches!(text, std::borrow::Cow::Owned(_));
    (text.into_owned(), replaced)
}

fn record(line: &[u8], number: u64, options: &TextOptions) -> Result<Record, String> {
    let (text, replaced) = utf8(line);
    let (json, halves) = parsed(&text)?;
    Ok(fields(json, &text, replaced || halves, number, options))
}

/// A JSON text, and whether halves of characters in it were replaced.
fn parsed(text: &str) -> Result<(Json, bool), String> {
    match serde_json::from_str(text) {
        Ok(json) => Ok((json, false)),
        Err(error) => {
            let mended = Mended::of(text).ok_or_else(|| error.to_string())?;
            serde_json::from_str(&mended.text).map(|json| (json, mended.halves)).map_err(|e| e.to_string())
        }
    }
}

/// A text as Python's `json` writes it, made JSON.
#[derive(Debug, PartialEq, Eq)]
struct Mended {
    text: String,
    /// Whether a half of a character became U+FFFD.
    halves: bool,
}

impl Mended {
    /// `\ud83d` without its other half becomes U+FFFD; `NaN`, `Infinity` and `-Infinity`, which are numbers in Python
    /// alone, become null. None if there is nothing of the kind.
    fn of(text: &str) -> Option<Self> {
        let (mut out, mut at, mut inside) = (String::with_capacity(text.len()), 0, false);
        let (mut halves, mut numbers) = (false, false);
        while let Some(first) = text[at..].chars().next() {
            let rest = &text[at..];
            let (step, instead) = match first {
                '"' => {
                    inside = !inside;
                    (1, None)
                }
                '\\' if inside => escape(rest),
                _ if inside => (rest.find(['"', '\\']).unwrap_or(rest.len()), None),
                _ => match NOT_NUMBERS.iter().find(|name| rest.starts_with(**name)) {
                    Some(name) => (name.len(), Some("null")),
                    None => (first.len_utf8(), None),
                },
            };
            halves |= inside && instead.is_some();
            numbers |= !inside && instead.is_some();
            out.push_str(instead.unwrap_or(&rest[..step]));
            at += step;
        }
        (halves || numbers).then_some(Self { text: out, halves })
    }
}

const NOT_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The length of the escape at the front, and what to write instead if it is half a character.
fn escape(text: &str) -> (usize, Option<&'static str>) {
    let unit = |at: usize| {
        let code = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(code, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, None),
        (Some(0xD800..=0xDFFF), _) => (6, Some("\u{fffd}")),
        // An escaped backslash is two characters, and a `u` after it is a letter.
        _ => (1 + text[1..].chars().next().map_or(0, char::len_utf8), None),
    }
}

/// `line` is the text of `json`.
fn fields(json: Json, line: &str, replaced: bool, number: u64, options: &TextOptions) -> Record {
    let object = match json {
        Json::Object(object) => object,
        other => return Record { fields: Vec::new(), number, instead: Some(in_words(&other)) },
    };
    let value = |name: &str, json: Json| match json {
        _ if !options.reads(name) => Value::Unread,
        Json::Null => Value::Null,
        Json::String(text) => Value::Text { text, replaced },
        Json::Bool(_) | Json::Number(_) => Value::Scalar(json.to_string()),
        Json::Array(items) if is_messages(&items) => chat(line, name),
        Json::Array(items) => {
            let integers: Option<Vec<i64>> = items.iter().map(integer).collect();
            integers.map_or(Value::Other(A_LIST), Value::Integers)
        }
        Json::Object(_) => Value::Other("an object"),
    };
    let inner = match (&options.column, options.inside()) {
        (Some(column), Some((outer, inner))) if !object.contains_key(column) => {
            let first = object.get(outer);
            let found = inner.fold(first, |json, name| json.and_then(|json| json.get(name)));
            found.cloned().map(|json| (column.clone(), value(column, json)))
        }
        _ => None,
    };
    let fields = object.into_iter().map(|(name, json)| {
        let value = value(&name, json);
        (name, value)
    });
    Record { fields: fields.chain(inner).collect(), number, instead: None }
}

fn in_words(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

fn integer(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_bool().map(i64::from))
}

fn is_messages(items: &[Json]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["role"].is_string())
}

fn chat(line: &str, name: &str) -> Value {
    let mended = Mended::of(line);
    let table: serde_json::Result<HashMap<String, minijinja::Value>> =
        serde_json::from_str(mended.as_ref().map_or(line, |mended| &mended.text));
    let messages = table.ok().and_then(|mut table| Chat::of(table.remove(name)?));
    messages.map_or(Value::Other(A_LIST), Value::Chat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_characters_are_replaced_and_whole_ones_stay() {
        let fixed = |text: &str| Mended::of(text).map(|mended| (mended.text, mended.halves));
        let replaced = |text: &str| Some((text.to_owned(), true));
        assert_eq!(fixed(r#"{"text": "a\ud83d b"}"#), replaced("{\"text\": \"a\u{fffd} b\"}"));
        assert_eq!(fixed(r#""\udc00\ud83d\ude00é""#), replaced("\"\u{fffd}\\ud83d\\ude00é\""));
        assert_eq!(fixed(r#""\\ud83d""#), None, "a backslash and letters");
        assert_eq!(fixed(r#""\ud83d\ude00""#), None);
    }

    #[test]
    fn numbers_that_only_python_has_are_null_and_the_same_words_in_a_text_stay() {
        let line = r#"{"score": NaN, "text": "NaN \" Infinity", "range": [-Infinity, Infinity, -1]}"#;
        let (json, halves) = parsed(line).unwrap();
        let right = serde_json::json!({"score": null, "text": "NaN \" Infinity", "range": [null, null, -1]});
        assert_eq!((json, halves), (right, false));
        assert!(parsed(r#"{"score": nan}"#).is_err(), "which nobody writes");
    }
}
