//! Training of small language models, mixtures of experts above all, from nothing but text.
//!
//! ```text
//! text ── BPE tokenizer ── contexts in a seeded order ── Decoder over variables ── cross-entropy + router losses
//!                                                              ▲                          │ candle autograd
//!                                                              └────────── AdamW ◀────────┘
//! ```
//!
//! The result is a Hugging Face folder that `transformers` loads as `OlmoeForCausalLM`. A run is a function
//! of its [`PretrainConfig`]: stopped and resumed it makes the same bits.

mod architecture;
mod checkpoint;
mod config;
mod data;
mod loss;
mod optimiser;
mod parameters;
mod run;
mod tokenizer;

pub use architecture::Architecture;
pub use config::PretrainConfig;
pub use parameters::Parameters;
pub use run::{Pretrained, run};
