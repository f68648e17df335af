//! The search for the rule that describes best where a feature fires, on the half of the documents that rules
//! are made from.

use super::counts::Counts;
use super::rule::Rule;
use super::text::{Half, Place, START, UNKNOWN};

/// Most tokens, most previous tokens and most domains that a rule names.
pub const MAX_NAMES: usize = 8;
/// F1 that each name after the first must add.
pub const NAME_PENALTY: f64 = 0.01;
/// Least firings on a token that may be named: one firing does not make a rule.
const LEAST_HITS: u64 = 2;
/// Most rounds of choosing tokens and previous tokens in turn; most pairs settle after two.
const MAX_ROUNDS: usize = 4;

/// Something that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Number of the token or domain.
    pub name: u32,
    /// Tokens with it on which the feature fires.
    pub hits: u64,
    /// Tokens with it.
    pub rows: u64,
}

/// The names that describe best, and their score: F1 less the penalty for each name after the first.
#[derive(Debug, Clone, PartialEq)]
pub struct NameSet {
    /// Names, most hits first.
    pub names: Vec<u32>,
    /// F1 − [`NAME_PENALTY`] · (names − 1).
    pub score: f64,
}

/// The best set of at most `most` (and [`MAX_NAMES`]) candidates for a feature that fires on `fired` tokens.
pub fn best_set(candidates: &[Candidate], fired: u64, most: usize) -> Option<NameSet> {
    let mut best: Option<NameSet> = None;
    for size in 1..=most.min(MAX_NAMES).min(candidates.len()) {
        let chosen = of_size(candidates, fired, size);
        let score = f1(&chosen, fired) - NAME_PENALTY * (chosen.len() as f64 - 1.0);
        if !chosen.is_empty() && best.as_ref().is_none_or(|best| score > best.score) {
            best = Some(NameSet { names: named(chosen), score });
        }
        // If the last size was not filled, a larger one changes nothing.
        if best.as_ref().is_some_and(|best| best.names.len() + 1 < size) {
            break;
        }
    }
    best
}

/// The at most `size` candidates of largest F1 = 2 Σ hits / (fired + Σ rows), a ratio of sums. Dinkelbach
/// (1967): if λ is the largest ratio, the best candidates are those with the largest 2 hits − λ rows above 0.
/// From λ = 0 on, the ratio of the best candidates is the next λ, which rises until it is the largest.
fn of_size(candidates: &[Candidate], fired: u64, size: usize) -> Vec<Candidate> {
    let (mut lambda, mut kept) = (0.0, Vec::new());
    loop {
        let gain = |candidate: &Candidate| 2.0 * candidate.hits as f64 - lambda * candidate.rows as f64;
        let mut gains: Vec<(f64, &Candidate)> =
            candidates.iter().map(|candidate| (gain(candidate), candidate)).filter(|g| g.0 > 0.0).collect();
        gains.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.name.cmp(&b.1.name)));
        let chosen: Vec<Candidate> = gains.into_iter().take(size).map(|(_, candidate)| *candidate).collect();
        let ratio = f1(&chosen, fired);
        if ratio <= lambda {
            return kept;
        }
        (lambda, kept) = (ratio, chosen);
    }
}

fn f1(candidates: &[Candidate], fired: u64) -> f64 {
    let (hits, rows) = candidates
        .iter()
        .fold((0, 0), |(hits, rows), candidate| (hits + candidate.hits, rows + candidate.rows));
    if hits == 0 { 0.0 } else { 2.0 * hits as f64 / (fired + rows) as f64 }
}

fn named(mut candidates: Vec<Candidate>) -> Vec<u32> {
    candidates.sort_unstable_by(|a, b| b.hits.cmp(&a.hits).then(a.name.cmp(&b.name)));
    candidates.into_iter().map(|candidate| candidate.name).collect()
}

/// Where a feature fires in the half that rules are made from.
#[derive(Debug)]
pub struct Firings {
    fired: u64,
    /// (token, before, times), each pair once, ascending.
    pairs: Vec<(u32, u32, u64)>,
    /// (domain, times), ascending.
    domains: Vec<(u32, u64)>,
}

impl Firings {
    /// From the places, all of [`Half::Made`].
    pub fn of(places: &[Place]) -> Self {
        let mut pairs: Vec<(u32, u32)> = places.iter().map(|p| (p.token, p.before)).collect();
        pairs.sort_unstable();
        let mut domains: Vec<u32> = places.iter().map(|p| p.domain).collect();
        domains.sort_unstable();
        Self {
            fired: places.len() as u64,
            pairs: pairs
                .chunk_by(|a, b| a == b)
                .map(|same| (same[0].0, same[0].1, same.len() as u64))
                .collect(),
            domains: domains.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect(),
        }
    }

    /// The candidates that `name` makes of (token, token before), with their hits; pairs that it makes
    /// nothing of are left out, and so are candidates with too few hits. `rows` counts a candidate's tokens.
    fn candidates(
        &self,
        name: impl Fn(u32, u32) -> Option<u32>,
        rows: impl Fn(u32) -> u64,
    ) -> Vec<Candidate> {
        let mut times: Vec<(u32, u64)> =
            self.pairs.iter().filter_map(|&(token, before, n)| Some((name(token, before)?, n))).collect();
        times.sort_unstable();
        let sums =
            times.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, same.iter().map(|t| t.1).sum::<u64>()));
        sums.filter(|(_, hits)| *hits >= LEAST_HITS)
            .map(|(name, hits)| Candidate { name, hits, rows: rows(name) })
            .collect()
    }

    fn tokens_after(&self, before: &[u32], counts: &Counts) -> Option<NameSet> {
        let any = before.is_empty();
        let rows = |token: u32| match any {
            true => counts.token(token, Half::Made),
            false => before.iter().map(|b| counts.pair(token, *b, Half::Made)).sum(),
        };
        let candidates = self.candidates(|token, b| (any || before.contains(&b)).then_some(token), rows);
        best_set(&candidates, self.fired, MAX_NAMES)
    }

    fn before_tokens(&self, tokens: &[u32], counts: &Counts) -> Option<NameSet> {
        let any = tokens.is_empty();
        let rows = |before: u32| match any {
            true => counts.before(before, Half::Made),
            false => tokens.iter().map(|t| counts.pair(*t, before, Half::Made)).sum(),
        };
        let known = |token, before| (before != UNKNOWN && (any || tokens.contains(&token))).then_some(before);
        best_set(&self.candidates(known, rows), self.fired, MAX_NAMES)
    }

    /// Chooses previous tokens for `tokens`, then tokens for those, and so on in turn, each the best for the
    /// other. The score never falls.
    fn both(&self, mut tokens: Vec<u32>, counts: &Counts) -> Option<(Rule, f64)> {
        let mut best: Option<(Rule, f64)> = None;
        for _ in 0..MAX_ROUNDS {
            let before = self.before_tokens(&tokens, counts)?.names;
            let set = self.tokens_after(&before, counts)?;
            let score = set.score - NAME_PENALTY * before.len() as f64;
            tokens.clone_from(&set.names);
            if best.as_ref().is_some_and(|(_, so_far)| score <= *so_far) {
                break;
            }
            best = Some((Rule::Tokens { tokens: set.names, before }, score));
        }
        best
    }
}

/// The rule of largest F1, less [`NAME_PENALTY`] for each name after the first: a set of tokens, of previous
/// tokens, of domains, or of tokens after previous tokens. Single sets are optimal. For tokens after previous
/// tokens an optimum would need a search through pairs of sets; this climbs from the best set of tokens, from
/// the best set of previous tokens and from the most frequent pair.
pub fn choose(firings: &Firings, counts: &Counts, domains: usize) -> Option<Rule> {
    let of_domain =
        |&(name, hits): &(u32, u64)| Candidate { name, hits, rows: counts.domain(name, Half::Made) };
    let in_domains: Vec<Candidate> = firings.domains.iter().map(of_domain).collect();
    let tokens = firings.tokens_after(&[], counts);
    let before = firings.before_tokens(&[], counts);
    // A rule of all domains would say nothing.
    let within = best_set(&in_domains, firings.fired, domains.saturating_sub(1));
    let frequent =
        firings.pairs.iter().filter(|p| p.1 != UNKNOWN).max_by_key(|p| (p.2, std::cmp::Reverse((p.0, p.1))));
    let after_those = before.as_ref().and_then(|set| firings.tokens_after(&set.names, counts));
    let starts = [
        tokens.as_ref().map(|set| set.names.clone()),
        after_those.map(|set| set.names),
        frequent.map(|p| vec![p.0]),
    ];
    let alone = [
        tokens.map(|set| (Rule::Tokens { tokens: set.names, before: vec![] }, set.score)),
        before.map(|set| (Rule::Tokens { tokens: vec![], before: set.names }, set.score)),
        within.map(|set| (Rule::Domains(set.names), set.score)),
    ];
    let together = starts.into_iter().flatten().filter_map(|tokens| firings.both(tokens, counts));
    let all = alone.into_iter().flatten().chain(together);
    // Of equals the first, which is the simplest.
    let best = all.fold(None, |best: Option<(Rule, f64)>, next| match best {
        Some(best) if best.1 >= next.1 => Some(best),
        _ => Some(next),
    });
    best.map(|(rule, _)| start_last(rule))
}

/// The start of a text is named last.
fn start_last(rule: Rule) -> Rule {
    match rule {
        Rule::Tokens { tokens, mut before } => {
            before.sort_by_key(|b| *b == START);
            Rule::Tokens { tokens, before }
        }
        rule => rule,
    }
}
