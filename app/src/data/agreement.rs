//! Whether two features of different runs fire on the same tokens. Two directions may be near each other and yet do different things:
//! what counts is the text.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use arrow::datatypes::UInt32Type;
use storage::features::FeatureColumns;
use storage::schema::{DOCUMENT, POSITION};
use storage::{Run, Scan, TableReader, column};

use super::{missing, problem};
use crate::load::Problem;

/// Tokens on which one, the other, or both fire, of those that both indices have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Tokens on which both fire.
    pub both: u64,
    /// Tokens on which the first fires.
    pub first: u64,
    /// Tokens on which the second fires.
    pub second: u64,
}

impl Agreement {
    /// Tokens on which both fire ÷ tokens on which either does (Jaccard); none where neither fires.
    pub fn share(&self) -> Option<f64> {
        let either = self.first + self.second - self.both;
        (either > 0).then(|| self.both as f64 / either as f64)
    }
}

/// Reads whether features of one run fire on the same tokens as features of another, pair by pair.
#[derive(Debug)]
pub struct AgreementReader {
    sides: [Firings; 2],
    /// The documents that both indices have, where they do not have the same.
    shared: Option<HashSet<u32>>,
    /// Over what, in words: `the 300 000 tokens of 214 documents that both runs have indexed`.
    pub over: String,
}

/// Where the features of a run fire.
#[derive(Debug)]
struct Firings {
    activations: TableReader,
    /// First row and number of rows of each feature.
    rows: Vec<(u64, u64)>,
}

impl AgreementReader {
    /// Opens two runs; `None` where their indices are of different datasets. `same_data` says that both were found to be of one folder:
    /// indices name it as it was given, `data` here and `/home/me/data` there.
    ///
    /// # Errors
    /// A run without an index or a table of activations; files that cannot be read.
    pub fn open(runs: [&Path; 2], same_data: bool) -> Result<Option<Self>, Problem> {
        let [(first, a, here), (second, b, there)] = [open(runs[0])?, open(runs[1])?];
        let same_data = same_data || a.data == b.data;
        if !same_data || a.hook != b.hook || a.model_sha256 != b.model_sha256 {
            return Ok(None);
        }
        let grouped = crate::words::format::grouped;
        let (shared, over) = if a.tokens == b.tokens && a.documents == b.documents {
            let (tokens, documents) = (grouped(a.tokens), grouped(a.documents));
            (None, format!("the {tokens} tokens of {documents} documents that both runs have indexed"))
        } else {
            // One of them has a part of the documents: the others say nothing about agreement.
            let shared = &documents(&first)? & &documents(&second)?;
            let over = format!(
                "the {} documents that both runs have indexed, of {} and {}",
                grouped(shared.len() as u64),
                grouped(a.documents),
                grouped(b.documents)
            );
            (Some(shared), over)
        };
        Ok(Some(Self { sides: [here, there], shared, over }))
    }

    /// How far a feature of the first run and one of the second agree.
    ///
    /// # Errors
    /// A feature that a run does not have; files that cannot be read.
    pub fn read(&self, features: [u32; 2]) -> Result<Agreement, Problem> {
        let [first, second] = [self.places(0, features[0])?, self.places(1, features[1])?];
        Ok(count(&first, &second))
    }

    /// The tokens that a feature fires on, ascending: the document in the upper half, the position in the lower.
    fn places(&self, side: usize, feature: u32) -> Result<Vec<u64>, Problem> {
        let Firings { activations, rows } = &self.sides[side];
        let Some((first, count)) = rows.get(feature as usize) else {
            return Err(Problem::new(format!("There is no feature {feature} in the index."))
                .with_remedy("Match again, or make the index again with `sae index`."));
        };
        let mut places = read_places(activations, *first..first + count)?;
        if let Some(shared) = &self.shared {
            places.retain(|place| shared.contains(&((place >> 32) as u32)));
        }
        Ok(places)
    }
}

fn read_places(table: &TableReader, rows: Range<u64>) -> Result<Vec<u64>, Problem> {
    let mut places = Vec::with_capacity((rows.end - rows.start) as usize);
    if rows.is_empty() {
        return Ok(places);
    }
    let scan = Scan { rows: Some(rows), ..Scan::of(&[DOCUMENT, POSITION]) };
    for batch in table.scan(scan).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        let of = |name: &str| column::primitive::<UInt32Type>(&batch, name).map_err(problem);
        let (documents, positions) = (of(DOCUMENT)?, of(POSITION)?);
        let both = documents.values().iter().zip(positions.values());
        places.extend(both.map(|(document, position)| u64::from(*document) << 32 | u64::from(*position)));
    }
    Ok(places)
}

fn open(dir: &Path) -> Result<(Run, storage::IndexRecord, Firings), Problem> {
    let run = Run::open(dir).map_err(problem)?;
    let index = run.index().map_err(problem)?;
    let index = index.ok_or_else(|| missing(dir, "feature index", "Make it with `sae index`."))?;
    let (Some(table), Some(activations)) =
        (run.features().map_err(problem)?, run.activations().map_err(problem)?)
    else {
        return Err(missing(dir, "table of activations", "Make the index again with `sae index`."));
    };
    let columns = FeatureColumns::read(&table, &["first_row", "count"]).map_err(problem)?;
    let rows = columns.first_row.into_iter().zip(columns.count).collect();
    Ok((run, index, Firings { activations, rows }))
}

/// The documents that an index has.
fn documents(run: &Run) -> Result<HashSet<u32>, Problem> {
    let codes = run.codes().map_err(problem)?;
    let codes = codes
        .ok_or_else(|| missing(run.dir(), "codes by token", "Make the index again with `sae index`."))?;
    let mut found = HashSet::new();
    for batch in codes.columns(&[DOCUMENT]).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        found.extend(column::primitive::<UInt32Type>(&batch, DOCUMENT).map_err(problem)?.values());
    }
    Ok(found)
}

/// Both ascend.
fn count(first: &[u64], second: &[u64]) -> Agreement {
    let (mut i, mut j, mut both) = (0, 0, 0);
    while let (Some(a), Some(b)) = (first.get(i), second.get(j)) {
        match a.cmp(b) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    Agreement { both, first: first.len() as u64, second: second.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_on_which_both_fire_are_counted_once() {
        let places = |places: &[(u64, u64)]| -> Vec<u64> {
            places.iter().map(|(document, position)| document << 32 | position).collect()
        };
        let agreement = count(&places(&[(0, 1), (0, 5), (2, 0)]), &places(&[(0, 5), (1, 0), (2, 0), (9, 9)]));
        assert_eq!(agreement, Agreement { both: 2, first: 3, second: 4 });
        assert_eq!(agreement.share(), Some(0.4));
        assert_eq!(count(&[], &[]).share(), None);
    }
}
