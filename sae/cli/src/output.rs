//! The result of a command: a short table for people or one JSON object for programs.

use std::fmt::Display;

use serde::Serialize;

/// What a command found out.
pub struct Output {
    json: Box<dyn Fn() -> serde_json::Result<String>>,
    rows: Vec<(String, String)>,
    failure: Option<String>,
    /// In place of all of that: the table, and the JSON.
    printed: Option<(String, String)>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Output {
    /// A result whose `--json` form is `json`.
    pub fn new(json: serde_json::Value) -> Self {
        Self::of(json)
    }

    /// A result whose `--json` form is that of `result`: nothing is made of it unless somebody asks, and then no tree of values, which
    /// for a million rows would take more memory than all the work before.
    pub fn of(result: impl Serialize + 'static) -> Self {
        Self {
            json: Box::new(move || serde_json::to_string_pretty(&result)),
            rows: Vec::new(),
            failure: None,
            printed: None,
        }
    }

    /// What a command printed earlier, in both forms.
    pub fn printed(table: String, json: String) -> Self {
        Self { printed: Some((table, json)), ..Self::new(serde_json::Value::Null) }
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
        if let Some((table, printed)) = &self.printed {
            return if json { printed.clone() } else { table.clone() };
        }
        if json {
            let failed =
                |e: serde_json::Error| format!("{:#}", serde_json::json!({ "error": e.to_string() }));
            let mut json = (self.json)().unwrap_or_else(failed);
            // It may be hundreds of megabytes: no second copy.
            json.push('\n');
            return json;
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
