//! How far two orders of the same tokens agree.

use std::collections::HashSet;

use super::Near;

/// How far the neighbours by codes agree with those by activations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Share of the k nearest by activation that are among the k nearest by codes; `None` if nothing is near.
    pub overlap: Option<f64>,
    /// Rank correlation of the two scores over the tokens that were ranked; `None` if a score does not vary.
    pub spearman: Option<f64>,
}

/// Share of `b` that is in `a`, of lists of `k` at most.
pub(super) fn common(a: &[Near], b: &[Near], k: usize) -> Option<f64> {
    let a: HashSet<(u32, u32)> = a.iter().map(Near::place).collect();
    let both = b.iter().filter(|near| a.contains(&near.place())).count();
    let of = b.len().max(a.len()).min(k);
    (of > 0).then(|| both as f64 / of as f64)
}

/// Spearman's rank correlation of paired numbers: Pearson's of their ranks, equal numbers sharing the mean of theirs.
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let n = a.len().min(b.len()) as f64;
    let mean = (n + 1.0) / 2.0;
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (a - mean, b - mean);
        both += a * b;
        of_a += a * a;
        of_b += b * b;
    }
    (of_a > 0.0 && of_b > 0.0).then(|| both / (of_a * of_b).sqrt())
}

/// Ranks from 1; equal numbers share the mean of theirs.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let equal = order[at..].iter().take_while(|&&i| values[i] == values[order[at]]).count().max(1);
        let rank = at as f64 + (equal as f64 + 1.0) / 2.0;
        order[at..at + equal].iter().for_each(|&i| ranks[i] = rank);
        at += equal;
    }
    ranks
}

/// Scores of some tokens, evenly spread over all, for rank correlations.
#[derive(Debug)]
pub(super) struct Sample {
    stride: u64,
    /// Document and position of each, ascending.
    places: Vec<(u32, u32)>,
    /// By query: scores by codes, `[places, 3]`.
    codes: Vec<Vec<[f32; 3]>>,
    /// By query: cosine; not a number where the token has no row or is the query.
    cosines: Vec<Vec<f32>>,
    seen: u64,
}

impl Sample {
    /// For `tokens` tokens, of which `most` are ranked at most.
    pub fn new(tokens: u64, most: u64, queries: usize) -> Self {
        Self {
            stride: tokens.div_ceil(most.max(1)).max(1),
            places: Vec::new(),
            codes: vec![Vec::new(); queries],
            cosines: vec![Vec::new(); queries],
            seen: 0,
        }
    }

    /// Whether the next token is ranked; it is then given to [`Self::push`].
    pub fn wants_next(&mut self) -> bool {
        self.seen += 1;
        (self.seen - 1).is_multiple_of(self.stride)
    }

    /// The scores of the token at `place` for every query.
    pub fn push(&mut self, place: (u32, u32), scores: impl Iterator<Item = [f32; 3]>) {
        self.places.push(place);
        self.codes.iter_mut().zip(scores).for_each(|(all, score)| all.push(score));
        self.cosines.iter_mut().for_each(|all| all.push(f32::NAN));
    }

    /// Where the token is among those that are ranked.
    pub fn find(&self, place: (u32, u32)) -> Option<usize> {
        self.places.binary_search(&place).ok()
    }

    /// Notes the cosine of a ranked token with a query.
    pub fn set_cosine(&mut self, query: usize, at: usize, cosine: f32) {
        self.cosines[query][at] = cosine;
    }

    /// Rank correlations of the cosine with each score by codes.
    pub fn spearman(&self, query: usize) -> [Option<f64>; 3] {
        let (cosines, codes) = (&self.cosines[query], &self.codes[query]);
        let there: Vec<usize> = (0..cosines.len()).filter(|&i| cosines[i].is_finite()).collect();
        let cosines: Vec<f32> = there.iter().map(|&i| cosines[i]).collect();
        [0, 1, 2].map(|which| {
            let scores: Vec<f32> = there.iter().map(|&i| codes[i][which]).collect();
            spearman(&scores, &cosines)
        })
    }
}
