//! Metadata → a tokenizer. Two kinds are read:
//!
//! | `tokenizer.ggml.model` | what it is |
//! |---|---|
//! | `gpt2` | byte-level pairs with a list of merges and a [pre-tokeniser](super::pretokeniser) |
//! | `llama` | SentencePiece pairs: the best-scored token is made first, bytes stand in for unknown characters |

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::normalizers::{NormalizerWrapper, Sequence as Normalizers};
use tokenizers::{AddedToken, Tokenizer};

use super::Gguf;
use super::pretokeniser;
use crate::Result;
use crate::model::Beginning;
use crate::text::ChatTemplate;

/// A SentencePiece token longer than this, in bytes, is not a token; the number of merges grows with its square.
const LONGEST_TOKEN: usize = 256;
/// Merges a token has on average at most; Gemma's have two.
const MERGES_A_TOKEN: usize = 16;

/// What a token is for; ggml's numbers.
mod kind {
    pub const NORMAL: i64 = 1;
    pub const UNKNOWN: i64 = 2;
    pub const CONTROL: i64 = 3;
    pub const USER_DEFINED: i64 = 4;
}

/// See [`Gguf::tokenizer`].
pub(super) fn build(gguf: &Gguf) -> Result<Tokenizer> {
    let tokens = Tokens::read(gguf)?;
    let mut tokenizer = match gguf.text("tokenizer.ggml.model")? {
        Some("gpt2") => byte_level(gguf, &tokens)?,
        Some("llama") => sentence_piece(gguf, &tokens)?,
        other => {
            let text =
                format!("tokenizer.ggml.model is `{}`; expected gpt2 or llama", other.unwrap_or("(none)"));
            return Err(gguf.problem(text));
        }
    };
    let of_kind = |wanted: i64, special: bool, normalized: bool| -> Vec<AddedToken> {
        let chosen = tokens.all.iter().zip(tokens.kinds);
        let chosen = chosen.filter(|(text, kind)| **kind == wanted && !text.is_empty());
        chosen.map(|(text, _)| AddedToken::from(text.as_str(), special).normalized(normalized)).collect()
    };
    // Gemma's runs of spaces are tokens of the user's, and are looked for where spaces are `▁` already. A normaliser that puts a
    // `▁` before every text would put one before the token too.
    let replaced = matches!(tokenizer.get_normalizer(), Some(NormalizerWrapper::Replace(_)));
    let user = of_kind(kind::USER_DEFINED, false, replaced);
    let control = of_kind(kind::CONTROL, true, false);
    tokenizer.add_tokens(user).map_err(|e| gguf.problem(format!("tokenizer: {e}")))?;
    tokenizer.add_special_tokens(control).map_err(|e| gguf.problem(format!("tokenizer: {e}")))?;
    Ok(tokenizer)
}

impl Gguf {
    /// The name of its pre-tokeniser; of a file that has none, the one of its architecture.
    fn pretokeniser(&self, tokens: usize) -> Result<&str> {
        match self.text("tokenizer.ggml.pre")?.filter(|name| !name.is_empty() && *name != "default") {
            Some(name) => Ok(name),
            None => Ok(pretokeniser::of_architecture(self.architecture()?, tokens)),
        }
    }

    /// How contexts begin: `named` is the begin token, which is added only if the file's flag (or, where it has none, the rule of
    /// llama.cpp for its kind of tokenizer) asks for it.
    pub(in crate::model) fn beginning(&self) -> Result<Beginning> {
        let named = self.size("tokenizer.ggml.bos_token_id")?.and_then(|token| u32::try_from(token).ok());
        let begins = self.begins_texts()?;
        let because = match self.flag("tokenizer.ggml.add_bos_token")? {
            Some(flag) => format!("tokenizer.ggml.add_bos_token is {flag}"),
            None => "tokenizer.ggml.model and .pre, as llama.cpp reads them".to_owned(),
        };
        Ok(Beginning { token: named.filter(|_| begins), named, because })
    }

    /// The template of chats.
    pub(in crate::model) fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        let Some(template) = self.text("tokenizer.chat_template")? else { return Ok(None) };
        let tokens = self.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
        let token = |key: &str| -> Result<String> {
            let number = self.size(&format!("tokenizer.ggml.{key}_token_id"))?;
            Ok(number.and_then(|n| tokens.get(n as usize)).cloned().unwrap_or_default())
        };
        let (bos, eos) = (token("bos")?, token("eos")?);
        Ok(Some(ChatTemplate::new(template, &bos, &eos)))
    }

    /// True if texts begin with the begin token.
    pub(super) fn begins_texts(&self) -> Result<bool> {
        if let Some(flag) = self.flag("tokenizer.ggml.add_bos_token")? {
            return Ok(flag);
        }
        Ok(match self.text("tokenizer.ggml.model")? {
            Some("llama") => true,
            Some("gpt2") => {
                let tokens = self.texts("tokenizer.ggml.tokens")?.map_or(0, <[String]>::len);
                pretokeniser::named(self.pretokeniser(tokens)?).is_ok_and(|pre| pre.begins)
            }
            _ => false,
        })
    }
}

/// The tokens by number, their kinds and the numbers by token.
struct Tokens<'a> {
    all: &'a [String],
    kinds: &'a [i64],
    vocab: Vocab,
}

impl<'a> Tokens<'a> {
    fn read(gguf: &'a Gguf) -> Result<Self> {
        let key = "tokenizer.ggml.tokens";
        let all = gguf.required(key, gguf.texts(key)?)?;
        let key = "tokenizer.ggml.token_type";
        let kinds = gguf.required(key, gguf.integers(key)?)?;
        if kinds.len() != all.len() {
            let text = format!("has {} tokens and {} token types", all.len(), kinds.len());
            return Err(gguf.problem(text));
        }
        let mut vocab = Vocab::new();
        for (number, token) in all.iter().enumerate() {
            let number = u32::try_from(number).map_err(|_| gguf.problem("has more than 2^32 tokens"))?;
            // An empty token is made of no text. Of numbers with the same token the last counts, as in llama.cpp.
            if !token.is_empty() {
                vocab.insert(token.clone(), number);
            }
        }
        Ok(Self { all, kinds, vocab })
    }

    fn unknown(&self) -> Option<&'a String> {
        self.kinds.iter().position(|kind| *kind == kind::UNKNOWN).map(|i| &self.all[i])
    }
}

fn byte_level(gguf: &Gguf, tokens: &Tokens<'_>) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.merges";
    let written = gguf.required(key, gguf.texts(key)?)?;
    let mut merges = Merges::with_capacity(written.len());
    for (rank, merge) in written.iter().enumerate() {
        let (left, right) = merge.split_once(' ').unwrap_or((merge, ""));
        let known = |token: &str| tokens.vocab.contains_key(token);
        if !known(left) || !known(right) || !known(&[left, right].concat()) {
            let text = format!("merge {rank}, `{merge}`, is not two tokens that make a third");
            return Err(gguf.problem(text));
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    let remedy = "use the model's safetensors files and its tokenizer.json";
    let pre = pretokeniser::named(gguf.pretokeniser(tokens.all.len())?);
    let pre = pre.map_err(|e| gguf.problem(e).with_remedy(remedy))?;
    let model = BPE::builder().vocab_and_merges(tokens.vocab.clone(), merges).ignore_merges(pre.whole_words);
    let model = model.build().map_err(|e| gguf.problem(format!("tokenizer: {e}")))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre.steps));
    if pre.composed {
        tokenizer.with_normalizer(Some(NFC)).map_err(|e| gguf.problem(format!("tokenizer: {e}")))?;
    }
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

fn sentence_piece(gguf: &Gguf, tokens: &Tokens<'_>) -> Result<Tokenizer> {
    let problem = |e: Box<dyn std::error::Error + Send + Sync>| gguf.problem(format!("tokenizer: {e}"));
    let model = BPE::builder()
        .vocab_and_merges(tokens.vocab.clone(), scored_merges(gguf, tokens)?)
        .fuse_unk(true)
        .byte_fallback(true);
    let model = match tokens.unknown() {
        Some(token) => model.unk_token(token.clone()),
        None => model,
    };
    let mut tokenizer = Tokenizer::new(model.build().map_err(problem)?);
    let prefix = gguf.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let spaces = Replace::new(" ", "▁").map_err(problem)?;
    let normalizer: NormalizerWrapper = if prefix {
        Normalizers::new(vec![Prepend::new("▁".to_owned()).into(), spaces.into()]).into()
    } else {
        spaces.into()
    };
    tokenizer.with_normalizer(Some(normalizer)).map_err(problem)?;
    let mut steps: Vec<DecoderWrapper> =
        vec![Replace::new("▁", " ").map_err(problem)?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if prefix {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(tokenizers::decoders::sequence::Sequence::new(steps)));
    Ok(tokenizer)
}

/// Every way to make a normal token of two tokens, best score first. Of equals, the one with the longer left
/// part comes first, as in Hugging Face's converter.
fn scored_merges(gguf: &Gguf, tokens: &Tokens<'_>) -> Result<Merges> {
    let key = "tokenizer.ggml.scores";
    let scores = gguf.required(key, gguf.floats(key)?)?;
    if scores.len() != tokens.all.len() {
        let text = format!("has {} tokens and {} scores", tokens.all.len(), scores.len());
        return Err(gguf.problem(text));
    }
    // Score, token and where it is cut.
    let mut merges: Vec<(f32, &str, usize)> = Vec::new();
    for (number, ((token, kind), score)) in tokens.all.iter().zip(tokens.kinds).zip(scores).enumerate() {
        if *kind != kind::NORMAL {
            continue;
        }
        if token.len() > LONGEST_TOKEN {
            let text = format!("token {number} has {} bytes; expected at most {LONGEST_TOKEN}", token.len());
            return Err(gguf.problem(text));
        }
        if score.is_nan() {
            return Err(gguf.problem(format!("the score of token {number} is not a number")));
        }
        let cuts = token.char_indices().skip(1).map(|(cut, _)| cut);
        let both = |cut: &usize| {
            tokens.vocab.contains_key(&token[..*cut]) && tokens.vocab.contains_key(&token[*cut..])
        };
        merges.extend(cuts.filter(both).map(|cut| (*score, token.as_str(), cut)));
        if merges.len() > MERGES_A_TOKEN * tokens.all.len() {
            return Err(gguf.problem("its tokens can be made of each other in too many ways"));
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(chars_before(b).cmp(&chars_before(a))));
    Ok(merges.iter().map(|(_, token, cut)| (token[..*cut].to_owned(), token[*cut..].to_owned())).collect())
}

fn chars_before((_, token, cut): &(f32, &str, usize)) -> usize {
    token[..*cut].chars().count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fixture::File;
    use super::*;

    fn built(file: &File) -> Result<Tokenizer> {
        Gguf::from_bytes(file.bytes(), Path::new("m.gguf")).unwrap().tokenizer()
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
    }

    fn decoded(tokenizer: &Tokenizer, ids: &[u32]) -> String {
        tokenizer.decode(ids, false).unwrap()
    }

    fn gpt2(pre: &str) -> File {
        File::of("llama")
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", pre)
            .texts("tokenizer.ggml.tokens", &["<|end|>", "a", "b", "Ġ", "ab", "Ġab", "1", "  "])
            .integers("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 1, 1, 4])
            .texts("tokenizer.ggml.merges", &["a b", "Ġ ab"])
    }

    #[test]
    fn merges_are_applied_in_their_order_and_special_tokens_are_seen() {
        let tokenizer = built(&gpt2("gpt-2")).unwrap();
        let text = "ab aba<|end|>11";
        assert_eq!(ids(&tokenizer, text), [4, 5, 1, 0, 6, 6]);
        assert_eq!(decoded(&tokenizer, &ids(&tokenizer, text)), text);
        assert_eq!(ids(&tokenizer, "a  b"), [1, 7, 2], "a token of the user's is cut out first");
    }

    #[test]
    fn what_a_byte_level_tokenizer_must_have() {
        let error = |file: &File| built(file).err().unwrap().to_string();
        assert!(error(&gpt2("brand-new")).contains("`brand-new`"));
        let merges = |merges: &[&str]| {
            File::of("llama")
                .text("tokenizer.ggml.model", "gpt2")
                .text("tokenizer.ggml.pre", "gpt-2")
                .texts("tokenizer.ggml.tokens", &["a", "b"])
                .integers("tokenizer.ggml.token_type", &[1, 1])
                .texts("tokenizer.ggml.merges", merges)
        };
        // The crate would leave its buffer at the first of these.
        for merge in ["a b", "a", "a c", ""] {
            assert!(error(&merges(&[merge])).contains("merge 0"), "{merge}");
        }
        assert!(built(&merges(&[])).is_ok());
    }

    #[test]
    fn repeated_and_empty_tokens_take_nothing_away() {
        let file = File::of("qwen2")
            .text("tokenizer.ggml.model", "gpt2")
            .texts("tokenizer.ggml.tokens", &["a", "", "b", "a", "ab", "", "<|end|>"])
            .integers("tokenizer.ggml.token_type", &[1, 1, 1, 1, 1, 3, 3])
            .texts("tokenizer.ggml.merges", &["a b"]);
        let tokenizer = built(&file).unwrap();
        assert_eq!(ids(&tokenizer, "aba<|end|>"), [4, 3, 6]);
    }

    #[test]
    fn a_file_without_a_pre_tokeniser_has_that_of_its_architecture() {
        let of = |architecture: &str, pre: Option<&str>| {
            let file = File::of(architecture)
                .text("tokenizer.ggml.model", "gpt2")
                .texts("tokenizer.ggml.tokens", &["1", "2", "12", "Ġ"])
                .integers("tokenizer.ggml.token_type", &[1, 1, 1, 1])
                .texts("tokenizer.ggml.merges", &["1 2"]);
            ids(&built(&pre.map_or(file.clone(), |pre| file.text("tokenizer.ggml.pre", pre))).unwrap(), "12")
        };
        // Qwen cuts digits apart, GPT-2 does not.
        for pre in [None, Some("default"), Some("qwen2")] {
            assert_eq!(of("qwen2", pre), [0, 1], "{pre:?}");
        }
        assert_eq!((of("gpt2", None), of("llama", None)), (vec![2], vec![2]));
    }

    fn pieces(prefix: bool) -> File {
        let tokens = ["<unk>", "<0xC3>", "<0xA9>", "▁", "a", "b", "ab", "▁a", "▁ab", "aa", "  ", "<b>"];
        File::of("gemma3")
            .text("tokenizer.ggml.model", "llama")
            .flag("tokenizer.ggml.add_space_prefix", prefix)
            .texts("tokenizer.ggml.tokens", &tokens)
            .integers("tokenizer.ggml.token_type", &[2, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4, 3])
            .floats(
                "tokenizer.ggml.scores",
                &[0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0, -0.5, 0.0, 0.0],
            )
    }

    #[test]
    fn the_best_scored_token_is_made_first() {
        let tokenizer = built(&pieces(false)).unwrap();
        // "ab" (-1) before "▁a" (-2), then both make "▁ab".
        assert_eq!(ids(&tokenizer, " ab"), [8]);
        // "aa" is better still; leftmost first.
        assert_eq!(ids(&tokenizer, "aaab"), [9, 6]);
        assert_eq!(ids(&tokenizer, "aé"), [4, 1, 2], "bytes stand in for a character");
        assert_eq!(decoded(&tokenizer, &[4, 1, 2, 8]), "aé ab");
        assert_eq!(
            ids(&tokenizer, "a   a<b>▁▁"),
            [4, 10, 7, 11, 10],
            "two spaces are a token, written either way"
        );
        assert_eq!(decoded(&tokenizer, &[4, 10, 7, 11]), "a   a<b>");
        let tokenizer = built(&pieces(true)).unwrap();
        assert_eq!(ids(&tokenizer, "ab"), [8]);
        assert_eq!(decoded(&tokenizer, &[8, 7]), "ab a");
    }

    #[test]
    fn texts_begin_with_the_begin_token_where_llama_cpp_says_so() {
        let begins =
            |file: File| Gguf::from_bytes(file.bytes(), Path::new("m.gguf")).unwrap().begins_texts().unwrap();
        assert!(begins(pieces(true)) && !begins(gpt2("gpt-2")) && begins(gpt2("llama-bpe")));
        assert!(!begins(pieces(true).flag("tokenizer.ggml.add_bos_token", false)));
    }
}
