//! To which of several kinds each feature belongs: the expert that its tokens go to, or the domain of the text that it fires on most.

use std::collections::HashMap;
use std::path::Path;

use arrow::datatypes::UInt32Type;
use storage::experts::FeatureExpertRow;
use storage::schema::{DOCUMENT, FEATURE};
use storage::{Run, Scan, column, row};

use super::{Documents, problem};
use crate::load::Problem;

/// Rows of the table of experts that are read at a time.
const CHUNK: u64 = 1 << 17;

/// The kind of each feature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Names of the kinds with their numbers of features, the most frequent first.
    pub names: Vec<(String, usize)>,
    /// Index into `names`, by feature; a feature of no kind has none.
    of: HashMap<u32, usize>,
}

impl Kinds {
    /// From the name of each feature's kind.
    fn new(of: &HashMap<u32, String>) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        of.values().for_each(|name| *counts.entry(name).or_default() += 1);
        let mut names: Vec<(String, usize)> =
            counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let number: HashMap<&str, usize> = names.iter().map(|(name, _)| name.as_str()).zip(0..).collect();
        let of = of.iter().map(|(feature, name)| (*feature, number[name.as_str()])).collect();
        Self { of, names }
    }

    /// The kind of `feature`, as an index into `names`.
    pub fn of(&self, feature: u32) -> Option<usize> {
        self.of.get(&feature).copied()
    }
}

/// The expert that each feature of the run in `dir` lives in; of several the one with the most mutual information.
///
/// # Errors
/// A run without a table of features and experts, or one that cannot be read.
pub fn by_expert(dir: &Path) -> Result<Kinds, Problem> {
    let path = Run::open(dir).map_err(problem)?.features_dir().join("experts.parquet");
    if !path.exists() {
        return Err(Problem::new("The features of this run are not joined with experts.")
            .with_remedy("`sae experts --features` joins them."));
    }
    let table = row::open::<FeatureExpertRow>(&path).map_err(problem)?;
    let mut homes: HashMap<u32, (f64, u16, u32)> = HashMap::new();
    let mut start = 0;
    while start < table.rows() {
        let end = (start + CHUNK).min(table.rows());
        let scan = Scan { rows: Some(start..end), ..Scan::default() };
        for row in row::read::<FeatureExpertRow>(&table, scan).map_err(problem)? {
            let known = homes.get(&row.feature).map_or(f64::NEG_INFINITY, |home| home.0);
            if row.lives_in && row.mutual_information > known {
                homes.insert(row.feature, (row.mutual_information, row.layer, row.expert));
            }
        }
        start = end;
    }
    let name = |(_, layer, expert): (f64, u16, u32)| format!("expert {layer}:{expert}");
    Ok(Kinds::new(&homes.into_iter().map(|(feature, home)| (feature, name(home))).collect()))
}

/// The domain of the documents of each feature's strongest examples: the one of most of them.
///
/// # Errors
/// A run without examples, or whose examples cannot be read.
pub fn by_domain(dir: &Path, documents: &Documents) -> Result<Kinds, Problem> {
    let run = Run::open(dir).map_err(problem)?;
    let table = run.examples().map_err(problem)?.ok_or_else(|| {
        Problem::new("The index of this run has no examples.").with_remedy("`sae index` makes them.")
    })?;
    let mut counts: HashMap<u32, HashMap<&str, u32>> = HashMap::new();
    // 0: the strongest.
    let range = Some(("interval".to_owned(), 0, 0));
    for batch in table.scan(Scan { range, ..Scan::of(&[FEATURE, DOCUMENT]) }).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        let features = column::primitive::<UInt32Type>(&batch, FEATURE).map_err(problem)?;
        let of = column::primitive::<UInt32Type>(&batch, DOCUMENT).map_err(problem)?;
        for (feature, document) in features.values().iter().zip(of.values()) {
            if let Some(row) = documents.get(*document).filter(|row| !row.domain.is_empty()) {
                *counts.entry(*feature).or_default().entry(row.domain.as_str()).or_default() += 1;
            }
        }
    }
    let most = |counts: HashMap<&str, u32>| {
        // Of equally many the first by name, so that the same data give the same colours.
        let best = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)));
        best.map(|(name, _)| name.to_owned())
    };
    let of = counts.into_iter().filter_map(|(feature, counts)| Some((feature, most(counts)?)));
    Ok(Kinds::new(&of.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_kind_comes_first() {
        let of = [(3, "code"), (5, "prose"), (9, "code"), (2, "french"), (7, "prose"), (8, "code")];
        let kinds = Kinds::new(&of.map(|(feature, name)| (feature, name.to_owned())).into());
        assert_eq!(kinds.names, [("code".into(), 3), ("prose".into(), 2), ("french".into(), 1)]);
        assert_eq!((kinds.of(9), kinds.of(7), kinds.of(2), kinds.of(4)), (Some(0), Some(1), Some(2), None));
    }
}
