//! Where a rule, a list of tokens or a list of words applies.

use super::Test;
use super::draw::Passage;
use crate::explain::claims::{Compiled, Condition, Name, Rule, Side, Tally, Tester, TokenTexts};
use crate::explain::rule::Rule as TokenRule;
use crate::explain::text::{START, Text};
use crate::{Error, Progress, Result};

/// A rule of tokens in the language of claims.
pub fn of_rule(rule: &TokenRule, texts: &TokenTexts, domains: &[String]) -> Option<Rule> {
    match rule {
        TokenRule::Domains(numbers) => {
            let names = numbers.iter().filter_map(|d| domains.get(*d as usize).cloned()).collect();
            Some(Rule::Is(Condition::Domain(names)))
        }
        TokenRule::Tokens { tokens, before } => {
            let on = of_tokens(tokens, texts);
            let earlier: Vec<u32> = before.iter().copied().filter(|b| *b != START).collect();
            let near = names(&earlier, texts)
                .map(|names| Rule::Is(Condition::Near { side: Side::Earlier, within: 1, names }));
            let start = before.contains(&START).then_some(Rule::Is(Condition::Position(0, 0)));
            let after = joined(near.into_iter().chain(start).collect(), Rule::Any);
            joined(on.into_iter().chain(after).collect(), Rule::All)
        }
    }
}

/// On one of these tokens.
pub fn of_tokens(tokens: &[u32], texts: &TokenTexts) -> Option<Rule> {
    names(tokens, texts).map(|names| Rule::Is(Condition::Token(names)))
}

/// In one of these words, whatever their case.
pub fn of_words(words: &[String]) -> Option<Rule> {
    let one = |word: &String| {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let bound = |is| if is { r"\b" } else { "" };
        let (first, last) = (is_word(word.chars().next()), is_word(word.chars().last()));
        format!("{}{}{}", bound(first), regex::escape(word), bound(last))
    };
    let words: Vec<String> = words.iter().map(one).collect();
    (!words.is_empty()).then(|| Rule::Is(Condition::TextMatches(format!("(?i)(?:{})", words.join("|")))))
}

fn names(tokens: &[u32], texts: &TokenTexts) -> Option<Vec<Name>> {
    let name = |token: &u32| texts.shown.get(*token as usize).map(|text| Name::Exact(text.clone()));
    let names: Vec<Name> = tokens.iter().filter_map(name).collect();
    (!names.is_empty()).then_some(names)
}

fn joined(mut rules: Vec<Rule>, join: fn(Vec<Rule>) -> Rule) -> Option<Rule> {
    if rules.len() > 1 { Some(join(rules)) } else { rules.pop() }
}

/// What a rule answers about passages: in detection, whether it applies to any token; in fuzzing, whether it applies to half of the marked
/// tokens or more.
pub fn answers(
    rule: &Compiled,
    test: Test,
    passages: &[Passage],
    text: &Text,
    texts: &TokenTexts,
) -> Vec<bool> {
    let one = |passage: &Passage| {
        let applies = rule.apply(text, texts, &(passage.index..passage.index + 1));
        let here = &applies[passage.first..passage.first + passage.tokens.len()];
        match test {
            Test::Detection => here.iter().any(|applies| *applies),
            Test::Fuzzing => {
                2 * passage.marked.iter().filter(|at| here[**at]).count() >= passage.marked.len()
            }
        }
    };
    passages.iter().map(one).collect()
}

/// What the rule comes to on all tokens of the second half.
///
/// # Errors
/// As [`Tester::test`].
pub fn simulate(
    tester: &Tester<'_>,
    feature: u32,
    rule: &Rule,
    progress: &mut dyn Progress,
) -> Result<Tally> {
    let mut silent = Silent(progress);
    match tester.test(feature, rule, &mut silent, &mut |_, _| {}) {
        Ok(test) => Ok(test.measured),
        // Words that make an expression too large are words that nobody can simulate.
        Err(Error::Request(_)) => Ok(Tally::default()),
        Err(error) => Err(error),
    }
}

/// Passes a wish to stop on, and nothing else: there are hundreds of tests.
struct Silent<'a>(&'a mut dyn Progress);

impl Progress for Silent<'_> {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self, _: &str) {}
    fn remark(&mut self, _: &str) {}
    fn stop_requested(&self) -> bool {
        self.0.stop_requested()
    }
}
