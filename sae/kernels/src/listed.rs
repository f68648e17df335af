//! Dot products of pairs that rows list: token by token listed, feature by feature computed.
//!
//! The features that a token lists lie anywhere in a matrix that is larger than any cache, so token by token a feature's row comes from
//! memory once for every token that lists it. Feature by feature it comes once, and the tokens' rows, if they are few enough
//! ([`rows_at_once`]), come from the third cache. Both orders give the same bits.

use std::ops::Range;

use rayon::prelude::*;

use super::gather::dot_rows;
use super::group::{self, Grouping, row_and_place};

/// Features of a task.
const TASK_FEATURES: usize = 64;
/// Room in the third cache for rows, next to the matrix that is streamed.
const CACHE: usize = 8 << 20;

/// How many rows of width `d` stay in the cache.
pub fn rows_at_once(d: usize) -> usize {
    (CACHE / (size_of::<f32>() * d.max(1))).max(1)
}

/// What the rows of a chunk list.
#[derive(Debug, Clone)]
pub struct Lists {
    offsets: Vec<usize>,
    features: Vec<u32>,
}

impl Default for Lists {
    fn default() -> Self {
        Self { offsets: vec![0], features: Vec::new() }
    }
}

impl Lists {
    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.features.clear();
        self.offsets.truncate(1);
    }

    /// Adds what the next row lists.
    pub fn push_row(&mut self, features: impl Iterator<Item = u32>) {
        self.features.extend(features);
        self.offsets.push(self.features.len());
    }

    /// The features of row `i`.
    pub fn row(&self, i: usize) -> &[u32] {
        &self.features[self.entries(i)]
    }

    /// The features of each row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        self.offsets.windows(2).map(|range| &self.features[range[0]..range[1]])
    }

    /// Pairs.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    fn entries(&self, i: usize) -> Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }
}

impl group::Chunk for &Lists {
    fn rows(&self) -> impl Iterator<Item = &[u32]> {
        Lists::rows(self)
    }
}

/// Pairs in both orders.
#[derive(Debug, Default)]
pub struct Listed {
    grouping: Grouping,
}

impl Listed {
    /// Takes the pairs of all chunks, which have `chunk_rows` rows each but for the last one, with features below `features`.
    pub fn set(&mut self, features: usize, chunks: &[&Lists], chunk_rows: usize) {
        self.grouping.set(features, chunks, chunk_rows, true);
    }

    /// Where the pairs of row `i` of `lists`, which is chunk `chunk`, are in [`Self::dots`].
    pub fn places(&self, chunk: usize, lists: &Lists, i: usize) -> &[usize] {
        let entries = lists.entries(i);
        self.grouping.places(chunk, entries.start, entries.end)
    }

    /// Makes `out` the products of `left[n, d]` with `right[F, d]` at all pairs, by feature.
    pub fn dots(&self, out: &mut Vec<f32>, left: &[f32], right: &[f32], d: usize) {
        let (offsets, entries) = (self.grouping.offsets(), self.grouping.entries());
        out.resize(entries.len(), 0.0);
        let (mut rest, features) = (out.as_mut_slice(), offsets.len().saturating_sub(1));
        let tasks: Vec<(Range<usize>, &mut [f32])> = (0..features)
            .step_by(TASK_FEATURES)
            .map(|first| {
                let task = first..(first + TASK_FEATURES).min(features);
                let (out, after) =
                    std::mem::take(&mut rest).split_at_mut(offsets[task.end] - offsets[task.start]);
                rest = after;
                (task, out)
            })
            .collect();
        tasks.into_par_iter().for_each_init(Vec::new, |rows, (task, mut out)| {
            for f in task {
                let of_feature = &entries[offsets[f]..offsets[f + 1]];
                rows.clear();
                rows.extend(of_feature.iter().map(|entry| row_and_place(entry).0 as u32));
                let (of_feature, after) = std::mem::take(&mut out).split_at_mut(rows.len());
                dot_rows(of_feature, left, rows, &right[f * d..(f + 1) * d]);
                out = after;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_gets_its_product_whatever_the_order() {
        let (d, features) = (37, 150);
        let numbers = |n: usize, seed: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 31 + seed * 17) % 23) as f32 / 5.0 - 2.0).collect()
        };
        let (left, right) = (numbers(9 * d, 1), numbers(features * d, 2));
        let chunk = |rows: Range<usize>| {
            let mut lists = Lists::default();
            rows.for_each(|row| {
                let listed = |f: &u32| (*f as usize * 7 + row).is_multiple_of(row + 2);
                lists.push_row((0..features as u32).filter(listed));
            });
            lists
        };
        let mut listed = Listed::default();
        // The second time with what the first left.
        for chunks in [vec![chunk(0..4), chunk(4..8), chunk(8..9)], vec![chunk(0..3)], vec![]] {
            listed.set(features, &chunks.iter().collect::<Vec<_>>(), 4);
            let mut out = vec![9.0; 3];
            listed.dots(&mut out, &left, &right, d);
            let (mut row, mut pairs) = (0, 0);
            for (i, lists) in chunks.iter().enumerate() {
                for (j, features) in lists.rows().enumerate() {
                    assert_eq!(features, lists.row(j));
                    let places = listed.places(i, lists, j);
                    for (&place, &f) in places.iter().zip(features) {
                        let exact: f64 = (0..d)
                            .map(|c| f64::from(left[row * d + c]) * f64::from(right[f as usize * d + c]))
                            .sum();
                        assert!((f64::from(out[place]) - exact).abs() < 1e-3, "row {row}, feature {f}");
                    }
                    (row, pairs) = (row + 1, pairs + places.len());
                }
            }
            assert_eq!(out.len(), pairs);
        }
    }

    #[test]
    fn at_least_one_row_fits() {
        assert_eq!(rows_at_once(2048), 1024);
        assert_eq!(rows_at_once(usize::MAX / 8), 1);
    }
}
