//! What a dictionary found of the made world that its rows come from, as `sae synth score` wrote it.

use std::path::Path;

use storage::row;
use storage::truth::{self as files, FEATURES, FOLDER, WORLD};
pub use storage::truth::{PlantedLossScore, ScoredFeatureRow, TrueFeatureRow, TruthScore};

use super::problem;
use crate::load::Problem;

/// Least precision of a feature that fires only where its truth does.
const PRECISE: f64 = 0.8;
/// Recall under which such a feature misses most of it.
const IN_PART: f64 = 0.5;

/// What became of a feature of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorldOutcome {
    /// One feature of the dictionary is nearest to it.
    Matched,
    /// Several are.
    Split,
    /// None is.
    Missed,
}

impl WorldOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Matched, Self::Split, Self::Missed];

    /// Of a feature of the world.
    pub fn of(row: &TrueFeatureRow) -> Self {
        match row.features {
            0 => Self::Missed,
            1 => Self::Matched,
            _ => Self::Split,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Split => "split",
            Self::Missed => "missed",
        }
    }

    /// What it means.
    pub fn about(self) -> &'static str {
        match self {
            Self::Matched => {
                "It is the nearest feature of the world to exactly one feature of the dictionary"
            }
            Self::Split => "It is the nearest feature of the world to several features of the dictionary",
            Self::Missed => "It is the nearest feature of the world to none of the dictionary",
        }
    }
}

/// What a feature of the dictionary is in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundOutcome {
    /// It is the only one of its truth, and fires with it.
    Matched,
    /// Several features have the same truth.
    OneOfSeveral,
    /// It fires where its truth does, but on less than half of that: others may have taken the rest.
    InPart,
    /// It points nowhere near a feature of the world.
    Invented,
    /// It never fired.
    Dead,
}

impl FoundOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Matched, Self::OneOfSeveral, Self::InPart, Self::Invented, Self::Dead];

    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::OneOfSeveral => "one of several",
            Self::InPart => "absorbed in part",
            Self::Invented => "invented",
            Self::Dead => "dead",
        }
    }

    /// What it means.
    pub fn about(self) -> &'static str {
        match self {
            Self::Matched => "No other feature of the dictionary is nearest to the same feature of the world",
            Self::OneOfSeveral => {
                "Other features of the dictionary are nearest to the same feature of the world"
            }
            Self::InPart => {
                "Precision of at least 0.8 with recall under 0.5: it fires only where its truth does, but misses most of it, as \
                 where features below it in the hierarchy fire in its place"
            }
            Self::Invented => "The cosine with its nearest feature of the world is below the threshold",
            Self::Dead => "It fired on none of the scored rows",
        }
    }
}

/// A score with both tables.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// All in all.
    pub score: TruthScore,
    /// By feature of the dictionary.
    pub found: Vec<ScoredFeatureRow>,
    /// By feature of the world.
    pub world: Vec<TrueFeatureRow>,
}

impl Truth {
    /// What a feature of the dictionary is, if a direction is found from a |cosine| of `threshold` on.
    pub fn outcome(&self, row: &ScoredFeatureRow, threshold: f32) -> FoundOutcome {
        let alike = self.world.get(row.truth as usize).map_or(0, |truth| truth.features);
        if row.true_positives + row.false_positives == 0 {
            FoundOutcome::Dead
        } else if row.cosine < threshold {
            FoundOutcome::Invented
        } else if row.precision >= PRECISE && row.recall < IN_PART {
            FoundOutcome::InPart
        } else if alike > 1 {
            FoundOutcome::OneOfSeveral
        } else {
            FoundOutcome::Matched
        }
    }
}

/// Whether the run in `dir` was scored against a world.
pub fn exists(dir: &Path) -> bool {
    dir.join(FOLDER).join(files::FILE).is_file()
}

/// Reads the score of the run in `dir`.
///
/// # Errors
/// A run that was not scored; tables that cannot be read, or whose rows are not in the order of their features.
pub fn read(dir: &Path) -> Result<Truth, Problem> {
    let score = TruthScore::read(dir).map_err(problem)?.ok_or_else(|| {
        Problem::new(format!("{} was not scored against a world.", dir.display()))
            .with_remedy("`sae synth score` does, where the world that made its rows is known.")
    })?;
    let folder = dir.join(FOLDER);
    let (found_at, world_at) = (folder.join(FEATURES), folder.join(WORLD));
    let found = all::<ScoredFeatureRow>(&found_at)?;
    let world = all::<TrueFeatureRow>(&world_at)?;
    let order =
        |at: &Path, numbers: &mut dyn Iterator<Item = u32>| match numbers.zip(0..).find(|(n, i)| n != i) {
            None => Ok(()),
            Some((number, row)) => Err(Problem::new(format!(
                "{}: row {row} holds feature {number}, expected feature {row}.",
                at.display()
            ))
            .with_remedy("Score it again with `sae synth score`.")),
        };
    order(&found_at, &mut found.iter().map(|row| row.feature))?;
    order(&world_at, &mut world.iter().map(|row| row.truth))?;
    Ok(Truth { score, found, world })
}

fn all<R: row::Row>(path: &Path) -> Result<Vec<R>, Problem> {
    let table = row::open::<R>(path).map_err(problem)?;
    row::read(&table, storage::Scan::default()).map_err(problem)
}

/// What is known of `feature` of the run in `dir`; `None` for a run that was not scored.
///
/// # Errors
/// A table that cannot be read, or has no such feature.
pub fn of_feature(dir: &Path, feature: u32) -> Result<Option<ScoredFeatureRow>, Problem> {
    if !exists(dir) {
        return Ok(None);
    }
    let path = dir.join(FOLDER).join(FEATURES);
    let table = row::open::<ScoredFeatureRow>(&path).map_err(problem)?;
    let rows = Some(u64::from(feature)..u64::from(feature) + 1);
    let found: Vec<ScoredFeatureRow> =
        row::read(&table, storage::Scan { rows, ..storage::Scan::default() }).map_err(problem)?;
    match found.into_iter().next().filter(|row| row.feature == feature) {
        Some(row) => Ok(Some(row)),
        None => Err(Problem::new(format!("{} has no row of feature {feature}.", path.display()))
            .with_remedy("Score it again with `sae synth score`.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_follow_from_counts_and_cosines() {
        let row = |truth, cosine, tp, fp, precision, recall| ScoredFeatureRow {
            truth,
            cosine,
            true_positives: tp,
            false_positives: fp,
            precision,
            recall,
            ..ScoredFeatureRow::default()
        };
        let of = |features| TrueFeatureRow { features, ..TrueFeatureRow::default() };
        let truth = Truth { world: vec![of(1), of(2), of(0)], ..Truth::default() };
        let at = |row: &ScoredFeatureRow| truth.outcome(row, 0.7);
        assert_eq!(at(&row(0, 0.9, 9, 1, 0.9, 0.9)), FoundOutcome::Matched);
        assert_eq!(at(&row(1, 0.9, 9, 1, 0.9, 0.9)), FoundOutcome::OneOfSeveral);
        assert_eq!(at(&row(1, 0.9, 9, 1, 0.9, 0.2)), FoundOutcome::InPart);
        assert_eq!(at(&row(0, 0.3, 9, 1, 0.9, 0.2)), FoundOutcome::Invented);
        assert_eq!(at(&row(0, 0.3, 0, 0, 0.0, 0.0)), FoundOutcome::Dead);
        let outcomes: Vec<WorldOutcome> = truth.world.iter().map(WorldOutcome::of).collect();
        assert_eq!(outcomes, WorldOutcome::ALL);
    }
}
