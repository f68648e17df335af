//! Choosing whole documents until a limit on tokens is reached.

use std::ops::Range;

use kernels::chance::{Purpose, generator, shuffle};

/// A document and its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentRows {
    /// Number of the document.
    pub document: u32,
    /// Its rows in the table of activations.
    pub rows: Range<u64>,
}

/// Rows to look at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// Row ranges, ascending, not touching one another.
    pub ranges: Vec<Range<u64>>,
    /// Rows in them.
    pub tokens: u64,
    /// Documents with chosen rows.
    pub documents: u64,
}

impl Choice {
    /// The row ranges of the chosen rows number `rows`, counted from 0.
    pub fn part(&self, rows: Range<u64>) -> Vec<Range<u64>> {
        let (mut part, mut before) = (Vec::new(), 0);
        for range in &self.ranges {
            let length = range.end - range.start;
            let (from, to) =
                (rows.start.clamp(before, before + length), rows.end.clamp(before, before + length));
            if from < to {
                part.push(range.start + (from - before)..range.start + (to - before));
            }
            before += length;
        }
        part
    }
}

/// Chooses whole documents in an order drawn by `seed` until `limit` tokens are reached; the last is cut
/// there. All of them without a limit or with one that is not reached.
///
/// Taking the first rows instead would look at one domain alone where documents are ordered by source.
pub fn choose(documents: &[DocumentRows], limit: Option<u64>, seed: u64) -> Choice {
    let total: u64 = documents.iter().map(|d| d.rows.end - d.rows.start).sum();
    let limit = limit.unwrap_or(total);
    let mut order: Vec<&DocumentRows> = documents.iter().filter(|d| !d.rows.is_empty()).collect();
    // Where all are taken their order does not matter.
    if limit < total {
        order.sort_by_key(|d| d.document);
        shuffle(&mut order, &mut generator(seed, Purpose::Documents, 0, 0));
    }
    let mut choice = Choice::default();
    for document in order {
        let rows = (document.rows.end - document.rows.start).min(limit - choice.tokens);
        if rows == 0 {
            break;
        }
        choice.ranges.push(document.rows.start..document.rows.start + rows);
        choice.tokens += rows;
        choice.documents += 1;
    }
    choice.ranges.sort_by_key(|range| range.start);
    choice.ranges.dedup_by(|next, last| {
        let joins = last.end == next.start;
        if joins {
            last.end = next.end;
        }
        joins
    });
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(lengths: &[u64]) -> Vec<DocumentRows> {
        let mut first = 0;
        let documents = lengths.iter().enumerate().map(|(document, &length)| {
            first += length;
            DocumentRows { document: document as u32, rows: first - length..first }
        });
        documents.collect()
    }

    #[test]
    fn without_a_limit_everything_in_one_range() {
        let choice = choose(&documents(&[3, 0, 4, 5]), None, 1);
        assert_eq!(choice, Choice { ranges: vec![0..12], tokens: 12, documents: 3 });
        assert_eq!(choose(&documents(&[3, 4]), Some(100), 1).tokens, 7);
        assert_eq!(choose(&[], None, 1), Choice::default());
    }

    #[test]
    fn parts_are_counted_over_the_ranges() {
        let choice = Choice { ranges: vec![5..10, 20..23, 40..50], tokens: 18, documents: 3 };
        let rows: Vec<u64> = choice.ranges.iter().cloned().flatten().collect();
        for from in 0..20 {
            for to in from..20 {
                let part: Vec<u64> = choice.part(from..to).into_iter().flatten().collect();
                assert_eq!(part, rows[(from as usize).min(18)..(to as usize).min(18)], "{from} to {to}");
            }
        }
        assert_eq!(choice.part(4..8), [9..10, 20..23]);
    }

    #[test]
    fn a_limit_takes_documents_from_everywhere() {
        let documents = documents(&[10; 100]);
        let choice = choose(&documents, Some(205), 3);
        assert_eq!((choice.tokens, choice.documents), (205, 21));
        assert_eq!(choice.ranges.iter().map(|r| r.end - r.start).sum::<u64>(), 205);
        assert!(choice.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        let last = choice.ranges.last().unwrap().end;
        assert!(last > 500, "not only the first documents: {choice:?}");
        assert_ne!(choice, choose(&documents, Some(205), 4));
    }

    /// Seed 3 puts twelve documents in the order 3, 2, 4, 11, 6, … (by another implementation of the
    /// generator): the first four and half of the fifth are taken.
    #[test]
    fn the_order_of_a_seed_is_golden() {
        let choice = choose(&documents(&[10; 12]), Some(45), 3);
        assert_eq!(choice, Choice { ranges: vec![20..50, 60..65, 110..120], tokens: 45, documents: 5 });
    }

    #[test]
    fn holes_between_documents_stay_holes() {
        let which = [DocumentRows { document: 4, rows: 10..20 }, DocumentRows { document: 9, rows: 30..31 }];
        assert_eq!(choose(&which, None, 0).ranges, [10..20, 30..31]);
    }
}
