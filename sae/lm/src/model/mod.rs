//! Decoder-only language models with taps at named hooks, on candle.
//!
//! ```text
//! config.json ─ Config ┐                              (or all three from one GGUF file)
//! *.safetensors ────── Weights ─ Decoder ┐
//! tokenizer.json ───── Tokenizer ────────┴─ LanguageModel ── forward(Contexts, Tap) ──▶ logits [rows, len, V]
//!                                                                     │
//!                                        Tap: reads or replaces the value at any Hook, sees every Routing
//! ```
//!
//! The weights may be variables: then the same code is what [`pretrain`](crate::pretrain) differentiates.
//! Every operation has a backward pass (see [`ops`]); candle's fused ones, which lose the gradient in
//! silence, are not used.

mod altup;
mod attention;
mod block;
mod bos;
mod cache;
mod compute;
pub mod config;
mod decoder;
mod find;
mod fingerprint;
mod folder;
mod frozen;
mod fused;
mod hook;
mod hook_pattern;
mod hub;
mod language_model;
mod load;
mod mixture;
mod mlp;
mod monet;
pub mod ops;
mod per_layer;
mod router;
mod score;
mod sparse_gate;
mod sparsity;
mod switches;
mod tap;
mod token_text;
mod tokenizer;
mod tokenizer_files;
mod weights;

pub(crate) use bos::text_of;
pub use bos::{Beginning, BosRule};
pub use cache::KeyValueCache;
pub use compute::Compute;
pub use config::{Config, NormKind};
pub use decoder::Decoder;
pub use find::ModelSource;
pub use fingerprint::hexadecimal;
pub use frozen::Frozen;
pub use hook::{Hook, Site};
pub use hook_pattern::HookPattern;
pub use hub::{Hub, HubFile};
pub use language_model::{LanguageModel, losses, summed_loss};
pub use mixture::MoeLayer;
pub use monet::MonetExperts;
pub use router::{ProductOfRouters, Routing};
pub use score::{Score, score};
pub use tap::{NeuronTap, Neurons, NoTap, Tap};
pub use tokenizer::{Tokenizer, shown};
pub use weights::{Bytes, Encoding, encoding, safetensors};
pub use weights::{Weights, gguf::Gguf};
