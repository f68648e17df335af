//! What a claim says, and how it is written.

use std::fmt;

use crate::explain::rule::{listed, quoted as visible};

/// Where a feature is claimed to fire. [`fmt::Display`] writes it in the language that [`Rule::parse`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Where one condition holds.
    Is(Condition),
    /// Where this does not apply.
    Not(Box<Rule>),
    /// Where all of these apply.
    All(Vec<Rule>),
    /// Where any of these applies.
    Any(Vec<Rule>),
}

/// What can be said of one token of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is one of these tokens.
    Token(Vec<Name>),
    /// One of these tokens is at most `within` positions away.
    Near {
        /// Where it is, seen from the token that the claim is about.
        side: Side,
        /// Positions, from 1.
        within: u32,
        /// The tokens.
        names: Vec<Name>,
    },
    /// Its document is of one of these domains.
    Domain(Vec<String>),
    /// A regular expression matches in the token's own text.
    TokenMatches(String),
    /// It belongs to a match of a regular expression in the text of its document.
    TextMatches(String),
    /// Its document has a number from the first to the last of these.
    Documents(u32, u32),
    /// Its position in its document is from the first to the last of these; positions begin with 0.
    Position(u32, u32),
}

/// Where a token near the one that a claim is about stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It comes earlier: the claim is about what comes after it.
    Earlier,
    /// It comes later: the claim is about what comes before it.
    Later,
    /// Either.
    Either,
}

/// How a token is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// The token that reads exactly so, spaces and case included; written in quotation marks.
    Exact(String),
    /// All tokens that read so without the space around them, whatever the case.
    Like(String),
}

impl Rule {
    /// Its parts where it is a list of conditions, each perhaps with `not` before it, that are joined by `and` alone or by `or` alone;
    /// the flag says `or`. `None` for rules in rules.
    pub fn flat(&self) -> Option<(bool, Vec<(bool, &Condition)>)> {
        let parts = match self {
            Self::All(parts) | Self::Any(parts) => parts.as_slice(),
            rule => std::slice::from_ref(rule),
        };
        let conditions: Option<Vec<_>> = parts.iter().map(Self::condition).collect();
        Some((matches!(self, Self::Any(_)), conditions?))
    }

    /// The condition that it is, and whether it has `not` before it; `None` where it is of several parts.
    fn condition(&self) -> Option<(bool, &Condition)> {
        match self {
            Self::Is(condition) => Some((false, condition)),
            Self::Not(inside) => match &**inside {
                Self::Is(condition) => Some((true, condition)),
                _ => None,
            },
            Self::All(_) | Self::Any(_) => None,
        }
    }

    /// The rule of these conditions, joined by `or` or by `and`; `None` of none.
    pub fn of(or: bool, mut conditions: Vec<(bool, Condition)>) -> Option<Self> {
        let one = |(not, condition)| match not {
            true => Self::Not(Box::new(Self::Is(condition))),
            false => Self::Is(condition),
        };
        match conditions.len() {
            0 => None,
            1 => conditions.pop().map(one),
            _ if or => Some(Self::Any(conditions.into_iter().map(one).collect())),
            _ => Some(Self::All(conditions.into_iter().map(one).collect())),
        }
    }
}

impl Rule {
    /// The rule as a phrase, with tokens in ‹› and their spaces visible, as other explanations have them.
    pub fn words(&self) -> String {
        let part = |rule: &Self| match rule {
            Self::All(_) | Self::Any(_) => format!("({})", rule.words()),
            rule => rule.words(),
        };
        let joined = |parts: &[Self], word: &str| parts.iter().map(part).collect::<Vec<_>>().join(word);
        match self {
            Self::Is(condition) => condition.words(),
            Self::Not(rule) => format!("not {}", part(rule)),
            Self::All(parts) => joined(parts, " and "),
            Self::Any(parts) => joined(parts, " or "),
        }
    }
}

impl Condition {
    /// The condition as a phrase, like [`Rule::words`].
    pub fn words(&self) -> String {
        let names = |names: &[Name]| {
            let text = |name: &Name| match name {
                Name::Exact(text) | Name::Like(text) => visible(text),
            };
            listed(&names.iter().map(text).collect::<Vec<_>>(), "or")
        };
        match self {
            Self::Token(tokens) => format!("on {}", names(tokens)),
            Self::Near { side, within, names: tokens } => match (side, within) {
                (Side::Earlier, 1) => format!("after {}", names(tokens)),
                (Side::Later, 1) => format!("before {}", names(tokens)),
                (Side::Earlier, n) => format!("within {n} tokens after {}", names(tokens)),
                (Side::Later, n) => format!("within {n} tokens before {}", names(tokens)),
                (Side::Either, n) => format!("within {n} tokens of {}", names(tokens)),
            },
            Self::Domain(domains) => {
                format!("in {}", listed(&domains.iter().map(|name| visible(name)).collect::<Vec<_>>(), "or"))
            }
            Self::TokenMatches(pattern) => format!("on tokens with /{pattern}/"),
            Self::TextMatches(pattern) => format!("in text with /{pattern}/"),
            Self::Documents(first, last) if first == last => format!("in document {first}"),
            Self::Documents(first, last) => format!("in documents {first} to {last}"),
            Self::Position(0, 0) => "at the beginning of a text".to_owned(),
            Self::Position(first, last) if first == last => format!("at position {first}"),
            Self::Position(first, last) => format!("at positions {first} to {last}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(condition) => write!(f, "{condition}"),
            Self::Not(rule) => {
                f.write_str("not ")?;
                inner(rule, f)
            }
            Self::All(parts) => joined(parts, " and ", f),
            Self::Any(parts) => joined(parts, " or ", f),
        }
    }
}

fn joined(parts: &[Rule], word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            f.write_str(word)?;
        }
        inner(part, f)?;
    }
    Ok(())
}

/// In brackets where it is of several parts.
fn inner(rule: &Rule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match rule {
        Rule::All(_) | Rule::Any(_) => write!(f, "({rule})"),
        rule => write!(f, "{rule}"),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |f: &mut fmt::Formatter<'_>, names: &[Name]| {
            names.iter().try_for_each(|name| write!(f, " {name}"))
        };
        match self {
            Self::Token(names) => {
                f.write_str("token")?;
                listed(f, names)
            }
            Self::Near { side, within, names } => {
                match (side, within) {
                    (Side::Earlier, 1) => f.write_str("after")?,
                    (Side::Later, 1) => f.write_str("before")?,
                    (Side::Earlier, n) => write!(f, "within {n} after")?,
                    (Side::Later, n) => write!(f, "within {n} before")?,
                    (Side::Either, n) => write!(f, "within {n} of")?,
                }
                listed(f, names)
            }
            Self::Domain(names) => {
                f.write_str("domain")?;
                names.iter().try_for_each(|name| write!(f, " {}", quoted(name)))
            }
            Self::TokenMatches(pattern) => write!(f, "token /{}/", pattern.replace('/', "\\/")),
            Self::TextMatches(pattern) => write!(f, "text /{}/", pattern.replace('/', "\\/")),
            Self::Documents(first, last) => write!(f, "documents {first}-{last}"),
            Self::Position(first, last) => write!(f, "position {first}-{last}"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(&quoted(text)),
            Self::Like(text) => f.write_str(text),
        }
    }
}

/// In quotation marks, with what would end them or break the line written as `\"`, `\\`, `\n`, `\r` and `\t`.
pub fn quoted(text: &str) -> String {
    let mut written = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => written.extend(['\\', c]),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            c => written.push(c),
        }
    }
    written.push('"');
    written
}
