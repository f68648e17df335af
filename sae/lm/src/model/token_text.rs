//! The bytes that a token of a vocabulary stands for, as the tokenizer's decoder writes them.

use std::collections::HashMap;

use serde_json::Value;

/// How a vocabulary writes bytes.
#[derive(Debug)]
pub(super) enum TokenText {
    /// Every byte is a printable character (GPT-2, Llama 3, Qwen).
    ByteLevel(HashMap<char, u8>),
    /// Text, after replacements (`▁` is a space), with bytes as `<0x0A>` where the tokenizer falls back on
    /// them (Llama 2, Gemma).
    Pieces { replaced: Vec<(String, String)>, byte_fallback: bool },
}

impl TokenText {
    /// What the tokenizer's decoder says; where it has none, what its pre-tokeniser and model say.
    pub fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        // Their structs are private here and there; their JSON is what the file says.
        let json = |value: serde_json::Result<Value>| value.unwrap_or(Value::Null);
        let decoder = json(serde_json::to_value(tokenizer.get_decoder()));
        let before = json(serde_json::to_value(tokenizer.get_pre_tokenizer()));
        let steps = if decoder.is_null() { &before } else { &decoder };
        if any(steps, &mut |step| step["type"] == "ByteLevel") {
            return Self::ByteLevel(byte_alphabet());
        }
        let mut replaced = Vec::new();
        let mut byte_fallback = false;
        any(&decoder, &mut |step| {
            match step["type"].as_str() {
                Some("Metaspace") => {
                    replaced.push((step["replacement"].as_str().unwrap_or("▁").to_owned(), " ".to_owned()));
                }
                Some("Replace") => {
                    if let (Some(from), Some(to)) =
                        (step["pattern"]["String"].as_str(), step["content"].as_str())
                    {
                        replaced.push((from.to_owned(), to.to_owned()));
                    }
                }
                Some("BPEDecoder") => {
                    let end = step["suffix"].as_str().filter(|s| !s.is_empty());
                    replaced.extend(end.map(|end| (end.to_owned(), " ".to_owned())));
                }
                Some("ByteFallback") => byte_fallback = true,
                _ => {}
            }
            false
        });
        Self::Pieces { replaced, byte_fallback }
    }

    /// The bytes of a token of the model's vocabulary.
    pub fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel(alphabet) => token.chars().flat_map(|c| byte_of(c, alphabet)).collect(),
            Self::Pieces { byte_fallback: true, .. } if fallback(token).is_some() => {
                fallback(token).into_iter().collect()
            }
            Self::Pieces { replaced, .. } => {
                let text = replaced.iter().fold(token.to_owned(), |text, (from, to)| text.replace(from, to));
                text.into_bytes()
            }
        }
    }

    /// The bytes of a token that was added to the vocabulary: in a byte-level one it is written as it is.
    pub fn added(&self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel(_) => token.as_bytes().to_vec(),
            Self::Pieces { .. } => self.bytes(token),
        }
    }
}

/// Whether `found` says yes of a step, or of any step inside it.
fn any(step: &Value, found: &mut dyn FnMut(&Value) -> bool) -> bool {
    let inner = ["decoders", "pretokenizers"].iter().filter_map(|list| step[*list].as_array()).flatten();
    found(step) || inner.into_iter().any(|step| any(step, found))
}

fn byte_of(c: char, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    alphabet.get(&c).map_or_else(|| c.to_string().into_bytes(), |b| vec![*b])
}

/// GPT-2's printable characters and the bytes they stand for: printable Latin-1 bytes stand for themselves,
/// the other bytes are numbered from U+0100 up.
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

/// The byte that `<0x0A>` stands for.
fn fallback(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'))?;
    u8::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Tokenizer;
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let alphabet = byte_alphabet();
        let mut bytes: Vec<u8> = alphabet.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((alphabet[&'Ġ'], alphabet[&'Ċ'], alphabet[&'a']), (b' ', b'\n', b'a'));
    }

    fn shown_as(vocabulary: &[&str], added: &[(&str, bool)], decoder: &str) -> Vec<String> {
        let vocab: HashMap<&str, usize> = vocabulary.iter().copied().zip(0..).collect();
        let added: Vec<Value> = added
            .iter()
            .zip(vocabulary.len()..)
            .map(|((content, special), id)| {
                serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special})
            })
            .collect();
        let decoder: Value = serde_json::from_str(decoder).unwrap();
        let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
            "model": {"type": "BPE", "vocab": vocab, "merges": []}});
        let tokenizer =
            Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("t.json"), None).unwrap();
        tokenizer.token_bytes().into_iter().map(|b| String::from_utf8(b).unwrap()).collect()
    }

    #[test]
    fn the_decoder_decides_and_no_letter_of_the_vocabulary() {
        let gemma = r#"{"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]}"#;
        // Gemma's vocabulary has the letter by which byte-level ones write a space.
        let vocabulary = ["▁the", "<0x0A>", "é", "Ġ"];
        let added = [("▁▁", false), ("<bos>▁", true)];
        assert_eq!(shown_as(&vocabulary, &added, gemma), [" the", "\n", "é", "Ġ", "  ", "<bos>▁"]);
        let metaspace =
            r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#;
        assert_eq!(shown_as(&["▁a", "<0x41>"], &[], metaspace), [" a", "<0x41>"], "no fallback, no bytes");
        let bytes =
            r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#;
        let shown = shown_as(&["Ġthe", "Ã©", "Ċ"], &[("é▁", false)], bytes);
        assert_eq!(shown, [" the", "é", "\n", "é▁"]);
    }
}
