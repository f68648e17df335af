//! Allocation: from scores `[B, F]` (tokens by features) to the pairs of a token and a feature that are active.
//!
//! All four maximise the sum of the scores of the active pairs; they differ in what limits the number of pairs.
//!
//! | allocation | limit | known as |
//! |---|---|---|
//! | token choice | at most k features per token | TopK (Gao et al. 2024) |
//! | mutual choice | at most M pairs in the batch; M = round(B·k) | mutual choice (Ayonrinde 2024), BatchTopK (Bussmann et al. 2024) |
//! | feature choice | at most m_i tokens for feature i; Σ m_i = M | feature choice (Ayonrinde 2024) |
//! | block choice | at most w features of each block per token ([`blocks`]) | winner-take-all, Sparsey's code (Rinkus 2010) |
//!
//! A score must be above 0 for its pair to be active. Ties go to the lower token, then to the lower feature. No limit depends on the order of
//! tokens, so permuting tokens permutes codes (ties aside).
//!
//! What the paper leaves open and what is done here: M = round(B·k); budgets are whole numbers, made by water-filling between 1 and a cap
//! and by largest remainders ([`budget`]), so that their sum is M exactly; a feature with fewer positive scores than its budget takes
//! them all and the rest of its budget is not given to others.
//!
//! Training never holds `[B, F]`: it runs the same kernels over chunks (`kernels::topk` a token, `kernels::best` over the batch,
//! `kernels::topk` a feature). The functions here are for scores that fit, and say in one place what those chunks add up to.

pub mod blocks;
pub mod budget;
pub mod law;

use blocks::Blocks;
use kernels::best::Best;
use kernels::topk::{self, Candidates};

/// A token and a feature.
pub type Pair = (u32, u32);

/// The `k` best features of each token of `scores[B, features]`, in the order of tokens.
pub fn token_choice(scores: &[f32], features: usize, k: usize) -> Vec<Pair> {
    let rows = scores.chunks_exact(features).zip(0..);
    rows.flat_map(|(row, token)| best_of(row, k).into_iter().map(move |feature| (token, feature))).collect()
}

/// The `budget` best pairs of `scores[B, features]`, in the order of tokens.
pub fn mutual_choice(scores: &[f32], features: usize, budget: usize) -> Vec<Pair> {
    let mut best = Best::default();
    best.restart(budget, 0.0);
    best.take(scores, scores, 0);
    let pair = |index: u64| ((index / features as u64) as u32, (index % features as u64) as u32);
    best.finish().iter().map(|entry| pair(entry.index)).collect()
}

/// The `budgets[i]` best tokens of each feature i of `scores[B, F]`, F the number of budgets, in the order of tokens.
pub fn feature_choice(scores: &[f32], budgets: &[u32]) -> Vec<Pair> {
    let features = budgets.len();
    let mut pairs = Vec::new();
    for (feature, &budget) in budgets.iter().enumerate() {
        let column: Vec<f32> = scores.iter().copied().skip(feature).step_by(features).collect();
        pairs.extend(best_of(&column, budget as usize).into_iter().map(|token| (token, feature as u32)));
    }
    pairs.sort_unstable();
    pairs
}

/// The winners of each token of `scores[B, features]` in each block, in the order of tokens.
pub fn block_choice(scores: &[f32], features: usize, blocks: Blocks) -> Vec<Pair> {
    let (mut places, mut values) = (vec![0; blocks.k], vec![0.0; blocks.k]);
    let (zeros, mut candidates) = (vec![0.0; features], Candidates::default());
    let mut pairs = Vec::new();
    for (row, token) in scores.chunks_exact(features).zip(0..) {
        let n = blocks.select(row, &zeros, &mut candidates, &mut places, &mut values);
        pairs.extend(places[..n].iter().map(|&feature| (token, feature)));
    }
    pairs
}

/// Places of the `k` largest positive scores, ascending; ties to the lower place.
fn best_of(scores: &[f32], k: usize) -> Vec<u32> {
    let (mut places, mut values) = (vec![0; k], vec![0.0; k]);
    let zeros = vec![0.0; scores.len()];
    let n = topk::select(scores, &zeros, k, &mut Candidates::default(), &mut places, &mut values);
    places.truncate(n);
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The best set among all subsets of the positive pairs that satisfy `allowed`: largest sum, then most pairs do not matter (all
    /// are positive), then the set whose sorted pairs come first. Exponential; knows nothing of sorting or thresholds.
    fn exhaustive(scores: &[f32], features: usize, allowed: impl Fn(&[Pair]) -> bool) -> Vec<Pair> {
        let positive: Vec<(Pair, f32)> = scores
            .iter()
            .enumerate()
            .filter(|(_, s)| **s > 0.0)
            .map(|(i, s)| (((i / features) as u32, (i % features) as u32), *s))
            .collect();
        let mut best: (f32, Vec<Pair>) = (0.0, Vec::new());
        for set in 0_u32..1 << positive.len() {
            let members = || (0..positive.len()).filter(|i| set >> i & 1 == 1).map(|i| positive[i]);
            let pairs: Vec<Pair> = members().map(|(pair, _)| pair).collect();
            let sum: f32 = members().map(|(_, score)| score).sum();
            if allowed(&pairs) && (sum > best.0 || (sum == best.0 && pairs < best.1)) {
                best = (sum, pairs);
            }
        }
        best.1
    }

    fn count(pairs: &[Pair], is: impl Fn(&Pair) -> bool) -> usize {
        pairs.iter().filter(|pair| is(pair)).count()
    }

    /// Small whole numbers, a third of them not positive: sums are exact and ties are everywhere. Distinct powers of two added to
    /// none: a tie is then a tie of single scores, which is what the rule speaks of.
    fn small() -> impl Strategy<Value = (Vec<f32>, usize)> {
        (1_usize..5, 1_usize..4).prop_flat_map(|(tokens, features)| {
            let scores = prop::collection::vec(
                prop_oneof![Just(-1.0_f32), Just(0.0), Just(1.0), Just(16.0), Just(256.0)],
                tokens * features,
            );
            (scores, Just(features))
        })
    }

    proptest! {
        #[test]
        fn token_choice_is_the_optimum((scores, features) in small(), k in 0_usize..4) {
            let tokens = (scores.len() / features) as u32;
            let allowed = |pairs: &[Pair]| (0..tokens).all(|t| count(pairs, |p| p.0 == t) <= k);
            prop_assert_eq!(token_choice(&scores, features, k), exhaustive(&scores, features, allowed));
        }

        #[test]
        fn mutual_choice_is_the_optimum((scores, features) in small(), budget in 0_usize..9) {
            let allowed = |pairs: &[Pair]| pairs.len() <= budget;
            prop_assert_eq!(mutual_choice(&scores, features, budget), exhaustive(&scores, features, allowed));
        }

        #[test]
        fn feature_choice_is_the_optimum((scores, features) in small(), budgets in prop::collection::vec(0_u32..4, 3)) {
            let budgets = &budgets[..features];
            let allowed = |pairs: &[Pair]| {
                budgets.iter().zip(0..).all(|(&m, f)| count(pairs, |p| p.1 == f) <= m as usize)
            };
            prop_assert_eq!(feature_choice(&scores, budgets), exhaustive(&scores, features, allowed));
        }

        #[test]
        fn block_choice_is_the_optimum(
            (scores, winners) in (prop::collection::vec(
                prop_oneof![Just(-1.0_f32), Just(0.0), Just(1.0), Just(16.0), Just(256.0)], 12), 1_usize..3)
        ) {
            // Two tokens, six features in two blocks.
            let blocks = Blocks { count: 2, k: 2 * winners };
            let allowed = |pairs: &[Pair]| {
                (0..2).all(|t| (0..2).all(|b| count(pairs, |p| p.0 == t && p.1 / 3 == b) <= winners))
            };
            prop_assert_eq!(block_choice(&scores, 6, blocks), exhaustive(&scores, 6, allowed));
        }

        #[test]
        fn permuting_tokens_permutes_the_pairs(order in Just((0..12).collect::<Vec<u32>>()).prop_shuffle(), seed in 0_u32..1000) {
            let features = 7;
            // Distinct scores: a tie would rightly go to whoever comes first.
            let scores: Vec<f32> = (0..84_u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 - 6e6).collect();
            let permuted: Vec<f32> = order.iter().flat_map(|&t| &scores[t as usize * features..][..features]).copied().collect();
            let budgets = [3, 0, 1, 12, 2, 5, 4];
            for choose in [
                &|s: &[f32]| token_choice(s, features, 3) as Vec<Pair>,
                &|s: &[f32]| mutual_choice(s, features, 30),
                &|s: &[f32]| feature_choice(s, &budgets),
                &|s: &[f32]| block_choice(s, features, Blocks { count: 7, k: 7 }),
            ] as [&dyn Fn(&[f32]) -> Vec<Pair>; 4] {
                let mut expected: Vec<Pair> = choose(&scores)
                    .into_iter()
                    .map(|(token, f)| (order.iter().position(|&t| t == token).unwrap() as u32, f))
                    .collect();
                expected.sort_unstable();
                prop_assert_eq!(choose(&permuted), expected);
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_token_then_to_the_lower_feature() {
        let scores = [1.0; 6];
        assert_eq!(token_choice(&scores, 3, 2), [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert_eq!(mutual_choice(&scores, 3, 4), [(0, 0), (0, 1), (0, 2), (1, 0)]);
        assert_eq!(feature_choice(&scores, &[1, 2, 0]), [(0, 0), (0, 1), (1, 1)]);
    }
}
