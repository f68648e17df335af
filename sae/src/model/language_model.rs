//! A decoder with its tokenizer and where it came from.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use sha2::{Digest as _, Sha256};

use super::ops::{position_losses, summed_cross_entropy};
use super::{Config, Decoder, Tap, Tokenizer, Weights};
use crate::text::Contexts;
use crate::{Error, Result};

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The small mixture-of-experts model inside this program.
    Default,
    /// A Hugging Face folder: `config.json`, `model.safetensors`, `tokenizer.json`.
    Folder(PathBuf),
}

impl ModelSource {
    /// `default` or a folder.
    pub fn parse(name: &str) -> Self {
        match name {
            "default" => Self::Default,
            folder => Self::Folder(PathBuf::from(folder)),
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A language model ready to run.
#[derive(Debug)]
pub struct LanguageModel {
    decoder: Decoder,
    tokenizer: Tokenizer,
    id: String,
    source: ModelSource,
    sha256: String,
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    std::fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::request(format!(
            "{} does not exist; a model is a folder with config.json, model.safetensors and tokenizer.json, or `default`",
            path.display()
        )),
        _ => Error::io(&path, source),
    })
}

impl LanguageModel {
    /// Loads config, weights and tokenizer.
    pub fn load(source: &ModelSource) -> Result<Self> {
        match source {
            ModelSource::Default => Self::from_bytes(
                source,
                "sae-workbench/small-moe",
                Path::new("the embedded model"),
                [crate::demo::CONFIG, crate::demo::WEIGHTS, crate::demo::TOKENIZER],
            ),
            ModelSource::Folder(folder) => {
                let files = ["config.json", "model.safetensors", "tokenizer.json"].map(|name| read(folder, name));
                let [config, weights, tokenizer] = files;
                let id = folder.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned());
                Self::from_bytes(source, &id, folder, [&config?, &weights?, &tokenizer?])
            }
        }
    }

    fn from_bytes(source: &ModelSource, id: &str, folder: &Path, [config, weights, tokenizer]: [&[u8]; 3]) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::str::from_utf8(config).map_err(|_| Error::format(&path, "is no UTF-8 text"))?;
        let config = Config::parse(text, &path)?;
        let path = folder.join("tokenizer.json");
        let tokenizer = Tokenizer::from_bytes(tokenizer, &path, config.bos_token_id)?;
        if tokenizer.len() > config.vocab_size {
            let problem = format!("has {} tokens; config.json says {}", tokenizer.len(), config.vocab_size);
            return Err(Error::format(&path, problem));
        }
        let sha256: String = Sha256::digest(weights).iter().map(|b| format!("{b:02x}")).collect();
        let weights = Weights::from_safetensors(weights, &folder.join("model.safetensors"))?;
        let decoder = Decoder::new(config, weights)?;
        Ok(Self { decoder, tokenizer, id: id.to_owned(), source: source.clone(), sha256 })
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

    /// Of the weight file, in hexadecimal.
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
