//! Block choice: features in blocks of equal size, the best few of each block for every token. With one winner per block it is the code of
//! Sparsey (Rinkus 2010), a winner for each of its competitive modules, trained here by gradients and with graded codes.
//!
//! ```text
//! F features in Q blocks of S = F / Q      k codes per token, w = k / Q winners per block
//! C(S, w)^Q codes                          against C(F, k) of TopK
//! ```
//!
//! Features of a block shut each other out, so a block reads like a variable with S values. What is left open and done here: a winner
//! must be above 0, so a block can have fewer than w on a token.

use kernels::topk::{self, Candidates};

/// F features in blocks, k winners in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Number of blocks, Q.
    pub count: usize,
    /// Winners per token over all blocks, k: a multiple of Q.
    pub k: usize,
}

impl Blocks {
    /// What is wrong with these blocks for `features` features.
    ///
    /// # Errors
    /// No block, blocks of unequal size, or winners that the blocks cannot share out.
    pub fn check(self, features: usize) -> Result<(), String> {
        let Self { count, k } = self;
        if count == 0 || !features.is_multiple_of(count) {
            return Err(format!(
                "blocks is {count}; it must divide d_sae = {features} into blocks of one size"
            ));
        }
        if k == 0 || !k.is_multiple_of(count) || k > features {
            return Err(format!(
                "k is {k} in {count} blocks; it must be a multiple of the blocks, of at most {} winners each",
                features / count
            ));
        }
        Ok(())
    }

    /// Winners per block, w.
    pub fn winners(self) -> usize {
        self.k / self.count
    }

    /// log₂ of the number of sets of active features of `features` that have w winners in every block, Q·log₂ C(S, w).
    pub fn capacity_bits(self, features: usize) -> f64 {
        self.count as f64 * choices_bits(features / self.count, self.winners())
    }

    /// The winners of a token's `scores + bias`, both `[F]`: features, ascending, and values are put at the front of `features` and
    /// `values` (both k long). Returns how many there are. Ties go to the lower feature.
    ///
    /// # Panics
    /// If a slice is too short, or the blocks do not [fit](Self::check).
    pub fn select(
        self,
        scores: &[f32],
        bias: &[f32],
        candidates: &mut Candidates,
        features: &mut [u32],
        values: &mut [f32],
    ) -> usize {
        let (size, winners) = (scores.len() / self.count, self.winners());
        let mut n = 0;
        for (block, (scores, bias)) in scores.chunks_exact(size).zip(bias.chunks_exact(size)).enumerate() {
            let found = topk::select(scores, bias, winners, candidates, &mut features[n..], &mut values[n..]);
            features[n..n + found].iter_mut().for_each(|f| *f += (block * size) as u32);
            n += found;
        }
        n
    }
}

/// log₂ C(n, k).
pub fn choices_bits(n: usize, k: usize) -> f64 {
    let k = k.min(n - k.min(n));
    (0..k).map(|i| ((n - i) as f64 / (k - i) as f64).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_counted_as_pascal_counts_them() {
        let mut row = vec![1.0_f64];
        for n in 1..60 {
            let inner: Vec<f64> = row.windows(2).map(|w| w[0] + w[1]).collect();
            row = [vec![1.0], inner, vec![1.0]].concat();
            for (k, count) in row.iter().enumerate() {
                assert!((choices_bits(n, k) - count.log2()).abs() < 1e-9, "C({n}, {k})");
            }
        }
    }

    #[test]
    fn capacity_is_the_logarithm_of_the_codes_that_can_be_listed() {
        for (features, count, k) in [(12, 3, 3), (12, 3, 6), (8, 1, 3), (6, 6, 6), (10, 2, 4)] {
            let blocks = Blocks { count, k };
            blocks.check(features).unwrap();
            let size = features / count;
            let every = |set: u32| {
                (0..count).all(|b| (set >> (b * size) & ((1 << size) - 1)).count_ones() as usize == k / count)
            };
            let codes = (0_u32..1 << features).filter(|set| every(*set)).count();
            assert!((blocks.capacity_bits(features) - (codes as f64).log2()).abs() < 1e-9);
            assert!(blocks.capacity_bits(features) <= choices_bits(features, k) + 1e-9);
        }
    }

    #[test]
    fn blocks_that_do_not_fit_are_refused() {
        let message = |count, k| Blocks { count, k }.check(12).unwrap_err();
        assert!(message(5, 5).contains("divide d_sae = 12"));
        assert!(message(0, 5).contains("divide d_sae = 12"));
        assert!(message(4, 6).contains("multiple of the blocks, of at most 3"));
        assert!(message(4, 16).contains("of at most 3"));
    }

    #[test]
    fn winners_are_those_that_sorting_each_block_gives() {
        let (features, blocks) = (96, Blocks { count: 8, k: 24 });
        let scores = crate::dictionary::tests::numbers(features * 50, 3);
        let bias = crate::dictionary::tests::numbers(features, 4);
        let (mut places, mut values) = (vec![0; 24], vec![0.0; 24]);
        for row in scores.chunks(features) {
            let n = blocks.select(row, &bias, &mut Candidates::default(), &mut places, &mut values);
            let mut expected = Vec::new();
            for block in 0..8 {
                let mut order: Vec<usize> = (block * 12..(block + 1) * 12).collect();
                order.retain(|&f| row[f] + bias[f] > 0.0);
                order.sort_by(|&a, &b| (row[b] + bias[b]).total_cmp(&(row[a] + bias[a])));
                order.truncate(3);
                order.sort_unstable();
                expected.extend(order);
            }
            let found: Vec<usize> = places[..n].iter().map(|&f| f as usize).collect();
            assert_eq!(found, expected);
            assert!(found.iter().zip(&values).all(|(&f, v)| *v == row[f] + bias[f]));
        }
    }
}
