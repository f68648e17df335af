//! The indexed tokens, in memory, and which half of the documents each belongs to.

use arrow::datatypes::UInt32Type;
use storage::schema::{ACTIVATIONS, DOCUMENT, POSITION, TOKEN};
use storage::{Dataset, Scan, TableReader, column};

use crate::features::tokens::Tokens;
use crate::{Error, Progress, Result, rows};
use kernels::chance::{Purpose, generator};

/// What stands before the first token of a document.
pub const START: u32 = u32::MAX;
/// Stands for the token before where the dataset left that row out: its token is not known, and no rule names
/// it.
pub const UNKNOWN: u32 = u32::MAX - 1;

/// Which documents: rules are made from one half and measured on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Rules are made from these.
    Made = 0,
    /// Scores are measured on these.
    Measured = 1,
}

/// What a rule can see of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its token.
    pub token: u32,
    /// The token before it in its document, [`START`] or [`UNKNOWN`].
    pub before: u32,
    /// The document's domain, an index into [`Text::domains`].
    pub domain: u32,
    /// The document's half.
    pub half: Half,
}

/// Tokens of the indexed rows: 8 bytes per row.
#[derive(Debug, Default)]
pub struct Text {
    rows: Tokens,
    /// Domain and half of each document that has rows.
    of: Vec<(u32, Half)>,
    /// Names of the domains.
    pub domains: Vec<String>,
}

impl Text {
    /// Reads the tokens of the rows that `codes`, a table of the index, has; documents are parted by `seed`.
    ///
    /// # Errors
    /// A dataset that is not the indexed one, or [`Error::Stopped`].
    pub fn read(
        dataset: &Dataset,
        codes: &TableReader,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let indexed = indexed(codes)?;
        let mut text = Self::default();
        let mut wanted = indexed.iter().copied().peekable();
        progress.begin("tokens", Some(codes.rows()), "tokens");
        for batch in dataset.table(ACTIVATIONS)?.scan(Scan::of(&[DOCUMENT, POSITION, TOKEN]))? {
            let batch = batch?;
            let of = |name| {
                column::primitive::<UInt32Type>(&batch, name).map(arrow::array::PrimitiveArray::values)
            };
            let (documents, positions, tokens) = (of(DOCUMENT)?, of(POSITION)?, of(TOKEN)?);
            for i in 0..batch.num_rows() {
                while wanted.next_if(|(document, _)| *document < documents[i]).is_some() {}
                // The last document of an index may have been cut.
                let Some((_, rows)) = wanted.peek().filter(|(document, _)| *document == documents[i]) else {
                    continue;
                };
                text.push(documents[i], *rows, positions[i], tokens[i])?;
            }
            progress.advance(text.len() as u64, "");
            if progress.stop_requested() {
                return Err(Error::stopped("nothing was written; older explanations are kept"));
            }
        }
        text.check(&indexed, dataset)?;
        text.name_domains(dataset)?;
        text.part(seed);
        progress.end(&format!("{} tokens of {} documents", text.len(), text.rows.documents()));
        Ok(text)
    }

    /// Takes a row of `document`, of which `rows` were indexed: the first so many.
    fn push(&mut self, document: u32, rows: usize, position: u32, token: u32) -> Result<()> {
        if self.rows.of_document(document).len() < rows {
            self.rows.push(document, position, token)?;
        }
        Ok(())
    }

    fn check(&self, indexed: &[(u32, usize)], dataset: &Dataset) -> Result<()> {
        let mut found = self.rows.spans().map(|(document, rows)| (document, rows.len())).peekable();
        let missing = indexed.iter().find(|wanted| found.next_if_eq(wanted).is_none());
        match missing {
            None => Ok(()),
            Some((document, rows)) => Err(Error::data(format!(
                "{}: document {document} does not have the {rows} rows that were indexed",
                dataset.dir().display()
            ))
            .with_remedy(
                "give the dataset that was indexed with --data, or make the index again with `sae index`",
            )),
        }
    }

    fn name_domains(&mut self, dataset: &Dataset) -> Result<()> {
        let rows = rows::documents(dataset)?;
        let mut of: Vec<(u32, &str)> =
            rows.iter().map(|(row, _)| (row.document, row.domain.as_str())).collect();
        of.sort_unstable();
        let mut names: Vec<&str> = of.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let domain = |(document, _)| {
            let at = of.binary_search_by_key(&document, |(number, _)| *number).map_err(|_| {
                Error::data(format!(
                    "{}: document {document} has rows but is not in the table of documents",
                    dataset.dir().display()
                ))
                .with_remedy("harvest the dataset again")
            })?;
            Ok((names.partition_point(|name| *name < of[at].1) as u32, Half::Made))
        };
        self.of = self.rows.spans().map(domain).collect::<Result<_>>()?;
        self.domains = names.into_iter().map(str::to_owned).collect();
        Ok(())
    }

    /// Within each domain, documents in an order drawn by `seed` go to the half that has fewer tokens of that
    /// domain, so that both halves have all of them; at a tie to the half that has fewer tokens at all.
    fn part(&mut self, seed: u64) {
        let drawn = |document: u32| generator(seed, Purpose::Halves, u64::from(document), 0).next_u64();
        let spans = self.rows.spans().zip(&self.of).enumerate();
        let mut order: Vec<(u32, u64, usize, usize)> = spans
            .map(|(i, ((document, rows), (domain, _)))| (*domain, drawn(document), i, rows.len()))
            .collect();
        order.sort_unstable();
        let mut all = [0; 2];
        let mut here = (u32::MAX, [0; 2]);
        for (domain, _, i, rows) in order {
            if here.0 != domain {
                here = (domain, [0; 2]);
            }
            let measured = (here.1[1], all[1]) < (here.1[0], all[0]);
            self.of[i].1 = if measured { Half::Measured } else { Half::Made };
            here.1[usize::from(measured)] += rows;
            all[usize::from(measured)] += rows;
        }
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The largest token, if there is any.
    pub fn largest(&self) -> Option<u32> {
        self.rows.tokens().iter().copied().max()
    }

    /// Documents of `half`.
    pub fn documents(&self, half: Half) -> usize {
        self.of.iter().filter(|(_, of)| *of == half).count()
    }

    /// Documents that have rows.
    pub fn spans(&self) -> usize {
        self.of.len()
    }

    /// The rows of the document `index` of [`Self::spans`].
    pub fn rows_of(&self, index: usize) -> std::ops::Range<usize> {
        self.rows.rows_of(index)
    }

    /// The number of the document `index`.
    pub fn document_of(&self, index: usize) -> u32 {
        self.rows.document_at(index)
    }

    /// The domain of the document `index`, an index into [`Self::domains`].
    pub fn domain_of(&self, index: usize) -> u32 {
        self.of[index].0
    }

    /// The half of the document `index`.
    pub fn half_of(&self, index: usize) -> Half {
        self.of[index].1
    }

    /// Which document (an index) has a row at `position` of `document`, its first row, and which of its rows that is.
    pub fn find(&self, document: u32, position: u32) -> Option<(usize, usize, usize)> {
        self.rows.at(document, position)
    }

    /// The token of every row.
    pub fn tokens(&self) -> &[u32] {
        self.rows.tokens()
    }

    /// The position of every row in its document.
    pub fn positions(&self) -> &[u32] {
        self.rows.positions()
    }

    /// What stands at `position` of `document`; `None` where no row was indexed.
    pub fn at(&self, document: u32, position: u32) -> Option<Place> {
        let (index, first, within) = self.rows.at(document, position)?;
        Some(self.place(index, first + within, within.checked_sub(1).map(|last| first + last)))
    }

    /// Every row in turn.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.rows.spans().enumerate().flat_map(move |(index, (_, rows))| {
            let first = rows.start;
            rows.map(move |row| self.place(index, row, (row > first).then(|| row - 1)))
        })
    }

    /// What a rule sees of `row`, of the document `index`; `previous` is the row before it in that document.
    fn place(&self, index: usize, row: usize, previous: Option<usize>) -> Place {
        let (domain, half) = self.of[index];
        let position = |row: usize| self.rows.position(row as u32);
        let before = match (position(row).checked_sub(1), previous) {
            (None, _) => START,
            (Some(last), Some(previous)) if position(previous) == last => self.rows.tokens()[previous],
            _ => UNKNOWN,
        };
        Place { token: self.rows.tokens()[row], before, domain, half }
    }
}

/// Documents of the index with their numbers of rows, ascending.
fn indexed(codes: &TableReader) -> Result<Vec<(u32, usize)>> {
    let mut found: Vec<(u32, usize)> = Vec::new();
    for batch in codes.scan(Scan::of(&[DOCUMENT]))? {
        let batch = batch?;
        for &document in column::primitive::<UInt32Type>(&batch, DOCUMENT)?.values() {
            match found.last_mut() {
                Some((last, rows)) if *last == document => *rows += 1,
                _ => found.push((document, 1)),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_before_is_of_the_same_document_and_known() {
        let mut text = Text::default();
        for (document, rows, position, token) in
            [(4, 3, 0, 70), (4, 3, 1, 71), (4, 3, 5, 72), (4, 3, 6, 73), (9, 9, 2, 74), (9, 9, 3, 75)]
        {
            text.push(document, rows, position, token).unwrap();
        }
        text.of = vec![(0, Half::Made); 2];
        let before: Vec<u32> = text.places().map(|place| place.before).collect();
        assert_eq!(before, [START, 70, UNKNOWN, UNKNOWN, 74], "the fourth row of document 4 was not indexed");
        assert_eq!(text.at(4, 5).map(|p| p.token), Some(72));
        assert_eq!(text.at(9, 3).map(|p| (p.token, p.before)), Some((75, 74)));
        assert_eq!((text.at(4, 6), text.at(5, 0), text.at(9, 0)), (None, None, None));
    }
}
