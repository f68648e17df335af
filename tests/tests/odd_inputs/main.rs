//! Inputs as people have them × commands, as one table: in each cell what must come out, or the refusal with its words.
//!
//! `docs/odd-inputs.md` is this table; `UPDATE_DOCS=1 cargo test --test odd_inputs` writes it again.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod arrays;
mod models;
mod texts;

use std::path::Path;

use tests::{Ended, sae};

/// What a cell must hold.
enum Cell {
    /// Success with these words in what is printed, and what that means.
    Right(&'static str, Vec<String>),
    /// Failure with this exit status and these words.
    Refused(i32, &'static [&'static str]),
    /// The command does not apply, or what came before it was refused.
    None,
}

/// A kind of input.
struct Row {
    what: &'static str,
    /// The command of each column with this input, and what must come of it.
    cells: Vec<(String, Cell)>,
}

struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Row>,
}

fn said(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}

/// Runs every cell in `at`: the table for people, and the cells that do not hold what they must.
fn run(at: &Path, table: &Table) -> (String, Vec<String>) {
    let mut page = format!("## {}\n\n| input | {} |\n", table.title, table.columns.join(" | "));
    page.push_str(&"|---".repeat(table.columns.len() + 1));
    page.push_str("|\n");
    let mut wrong = Vec::new();
    for row in &table.rows {
        assert_eq!(row.cells.len(), table.columns.len(), "{}", row.what);
        let mut line = format!("| {} |", row.what);
        for (command, cell) in &row.cells {
            line.push_str(&format!(" {} |", cell.in_words()));
            if !matches!(cell, Cell::None)
                && let Some(problem) = cell.problem(&sae(at, command))
            {
                wrong.push(format!("{}: {problem}", row.what));
            }
        }
        page.push_str(&line);
        page.push('\n');
    }
    println!("{page}");
    (page, wrong)
}

impl Cell {
    fn in_words(&self) -> String {
        match self {
            Self::None => "–".to_owned(),
            Self::Right(meaning, _) => (*meaning).to_owned(),
            Self::Refused(_, parts) => format!("refused: {}", parts.join(" … ")),
        }
    }

    /// What is wrong with what a command did.
    fn problem(&self, ended: &Ended) -> Option<String> {
        let (code, text, parts): (_, _, Vec<&str>) = match self {
            Self::None => return None,
            Self::Right(_, parts) => (0, said(ended), parts.iter().map(String::as_str).collect()),
            Self::Refused(code, parts) => (*code, ended.stderr.clone(), parts.to_vec()),
        };
        let lacking: Vec<&str> = parts.into_iter().filter(|part| !text.contains(part)).collect();
        if ended.code() != Some(code) {
            return Some(format!("expected exit status {code}: {ended}"));
        }
        if !lacking.is_empty() {
            return Some(format!("{lacking:?} is not said: {ended}"));
        }
        ended.stdout.contains("NaN").then(|| format!("NaN in a result: {ended}"))
    }
}

const INTRODUCTION: &str = "# Odd inputs and what commands make of them

Each row is a kind of input that people have and that tools get wrong; each column a command. The test \
`tests/tests/odd_inputs` makes
every input, runs every cell and compares it with this page, which it writes (`UPDATE_DOCS=1`). \"Refused\" is followed by \
words of the message.

";

#[test]
fn odd_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tables = [texts::table(at), arrays::table(at), models::table(at)];
    let cells: usize = tables.iter().flat_map(|t| &t.rows).map(|row| row.cells.len()).sum();
    let (pages, wrong): (Vec<_>, Vec<_>) = tables.iter().map(|table| run(at, table)).unzip();
    let page = format!("{INTRODUCTION}{}", pages.join("\n"));
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{} of {cells} cells:\n\n{}", wrong.len(), wrong.join("\n\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/odd-inputs.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/odd-inputs.md is not this table: write it with UPDATE_DOCS=1");
}
