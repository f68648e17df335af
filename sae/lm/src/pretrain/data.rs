//! The training text as tokens, and the order in which it is seen.

use kernels::chance::{Purpose, generator, shuffle};

use super::PretrainConfig;
use crate::model::Tokenizer;
use crate::text::{self, Contexts, Document};
use crate::{Error, Progress, Result};

/// Contexts are cut from documents in pieces of this many tokens at most: the context length less BOS.
#[derive(Debug)]
pub struct TrainingText {
    /// Every document's tokens, one after another.
    tokens: Vec<u32>,
    /// Begin and end in `tokens` of every piece, repeated as the domain asks.
    pieces: Vec<(u32, u32)>,
    seed: u64,
    context_length: usize,
    rows: usize,
    bos: Option<u32>,
}

/// Documents to train on, and the held-out ones.
///
/// # Errors
/// Text that cannot be read, or has no documents to train on.
pub fn read(config: &PretrainConfig, progress: &mut dyn Progress) -> Result<(Vec<Document>, Vec<Document>)> {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    let mut texts = text::open(&config.text)?;
    texts.notes().iter().for_each(|note| progress.remark(note));
    for document in texts.by_ref() {
        let document = document?;
        if document.held_out == Some(true) { held_out.push(document) } else { train.push(document) }
    }
    texts.report().remarks().iter().for_each(|remark| progress.remark(remark));
    if train.is_empty() {
        return Err(Error::request("the text has no documents to train on (all are empty or held out)"));
    }
    Ok((train, held_out))
}

impl TrainingText {
    /// Turns documents into tokens.
    ///
    /// # Errors
    /// A document that the tokenizer refuses.
    pub fn new(
        config: &PretrainConfig,
        documents: &[Document],
        tokenizer: &Tokenizer,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let (mut tokens, mut pieces) = (Vec::new(), Vec::new());
        let bytes = documents.iter().map(|d| d.text.len() as u64).sum();
        progress.begin("tokenise", Some(bytes), "bytes");
        let mut done = 0;
        let room = config.context_length - usize::from(tokenizer.bos().is_some());
        for document in documents {
            let begin = tokens.len();
            tokens.extend(tokenizer.encode(&document.text)?);
            let ends =
                (begin..tokens.len()).step_by(room).map(|at| (at as u32, tokens.len().min(at + room) as u32));
            let cut: Vec<_> = ends.collect();
            let times = config.repeat.get(&document.domain).copied().unwrap_or(1);
            (0..times).for_each(|_| pieces.extend(&cut));
            done += document.text.len() as u64;
            progress.advance(done, "");
        }
        progress.end(&format!("{} documents, {} tokens", documents.len(), tokens.len()));
        let (context_length, rows) = (config.context_length, config.batch_rows);
        Ok(Self { tokens, pieces, seed: config.seed, context_length, rows, bos: tokenizer.bos() })
    }

    /// The batches of pass number `epoch` over the text: the pieces in an order that depends on the seed and
    /// the pass alone.
    ///
    /// # Errors
    /// A context length below 2, or no rows per batch.
    pub fn epoch(&self, epoch: u64) -> Result<impl Iterator<Item = Result<Contexts>> + '_> {
        let mut order: Vec<u32> = (0..self.pieces.len() as u32).collect();
        shuffle(&mut order, &mut generator(self.seed, Purpose::Pieces, epoch, 0));
        let piece = |i: u32| {
            let (begin, end) = self.pieces[i as usize];
            Ok((i, self.tokens[begin as usize..end as usize].to_vec()))
        };
        text::pack(order.into_iter().map(piece), self.context_length, self.bos, self.rows)
    }
}
