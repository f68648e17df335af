//! Whether two features of different runs fire on the same tokens. Two directions may be near each other and yet do different things:
//! what counts is the text.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;

use arrow::datatypes::UInt32Type;
use storage::feature_activations::{self, ActivationRow};
use storage::schema::DOCUMENT;
use storage::{Run, column};

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

/// Compares a feature of one run with a feature of another; `None` where their indices are of different datasets. `same_data` says that
/// both were found to be of one folder: indices name it as it was given, `data` here and `/home/me/data` there.
///
/// # Errors
/// A run without an index, a table of activations or that feature; files that cannot be read.
pub fn of_pair(runs: [&Path; 2], features: [u32; 2], same_data: bool) -> Result<Option<Agreement>, Problem> {
    let mut of = Vec::with_capacity(2);
    for (dir, feature) in runs.into_iter().zip(features) {
        let run = Run::open(dir).map_err(problem)?;
        let index = run.index().map_err(problem)?;
        let index = index.ok_or_else(|| missing(dir, "feature index", "Make it with `sae index`."))?;
        let (Some(table), Some(activations)) =
            (run.features().map_err(problem)?, run.activations().map_err(problem)?)
        else {
            return Err(missing(dir, "table of activations", "Make the index again with `sae index`."));
        };
        let at = u64::from(feature);
        let rows = storage::features::read(&table, at..at + 1).map_err(problem)?;
        let row =
            rows.into_iter().next().ok_or_else(|| missing(dir, "such feature", "Choose a different one."))?;
        let fired = feature_activations::read_rows(&activations, row.first_row..row.first_row + row.count);
        of.push((run, index, fired.map_err(problem)?));
    }
    let [(first, a, mut fired), (second, b, mut other)] =
        <[_; 2]>::try_from(of).map_err(|_| Problem::new("Two features are compared with each other."))?;
    let same_data = same_data || a.data == b.data;
    if !same_data || a.hook != b.hook || a.model_sha256 != b.model_sha256 {
        return Ok(None);
    }
    if a.tokens != b.tokens || a.documents != b.documents {
        // One of them has a part of the documents: the others say nothing about agreement.
        let shared: HashSet<u32> = &documents(&first)? & &documents(&second)?;
        [&mut fired, &mut other]
            .into_iter()
            .for_each(|rows| rows.retain(|row| shared.contains(&row.document)));
    }
    Ok(Some(count(&fired, &other)))
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

/// Both are sorted by document and position.
fn count(first: &[ActivationRow], second: &[ActivationRow]) -> Agreement {
    let place = |row: &ActivationRow| (row.document, row.position);
    let (mut i, mut j, mut both) = (0, 0, 0);
    while let (Some(a), Some(b)) = (first.get(i), second.get(j)) {
        match place(a).cmp(&place(b)) {
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
        let rows = |places: &[(u32, u32)]| -> Vec<ActivationRow> {
            let row = |(document, position)| ActivationRow { document, position, ..ActivationRow::default() };
            places.iter().copied().map(row).collect()
        };
        let agreement = count(&rows(&[(0, 1), (0, 5), (2, 0)]), &rows(&[(0, 5), (1, 0), (2, 0), (9, 9)]));
        assert_eq!(agreement, Agreement { both: 2, first: 3, second: 4 });
        assert_eq!(agreement.share(), Some(0.4));
        assert_eq!(count(&[], &[]).share(), None);
    }
}
