//! Language models on a laptop: text, tokenizers, weights of many families, forward passes that can be read and changed at named
//! hooks, and training of small models.
//!
//! ```text
//! text files ─ text ─▶ documents ─ Tokenizer, pack ─▶ Contexts ─┐
//! folder, GGUF, hub ─ model ─▶ LanguageModel ◀──────────────────┘──▶ logits, values at hooks (Tap), routing of experts
//! text files ─ pretrain ─▶ a Hugging Face folder
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`text`] | documents of files, packed into contexts |
//! | [`model`] | configurations, weights, tokenizers and decoders |
//! | [`pretrain`] | training of small mixtures of experts |
//! | [`remote`] | language models that a server runs |
//! | [`embedded`] | the default model and corpus, inside the program |
//!
//! The library never prints, never exits and never panics on input. Long work reports to a [`Progress`] and asks it whether to stop.
//!
//! Tokens of a text, and the loss of the embedded model on them:
//!
//! ```
//! use lm::model::{LanguageModel, ModelSource, NoTap, summed_loss};
//! use lm::text::pack;
//!
//! let model = LanguageModel::load(&ModelSource::Default)?;
//! let tokenizer = model.tokenizer();
//! let tokens = tokenizer.encode("The court held that the contract was void.")?;
//! let predicted = tokens.len() as f32;
//! // One document, contexts of 64 tokens, one context per batch.
//! let contexts = pack([Ok((0, tokens))], 64, tokenizer.bos(), 1)?.next().expect("a text has a context")?;
//! let logits = model.forward(&contexts, &mut NoTap)?;
//! let nats_per_token = summed_loss(&logits, &contexts)?.to_scalar::<f32>()? / predicted;
//! assert!(nats_per_token < 8.0);
//! # Ok::<(), lm::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod embedded;
mod error;
pub mod model;
pub mod pointer;
pub mod pretrain;
pub mod progress;
pub mod remote;
pub mod text;

pub use error::{Error, Problem, Result};
pub use progress::{Progress, Quiet};
