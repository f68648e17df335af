//! The best rule that names tokens: it holds at these, whatever stands before them.

use std::collections::HashSet;

/// A token with how often it was seen and at how many of these places the thing to be ruled was there.
pub type Seen = (u32, u64, u64);

/// The set of tokens with the largest F1; `tokens` are those with at least one hit.
///
/// Of all sets of tokens the best is a beginning of the tokens in order of the share of their places that are hits.
pub fn best(mut tokens: Vec<Seen>) -> HashSet<u32> {
    // By share, then the frequent first, then by number: a / b > c / d as whole numbers.
    tokens.sort_by(|a, b| (b.2 * a.1).cmp(&(a.2 * b.1)).then(b.1.cmp(&a.1)).then(a.0.cmp(&b.0)));
    let all: u64 = tokens.iter().map(|t| t.2).sum();
    let (mut matched, mut hits, mut best) = (0, 0, (0.0, 0));
    for (n, (_, count, of)) in tokens.iter().enumerate() {
        matched += count;
        hits += of;
        let f1 = f1(hits, matched, all);
        if f1 > best.0 {
            best = (f1, n + 1);
        }
    }
    tokens[..best.1].iter().map(|t| t.0).collect()
}

/// F1 of a rule that names `matched` places, of which `hits` are among the `all` that are to be named.
pub fn f1(hits: u64, matched: u64, all: u64) -> f64 {
    2.0 * hits as f64 / (matched + all) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against all 2^n sets.
    #[test]
    fn no_set_of_tokens_is_better() {
        let tokens: Vec<Seen> =
            vec![(0, 10, 9), (1, 3, 1), (2, 40, 20), (3, 7, 7), (4, 100, 2), (5, 5, 2), (6, 9, 4)];
        let all: u64 = tokens.iter().map(|t| t.2).sum();
        let of = |set: &dyn Fn(u32) -> bool| {
            let (matched, hits) =
                tokens.iter().filter(|t| set(t.0)).fold((0, 0), |(m, h), t| (m + t.1, h + t.2));
            f1(hits, matched, all)
        };
        let rule = best(tokens.clone());
        let most = (1..1u32 << tokens.len()).map(|bits| of(&|t| bits >> t & 1 == 1)).fold(0.0, f64::max);
        assert_eq!(of(&|t| rule.contains(&t)), most);
        assert!(rule.contains(&3) && !rule.contains(&4), "{rule:?}");
        assert!(best(Vec::new()).is_empty());
    }
}
