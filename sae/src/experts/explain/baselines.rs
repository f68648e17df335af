//! Predictors that know no features: how often experts are chosen at all, at a position, by a token, by a token
//! after another.

use std::collections::HashMap;
use std::hash::Hash;

use super::gather::{Choices, Tokens};

/// Positions below this stand alone; further ones are put together by powers of two.
const POSITIONS: u32 = 64;

/// Choices counted by something that is known of a token, with what is expected where little was seen.
pub struct Counted<K> {
    counts: HashMap<K, (f64, Vec<u32>)>,
}

impl<K: Hash + Eq> Counted<K> {
    /// Counts the choices of every token by `key`.
    pub fn new(choices: &Choices, experts: usize, key: impl Fn(usize) -> K) -> Self {
        let mut counts: HashMap<K, (f64, Vec<u32>)> = HashMap::new();
        for t in 0..choices.len() {
            let (seen, of) = counts.entry(key(t)).or_insert_with(|| (0.0, vec![0; experts]));
            *seen += 1.0;
            choices.of(t).iter().for_each(|&e| of[e as usize] += 1);
        }
        Self { counts }
    }

    /// The expected share of choices for `key`, where `scores` holds what is expected without it and counts as
    /// much as one token.
    pub fn add(&self, key: &K, scores: &mut [f64]) {
        if let Some((seen, of)) = self.counts.get(key) {
            scores.iter_mut().zip(of).for_each(|(s, n)| *s = (*s + f64::from(*n)) / (seen + 1.0));
        }
    }
}

/// The baselines of one layer.
pub struct Baselines {
    prior: Vec<f64>,
    position: Counted<u32>,
    unigram: Counted<u32>,
    bigram: Counted<(u32, u32)>,
}

fn place(position: u32) -> u32 {
    if position < POSITIONS { position } else { POSITIONS + position.ilog2() }
}

impl Baselines {
    /// From the tokens that predictors are made from.
    pub fn new(made: &Tokens, choices: &Choices, experts: usize) -> Self {
        let n = choices.len() as f64;
        Self {
            prior: choices.counts(experts).into_iter().map(|count| count as f64 / n).collect(),
            position: Counted::new(choices, experts, |t| place(made.positions[t])),
            unigram: Counted::new(choices, experts, |t| made.tokens[t]),
            bigram: Counted::new(choices, experts, |t| (made.before[t], made.tokens[t])),
        }
    }

    /// The share of tokens that choose each expert.
    pub fn prior(&self, scores: &mut [f64]) {
        scores.copy_from_slice(&self.prior);
    }

    /// That of the token's position.
    pub fn position(&self, of: &Tokens, t: usize, scores: &mut [f64]) {
        self.prior(scores);
        self.position.add(&place(of.positions[t]), scores);
    }

    /// That of the token.
    pub fn unigram(&self, of: &Tokens, t: usize, scores: &mut [f64]) {
        self.prior(scores);
        self.unigram.add(&of.tokens[t], scores);
    }

    /// That of the token after the one before it, backed off to the token.
    pub fn bigram(&self, of: &Tokens, t: usize, scores: &mut [f64]) {
        self.unigram(of, t, scores);
        self.bigram.add(&(of.before[t], of.tokens[t]), scores);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_is_backed_off() {
        let mut choices = Choices::default();
        // Token 5 after 1 chooses 0, after 2 it chooses 1 twice; token 6 chooses 2.
        [[0u32], [1], [1], [2]].iter().for_each(|c| choices.push(c));
        let made = Tokens {
            tokens: vec![5, 5, 5, 6],
            before: vec![1, 2, 2, 9],
            positions: vec![0, 1, 2, 3],
            ..Tokens::default()
        };
        let of = Baselines::new(&made, &choices, 3);
        let asked = Tokens {
            tokens: vec![5, 5, 7],
            before: vec![1, 3, 1],
            positions: vec![3, 0, 90],
            ..Tokens::default()
        };
        let scores = |by: &dyn Fn(usize, &mut [f64]), t: usize| {
            let mut s = vec![0.0; 3];
            by(t, &mut s);
            s
        };
        let prior = [0.25, 0.5, 0.25];
        let unigram = [(0.25 + 1.0) / 4.0, (0.5 + 2.0) / 4.0, 0.25 / 4.0];
        assert_eq!(scores(&|t, s| of.unigram(&asked, t, s), 0), unigram);
        assert_eq!(scores(&|t, s| of.unigram(&asked, t, s), 2), prior);
        assert_eq!(scores(&|t, s| of.bigram(&asked, t, s), 1), unigram);
        let bigram = [(unigram[0] + 1.0) / 2.0, unigram[1] / 2.0, unigram[2] / 2.0];
        assert_eq!(scores(&|t, s| of.bigram(&asked, t, s), 0), bigram);
        assert_eq!(scores(&|t, s| of.position(&asked, t, s), 0), [0.125, 0.25, 0.625]);
        assert_eq!(scores(&|t, s| of.position(&asked, t, s), 2), prior);
    }
}
