//! On which tokens of the vocabulary a feature fires: how often and how strongly.

use std::cmp::Reverse;

use super::summary::Activations;

/// A token of the vocabulary that a feature fires on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FiredToken {
    /// Id of the token.
    pub token: u32,
    /// Occurrences of it on which the feature fires.
    pub count: u32,
    /// Mean of the feature's values there.
    pub mean: f32,
}

/// Counts; memory for one feature after the other.
#[derive(Debug, Default)]
pub struct TokenTally {
    /// Place in `sums` of every token of the vocabulary, plus 1; 0 for one that was not met.
    places: Vec<u32>,
    /// Token, count and sum of values.
    sums: Vec<(u32, u32, f64)>,
}

impl TokenTally {
    /// The tokens that a feature fires on, by token. `tokens` is the token of every row; nothing comes of rows
    /// that have none. Values are added in the order of the rows.
    pub fn count(&mut self, activations: Activations<'_>, tokens: &[u32]) -> Vec<FiredToken> {
        self.sums.clear();
        for (&row, &value) in activations.rows.iter().zip(activations.values) {
            let Some(&token) = tokens.get(row as usize) else { continue };
            let (count, sum) = self.of(token);
            *count += 1;
            *sum += f64::from(value);
        }
        // All that was met is forgotten again: clearing the whole vocabulary would cost more than a rare feature.
        self.sums.iter().for_each(|(token, ..)| self.places[*token as usize] = 0);
        self.sums.sort_unstable_by_key(|(token, ..)| *token);
        let mean = |&(token, count, sum): &(u32, u32, f64)| FiredToken {
            token,
            count,
            mean: (sum / f64::from(count)) as f32,
        };
        self.sums.iter().map(mean).collect()
    }

    fn of(&mut self, token: u32) -> (&mut u32, &mut f64) {
        if self.places.len() <= token as usize {
            self.places.resize(token as usize + 1, 0);
        }
        let place = &mut self.places[token as usize];
        if *place == 0 {
            self.sums.push((token, 0, 0.0));
            *place = self.sums.len() as u32;
        }
        let (_, count, sum) = &mut self.sums[*place as usize - 1];
        (count, sum)
    }
}

/// The `most` most frequent with how often; most frequent first, ties by token.
pub fn most_frequent(fired: &[FiredToken], most: usize) -> Vec<(u32, u32)> {
    let mut counts: Vec<(u32, u32)> = fired.iter().map(|on| (on.token, on.count)).collect();
    let order = |(token, count): &(u32, u32)| (Reverse(*count), *token);
    if most < counts.len() {
        counts.select_nth_unstable_by_key(most, order);
        counts.truncate(most);
    }
    counts.sort_unstable_by_key(order);
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_feature_and_its_tokens() {
        let (rows, values) = ([0, 2, 3, 5], [1.0, 4.0, 0.5, 0.25]);
        let tokens = [7, 1, 9, 7, 2, 2];
        let mut tally = TokenTally::default();
        let fired = tally.count(Activations { rows: &rows, values: &values }, &tokens);
        let found: Vec<_> = fired.iter().map(|on| (on.token, on.count, on.mean)).collect();
        assert_eq!(found, [(2, 1, 0.25), (7, 2, 0.75), (9, 1, 4.0)]);
        assert_eq!(most_frequent(&fired, 2), [(7, 2), (2, 1)]);
        assert_eq!(
            tally.count(Activations { rows: &rows, values: &values }, &tokens),
            fired,
            "nothing stays"
        );
        assert!(
            tally.count(Activations { rows: &rows, values: &values }, &[]).is_empty(),
            "rows that are not tokens"
        );
    }

    proptest! {
        #[test]
        fn as_sorting_all_of_them(
            tokens in prop::collection::vec(0u32..20, 1..200), every in 1usize..5, most in 0usize..9,
        ) {
            let rows: Vec<u32> = (0..tokens.len() as u32).step_by(every).collect();
            let values: Vec<f32> = rows.iter().map(|row| 0.1 + (row % 7) as f32).collect();
            let fired = TokenTally::default().count(Activations { rows: &rows, values: &values }, &tokens);
            let mut pairs: Vec<(u32, f32)> =
                rows.iter().zip(&values).map(|(row, value)| (tokens[*row as usize], *value)).collect();
            pairs.sort_by_key(|(token, _)| *token);
            let by_token: Vec<&[(u32, f32)]> = pairs.chunk_by(|a, b| a.0 == b.0).collect();
            prop_assert_eq!(fired.len(), by_token.len());
            for (on, same) in fired.iter().zip(&by_token) {
                let sum: f64 = same.iter().map(|(_, value)| f64::from(*value)).sum();
                let expected = (same[0].0, same.len() as u32, (sum / same.len() as f64) as f32);
                prop_assert_eq!((on.token, on.count, on.mean), expected);
            }
            let mut counts: Vec<(u32, u32)> = by_token.iter().map(|run| (run[0].0, run.len() as u32)).collect();
            counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            counts.truncate(most);
            prop_assert_eq!(most_frequent(&fired, most), counts);
        }
    }
}
