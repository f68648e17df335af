//! A decoder with its tokenizer and where it came from.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use sha2::{Digest as _, Sha256};

use super::find::{Found, find};
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

/// SHA-256 of the files one after another, in hexadecimal; a file is not held in memory.
fn sha256_of(files: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    for path in files {
        let copied = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
        copied.map_err(|e| Error::io(path, e))?;
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Bytes in hexadecimal, two digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl ModelSource {
    /// SHA-256 of the weight files, in hexadecimal, as a [`LanguageModel`] made of them says it. Reads them, loads nothing.
    ///
    /// # Errors
    /// [`Error::Request`] if the model is not on this machine.
    pub fn sha256(&self) -> Result<String> {
        match find(self)? {
            Found::Embedded => Ok(hexadecimal(&Sha256::digest(crate::embedded::WEIGHTS))),
            Found::Folder(_, files) => sha256_of(&files),
            Found::Gguf(file) if !file.is_file() => {
                Err(Error::request(format!("{} is no file", file.display())))
            }
            Found::Gguf(file) => sha256_of(&[file]),
        }
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
        let (tokenizer, from, weights, sha256) = match &found {
            Found::Embedded => {
                let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
                let from = folder.join("tokenizer.json");
                let tokenizer = Tokenizer::from_bytes(crate::embedded::TOKENIZER, &from, bos)?;
                let weights = Weights::embedded(crate::embedded::WEIGHTS, &folder.join("model.safetensors"))?;
                (tokenizer, from, weights, hexadecimal(&Sha256::digest(crate::embedded::WEIGHTS)))
            }
            Found::Folder(folder, files) => {
                let (tokenizer, from) = Tokenizer::from_folder(folder, bos)?;
                let weights = match &files[..] {
                    [one] => Weights::open_safetensors(one)?,
                    several => Weights::open_shards(several, folder)?,
                };
                (tokenizer, from, weights, sha256_of(files)?)
            }
            Found::Gguf(file) => {
                let gguf = Gguf::open(file)?;
                let tokenizer = Tokenizer::new(gguf.tokenizer()?, bos);
                let sha256 = sha256_of(std::slice::from_ref(file))?;
                (tokenizer, file.clone(), gguf.into_weights()?, sha256)
            }
        };
        if tokenizer.len() > config.vocab_size {
            let problem = format!("has {} tokens; config.json says {}", tokenizer.len(), config.vocab_size);
            return Err(Error::format(&from, problem));
        }
        let decoder = Decoder::new(config, weights)?;
        Ok(Self { decoder, tokenizer, id: source.id(), source: source.clone(), sha256 })
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

    /// Of the weight file, or of its parts one after another, in hexadecimal.
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
