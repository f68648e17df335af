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

/// Runs every cell in `at` and returns the table for people.
fn run(at: &Path, table: &Table) -> String {
    let mut page = format!("## {}\n\n| input | {} |\n", table.title, table.columns.join(" | "));
    page.push_str(&"|---".repeat(table.columns.len() + 1));
    page.push_str("|\n");
    for row in &table.rows {
        assert_eq!(row.cells.len(), table.columns.len(), "{}", row.what);
        let mut line = format!("| {} |", row.what);
        for (command, cell) in &row.cells {
            let text = match cell {
                Cell::None => "–".to_owned(),
                Cell::Right(meaning, parts) => {
                    let ended = sae(at, command).ok();
                    for part in parts {
                        assert!(said(&ended).contains(part), "{}: `{part}` is not said: {ended}", row.what);
                    }
                    assert!(!ended.stdout.contains("NaN"), "{}: {ended}", row.what);
                    (*meaning).to_owned()
                }
                Cell::Refused(code, parts) => {
                    let ended = sae(at, command);
                    ended.refused(*code, parts);
                    format!("refused: {}", parts.join(" … "))
                }
            };
            line.push_str(&format!(" {text} |"));
        }
        page.push_str(&line);
        page.push('\n');
    }
    println!("{page}");
    page
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
    let page = tables.iter().map(|table| run(at, table)).collect::<Vec<_>>().join("\n");
    let page = format!("{INTRODUCTION}{page}");
    println!("{cells} cells");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/odd-inputs.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/odd-inputs.md is not this table: write it with UPDATE_DOCS=1");
}
