//! Rules, and their wording.

use super::text::{Place, START};

/// Where a feature fires. Tokens and domains are in the order in which they are named, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// On one of these tokens, after one of those; an empty list stands for any token. At most one list is
    /// empty.
    Tokens {
        /// The tokens.
        tokens: Vec<u32>,
        /// The tokens that may come before them.
        before: Vec<u32>,
    },
    /// In all of the texts of these domains.
    Domains(Vec<u32>),
}

impl Rule {
    /// Whether the rule applies at `place`.
    pub fn applies(&self, place: &Place) -> bool {
        match self {
            Self::Domains(domains) => domains.contains(&place.domain),
            Self::Tokens { tokens, before } => {
                (tokens.is_empty() || tokens.contains(&place.token))
                    && (before.is_empty() || before.contains(&place.before))
            }
        }
    }

    /// The rule in words, with tokens by `vocabulary` and domains by `domains`.
    pub fn words(&self, vocabulary: &[String], domains: &[String]) -> String {
        let token = |token: &u32| {
            vocabulary.get(*token as usize).map_or_else(|| format!("token {token}"), |text| quoted(text))
        };
        match self {
            Self::Domains(numbers) => {
                let names: Vec<String> = numbers
                    .iter()
                    .filter_map(|d| domains.get(*d as usize))
                    .map(|name| format!("‹{name}›"))
                    .collect();
                let noun = if names.len() == 1 { "domain" } else { "domains" };
                format!("in texts of the {noun} {}", listed(&names, "and"))
            }
            Self::Tokens { tokens, before } => {
                let names: Vec<String> = tokens.iter().map(token).collect();
                let on = match names.as_slice() {
                    [] => None,
                    [one] => Some(format!("on the token {one}")),
                    many => Some(format!("on one of the tokens {}", listed(many, "or"))),
                };
                let words: Vec<String> = on.into_iter().chain(after(before, token)).collect();
                words.join(" ")
            }
        }
    }
}

/// "after ‹x› or at the beginning of a text".
fn after(before: &[u32], name: impl Fn(&u32) -> String) -> Option<String> {
    let names: Vec<String> = before.iter().filter(|b| **b != START).map(name).collect();
    let tokens = (!names.is_empty()).then(|| format!("after {}", listed(&names, "or")));
    let start = before.contains(&START).then(|| "at the beginning of a text".to_owned());
    let both: Vec<String> = tokens.into_iter().chain(start).collect();
    (!both.is_empty()).then(|| both.join(" or "))
}

/// "a, b or c".
pub(super) fn listed(names: &[String], last: &str) -> String {
    match names {
        [front @ .., end] if !front.is_empty() => format!("{} {last} {end}", front.join(", ")),
        names => names.concat(),
    }
}

/// A token with its spaces and line ends made visible, as the window shows tokens in lists.
pub(super) fn quoted(text: &str) -> String {
    let trimmed = text.trim_matches(' ');
    let (before, after) = match trimmed {
        "" => (text.len(), 0),
        _ => (text.len() - text.trim_start_matches(' ').len(), text.len() - text.trim_end_matches(' ').len()),
    };
    let inner: String = trimmed
        .chars()
        .map(|c| match c {
            '\n' => '↵',
            '\r' => '←',
            '\t' => '→',
            c if c.is_control() => '·',
            c => c,
        })
        .collect();
    format!("‹{}{inner}{}›", "·".repeat(before), "·".repeat(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_sentences() {
        let vocabulary: Vec<String> = [" the", "\n", "cat ", "  "].map(String::from).into();
        let domains: Vec<String> = ["code", "french", "legal"].map(String::from).into();
        let words = |rule: Rule| rule.words(&vocabulary, &domains);
        let tokens = |tokens: &[u32], before: &[u32]| {
            words(Rule::Tokens { tokens: tokens.into(), before: before.into() })
        };
        assert_eq!(tokens(&[0], &[]), "on the token ‹·the›");
        assert_eq!(tokens(&[2, 0, 1], &[]), "on one of the tokens ‹cat·›, ‹·the› or ‹↵›");
        assert_eq!(tokens(&[], &[3]), "after ‹··›");
        assert_eq!(tokens(&[], &[START]), "at the beginning of a text");
        assert_eq!(
            tokens(&[2], &[0, START, 1]),
            "on the token ‹cat·› after ‹·the› or ‹↵› or at the beginning of a text"
        );
        assert_eq!(tokens(&[9], &[]), "on the token token 9");
        assert_eq!(words(Rule::Domains(vec![1])), "in texts of the domain ‹french›");
        assert_eq!(
            words(Rule::Domains(vec![0, 2, 1])),
            "in texts of the domains ‹code›, ‹legal› and ‹french›"
        );
    }
}
