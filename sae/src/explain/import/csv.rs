//! Explanations as CSV: a line of column names, among them `feature` and `text`, then one record per
//! explanation. The columns `method`, `author`, `score` and `score:KIND` are optional; any other column is an
//! error.

use std::path::Path;

use storage::explanations::{Explanation, Score};

use super::Reading;
use crate::{Error, Result, csv_file};

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
    let wrong = |line: usize, problem: String| Error::format(path, format!("line {line}: {problem}"));
    let records = csv_file::records(text).map_err(|(line, problem)| wrong(line, problem))?;
    let mut columns = Vec::new();
    for (line, fields) in records {
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
    let expected = "expected the columns feature and text, and optionally method, author, score, score:KIND";
    let column = |name: &String| {
        Column::named(name).ok_or_else(|| format!("`{name}` is not a column of explanations; {expected}"))
    };
    let columns: Vec<Column> = fields.iter().map(column).collect::<std::result::Result<_, _>>()?;
    for (needed, name) in [(Column::Feature, "feature"), (Column::Text, "text")] {
        if !columns.contains(&needed) {
            return Err(format!("there is no column `{name}`; {expected}"));
        }
    }
    match columns.iter().enumerate().find(|(i, column)| columns[..*i].contains(column)) {
        Some((i, _)) => Err(format!("the column `{}` appears twice", fields[i])),
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
