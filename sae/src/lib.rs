//! Sparse autoencoders for language models: from text through a model to a dictionary of features, and what the features do.
//!
//! ```text
//! text ─▶ model ─▶ harvest ─▶ dataset ─▶ train ─▶ run ─┬▶ evaluate ─▶ evaluation/core.json
//!            │                (storage)         (SAELens ├▶ features ─▶ features/*.parquet ─▶ window
//!            └── routing ──────────┴─▶ experts   layout) │
//!                                                        └▶ Dictionary: encode, decode
//! ```
//!
//! | you want | use |
//! |---|---|
//! | a model's values at a hook | [`lm::model::LanguageModel`] with a [`lm::model::Tap`] |
//! | a dataset of activations | [`harvest::run`], or of those computed elsewhere [`interop::activations::run`] |
//! | a dictionary | [`train::run`], then [`dictionary::Dictionary::load`] |
//! | a dictionary of a different program | [`interop::dictionaries::open`], [`imported::run`] |
//! | whether it was read as it was meant | [`check::check`] |
//! | how good it is | [`evaluate::run`] |
//! | how many neurons and features are needed | [`evaluate::cett`] |
//! | what it is worth for a known task | [`task::run`] |
//! | what its encoder loses | [`audit::run`] |
//! | what its features do | [`features::index`] |
//! | what a language model says they are about | [`explain::by_model::explain`] |
//! | how methods compare | [`comparison::run`] |
//! | how it differs from another | [`matching::run`] |
//! | it in other programs, in a browser, in a paper | [`export::run`] |
//! | how experts are used | [`experts::summarise`] |
//! | which features know what is labelled | [`probe::run`] |
//! | which features lead to a prediction | [`trace`] |
//! | which heads moved what a feature reads, from which tokens and features | [`heads::HeldText`] |
//! | what a text of your own fires, and what changing that does | [`prompt::Prompter`] |
//! | binary, ternary, maximal or spike-and-slab causes of rows | [`latent::run`] |
//! | one job by several processes | [`shards`] |
//! | a small language model of your own | [`lm::pretrain::run`] |
//! | a world whose features are known, and what a dictionary found of them | [`synth::World`], [`truth::run`] |
//!
//! The library never prints, never exits and never panics on input; long work reports to a [`Progress`] and asks it whether to stop.
//! The same seed gives the same bits for any number of threads.
//!
//! A dictionary by hand, and what it makes of a vector:
//!
//! ```
//! use sae::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};
//!
//! // Two features in three dimensions, the best of which is kept for each token.
//! let dictionary = Dictionary {
//!     d_in: 3,
//!     d_sae: 2,
//!     w_enc: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
//!     b_enc: vec![0.0; 2],
//!     w_dec: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
//!     b_dec: vec![0.0; 3],
//!     selection: Selection::TopK(1),
//!     prune_below: None,
//!     normalisation: Normalisation::None,
//!     target: None,
//!     info: DictionaryInfo::default(),
//! };
//! let codes = dictionary.encode(&[0.5, 2.0, 1.0]);
//! assert_eq!(codes.row(0), (&[1u32][..], &[2.0f32][..]));
//! assert_eq!(dictionary.decode(&codes), [0.0, 2.0, 0.0]);
//! ```

#![forbid(unsafe_code)]

pub mod audit;
pub mod check;
pub mod coding;
pub mod comparison;
pub mod crosscoder;
mod csv_file;
pub mod demo;
pub mod dictionary;
pub mod evaluate;
pub mod experts;
pub mod explain;
pub mod export;
pub mod features;
pub mod fields;
mod files;
pub mod harvest;
pub mod heads;
pub mod imported;
pub mod interop;
pub mod latent;
pub mod lens;
pub mod matching;
pub mod memory;
mod partial;
pub mod picture;
pub mod probe;
pub mod prompt;
mod rows;
pub mod saebench;
pub mod shards;
pub mod similar;
pub mod synth;
pub mod task;
pub mod trace;
pub mod train;
pub mod truth;
mod whiten;

pub use lm::{Error, Progress, Quiet, Result};
pub use rows::{ModelChoice, must_be_run};
