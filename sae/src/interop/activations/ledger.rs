//! Which rows are whose: documents, positions in them, and which are held out.

use std::collections::HashSet;
use std::sync::Arc;

use storage::documents::DocumentRow;

use super::Run;
use super::chunk::Chunk;
use super::source::is_held_out_split;
use crate::harvest::is_held_out;
use crate::{Error, Result};

/// How rows become documents.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Rows of a document where the source has none.
    pub rows_per_document: u64,
    /// Share of the documents that is held out.
    pub held_out_share: f64,
    /// Chooses them.
    pub seed: u64,
    /// Whether splits say instead which are held out.
    pub splits: bool,
}

/// The documents so far.
#[derive(Debug)]
pub(super) struct Ledger {
    rules: Rules,
    pub documents: Vec<DocumentRow>,
    /// Names of documents that came from the source, in the split at hand: another numbers its own from 0.
    seen: HashSet<String>,
    /// The split at hand.
    split: Option<Arc<str>>,
    /// The first row of that split.
    split_start: u64,
    /// Rows so far.
    rows: u64,
    /// Position of the last row of the last document.
    last: u32,
}

/// What a chunk's rows are.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Entries {
    pub documents: Vec<u32>,
    pub positions: Vec<u32>,
    pub domains: Vec<Run>,
}

impl Ledger {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            documents: Vec::new(),
            seen: HashSet::new(),
            split: None,
            split_start: 0,
            rows: 0,
            last: 0,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Enters the next `n` rows.
    ///
    /// # Errors
    /// A document that comes back after a different one, positions that do not ascend, with file and row.
    pub fn enter(&mut self, chunk: &Chunk, n: usize) -> Result<Entries> {
        let mut entries = Entries::default();
        let mut row = 0;
        let turned = self.rows > 0 && chunk.split != self.split;
        if turned {
            self.seen.clear();
            self.split_start = self.rows;
        }
        self.split.clone_from(&chunk.split);
        for (name, length) in self.runs(chunk, n) {
            let length = length.min(n - row);
            if length == 0 {
                continue;
            }
            // A document does not continue from one split to the next.
            let within = !turned || row > 0;
            let continues = within && self.documents.last().is_some_and(|d| d.name == name);
            if !continues {
                self.begin(name, chunk, row)?;
            }
            self.positions(chunk, row, length, &mut entries.positions)?;
            let number = self.documents.len() as u32 - 1;
            entries.documents.extend(std::iter::repeat_n(number, length));
            if let Some(document) = self.documents.last_mut() {
                document.tokens += length as u32;
                entries.domains.push(Run { domain: document.domain.clone(), rows: length });
            }
            self.rows += length as u64;
            row += length;
        }
        Ok(entries)
    }

    /// The source's documents, or runs of rows.
    fn runs(&self, chunk: &Chunk, n: usize) -> Vec<(String, usize)> {
        if let Some(runs) = &chunk.documents {
            return runs.clone();
        }
        let per = self.rules.rows_per_document;
        let (mut row, end) = (self.rows, self.rows + n as u64);
        let mut runs = Vec::new();
        while row < end {
            let first = self.split_start + (row - self.split_start) / per * per;
            let until = (first + per).min(end);
            runs.push((format!("rows from {first}"), (until - row) as usize));
            row = until;
        }
        runs
    }

    fn begin(&mut self, name: String, chunk: &Chunk, row: usize) -> Result<()> {
        if chunk.documents.is_some() && !self.seen.insert(name.clone()) {
            let problem = format!(
                "row {}: document `{name}` came before and a different one since; rows must be grouped by document",
                chunk.row_in_file(row)
            );
            return Err(Error::format(&chunk.file, problem)
                .with_remedy("sort the rows, or leave the documents out with --document-column none"));
        }
        let number = u32::try_from(self.documents.len())
            .map_err(|_| Error::format(&chunk.file, "has more than 4294967295 documents"))?;
        let held_out = if self.rules.splits {
            chunk.split.as_deref().is_some_and(is_held_out_split)
        } else {
            is_held_out(self.rules.seed, number, self.rules.held_out_share)
        };
        let of = |part: Option<&std::ffi::OsStr>| {
            part.map_or_else(String::new, |p| p.to_string_lossy().into_owned())
        };
        self.documents.push(DocumentRow {
            document: number,
            name,
            source: match &chunk.split {
                Some(split) => format!("{split}/{}", of(chunk.file.file_name())),
                None => of(chunk.file.file_name()),
            },
            domain: of(chunk.file.file_stem()),
            held_out,
            first_row: self.rows,
            tokens: 0,
        });
        Ok(())
    }

    /// Positions of `length` rows of the last document: the source's, or counted on.
    fn positions(&mut self, chunk: &Chunk, row: usize, length: usize, out: &mut Vec<u32>) -> Result<()> {
        let begun = self.documents.last().map_or(0, |d| d.tokens);
        let Some(positions) = &chunk.positions else {
            let end = begun.checked_add(length as u32).ok_or_else(|| {
                Error::format(&chunk.file, "a document has more than 4294967295 rows")
                    .with_remedy("give --rows-per-document")
            })?;
            out.extend(begun..end);
            return Ok(());
        };
        for (i, position) in positions[row..row + length].iter().enumerate() {
            if (begun > 0 || i > 0) && *position <= self.last {
                let problem = format!(
                    "row {}: position {position} after {}; positions must ascend in a document",
                    chunk.row_in_file(row + i),
                    self.last
                );
                return Err(Error::format(&chunk.file, problem)
                    .with_remedy("sort the rows, or leave the positions out with --position-column none"));
            }
            self.last = *position;
        }
        out.extend_from_slice(&positions[row..row + length]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(rows_per_document: u64) -> Ledger {
        Ledger::new(Rules { rows_per_document, held_out_share: 0.3, seed: 1, splits: false })
    }

    fn chunk(documents: Option<&[(&str, usize)]>, positions: Option<&[u32]>) -> Chunk {
        Chunk {
            documents: documents.map(|d| d.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()),
            positions: positions.map(<[u32]>::to_vec),
            file: "folder/x.npy".into(),
            first_row: 100,
            ..Chunk::default()
        }
    }

    #[test]
    fn rows_without_documents_are_cut_into_runs() {
        let mut ledger = ledger(4);
        let first = ledger.enter(&chunk(None, None), 3).unwrap();
        assert_eq!((first.documents, first.positions), (vec![0; 3], vec![0, 1, 2]));
        let second = ledger.enter(&chunk(None, None), 6).unwrap();
        assert_eq!((second.documents, second.positions), (vec![0, 1, 1, 1, 1, 2], vec![3, 0, 1, 2, 3, 0]));
        let facts: Vec<_> =
            ledger.documents.iter().map(|d| (d.name.as_str(), d.first_row, d.tokens)).collect();
        assert_eq!(facts, [("rows from 0", 0, 4), ("rows from 4", 4, 4), ("rows from 8", 8, 1)]);
        assert_eq!(
            (ledger.documents[0].domain.as_str(), ledger.documents[0].source.as_str()),
            ("x", "x.npy")
        );
    }

    #[test]
    fn documents_continue_over_chunks_and_do_not_come_back() {
        let mut ledger = ledger(4);
        ledger.enter(&chunk(Some(&[("a", 2), ("b", 1)]), None), 3).unwrap();
        let entries = ledger.enter(&chunk(Some(&[("b", 2), ("c", 1)]), None), 3).unwrap();
        assert_eq!((entries.documents, entries.positions), (vec![1, 1, 2], vec![1, 2, 0]));
        let error = ledger.enter(&chunk(Some(&[("c", 1), ("a", 1)]), None), 2).unwrap_err().to_string();
        assert!(error.contains("x.npy: row 101: document `a` came before"), "{error}");
    }

    #[test]
    fn splits_say_what_is_held_out_and_no_document_crosses_them() {
        let rules = Rules { rows_per_document: 4, held_out_share: 0.9, seed: 1, splits: true };
        let of = |split: &str, documents| Chunk { split: Some(split.into()), ..chunk(documents, None) };
        let held_out = |ledger: &Ledger| -> Vec<_> {
            ledger.documents.iter().map(|d| (d.name.clone(), d.tokens, d.held_out)).collect()
        };
        let mut runs = Ledger::new(rules.clone());
        runs.enter(&of("train", None), 6).unwrap();
        runs.enter(&of("test", None), 6).unwrap();
        let name = |row: u64| format!("rows from {row}");
        let expected = [(name(0), 4, false), (name(4), 2, false), (name(6), 4, true), (name(10), 2, true)];
        assert_eq!(held_out(&runs), expected);
        let mut named = Ledger::new(rules);
        named.enter(&of("train", Some(&[("0", 2), ("1", 2)])), 4).unwrap();
        named.enter(&of("test", Some(&[("1", 2), ("0", 1)])), 3).unwrap();
        let name = |name: &str| name.to_owned();
        let expected =
            [(name("0"), 2, false), (name("1"), 2, false), (name("1"), 2, true), (name("0"), 1, true)];
        assert_eq!(held_out(&named), expected);
        assert_eq!(named.documents[3].source, "test/x.npy");
    }

    #[test]
    fn positions_must_ascend_in_a_document() {
        let documents: &[(&str, usize)] = &[("a", 2), ("b", 2)];
        let entries = ledger(4).enter(&chunk(Some(documents), Some(&[1, 5, 0, 9])), 4).unwrap();
        assert_eq!(entries.positions, [1, 5, 0, 9]);
        let error = ledger(4).enter(&chunk(Some(documents), Some(&[1, 5, 3, 3])), 4).unwrap_err().to_string();
        assert!(error.contains("row 103: position 3 after 3"), "{error}");
    }
}
