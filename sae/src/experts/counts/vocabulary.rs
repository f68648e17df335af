//! Tokens by expert, for token types that occur often enough to tell something.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use storage::experts::VocabularyRow;

use crate::experts::routing::Choice;

/// Least tokens of a type that is counted: a token that occurs once chose its expert "always".
pub const LEAST_TOKENS: u32 = 10;
/// Tokens listed per expert, by count and by lift each.
pub const LISTED: usize = 32;
/// Memory for the counts. More types than fit are left out, the rarest first, and the summary says how many
/// were kept.
const BYTES: usize = 384 << 20;

/// Counts of (token type, expert) for every layer.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    experts: usize,
    /// Token of each type, ascending.
    tokens: Vec<u32>,
    type_of: HashMap<u32, u32>,
    /// Types that were seen often enough but had no room.
    left_out: usize,
    layers: BTreeMap<u16, Layer>,
}

#[derive(Debug, Clone, Default)]
struct Layer {
    /// `[types]`.
    seen: Vec<u32>,
    /// `[types, E]`, every chosen expert.
    chosen: Vec<u32>,
    /// `[types, E]`, the strongest expert alone.
    first: Vec<u32>,
    /// Tokens of all types, rare ones included, and the choices of each expert.
    tokens: u64,
    slots: Vec<u64>,
}

/// How concentrated tokens are on one expert: means over token types x of the largest share of an expert,
/// max_e N_{x,e} / N_x.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Concentration {
    /// Types with enough tokens.
    pub types: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Mean over types, for a token's k chosen experts.
    pub mean_max_share_top_k: Option<f64>,
    /// The same, weighted by the tokens of each type.
    pub mean_max_share_top_k_by_tokens: Option<f64>,
    /// Mean over types, for a token's strongest expert only.
    pub mean_max_share_top_1: Option<f64>,
    /// The same, weighted by the tokens of each type.
    pub mean_max_share_top_1_by_tokens: Option<f64>,
}

impl Vocabulary {
    /// For `layers` with `experts` experts each; `seen` says how often each token is seen in a layer.
    pub fn new(experts: usize, layers: &BTreeSet<u16>, seen: &HashMap<u32, u32>) -> Self {
        Self::within(BYTES, experts, layers, seen)
    }

    fn within(bytes: usize, experts: usize, layers: &BTreeSet<u16>, seen: &HashMap<u32, u32>) -> Self {
        let bytes_per_type = layers.len().max(1) * (2 * experts + 1) * size_of::<u32>();
        let mut often: Vec<(u32, u32)> =
            seen.iter().filter(|(_, n)| **n >= LEAST_TOKENS).map(|(t, n)| (*n, *t)).collect();
        // The most frequent first, then by token, so that the choice does not depend on the map's order.
        often.sort_unstable_by_key(|&(n, token)| (std::cmp::Reverse(n), token));
        let room = (bytes / bytes_per_type).min(often.len());
        let mut tokens: Vec<u32> = often[..room].iter().map(|&(_, token)| token).collect();
        tokens.sort_unstable();
        let layer = Layer {
            seen: vec![0; room],
            chosen: vec![0; room * experts],
            first: vec![0; room * experts],
            tokens: 0,
            slots: vec![0; experts],
        };
        Self {
            experts,
            type_of: tokens.iter().zip(0..).map(|(&token, at)| (token, at)).collect(),
            tokens,
            left_out: often.len() - room,
            layers: layers.iter().map(|&number| (number, layer.clone())).collect(),
        }
    }

    /// Token types with [`LEAST_TOKENS`] tokens that were left out because memory is bounded.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The type of `token`. The rows of a token's layers follow each other, so one call per token is enough.
    pub fn type_of(&self, token: u32) -> Option<u32> {
        self.type_of.get(&token).copied()
    }

    /// Counts a row whose token is `kind` by [`Vocabulary::type_of`]. Its layer must be one of those given to
    /// [`Vocabulary::new`].
    pub fn add(&mut self, kind: Option<u32>, choice: &Choice<'_>) {
        let experts = self.experts;
        let Some(layer) = self.layers.get_mut(&choice.layer) else { return };
        layer.tokens += 1;
        choice.experts.iter().for_each(|&e| layer.slots[e as usize] += 1);
        let Some(kind) = kind else { return };
        let kind = kind as usize;
        layer.seen[kind] += 1;
        let row = &mut layer.chosen[kind * experts..][..experts];
        choice.experts.iter().for_each(|&e| row[e as usize] += 1);
        if let Some(&first) = choice.experts.first() {
            layer.first[kind * experts + first as usize] += 1;
        }
    }

    /// Types that occur often enough in `layer`.
    fn types<'a>(&self, layer: &'a Layer) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(|&t| layer.seen[t] >= LEAST_TOKENS)
    }

    /// How much a token tells about its expert in `layer`.
    pub fn concentration(&self, layer: u16) -> Concentration {
        let Some(of) = self.layers.get(&layer) else { return Concentration::default() };
        let mut sums = [0.0; 4];
        let (mut types, mut tokens) = (0u64, 0u64);
        for t in self.types(of) {
            let n = f64::from(of.seen[t]);
            let most = |counts: &[u32]| {
                f64::from(counts[t * self.experts..][..self.experts].iter().copied().max().unwrap_or(0))
            };
            let (chosen, first) = (most(&of.chosen), most(&of.first));
            types += 1;
            tokens += u64::from(of.seen[t]);
            for (sum, value) in sums.iter_mut().zip([chosen / n, chosen, first / n, first]) {
                *sum += value;
            }
        }
        let mean = |sum: f64, of: u64| (of > 0).then(|| sum / of as f64);
        Concentration {
            types,
            tokens,
            mean_max_share_top_k: mean(sums[0], types),
            mean_max_share_top_k_by_tokens: mean(sums[1], tokens),
            mean_max_share_top_1: mean(sums[2], types),
            mean_max_share_top_1_by_tokens: mean(sums[3], tokens),
        }
    }

    /// The first [`LISTED`] tokens of every expert of `layer`, by count and by lift.
    pub fn listed(&self, layer: u16) -> Vec<VocabularyRow> {
        let Some(of) = self.layers.get(&layer) else { return Vec::new() };
        let types: Vec<usize> = self.types(of).collect();
        (0..self.experts).flat_map(|expert| self.of_expert(layer, of, expert, &types)).collect()
    }

    fn of_expert(&self, number: u16, layer: &Layer, expert: usize, types: &[usize]) -> Vec<VocabularyRow> {
        let base = layer.slots[expert] as f64 / layer.tokens as f64;
        let row = |&t: &usize| {
            let (count, tokens) = (layer.chosen[t * self.experts + expert], layer.seen[t]);
            let share = f64::from(count) / f64::from(tokens);
            (count > 0).then(|| VocabularyRow {
                layer: number,
                expert: expert as u32,
                token: self.tokens[t],
                count: count.into(),
                tokens: tokens.into(),
                share,
                lift: share / base,
                rank_by_count: None,
                rank_by_lift: None,
            })
        };
        let mut rows: Vec<VocabularyRow> = types.iter().filter_map(row).collect();
        rows.sort_by(|a, b| {
            b.lift.total_cmp(&a.lift).then(b.count.cmp(&a.count)).then(a.token.cmp(&b.token))
        });
        (0u32..).zip(rows.iter_mut().take(LISTED)).for_each(|(rank, row)| row.rank_by_lift = Some(rank));
        rows.sort_by(|a, b| b.count.cmp(&a.count).then(a.token.cmp(&b.token)));
        (0u32..).zip(rows.iter_mut().take(LISTED)).for_each(|(rank, row)| row.rank_by_count = Some(rank));
        rows.retain(|row| row.rank_by_count.is_some() || row.rank_by_lift.is_some());
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(bytes: usize) -> Vocabulary {
        let seen = HashMap::from([(7, 20), (8, 12), (9, 3), (1, 1000)]);
        let mut v = Vocabulary::within(bytes, 3, &BTreeSet::from([4]), &seen);
        let mut add = |token, experts: &[u32]| {
            v.add(v.type_of(token), &Choice { layer: 4, token, experts, ..Choice::default() });
        };
        (0..15).for_each(|_| add(7, &[2, 0]));
        (0..5).for_each(|_| add(7, &[0, 1]));
        (0..12).for_each(|_| add(8, &[1, 2]));
        (0..3).for_each(|_| add(9, &[0, 1]));
        v
    }

    #[test]
    fn concentration_by_hand() {
        let c = counted(1 << 20).concentration(4);
        // Token 7: 20 of 20 choose expert 0, the strongest is 2 in 15. Token 8: always 1 and 2. Token 9 is too rare, and token 1,
        // which was promised but never came, too.
        assert_eq!((c.types, c.tokens), (2, 32));
        assert_eq!((c.mean_max_share_top_k, c.mean_max_share_top_k_by_tokens), (Some(1.0), Some(1.0)));
        assert_eq!(
            (c.mean_max_share_top_1, c.mean_max_share_top_1_by_tokens),
            (Some((0.75 + 1.0) / 2.0), Some(27.0 / 32.0))
        );
        assert_eq!(counted(1 << 20).concentration(5), Concentration::default());
    }

    #[test]
    fn tokens_of_an_expert() {
        let rows = counted(1 << 20).listed(4);
        let of = |expert| rows.iter().filter(|r| r.expert == expert).collect::<Vec<_>>();
        let zero = of(0);
        assert_eq!(zero.len(), 1);
        assert_eq!((zero[0].token, zero[0].count, zero[0].tokens, zero[0].share), (7, 20, 20, 1.0));
        // Expert 0 was chosen by 23 of 35 tokens.
        assert!((zero[0].lift - 35.0 / 23.0).abs() < 1e-12);
        let two = of(2);
        assert_eq!(
            (two[0].token, two[0].count, two[0].rank_by_count, two[0].rank_by_lift),
            (7, 15, Some(0), Some(1))
        );
        assert_eq!((two[1].token, two[1].share, two[1].rank_by_lift), (8, 1.0, Some(0)));
    }

    #[test]
    fn memory_is_bounded_and_says_what_it_left_out() {
        // Room for two types: 1 layer · (2 · 3 + 1) · 4 bytes each. The most frequent stay.
        let v = counted(2 * 28);
        assert_eq!((v.tokens.as_slice(), v.left_out()), (&[1, 7][..], 1));
        assert_eq!(v.concentration(4).types, 1);
    }
}
