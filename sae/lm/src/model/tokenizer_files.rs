//! The files a tokenizer is read from, checked before they reach the `tokenizers` crate.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

use crate::{Error, Result};

/// What of a `tokenizer.json` is checked here; everything else is the crate's to check.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    model: Option<Model<'a>>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow, default)]
    vocab: Option<Numbers<'a>>,
    #[serde(borrow, default)]
    merges: Option<Vec<Merge<'a>>>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers<'a> {
    ByToken(#[serde(borrow)] HashMap<Cow<'a, str>, IgnoredAny>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge<'a> {
    Pair(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] Cow<'a, str>),
    Line(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

impl Merge<'_> {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Pair(left, right) => Some((left, right)),
            Self::Line(line) => line.split_once(' '),
            Self::Other(_) => None,
        }
    }
}

/// Every merge of a `tokenizer.json` makes a token of its vocabulary. The crate writes the pair into a buffer
/// as long as the longest token, and ends the program if it is longer.
pub(super) fn check_merges(bytes: &[u8], path: &Path) -> Result<()> {
    let written: Written<'_> = serde_json::from_slice(bytes)
        .map_err(|e| Error::format(path, format!("is not a tokenizer that this program can read: {e}")))?;
    let Some(Model { vocab: Some(Numbers::ByToken(vocab)), merges: Some(merges), continuing_subword_prefix }) =
        written.model
    else {
        return Ok(());
    };
    let prefix = continuing_subword_prefix.unwrap_or_default();
    for (rank, merge) in merges.iter().enumerate() {
        let made = merge.parts().and_then(|(left, right)| {
            let rest = right.strip_prefix(prefix.as_str())?;
            vocab.contains_key([left, rest].concat().as_str()).then_some(())
        });
        if made.is_none() {
            let text = format!("merge {rank} is not two tokens that make a third of the vocabulary");
            return Err(Error::format(path, text));
        }
    }
    Ok(())
}

/// GPT-2's own files: `vocab.json` (token → number), `merges.txt` (a pair a line, best first) and perhaps
/// `added_tokens.json`.
pub(super) fn gpt2(folder: &Path) -> Result<tokenizers::Tokenizer> {
    let (vocab_path, merges_path) = (folder.join("vocab.json"), folder.join("merges.txt"));
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => no_tokenizer(folder),
            _ => Error::io(path, source),
        })
    };
    let numbers = |text: &str, path: &Path| {
        serde_json::from_str::<BTreeMap<String, u32>>(text)
            .map_err(|e| Error::format(path, format!("is not a table of tokens and their numbers: {e}")))
    };
    let vocab: Vocab = numbers(&read(&vocab_path)?, &vocab_path)?.into_iter().collect();
    let merges = merges(&read(&merges_path)?, &vocab, &merges_path)?;
    let failed = |e: tokenizers::Error| Error::format(&vocab_path, format!("does not make a tokenizer: {e}"));
    let end = "<|endoftext|>";
    let has_end = vocab.contains_key(end);
    let model = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(failed)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let words = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(words)).with_decoder(Some(ByteLevel::default()));
    if has_end {
        tokenizer.add_special_tokens([AddedToken::from(end, true)]).map_err(failed)?;
    }
    let added_path = folder.join("added_tokens.json");
    if added_path.is_file() {
        let mut added: Vec<(String, u32)> = numbers(&read(&added_path)?, &added_path)?.into_iter().collect();
        added.sort_by_key(|(_, number)| *number);
        for (token, number) in added {
            tokenizer.add_special_tokens([AddedToken::from(token.as_str(), true)]).map_err(failed)?;
            if tokenizer.token_to_id(&token) != Some(number) {
                let text =
                    format!("token `{token}` has number {number}, which does not follow the vocabulary");
                return Err(Error::format(&added_path, text));
            }
        }
    }
    Ok(tokenizer)
}

/// SentencePiece's own file is not read: transformers makes a tokenizer.json of it, with the steps that its class adds.
fn no_tokenizer(folder: &Path) -> Error {
    let remedy = "make tokenizer.json with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";
    let only = if folder.join("tokenizer.model").is_file() {
        "only tokenizer.model, SentencePiece's own file"
    } else {
        "and no vocab.json with merges.txt either"
    };
    Error::request(format!("{} has no tokenizer.json, {only}", folder.display())).with_remedy(remedy)
}

fn merges(text: &str, vocab: &Vocab, path: &Path) -> Result<Merges> {
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    let merge = |(number, line): (usize, &str)| {
        let known = |token: &str| vocab.contains_key(token);
        let parts = line
            .split_once(' ')
            .filter(|(left, right)| known(left) && known(right) && known(&[*left, *right].concat()));
        let (left, right) = parts.ok_or_else(|| {
            let text = format!("line {}, `{line}`, is not two tokens that make a third", number + 1);
            Error::format(path, text)
        })?;
        Ok((left.to_owned(), right.to_owned()))
    };
    lines.map(merge).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;

    fn json(vocab: &str, merges: &str) -> String {
        format!(
            r#"{{"version": "1.0", "added_tokens": [{{"id": 3, "content": "<|end|>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}}], "normalizer": null, "pre_tokenizer": null,
                "post_processor": null, "decoder": null, "model": {{"type": "BPE", "vocab": {vocab}, "merges": {merges}}}}}"#
        )
    }

    #[test]
    fn merges_that_would_end_the_program_are_refused() {
        let read = |vocab: &str, merges: &str| {
            Tokenizer::from_bytes(json(vocab, merges).as_bytes(), Path::new("t.json"), None)
        };
        let vocab = r#"{"a": 0, "b": 1, "ab": 2, "<|end|>": 3}"#;
        for merges in [r#"["a b"]"#, r#"[["a", "b"]]"#, "[]"] {
            assert!(read(vocab, merges).is_ok(), "{merges}");
        }
        for merges in [r#"["ab ab"]"#, r#"[["ab", "abababab"]]"#, r#"["a"]"#, "[1]"] {
            let error = read(vocab, merges).unwrap_err().to_string();
            assert!(error.contains("t.json") && error.contains("merge 0"), "{error}");
        }
        assert!(read("7", "7").is_err());
    }

    #[test]
    fn special_tokens_in_a_text_are_seen() {
        let text = json(r#"{"a": 0, "b": 1, "ab": 2, "<|end|>": 3}"#, r#"["a b"]"#);
        let tokenizer = Tokenizer::from_bytes(text.as_bytes(), Path::new("t.json"), None).unwrap();
        assert_eq!(tokenizer.encode("ab<|end|>a").unwrap(), [2, 3, 0]);
    }

    #[test]
    fn gpt2s_own_files_make_a_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let error = || Tokenizer::from_folder(folder.path(), None).unwrap_err().to_string();
        assert!(error().contains("no tokenizer.json"));
        write("tokenizer.model", "");
        assert!(error().contains("only tokenizer.model") && error().contains("save_pretrained"));
        write("vocab.json", r#"{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4, "<|endoftext|>": 5}"#);
        write("merges.txt", "#version: 0.2\na b\nĠ ab\n");
        let (tokenizer, from) = Tokenizer::from_folder(folder.path(), None).unwrap();
        assert!(from.ends_with("vocab.json"));
        let tokens = tokenizer.encode("ab ab b<|endoftext|>").unwrap();
        assert_eq!(tokens, [2, 4, 3, 1, 5]);
        assert_eq!(tokenizer.decode(&tokens).unwrap(), "ab ab b");
        write("added_tokens.json", r#"{"<|pad|>": 6}"#);
        let (tokenizer, _) = Tokenizer::from_folder(folder.path(), None).unwrap();
        assert_eq!(tokenizer.encode("a<|pad|>").unwrap(), [0, 6]);
        write("added_tokens.json", r#"{"<|pad|>": 9}"#);
        assert!(error().contains("number 9"));
        write("merges.txt", "a b\nb b\n");
        assert!(error().contains("line 2"));
    }
}
