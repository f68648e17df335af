//! Explanations as CSV (RFC 4180): a line of names, among them `feature` and `text`, then a line each. `method`, `author`, `score` and
//! `score:KIND` may be there; another column is an error.
//!
//! Read here and not by the crate `csv`, which takes a quotation mark that never closes for the end of the file, and text behind one that
//! closes for a part of the field: half of a file would pass for whole.

use std::path::Path;

use storage::explanations::{Explanation, Score};

use super::Reading;
use crate::{Error, Result};

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    Feature,
    Text,
    Method,
    Author,
    Score(String),
}

impl Column {
    fn named(name: &str) -> Option<Self> {
        Some(match name.trim() {
            "feature" => Self::Feature,
            "text" => Self::Text,
            "method" => Self::Method,
            "author" => Self::Author,
            "score" => Self::Score("score".into()),
            other => Self::Score(other.strip_prefix("score:").filter(|kind| !kind.is_empty())?.to_owned()),
        })
    }
}

/// Reads all records.
pub(super) fn read(path: &Path, text: &str, reading: &mut Reading) -> Result<()> {
    let records = Records { rest: text, line: 1 };
    let wrong = |line: usize, problem: String| Error::format(path, format!("line {line}: {problem}"));
    let mut columns = Vec::new();
    for record in records {
        let (line, fields) = record.map_err(|(line, problem)| wrong(line, problem))?;
        if columns.is_empty() {
            columns = head(&fields).map_err(|problem| wrong(line, problem))?;
            continue;
        }
        if fields.len() != columns.len() {
            let problem = format!("{} fields, expected {} as in the first line", fields.len(), columns.len());
            return Err(wrong(line, problem));
        }
        take(&columns, &fields, reading).map_err(|problem| wrong(line, problem))?;
    }
    Ok(())
}

fn head(fields: &[String]) -> std::result::Result<Vec<Column>, String> {
    let expected = "expected columns feature, text and, if you like, method, author, score, score:KIND";
    let column = |name: &String| {
        Column::named(name).ok_or_else(|| format!("`{name}` is no column of explanations; {expected}"))
    };
    let columns: Vec<Column> = fields.iter().map(column).collect::<std::result::Result<_, _>>()?;
    for (needed, name) in [(Column::Feature, "feature"), (Column::Text, "text")] {
        if !columns.contains(&needed) {
            return Err(format!("there is no column `{name}`; {expected}"));
        }
    }
    match columns.iter().enumerate().find(|(i, column)| columns[..*i].contains(column)) {
        Some((i, _)) => Err(format!("the column `{}` is there twice", fields[i])),
        None => Ok(columns),
    }
}

fn take(columns: &[Column], fields: &[String], reading: &mut Reading) -> std::result::Result<(), String> {
    let mut row = Explanation::default();
    for (column, field) in columns.iter().zip(fields) {
        let trimmed = field.trim();
        match column {
            Column::Feature => {
                row.feature = trimmed
                    .parse()
                    .map_err(|_| format!("`feature` is `{field}`, expected a feature's number"))?;
            }
            Column::Text => trimmed.clone_into(&mut row.text),
            Column::Method => trimmed.clone_into(&mut row.method),
            Column::Author => trimmed.clone_into(&mut row.by),
            Column::Score(_) if trimmed.is_empty() => {}
            Column::Score(kind) => {
                let value: Option<f32> = trimmed.parse().ok().filter(|value: &f32| value.is_finite());
                let value =
                    value.ok_or_else(|| format!("`{kind}` is `{field}`, expected a number or nothing"))?;
                row.scores.push(Score { kind: kind.clone(), value });
            }
        }
    }
    if row.text.is_empty() {
        reading.empty += 1;
    } else {
        reading.rows.push(row);
    }
    Ok(())
}

/// Records of a text, each with the line that it begins on. A field in quotation marks may hold commas, line ends and, doubled, quotation
/// marks. Empty lines are passed over.
struct Records<'a> {
    rest: &'a str,
    line: usize,
}

type Record = std::result::Result<(usize, Vec<String>), (usize, String)>;

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let line = self.line;
            let mut fields = Vec::new();
            loop {
                let field = match self.field() {
                    Ok(field) => field,
                    Err(problem) => {
                        self.rest = "";
                        return Some(Err((line, problem)));
                    }
                };
                fields.push(field);
                match self.rest.strip_prefix(',') {
                    Some(rest) => self.rest = rest,
                    None => break,
                }
            }
            self.end_line();
            if fields.iter().any(|field| !field.is_empty()) {
                return Some(Ok((line, fields)));
            }
        }
    }
}

impl Records<'_> {
    fn end_line(&mut self) {
        let rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        self.rest = rest.strip_prefix('\n').unwrap_or(rest);
        self.line += 1;
    }

    fn field(&mut self) -> std::result::Result<String, String> {
        let Some(mut rest) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n', '\r']).unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok(field.to_owned());
        };
        let mut field = String::new();
        loop {
            let end = rest.find('"').ok_or("a quotation mark opens and none closes")?;
            field.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(more) => {
                    field.push('"');
                    rest = more;
                }
                None => break,
            }
        }
        self.line += field.matches('\n').count();
        self.rest = rest;
        match rest.chars().next() {
            None | Some(',' | '\n' | '\r') => Ok(field),
            Some(other) => Err(format!(
                "`{other}` behind a closing quotation mark, expected a comma or the end of the line"
            )),
        }
    }
}
