//! Text, tokens or chats as the sequences of tokens that the model runs on.

use std::collections::{BTreeMap, HashMap};

use crate::{Error, Result};
use lm::model::Tokenizer;
use lm::text::{Chat, Content};

/// Consecutive tokens, BOS not among them, and which of them become rows (all if None).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    pub tokens: Vec<u32>,
    pub kept: Option<Vec<bool>>,
}

impl Tokens {
    /// How many of them become rows.
    pub fn rows(&self) -> u64 {
        let kept = self.kept.as_ref().map(|kept| kept.iter().filter(|kept| **kept).count());
        kept.unwrap_or(self.tokens.len()) as u64
    }

    /// Leaves `rows` rows at most.
    pub fn limit(&mut self, rows: u64) {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let end = match &self.kept {
            None => rows,
            Some(kept) => {
                kept.iter().enumerate().filter(|(_, kept)| **kept).nth(rows).map_or(kept.len(), |(i, _)| i)
            }
        };
        self.tokens.truncate(end);
        if let Some(kept) = &mut self.kept {
            kept.truncate(end);
        }
    }

    /// Takes the begin token away that a text brought along: the context begins with one already.
    fn without_first(&mut self) {
        self.tokens.remove(0);
        if let Some(kept) = &mut self.kept {
            kept.remove(0);
        }
    }
}

/// Makes sequences of documents and counts what a person should know about them.
#[derive(Debug)]
pub(super) struct Sequences<'a> {
    tokenizer: &'a Tokenizer,
    roles: &'a [String],
    special: HashMap<u32, String>,
    /// Special tokens that were written out in text.
    written: BTreeMap<u32, u64>,
    /// Texts that began with the model's begin token.
    begun: u64,
    /// Chats that the template refuses, and what it said first.
    refused: (u64, Option<String>),
    /// Chats in whose text the messages were not found again.
    changed: u64,
    /// Chats without a message of the roles.
    without: u64,
}

impl<'a> Sequences<'a> {
    pub fn new(tokenizer: &'a Tokenizer, roles: &'a [String]) -> Self {
        let special = tokenizer.special_tokens();
        let (written, refused) = (BTreeMap::new(), (0, None));
        Self { tokenizer, roles, special, written, begun: 0, refused, changed: 0, without: 0 }
    }

    /// The sequences of a document; none for one that has no tokens or that the model cannot take.
    ///
    /// # Errors
    /// A document without roles where `--roles` is given; text or a chat that the tokenizer or the model's
    /// template refuses.
    pub fn of(&mut self, content: Content) -> Result<Vec<Tokens>> {
        if !self.roles.is_empty() && !matches!(content, Content::Chat(_)) {
            return Err(Error::request(
                "only chats have roles, and the text has documents that are not chats",
            )
            .with_remedy("leave out --roles, or give files with `messages`"));
        }
        let all = match content {
            Content::Text(text) => {
                let tokens = self.begin(Tokens { tokens: self.tokenizer.encode(&text)?, kept: None });
                for token in tokens.tokens.iter().filter(|token| self.special.contains_key(token)) {
                    *self.written.entry(*token).or_default() += 1;
                }
                vec![tokens]
            }
            Content::Tokens(runs) => runs.into_iter().flat_map(|run| self.split(run)).collect(),
            Content::Chat(chat) => self.chat(&chat)?.into_iter().collect(),
        };
        Ok(all.into_iter().filter(|tokens| tokens.rows() > 0).collect())
    }

    fn begin(&mut self, mut tokens: Tokens) -> Tokens {
        if let Some(bos) = self.tokenizer.bos() {
            self.begun += u64::from(tokens.tokens.first() == Some(&bos));
            while tokens.tokens.first() == Some(&bos) {
                tokens.without_first();
            }
        }
        tokens
    }

    /// In tokenised text the begin token is where a text begins.
    fn split(&mut self, run: Vec<u32>) -> Vec<Tokens> {
        let Some(bos) = self.tokenizer.bos() else { return vec![Tokens { tokens: run, kept: None }] };
        self.begun += run.iter().filter(|token| **token == bos).count() as u64;
        let parts = run.split(|token| *token == bos);
        parts.map(|part| Tokens { tokens: part.to_vec(), kept: None }).collect()
    }

    fn chat(&mut self, chat: &Chat) -> Result<Option<Tokens>> {
        let template = self.tokenizer.chat_template().ok_or_else(|| {
            Error::request("the text has chats, and the model has no template for them").with_remedy(
                "put the model's chat_template.jinja into its folder, or name a field of plain text with --text-column",
            )
        })?;
        let text = match template.render(chat) {
            Ok(text) => text,
            // The template itself is wrong, and no other chat would fare better.
            Err(error @ Error::Request(_)) => return Err(error),
            Err(error) => {
                self.refused.0 += 1;
                self.refused.1.get_or_insert_with(|| error.to_string());
                return Ok(None);
            }
        };
        if self.roles.is_empty() {
            let tokens = self.tokenizer.encode(&text)?;
            return Ok(Some(self.begin(Tokens { tokens, kept: None })));
        }
        let Some(places) = chat.places(&text, self.roles) else {
            self.changed += 1;
            return Ok(None);
        };
        self.without += u64::from(places.is_empty());
        let (tokens, of_text) = self.tokenizer.encode_with_places(&text)?;
        let within = |token: &std::ops::Range<usize>| {
            places.iter().any(|place| token.start < place.end && place.start < token.end)
        };
        let kept = Some(of_text.iter().map(within).collect());
        Ok(Some(self.begin(Tokens { tokens, kept })))
    }

    /// What was counted, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.written.is_empty() {
            let name = |token: &u32| self.special.get(token).cloned().unwrap_or_default();
            let parts: Vec<String> =
                self.written.iter().map(|(token, n)| format!("{} {n}×", name(token))).collect();
            lines.push(format!(
                "special tokens are written out in the text and are what the model sees: {}",
                parts.join(", ")
            ));
        }
        if let (Some(bos), true) = (self.tokenizer.bos(), self.begun > 0) {
            let name = self.special.get(&bos).cloned().unwrap_or_else(|| bos.to_string());
            lines.push(format!(
                "{} texts bring the begin token {name} along; it stands where ours does, once, and has no row",
                self.begun
            ));
        }
        if let (n, Some(first)) = &self.refused {
            lines.push(format!(
                "{n} chats were skipped because the template refuses them; the first: {first}"
            ));
        }
        if self.without > 0 {
            lines.push(format!(
                "{} chats have no message of the role {}",
                self.without,
                self.roles.join(" or ")
            ));
        }
        if self.changed > 0 {
            let n = self.changed;
            lines
                .push(format!("{n} chats were skipped because the template changes what their messages say"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use lm::text::ChatTemplate;

    use super::*;

    /// Bytes as tokens, `<s>` as token 256.
    fn tokenizer(bos: Option<u32>) -> Tokenizer {
        let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "|": 2}, "merges": []}});
        let template = "{{ bos_token }}{% for m in messages %}{% if m.content == 'ab' and m.role == 'user' %}{{ raise_exception('no ab') }}{% endif %}{{ m.content|replace('bb', 'b') }}|{% endfor %}";
        let template = ChatTemplate::new(template, "<s>", "");
        Tokenizer::from_bytes(json.to_string().as_bytes(), std::path::Path::new("t"), bos)
            .unwrap()
            .with_chat_template(Some(template))
    }

    fn tokens(all: Vec<Tokens>) -> Vec<Vec<u32>> {
        all.into_iter().map(|t| t.tokens).collect()
    }

    #[test]
    fn a_text_has_one_begin_token_and_special_ones_are_counted() {
        let with = tokenizer(Some(3));
        let mut sequences = Sequences::new(&with, &[]);
        let of = |sequences: &mut Sequences<'_>, text: &str| {
            tokens(sequences.of(Content::Text(text.into())).unwrap())
        };
        assert_eq!(of(&mut sequences, "<s>ab"), [[0, 1]]);
        assert_eq!(of(&mut sequences, "a<s>b"), [[0, 3, 1]]);
        assert_eq!(of(&mut sequences, "<s>"), Vec::<Vec<u32>>::new());
        let remarks = sequences.remarks();
        assert!(remarks[0].contains("<s> 1×") && remarks[1].starts_with("2 texts"), "{remarks:?}");
        let without = tokenizer(None);
        let mut sequences = Sequences::new(&without, &[]);
        assert_eq!(of(&mut sequences, "<s>ab"), [[3, 0, 1]], "a token as any other");
        assert_eq!(sequences.remarks().len(), 1);
    }

    #[test]
    fn tokenised_text_is_cut_where_texts_begin() {
        let runs = || Content::Tokens(vec![vec![3, 0, 1, 3, 1], vec![0]]);
        let with = tokenizer(Some(3));
        assert_eq!(tokens(Sequences::new(&with, &[]).of(runs()).unwrap()), [vec![0, 1], vec![1], vec![0]]);
        let without = tokenizer(None);
        assert_eq!(tokens(Sequences::new(&without, &[]).of(runs()).unwrap()), [vec![3, 0, 1, 3, 1], vec![0]]);
    }

    #[test]
    fn rows_of_a_role_are_the_tokens_of_what_it_said() {
        let tokenizer = tokenizer(Some(3));
        let chat = |user: &str, assistant: &str| {
            let json = serde_json::json!([{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]);
            Content::Chat(Chat::from_json(&json.to_string()).unwrap())
        };
        let roles = ["assistant".to_owned()];
        let mut all = Sequences::new(&tokenizer, &[]);
        assert_eq!(tokens(all.of(chat("a", "ba")).unwrap()), [[0, 2, 1, 0, 2]]);
        let mut some = Sequences::new(&tokenizer, &roles);
        let mut made = some.of(chat("a", "ba")).unwrap();
        assert_eq!(made[0].kept.as_deref(), Some(&[false, false, true, true, false][..]));
        assert_eq!(made[0].rows(), 2);
        made[0].limit(1);
        assert_eq!((made[0].rows(), made[0].tokens.len()), (1, 3));
        assert!(some.of(chat("ab", "a")).unwrap().is_empty() && some.of(chat("bb", "a")).unwrap().is_empty());
        let remarks = some.remarks();
        assert!(remarks.iter().any(|r| r.starts_with("1 chats") && r.contains("no ab")), "{remarks:?}");
        assert!(remarks.iter().any(|r| r.contains("changes what")), "{remarks:?}");
        assert!(some.of(Content::Text("a".into())).is_err());
    }
}
