//! How well a model predicts text: bits per byte, by domain.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Decoder, NoTap, Tokenizer};
use crate::text::{self, Document};
use crate::{Progress, Result};

/// The score of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Documents scored.
    pub documents: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Σ −log₂ p(token) / bytes; every token is predicted that has one before it in its context, the first
    /// from BOS.
    pub bits_per_byte: f64,
    /// Mean cross-entropy in nats per token.
    pub nats_per_token: f64,
    /// Its exponential.
    pub perplexity: f64,
}

/// Scores documents by domain, in contexts of `context_length` tokens, `rows` contexts at a time.
///
/// # Errors
/// A text that the tokenizer or the model cannot take; [`Error::Stopped`](crate::Error::Stopped).
pub fn score(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    documents: &[Document],
    context_length: usize,
    rows: usize,
    progress: &mut dyn Progress,
) -> Result<BTreeMap<String, Score>> {
    let mut domains: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        domains.entry(&document.domain).or_default().push(document);
    }
    let total = documents.iter().map(|d| d.text.len() as u64).sum();
    progress.begin("score", Some(total), "bytes");
    let (mut scores, mut done) = (BTreeMap::new(), 0);
    for (domain, documents) in domains {
        let encoded =
            documents.iter().enumerate().map(|(i, d)| Ok((i as u32, tokenizer.encode_after_bos(&d.text)?)));
        let (mut nats, mut tokens) = (0f64, 0);
        for contexts in text::pack(encoded, context_length, tokenizer.bos(), rows)? {
            let contexts = contexts?;
            contexts.check_tokens(decoder.config().vocab_size)?;
            let residual = decoder.residual(&contexts, decoder.config().num_hidden_layers, &mut NoTap)?;
            let each = decoder.losses(&residual, &contexts)?;
            nats += each.iter().flatten().map(|l| f64::from(*l)).sum::<f64>();
            tokens += each.iter().flatten().count() as u64;
            if progress.stop_requested() {
                return Err(crate::Error::stopped("the model was being scored; nothing is kept of that"));
            }
        }
        let bytes = documents.iter().map(|d| d.text.len() as u64).sum();
        let score = Score {
            documents: documents.len(),
            bytes,
            tokens,
            bits_per_byte: nats / std::f64::consts::LN_2 / bytes as f64,
            nats_per_token: nats / tokens.max(1) as f64,
            perplexity: (nats / tokens.max(1) as f64).exp(),
        };
        scores.insert(domain.to_owned(), score);
        done += bytes;
        progress.advance(done, &format!("{domain} {:.3} bits/byte", score.bits_per_byte));
    }
    progress.end(&format!("{} domains", scores.len()));
    Ok(scores)
}
