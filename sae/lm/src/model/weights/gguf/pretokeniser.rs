//! How byte-level tokenizers cut text into words before merging, by llama.cpp's name for it (`tokenizer.ggml.pre`).

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// What a name stands for.
pub(super) struct Pretokeniser {
    pub steps: PreTokenizerWrapper,
    /// True if text is put into Unicode's composed form first.
    pub composed: bool,
    /// True if a word that is a token is not cut further.
    pub whole_words: bool,
    /// True if texts begin with the begin token where the file does not say.
    pub begins: bool,
}

/// Words of Llama 3 and of the GPT-4 tokenizer it follows: digits in threes.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits.
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of the GPT-4o tokenizer: small letters after capitals stay together, other capitals are cut.
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pre-tokeniser of this name; an error says what is wrong.
pub(super) fn named(name: &str) -> Result<Pretokeniser, String> {
    let plain = |steps| Pretokeniser { steps, composed: false, whole_words: false, begins: false };
    Ok(match name {
        "gpt-2" | "phi-2" | "mpt" | "jais" => plain(gpt_2()),
        // The tokenizer of GPT-NeoX, which composes.
        "olmo" | "gpt-neox" => Pretokeniser { composed: true, ..plain(gpt_2()) },
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => plain(digits()?),
        "qwen2" | "deepseek-r1-qwen" => Pretokeniser { composed: true, ..plain(words(QWEN_2)?) },
        "stablelm2" => plain(words(QWEN_2)?),
        "llama-bpe" | "llama3" | "llama-v3" => {
            Pretokeniser { whole_words: true, begins: true, ..plain(words(LLAMA_3)?) }
        }
        "dbrx" | "smaug-bpe" => plain(words(LLAMA_3)?),
        "gpt-4o" => plain(words(GPT_4O)?),
        other => {
            return Err(format!(
                "pre-tokeniser `{other}` is not known; gpt-2, olmo, smollm, starcoder, qwen2, llama-bpe, gpt-4o and their kin are"
            ));
        }
    })
}

/// GPT-2's own words, which are built into the byte-level step.
fn gpt_2() -> PreTokenizerWrapper {
    ByteLevel::new(false, true, true).into()
}

/// Every digit for itself, then GPT-2's words.
fn digits() -> Result<PreTokenizerWrapper, String> {
    Ok(Sequence::new(vec![Digits::new(true).into(), gpt_2()]).into())
}

fn words(regex: &str) -> Result<PreTokenizerWrapper, String> {
    let pattern = SplitPattern::Regex(regex.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| e.to_string())?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    /// The words of a text; `Ġ` stands for a space.
    fn cut(name: &str, text: &str) -> Vec<String> {
        let mut words = PreTokenizedString::from(text);
        named(name).unwrap().steps.pre_tokenize(&mut words).unwrap();
        let splits = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.iter().map(|(word, ..)| (*word).to_owned()).collect()
    }

    #[test]
    fn words_are_those_of_each_family() {
        let text = "Don't pay 12345 now";
        assert_eq!(cut("gpt-2", text), ["Don", "'t", "Ġpay", "Ġ12345", "Ġnow"]);
        assert_eq!(cut("smollm", text), ["Don", "'t", "Ġpay", "Ġ", "1", "2", "3", "4", "5", "Ġnow"]);
        assert_eq!(cut("qwen2", text), ["Don", "'t", "Ġpay", "Ġ", "1", "2", "3", "4", "5", "Ġnow"]);
        assert_eq!(cut("llama-bpe", text), ["Don", "'t", "Ġpay", "Ġ", "123", "45", "Ġnow"]);
        assert_eq!(cut("gpt-4o", "Don't payNOW"), ["Don't", "Ġpay", "NOW"]);
        assert_eq!(cut("qwen2", "DON'T  x"), ["DON", "'T", "Ġ", "Ġx"]);
        assert_eq!(cut("gpt-2", "DON'T  x"), ["DON", "'", "T", "Ġ", "Ġx"]);
    }

    #[test]
    fn an_unknown_name_is_named() {
        assert!(named("viking").err().unwrap().contains("`viking`"));
    }
}
