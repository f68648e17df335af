//! Features and experts: `features/experts.parquet` of a run, seen from either side.

use std::collections::BinaryHeap;
use std::path::Path;

use storage::experts::FeatureExpertRow;
use storage::schema::FEATURE;
use storage::{Run, Scan, row};

use crate::data::problem;
use crate::load::Problem;

/// Rows of the table that are read at a time.
const CHUNK: u64 = 1 << 17;

/// The features of one expert.
#[derive(Clone, Debug, Default)]
pub struct ExpertFeatures {
    /// The pairs that are shown, the most mutual information first; those that live here before all others.
    pub rows: Vec<FeatureExpertRow>,
    /// Pairs of this expert that stand after correction.
    pub significant: u64,
    /// Features that live in it.
    pub lives_in: u64,
    /// All pairs of this expert.
    pub all: u64,
}

/// The table, which a run has when somebody asked for it.
fn open(run: &Path) -> Result<Option<storage::TableReader>, Problem> {
    let path = Run::open(run).map_err(problem)?.features_dir().join("experts.parquet");
    if !path.exists() {
        return Ok(None);
    }
    row::open::<FeatureExpertRow>(&path).map(Some).map_err(problem)
}

/// The experts that `feature` was seen with: what stands and is more than chance first, by lift. `None` when the run has no
/// such table.
///
/// # Errors
/// A table that cannot be read.
pub fn of_feature(run: &Path, feature: u32) -> Result<Option<Vec<FeatureExpertRow>>, Problem> {
    let range = Some((FEATURE.to_owned(), u64::from(feature), u64::from(feature)));
    let Some(table) = open(run)? else { return Ok(None) };
    let mut rows: Vec<FeatureExpertRow> =
        row::read(&table, Scan { range, ..Scan::default() }).map_err(problem)?;
    rows.sort_by(|a, b| b.significant.cmp(&a.significant).then(b.lift.total_cmp(&a.lift)));
    Ok(Some(rows))
}

/// Orders by what is worth seeing first.
struct Ranked(FeatureExpertRow);

impl Ranked {
    fn key(&self) -> (bool, f64, std::cmp::Reverse<u32>) {
        // Pairs that meet less often than chance carry information too, but do not make a home.
        let sign = if self.0.lift >= 1.0 { 1.0 } else { -1.0 };
        (self.0.lives_in, sign * self.0.mutual_information, std::cmp::Reverse(self.0.feature))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (a, b) = (self.key(), other.key());
        // A heap gives back its greatest: the least worth seeing.
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(b.2.cmp(&a.2))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

/// The features of an expert: at most `most` of them, chosen in one pass over the table in bounded memory. `None` when the run has no
/// such table.
///
/// # Errors
/// A table that cannot be read.
pub fn of_expert(
    run: &Path,
    layer: u16,
    expert: u32,
    most: usize,
) -> Result<Option<ExpertFeatures>, Problem> {
    let Some(table) = open(run)? else { return Ok(None) };
    let mut found = ExpertFeatures::default();
    let mut best: BinaryHeap<Ranked> = BinaryHeap::new();
    let range = Some((storage::schema::EXPERT.to_owned(), u64::from(expert), u64::from(expert)));
    let mut start = 0;
    while start < table.rows() {
        let end = (start + CHUNK).min(table.rows());
        let scan = Scan { rows: Some(start..end), range: range.clone(), ..Scan::default() };
        for row in row::read::<FeatureExpertRow>(&table, scan).map_err(problem)? {
            if row.layer != layer {
                continue;
            }
            found.all += 1;
            found.significant += u64::from(row.significant);
            found.lives_in += u64::from(row.lives_in);
            if row.significant {
                best.push(Ranked(row));
                if best.len() > most {
                    best.pop();
                }
            }
        }
        start = end;
    }
    found.rows = best.into_sorted_vec().into_iter().map(|ranked| ranked.0).collect();
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_an_expert_are_kept_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("features")).unwrap();
        storage::RunRecord::new().write(dir.path()).unwrap();
        let row = |feature: u32, information: f64, lift: f64, lives_in: bool, layer: u16| FeatureExpertRow {
            feature,
            layer,
            expert: 3,
            lift,
            mutual_information: information,
            significant: feature != 9,
            lives_in,
            ..FeatureExpertRow::default()
        };
        let rows = [
            row(1, 0.5, 2.0, false, 0),
            row(2, 0.9, 0.1, false, 0),
            row(3, 0.1, 2.0, true, 0),
            row(4, 0.7, 3.0, false, 0),
            row(9, 0.8, 3.0, false, 0),
            row(5, 0.99, 3.0, true, 1),
        ];
        row::write(&dir.path().join("features/experts.parquet"), &rows).unwrap();
        let found = of_expert(dir.path(), 0, 3, 3).unwrap().unwrap();
        assert_eq!(found.rows.iter().map(|r| r.feature).collect::<Vec<_>>(), [3, 4, 1]);
        assert_eq!((found.all, found.significant, found.lives_in), (5, 4, 1));
        assert_eq!(of_feature(dir.path(), 5).unwrap().unwrap(), rows[5..]);
        assert_eq!(of_expert(dir.path(), 0, 4, 3).unwrap().unwrap().all, 0);
        std::fs::remove_file(dir.path().join("features/experts.parquet")).unwrap();
        assert_eq!(of_feature(dir.path(), 5).unwrap(), None);
        assert!(of_expert(dir.path(), 0, 3, 3).unwrap().is_none());
    }
}
