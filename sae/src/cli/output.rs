//! The result of a command: a short table for people or one JSON object for programs.

use std::fmt::Display;

/// What a command found out.
#[derive(Debug)]
pub struct Output {
    json: serde_json::Value,
    rows: Vec<(String, String)>,
    failure: Option<String>,
}

impl Output {
    /// A result whose `--json` form is `json`.
    pub fn new(json: serde_json::Value) -> Self {
        Self { json, rows: Vec::new(), failure: None }
    }

    /// Adds a line to the table.
    pub fn row(&mut self, name: &str, value: impl Display) {
        self.rows.push((name.to_owned(), value.to_string()));
    }

    /// Part of the work failed: what there is is printed all the same, then this message, and the exit status is 1.
    pub fn failed(&mut self, message: String) {
        self.failure = Some(message);
    }

    /// What to say about the part that failed.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The text to print.
    pub fn text(&self, json: bool) -> String {
        if json {
            return format!("{:#}\n", self.json);
        }
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        self.rows.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut output = Output::new(serde_json::json!({"a": 1}));
        output.row("a", 1);
        output.row("long name", "x");
        assert_eq!(output.text(false), "a          1\nlong name  x\n");
        assert_eq!(output.text(true), "{\n  \"a\": 1\n}\n");
    }
}
