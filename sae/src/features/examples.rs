//! Examples of a feature: its strongest activations, some of every strength, and some at random.

use std::ops::Range;

pub use storage::index::ExampleOptions;

use super::summary::{Activations, part};
use super::tokens::Tokens;
use kernels::chance::{Purpose, choose, generator};

/// Fifths of (0, max] that are sampled.
pub const INTERVALS: usize = 5;
/// `interval` of a random example.
pub const RANDOM: i8 = -1;

/// One example of a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// 0 = strongest, 1…5 = fifths of (0, max] from the strongest down, [`RANDOM`].
    pub interval: i8,
    /// Place in its interval, strongest first.
    pub rank: u16,
    /// Row of the token the example is about.
    pub row: u32,
    /// The feature's value there.
    pub value: f32,
    /// Rows of the window.
    pub window: Range<u32>,
    /// The feature's value at every row of the window.
    pub values: Vec<f32>,
}

impl Activations<'_> {
    /// Examples of `feature`, by (interval, rank).
    ///
    /// The strongest are taken greedily, passing over a token within a window's length of one already taken
    /// in the same document: otherwise a feature that stays on for a paragraph would show that paragraph
    /// twenty times. The fifths and the random examples are uniform samples of their activations, those of
    /// the top list included.
    pub fn examples(&self, feature: u32, tokens: &Tokens, options: &ExampleOptions) -> Vec<Example> {
        let mut chosen: Vec<Example> =
            self.group(RANDOM, self.random(feature, options), tokens, options).collect();
        chosen.extend(self.group(0, self.strongest(tokens, options), tokens, options));
        for (interval, indices) in self.by_interval(feature, options).into_iter().enumerate() {
            chosen.extend(self.group(interval as i8 + 1, indices, tokens, options));
        }
        chosen
    }

    /// Indices of the strongest activations whose windows do not overlap, strongest first.
    fn strongest(&self, tokens: &Tokens, options: &ExampleOptions) -> Vec<usize> {
        let reach = options.before + options.after;
        // One example rules out at most `reach` tokens on either side, so no more candidates than this are needed.
        let candidates = options.top.saturating_mul(2 * reach as usize + 1);
        // Bits of positive numbers are in the order of the numbers: one comparison of integers is that of `stronger`.
        let key = |(index, value): (usize, &f32)| u64::from(!value.to_bits()) << 32 | index as u64;
        let mut order: Vec<u64> = self.values.iter().enumerate().map(key).collect();
        if candidates < order.len() {
            order.select_nth_unstable(candidates);
            order.truncate(candidates);
        }
        order.sort_unstable();
        let mut taken: Vec<usize> = Vec::new();
        for index in order.into_iter().map(|key| key as u32 as usize) {
            if taken.len() == options.top {
                break;
            }
            let row = self.rows[index];
            let near = |&other: &usize| {
                let other = self.rows[other];
                other.abs_diff(row) <= reach && tokens.document(other) == tokens.document(row)
            };
            if !taken.iter().any(near) {
                taken.push(index);
            }
        }
        taken
    }

    /// A sample of each fifth, the strongest fifth first.
    fn by_interval(&self, feature: u32, options: &ExampleOptions) -> [Vec<usize>; INTERVALS] {
        let max = self.max();
        let mut members: [Vec<usize>; INTERVALS] = Default::default();
        for (index, &value) in self.values.iter().enumerate() {
            members[INTERVALS - 1 - part(value, max, INTERVALS)].push(index);
        }
        std::array::from_fn(|fifth| {
            let all = std::mem::take(&mut members[fifth]);
            self.sample(all, options.per_interval, (options.seed, feature, fifth as u64 + 1))
        })
    }

    fn random(&self, feature: u32, options: &ExampleOptions) -> Vec<usize> {
        let all = (0..self.values.len()).collect();
        self.sample(all, options.random, (options.seed, feature, 0))
    }

    /// A uniform sample of `count` of the activations `indices`, strongest first.
    fn sample(
        &self,
        mut indices: Vec<usize>,
        count: usize,
        (seed, feature, interval): (u64, u32, u64),
    ) -> Vec<usize> {
        choose(&mut indices, count, &mut generator(seed, Purpose::Examples, u64::from(feature), interval));
        indices.sort_unstable_by(|&a, &b| self.stronger(a, b));
        indices
    }

    /// Higher value first, then earlier row.
    fn stronger(&self, a: usize, b: usize) -> std::cmp::Ordering {
        self.values[b].total_cmp(&self.values[a]).then(a.cmp(&b))
    }

    fn group(
        &self,
        interval: i8,
        indices: Vec<usize>,
        tokens: &Tokens,
        options: &ExampleOptions,
    ) -> impl Iterator<Item = Example> {
        indices.into_iter().enumerate().map(move |(rank, index)| {
            let row = self.rows[index];
            let window = tokens.window(row, options.before, options.after);
            let values = self.values_in(window.clone());
            Example { interval, rank: rank as u16, row, value: self.values[index], window, values }
        })
    }

    /// The feature's value at every row of `window`, 0 where it does not fire.
    fn values_in(&self, window: Range<u32>) -> Vec<f32> {
        let mut values = vec![0.0; window.len()];
        let first = self.rows.partition_point(|&row| row < window.start);
        for (&row, &value) in self.rows[first..].iter().zip(&self.values[first..]) {
            if row >= window.end {
                break;
            }
            values[(row - window.start) as usize] = value;
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Three documents of the given lengths, positions from 0, every token with a value (0 = does not fire).
    fn documents(lengths: &[u32]) -> Tokens {
        let mut tokens = Tokens::default();
        for (document, &length) in lengths.iter().enumerate() {
            (0..length).for_each(|position| tokens.push(document as u32 * 3, position, position).unwrap());
        }
        tokens
    }

    fn sparse(dense: &[f32]) -> (Vec<u32>, Vec<f32>) {
        dense.iter().enumerate().filter(|(_, v)| **v > 0.0).map(|(row, v)| (row as u32, *v)).unzip()
    }

    /// The definition, on the dense values: sort everything, walk down, look at every earlier pick.
    fn strongest_by_definition(dense: &[f32], tokens: &Tokens, options: &ExampleOptions) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..dense.len() as u32).filter(|&r| dense[r as usize] > 0.0).collect();
        rows.sort_by(|&a, &b| dense[b as usize].total_cmp(&dense[a as usize]).then(a.cmp(&b)));
        let mut taken: Vec<u32> = vec![];
        for row in rows {
            let window = |r: u32| tokens.window(r, options.before, options.after);
            let overlap = |a: &Range<u32>, b: &Range<u32>| a.start.max(b.start) < a.end.min(b.end);
            let reaches = |a: u32, b: u32| {
                tokens.document(a) == tokens.document(b) && a.abs_diff(b) <= options.before + options.after
            };
            if taken.len() < options.top && !taken.iter().any(|&t| reaches(t, row)) {
                assert!(taken.iter().all(|&t| !overlap(&window(t), &window(row))), "windows never overlap");
                taken.push(row);
            }
        }
        taken
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn examples_as_by_definition(
            lengths in prop::collection::vec(1u32..40, 1..4),
            steps in prop::collection::vec(0u8..12, 120),
            before in 0u32..5, after in 0u32..4, top in 0usize..6, seed: u64,
        ) {
            let tokens = documents(&lengths);
            let dense: Vec<f32> =
                steps[..tokens.len()].iter().map(|&s| (f32::from(s) - 4.0).max(0.0) / 2.0).collect();
            let (rows, values) = sparse(&dense);
            let options = ExampleOptions { top, per_interval: 2, random: 3, before, after, seed };
            let found = Activations { rows: &rows, values: &values }.examples(9, &tokens, &options);

            let top: Vec<u32> = found.iter().filter(|e| e.interval == 0).map(|e| e.row).collect();
            prop_assert_eq!(top, strongest_by_definition(&dense, &tokens, &options));

            let max = dense.iter().copied().fold(0.0, f32::max);
            for interval in 1..=5i8 {
                let low = max * f32::from(5 - interval as u8) / 5.0;
                let high = max * f32::from(6 - interval as u8) / 5.0;
                let members = dense.iter().filter(|v| **v > low && **v <= high).count();
                let shown: Vec<_> = found.iter().filter(|e| e.interval == interval).collect();
                prop_assert_eq!(shown.len(), members.min(2));
                prop_assert!(shown.iter().all(|e| e.value > low && e.value <= high));
            }
            let random = found.iter().filter(|e| e.interval == RANDOM).count();
            prop_assert_eq!(random, rows.len().min(3));

            for example in &found {
                prop_assert_eq!(example.value, dense[example.row as usize]);
                prop_assert_eq!(&example.window, &tokens.window(example.row, before, after));
                let window = example.window.start as usize..example.window.end as usize;
                prop_assert_eq!(&example.values[..], &dense[window]);
            }
            let keys: Vec<_> = found.iter().map(|e| (e.interval, e.rank)).collect();
            prop_assert!(keys.windows(2).all(|k| k[0] < k[1]), "sorted, ranks unique: {:?}", keys);
            for pair in found.windows(2).filter(|p| p[0].interval == p[1].interval) {
                prop_assert!(pair[0].value >= pair[1].value && pair[0].row != pair[1].row);
            }
        }
    }

    #[test]
    fn samples_depend_on_the_seed_and_are_fair() {
        let tokens = documents(&[200]);
        let (rows, values): (Vec<u32>, Vec<f32>) = (0..200).map(|row| (row, 1.0)).unzip();
        let activations = Activations { rows: &rows, values: &values };
        let mut hits = [0; 200];
        for seed in 0..400 {
            let options =
                ExampleOptions { top: 0, per_interval: 0, random: 10, seed, ..ExampleOptions::default() };
            activations.examples(3, &tokens, &options).iter().for_each(|e| hits[e.row as usize] += 1);
        }
        assert_eq!(hits.iter().sum::<u32>(), 4000);
        // Binomial with mean 20 and standard deviation 4.4.
        assert!(hits.iter().all(|&n| (3..45).contains(&n)), "{hits:?}");
    }
}
