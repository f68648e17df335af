//! Text of tokens, made safe to show.

use storage::{TableReader, vocabulary};

use crate::Result;

/// The bytes of every token.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<Vec<u8>>);

impl Words {
    pub(super) fn read(reader: Option<&TableReader>) -> Result<Self> {
        Ok(Self(reader.map(vocabulary::read_bytes).transpose()?.unwrap_or_default()))
    }

    /// What consecutive tokens are; a token that the vocabulary lacks is its number.
    pub(super) fn in_context(&self, tokens: &[u32]) -> Vec<String> {
        let numbers: Vec<String> = tokens.iter().map(|token| format!("[{token}]")).collect();
        let bytes: Vec<&[u8]> = tokens
            .iter()
            .zip(&numbers)
            .map(|(&token, number)| self.0.get(token as usize).map_or(number.as_bytes(), Vec::as_slice))
            .collect();
        vocabulary::in_context(&bytes)
    }

    /// What one token is.
    pub(super) fn one(&self, token: u32) -> String {
        self.in_context(&[token]).concat()
    }
}

/// `text` with what would not be seen, or would turn other text around, made visible: line breaks, tabs, control and
/// direction characters.
///
/// A token is what a tokenizer cut, so it may hold half of a pair of direction marks, and text that shows it must not let it out.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('↵'),
            '\r' => out.push('␍'),
            '\t' => out.push('⇥'),
            '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => out.push_str(&format!("‹{:04x}›", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("‹{:02x}›", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// `text` between tags or in quotes of XML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_invisible_or_turning_stays() {
        assert_eq!(visible("a\n\tb\u{202e}c\0"), "a↵⇥b‹202e›c‹00›");
        assert_eq!(visible("שלום 你好 🙂"), "שלום 你好 🙂");
        assert_eq!(escaped("<b a='1'>&\"</b>"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }
}
