//! `sae logits`: what a model makes of a text, for comparison with other programs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use clap::Args;

use super::{Output, Session};
use lm::model::{Hook, LanguageModel, Routing, Site, Tap};
use lm::text::pack;
use sae::{Error, Result};

/// Write a model's logits, residual streams and routing on a text to a safetensors file
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sae logits --model default --text 'It was a bright cold day' --out logits.safetensors"
)]
pub struct Command {
    /// A Hugging Face folder, or `default` for the embedded model
    #[arg(long, default_value = "default", value_name = "DIR")]
    model: String,
    /// The text; only what fits into one context is used
    #[arg(long)]
    text: String,
    /// The file to write: tokens [n], logits [n, V], blocks.L.hook_resid_post [n, d_model], routing.L [n, k]
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Keeps every residual stream and every router's choices.
struct Record(BTreeMap<String, Tensor>);

impl Tap for Record {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site == Site::ResidPost
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.0.insert(hook.to_string(), value.squeeze(0)?);
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let tokens = routing.chosen.len() / routing.k;
        let chosen = Tensor::from_slice(&routing.chosen, (tokens, routing.k), &Device::Cpu)?;
        self.0.insert(format!("routing.{}", routing.layer), chosen);
        Ok(())
    }
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A model that cannot be read, an empty text, a file that cannot be written.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let model = LanguageModel::load(&session.model(&self.model)?)?;
        let bos = model.bos();
        let room = model.config().max_position_embeddings - usize::from(bos.is_some());
        let mut tokens = model.tokenizer().encode_after_bos(&self.text)?;
        tokens.truncate(room);
        let n = tokens.len() + usize::from(bos.is_some());
        let mut batches = pack([Ok((0, tokens))], n.max(2), bos, 1)?;
        let contexts = batches.next().ok_or_else(|| Error::request("the text is empty"))??;
        contexts.check_tokens(model.config().vocab_size)?;
        let mut record = Record(BTreeMap::new());
        let logits = model.forward(&contexts, &mut record)?.squeeze(0)?;
        record.0.insert("logits".into(), logits);
        record.0.insert("tokens".into(), Tensor::new(contexts.tokens.as_slice(), &Device::Cpu)?);
        let metadata = HashMap::from([
            ("text".to_owned(), self.text),
            ("bos".to_owned(), u8::from(bos.is_some()).to_string()),
        ]);
        let bytes = safetensors::serialize(&record.0, Some(metadata))
            .map_err(|e| Error::data(format!("storing the logits: {e}")))?;
        storage::atomic::write(&self.out, &bytes)?;
        let mut output = Output::new(serde_json::json!({"file": self.out, "tokens": n}));
        output.row("file", self.out.display());
        output.row("tokens", n);
        Ok(output)
    }
}
