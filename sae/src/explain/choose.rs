//! Which rule describes best where a feature fires, on the half of the documents that rules are made from.

use super::counts::Counts;
use super::rule::Rule;
use super::text::{Half, Place, START, UNKNOWN};

/// Tokens, previous tokens or domains that a rule names at most, of each.
pub const MOST: usize = 8;
/// F1 that each further name must add.
pub const PRICE: f64 = 0.01;
/// Firings with which a token may be named: what was met once is no rule.
const MET: u64 = 2;
/// Turns between tokens and previous tokens at most; most pairs settle after two.
const TURNS: usize = 4;

/// Something that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atom {
    /// Its number.
    pub name: u32,
    /// Tokens with it on which the feature fires.
    pub hits: u64,
    /// Tokens with it.
    pub rows: u64,
}

/// The names that describe best, and what they are worth: F1 without the price of what they add to the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// Names, most hits first.
    pub names: Vec<u32>,
    /// F1 − [`PRICE`] · (names − 1).
    pub worth: f64,
}

/// The best set of at most [`MOST`] atoms for a feature that fires on `fired` tokens.
pub fn best_set(atoms: &[Atom], fired: u64, most: usize) -> Option<Set> {
    let mut best: Option<Set> = None;
    for size in 1..=most.min(MOST).min(atoms.len()) {
        let chosen = of_size(atoms, fired, size);
        let worth = f1(&chosen, fired) - PRICE * (chosen.len() as f64 - 1.0);
        if !chosen.is_empty() && best.as_ref().is_none_or(|best| worth > best.worth) {
            best = Some(Set { names: named(chosen), worth });
        }
        // Once room is left over, more room changes nothing.
        if best.as_ref().is_some_and(|best| best.names.len() + 1 < size) {
            break;
        }
    }
    best
}

/// The at most `size` atoms of largest F1 = 2 Σ hits / (fired + Σ rows), a ratio of sums. Dinkelbach (1967): where λ is the largest
/// ratio, the best atoms are those of largest 2 hits − λ rows above 0; beginning at λ = 0, the ratio of the best atoms is the next λ, which
/// rises until it is the largest.
fn of_size(atoms: &[Atom], fired: u64, size: usize) -> Vec<Atom> {
    let (mut lambda, mut kept) = (0.0, Vec::new());
    loop {
        let gain = |atom: &Atom| 2.0 * atom.hits as f64 - lambda * atom.rows as f64;
        let mut gains: Vec<(f64, &Atom)> =
            atoms.iter().map(|atom| (gain(atom), atom)).filter(|g| g.0 > 0.0).collect();
        gains.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.name.cmp(&b.1.name)));
        let chosen: Vec<Atom> = gains.into_iter().take(size).map(|(_, atom)| *atom).collect();
        let ratio = f1(&chosen, fired);
        if ratio <= lambda {
            return kept;
        }
        (lambda, kept) = (ratio, chosen);
    }
}

fn f1(atoms: &[Atom], fired: u64) -> f64 {
    let (hits, rows) = atoms.iter().fold((0, 0), |(hits, rows), atom| (hits + atom.hits, rows + atom.rows));
    if hits == 0 { 0.0 } else { 2.0 * hits as f64 / (fired + rows) as f64 }
}

fn named(mut atoms: Vec<Atom>) -> Vec<u32> {
    atoms.sort_unstable_by(|a, b| b.hits.cmp(&a.hits).then(a.name.cmp(&b.name)));
    atoms.into_iter().map(|atom| atom.name).collect()
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

    /// Sums times by what `name` gives; what it gives none for is left out, and what was met too rarely.
    fn atoms(&self, name: impl Fn(u32, u32) -> Option<u32>, rows: impl Fn(u32) -> u64) -> Vec<Atom> {
        let mut times: Vec<(u32, u64)> =
            self.pairs.iter().filter_map(|&(token, before, n)| Some((name(token, before)?, n))).collect();
        times.sort_unstable();
        let sums =
            times.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, same.iter().map(|t| t.1).sum::<u64>()));
        sums.filter(|(_, hits)| *hits >= MET)
            .map(|(name, hits)| Atom { name, hits, rows: rows(name) })
            .collect()
    }

    fn tokens_behind(&self, before: &[u32], counts: &Counts) -> Option<Set> {
        let any = before.is_empty();
        let rows = |token: u32| match any {
            true => counts.token(token, Half::Made),
            false => before.iter().map(|b| counts.pair(token, *b, Half::Made)).sum(),
        };
        let atoms = self.atoms(|token, b| (any || before.contains(&b)).then_some(token), rows);
        best_set(&atoms, self.fired, MOST)
    }

    fn before_tokens(&self, tokens: &[u32], counts: &Counts) -> Option<Set> {
        let any = tokens.is_empty();
        let rows = |before: u32| match any {
            true => counts.before(before, Half::Made),
            false => tokens.iter().map(|t| counts.pair(*t, before, Half::Made)).sum(),
        };
        let known = |token, before| (before != UNKNOWN && (any || tokens.contains(&token))).then_some(before);
        best_set(&self.atoms(known, rows), self.fired, MOST)
    }

    /// Turns between tokens and previous tokens, each the best for the other as it stands, from the tokens `tokens` on. Worth never
    /// falls.
    fn both(&self, mut tokens: Vec<u32>, counts: &Counts) -> Option<(Rule, f64)> {
        let mut best: Option<(Rule, f64)> = None;
        for _ in 0..TURNS {
            let before = self.before_tokens(&tokens, counts)?.names;
            let set = self.tokens_behind(&before, counts)?;
            let worth = set.worth - PRICE * before.len() as f64;
            tokens.clone_from(&set.names);
            if best.as_ref().is_some_and(|(_, so_far)| worth <= *so_far) {
                break;
            }
            best = Some((Rule::Tokens { tokens: set.names, before }, worth));
        }
        best
    }
}

/// The rule of largest F1, less [`PRICE`] for each name beyond the first: a set of tokens, of previous tokens, of domains, or tokens
/// behind previous tokens. Sets alone are the best there are. For both together that would be a search through pairs of sets; it is
/// climbed from the best set of tokens, from the best set of previous tokens and from the most frequent pair.
pub fn choose(firings: &Firings, counts: &Counts, domains: usize) -> Option<Rule> {
    let of_domain = |&(name, hits): &(u32, u64)| Atom { name, hits, rows: counts.domain(name, Half::Made) };
    let in_domains: Vec<Atom> = firings.domains.iter().map(of_domain).collect();
    let tokens = firings.tokens_behind(&[], counts);
    let before = firings.before_tokens(&[], counts);
    // All domains together are no rule.
    let within = best_set(&in_domains, firings.fired, domains.saturating_sub(1));
    let frequent =
        firings.pairs.iter().filter(|p| p.1 != UNKNOWN).max_by_key(|p| (p.2, std::cmp::Reverse((p.0, p.1))));
    let behind_those = before.as_ref().and_then(|set| firings.tokens_behind(&set.names, counts));
    let starts = [
        tokens.as_ref().map(|set| set.names.clone()),
        behind_those.map(|set| set.names),
        frequent.map(|p| vec![p.0]),
    ];
    let alone = [
        tokens.map(|set| (Rule::Tokens { tokens: set.names, before: vec![] }, set.worth)),
        before.map(|set| (Rule::Tokens { tokens: vec![], before: set.names }, set.worth)),
        within.map(|set| (Rule::Domains(set.names), set.worth)),
    ];
    let together = starts.into_iter().flatten().filter_map(|tokens| firings.both(tokens, counts));
    let all = alone.into_iter().flatten().chain(together);
    // The first of equals: the simplest.
    let best = all.fold(None, |best: Option<(Rule, f64)>, next| match best {
        Some(best) if best.1 >= next.1 => Some(best),
        _ => Some(next),
    });
    best.map(|(rule, _)| tidy(rule))
}

/// The start of a text is named last.
fn tidy(rule: Rule) -> Rule {
    match rule {
        Rule::Tokens { tokens, mut before } => {
            before.sort_by_key(|b| *b == START);
            Rule::Tokens { tokens, before }
        }
        rule => rule,
    }
}
