//! From layer to layer: which experts of the next layer a token chooses, over all k · k′ pairs.

use std::collections::BTreeMap;

use crate::experts::routing::Choice;
use crate::{Error, Result};

/// Counts of (expert, expert of the next layer that has experts).
#[derive(Debug, Clone, Default)]
pub struct Transitions {
    experts: usize,
    /// (layer, next layer) → `[E, E]`.
    counts: BTreeMap<(u16, u16), Vec<u64>>,
    /// The token that was counted last: document, position, its layer and what it chose there.
    last: Option<(u32, u32, u16)>,
    chosen: Vec<u32>,
}

impl Transitions {
    /// Nothing counted yet, for `experts` experts per layer: 8 E² bytes per pair of layers.
    pub fn new(experts: usize) -> Self {
        Self { experts, ..Self::default() }
    }

    /// Counts a row. Rows of one token must follow each other with ascending layers, as a routing table has
    /// them.
    ///
    /// # Errors
    /// A row that is not in order.
    pub fn add(&mut self, choice: &Choice<'_>) -> Result<()> {
        let here = (choice.document, choice.position, choice.layer);
        if let Some(last @ (document, position, layer)) = self.last
            && here <= last
        {
            return Err(Error::data(format!(
                "{}: it comes after document {document}, position {position}, layer {layer}; expected rows in (document, \
                 position, layer) order, each once",
                choice.place()
            )).with_remedy("sort the table or harvest the routing again"));
        }
        let same_token = self.last.is_some_and(|(d, p, _)| (d, p) == (choice.document, choice.position));
        if let (true, Some((_, _, layer))) = (same_token, self.last) {
            let experts = self.experts;
            let counts =
                self.counts.entry((layer, choice.layer)).or_insert_with(|| vec![0; experts * experts]);
            for &from in &self.chosen {
                let row = &mut counts[from as usize * experts..][..experts];
                choice.experts.iter().for_each(|&to| row[to as usize] += 1);
            }
        }
        self.last = Some(here);
        self.chosen.clear();
        self.chosen.extend_from_slice(choice.experts);
        Ok(())
    }

    /// (layer, next layer) and their counts `[E, E]`, row = expert of the first.
    pub fn all(&self) -> impl Iterator<Item = ((u16, u16), &[u64])> {
        self.counts.iter().map(|(layers, counts)| (*layers, counts.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn row(document: u32, position: u32, layer: u16, experts: &[u32]) -> Choice<'_> {
        Choice { document, position, layer, experts, ..Choice::default() }
    }

    #[test]
    fn all_pairs_of_neighbouring_layers() {
        let mut t = Transitions::new(3);
        t.add(&row(0, 0, 1, &[0, 2])).unwrap();
        t.add(&row(0, 0, 3, &[1, 2])).unwrap();
        t.add(&row(0, 0, 4, &[])).unwrap();
        t.add(&row(0, 1, 1, &[0])).unwrap();
        t.add(&row(0, 1, 3, &[1])).unwrap();
        let all: Vec<_> = t.all().collect();
        assert_eq!(all[0], ((1, 3), &[0, 2, 1, 0, 0, 0, 0, 1, 1][..]));
        assert_eq!(all[1], ((3, 4), &[0u64; 9][..]));
        assert_eq!(all.len(), 2, "the last layer of a token is not followed by the first of the next");
    }

    /// A Markov chain with known probabilities gives them back.
    #[test]
    fn known_probabilities_come_back() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut t = Transitions::new(3);
        let p = [[0.8, 0.2, 0.0], [0.1, 0.3, 0.6], [0.0, 0.5, 0.5]];
        for position in 0..30_000 {
            let from = rng.random_range(0..3u32);
            let u: f64 = rng.random();
            let row_of = p[from as usize];
            let to = if u < row_of[0] {
                0
            } else if u < row_of[0] + row_of[1] {
                1
            } else {
                2
            };
            t.add(&row(0, position, 0, &[from])).unwrap();
            t.add(&row(0, position, 1, &[to])).unwrap();
        }
        let (_, counts) = t.all().next().unwrap();
        for (from, p) in p.iter().enumerate() {
            let row = &counts[from * 3..][..3];
            let sum = row.iter().sum::<u64>() as f64;
            for (to, p) in p.iter().enumerate() {
                let found = row[to] as f64 / sum;
                assert!((found - p).abs() <= 5.0 * (p * (1.0 - p) / sum).sqrt(), "{from} {to}: {found}, {p}");
            }
        }
    }

    #[test]
    fn rows_out_of_order_are_named() {
        for second in [row(0, 0, 1, &[1]), row(0, 0, 0, &[1])] {
            let mut t = Transitions::new(3);
            t.add(&row(0, 0, 1, &[0])).unwrap();
            let message = t.add(&second).unwrap_err().to_string();
            assert!(message.contains("order") && message.contains("document 0, position 0"), "{message}");
        }
    }
}
