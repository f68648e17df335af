//! How many tokens of each half a rule applies to, whether or not the feature fires there.

use super::rule::Rule;
use super::text::{Half, START, Text, UNKNOWN};

/// Numbers of tokens in (made, measured).
type SplitCounts = [u32; 2];

/// Counts of tokens, previous tokens, domains and pairs of adjacent tokens. The pairs take 12 bytes each, and
/// 12 bytes per token while they are counted.
#[derive(Debug)]
pub struct Counts {
    rows: SplitCounts,
    tokens: Vec<SplitCounts>,
    before: Vec<SplitCounts>,
    domains: Vec<SplitCounts>,
    /// The pairs of token t are `starts[t]..starts[t + 1]`.
    starts: Vec<usize>,
    /// The token before, ascending within a token's pairs.
    befores: Vec<u32>,
    pairs: Vec<SplitCounts>,
}

impl Counts {
    /// Counts all rows.
    pub fn of(text: &Text) -> Self {
        let vocabulary = text.largest().map_or(0, |largest| largest as usize + 1);
        let mut counts = Self {
            rows: [0; 2],
            tokens: vec![[0; 2]; vocabulary],
            before: vec![[0; 2]; vocabulary + 1],
            domains: vec![[0; 2]; text.domains.len()],
            starts: vec![0; vocabulary + 1],
            befores: Vec::new(),
            pairs: Vec::new(),
        };
        for place in text.places() {
            let half = place.half as usize;
            counts.rows[half] += 1;
            counts.tokens[place.token as usize][half] += 1;
            counts.domains[place.domain as usize][half] += 1;
            if let Some(slot) = counts.slot(place.before) {
                counts.before[slot][half] += 1;
            }
        }
        counts.count_pairs(text);
        counts
    }

    /// Index of a previous token in `before`: the start of a document counts as one more token.
    fn slot(&self, before: u32) -> Option<usize> {
        match before {
            UNKNOWN => None,
            START => Some(self.before.len() - 1),
            token => Some(token as usize),
        }
    }

    fn count_pairs(&mut self, text: &Text) {
        let mut next: Vec<usize> = self
            .tokens
            .iter()
            .scan(0, |end, n| {
                let start = *end;
                *end += (n[0] + n[1]) as usize;
                Some(start)
            })
            .collect();
        // (before, half) of every row, by token.
        let mut by_token = vec![(0u32, 0u8); text.len()];
        for place in text.places() {
            let at = &mut next[place.token as usize];
            by_token[*at] = (place.before, place.half as u8);
            *at += 1;
        }
        let mut start = 0;
        for (token, end) in next.into_iter().enumerate() {
            let rows = &mut by_token[start..end];
            rows.sort_unstable();
            for same in rows.chunk_by(|a, b| a.0 == b.0).filter(|same| same[0].0 != UNKNOWN) {
                let measured = same.iter().filter(|row| row.1 == 1).count() as u32;
                self.befores.push(same[0].0);
                self.pairs.push([same.len() as u32 - measured, measured]);
            }
            self.starts[token + 1] = self.befores.len();
            start = end;
        }
    }

    /// Tokens of `half`.
    pub fn rows(&self, half: Half) -> u64 {
        u64::from(self.rows[half as usize])
    }

    /// Occurrences of `token` in `half`.
    pub fn token(&self, token: u32, half: Half) -> u64 {
        self.tokens.get(token as usize).map_or(0, |n| u64::from(n[half as usize]))
    }

    /// Tokens of `half` that come after `before`.
    pub fn before(&self, before: u32, half: Half) -> u64 {
        self.slot(before).and_then(|slot| self.before.get(slot)).map_or(0, |n| u64::from(n[half as usize]))
    }

    /// Tokens of `half` in texts of `domain`.
    pub fn domain(&self, domain: u32, half: Half) -> u64 {
        self.domains.get(domain as usize).map_or(0, |n| u64::from(n[half as usize]))
    }

    /// Occurrences of `token` after `before` in `half`.
    pub fn pair(&self, token: u32, before: u32, half: Half) -> u64 {
        let token = token as usize;
        let (Some(start), Some(end)) = (self.starts.get(token), self.starts.get(token + 1)) else { return 0 };
        match self.befores[*start..*end].binary_search(&before) {
            Ok(at) => u64::from(self.pairs[start + at][half as usize]),
            Err(_) => 0,
        }
    }

    /// How many tokens of `half` the rule applies to.
    pub fn matched(&self, rule: &Rule, half: Half) -> u64 {
        match rule {
            Rule::Domains(domains) => domains.iter().map(|d| self.domain(*d, half)).sum(),
            Rule::Tokens { tokens, before } if before.is_empty() => {
                tokens.iter().map(|t| self.token(*t, half)).sum()
            }
            Rule::Tokens { tokens, before } if tokens.is_empty() => {
                before.iter().map(|b| self.before(*b, half)).sum()
            }
            Rule::Tokens { tokens, before } => {
                tokens.iter().flat_map(|t| before.iter().map(|b| self.pair(*t, *b, half))).sum()
            }
        }
    }
}
