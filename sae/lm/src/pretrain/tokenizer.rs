//! A byte-level BPE tokenizer made from text.

use tokenizers::decoders::byte_level::ByteLevel as Decoder;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder};

use crate::{Error, Result};

/// Makes the tokenizer from `texts` and gives its `tokenizer.json`. Digits stand alone; token 0 is
/// `<|endoftext|>`, 1 `<|padding|>`.
///
/// # Errors
/// What the `tokenizers` crate refuses.
pub fn train<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab_size: usize) -> Result<String> {
    let failed = |e: tokenizers::Error| Error::data(format!("making the tokenizer: {e}"));
    let special = ["<|endoftext|>", "<|padding|>"].map(|t| AddedToken::from(t, true));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .show_progress(false)
        .special_tokens(special.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let splits = Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()]);
    let mut tokenizer =
        TokenizerBuilder::<BPE, NormalizerWrapper, Sequence, PostProcessorWrapper, Decoder>::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(splits))
            .with_post_processor(None)
            .with_decoder(Some(Decoder::default()))
            .build()
            .map_err(failed)?;
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    tokenizer.to_string(true).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tokenizer;

    #[test]
    fn any_text_survives_the_round_trip() {
        let text = "The quick brown fox, 1234 times — naïve café\n\tlet x = vec![0u8; 16];\n".repeat(20);
        let json = train(text.lines(), 600).unwrap();
        let tokenizer = Tokenizer::from_bytes(json.as_bytes(), std::path::Path::new("t"), Some(0)).unwrap();
        for text in [text.as_str(), "unseen: 日本語 🦀\r\n  7", ""] {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
            let bytes = tokenizer.token_bytes();
            let joined: Vec<u8> = tokens.iter().flat_map(|&t| bytes[t as usize].clone()).collect();
            assert_eq!(joined, text.as_bytes());
        }
        assert_eq!(tokenizer.decode(&[0, 1]).unwrap(), "");
        assert_eq!(tokenizer.token_bytes()[0], b"<|endoftext|>");
    }
}
