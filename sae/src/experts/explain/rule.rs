//! The rule of an expert that names tokens: it is chosen for these, whatever stands before them.

use std::collections::HashMap;

use rayon::prelude::*;

use super::gather::{Choices, Tokens};
use crate::experts::token_rule;

/// F1 of every expert's best set of tokens, chosen on one side and measured on the other; `None` where no token
/// of the measured side chose the expert.
pub fn f1(
    made: &Tokens,
    measured: &Tokens,
    (of_made, of_measured): (&Choices, &Choices),
    experts: usize,
) -> Vec<Option<f64>> {
    let mut seen: HashMap<u32, (u64, Vec<u32>)> = HashMap::new();
    for (t, token) in made.tokens.iter().enumerate() {
        let (count, of) = seen.entry(*token).or_insert_with(|| (0, vec![0; experts]));
        *count += 1;
        of_made.of(t).iter().for_each(|&e| of[e as usize] += 1);
    }
    let one = |e: usize| {
        let tokens = seen.iter().map(|(token, (count, of))| (*token, *count, u64::from(of[e])));
        let rule = token_rule::best(tokens.filter(|t| t.2 > 0).collect());
        let (mut matched, mut fired, mut hits) = (0u64, 0u64, 0u64);
        for (t, token) in measured.tokens.iter().enumerate() {
            let (says, is) = (rule.contains(token), of_measured.of(t).contains(&(e as u32)));
            matched += u64::from(says);
            fired += u64::from(is);
            hits += u64::from(says && is);
        }
        (fired > 0).then(|| token_rule::f1(hits, matched, fired))
    };
    (0..experts).into_par_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expert_of_certain_tokens_has_a_rule_and_one_of_chance_has_not() {
        let n = 400;
        let side = |from: usize| {
            let tokens: Vec<u32> = (from..from + n).map(|i| (i * 7 % 10) as u32).collect();
            let mut choices = Choices::default();
            for (t, token) in tokens.iter().enumerate() {
                // Expert 0 takes tokens 2 and 5; 1 and 2 take the others in turn; no token takes expert 3.
                choices.push(&[if matches!(token, 2 | 5) { 0 } else { 1 + ((t / 10 + t) % 2) as u32 }]);
            }
            (Tokens { tokens, ..Tokens::default() }, choices)
        };
        let ((made, of_made), (measured, of_measured)) = (side(0), side(1003));
        let found = f1(&made, &measured, (&of_made, &of_measured), 4);
        assert_eq!((found[0], found[3]), (Some(1.0), None));
        // A rule that matches all tokens of two experts alike: 2 · ½ / (1 + ½).
        assert!(found[1].is_some_and(|f| f < 0.75), "{found:?}");
    }
}
