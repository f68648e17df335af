//! The tokens of the indexed rows, kept in memory: 8 bytes per row, so that any window of text can be looked
//! up.

use std::ops::Range;

use crate::{Error, Result};

/// Token and place of every indexed row; rows are numbered from 0 in (document, position) order.
#[derive(Debug, Default)]
pub struct Tokens {
    /// Empty if rows are not tokens.
    tokens: Vec<u32>,
    positions: Vec<u32>,
    /// (document, its first row), ascending in both.
    documents: Vec<(u32, u32)>,
}

impl Tokens {
    /// Appends a row. Rows must come in (document, position) order and there may be at most 2³² of them.
    ///
    /// # Errors
    /// Rows that are not in order, or too many of them.
    pub fn push(&mut self, document: u32, position: u32, token: impl Into<Option<u32>>) -> Result<()> {
        let row = u32::try_from(self.positions.len()).map_err(|_| {
            Error::request("an index holds at most 4294967295 tokens").with_remedy("limit them with --tokens")
        })?;
        match (self.documents.last(), self.positions.last()) {
            (Some(&(last, _)), Some(&at)) if last == document => {
                if position <= at {
                    return Err(disorder(row, document, position, last, at));
                }
            }
            (Some(&(last, _)), Some(&at)) if last > document => {
                return Err(disorder(row, document, position, last, at));
            }
            _ => self.documents.push((document, row)),
        }
        self.tokens.extend(token.into());
        self.positions.push(position);
        Ok(())
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Documents that have rows.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// Token of every row; empty if rows are not tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Position of `row` in its document.
    pub fn position(&self, row: u32) -> u32 {
        self.positions[row as usize]
    }

    /// Position of every row in its document.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Document of `row`.
    pub fn document(&self, row: u32) -> u32 {
        self.documents[self.document_index(row)].0
    }

    /// Documents and positions of `rows`, which ascend, added to two lists.
    pub fn places_of(&self, rows: &[u32], documents: &mut Vec<u32>, positions: &mut Vec<u32>) {
        positions.extend(rows.iter().map(|&row| self.position(row)));
        let (mut document, mut end) = (0, 0);
        documents.extend(rows.iter().map(|&row| {
            // Most rows are in the document of the row before.
            if row >= end {
                let index = self.document_index(row);
                document = self.documents[index].0;
                end = self.documents.get(index + 1).map_or(u32::MAX, |next| next.1);
            }
            document
        }));
    }

    /// Rows around `row`, at most `before` before it and `after` after it, in its document and without a gap
    /// in the positions (a row that was left out of the dataset ends the window).
    pub fn window(&self, row: u32, before: u32, after: u32) -> Range<u32> {
        let index = self.document_index(row);
        let first = self.documents[index].1.max(row.saturating_sub(before));
        let end = self.documents.get(index + 1).map_or(self.positions.len() as u32, |next| next.1);
        let last = (end - 1).min(row.saturating_add(after));
        let place = self.position(row);
        let contiguous = |other: u32| self.position(other).abs_diff(place) == other.abs_diff(row);
        let start = (first..row).rev().take_while(|&r| contiguous(r)).last().unwrap_or(row);
        let stop = (row + 1..=last).take_while(|&r| contiguous(r)).last().unwrap_or(row);
        start..stop + 1
    }

    /// Tokens of all rows of `document`; none where it has no rows.
    pub fn of_document(&self, document: u32) -> &[u32] {
        self.find(document).and_then(|index| self.tokens.get(self.rows_of(index))).unwrap_or_default()
    }

    /// Every document with its rows.
    pub fn spans(&self) -> impl Iterator<Item = (u32, Range<usize>)> + '_ {
        self.documents.iter().enumerate().map(|(index, &(document, _))| (document, self.rows_of(index)))
    }

    /// Which of [`Tokens::spans`] is `document`, its first row, and which of its rows is at `position`;
    /// `None` where none is.
    pub fn at(&self, document: u32, position: u32) -> Option<(usize, usize, usize)> {
        let index = self.find(document)?;
        let rows = self.rows_of(index);
        let within = self.positions[rows.clone()].binary_search(&position).ok()?;
        Some((index, rows.start, within))
    }

    fn find(&self, document: u32) -> Option<usize> {
        self.documents.binary_search_by_key(&document, |&(number, _)| number).ok()
    }

    /// The first document whose rows are not all of its positions from 0 on.
    pub fn first_with_a_gap(&self) -> Option<u32> {
        // Positions ascend, so the last one says it.
        let whole = |index: &usize| {
            let rows = self.rows_of(*index);
            rows.is_empty() || self.positions[rows.end - 1] as usize + 1 == rows.len()
        };
        (0..self.documents.len()).find(|index| !whole(index)).map(|index| self.documents[index].0)
    }

    /// The number of the document `index` of [`Tokens::spans`].
    pub fn document_at(&self, index: usize) -> u32 {
        self.documents[index].0
    }

    /// The rows of the document `index` of [`Tokens::spans`].
    pub fn rows_of(&self, index: usize) -> Range<usize> {
        let end = self.documents.get(index + 1).map_or(self.positions.len(), |next| next.1 as usize);
        self.documents[index].1 as usize..end
    }

    fn document_index(&self, row: u32) -> usize {
        self.documents.partition_point(|&(_, first)| first <= row) - 1
    }
}

fn disorder(row: u32, document: u32, position: u32, last: u32, at: u32) -> Error {
    Error::data(format!(
        "row {row} of the activations is document {document}, position {position}, but the row before is document \
         {last}, position {at}: rows must be in (document, position) order; harvest the dataset again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, u32)]) -> Tokens {
        let mut table = Tokens::default();
        for (i, &(document, position)) in rows.iter().enumerate() {
            table.push(document, position, 100 + i as u32).unwrap();
        }
        table
    }

    #[test]
    fn windows_stay_in_their_document() {
        let t = table(&[(2, 0), (2, 1), (2, 2), (5, 0), (5, 1), (9, 7)]);
        assert_eq!((t.len(), t.documents()), (6, 3));
        assert_eq!(t.window(1, 24, 8), 0..3);
        assert_eq!(t.window(1, 0, 0), 1..2);
        assert_eq!(t.window(2, 1, 8), 1..3);
        assert_eq!(t.window(3, 24, 8), 3..5);
        assert_eq!(t.window(5, 24, 8), 5..6);
        assert_eq!([0, 2, 3, 4, 5].map(|r| t.document(r)), [2, 2, 5, 5, 9]);
        for rows in [&[0, 2, 3, 4, 5][..], &[1, 5], &[4], &[]] {
            let (mut documents, mut positions) = (vec![99], vec![98]);
            t.places_of(rows, &mut documents, &mut positions);
            assert_eq!(documents[1..], rows.iter().map(|&r| t.document(r)).collect::<Vec<_>>());
            assert_eq!(positions[1..], rows.iter().map(|&r| t.position(r)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_gap_ends_a_window() {
        let t = table(&[(0, 0), (0, 1), (0, 4), (0, 5), (0, 9)]);
        assert_eq!(t.window(3, 24, 8), 2..4);
        assert_eq!(t.window(0, 24, 8), 0..2);
    }

    #[test]
    fn rows_are_found_by_their_place() {
        let t = table(&[(2, 0), (2, 1), (2, 7), (5, 3)]);
        assert_eq!(t.spans().collect::<Vec<_>>(), [(2, 0..3), (5, 3..4)]);
        assert_eq!([t.at(2, 0), t.at(2, 7), t.at(5, 3)], [Some((0, 0, 0)), Some((0, 0, 2)), Some((1, 3, 0))]);
        assert_eq!([t.at(2, 3), t.at(5, 0), t.at(3, 0)], [None; 3]);
    }

    #[test]
    fn documents_are_whole_or_have_gaps() {
        let t = table(&[(2, 0), (2, 1), (5, 0)]);
        assert_eq!(
            (t.of_document(2), t.of_document(5), t.of_document(3)),
            (&[100, 101][..], &[102][..], &[][..])
        );
        assert_eq!(t.first_with_a_gap(), None);
        assert_eq!(table(&[(2, 0), (5, 1)]).first_with_a_gap(), Some(5));
        assert_eq!(table(&[(2, 0), (2, 2), (5, 0)]).first_with_a_gap(), Some(2));
    }

    #[test]
    fn disorder_is_refused() {
        for (first, second) in [((3, 4), (3, 4)), ((3, 4), (3, 1)), ((3, 4), (2, 9))] {
            let mut t = table(&[first]);
            let message = t.push(second.0, second.1, 0).unwrap_err().to_string();
            assert!(message.contains("(document, position) order"), "{message}");
        }
    }
}
