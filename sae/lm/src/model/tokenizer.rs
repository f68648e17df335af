//! Text to tokens and back, by a Hugging Face `tokenizer.json`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::bos::{Beginning, of_folder};
use super::token_text::TokenText;
use super::tokenizer_files;
use crate::text::ChatTemplate;
use crate::{Error, Result};

/// A tokenizer and what its files say about special tokens and chats.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    beginning: Beginning,
    chat: Option<ChatTemplate>,
}

impl Tokenizer {
    /// From one that is built already. `bos` begins every context.
    pub fn new(mut inner: tokenizers::Tokenizer, bos: Option<u32>) -> Self {
        // What a file says about the length of a batch's rows is about another program's batches: a harvest
        // takes all of a text and no padding. Taking truncation away cannot fail; only setting one can.
        inner.with_padding(None);
        let _ = inner.with_truncation(None);
        Self { inner, beginning: Beginning::given(bos), chat: None }
    }

    /// From a model's folder: `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`. Gives the file it
    /// was read from too.
    ///
    /// `configured` is `bos_token_id` of `config.json`; whether texts begin with a token is what the
    /// tokenizer's own files say (`docs/text.md`).
    ///
    /// # Errors
    /// [`Error::Request`] if neither is there, [`Error::Format`] if what is there is damaged.
    pub fn from_folder(folder: &Path, configured: Option<u32>) -> Result<(Self, PathBuf)> {
        let path = folder.join("tokenizer.json");
        let (mut tokenizer, from) = if path.is_file() {
            let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
            (Self::from_bytes(&bytes, &path, configured)?, path)
        } else {
            (Self::new(tokenizer_files::gpt2(folder)?, configured), folder.join("vocab.json"))
        };
        tokenizer.beginning = of_folder(folder, &tokenizer.inner, configured)?;
        tokenizer.chat = ChatTemplate::of_folder(folder)?;
        Ok((tokenizer, from))
    }

    /// From the bytes of a `tokenizer.json`; `path` is named in errors, `bos` begins every context.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not a tokenizer.
    pub fn from_bytes(bytes: &[u8], path: &Path, bos: Option<u32>) -> Result<Self> {
        crate::pointer::refuse(path, bytes)?;
        tokenizer_files::check_merges(bytes, path)?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| {
            Error::format(path, format!("is not a tokenizer that this program can read: {e}"))
        })?;
        Ok(Self::new(inner, bos))
    }

    /// The same with a template for chats.
    #[must_use]
    pub fn with_chat_template(mut self, template: Option<ChatTemplate>) -> Self {
        self.chat = template;
        self
    }

    /// The same with what is known of how contexts begin.
    #[must_use]
    pub fn with_beginning(mut self, beginning: Beginning) -> Self {
        self.set_beginning(beginning);
        self
    }

    pub(super) fn set_beginning(&mut self, beginning: Beginning) {
        self.beginning = beginning;
    }

    /// Number of tokens, added ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// True if there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token that begins every context, if one does.
    pub fn bos(&self) -> Option<u32> {
        self.beginning.token
    }

    /// How contexts begin, and which file decides it.
    pub fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// How the model writes a chat, if its files say it.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat.as_ref()
    }

    /// Tokens of `text`, no special tokens added. Special tokens written out in the text are recognised, as
    /// in transformers.
    ///
    /// # Errors
    /// [`Error::Data`] if the tokenizer cannot take the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|e| Error::data(format!("tokenizer: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a text that follow the begin token: one that the text brings along is not doubled. See
    /// `docs/text.md`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_after_bos(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.encode(text)?;
        let own = self.bos().map_or(0, |bos| tokens.iter().take_while(|token| **token == bos).count());
        Ok(tokens[own..].to_vec())
    }

    /// The same as [`Tokenizer::encode`], with the bytes of `text` that each token was made of.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_places(&self, text: &str) -> Result<(Vec<u32>, Vec<std::ops::Range<usize>>)> {
        let encoding = self.inner.encode(text, false).map_err(|e| Error::data(format!("tokenizer: {e}")))?;
        let places = encoding.get_offsets().iter().map(|&(from, to)| from..to).collect();
        Ok((encoding.get_ids().to_vec(), places))
    }

    /// Text of `tokens`, special tokens left out.
    ///
    /// # Errors
    /// [`Error::Data`] if the tokenizer cannot put them together.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner.decode(tokens, true).map_err(|e| Error::data(format!("tokenizer: {e}")))
    }

    /// The bytes each token stands for, by number. Empty for numbers that no token has.
    ///
    /// How they are written is what the tokenizer's decoder says: byte-level tokenizers write bytes as
    /// printable characters; others (SentencePiece) write a space as `▁` and a byte as `<0x0A>`.
    pub fn token_bytes(&self) -> Vec<Vec<u8>> {
        let vocabulary = self.inner.get_vocab(true);
        let written = TokenText::of(&self.inner);
        let added = self.inner.get_added_tokens_decoder();
        let mut all = vec![Vec::new(); vocabulary.values().max().map_or(0, |m| *m as usize + 1)];
        for (token, id) in vocabulary {
            all[id as usize] = match added.get(&id) {
                Some(token) if token.special => token.content.clone().into_bytes(),
                Some(token) => written.added(&token.content),
                None => written.bytes(&token),
            };
        }
        all
    }

    /// The numbers of the special tokens and how they are written.
    pub fn special_tokens(&self) -> HashMap<u32, String> {
        let added = self.inner.get_added_tokens_decoder();
        added.iter().filter(|(_, t)| t.special).map(|(&id, t)| (id, t.content.clone())).collect()
    }

    /// The underlying tokenizer.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }
}

/// How a token is shown: its text, and bytes that are not UTF-8 as `‹e2›`.
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
    fn broken_characters_are_shown_as_bytes() {
        assert_eq!(shown("né".as_bytes()), "né");
        assert_eq!(shown(&[b'a', 0xE2, 0x82]), "a‹e2›‹82›");
    }

    #[test]
    fn what_a_file_says_about_lengths_does_not_cut_or_pad_a_text() {
        let json = r#"{"version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "a"}, "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
            "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;
        let tokenizer = Tokenizer::from_bytes(json.as_bytes(), Path::new("t.json"), None).unwrap();
        assert_eq!(tokenizer.encode("abab").unwrap(), [0, 1, 0, 1]);
        assert_eq!(tokenizer.encode_with_places("ba").unwrap(), (vec![1, 0], vec![0..1, 1..2]));
    }
}
