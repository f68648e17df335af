//! How byte-level tokenizers cut text into words before merging, by llama.cpp's name for it
//! (`tokenizer.ggml.pre`).

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

/// Qwen 3.5's: marks belong to the letters before them.
const QWEN_35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Mistral's Tekken: as GPT-4o's without contractions, single digits.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Ling's: `'` with its letter is a word of its own, line breaks come one by one.
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
/// Seed-Coder's: signs do not take line breaks along.
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
/// BLOOM's: runs of anything but spaces and stops.
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Signs, as Falcon and llama.cpp's default cut them off first.
const FALCON_SIGNS: &str = r"[\p{P}\$\+<=>\^~\|`]+";
/// The default has no backquote.
const DEFAULT_SIGNS: &str = r"[\p{P}\$\+<=>\^~\|]+";
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Chinese and Japanese characters, of DeepSeek-V3.
const CJK: &str = "[一-龥぀-ゟ゠-ヿ]+";
/// The rest of DeepSeek-V3's words.
const DEEPSEEK_3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Letters of alphabets with capitals, of DeepSeek's first models. Numbers stand for letters that editors
/// compose to different ones.
const CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⲳⲳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/// The pre-tokeniser of this name; an error says what is wrong.
pub(super) fn named(name: &str) -> Result<Pretokeniser, String> {
    let plain = |steps| Pretokeniser { steps, composed: false, whole_words: false, begins: false };
    Ok(match name {
        "gpt-2" | "phi-2" | "mpt" | "jais" | "trillion" | "exaone4" | "gigachat" | "mellum" | "a.x-4.0"
        | "granite-docling" | "modern-bert" => plain(gpt_2()),
        // The tokenizer of GPT-NeoX, which composes.
        "olmo" | "gpt-neox" => Pretokeniser { composed: true, ..plain(gpt_2()) },
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => plain(digits()?),
        "qwen2" | "deepseek-r1-qwen" | "megrez" | "kormo" | "f2llmv2" => {
            Pretokeniser { composed: true, ..plain(words(&[QWEN_2])?) }
        }
        "qwen35" => Pretokeniser { composed: true, ..plain(words(&[QWEN_35])?) },
        "stablelm2" | "hunyuan" | "grok-2" | "solar-open" => plain(words(&[QWEN_2])?),
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
            Pretokeniser { whole_words: true, begins: true, ..plain(words(&[LLAMA_3])?) }
        }
        "tekken" => Pretokeniser { whole_words: true, begins: true, ..plain(words(&[TEKKEN])?) },
        "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => plain(words(&[LLAMA_3])?),
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => plain(words(&[GPT_4O])?),
        "deepseek-llm" => {
            let signs = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
            plain(words(&[r"[\r\n]", CASED, signs, r"\s+$", "[一-龥ࠀ-一가-퟿]+", r"\p{N}+"])?)
        }
        "deepseek-coder" => {
            plain(words(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"])?)
        }
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => plain(words(&[r"\p{N}{1,3}", CJK, DEEPSEEK_3])?),
        "falcon" => plain(words(&[FALCON_SIGNS, GPT_2, "[0-9][0-9][0-9]"])?),
        "bloom" | "poro-chat" | "gpt3-finnish" => plain(words(&[BLOOM])?),
        "viking" => plain(words(&[BLOOM, r"\p{N}"])?),
        "bailingmoe" | "bailingmoe2" | "llada-moe" => plain(words(&[BAILING])?),
        "seed-coder" => plain(words(&[SEED_CODER])?),
        "default" => plain(words(&[DEFAULT_SIGNS, GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"])?),
        other => return Err(format!("tokenizer.ggml.pre is `{other}`, a pre-tokeniser that is not known")),
    })
}

/// The name of an architecture's pre-tokeniser where a file has none, or `default` as files made in spring
/// 2024 and some since have: that of the only tokenizer that its models were published with. Others get
/// llama.cpp's default, as there.
pub(super) fn of_architecture(architecture: &str, tokens: usize) -> &'static str {
    match architecture {
        "gpt2" => "gpt-2",
        "gptneox" => "gpt-neox",
        "qwen2" | "qwen2moe" | "qwen3" | "qwen3moe" => "qwen2",
        "olmoe" => "olmo",
        "olmo2" => "dbrx",
        "gpt-oss" => "gpt-4o",
        "granite" | "granitemoe" => "refact",
        // Llama 3's vocabulary, added tokens included.
        "llama" if tokens == 128_256 => "llama-bpe",
        "smollm3" => "llama-bpe",
        _ => "default",
    }
}

/// GPT-2's own words, which are built into the byte-level step.
fn gpt_2() -> PreTokenizerWrapper {
    ByteLevel::new(false, true, true).into()
}

/// Every digit for itself, then GPT-2's words.
fn digits() -> Result<PreTokenizerWrapper, String> {
    Ok(Sequence::new(vec![Digits::new(true).into(), gpt_2()]).into())
}

/// Cuts by each expression in turn: what it finds and what is between are words, which the next one cuts
/// further.
fn words(expressions: &[&str]) -> Result<PreTokenizerWrapper, String> {
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for expression in expressions {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        let split =
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| e.to_string())?;
        steps.push(split.into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(Sequence::new(steps).into())
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
    fn words_of_expressions_one_after_another() {
        let text = "Don't pay 12345!!\nNOW";
        assert_eq!(cut("default", text), ["Don", "'", "t", "Ġpay", "Ġ", "123", "45", "!!", "Ċ", "NOW"]);
        assert_eq!(cut("falcon", "a`b 1234"), ["a", "`", "b", "Ġ", "123", "4"]);
        assert_eq!(cut("tekken", "Don't payNOW 12"), ["Don", "'t", "Ġpay", "NOW", "Ġ", "1", "2"]);
        assert_eq!(cut("deepseek-v3", "x+1234 don't"), ["x", "+", "123", "4", "Ġdon", "'t"]);
        assert_eq!(cut("deepseek-llm", "Ab,\n 12"), ["Ab", ",", "Ċ", "Ġ", "12"]);
        assert_eq!(cut("bloom", "a b, c"), ["a", "Ġb", ",", "Ġc"]);
        // A combining mark stays with its letter.
        assert_eq!(cut("qwen35", "a\u{301}b")[0].chars().count(), 4);
        assert_eq!(cut("qwen2", "a\u{301}b").len(), 2);
    }

    #[test]
    fn every_name_makes_a_pre_tokeniser() {
        let text = include_str!("pretokeniser.rs");
        let table = text.split("Ok(match name {").nth(1).unwrap().split("other =>").next().unwrap();
        let names: Vec<&str> = table
            .lines()
            .filter_map(|line| line.trim().split("=>").next())
            .filter(|line| line.starts_with(['"', '|']))
            .flat_map(|line| line.split('"').skip(1).step_by(2))
            .collect();
        assert!(names.len() > 50, "{names:?}");
        for name in names {
            assert!(named(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_named() {
        assert!(named("new-one").err().unwrap().contains("`new-one`"));
    }
}
