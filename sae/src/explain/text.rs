//! The indexed tokens, in memory, and which half of the documents each belongs to.

use arrow::datatypes::UInt32Type;
use rand::RngCore as _;
use storage::schema::{ACTIVATIONS, DOCUMENT, POSITION, TOKEN};
use storage::{Dataset, Scan, TableReader, column};

use crate::train::random::{Purpose, generator};
use crate::{Error, Progress, Result, rows};

/// What stands before the first token of a document.
pub const START: u32 = u32::MAX;
/// Where the row before was left out of the dataset nobody knows its token; no rule names it.
pub const UNKNOWN: u32 = u32::MAX - 1;

/// Which documents: rules are made from one half and measured on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Rules are made from these.
    Made = 0,
    /// Scores are measured on these.
    Measured = 1,
}

/// A document of which rows were indexed.
#[derive(Debug, Clone)]
struct Document {
    document: u32,
    first: usize,
    domain: u32,
    half: Half,
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

/// Tokens of the indexed rows: 8 bytes a row.
#[derive(Debug, Default)]
pub struct Text {
    documents: Vec<Document>,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    /// Names of the domains.
    pub domains: Vec<String>,
}

impl Text {
    /// Reads the tokens of the rows that `codes`, a table of the index, has; documents are parted by `seed`.
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
                text.push(documents[i], *rows, positions[i], tokens[i]);
            }
            progress.advance(text.tokens.len() as u64, "");
            if progress.stop_requested() {
                return Err(Error::Stopped(
                    "nothing was written; older explanations stay as they are".into(),
                ));
            }
        }
        text.check(&indexed, dataset)?;
        text.name_domains(dataset)?;
        text.part(seed);
        progress.end(&format!("{} tokens of {} documents", text.tokens.len(), text.documents.len()));
        Ok(text)
    }

    fn push(&mut self, document: u32, rows: usize, position: u32, token: u32) {
        if self.documents.last().is_none_or(|last| last.document != document) {
            let first = self.tokens.len();
            self.documents.push(Document { document, first, domain: 0, half: Half::Made });
        }
        let first = self.documents.last().map_or(0, |last| last.first);
        if self.tokens.len() < first + rows {
            self.tokens.push(token);
            self.positions.push(position);
        }
    }

    fn check(&self, indexed: &[(u32, usize)], dataset: &Dataset) -> Result<()> {
        let found = (0..self.documents.len()).map(|i| (self.documents[i].document, self.rows_of(i).len()));
        let mut found = found.peekable();
        let missing = indexed.iter().find(|wanted| found.next_if_eq(wanted).is_none());
        match missing {
            None => Ok(()),
            Some((document, rows)) => Err(Error::data(format!(
                "{}: document {document} has not the {rows} rows that were indexed; give the dataset that the index was made \
                 from with --data, or make the index anew with `sae index`",
                dataset.dir().display()
            ))),
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
        for document in &mut self.documents {
            let at = of.binary_search_by_key(&document.document, |(number, _)| *number).map_err(|_| {
                Error::data(format!(
                    "{}: document {} has rows but is not in the table of documents; harvest the dataset again",
                    dataset.dir().display(),
                    document.document
                ))
            })?;
            document.domain = names.partition_point(|name| *name < of[at].1) as u32;
        }
        self.domains = names.into_iter().map(str::to_owned).collect();
        Ok(())
    }

    /// Within each domain, documents in an order drawn by `seed` go to the half that has fewer tokens of that domain, so that both
    /// halves have all of them; at a tie to the half that has fewer tokens at all.
    fn part(&mut self, seed: u64) {
        let drawn = |d: &Document| generator(seed, Purpose::Halves, u64::from(d.document), 0).next_u64();
        let mut order: Vec<(u32, u64, usize)> =
            self.documents.iter().enumerate().map(|(i, d)| (d.domain, drawn(d), i)).collect();
        order.sort_unstable();
        let mut all = [0; 2];
        let mut here = (u32::MAX, [0; 2]);
        for (domain, _, i) in order {
            if here.0 != domain {
                here = (domain, [0; 2]);
            }
            let measured = (here.1[1], all[1]) < (here.1[0], all[0]);
            self.documents[i].half = if measured { Half::Measured } else { Half::Made };
            let rows = self.rows_of(i).len();
            here.1[usize::from(measured)] += rows;
            all[usize::from(measured)] += rows;
        }
    }

    fn rows_of(&self, document: usize) -> std::ops::Range<usize> {
        let end = self.documents.get(document + 1).map_or(self.tokens.len(), |next| next.first);
        self.documents[document].first..end
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The largest token, if there is any.
    pub fn largest(&self) -> Option<u32> {
        self.tokens.iter().copied().max()
    }

    /// Documents of `half`.
    pub fn documents(&self, half: Half) -> usize {
        self.documents.iter().filter(|d| d.half == half).count()
    }

    /// What stands at `position` of `document`; `None` where no row was indexed.
    pub fn at(&self, document: u32, position: u32) -> Option<Place> {
        let index = self.documents.binary_search_by_key(&document, |d| d.document).ok()?;
        let rows = self.rows_of(index);
        let within = self.positions[rows.clone()].binary_search(&position).ok()?;
        Some(self.place(index, rows.start + within))
    }

    /// Every row in turn.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        (0..self.documents.len()).flat_map(move |i| self.rows_of(i).map(move |row| self.place(i, row)))
    }

    fn place(&self, document: usize, row: usize) -> Place {
        let Document { first, domain, half, .. } = self.documents[document];
        let position = self.positions[row];
        let before = match position.checked_sub(1) {
            None => START,
            Some(last) if row > first && self.positions[row - 1] == last => self.tokens[row - 1],
            Some(_) => UNKNOWN,
        };
        Place { token: self.tokens[row], before, domain, half }
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
            text.push(document, rows, position, token);
        }
        let before: Vec<u32> = text.places().map(|place| place.before).collect();
        assert_eq!(before, [START, 70, UNKNOWN, UNKNOWN, 74], "the fourth row of document 4 was not indexed");
        assert_eq!(text.at(4, 5).map(|p| p.token), Some(72));
        assert_eq!(text.at(9, 3).map(|p| (p.token, p.before)), Some((75, 74)));
        assert_eq!((text.at(4, 6), text.at(5, 0), text.at(9, 0)), (None, None, None));
    }
}
