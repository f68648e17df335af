//! Features that fire on the same tokens, counted on a sample of the rows that is kept in memory.

use std::ops::Range;

use rayon::prelude::*;

use super::best::Best;
use crate::dictionary::{ByFeature, Codes};

/// Entries of the sample at most (16 bytes each, by row and by feature): a dense dictionary gets fewer rows.
const MOST_ENTRIES: u64 = 24 << 20;
/// Pairs of entries looked at, at most.
const MOST_PAIRS: u64 = 4 << 30;

/// A feature that fires together with another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partner {
    /// The other feature.
    pub feature: u32,
    /// Sampled tokens on which both fire.
    pub count: u32,
    /// `N_ab · T / (N_a · N_b)`: how many times more often than if they were independent.
    pub lift: f64,
}

/// Rows sampled when up to `wanted` of `rows` rows may be and a row has about `l0` features.
pub fn sample_size(rows: u64, wanted: u64, l0: f64) -> u64 {
    let l0 = l0.max(1.0);
    let most = (MOST_ENTRIES as f64 / l0).min(MOST_PAIRS as f64 / (l0 * l0)).max(1.0) as u64;
    rows.min(wanted).min(most)
}

/// True for `size` of `rows` rows, evenly spread.
pub fn in_sample(row: u64, rows: u64, size: u64) -> bool {
    let before = |row: u64| u128::from(row) * u128::from(size) / u128::from(rows.max(1));
    before(row) != before(row + 1)
}

/// The codes of sampled rows, by row and by feature.
#[derive(Debug)]
pub struct Coactivity {
    rows: Codes,
    features: ByFeature,
}

impl Coactivity {
    /// Of the codes of the sampled rows; `features` is the dictionary's size.
    pub fn new(sample: Codes, features: usize) -> Self {
        let by_feature = sample.transposed(features);
        Self { rows: sample, features: by_feature }
    }

    /// Rows it was made from.
    pub fn rows(&self) -> usize {
        self.rows.rows()
    }

    /// For each of `features`, the up to `limit` features that fire with it more often than by chance.
    ///
    /// Ordered by `count · ln(lift)`, the pair's share of the two features' mutual information: by count
    /// alone the features that always fire would come first, by lift alone pairs that met once.
    pub fn partners(&self, features: Range<usize>, limit: usize) -> Vec<Vec<Partner>> {
        let scratch = || (vec![0u32; self.features.offsets.len() - 1], Vec::new());
        features
            .into_par_iter()
            .map_init(scratch, |(counts, met), feature| self.of(feature, limit, counts, met))
            .collect()
    }

    /// `counts` is all zero before and after; `met` is room for the features met.
    fn of(&self, feature: usize, limit: usize, counts: &mut [u32], met: &mut Vec<u32>) -> Vec<Partner> {
        for &row in self.features.feature(feature).0 {
            for &other in self.rows.row(row as usize).0 {
                if counts[other as usize] == 0 {
                    met.push(other);
                }
                counts[other as usize] += 1;
            }
        }
        let mut best = Best::new(limit);
        for &other in met.iter().filter(|&&other| other as usize != feature) {
            let (count, lift) = (counts[other as usize], self.lift(feature, other as usize, counts));
            if lift > 1.0 {
                best.offer(other, f64::from(count) * lift.ln());
            }
        }
        let partner = |other: u32| Partner {
            feature: other,
            count: counts[other as usize],
            lift: self.lift(feature, other as usize, counts),
        };
        let partners = best.into_vec().into_iter().map(|(other, _)| partner(other)).collect();
        met.drain(..).for_each(|other| counts[other as usize] = 0);
        partners
    }

    fn lift(&self, a: usize, b: usize, counts: &[u32]) -> f64 {
        let fired = |feature: usize| self.features.feature(feature).0.len() as f64;
        f64::from(counts[b]) * self.rows() as f64 / (fired(a) * fired(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn as_the_full_matrix(rows in prop::collection::vec(prop::collection::btree_set(0u32..12, 0..6), 1..50)) {
            let mut sample = Codes::default();
            for row in &rows {
                let features: Vec<u32> = row.iter().copied().collect();
                sample.push_row(&features, &vec![1.0; features.len()]);
            }
            let found = Coactivity::new(sample, 12).partners(0..12, 3);
            let fired = |f: u32| rows.iter().filter(|row| row.contains(&f)).count() as f64;
            for a in 0..12u32 {
                let mut all = Vec::new();
                for b in (0..12).filter(|&b| b != a) {
                    let count = rows.iter().filter(|row| row.contains(&a) && row.contains(&b)).count();
                    let lift = count as f64 * rows.len() as f64 / (fired(a) * fired(b));
                    if lift > 1.0 {
                        all.push(Partner { feature: b, count: count as u32, lift });
                    }
                }
                all.sort_by(|x, y| {
                    let worth = |p: &Partner| f64::from(p.count) * p.lift.ln();
                    worth(y).total_cmp(&worth(x)).then(x.feature.cmp(&y.feature))
                });
                all.truncate(3);
                prop_assert_eq!(&found[a as usize], &all);
            }
        }

        #[test]
        fn samples_have_their_size(rows in 1u64..500, size in 0u64..500) {
            let size = size.min(rows);
            prop_assert_eq!((0..rows).filter(|&row| in_sample(row, rows, size)).count() as u64, size);
        }
    }

    #[test]
    fn dense_dictionaries_get_fewer_rows() {
        assert_eq!(sample_size(1_000, 200_000, 32.0), 1_000);
        assert_eq!(sample_size(10_000_000, 200_000, 32.0), 200_000);
        assert_eq!(sample_size(10_000_000, 200_000, 1024.0), 4_096);
    }
}
