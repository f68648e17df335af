//! Where each document's rows are.

use storage::Dataset;
use storage::documents::DocumentRow;
use storage::schema::DOCUMENTS;

use super::DocumentRows;
use crate::synth::generated::activation_rows;
use crate::{Error, Result};

/// The documents of a dataset with their rows in `activations`, in row order: `tokens` rows each, from
/// `first_row` on.
///
/// # Errors
/// Tables that cannot be read, a document that ends after the last row or begins before the one in front of
/// it ends.
pub fn documents(dataset: &Dataset) -> Result<Vec<(DocumentRow, DocumentRows)>> {
    let rows = storage::documents::read(&dataset.table(DOCUMENTS)?)?;
    place(rows, activation_rows(dataset)?).map_err(|problem| {
        Error::format(dataset.dir().join("documents.parquet"), problem)
            .with_remedy("harvest the dataset again")
    })
}

/// Puts the documents in row order and gives each its rows of the `there` rows of activations; an error says
/// what does not fit.
fn place(
    mut documents: Vec<DocumentRow>,
    there: u64,
) -> std::result::Result<Vec<(DocumentRow, DocumentRows)>, String> {
    // An empty document comes before the one that begins at the same row.
    documents.sort_by_key(|row| (row.first_row, row.tokens, row.document));
    let mut placed: Vec<(DocumentRow, DocumentRows)> = Vec::with_capacity(documents.len());
    for row in documents {
        let end = row.first_row.saturating_add(u64::from(row.tokens));
        if end > there {
            return Err(format!(
                "document {} ends at row {end}, but there are {there} rows of activations",
                row.document
            ));
        }
        if let Some((_, last)) = placed.last()
            && row.first_row < last.rows.end
        {
            return Err(format!(
                "document {} begins at row {}, but document {} ends at row {}",
                row.document, row.first_row, last.document, last.rows.end
            ));
        }
        let rows = DocumentRows { document: row.document, rows: row.first_row..end };
        placed.push((row, rows));
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(document: u32, first_row: u64, tokens: u32) -> DocumentRow {
        DocumentRow { document, first_row, tokens, ..DocumentRow::default() }
    }

    #[test]
    fn documents_come_in_row_order() {
        let placed = place(vec![row(3, 4, 6), row(1, 0, 4), row(2, 4, 0)], 10).unwrap();
        let found: Vec<_> = placed.into_iter().map(|(_, rows)| (rows.document, rows.rows)).collect();
        assert_eq!(found, [(1, 0..4), (2, 4..4), (3, 4..10)]);
    }

    #[test]
    fn damage_is_named() {
        let message = place(vec![row(1, 0, 4), row(3, 4, 6)], 8).unwrap_err();
        assert_eq!(message, "document 3 ends at row 10, but there are 8 rows of activations");
        let message = place(vec![row(3, 3, 6), row(1, 0, 4)], 10).unwrap_err();
        assert_eq!(message, "document 3 begins at row 3, but document 1 ends at row 4");
        assert!(place(vec![row(1, u64::MAX, 4)], 10).unwrap_err().contains("document 1 ends at"));
    }
}
