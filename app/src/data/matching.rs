//! Two matched dictionaries: which features found their like, which were split, merged or are alone.

use std::path::{Path, PathBuf};

pub use storage::matching::NearestColumns;
use storage::matching::{self as files, NearestRow};

use super::problem;
use crate::load::Problem;

/// A comparison of a run with another.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// The other run's folder, as recorded.
    pub other: PathBuf,
    /// Mean largest cosine of this run's features, and of the other's.
    pub mean_max_cosine: [f64; 2],
    /// Features of this run, and of the other.
    pub sides: [Side; 2],
}

/// The features of one run, each with the nearest of the other; index = feature.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Each feature's nearest.
    pub rows: NearestColumns,
    /// How many features of the other dictionary have it as their nearest.
    pub wanted_by: Vec<u32>,
}

/// What became of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correspondence {
    /// It and its nearest are each other's, and alike.
    Matched,
    /// Several features of the other dictionary are like it, and it is the nearest of all of them.
    Split,
    /// It is like a feature of the other dictionary, which is nearer to another one: several became one.
    Merged,
    /// Nothing in the other dictionary is like it.
    Alone,
}

impl Correspondence {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Matched, Self::Split, Self::Merged, Self::Alone];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Split => "split",
            Self::Merged => "merged",
            Self::Alone => "unmatched",
        }
    }

    /// What it means.
    pub fn about(self) -> &'static str {
        match self {
            Self::Matched => "It and one feature of the other dictionary are each other's nearest",
            Self::Split => {
                "Several features of the other dictionary are near it, and to all of them it is the nearest"
            }
            Self::Merged => "Its nearest in the other dictionary is near, but nearer to another feature",
            Self::Alone => "Nothing in the other dictionary is near",
        }
    }
}

impl Matching {
    /// What became of each feature of a side, if alike means a cosine of at least `threshold`.
    pub fn fates(&self, side: usize, threshold: f32) -> Vec<Correspondence> {
        let (here, there) = (&self.sides[side], &self.sides[1 - side]);
        let mut near = vec![0u32; here.rows.nearest.len()];
        for (nearest, cosine) in there.rows.nearest.iter().zip(&there.rows.cosine) {
            if *cosine >= threshold
                && let Some(count) = near.get_mut(*nearest as usize)
            {
                *count += 1;
            }
        }
        (0..here.rows.nearest.len())
            .map(|f| match (here.rows.cosine[f] >= threshold, near[f], here.rows.mutual[f]) {
                (_, 2.., _) => Correspondence::Split,
                (true, _, true) => Correspondence::Matched,
                (true, _, false) => Correspondence::Merged,
                (false, ..) => Correspondence::Alone,
            })
            .collect()
    }
}

/// Reads the comparison `name` of the run in `dir`.
///
/// # Errors
/// Files that are missing or cannot be read; a row of a different feature, or with a neighbour that is not
/// there.
pub fn read(dir: &Path, name: &str) -> Result<Matching, Problem> {
    let folder = dir.join(files::FOLDER).join(name);
    let record = files::Matching::read(&folder).map_err(problem)?;
    let side = |file: &str, others: u64| -> Result<Side, Problem> {
        let path = folder.join(file);
        let table = storage::row::open::<NearestRow>(&path).map_err(problem)?;
        let rows = NearestColumns::read_all(&table).map_err(problem)?;
        for ((feature, nearest), at) in rows.feature.iter().zip(&rows.nearest).zip(0..) {
            if *feature != at || u64::from(*nearest) >= others {
                return Err(Problem::new(format!(
                    "{}: row {at} holds feature {feature} with nearest {nearest}; expected feature {at} and a nearest \
                     below {others}.",
                    path.display(),
                ))
                .with_remedy("Make it again with `sae match`."));
            }
        }
        Ok(Side { rows, wanted_by: Vec::new() })
    };
    let mut sides = [side(files::FEATURES, record.others)?, side(files::OTHERS, record.features)?];
    for i in 0..2 {
        let mut wanted = vec![0u32; sides[i].rows.nearest.len()];
        for nearest in &sides[1 - i].rows.nearest {
            if let Some(count) = wanted.get_mut(*nearest as usize) {
                *count += 1;
            }
        }
        sides[i].wanted_by = wanted;
    }
    Ok(Matching {
        other: record.other,
        mean_max_cosine: [record.mean_max_cosine, record.others_mean_max_cosine],
        sides,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates() {
        // 0 ↔ 0 matched; 1 is split into 1 and 2; 2 and 3 became 3; 4 is alone, and so is 4 on the other side.
        let here = NearestColumns {
            nearest: vec![0, 1, 3, 3, 0],
            cosine: vec![0.9, 0.8, 0.9, 0.8, 0.2],
            mutual: vec![true, true, true, false, false],
            ..NearestColumns::default()
        };
        let there = NearestColumns {
            nearest: vec![0, 1, 1, 2, 4],
            cosine: vec![0.9, 0.8, 0.75, 0.9, 0.1],
            mutual: vec![true, true, false, true, false],
            ..NearestColumns::default()
        };
        let sides = [here, there].map(|rows| Side { rows, wanted_by: vec![] });
        let both = Matching { sides, ..Matching::default() };
        use Correspondence::{Alone, Matched, Merged, Split};
        assert_eq!(both.fates(0, 0.7), [Matched, Split, Matched, Merged, Alone]);
        assert_eq!(both.fates(1, 0.7), [Matched, Matched, Merged, Split, Alone]);
        assert_eq!(both.fates(0, 0.85), [Matched, Alone, Matched, Alone, Alone]);
    }
}
