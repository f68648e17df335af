//! `sae score`: how well a model predicts text.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use lm::model::{self, BosRule, LanguageModel};
use lm::text;
use sae::Progress as _;
use sae::{Error, Result};

/// Measure a model's loss, perplexity and bits per byte on text, by domain
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sae score --model default --text texts/ --tokens 20000 --context-length 512"
)]
pub struct Command {
    /// A Hugging Face folder, a GGUF file, a name on the hub, or `default` for the embedded model
    #[arg(long, default_value = "default", value_name = "MODEL")]
    model: String,
    /// Text files and folders, as for harvest
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    text: Vec<PathBuf>,
    /// Field or column of the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Begin every context with the begin token: auto (as the tokenizer's files say), always or never
    #[arg(long, default_value = "auto", value_name = "RULE")]
    bos: BosRule,
    /// Stop after about so many tokens; the last document is cut
    #[arg(long)]
    tokens: Option<usize>,
    /// Tokens per context, BOS included [default: what the model was made for, at most 1024]
    #[arg(long)]
    context_length: Option<usize>,
    /// Rows of the model's batch
    #[arg(long, default_value_t = 4)]
    batch_rows: usize,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A model or text that cannot be read, a context length that the model does not have; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let mut model = LanguageModel::load(&session.model(&self.model)?)?;
        model.set_bos(self.bos)?;
        let longest = model.config().max_position_embeddings;
        let length = self.context_length.unwrap_or(longest.min(1024));
        if !(2..=longest).contains(&length) {
            return Err(Error::request(format!("the context length is {length}; expected 2 to {longest}")));
        }
        let documents = self.documents(&model, session)?;
        let scores = model::score(
            model.decoder(),
            model.tokenizer(),
            &documents,
            length,
            self.batch_rows,
            &mut session.progress,
        )?;
        let mut output = Output::new(
            serde_json::json!({"model": model.id(), "context_length": length, "domains": scores}),
        );
        output.row("model", model.id());
        for (domain, s) in &scores {
            let name = if domain.is_empty() { "text" } else { domain };
            let text = format!(
                "{} tokens of {} documents: {:.4} nats/token, perplexity {:.4}, {:.4} bits/byte",
                s.tokens, s.documents, s.nats_per_token, s.perplexity, s.bits_per_byte
            );
            output.row(name, text);
        }
        Ok(output)
    }

    /// The documents, as many as make the tokens that are asked for.
    fn documents(&self, model: &LanguageModel, session: &mut Session) -> Result<Vec<text::Document>> {
        let (mut documents, mut left) = (Vec::new(), self.tokens.unwrap_or(usize::MAX));
        let options = text::TextOptions { column: self.text_column.clone(), ..Default::default() };
        let mut texts = text::texts(&self.text, &options)?;
        texts.notes().iter().for_each(|note| session.progress.remark(note));
        for document in texts.by_ref() {
            let mut document = document?;
            if let Some(limit) = self.tokens.map(|_| left) {
                let tokens = model.tokenizer().encode(&document.text)?;
                if tokens.len() > limit {
                    document.text = model.tokenizer().decode(&tokens[..limit])?;
                }
                left = left.saturating_sub(tokens.len());
            }
            documents.push(document);
            if left == 0 {
                break;
            }
        }
        texts.report().remarks().iter().for_each(|remark| session.progress.remark(remark));
        match documents.is_empty() {
            true => Err(Error::request("the text has no documents")),
            false => Ok(documents),
        }
    }
}
