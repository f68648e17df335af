//! The text of a token and what stands before it.

use std::collections::HashMap;

use arrow::datatypes::UInt32Type;
use storage::documents::{self, DocumentRow};
use storage::schema::{ACTIVATIONS, DOCUMENTS, POSITION, TOKEN};
use storage::similar::Near;
use storage::{Dataset, Run, TableReader, column};

use super::SimilarToken;
use crate::Result;

/// Reads texts of tokens.
pub(super) struct Contexts {
    /// Texts by token; empty where rows are not tokens.
    vocabulary: Vec<String>,
    documents: HashMap<u32, DocumentRow>,
    table: TableReader,
    before: u32,
}

impl Contexts {
    pub fn open(run: &Run, dataset: &Dataset, before: u32) -> Result<Self> {
        let vocabulary = match run.vocabulary()? {
            Some(table) if dataset.manifest().rows_are.tokens() => storage::vocabulary::read(&table)?,
            _ => Vec::new(),
        };
        let rows = documents::read(&dataset.table(DOCUMENTS)?)?;
        let documents = rows.into_iter().map(|row| (row.document, row)).collect();
        Ok(Self { vocabulary, documents, table: dataset.table(ACTIVATIONS)?, before })
    }

    /// The token with its text.
    pub fn show(&self, near: &Near, in_both: bool) -> Result<SimilarToken> {
        let &Near { document, position, score } = near;
        let mut shown =
            SimilarToken { document, position, score, in_both, before: String::new(), token: String::new() };
        let Some(of) = self.documents.get(&document).filter(|_| !self.vocabulary.is_empty()) else {
            return Ok(shown);
        };
        // Rows that were left out shift the others: the last row at or before the position is looked for.
        let last = (u64::from(position) + 1).min(u64::from(of.tokens));
        let first = of.first_row + last.saturating_sub(u64::from(self.before) + 1);
        let range = first..of.first_row + last;
        for batch in self.table.take(&[range], &[POSITION, TOKEN])? {
            let positions = column::primitive::<UInt32Type>(&batch, POSITION)?.values();
            let tokens = column::primitive::<UInt32Type>(&batch, TOKEN)?.values();
            for (at, token) in positions.iter().zip(tokens) {
                let text = self.vocabulary.get(*token as usize).map_or("", String::as_str);
                match at.cmp(&position) {
                    std::cmp::Ordering::Less => shown.before.push_str(text),
                    std::cmp::Ordering::Equal => shown.token = text.to_owned(),
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
        Ok(shown)
    }
}
