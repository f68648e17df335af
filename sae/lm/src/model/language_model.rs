//! A decoder with its tokenizer and where it came from.

use std::path::Path;

use candle_core::Tensor;

use super::find::find;
use super::fingerprint::fingerprint;
use super::folder::ModelFiles;
use super::ops::{position_losses, summed_cross_entropy};
use super::{Config, Decoder, Gguf, ModelSource, Tap, Tokenizer, Weights};
use crate::text::Contexts;
use crate::{Error, Result};

/// A language model ready to run.
#[derive(Debug)]
pub struct LanguageModel {
    decoder: Decoder,
    tokenizer: Tokenizer,
    id: String,
    source: ModelSource,
    sha256: String,
}

impl ModelSource {
    /// SHA-256 of configuration, tokenizer and weights, in hexadecimal, as a [`LanguageModel`] made of them has it. Reads them, loads
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Request`] if the model is not on this machine.
    pub fn sha256(&self) -> Result<String> {
        fingerprint(&find(self)?)
    }
}

impl LanguageModel {
    /// Loads config, weights and tokenizer.
    ///
    /// # Errors
    /// A model that is not there, files that are damaged or do not fit each other, a model this program does not know.
    pub fn load(source: &ModelSource) -> Result<Self> {
        let found = find(source)?;
        let (text, path) = found.config()?;
        let config = Config::parse(&text, &path)?;
        let bos = config.bos_token_id;
        let (tokenizer, from, weights) = match &found {
            ModelFiles::Embedded => {
                let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
                let from = folder.join("tokenizer.json");
                let tokenizer = Tokenizer::from_bytes(crate::embedded::TOKENIZER, &from, bos)?;
                let weights = Weights::embedded(crate::embedded::WEIGHTS, &folder.join("model.safetensors"))?;
                (tokenizer, from, weights)
            }
            ModelFiles::Folder(folder, files) => {
                let (tokenizer, from) = Tokenizer::from_folder(folder, bos)?;
                let weights = match &files[..] {
                    [one] => Weights::open_safetensors(one)?,
                    several => Weights::open_shards(several, folder)?,
                };
                (tokenizer, from, weights)
            }
            ModelFiles::Gguf(file) => {
                let gguf = Gguf::open(file)?;
                let tokenizer = Tokenizer::new(gguf.tokenizer()?, bos);
                (tokenizer, file.clone(), gguf.into_weights()?)
            }
        };
        if tokenizer.len() > config.vocab_size {
            let problem = format!("has {} tokens; config.json says {}", tokenizer.len(), config.vocab_size);
            return Err(Error::format(&from, problem));
        }
        let decoder = Decoder::new(config, weights)?;
        Ok(Self { decoder, tokenizer, id: source.id(), source: source.clone(), sha256: fingerprint(&found)? })
    }

    /// The decoder itself.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Shape and switches.
    pub fn config(&self) -> &Config {
        self.decoder.config()
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A name for people.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it was loaded from.
    pub fn source(&self) -> &ModelSource {
        &self.source
    }

    /// SHA-256 of configuration, tokenizer and weights, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Logits `[rows, len, V]`.
    pub fn forward(&self, contexts: &Contexts, tap: &mut dyn Tap) -> Result<Tensor> {
        self.decoder.forward(contexts, tap)
    }

    /// See [`Decoder::unembedding`].
    pub fn unembedding(&self) -> Result<Tensor> {
        self.decoder.unembedding()
    }
}

fn rows_of(logits: &Tensor) -> Result<Tensor> {
    let (rows, len, v) = logits.dims3()?;
    Ok(logits.reshape((rows * len, v))?)
}

/// Next-token cross-entropy in nats of every position of a batch, None where no token of the same segment follows.
pub fn losses(logits: &Tensor, contexts: &Contexts) -> Result<Vec<Option<f32>>> {
    Ok(position_losses(&rows_of(logits)?, &contexts.targets())?)
}

/// The sum of [`losses`], differentiable.
pub fn summed_loss(logits: &Tensor, contexts: &Contexts) -> Result<Tensor> {
    Ok(summed_cross_entropy(&rows_of(logits)?, contexts.targets())?)
}
