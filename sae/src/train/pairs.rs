//! The active pairs of a token and a feature in a batch: by token while encoding, by feature for the gradients.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use rayon::prelude::*;

use crate::dictionary::Codes;
use kernels::feature::Source;
use kernels::group::{self, Grouping, row_and_place};

/// The active pairs of a chunk of tokens. A pair may have the code 0: a feature so near its threshold that the threshold learns from it.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Features and codes, a row per token.
    pub codes: Codes,
    /// e · W_dec (half the loss's slope, up to a constant) for each code.
    pub slopes: Vec<f32>,
}

impl Pairs {
    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.codes.clear();
    }

    /// Makes room for the slopes of all pairs.
    pub fn begin_slopes(&mut self) {
        self.slopes.resize(self.codes.features.len(), 0.0);
    }

    /// Token `row`: features, codes, slopes.
    pub fn row_mut(&mut self, row: usize) -> (&[u32], &[f32], &mut [f32]) {
        let range = self.codes.offsets[row]..self.codes.offsets[row + 1];
        let (features, values) = self.codes.row(row);
        (features, values, &mut self.slopes[range])
    }

    /// Pairs whose code is not 0.
    pub fn fired(&self) -> usize {
        self.codes.values.iter().filter(|&&v| v != 0.0).count()
    }
}

impl group::Chunk for &Pairs {
    fn rows(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.codes.rows()).map(|i| self.codes.row(i).0)
    }
}

/// Entries that one task takes over.
const TASK_ENTRIES: usize = 4096;

/// The active pairs of a batch by feature, codes and slopes times a constant of the loss.
#[derive(Debug, Default)]
pub struct PairsByFeature {
    grouping: Grouping,
    tokens: Vec<u32>,
    codes: Vec<f32>,
    slopes: Vec<f32>,
}

impl PairsByFeature {
    /// Groups the pairs of chunks of `chunk_rows` tokens each (the last may be shorter).
    pub fn collect(&mut self, chunks: &[&Pairs], chunk_rows: usize, features: usize, scale: f32) {
        let Self { grouping, tokens, codes, slopes } = self;
        grouping.set(features, chunks, chunk_rows, false);
        let entries = grouping.entries();
        tokens.resize(entries.len(), 0);
        codes.resize(entries.len(), 0.0);
        slopes.resize(entries.len(), 0.0);
        let take = |(((entry, token), code), slope): (((&AtomicU64, &mut u32), &mut f32), &mut f32)| {
            let (row, i) = row_and_place(entry);
            let pairs = chunks[row / chunk_rows];
            let at = pairs.codes.offsets[row % chunk_rows] + i;
            *token = row as u32;
            *code = pairs.codes.values[at] * scale;
            *slope = pairs.slopes[at] * scale;
        };
        (entries.par_chunks(TASK_ENTRIES), tokens.par_chunks_mut(TASK_ENTRIES))
            .into_par_iter()
            .zip(codes.par_chunks_mut(TASK_ENTRIES))
            .zip(slopes.par_chunks_mut(TASK_ENTRIES))
            .for_each(|(((entries, tokens), codes), slopes)| {
                entries.iter().zip(tokens).zip(codes).zip(slopes).for_each(take);
            });
    }

    /// Forgets all pairs.
    pub fn clear(&mut self) {
        self.grouping.clear();
    }

    /// Tokens on which feature `f` has a code that is not 0.
    pub fn fired(&self, f: usize) -> usize {
        self.codes[self.range(f)].iter().filter(|&&v| v != 0.0).count()
    }

    /// The entries of feature `f`; none if there are none at all.
    fn range(&self, f: usize) -> Range<usize> {
        match self.grouping.offsets().get(f..=f + 1) {
            Some(range) => range[0]..range[1],
            None => 0..0,
        }
    }

    /// The pairs of feature `f` as a source of its gradient; an empty one if there are none.
    pub fn source<'a>(&'a self, f: usize, errors: &'a [f32], centred: &'a [f32]) -> Source<'a> {
        let range = self.range(f);
        Source {
            tokens: &self.tokens[range.clone()],
            codes: &self.codes[range.clone()],
            slopes: &self.slopes[range],
            errors,
            centred,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_grouped_in_token_order() {
        let mut chunks = [Pairs::default(), Pairs::default()];
        chunks[0].codes.push_row(&[1, 4], &[2.0, 5.0]);
        chunks[0].codes.push_row(&[2], &[0.0]);
        chunks[1].codes.push_row(&[0, 1, 4], &[1.0, 2.0, 5.0]);
        for chunk in &mut chunks {
            chunk.begin_slopes();
            chunk.slopes.fill(-1.0);
        }
        let mut grouped = PairsByFeature::default();
        grouped.collect(&[&chunks[0], &chunks[1]], 2, 5, 2.0);
        let source = grouped.source(4, &[], &[]);
        assert_eq!(
            (source.tokens, source.codes, source.slopes),
            (&[0, 2][..], &[10.0, 10.0][..], &[-2.0, -2.0][..])
        );
        assert!(grouped.source(3, &[], &[]).tokens.is_empty());
        assert_eq!([0, 1, 2, 3, 4].map(|f| grouped.fired(f)), [1, 2, 0, 0, 2], "a code of 0 is not a firing");
        assert_eq!((chunks[0].fired(), chunks[1].fired()), (2, 3));
        grouped.clear();
        assert!(grouped.source(4, &[], &[]).tokens.is_empty() && grouped.fired(4) == 0);
        chunks[0].clear();
        assert_eq!(chunks[0].codes, Codes::default());
    }
}
