//! Which features the tokens of a batch were matched with: by token while encoding, by feature for the gradients.

use crate::kernels::feature::Source;
use crate::kernels::group::by_feature;

/// Matches of a chunk of tokens, at most `width` a token.
#[derive(Debug, Default)]
pub(super) struct Matches {
    width: usize,
    counts: Vec<usize>,
    features: Vec<u32>,
    values: Vec<f32>,
    slopes: Vec<f32>,
}

/// Room for one token's matches: features, values, slopes.
pub(super) type Slots<'a> = (&'a mut [u32], &'a mut [f32], &'a mut [f32]);

impl Matches {
    /// Makes room for `rows` tokens of at most `width` matches and forgets the old ones.
    pub(super) fn reset(&mut self, rows: usize, width: usize) {
        self.width = width;
        self.counts.clear();
        self.counts.resize(rows, 0);
        self.features.resize(rows * width, 0);
        self.values.resize(rows * width, 0.0);
        self.slopes.resize(rows * width, 0.0);
    }

    /// The slots of token `row`; tell [`Matches::set_count`] how many were filled.
    pub(super) fn slots(&mut self, row: usize) -> Slots<'_> {
        let range = row * self.width..(row + 1) * self.width;
        (&mut self.features[range.clone()], &mut self.values[range.clone()], &mut self.slopes[range])
    }

    /// Token `row` has `count` matches.
    pub(super) fn set_count(&mut self, row: usize, count: usize) {
        self.counts[row] = count;
    }

    /// Matches of all tokens.
    pub(super) fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    fn rows(&self) -> impl Iterator<Item = &[u32]> + Clone {
        self.counts.iter().enumerate().map(|(row, &n)| &self.features[row * self.width..row * self.width + n])
    }

    fn entry(&self, row: usize, i: usize) -> (f32, f32) {
        let at = row * self.width + i;
        (self.values[at], self.slopes[at])
    }
}

/// Matches of a batch by feature, codes and slopes times a constant of the loss.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    offsets: Vec<usize>,
    tokens: Vec<u32>,
    codes: Vec<f32>,
    slopes: Vec<f32>,
}

impl Grouped {
    /// Groups the matches of chunks of `chunk_rows` tokens each (the last may be shorter).
    pub(super) fn collect(&mut self, chunks: &[&Matches], chunk_rows: usize, features: usize, scale: f32) {
        let total = chunks.iter().map(|m| m.total()).sum();
        self.tokens.resize(total, 0);
        self.codes.resize(total, 0.0);
        self.slopes.resize(total, 0.0);
        let (tokens, codes, slopes) = (&mut self.tokens, &mut self.codes, &mut self.slopes);
        let rows = chunks.iter().flat_map(|m| m.rows());
        self.offsets = by_feature(features, rows, |slot, row, i| {
            let (value, slope) = chunks[row / chunk_rows].entry(row % chunk_rows, i);
            tokens[slot] = row as u32;
            codes[slot] = value * scale;
            slopes[slot] = slope * scale;
        });
    }

    /// Forgets all matches.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
    }

    /// Whether feature `f` has matches.
    pub(super) fn fired(&self, f: usize) -> bool {
        self.offsets.get(f) != self.offsets.get(f + 1)
    }

    /// The matches of feature `f` as a source of its gradient, or `None` if it has none.
    pub(super) fn source<'a>(
        &'a self,
        f: usize,
        errors: &'a [f32],
        centred: &'a [f32],
    ) -> Option<Source<'a>> {
        let range = *self.offsets.get(f)?..*self.offsets.get(f + 1)?;
        (!range.is_empty()).then(|| Source {
            tokens: &self.tokens[range.clone()],
            codes: &self.codes[range.clone()],
            slopes: &self.slopes[range],
            errors,
            centred,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_grouped_in_token_order() {
        let mut chunks = [Matches::default(), Matches::default()];
        for (chunk, rows) in chunks.iter_mut().zip([2, 1]) {
            chunk.reset(rows, 3);
        }
        let mut put = |chunk: usize, row: usize, features: &[u32]| {
            let (f, v, s) = chunks[chunk].slots(row);
            for (i, &feature) in features.iter().enumerate() {
                (f[i], v[i], s[i]) = (feature, 1.0 + feature as f32, -1.0);
            }
            chunks[chunk].set_count(row, features.len());
        };
        put(0, 0, &[1, 4]);
        put(1, 0, &[0, 1, 4]);
        let mut grouped = Grouped::default();
        grouped.collect(&[&chunks[0], &chunks[1]], 2, 5, 2.0);
        let source = grouped.source(4, &[], &[]).unwrap();
        assert_eq!(
            (source.tokens, source.codes, source.slopes),
            (&[0, 2][..], &[10.0, 10.0][..], &[-2.0, -2.0][..])
        );
        assert!(grouped.source(2, &[], &[]).is_none() && !grouped.fired(2) && grouped.fired(0));
        grouped.clear();
        assert!(grouped.source(4, &[], &[]).is_none());
    }
}
