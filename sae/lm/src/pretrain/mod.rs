//! Training of small language models, mixtures of experts above all, from nothing but text.
//!
//! ```text
//! text ── BPE tokenizer ── contexts in a seeded order ── Decoder over variables ── cross-entropy + router losses
//!                                                              ▲                          │ candle autograd
//!                                                              └────────── AdamW ◀────────┘
//! ```
//!
//! The result is a Hugging Face folder. `transformers` loads the mixture with a top-k router as
//! `OlmoeForCausalLM` and the dense controls as `LlamaForCausalLM` or `ArceeForCausalLM`; Monet has the tensor
//! names of its authors. A run is a function of its [`PretrainConfig`]: stopped and resumed it makes the same
//! bits.

mod architecture;
mod base;
mod checkpoint;
mod collapse;
mod config;
mod data;
mod gate;
mod kind;
mod log;
mod loss;
mod optimiser;
mod parameters;
mod run;
mod start;
mod switches;
#[cfg(test)]
mod tests;
mod tokenizer;

pub use architecture::{Architecture, Branch, Llama, ModelConfig, Units};
pub use base::options_of;
pub use config::PretrainConfig;
pub use gate::Schedule;
pub use kind::Kind;
pub use parameters::Parameters;
pub use run::{Pretrained, run};
