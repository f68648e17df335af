//! Experts of one layer that are chosen together: all C(k, 2) pairs of every token.
//!
//! OLMoE's published script counts only the k − 1 pairs that follow each other in the order of weights; that
//! count is kept given as well under its own name, for comparison; it is never larger.

/// Pair counts of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    experts: usize,
    /// Upper triangle, row by row: (0, 1), (0, 2) … (1, 2) …
    together: Vec<u64>,
    adjacent: Vec<u64>,
}

impl Pairs {
    /// Nothing counted yet, for `experts` experts: 8 E (E − 1) bytes.
    pub fn new(experts: usize) -> Self {
        let pairs = experts * experts.saturating_sub(1) / 2;
        Self { experts, together: vec![0; pairs], adjacent: vec![0; pairs] }
    }

    /// Counts the pairs of one token; `experts` are different, below E, the strongest first.
    pub fn add(&mut self, experts: &[u32]) {
        for (rank, &a) in experts.iter().enumerate() {
            for (distance, &b) in experts[rank + 1..].iter().enumerate() {
                let at = self.index(a.min(b) as usize, a.max(b) as usize);
                self.together[at] += 1;
                self.adjacent[at] += u64::from(distance == 0);
            }
        }
    }

    /// Where the pair `a < b` is kept.
    fn index(&self, a: usize, b: usize) -> usize {
        a * (2 * self.experts - a - 1) / 2 + b - a - 1
    }

    /// Tokens that chose both `a` and `b`, in either order; 0 for `a = b`.
    pub fn together(&self, a: usize, b: usize) -> u64 {
        if a == b { 0 } else { self.together[self.index(a.min(b), a.max(b))] }
    }

    /// Tokens that chose both, one right after the other in the order of weights.
    pub fn adjacent(&self, a: usize, b: usize) -> u64 {
        if a == b { 0 } else { self.adjacent[self.index(a.min(b), a.max(b))] }
    }

    /// All pairs `a < b`.
    pub fn all(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.experts).flat_map(move |a| (a + 1..self.experts).map(move |b| (a, b)))
    }
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_pair_has_its_place() {
        let pairs = Pairs::new(7);
        let places: Vec<usize> = pairs.all().map(|(a, b)| pairs.index(a, b)).collect();
        assert_eq!(places, (0..21).collect::<Vec<_>>());
        assert_eq!(Pairs::new(1).all().count(), 0);
        assert_eq!(Pairs::new(0).all().count(), 0);
    }

    /// Rows of P(b | a) over b sum to k − 1, whatever the routing; the rank-adjacent count does not.
    #[test]
    fn rows_sum_to_k_minus_one() {
        let (experts, k) = (9usize, 4usize);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut pairs = Pairs::new(experts);
        let mut slots = vec![0u64; experts];
        let mut naive = vec![vec![0u64; experts]; experts];
        for _ in 0..500 {
            let mut ids: Vec<u32> = (0..experts as u32).collect();
            ids.shuffle(&mut rng);
            ids.truncate(k);
            pairs.add(&ids);
            for &a in &ids {
                slots[a as usize] += 1;
                ids.iter().for_each(|&b| naive[a as usize][b as usize] += 1);
            }
        }
        for a in 0..experts {
            let sum: u64 = (0..experts).map(|b| pairs.together(a, b)).sum();
            assert_eq!(sum, (k as u64 - 1) * slots[a]);
            let adjacent: u64 = (0..experts).map(|b| pairs.adjacent(a, b)).sum();
            assert!(adjacent < 2 * slots[a] && adjacent > 0);
            for (b, &count) in naive[a].iter().enumerate().filter(|(b, _)| *b != a) {
                assert_eq!(pairs.together(a, b), count);
            }
        }
    }

    /// Synthetic routing with known probabilities: expert 0 always comes with 1 (70 %) or with 2 (30 %).
    #[test]
    fn known_probabilities_come_back() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut pairs = Pairs::new(5);
        let tokens = 40_000u32;
        for _ in 0..tokens {
            let second = if rng.random::<f64>() < 0.7 { 1 } else { 2 };
            // The order of weights must not matter for pairs.
            pairs.add(&if rng.random() { [0, second] } else { [second, 0] });
        }
        let p = pairs.together(0, 1) as f64 / f64::from(tokens);
        // Five standard errors.
        assert!((p - 0.7).abs() < 5.0 * (0.21f64 / f64::from(tokens)).sqrt(), "{p}");
        assert_eq!(pairs.together(0, 1) + pairs.together(2, 0), u64::from(tokens));
        assert_eq!(pairs.together(1, 2) + pairs.together(3, 4), 0);
    }
}
