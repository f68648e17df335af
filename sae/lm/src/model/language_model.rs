//! A decoder with its tokenizer and where it came from.

use std::path::Path;

use candle_core::Tensor;

use super::find::find;
use super::fingerprint::{Fingerprint, fingerprint};
use super::folder::ModelFiles;
use super::ops::{position_losses, summed_cross_entropy};
use super::{Beginning, BosRule, Compute, Config, Decoder, Gguf, ModelSource, Tap, Tokenizer, Weights};
use crate::text::Contexts;
use crate::{Error, Result};

/// A language model ready to run.
#[derive(Debug)]
pub struct LanguageModel {
    decoder: Decoder,
    compute: Compute,
    tokenizer: Tokenizer,
    id: String,
    source: ModelSource,
    fingerprint: Fingerprint,
}

impl ModelSource {
    /// SHA-256 of configuration, tokenizer and weights, in hexadecimal, as a [`LanguageModel`] made of them
    /// has it. Reads them, loads nothing.
    ///
    /// # Errors
    /// [`Error::Request`] if the model is not on this machine.
    pub fn sha256(&self) -> Result<String> {
        Ok(fingerprint(&find(self)?)?.whole)
    }
}

/// The token that begins contexts, if it has a row in the embedding.
fn begin_token(tokenizer: &Tokenizer, config: &Config, from: &Path) -> Result<Option<u32>> {
    match tokenizer.bos() {
        Some(token) if token as usize >= config.vocab_size => {
            let because = &tokenizer.beginning().because;
            let size = config.vocab_size;
            let text = format!("token {token} begins texts ({because}), but config.json says {size} tokens");
            Err(Error::format(from, text))
        }
        token => Ok(token),
    }
}

impl LanguageModel {
    /// Loads config, weights and tokenizer.
    ///
    /// # Errors
    /// A model that is not there, files that are damaged or do not fit each other, a model this program does
    /// not know.
    pub fn load(source: &ModelSource) -> Result<Self> {
        let found = find(source)?;
        let (text, path) = found.config()?;
        let mut config = Config::parse(&text, &path)?;
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
                let tokenizer = Tokenizer::new(gguf.tokenizer()?, bos)
                    .with_beginning(gguf.beginning()?)
                    .with_chat_template(gguf.chat_template()?);
                (tokenizer, file.clone(), gguf.into_weights()?)
            }
        };
        // A tokenizer may know tokens that the embedding has no row for (Gemma 3's for pictures): they matter
        // only when a text makes one, which Contexts::check_tokens sees.
        config.bos_token_id = begin_token(&tokenizer, &config, &from)?;
        let decoder = Decoder::new(config, weights)?;
        let fingerprint = fingerprint(&found)?;
        Ok(Self {
            compute: Compute::F32,
            decoder,
            tokenizer,
            id: source.id(),
            source: source.clone(),
            fingerprint,
        })
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

    /// The token that begins every context, if one does.
    pub fn bos(&self) -> Option<u32> {
        self.config().bos_token_id
    }

    /// In what numbers it multiplies with its weights.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Multiplies with the weights of attention, MLPs and experts in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        self.compute = compute;
        self.decoder.set_compute(compute);
    }

    /// Lets contexts begin as a person asks.
    ///
    /// # Errors
    /// As [`Beginning::by`]; a begin token that the embedding has no row for.
    pub fn set_bos(&mut self, rule: BosRule) -> Result<()> {
        let beginning = self.tokenizer.beginning().by(rule)?;
        self.begin(beginning)
    }

    /// Lets contexts begin as they did when a dataset was made: with `token`, or with none.
    ///
    /// # Errors
    /// A begin token that the embedding has no row for.
    pub fn begin_with(&mut self, token: Option<u32>) -> Result<()> {
        let named = token.or(self.tokenizer.beginning().named);
        self.begin(Beginning { token, named, because: "dataset.json".to_owned() })
    }

    fn begin(&mut self, beginning: Beginning) -> Result<()> {
        let size = self.config().vocab_size;
        match beginning.token {
            Some(token) if token as usize >= size => Err(Error::request(format!(
                "the begin token {token} ({}) is outside the model's vocabulary of {size} tokens",
                beginning.because
            ))),
            token => {
                self.decoder.set_bos(token);
                self.tokenizer.set_beginning(beginning);
                Ok(())
            }
        }
    }

    /// A name for people.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it was loaded from.
    pub fn source(&self) -> &ModelSource {
        &self.source
    }

    /// SHA-256 of configuration, tokenizer (with the files that say how contexts begin and chats are written)
    /// and weights, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.fingerprint.whole
    }

    /// Whether a dataset that has this SHA-256 of its model was made with this one. Datasets that were made
    /// before `tokenizer_config.json` and `chat_template.jinja` counted have it without those two files.
    pub fn is(&self, sha256: &str) -> bool {
        [&self.fingerprint.whole, &self.fingerprint.without_settings].into_iter().any(|own| own == sha256)
    }

    /// Logits `[rows, len, V]`.
    ///
    /// # Errors
    /// As [`Decoder::residual`].
    pub fn forward(&self, contexts: &Contexts, tap: &mut dyn Tap) -> Result<Tensor> {
        self.decoder.forward(contexts, tap)
    }

    /// See [`Decoder::unembedding`].
    ///
    /// # Errors
    /// As [`Decoder::unembedding`].
    pub fn unembedding(&self) -> Result<Tensor> {
        self.decoder.unembedding()
    }
}

fn rows_of(logits: &Tensor) -> Result<Tensor> {
    let (rows, len, v) = logits.dims3()?;
    Ok(logits.reshape((rows * len, v))?)
}

/// Next-token cross-entropy in nats of every position of a batch, None where no token of the same segment
/// follows.
///
/// # Errors
/// Logits of a different shape than `[rows, len, V]`, or a target that is not below V.
pub fn losses(logits: &Tensor, contexts: &Contexts) -> Result<Vec<Option<f32>>> {
    Ok(position_losses(&rows_of(logits)?, &contexts.targets())?)
}

/// The sum of [`losses`], differentiable.
///
/// # Errors
/// As [`losses`].
pub fn summed_loss(logits: &Tensor, contexts: &Contexts) -> Result<Tensor> {
    Ok(summed_cross_entropy(&rows_of(logits)?, contexts.targets())?)
}
