//! The language of claims, read.
//!
//! ```text
//! rule       = all { "or" all }            all = part { "and" part }
//! part       = "not" part | "(" rule ")" | condition
//! condition  = "token" names | "token" /re/ | "text" /re/ | "after" names | "before" names
//!            | "within" N ("after" | "before" | "of") names
//!            | "domain" words | "documents" A-B | "position" A-B | "start"
//! names      = (word | "quoted") { word | "quoted" }
//! ```

use super::rule::{Condition, Name, Rule, Side};
use crate::{Error, Result};

/// Words of the language; tokens that read so are written in quotation marks.
const WORDS: [&str; 14] = [
    "and",
    "or",
    "not",
    "token",
    "tokens",
    "after",
    "before",
    "within",
    "domain",
    "text",
    "documents",
    "document",
    "position",
    "start",
];
/// Brackets and `not` in each other at most: a rule is a sentence, and reading it must not exhaust the stack.
const DEPTH: usize = 64;
/// Positions that `within` reaches at most.
const FARTHEST: u32 = 10_000;

/// A piece of the text and where it begins, in characters from 1.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Open,
    Close,
    Word(String),
    Quoted(String),
    Pattern(String),
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// A text that is not a rule; the message says where and what was expected there.
    pub fn parse(text: &str) -> Result<Self> {
        let pieces = pieces(text)?;
        let mut reader = Reader { pieces: &pieces, at: 0, text };
        let rule = reader.any(0)?;
        match reader.peek() {
            None => Ok(rule),
            Some(_) => Err(reader.expected("`and`, `or` or the end of the rule")),
        }
    }
}

/// Cuts a rule into pieces.
fn pieces(text: &str) -> Result<Vec<(usize, Piece)>> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let start = at;
        let piece = match chars[at] {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' => {
                at += 1;
                Piece::Open
            }
            ')' => {
                at += 1;
                Piece::Close
            }
            '"' => Piece::Quoted(delimited(&chars, &mut at, text)?),
            '/' => Piece::Pattern(delimited(&chars, &mut at, text)?),
            _ => {
                while at < chars.len() && !chars[at].is_whitespace() && !matches!(chars[at], '(' | ')' | '"')
                {
                    at += 1;
                }
                Piece::Word(chars[start..at].iter().collect())
            }
        };
        found.push((start + 1, piece));
    }
    Ok(found)
}

/// What stands between the sign at `at` and its next occurrence. In quotation marks `\n`, `\r`, `\t` are what they are elsewhere, and `\`
/// before any other sign stands for that sign; in a regular expression `\/` is `/` and all else is the expression's.
fn delimited(chars: &[char], at: &mut usize, text: &str) -> Result<String> {
    let (start, sign) = (*at, chars[*at]);
    let mut inside = String::new();
    *at += 1;
    while let Some(&c) = chars.get(*at) {
        *at += 1;
        if c == sign {
            return Ok(inside);
        }
        let next = chars.get(*at).copied();
        match (c, next) {
            ('\\', Some(next)) if sign == '"' => {
                inside.push(match next {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    next => next,
                });
                *at += 1;
            }
            ('\\', Some('/')) => {
                inside.push('/');
                *at += 1;
            }
            ('\\', Some(next)) => {
                inside.extend(['\\', next]);
                *at += 1;
            }
            _ => inside.push(c),
        }
    }
    Err(refused(text, start + 1, &format!("the closing {sign}")))
}

fn refused(text: &str, at: usize, expected: &str) -> Error {
    let rest: String = text.chars().skip(at - 1).take(20).collect();
    let found = if rest.is_empty() { "the rule ends".to_owned() } else { format!("found `{rest}`") };
    Error::request(format!("the rule, character {at}: {found}, expected {expected}")).with_remedy(
        "write for example: token \" court\" and not after the. Conditions are token, after, before, within N of, domain, \
         text /…/, documents A-B and position A-B",
    )
}

struct Reader<'a> {
    pieces: &'a [(usize, Piece)],
    at: usize,
    text: &'a str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Piece> {
        self.pieces.get(self.at).map(|(_, piece)| piece)
    }

    fn expected(&self, what: &str) -> Error {
        let end = self.text.chars().count() + 1;
        refused(self.text, self.pieces.get(self.at).map_or(end, |(at, _)| *at), what)
    }

    /// Takes `word` if it is next.
    fn take(&mut self, word: &str) -> bool {
        let next = matches!(self.peek(), Some(Piece::Word(next)) if next == word);
        self.at += usize::from(next);
        next
    }

    fn any(&mut self, depth: usize) -> Result<Rule> {
        let mut parts = vec![self.all(depth)?];
        while self.take("or") {
            parts.push(self.all(depth)?);
        }
        Ok(single(parts, Rule::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Rule> {
        let mut parts = vec![self.part(depth)?];
        while self.take("and") {
            parts.push(self.part(depth)?);
        }
        Ok(single(parts, Rule::All))
    }

    fn part(&mut self, depth: usize) -> Result<Rule> {
        if depth > DEPTH {
            return Err(self.expected(&format!("at most {DEPTH} brackets and `not` in each other")));
        }
        if self.take("not") {
            return Ok(Rule::Not(Box::new(self.part(depth + 1)?)));
        }
        if self.peek() != Some(&Piece::Open) {
            return self.condition().map(Rule::Is);
        }
        self.at += 1;
        let rule = self.any(depth + 1)?;
        if self.peek() != Some(&Piece::Close) {
            return Err(self.expected("`)`"));
        }
        self.at += 1;
        Ok(rule)
    }

    fn condition(&mut self) -> Result<Condition> {
        let what = "a condition: token, after, before, within, domain, text, documents, position or start";
        let Some(Piece::Word(word)) = self.peek() else { return Err(self.expected(what)) };
        let word = word.clone();
        if !WORDS.contains(&word.as_str()) || ["and", "or"].contains(&word.as_str()) {
            return Err(self.expected(what));
        }
        self.at += 1;
        let near = |side, within, names| Condition::Near { side, within, names };
        match word.as_str() {
            "token" | "tokens" => match self.pattern() {
                Some(pattern) => self.checked(pattern).map(Condition::TokenMatches),
                None => self.names().map(Condition::Token),
            },
            "text" => match self.pattern() {
                Some(pattern) => self.checked(pattern).map(Condition::TextMatches),
                None => Err(self.expected("a regular expression between two /")),
            },
            "after" => Ok(near(Side::Earlier, 1, self.names()?)),
            "before" => Ok(near(Side::Later, 1, self.names()?)),
            "within" => self.within(),
            "domain" => {
                let names = self.names()?;
                let text = |name| match name {
                    Name::Exact(text) | Name::Like(text) => text,
                };
                Ok(Condition::Domain(names.into_iter().map(text).collect()))
            }
            "documents" | "document" => self.span().map(|(a, b)| Condition::Documents(a, b)),
            "position" => self.span().map(|(a, b)| Condition::Position(a, b)),
            _ => Ok(Condition::Position(0, 0)),
        }
    }

    fn within(&mut self) -> Result<Condition> {
        let number = match self.peek() {
            Some(Piece::Word(word)) => word.parse().ok().filter(|n| (1..=FARTHEST).contains(n)),
            _ => None,
        };
        let Some(within) = number else {
            return Err(self.expected(&format!("a number of tokens from 1 to {FARTHEST}")));
        };
        self.at += 1;
        let side = [("after", Side::Earlier), ("before", Side::Later), ("of", Side::Either)]
            .into_iter()
            .find(|(word, _)| self.take(word));
        let Some((_, side)) = side else { return Err(self.expected("`of`, `after` or `before`")) };
        Ok(Condition::Near { side, within, names: self.names()? })
    }

    fn pattern(&mut self) -> Option<String> {
        let Some(Piece::Pattern(pattern)) = self.peek() else { return None };
        let pattern = pattern.clone();
        self.at += 1;
        Some(pattern)
    }

    /// A regular expression that can be compiled.
    fn checked(&self, pattern: String) -> Result<String> {
        match super::compiled::regex(&pattern) {
            Ok(_) => Ok(pattern),
            Err(error) => Err(error),
        }
    }

    fn names(&mut self) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        loop {
            match self.peek() {
                Some(Piece::Quoted(text)) => names.push(Name::Exact(text.clone())),
                Some(Piece::Word(word)) if !WORDS.contains(&word.as_str()) => {
                    names.push(Name::Like(word.clone()));
                }
                _ => break,
            }
            self.at += 1;
        }
        match names.is_empty() {
            true => Err(self.expected("a word or a text in quotation marks")),
            false => Ok(names),
        }
    }

    /// `A-B`, or `A` for one alone.
    fn span(&mut self) -> Result<(u32, u32)> {
        let read = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            (first <= last).then_some((first, last))
        };
        let found = match self.peek() {
            Some(Piece::Word(word)) => read(word),
            _ => None,
        };
        match found {
            Some(span) => {
                self.at += 1;
                Ok(span)
            }
            None => Err(self.expected("a number, or two as in 0-99, the smaller first")),
        }
    }
}

fn single(mut parts: Vec<Rule>, several: fn(Vec<Rule>) -> Rule) -> Rule {
    if parts.len() == 1 { parts.remove(0) } else { several(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_it_was() {
        for text in [
            "token court \" Court\"",
            "after \"the\\n\" and not within 5 of a",
            "(token a or token b) and before \"(\"",
            "token /^\\d+$/ or text /a\\/b\\\\/",
            "within 12 after a b or within 3 before \"\\\"\"",
            "domain \"code\" and documents 3-99 and position 0-0",
            "not (token a and (token b or not token c))",
        ] {
            assert_eq!(Rule::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rule::parse("start").unwrap(), Rule::Is(Condition::Position(0, 0)));
        assert_eq!(Rule::parse("document 7").unwrap(), Rule::Is(Condition::Documents(7, 7)));
        let and_first = Rule::parse("token a or token b and token c").unwrap();
        assert_eq!(and_first.to_string(), "token a or (token b and token c)");
        assert_eq!(Rule::parse(&and_first.to_string()).unwrap(), and_first);
    }

    #[test]
    fn what_is_no_rule_is_refused_where_it_stands() {
        for (text, part) in [
            ("", "character 1: the rule ends, expected a condition"),
            ("court", "character 1: found `court`, expected a condition"),
            ("token", "character 6: the rule ends, expected a word"),
            ("token and", "expected a word"),
            ("token a b)", "character 10"),
            ("(token a", "expected `)`"),
            ("token \"a", "expected the closing \""),
            ("text a", "a regular expression between two /"),
            ("text /(/", "regular expression"),
            ("within 0 of a", "a number of tokens from 1"),
            ("within 3 a", "`of`, `after` or `before`"),
            ("documents 9-3", "the smaller first"),
            ("token a token b", "`and`, `or` or the end"),
        ] {
            let error = Rule::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = format!("{}token a{}", "(".repeat(5000), ")".repeat(5000));
        assert!(Rule::parse(&deep).is_err());
    }

    #[test]
    fn flat_rules_are_lists_of_conditions() {
        let rule = Rule::parse("token a and not after b").unwrap();
        let (or, parts) = rule.flat().unwrap();
        let parts: Vec<(bool, Condition)> = parts.into_iter().map(|(not, c)| (not, c.clone())).collect();
        assert!(!or && parts[1].0);
        assert_eq!(Rule::of(or, parts), Some(rule));
        assert!(Rule::parse("(token a or token b) and token c").unwrap().flat().is_none());
        assert_eq!(Rule::of(true, vec![]), None);
    }
}
