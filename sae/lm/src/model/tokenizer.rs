//! Text to tokens and back, by a Hugging Face `tokenizer.json`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::tokenizer_files;
use crate::{Error, Result};

/// A tokenizer and what the model says about its special tokens.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
}

impl Tokenizer {
    /// From one that is built already.
    pub fn new(inner: tokenizers::Tokenizer, bos: Option<u32>) -> Self {
        Self { inner, bos }
    }

    /// From a model's folder: `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`. Gives the file it was read from too.
    ///
    /// # Errors
    /// [`Error::Request`] if neither is there, [`Error::Format`] if what is there is damaged.
    pub fn from_folder(folder: &Path, bos: Option<u32>) -> Result<(Self, PathBuf)> {
        let path = folder.join("tokenizer.json");
        if path.is_file() {
            let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
            return Ok((Self::from_bytes(&bytes, &path, bos)?, path));
        }
        Ok((Self::new(tokenizer_files::gpt2(folder)?, bos), folder.join("vocab.json")))
    }

    /// From the bytes of a `tokenizer.json`; `path` is named in errors.
    pub fn from_bytes(bytes: &[u8], path: &Path, bos: Option<u32>) -> Result<Self> {
        tokenizer_files::check_merges(bytes, path)?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| Error::format(path, format!("is no tokenizer this program can read: {e}")))?;
        Ok(Self { inner, bos })
    }

    /// Number of tokens, added ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// True if there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token that begins a context, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Tokens of `text`, no special tokens added. Special tokens written out in the text are recognised, as in transformers.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|e| Error::data(format!("tokenizer: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of `tokens`, special tokens left out.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner.decode(tokens, true).map_err(|e| Error::data(format!("tokenizer: {e}")))
    }

    /// The bytes each token stands for, by number. Empty for numbers that no token has.
    ///
    /// Byte-level tokenizers write bytes as printable characters; others (SentencePiece) write a space as `▁` and a byte as `<0x0A>`.
    pub fn token_bytes(&self) -> Vec<Vec<u8>> {
        let vocabulary = self.inner.get_vocab(true);
        let special: HashMap<u32, String> = self
            .inner
            .get_added_tokens_decoder()
            .iter()
            .map(|(&id, token)| (id, token.content.clone()))
            .collect();
        let byte_level = vocabulary.keys().any(|t| t.starts_with('Ġ'));
        let alphabet = byte_alphabet();
        let mut all = vec![Vec::new(); vocabulary.values().max().map_or(0, |m| *m as usize + 1)];
        for (token, id) in vocabulary {
            all[id as usize] = match special.get(&id) {
                Some(content) => content.clone().into_bytes(),
                None if byte_level => token.chars().flat_map(|c| byte_of(c, &alphabet)).collect(),
                None => sentence_piece_bytes(&token),
            };
        }
        all
    }

    /// The underlying tokenizer.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }
}

fn byte_of(c: char, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    alphabet.get(&c).map_or_else(|| c.to_string().into_bytes(), |b| vec![*b])
}

/// GPT-2's printable characters and the bytes they stand for: printable Latin-1 bytes stand for themselves, the other bytes are
/// numbered from U+0100 up.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..=255u8)
        .filter_map(|b| {
            let code = if printable(b) {
                u32::from(b)
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).map(|c| (c, b))
        })
        .collect()
}

fn sentence_piece_bytes(token: &str) -> Vec<u8> {
    let hex = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
        Some(byte) => vec![byte],
        None => token.replace('▁', " ").into_bytes(),
    }
}

/// How a token is shown: its text, and bytes that are no UTF-8 as `‹e2›`.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("‹{byte:02x}›"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let alphabet = byte_alphabet();
        let mut bytes: Vec<u8> = alphabet.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((alphabet[&'Ġ'], alphabet[&'Ċ'], alphabet[&'a']), (b' ', b'\n', b'a'));
    }

    #[test]
    fn broken_characters_are_shown_as_bytes() {
        assert_eq!(shown("né".as_bytes()), "né");
        assert_eq!(shown(&[b'a', 0xE2, 0x82]), "a‹e2›‹82›");
        assert_eq!(sentence_piece_bytes("▁the"), b" the");
        assert_eq!(sentence_piece_bytes("<0x0A>"), b"\n");
    }
}
